//! What a producer sends, which queue it goes to, and where it ended up.

use std::time::{SystemTime, UNIX_EPOCH};

use engine::batch::{NewRecord, RecordHeader};

use super::super::Timings;

/// A record to send.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    /// The key, if any.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: &'a [RecordHeader<'a>],
    /// The producer's time in milliseconds since 1970; `None`: now.
    pub timestamp_ms: Option<i64>,
}

impl<'a> Record<'a> {
    /// A record with nothing but a value.
    #[must_use]
    pub const fn new(value: &'a [u8]) -> Self {
        Self { key: None, value: Some(value), headers: &[], timestamp_ms: None }
    }

    /// The same record with a key.
    #[must_use]
    pub const fn with_key(self, key: &'a [u8]) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The same record with headers.
    #[must_use]
    pub const fn with_headers(self, headers: &'a [RecordHeader<'a>]) -> Self {
        Self { headers, ..self }
    }

    /// The same record with a time of its own.
    #[must_use]
    pub const fn with_timestamp_ms(self, timestamp_ms: i64) -> Self {
        Self { timestamp_ms: Some(timestamp_ms), ..self }
    }

    pub(super) fn stamped(&self) -> NewRecord<'a> {
        NewRecord {
            timestamp_ms: self.timestamp_ms.unwrap_or_else(now_ms),
            key: self.key,
            value: self.value,
            headers: self.headers,
        }
    }

    /// What it takes in a batch, or a little more.
    pub(super) fn size(&self) -> usize {
        let length = |field: Option<&[u8]>| field.map_or(0, <[u8]>::len);
        let mut size = RECORD_OVERHEAD_BYTES
            .saturating_add(length(self.key))
            .saturating_add(length(self.value));
        for header in self.headers {
            size = size
                .saturating_add(2 * LENGTH_BYTES_MAX + header.key.len())
                .saturating_add(length(header.value));
        }
        size
    }
}

/// The longest encoding of a length.
const LENGTH_BYTES_MAX: usize = 5;
/// A record without its contents: lengths, attributes, deltas of time and offset.
const RECORD_OVERHEAD_BYTES: usize = 4 * LENGTH_BYTES_MAX + 1 + 10 + 3;

/// How a record finds its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitioner {
    /// Always this one.
    Queue(u16),
    /// One after the other, call by call.
    RoundRobin,
    /// CRC-32C of the key, modulo the number of queues; without a key as `RoundRobin`.
    KeyHash,
}

impl Partitioner {
    /// The queue of a record, of `queues`, at least one.
    pub(super) fn choose(self, queues: u16, key: Option<&[u8]>, turn: u32) -> u16 {
        let queues = u32::from(queues.max(1));
        match (self, key) {
            (Self::Queue(queue), _) => queue,
            (Self::KeyHash, Some(key)) => (crc32c::crc32c(key) % queues) as u16,
            _ => (turn % queues) as u16,
        }
    }
}

/// Where a record was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The queue.
    pub queue: u16,
    /// The offset in the queue.
    pub offset: u64,
    /// Where the node spent its time, if the producer asks for it.
    pub timings: Option<Timings>,
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}
