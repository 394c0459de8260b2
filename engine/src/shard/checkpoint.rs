//! Checkpoints: the shard's state written into its own log, so that what lies before may go.
//!
//! A checkpoint is a run of entries between others. Each part says what was true at its own place
//! in the log, and replaces what is known there: reading the log from the checkpoint's beginning,
//! entry by entry, gives the same state as reading it from the very first one. So nothing has to
//! stand still while it is written, and nothing orders it against the data but the log itself.
//! Only topics are written in one piece.
//!
//! Invariant: a checkpoint counts only when its end is durable, and with it everything before, and
//! when the superblock names it: a restart reads the log from the checkpoint's segment on.
//! Absent: where queues' records lie (`seal`).

use std::sync::Arc;

use super::Shard;
use super::checkpoint_format::Part;
use crate::batch::{BatchBuilder, BatchError, BatchRef, NewRecord};
use crate::io::{Env, Nanos};
use crate::level::AckLevel;
use crate::limits::CHECKPOINT_ROOM_BYTES;
use crate::log::entry_format::Kind;
use crate::log::position::LogPos;
use crate::log::superblock_format::Pointer;
use crate::log::writer::{Append, AppendError, Appended};

/// The queue id of checkpoint entries, in every shard. No topic's queue ever has it.
const CHECKPOINT_QUEUE: u32 = u32::MAX;
/// An entry is closed when it has grown beyond this: it goes with other groups and must not hold
/// them up.
const ENTRY_BYTES: usize = 32 << 10;
/// One entry is appended this often.
pub(super) const PACE_NANOS: u64 = 1_000_000;

/// What is still to be written of a checkpoint.
#[derive(Debug)]
struct Running {
    begin: LogPos,
    /// The last group before the segment in which it begins.
    before: u64,
    /// Bytes of its entries so far.
    bytes: u64,
    queues: Vec<u32>,
    offsets: Vec<(Arc<str>, u32)>,
    producers: Vec<(u32, i64)>,
    /// The group of its last entry, once that was appended.
    end: Option<u64>,
    /// The superblock is to name it.
    asked: bool,
}

/// The checkpoints of one shard.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    running: Option<Running>,
    /// Where the newest begins that is in the superblock.
    newest: Option<LogPos>,
    /// Where the newest begins that was found in the log.
    found: Option<LogPos>,
    /// Bytes of the last one.
    bytes: u64,
    /// Bytes of the last one that was found in the log, as far as it was read, and of its newest
    /// entry.
    found_bytes: (u64, u64),
    written: u64,
}

impl Checkpoints {
    /// One that was found in the log.
    pub(super) fn found(&mut self, begin: LogPos) {
        self.found = self.found.max(Some(begin));
    }

    /// An entry of one was found in the log.
    pub(super) fn found_entry(&mut self, bytes: u32) {
        self.found_bytes = (self.found_bytes.0 + u64::from(bytes), bytes.into());
    }

    /// That entry is the first of a checkpoint.
    pub(super) fn found_first(&mut self) {
        self.found_bytes.0 = self.found_bytes.1;
    }

    /// What the next one may take in the log, with some to spare.
    pub(super) fn room_bytes(&self) -> u64 {
        CHECKPOINT_ROOM_BYTES + 2 * self.bytes.max(self.found_bytes.0)
    }

    /// Where the newest begins that was found in the log.
    pub(super) fn newest_found(&self) -> Option<LogPos> {
        self.found
    }

    /// One that the superblock names.
    pub(super) fn recorded(&mut self, begin: LogPos) {
        self.newest = self.newest.max(Some(begin));
    }

    /// Where the newest begins that the superblock names.
    pub(super) fn newest(&self) -> Option<LogPos> {
        self.newest
    }

    /// Bytes of the last one.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether entries are still to be appended.
    pub(super) fn has_more(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.end.is_none())
    }

    /// Checkpoints completed so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }
}

impl<E: Env> Shard<E> {
    /// Begins a checkpoint with the topics, which only the first shard has; `false` if it could
    /// not.
    pub(super) fn begin_checkpoint(
        &mut self,
        topics: &[Vec<u8>],
        ids: (u32, u32),
        now: Nanos,
    ) -> bool {
        let (next_topic, next_queue) = ids;
        let forgot_producers = self.sequences.has_forgotten();
        let first = [Part::Shard { forgot_producers }, Part::Ids { next_topic, next_queue }];
        let topics = topics.iter().map(|change| Part::Topic(change));
        let (mut begin, mut bytes) = (None, 0);
        let mut parts = first.into_iter().chain(topics).peekable();
        while parts.peek().is_some() {
            match self.append_parts(&mut parts, (AckLevel::None, true), now) {
                Ok(appended) => {
                    begin = begin.or(Some((appended.pos, self.log.before())));
                    bytes += u64::from(appended.entry_bytes);
                }
                // What was written so far is true, and harmless.
                Err(_) => return false,
            }
        }
        let Some((begin, before)) = begin else { return false };
        self.checkpoints.running = Some(Running {
            begin,
            before,
            bytes,
            queues: self.queues.ids(),
            offsets: self.offsets.keys(),
            producers: self.sequences.keys(),
            end: None,
            asked: false,
        });
        true
    }

