//! A batch on its way: its numbers, its attempts, and the reply that is awaited.

use std::time::Duration;

use engine::batch::BatchRef;
use tokio::time::Instant;

use super::super::connection::ReplyFuture;
use super::super::{ClientError, Compression, compression};
use super::lane::{Filling, Line};
use super::observer::BatchReport;
use super::record::Sent;

#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) filling: Filling,
    /// Records in it.
    pub(super) count: u32,
    /// The batch, compressed; it is made again when the numbers change.
    packed: Option<Vec<u8>>,
    pub(super) sequence: i32,
    pub(super) deadline: Instant,
    pub(super) reply: Option<ReplyFuture>,
    /// When the last attempt began, and the first.
    pub(super) sent_at: Option<Instant>,
    first_sent_at: Option<Instant>,
    attempts: u32,
    /// Attempts that failed, those to connect among them.
    pub(super) failures: u32,
    /// An attempt ended without an answer: it may be stored.
    pub(super) unanswered: bool,
    /// A new epoch was begun for its sake.
    pub(super) renewed: bool,
}

impl Parcel {
    pub(super) fn new(filling: Filling, delivery_timeout: Duration) -> Self {
        Self {
            count: filling.builder.record_count(),
            packed: None,
            sequence: 0,
            deadline: filling.since + delivery_timeout,
            reply: None,
            sent_at: None,
            first_sent_at: None,
            attempts: 0,
            failures: 0,
            unanswered: false,
            renewed: false,
            filling,
        }
    }

    /// Takes its place in line.
    pub(super) fn number(&mut self, line: &mut Line) {
        self.sequence = line.next;
        self.filling.builder.set_producer(line.id, line.epoch, line.next);
        self.packed = None;
        line.next = after(line.next, self.count);
    }

    /// Whether its fate is open should it be given up now.
    pub(super) fn in_doubt(&self) -> bool {
        self.unanswered || self.reply.is_some()
    }

    /// Waits no more for the attempt under way.
    pub(super) fn forget_attempt(&mut self) {
        self.unanswered |= self.reply.take().is_some();
    }

    /// What is sent.
    pub(super) fn batch(&mut self, compression: Compression) -> Result<&[u8], ClientError> {
        if self.packed.is_none() && compression != Compression::None {
            let plain = self.filling.builder.finish().map_err(ClientError::Records)?;
            let plain = BatchRef::parse_unverified(plain).map_err(ClientError::Records)?;
            match compression::pack(&plain, compression) {
                Ok(packed) => self.packed = packed,
                // It is still good as it is.
                Err(error) => tracing::warn!(%error, "a batch goes uncompressed"),
            }
        }
        match &self.packed {
            Some(packed) => Ok(packed),
            None => self.filling.builder.finish().map_err(ClientError::Records),
        }
    }

    /// It was sent.
    pub(super) fn begun(&mut self, reply: ReplyFuture) {
        let now = Instant::now();
        self.reply = Some(reply);
        self.sent_at = Some(now);
        self.first_sent_at.get_or_insert(now);
        self.attempts += 1;
    }

    /// What became of it, for those who measure.
    pub(super) fn report(&self, queue: u16, sent: Option<&Sent>) -> BatchReport {
        let since = self.filling.since;
        let plain_bytes = self.filling.builder.batch_bytes();
        BatchReport {
            queue,
            records: self.count,
            plain_bytes,
            sent_bytes: self.packed.as_ref().map_or(plain_bytes, Vec::len),
            attempts: self.attempts,
            queued: self.first_sent_at.unwrap_or_else(Instant::now) - since,
            took: since.elapsed(),
            timings: sent.and_then(|sent| sent.timings),
        }
    }
}

/// The sequence number `records` further: after `i32::MAX` comes 0.
fn after(sequence: i32, records: u32) -> i32 {
    (sequence.cast_unsigned().wrapping_add(records) & i32::MAX as u32).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_wrap_to_zero() {
        assert_eq!(after(5, 3), 8);
        assert_eq!(after(i32::MAX, 1), 0);
        assert_eq!(after(i32::MAX - 1, 3), 1);
    }
}
