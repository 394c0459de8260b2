//! Publish: check a batch, give it its offsets, append it to the open group.

use super::room::ENOSPC;
use super::sequences::{Numbered, Verdict};
use super::{Effect, ProduceError, Shard, Token, Waiter};
use crate::batch::BatchRef;
use crate::io::{Env, Nanos};
use crate::level::AckLevel;
use crate::limits::WAITERS_MAX;
use crate::log::entry_format::Kind;
use crate::log::position::LogPos;
use crate::log::writer::{Append, AppendError, Appended};
use crate::stage::Timings;

/// A produce request.
#[derive(Clone, Copy, Debug)]
pub struct Produce<'a> {
    /// The caller's name for it.
    pub token: Token,
    /// Queue id.
    pub queue: u32,
    /// When it is acknowledged.
    pub ack: AckLevel,
    /// One record batch.
    pub batch: &'a [u8],
    /// Start of the turn that received it.
    pub gathered: Nanos,
}

impl<E: Env> Shard<E> {
    /// Takes a batch. It is answered in this or a later turn, once its level is reached; a level
    /// of `none` is not answered.
    pub fn produce(&mut self, request: &Produce<'_>, effects: &mut Vec<Effect>) {
        if let Err(error) = self.try_produce(request, Kind::Data)
            && request.ack != AckLevel::None
        {
            let (token, timings) = (request.token, Timings::default());
            effects.push(Effect::Produced { token, result: Err(error), timings });
        }
    }

    /// Takes a change of topics or queues (always durable); it is answered like a produce.
    pub fn produce_metadata(&mut self, request: &Produce<'_>, effects: &mut Vec<Effect>) {
        if let Err(error) = self.try_produce(request, Kind::Metadata) {
            let (token, timings) = (request.token, Timings::default());
            effects.push(Effect::Produced { token, result: Err(error), timings });
        }
    }

    fn try_produce(&mut self, request: &Produce<'_>, kind: Kind) -> Result<(), ProduceError> {
        if self.stopping {
            return Err(ProduceError::Stopping);
        }
        if kind == Kind::Data && self.room.refuses() {
            return Err(ProduceError::Append(AppendError::DiskFull { errno: ENOSPC }));
        }
        let queue = self.queues.get_mut(request.queue).ok_or(ProduceError::UnknownQueue)?;
        let batch = BatchRef::parse(request.batch, self.log.batch_bytes_max())
            .map_err(ProduceError::Batch)?;
        let keyed = queue.keyed && kind == Kind::Data;
        if keyed && batch.is_compressed() {
            return Err(ProduceError::Compressed);
        }
        if queue.deep || keyed {
            batch.validate_deep().map_err(ProduceError::Batch)?;
        }
        let waiting = self.written_waiters.len() + self.durable_waiters.len();
        if waiting >= WAITERS_MAX {
            return Err(ProduceError::TooManyWaiting);
        }
        let numbered = Numbered::of(&batch);
        if let Some(numbered) = &numbered {
            let verdict = self.sequences.check(request.queue, numbered);
            if let Verdict::Repeated(stored) = verdict.map_err(ProduceError::Sequence)? {
                self.wait_again(request, stored);
                return Ok(());
            }
        }
        // One look at the wall clock per turn.
        if self.wall.0 != request.gathered {
            self.wall = (request.gathered, self.env.wall_ms());
        }
        let wall_ms = self.wall.1;
        let base_offset = queue.next_offset;
        let head = batch.stamped(base_offset, self.log.epoch());
        let entry = Append {
            kind,
            queue: request.queue,
            base_offset,
            wall_ms,
            records: batch.record_count(),
            keyed,
            head: &head,
            rest: batch.after_stamp(),
            ack: request.ack,
            flush: request.ack.max(queue.visibility),
            kept_back: false,
        };
        // Used where it was returned, not moved: a copy in one piece of what was stored in two waits until
        // the batch's bytes have left the store buffer (measured: a tenth of a produce).
        let result = self.log.append(self.env.disk(), request.gathered, &entry);
        let appended = match &result {
            Ok(appended) => appended,
            Err(error) => return Err(ProduceError::Append(*error)),
        };
        self.counters.batches += 1;
        self.counters.records += u64::from(entry.records);
        self.counters.batch_bytes += request.batch.len() as u64;
        if let Some(numbered) = &numbered {
            let group = appended.sequence;
            self.sequences.appended(request.queue, numbered, base_offset, group);
        }
        self.index(request, appended, entry.records);
        if keyed {
            let current = self.log.segments().current();
            self.sealing.keys.add_batch(current, request.batch, request.queue, base_offset);
        }
        self.wait(request, appended, base_offset);
        Ok(())
    }

    fn index(&mut self, request: &Produce<'_>, appended: &Appended, records: u32) {
        let epoch = self.log.epoch();
        let Some(queue) = self.queues.get_mut(request.queue) else { return };
        let last = queue.index.last_pos();
        let begins_span = queue.index.add(
            appended.sequence,
            queue.next_offset,
            appended.pos,
            (appended.entry_bytes, request.batch.len() as u32),
            appended.store_timestamp_ms,
        );
        if begins_span {
            // What was just appended lies in the current segment.
            let current = self.log.segments().current();
            let start = LogPos(current * self.log.segments().geometry().segment_bytes);
            if last.is_none_or(|last| last < start) {
                self.sealing.touch(current, request.queue);
            }
        }
        queue.lives.note(epoch, queue.next_offset);
        queue.next_offset += u64::from(records);
        queue.bytes += request.batch.len() as u64;
        match queue.visibility {
            AckLevel::None | AckLevel::Memory => {
                queue.index.show_all();
                if self.parked.waits_for(request.queue) {
                    self.woken.insert(request.queue);
                }
            }
            AckLevel::Written if begins_span => {
                self.written_touched.push_back((appended.sequence, request.queue));
            }
            AckLevel::Durable if begins_span => {
                self.durable_touched.push_back((appended.sequence, request.queue));
            }
            AckLevel::Written | AckLevel::Durable => {}
        }
    }

    pub(super) fn wait(&mut self, request: &Produce<'_>, appended: &Appended, base_offset: u64) {
        let waiter = Waiter {
            token: request.token,
            sequence: appended.sequence,
            base_offset,
            gathered: request.gathered,
            received: Nanos(0),
        };
        match request.ack {
            AckLevel::None => {}
            AckLevel::Memory => self.memory_waiters.push(waiter),
            AckLevel::Written => self.written_waiters.push_back(waiter),
            AckLevel::Durable => self.durable_waiters.push_back(waiter),
        }
    }
}