    /// Appends the next entry of a checkpoint, or notices that it is durable.
    pub(super) fn step_checkpoint(&mut self, now: Nanos) {
        let Some(mut running) = self.checkpoints.running.take() else { return };
        if self.log.poison().is_some() {
            return;
        }
        match running.end {
            Some(end) if self.log.durable() >= end => {
                let Running { begin, before, bytes, .. } = running;
                if !std::mem::replace(&mut running.asked, true) {
                    self.log.record_checkpoint(Pointer { begin, before });
                }
                if self.log.recorded().is_some_and(|recorded| recorded.begin == begin) {
                    self.checkpoints.recorded(begin);
                    self.checkpoints.bytes = bytes;
                    self.checkpoints.written += 1;
                    self.log.keep_back(self.checkpoints.room_bytes());
                    return;
                }
            }
            Some(_) => {}
            None => {
                if let Ok(end) = self.append_next(&mut running, now) {
                    running.end = end;
                }
            }
        }
        self.checkpoints.running = Some(running);
    }

    /// One entry; the group of the last one when nothing is left. On failure all of it is to be
    /// appended again.
    fn append_next(
        &mut self,
        running: &mut Running,
        now: Nanos,
    ) -> Result<Option<u64>, AppendError> {
        let (mut queues, mut offsets, mut producers) = (0, 0, 0);
        let mut parts = Vec::new();
        let mut bytes = 0;
        let mut add = |part: Option<(Vec<u8>, Vec<u8>)>| {
            if let Some((key, value)) = part {
                bytes += key.len() + value.len();
                parts.push((key, value));
            }
            bytes < ENTRY_BYTES
        };
        let mut room = true;
        while room && let Some(id) = running.queues.get(queues) {
            room = add(self.queues.start_part(*id).map(|part| part.encode()));
            room &= add(self.queues.part(*id).map(|part| part.encode()));
            queues += 1;
        }
        while room && let Some((group, queue)) = running.offsets.get(offsets) {
            room = add(self.offsets.part(group, *queue));
            offsets += 1;
        }
        while room && let Some(key) = running.producers.get(producers) {
            room = add(self.sequences.part(*key).map(|part| part.encode()));
            producers += 1;
        }
        let last = queues == running.queues.len()
            && offsets == running.offsets.len()
            && producers == running.producers.len();
        if last {
            parts.push(Part::End { begin: running.begin }.encode());
        }
        let flush = if last { AckLevel::Durable } else { AckLevel::None };
        let batch_bytes_max = self.log.batch_bytes_max();
        let mut builder = BatchBuilder::new(batch_bytes_max);
        for (key, value) in &parts {
            let batch_bytes = (key.len() + value.len()) as u32;
            add_record(&mut builder, key, value)
                .map_err(|_| AppendError::TooLarge { batch_bytes, batch_bytes_max })?;
        }
        let appended = self.append_batch(&mut builder, (flush, true), now)?;
        running.queues.drain(..queues);
        running.offsets.drain(..offsets);
        running.producers.drain(..producers);
        running.bytes += u64::from(appended.entry_bytes);
        Ok(last.then_some(appended.sequence))
    }

    /// One entry with as many of the parts as it may have; how far it has to go, and whether it is
    /// of a checkpoint.
    pub(super) fn append_parts<'a>(
        &mut self,
        parts: &mut std::iter::Peekable<impl Iterator<Item = Part<'a>>>,
        how: (AckLevel, bool),
        now: Nanos,
    ) -> Result<Appended, AppendError> {
        let mut builder = BatchBuilder::new(self.log.batch_bytes_max());
        while let Some(part) = parts.next_if(|_| builder.batch_bytes() < ENTRY_BYTES) {
            let (key, value) = part.encode();
            let batch_bytes_max = self.log.batch_bytes_max();
            let batch_bytes = (key.len() + value.len()) as u32;
            add_record(&mut builder, &key, &value)
                .map_err(|_| AppendError::TooLarge { batch_bytes, batch_bytes_max })?;
        }
        self.append_batch(&mut builder, how, now)
    }

    fn append_batch(
        &mut self,
        builder: &mut BatchBuilder,
        (flush, kept_back): (AckLevel, bool),
        now: Nanos,
    ) -> Result<Appended, AppendError> {
        let bytes = builder.finish().map_err(|_| AppendError::Busy)?;
        let batch = BatchRef::parse_unverified(bytes).map_err(|_| AppendError::Busy)?;
        let head = batch.stamped(0, self.log.epoch());
        let wall_ms = self.env.wall_ms();
        let entry = Append {
            kind: Kind::Checkpoint,
            queue: CHECKPOINT_QUEUE,
            base_offset: 0,
            wall_ms,
            records: batch.record_count(),
            keyed: false,
            head: &head,
            rest: batch.after_stamp(),
            ack: AckLevel::None,
            flush,
            kept_back,
        };
        self.log.append(self.env.disk(), now, &entry)
    }
}

fn add_record(builder: &mut BatchBuilder, key: &[u8], value: &[u8]) -> Result<(), BatchError> {
    builder.append(&NewRecord { key: Some(key), value: Some(value), ..NewRecord::default() })
}
