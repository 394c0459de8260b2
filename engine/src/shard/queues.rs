//! The queues of a shard, by id.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::QueueRange;
use super::checkpoint_format::Part;
use super::lives::Lives;
use crate::index::file_format::Row;
use crate::index::queue::{Piece, QueueIndex};
use crate::index::runs::{Run, Runs};
use crate::level::AckLevel;
use crate::log::position::LogPos;
use crate::log::recover::Found;
use crate::log::segments::Geometry;

/// One queue. Idle, it costs its own size and a slot of the table: well below 256 bytes.
#[derive(Debug)]
pub(super) struct Queue {
    /// Where its records lie: in sealed segments ...
    pub(super) runs: Runs,
    /// ... and in recent ones.
    pub(super) index: QueueIndex,
    pub(super) lives: Lives,
    pub(super) start_offset: u64,
    /// What lies before this offset was let go by the topic's limits: so the log says, durably or
    /// not yet.
    pub(super) floor: u64,
    pub(super) next_offset: u64,
    pub(super) bytes: u64,
    pub(super) visibility: AckLevel,
    pub(super) deep: bool,
    pub(super) keyed: bool,
    /// A topic has it; otherwise only recovery has seen it.
    known: bool,
}

const _: () = assert!(size_of::<Queue>() <= 160, "an idle queue is small");

impl Queue {
    fn boxed() -> Box<Self> {
        Box::new(Self {
            runs: Runs::default(),
            index: QueueIndex::default(),
            lives: Lives::default(),
            start_offset: 0,
            floor: 0,
            next_offset: 0,
            bytes: 0,
            visibility: AckLevel::Durable,
            deep: false,
            keyed: false,
            known: false,
        })
    }

    pub(super) fn visible_offset(&self) -> u64 {
        self.index.visible_offset(self.next_offset)
    }

    /// The queue begins with the first record that is still in the log.
    fn begin_at_index(&mut self) {
        let sealed = self.runs.first().map(|run| run.base_offset);
        let first = sealed.or_else(|| self.index.first_offset());
        self.start_offset = first.unwrap_or(self.next_offset);
    }

    /// Lets go of what lies before the floor.
    pub(super) fn begin_at_floor(&mut self) {
        let sealed = self.runs.drop_before(self.floor);
        let gone = sealed + self.index.drop_before(self.floor, self.next_offset);
        self.bytes = self.bytes.saturating_sub(gone);
        self.begin_at_index();
    }

    /// Whether it has a record below segment `number`, which begins at `pos`.
    pub(super) fn has_below(&self, number: u64, pos: LogPos) -> bool {
        self.runs.first().is_some_and(|run| run.number < number)
            || self.index.first_pos().is_some_and(|first| first < pos)
    }

    /// What goes first of the records from offset `from` on, where a piece begins.
    pub(super) fn oldest_piece(&self, from: u64, geometry: &Geometry) -> Option<Piece> {
        let run = self.runs.holding(from).filter(|run| run.end_offset > from);
        let sealed = run.map(|run| Piece {
            pos: geometry.first_group(run.number),
            store_timestamp_ms: run.newest_ms,
            batch_bytes: run.batch_bytes,
            end_offset: run.end_offset,
        });
        sealed.or_else(|| self.index.pieces(from, self.next_offset).next())
    }

    pub(super) fn range(&self) -> QueueRange {
        QueueRange {
            start_offset: self.start_offset,
            end_offset: self.next_offset,
            visible_offset: self.visible_offset(),
            bytes: self.bytes,
        }
    }
}

/// Multiplicative hashing of queue ids, which the broker hands out itself in order: no seed, so
/// that a simulated run repeats exactly.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IdHasher(u64);

impl std::hash::Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        // 2^64 / golden ratio.
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32);
    }
}

#[derive(Debug, Default)]
pub(super) struct Queues {
    /// Boxed: a table is up to twice as long as what is in it, and its slots should be small.
    by_id: HashMap<u32, Box<Queue>, BuildHasherDefault<IdHasher>>,
}

