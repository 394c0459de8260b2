//! Checks everything that can be said about a shard's groups and entries from the log alone.
//!
//! Reads top-down: [`verify`] -> `Checker::check` (a group) -> `entry` -> `place_in_queue`.
//! Absent: checksums of intact groups, which the walk has compared.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::damage::{Damage, Place, What};
use super::derived::{Derived, DerivedReport};
use super::pointer::Named;
use super::topics::{Topics, changes_of};
use super::{Expected, Found, Group, Unreadable, Visitor, Walked, files, walk};
use crate::batch::BatchRef;
use crate::broker::{METADATA_QUEUE, read_change};
use crate::io::Disk;
use crate::log::entry_format::{ENTRY_HEADER_BYTES, Kind};
use crate::log::position::LogPos;
use crate::log::superblock_format::Superblock;
use crate::shard::checkpoint_format::{Part, parts};
use crate::shard::offsets::is_commit;

/// Damages that are listed; more are counted.
pub const LISTED_MAX: usize = 1000;

/// What is stored of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueReport {
    /// Its id.
    pub id: u32,
    /// Its first offset that is stored.
    pub first_offset: u64,
    /// The offset behind its last record.
    pub end_offset: u64,
    /// Its records that can be read: less than the range holds if some are damaged.
    pub records: u64,
    /// Its batches.
    pub batches: u64,
    /// Their bytes.
    pub batch_bytes: u64,
    /// Store times of its first and its last batch, in ms since the Unix epoch.
    pub store_ms: (u64, u64),
    /// Log position of its first entry.
    pub first_pos: LogPos,
}

/// What a shard holds, and what of it is damaged.
#[derive(Clone, Debug, Default)]
pub struct ShardReport {
    /// Files and groups.
    pub walked: Walked,
    /// Entries that can be read.
    pub entries: u64,
    /// Records in them.
    pub records: u64,
    /// Batches whose records cannot be read though they are what was sent: their topic does not
    /// look inside, and their producer sent them so. No damage.
    pub odd_batches: u64,
    /// Queues of which something is stored, in order of their ids.
    pub queues: Vec<QueueReport>,
    /// The first 1000 damages.
    pub damages: Vec<Damage>,
    /// How many there are.
    pub damages_total: u64,
    /// How many of them are to derived data.
    pub derived_damages: u64,
    /// Index files.
    pub derived: DerivedReport,
}

/// Checks a shard. Shard 0 must be the first: it teaches `topics`. `passed` is told how many more
/// bytes of the segment files have been gone through.
///
/// # Errors
/// [`Unreadable`] when the file system fails, with what was found until then.
pub fn verify<D: Disk>(
    disk: &mut D,
    expected: &Expected,
    topics: &mut Topics,
    passed: &mut dyn FnMut(u64),
) -> (ShardReport, Result<(), Unreadable>) {
    let mut checker = Checker {
        expected: *expected,
        topics,
        passed,
        report: ShardReport::default(),
        queues: BTreeMap::new(),
        watermark: LogPos(0),
        store_ms: 0,
        checkpoint: None,
        is_trimmed: false,
        first: LogPos(0),
        derived: Derived::new(expected),
        named: None,
    };
    let walked = walk(disk, expected, &mut checker);
    checker.finish(walked)
}

struct Checker<'a> {
    expected: Expected,
    topics: &'a mut Topics,
    passed: &'a mut dyn FnMut(u64),
    report: ShardReport,
    queues: BTreeMap<u32, QueueReport>,
    watermark: LogPos,
    store_ms: u64,
    /// Where the newest complete checkpoint begins.
    checkpoint: Option<LogPos>,
    /// The log's beginning has left it.
    is_trimmed: bool,
    /// Where the log begins.
    first: LogPos,
    derived: Derived,
    /// The checkpoint that the superblock names.
    named: Option<Named>,
}

