//! Rebuild: the index of a sealed segment is made again from the segment itself, because a block of
//! it is not what was written.
//!
//! Reads top-down: `Shard::index_damaged` -> `step_rebuild` (once in a while) -> `on_rebuild_read` ->
//! `take` (group by group) -> `Walk::build` (spans, then keys a little at a time) -> `replace_index`: the
//! new index takes the old one's place.
//! Meanwhile readers of the segment are told to come again.
//!
//! Invariants: one segment at a time; an index is replaced only by one that holds all of its
//! segment's groups. A segment that is damaged itself is not tried again: its readers are told.
//! Absent: what is missing when the log is opened (`open`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::seal::KEYS_PER_STEP;
use super::{FetchError, Shard};
use crate::index::file_format::Sealed;
use crate::index::image::Builder;
use crate::index::keys::{Merge, Pile};
use crate::index::queue::QueueIndex;
use crate::index::sealed::{Index, Source};
use crate::io::block::Slice;
use crate::io::{BLOCK_BYTES, Completion, Disk, DiskOp, Env, Errno, OpId, Output};
use crate::limits::CHUNK_BYTES;
use crate::log::entry_format::Kind;
use crate::log::group_format::{GROUP_HEADER_BYTES, GroupHeader};
use crate::log::position::LogPos;
use crate::log::recover::Group;
use crate::log::segments::Geometry;
use crate::log::window::next_block;

/// One read: a millisecond of the device's time.
const PIECE_BYTES: u32 = 1 << 20;
/// How often in a row the device may refuse before the segment is given up.
const FAILURES_MAX: u32 = 8;

/// A segment whose groups are read again.
#[derive(Debug)]
struct Walk {
    number: u64,
    /// What its index must say of its groups.
    sealed: Sealed,
    /// End of the last group.
    end: LogPos,
    /// The last group, and its life.
    sequence: u64,
    epoch: u32,
    queues: BTreeMap<u32, (QueueIndex, u64)>,
    keys: Pile,
    /// When all was read: the index, which takes its keys.
    builder: Option<(Builder, Merge)>,
    /// Bytes to read at once: more when a group is longer.
    read_bytes: u32,
    op: Option<OpId>,
    failures: u32,
}

/// What became of a piece.
enum Step {
    /// Read on, at least so many bytes.
    More(u32),
    /// All groups were there.
    Done,
    /// A group is missing or damaged.
    Damaged,
}

/// The indexes of one shard that are made again.
#[derive(Debug, Default)]
pub(super) struct Rebuilds {
    waiting: VecDeque<u64>,
    walk: Option<Walk>,
    /// Segments that are damaged themselves.
    given_up: BTreeSet<u64>,
    rebuilt: u64,
}

impl Rebuilds {
    pub(super) fn has_work(&self) -> bool {
        self.walk.as_ref().map_or(!self.waiting.is_empty(), |walk| walk.op.is_none())
    }

    /// The index of a segment is to be made again.
    pub(super) fn want(&mut self, number: u64) {
        let walks = self.walk.as_ref().is_some_and(|walk| walk.number == number);
        if !walks && !self.waiting.contains(&number) {
            self.waiting.push_back(number);
        }
    }

    /// Indexes made again.
    pub(super) fn rebuilt(&self) -> u64 {
        self.rebuilt
    }

    /// Whether a read of a segment is in flight.
    pub(super) fn is_reading(&self, number: u64) -> bool {
        self.walk.as_ref().is_some_and(|walk| walk.number == number && walk.op.is_some())
    }

    /// The segment has left the log.
    pub(super) fn forget(&mut self, number: u64) {
        self.waiting.retain(|waiting| *waiting != number);
        self.walk.take_if(|walk| walk.number == number);
        self.given_up.remove(&number);
    }
}