impl Queues {
    pub(super) fn get(&self, id: u32) -> Option<&Queue> {
        self.by_id.get(&id).map(|queue| &**queue).filter(|queue| queue.known)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Queue> {
        self.by_id.get_mut(&id).map(|queue| &mut **queue).filter(|queue| queue.known)
    }

    pub(super) fn add(&mut self, id: u32, visibility: AckLevel, deep: bool) {
        let queue = self.by_id.entry(id).or_insert_with(Queue::boxed);
        queue.visibility = visibility;
        queue.deep = deep;
        queue.known = true;
        queue.begin_at_floor();
    }

    pub(super) fn drop(&mut self, id: u32) {
        self.by_id.remove(&id);
    }

    pub(super) fn retain_known(&mut self) {
        self.by_id.retain(|_, queue| queue.known);
        self.by_id.shrink_to_fit();
    }

    /// The ids of all queues that are known, in order.
    pub(super) fn ids(&self) -> Vec<u32> {
        let known = self.by_id.iter().filter(|(_, queue)| queue.known);
        let mut ids: Vec<u32> = known.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Forgets what lies below segment `number`, which begins at `pos`.
    pub(super) fn drop_below(&mut self, number: u64, pos: LogPos) {
        for queue in self.by_id.values_mut() {
            let bytes = queue.runs.drop_below(number) + queue.index.drop_below(pos);
            queue.bytes = queue.bytes.saturating_sub(bytes);
            queue.begin_at_index();
        }
    }

    /// A segment that ends at `end` has an index from now on, in which the queue has this run: its
    /// spans leave memory.
    pub(super) fn publish(&mut self, id: u32, run: Run, end: LogPos) {
        if let Some(queue) = self.by_id.get_mut(&id) {
            // Some of it may have gone since the index was built.
            let first = queue.index.first_offset();
            let batch_bytes = queue.index.drop_below(end);
            if let Some(base_offset) = first.filter(|first| *first < run.end_offset) {
                queue.runs.push(Run { base_offset, batch_bytes, ..run });
            }
        }
    }

    /// The index of a segment was made again: where the queue's spans are in it.
    pub(super) fn replace_run(&mut self, number: u64, row: &Row) {
        if let Some(queue) = self.by_id.get_mut(&row.queue) {
            queue.runs.replace(number, row);
        }
    }

    /// A run that the index of a sealed segment names, found at boot, in order of segments.
    pub(super) fn recovered_run(&mut self, id: u32, run: Run) {
        let queue = self.by_id.entry(id).or_insert_with(Queue::boxed);
        queue.bytes += run.batch_bytes;
        queue.runs.push(run);
    }

    /// Where a queue begins by its topic's limits, to a checkpoint: also when the entry that says so
    /// is still on its way, because it lies before the checkpoint and may go with what lies there.
    pub(super) fn start_part(&self, id: u32) -> Option<Part<'static>> {
        let start_offset = self.get(id)?.floor;
        (start_offset > 0).then_some(Part::Start { queue: id, start_offset })
    }

    /// The log says where a queue begins.
    pub(super) fn restore_start(&mut self, id: u32, start_offset: u64) {
        let queue = self.by_id.entry(id).or_insert_with(Queue::boxed);
        queue.floor = queue.floor.max(start_offset);
    }

    /// Whether a queue has a record below a segment, given with its beginning, apart from
    /// `except`; the id of one.
    pub(super) fn with_records_below(
        &self,
        (number, pos): (u64, LogPos),
        except: Option<u32>,
    ) -> Option<u32> {
        let mut queues = self.by_id.iter().filter(|(id, _)| Some(**id) != except);
        queues.find_map(|(id, queue)| queue.has_below(number, pos).then_some(*id))
    }

    /// What a queue is to a checkpoint.
    pub(super) fn part(&self, id: u32) -> Option<Part<'static>> {
        let queue = self.get(id)?;
        let (next_offset, lives) = (queue.next_offset, queue.lives.all());
        Some(Part::Queue { queue: id, next_offset, lives })
    }

    /// What a checkpoint says of a queue replaces what is known, but for its index.
    pub(super) fn restore(&mut self, id: u32, next_offset: u64, lives: &[(u32, u64)]) {
        let queue = self.by_id.entry(id).or_insert_with(Queue::boxed);
        queue.next_offset = next_offset;
        queue.lives = Lives::restored(lives);
    }

    /// An entry that the scan of the log found; where the queue's span before it lies.
    pub(super) fn recovered(&mut self, found: &Found<'_>) -> Option<LogPos> {
        let queue = self.by_id.entry(found.header.queue).or_insert_with(Queue::boxed);
        let base = found.header.base_offset;
        let last = queue.index.last_pos();
        queue.index.add_found(found);
        queue.index.show_all();
        queue.lives.note(found.epoch, base);
        queue.next_offset = base + u64::from(found.records);
        queue.bytes += u64::from(found.header.batch_bytes);
        last
    }
}
