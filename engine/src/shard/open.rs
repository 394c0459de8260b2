//! Boot: a shard's state from the tail of its log, entry by entry, and from the indexes of what is
//! before.
//!
//! Reads top-down: [`Shard::open`] -> `indexes` (of sealed segments, made again where they are
//! missing) -> `State::take` (one entry) -> `State::restore` (one part of a checkpoint).
//! Absent: the walk itself (the log's), topics (the broker's).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::checkpoint::Checkpoints;
use super::checkpoint_format::{self, Part};
use super::counters::Counters;
use super::keep::Keeps;
use super::lookup::Lookups;
use super::offset_table::OffsetTable;
use super::queues::Queues;
use super::rebuild::Rebuilds;
use super::retention::Expiry;
use super::room::Room;
use super::seal::{Left, Sealing};
use super::seek::Seeks;
use super::sequences::Sequences;
use super::{Shard, cold, fetch};
use crate::index::file_format::{Row, Sealed};
use crate::index::image::Builder;
use crate::index::keys::{Merge, Pile};
use crate::index::load::{Loaded, load};
use crate::index::queue::QueueIndex;
use crate::index::runs::Run;
use crate::index::sealed::{Index, Source};
use crate::io::{Disk, DiskOp, Env, Nanos, run};
use crate::log::entry_format::Kind;
use crate::log::position::LogPos;
use crate::log::recover::{Found, Groups, OpenError, OpenOptions, Opened};
use crate::log::segments::Geometry;
use crate::stage::Histograms;

/// What opening a shard took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// Bytes of the log's tail that were read.
    pub read_bytes: u64,
    /// How long that took, the making of everything in memory included.
    pub read_nanos: u64,
    /// Segments before it, of which only the indexes were read.
    pub sealed_segments: u64,
    /// Indexes that were missing or damaged, and were made again from their segments.
    pub rebuilt_indexes: u64,
}

/// What the entries so far have made of it.
#[derive(Debug, Default)]
struct State {
    queues: Queues,
    offsets: OffsetTable,
    sequences: Sequences,
    checkpoints: Checkpoints,
    sealing: Sealing,
    /// By segment: when its newest entry was stored.
    newest_ms: BTreeMap<u64, u64>,
}

impl State {
    /// Takes an entry; `None` when it cannot be read.
    fn take(&mut self, found: &Found<'_>, geometry: &Geometry) -> Option<()> {
        let number = geometry.number(found.pos);
        self.newest_ms.insert(number, found.header.store_timestamp_ms);
        match found.header.kind {
            Kind::Data | Kind::Metadata => {
                let last = self.queues.recovered(found);
                if last.is_none_or(|last| geometry.number(last) != number) {
                    self.sealing.touch(number, found.header.queue);
                }
                if found.header.kind == Kind::Data {
                    self.sequences.recovered(found);
                }
                if found.header.keyed {
                    let (queue, base) = (found.header.queue, found.header.base_offset);
                    self.sealing.keys.add_batch(number, found.batch, queue, base);
                }
                Some(())
            }
            Kind::OffsetCommit => self.offsets.recovered(found),
            Kind::Checkpoint => {
                self.checkpoints.found_entry(found.header.entry_bytes());
                checkpoint_format::parts(found.batch, |part| self.restore(part))
            }
        }
    }

    fn restore(&mut self, part: Part<'_>) {
        match part {
            Part::Queue { queue, next_offset, lives } => {
                self.queues.restore(queue, next_offset, &lives);
            }
            Part::Offset { group, queue, committed } => {
                self.offsets.apply(group, queue, Some(committed));
            }
            Part::Producer { queue, producer, epoch, next, batches } => {
                self.sequences.restore((queue, producer), epoch, next, &batches);
            }
            Part::Start { queue, start_offset } => self.queues.restore_start(queue, start_offset),
            Part::Shard { forgot_producers } => {
                self.checkpoints.found_first();
                if forgot_producers {
                    self.sequences.note_forgotten();
                }
            }
            Part::End { begin } => self.checkpoints.found(begin),
            Part::Topic(_) | Part::Ids { .. } => {}
        }
    }

    /// Takes the indexes of the segments that are not read, from the newest to the oldest, and then
    /// what they say of queues.
    fn indexes<D: Disk>(&mut self, disk: &mut D, opened: &Opened) -> Result<Opening, OpenError> {
        let mut opening = Opening::default();
        let geometry = *opened.geometry();
        let mut loaded = load(disk, &geometry, opened.sealed(), opened.names());
        let mut all = Vec::new();
        let mut last = opened.before();
        for number in opened.sealed().rev() {
            let fits = |index: &Loaded| index.footer.sealed.last_sequence == last;
            let (sealed, rows, index) = match loaded.remove(&number) {
                Some(found) if fits(&found) => {
                    let Loaded { file, footer, directory } = found;
                    let index = Index::new(Source::File(file), footer.sealed, &directory);
                    (footer.sealed, directory.rows, index)
                }
                other => {
                    if let Some(Loaded { file, .. }) = other {
                        // Nothing useful can be done if it cannot be closed.
                        let _ = run(disk, DiskOp::Close { file });
                    }
                    opening.rebuilt_indexes += 1;
                    rebuilt(disk, opened, number, last)?
                }
            };
            last = sealed.first_sequence.saturating_sub(1);
            self.newest_ms.insert(number, sealed.newest_ms);
            all.push((number, rows, index));
        }
        for (number, rows, index) in all.into_iter().rev() {
            for row in &rows {
                self.queues.recovered_run(row.queue, Run::new(number, row));
            }
            self.sealing.found(number, index);
            opening.sealed_segments += 1;
        }
        Ok(opening)
    }
}