impl<E: Env> Shard<E> {
    /// The index of a segment was found damaged: what readers are told, and the index is made again.
    pub(super) fn index_damaged(&mut self, number: u64) -> FetchError {
        let rebuilds = &mut self.rebuilds;
        if rebuilds.given_up.contains(&number) {
            return FetchError::Damaged { at: self.start_of_segment(number) };
        }
        rebuilds.want(number);
        FetchError::Busy
    }

    /// A block of an index could not be read: what readers are told. It is made again, unless the
    /// process is short of something for the moment.
    pub(super) fn index_unread(&mut self, number: u64, errno: Errno) -> FetchError {
        match FetchError::unread(self.start_of_segment(number), errno) {
            FetchError::Busy => FetchError::Busy,
            _ => self.index_damaged(number),
        }
    }

    /// Goes on with making indexes again.
    pub(super) fn step_rebuild(&mut self) {
        if self.rebuilds.walk.is_none() {
            let Some(number) = self.rebuilds.waiting.pop_front() else { return };
            let Some(sealed) = self.sealing.indexes.sealed(number) else { return };
            self.rebuilds.walk = Some(Walk {
                number,
                sealed,
                end: self.log.segments().geometry().first_group(number),
                sequence: sealed.first_sequence.saturating_sub(1),
                epoch: 0,
                queues: BTreeMap::new(),
                keys: Pile::default(),
                builder: None,
                read_bytes: PIECE_BYTES,
                op: None,
                failures: 0,
            });
        }
        let Some(walk) = self.rebuilds.walk.as_mut().filter(|walk| walk.op.is_none()) else {
            return;
        };
        if let Some((builder, merge)) = &mut walk.builder {
            for _ in 0..KEYS_PER_STEP {
                match merge.next(&walk.keys) {
                    Some(key) => builder.add_key(&key),
                    None => return self.replace_index(),
                }
            }
            return;
        }
        let start = LogPos(walk.end.0 - walk.end.0 % u64::from(BLOCK_BYTES));
        let geometry = self.log.segments().geometry();
        // A group that fills its segment ends where the next begins: nothing is left to read.
        let left = LogPos((walk.number + 1) * geometry.segment_bytes).0 - start.0;
        let len = u64::from(walk.read_bytes).min(left) as u32;
        let place = self.log.locate(start).filter(|_| len > 0);
        let read = place.map(|(file, offset)| DiskOp::Read { file, offset, len });
        match read.map(|read| self.env.disk().submit(read)) {
            Some(Ok(op)) => walk.op = Some(op),
            // The disk's queue is full for the moment.
            Some(Err(_)) => {}
            None => self.give_up(),
        }
    }

    fn give_up(&mut self) {
        if let Some(walk) = self.rebuilds.walk.take() {
            self.rebuilds.given_up.insert(walk.number);
        }
    }

    /// Takes the end of a read of this; gives back any other.
    pub(super) fn on_rebuild_read(&mut self, completion: Completion) -> Option<Completion> {
        let geometry = *self.log.segments().geometry();
        let walk = self.rebuilds.walk.as_mut().filter(|walk| walk.op == Some(completion.op));
        let Some(walk) = walk else { return Some(completion) };
        walk.op = None;
        let step = match completion.result {
            Ok(Output::Read(block)) => {
                walk.failures = 0;
                take(walk, &geometry, &block.slice(0..block.published()))
            }
            // The process is short of something for the moment: that says nothing of the segment.
            Err(errno) if FetchError::unread(walk.end, errno) == FetchError::Busy => {
                Step::More(walk.read_bytes)
            }
            Ok(_) | Err(_) => {
                walk.failures += 1;
                if walk.failures < FAILURES_MAX {
                    Step::More(walk.read_bytes)
                } else {
                    Step::Damaged
                }
            }
        };
        match step {
            Step::More(read_bytes) => walk.read_bytes = read_bytes,
            Step::Damaged => self.give_up(),
            Step::Done => walk.build(geometry),
        }
        None
    }

