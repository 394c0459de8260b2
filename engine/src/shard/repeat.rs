//! A batch that an idempotent producer sends again: answered with the offset it has, once it has
//! reached the level that is asked for now. It may still be on its way, or may have been sent for
//! less before.

use super::produce::Produce;
use super::sequences::Stored;
use super::{LogPos, Shard};
use crate::io::Env;
use crate::level::AckLevel;
use crate::log::writer::Appended;

impl<E: Env> Shard<E> {
    /// Waits for what was appended before.
    pub(super) fn wait_again(&mut self, request: &Produce<'_>, stored: Stored) {
        self.counters.repeated_batches += 1;
        let (waiters, reached) = match request.ack {
            AckLevel::None => return,
            AckLevel::Memory => (&self.memory_waiters.last(), u64::MAX),
            AckLevel::Written => (&self.written_waiters.back(), self.log.written()),
            AckLevel::Durable => (&self.durable_waiters.back(), self.log.durable()),
        };
        // Waiters are answered from the front: nobody may stand behind one who waits for more.
        let behind = waiters.map_or(0, |last| last.sequence);
        let mut request = *request;
        let mut sequence = stored.group;
        if sequence <= reached {
            request.ack = AckLevel::Memory;
        } else {
            self.log.want(sequence, request.ack);
            sequence = sequence.max(behind);
        }
        let appended = Appended { pos: LogPos(0), entry_bytes: 0, sequence, store_timestamp_ms: 0 };
        self.wait(&request, &appended, stored.base_offset);
    }
}
