//! What a consumer gets: messages that share the memory of the reply they came in.
//!
//! Nothing is copied per message; in turn, one message kept for long keeps its whole reply (and
//! what was read together with it) in memory. Those of a compressed batch share what it was made of.

use bytes::Bytes;
use engine::batch::{BatchRef, Record, Records};

use super::ClientError;

/// A count that a batch claims is believed up to here.
const RESERVED_MAX: u32 = 16 * 1024;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its queue.
    pub queue: u16,
    /// Its offset in the queue.
    pub offset: u64,
    /// The producer's time.
    pub timestamp_ms: i64,
    /// When the node stored it.
    pub store_timestamp_ms: u64,
    /// The key, if it has one.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<Header>,
}

/// One header of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name: UTF-8 by convention, unchecked.
    pub key: Bytes,
    /// The value, if it has one.
    pub value: Option<Bytes>,
}

/// Appends the messages of a batch from offset `wanted` on; all of them or, on an error, none.
/// `memory` is what `records` lie in.
pub(super) fn append_messages(
    messages: &mut Vec<Message>,
    memory: &Bytes,
    records: Records<'_>,
    batch: &BatchRef<'_>,
    queue: u16,
    store_timestamp_ms: u64,
    wanted: u64,
) -> Result<(), ClientError> {
    let base_offset = batch.base_offset();
    let before = messages.len();
    messages.reserve(batch.record_count().min(RESERVED_MAX) as usize);
    for record in records {
        let record = record.map_err(|source| {
            messages.truncate(before);
            ClientError::Batch { base_offset, source }
        })?;
        let offset = base_offset.saturating_add(u64::from(record.offset_delta));
        if offset >= wanted {
            messages.push(message(memory, &record, queue, offset, store_timestamp_ms));
        }
    }
    Ok(())
}

fn message(
    frame: &Bytes,
    record: &Record<'_>,
    queue: u16,
    offset: u64,
    store_timestamp_ms: u64,
) -> Message {
    let share = |bytes: &[u8]| frame.slice_ref(bytes);
    let header = |header: engine::batch::RecordHeader<'_>| Header {
        key: share(header.key),
        value: header.value.map(share),
    };
    Message {
        queue,
        offset,
        timestamp_ms: record.timestamp_ms,
        store_timestamp_ms,
        key: record.key.map(share),
        value: record.value.map(share),
        headers: record.headers.map(header).collect(),
    }
}