impl Visitor for Checker<'_> {
    fn begins(&mut self, first: LogPos, superblock: Option<&Superblock>) {
        self.is_trimmed = first.0 >= self.expected.segment_bytes;
        self.first = first;
        let geometry = files::geometry(&self.expected, superblock);
        self.named = superblock.and_then(|superblock| Named::new(superblock, &geometry));
    }

    fn sealed<D: Disk>(&mut self, disk: &mut D, number: u64) {
        if let Some(damage) = self.derived.sealed(disk, number) {
            self.damage(&damage);
        }
    }

    fn group(&mut self, group: &Group) -> ControlFlow<()> {
        self.check_header(group);
        let mut held = 0;
        for found in group.entries() {
            held += u64::from(found.records);
            self.entry(group, &found);
        }
        let stated = group.header().records;
        if stated != held {
            self.fault(group, group.header().position, None, What::Records { stated, held });
        }
        ControlFlow::Continue(())
    }

    fn broken_group(&mut self, group: &Group) -> ControlFlow<()> {
        self.check_header(group);
        for found in group.checked().filter_map(Result::ok) {
            self.entry(group, &found);
        }
        ControlFlow::Continue(())
    }

    fn damage(&mut self, damage: &Damage) {
        self.derived.damage(damage);
        self.report.damages_total += 1;
        self.report.derived_damages += u64::from(damage.is_derived());
        if self.report.damages.len() < LISTED_MAX {
            self.report.damages.push(*damage);
        }
    }

    fn passed(&mut self, bytes: u64) {
        (self.passed)(bytes);
    }
}