    /// All is in the new index: it takes the place of the damaged one.
    fn replace_index(&mut self) {
        let Some(walk) = self.rebuilds.walk.take() else { return };
        let Some((builder, _)) = walk.builder else { return };
        let (image, directory) = builder.finish(walk.sealed);
        for row in &directory.rows {
            self.queues.replace_run(walk.number, row);
        }
        let index = Index::new(Source::Memory(image), walk.sealed, &directory);
        self.sealing.replace(walk.number, index, self.env.disk());
        self.rebuilds.rebuilt += 1;
    }
}

impl Walk {
    /// All groups were read: the index is begun.
    fn build(&mut self, geometry: Geometry) {
        let mut builder = Builder::new(geometry, self.number);
        for (queue, (index, next_offset)) in std::mem::take(&mut self.queues) {
            for (span, end_offset) in index.within(&(LogPos(0)..LogPos(u64::MAX)), 0, next_offset) {
                builder.add(queue, &span, end_offset);
            }
        }
        self.builder = Some((builder, Merge::new(&mut self.keys)));
    }
}

/// Takes the groups that lie wholly in `bytes`, which begin with the block of the walk's end.
fn take(walk: &mut Walk, geometry: &Geometry, bytes: &Slice) -> Step {
    let start = LogPos(walk.end.0 - walk.end.0 % u64::from(BLOCK_BYTES));
    let is_last = start.0 + bytes.len() as u64 >= (walk.number + 1) * geometry.segment_bytes;
    while walk.sequence < walk.sealed.last_sequence {
        let mut more = None;
        let mut next = None;
        // As recovery does: behind the last group, or at the next block. What is not intact there
        // is a leftover of a life that ended in it.
        for pos in [walk.end, next_block(walk.end)] {
            match group_at(walk, geometry, (start, bytes), pos) {
                Ok(Some(group)) => {
                    next = Some(group);
                    break;
                }
                Ok(None) => {}
                Err(read_bytes) => more = more.max(Some(read_bytes)),
            }
        }
        let Some(group) = next else {
            return more.filter(|_| !is_last).map_or(Step::Damaged, Step::More);
        };
        for found in group.entries() {
            if matches!(found.header.kind, Kind::Data | Kind::Metadata) {
                let (index, next_offset) = walk.queues.entry(found.header.queue).or_default();
                *next_offset = found.header.base_offset + u64::from(found.records);
                index.add_found(&found);
                if found.header.keyed {
                    let header = &found.header;
                    walk.keys.add_batch(found.batch, header.queue, header.base_offset);
                }
            }
        }
        (walk.sequence, walk.epoch) = (group.header().sequence, group.header().epoch);
        walk.end = group.end();
    }
    Step::Done
}

/// The walk's next group if it is intact at `pos`, of bytes that begin at `start`; `Err` with how
/// many must be read to know.
fn group_at(
    walk: &Walk,
    geometry: &Geometry,
    (start, bytes): (LogPos, &Slice),
    pos: LogPos,
) -> Result<Option<Group>, u32> {
    let at = (pos.0 - start.0) as usize;
    let head = bytes.get(at..).unwrap_or_default();
    if head.len() < GROUP_HEADER_BYTES as usize {
        return Err(PIECE_BYTES);
    }
    let header = GroupHeader::decode(head).filter(|header| {
        header.position == pos
            && header.shard == geometry.shard
            && header.sequence == walk.sequence + 1
            && header.epoch >= walk.epoch
            && header.length_bytes <= CHUNK_BYTES
    });
    let Some(header) = header else { return Ok(None) };
    let end = at + header.length_bytes as usize;
    if end > bytes.len() {
        return Err((header.length_bytes + 2 * BLOCK_BYTES).max(PIECE_BYTES));
    }
    let group = Group::new(header, bytes.slice(at as u32..end as u32));
    let is_intact = group.checked().all(|entry| entry.is_ok());
    Ok(is_intact.then_some(group))
}