/// The index of a segment, made again from its entries.
fn rebuilt<D: Disk>(
    disk: &mut D,
    opened: &Opened,
    number: u64,
    last: u64,
) -> Result<(Sealed, Vec<Row>, Index), OpenError> {
    let mut queues: BTreeMap<u32, (QueueIndex, u64)> = BTreeMap::new();
    let mut newest_ms = 0;
    let mut pile = Pile::default();
    let groups = opened.walk(disk, number, last, &mut |found| {
        newest_ms = found.header.store_timestamp_ms;
        if matches!(found.header.kind, Kind::Data | Kind::Metadata) {
            let (index, next_offset) = queues.entry(found.header.queue).or_default();
            *next_offset = found.header.base_offset + u64::from(found.records);
            index.add_found(found);
            if found.header.keyed {
                pile.add_batch(found.batch, found.header.queue, found.header.base_offset);
            }
        }
    })?;
    let mut builder = Builder::new(*opened.geometry(), number);
    for (queue, (index, next_offset)) in queues {
        for (span, end_offset) in index.within(&(LogPos(0)..LogPos(u64::MAX)), 0, next_offset) {
            builder.add(queue, &span, end_offset);
        }
    }
    let Groups { first, last, .. } = groups;
    let sealed = Sealed { first_sequence: first, last_sequence: last, newest_ms };
    let mut merge = Merge::new(&mut pile);
    while let Some(key) = merge.next(&pile) {
        builder.add_key(&key);
    }
    let (image, directory) = builder.finish(sealed);
    let index = Index::new(Source::Memory(image), sealed, &directory);
    Ok((sealed, directory.rows, index))
}

impl<E: Env> Shard<E> {
    /// Opens the shard's log and builds its queues from every entry that is found; `visit` sees
    /// them too, in log order.
    ///
    /// # Errors
    /// [`OpenError`] when the log cannot be opened.
    pub fn open(
        mut env: E,
        options: &OpenOptions,
        mut visit: impl FnMut(&Found<'_>),
    ) -> Result<Self, OpenError> {
        let mut state = State::default();
        let mut damaged = None;
        let opened = Opened::new(env.disk(), options)?;
        let geometry = *opened.geometry();
        let start = geometry.first_group(opened.sealed().end);
        let opening = state.indexes(env.disk(), &opened)?;
        let read_from = env.now();
        let was_read = opened.read(env.disk(), |found| {
            if state.take(found, &geometry).is_none() {
                damaged = damaged.or(Some(found.pos));
            }
            visit(found);
        })?;
        let read_nanos = env.now().since(read_from);
        let is_whole = geometry.number(start) == 0
            || state.checkpoints.newest_found().is_some_and(|begin| begin >= start);
        let what = match (damaged, is_whole) {
            (Some(at), _) => Some((at, "an offset commit or checkpoint cannot be read")),
            (None, false) => {
                Some((start, "the log's beginning is missing, and no checkpoint stands for it"))
            }
            (None, true) => None,
        };
        if let Some((at, what)) = what {
            return Err(OpenError::Damaged { at, what });
        }
        // Nothing was written before it was clear that this log can be opened.
        let (mut log, walked) = was_read.begin(env.disk())?;
        let State { queues, offsets, sequences, mut checkpoints, mut sealing, mut newest_ms } =
            state;
        let newest = |number| newest_ms.get(&number).copied().unwrap_or(0);
        let left = |groups: Groups| Left { groups, newest_ms: newest(groups.number) };
        sealing.left(walked.segments.into_iter().map(left));
        // More will be stored in the current segment: how old it is shows when it is left.
        newest_ms.remove(&log.segments().current());
        let opening = Opening { read_bytes: walked.read_bytes, read_nanos, ..opening };
        if let Some(pointer) = log.recorded() {
            checkpoints.recorded(pointer.begin);
        }
        log.keep_back(checkpoints.room_bytes());
        Ok(Self {
            env,
            log,
            queues,
            offsets,
            sequences,
            checkpoints,
            checkpoint_rests_until: Nanos(0),
            expiry: Expiry::new(options.retention, newest_ms),
            sealing,
            opening,
            rebuilds: Rebuilds::default(),
            keep: Keeps::default(),
            room: Room::default(),
            memory_waiters: Vec::new(),
            written_waiters: VecDeque::new(),
            durable_waiters: VecDeque::new(),
            written_touched: VecDeque::new(),
            durable_touched: VecDeque::new(),
            arrived: Vec::new(),
            parked: fetch::Parked::default(),
            cold: cold::ColdReads::default(),
            seeks: Seeks::default(),
            lookups: Lookups::default(),
            answered: fetch::Cohort::default(),
            woken: BTreeSet::new(),
            histograms: Histograms::default(),
            counters: Counters::default(),
            completions: Vec::new(),
            stopping: false,
            internal: None,
            wall: (Nanos(0), 0),
        })
    }
}