impl Checker<'_> {
    fn fault(&mut self, group: &Group, pos: LogPos, queue: Option<u32>, what: What) {
        let place = Place::of(pos, self.expected.segment_bytes);
        self.damage(&Damage { place, sequence: Some(group.header().sequence), queue, what });
    }

    fn check_header(&mut self, group: &Group) {
        self.derived.group(group);
        if let Some(named) = &mut self.named {
            named.group(group);
        }
        let header = group.header();
        let (found, before) = (header.watermark, self.watermark);
        if !(before..=header.position).contains(&found) {
            self.fault(group, header.position, None, What::Watermark { found, before });
        }
        self.watermark = before.max(found);
    }

    fn entry(&mut self, group: &Group, found: &Found<'_>) {
        let (header, pos) = (&found.header, found.pos);
        let queue = Some(header.queue);
        self.derived.entry(found);
        if let Some(named) = &mut self.named {
            named.entry(found);
        }
        self.report.entries += 1;
        self.report.records += u64::from(found.records);
        if !is_padding_zero(group, found) {
            self.fault(group, pos, queue, What::EntryPadding);
        }
        let (found_ms, before_ms) = (header.store_timestamp_ms, self.store_ms);
        if found_ms < before_ms {
            self.fault(group, pos, queue, What::StoreTime { found_ms, before_ms });
        }
        self.store_ms = found_ms.max(before_ms);
        let Ok(batch) = BatchRef::parse_unverified(found.batch) else { return };
        let (stamped, entry) = (batch.base_offset(), header.base_offset);
        if stamped != entry {
            self.fault(group, pos, queue, What::Stamp { stamped, entry });
        }
        match header.kind {
            Kind::Metadata => self.metadata(group, found),
            Kind::OffsetCommit => {
                if !is_commit(found) {
                    self.fault(group, pos, queue, What::State);
                }
                return;
            }
            Kind::Checkpoint => return self.checkpoint(group, found),
            Kind::Data if header.queue == METADATA_QUEUE => {
                self.fault(group, pos, queue, What::Metadata);
            }
            Kind::Data => self.records(group, found, &batch),
        }
        self.place_in_queue(group, found);
    }

    fn metadata(&mut self, group: &Group, found: &Found<'_>) {
        let in_place = self.expected.shard == 0 && found.header.queue == METADATA_QUEUE;
        match read_change(found.batch).filter(|_| in_place) {
            Some(change) => self.topics.learn(&change),
            None => self.fault(group, found.pos, Some(found.header.queue), What::Metadata),
        }
    }

    fn checkpoint(&mut self, group: &Group, found: &Found<'_>) {
        match changes_of(found) {
            Some(changes) => changes.iter().for_each(|change| self.topics.learn(change)),
            None => self.fault(group, found.pos, None, What::State),
        }
        let _ = parts(found.batch, |part| {
            if let Part::End { begin } = part {
                self.checkpoint = self.checkpoint.max(Some(begin));
            }
            self.derived.part(&part);
            if let Some(named) = &mut self.named {
                named.part(&part);
            }
        });
    }

    fn records(&mut self, group: &Group, found: &Found<'_>, batch: &BatchRef<'_>) {
        let Err(error) = batch.validate_deep() else { return };
        let queue = found.header.queue;
        if self.topics.queue(queue).is_some_and(|name| name.deep) {
            self.fault(group, found.pos, Some(queue), What::Unreadable(error));
        } else {
            self.report.odd_batches += 1;
        }
    }

    /// Offsets of a queue follow each other; after a gap they are counted from where they go on.
    fn place_in_queue(&mut self, group: &Group, found: &Found<'_>) {
        let header = &found.header;
        let base = header.base_offset;
        let queue = self.queues.entry(header.queue).or_insert_with(|| QueueReport {
            id: header.queue,
            // Only retention takes anything away from the front.
            first_offset: if self.is_trimmed { base } else { 0 },
            end_offset: if self.is_trimmed { base } else { 0 },
            records: 0,
            batches: 0,
            batch_bytes: 0,
            store_ms: (header.store_timestamp_ms, 0),
            first_pos: found.pos,
        });
        let expected = queue.end_offset;
        queue.end_offset = base.saturating_add(u64::from(found.records));
        queue.records += u64::from(found.records);
        queue.batches += 1;
        queue.batch_bytes += u64::from(header.batch_bytes);
        queue.store_ms.1 = header.store_timestamp_ms;
        if base != expected {
            let what = match base > expected {
                true => What::Missing { expected, found: base },
                false => What::Twice { expected, found: base },
            };
            self.fault(group, found.pos, Some(header.queue), what);
        }
    }

    fn finish(
        mut self,
        walked: Result<Walked, Unreadable>,
    ) -> (ShardReport, Result<(), Unreadable>) {
        if self.is_trimmed && self.checkpoint.is_none_or(|begin| begin < self.first) {
            let place = Place::of(self.first, self.expected.segment_bytes);
            let what = What::BeginningMissing;
            self.damage(&Damage { place, sequence: None, queue: None, what });
        }
        // Topics that were made and deleted before the log's beginning have left their records in
        // other shards.
        if self.expected.shard == 0 && self.is_trimmed {
            self.topics.doubt();
        }
        // Where metadata is damaged, topics may be unknown for that reason.
        if self.expected.shard == 0 && (self.is_damaged() || walked.is_err()) {
            self.topics.distrust();
        }
        let unknown: Vec<(u32, LogPos)> = (self.queues.values())
            .filter(|queue| queue.id != METADATA_QUEUE)
            .filter(|queue| {
                let name = self.topics.queue(queue.id);
                name.is_none_or(|name| name.shard != self.expected.shard)
            })
            .map(|queue| (queue.id, queue.first_pos))
            .collect();
        if self.topics.is_whole() {
            for (queue, pos) in unknown {
                let place = Place::of(pos, self.expected.segment_bytes);
                let what = What::UnknownQueue;
                self.damage(&Damage { place, sequence: None, queue: Some(queue), what });
            }
        }
        self.finish_derived(walked.as_ref().ok());
        let result = walked.map(|walked| self.report.walked = walked);
        self.report.queues = self.queues.into_values().collect();
        (self.report, result)
    }
}

impl Checker<'_> {
    /// Whether something that is stored is damaged.
    fn is_damaged(&self) -> bool {
        self.report.damages_total > self.report.derived_damages
    }

    /// What the walk as a whole says of the superblock's checkpoint and of indexes.
    fn finish_derived(&mut self, walked: Option<&Walked>) {
        let is_whole = walked.is_some() && !self.is_damaged();
        if let Some(damage) = self.named.as_ref().filter(|_| is_whole).and_then(Named::fault) {
            self.damage(&damage);
        }
        let is_sound = walked.is_some() && !self.is_damaged();
        let derived = std::mem::replace(&mut self.derived, Derived::new(&self.expected));
        let (report, damages) = derived.finish(walked, self.topics, is_sound);
        self.report.derived = report;
        damages.iter().for_each(|damage| self.damage(damage));
    }
}

fn is_padding_zero(group: &Group, found: &Found<'_>) -> bool {
    let start = (found.pos.0 - group.header().position.0) as usize;
    let batch_end = start + ENTRY_HEADER_BYTES + found.batch.len();
    let entry_end = start + found.header.entry_bytes() as usize;
    let padding = group.bytes().get(batch_end..entry_end).unwrap_or_default();
    padding.iter().all(|byte| *byte == 0)
}
