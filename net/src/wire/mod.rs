//! The native protocol, version 1: a pure codec. `net/PROTOCOL.md` is its specification; a test
//! checks every example there against this code.
//!
//! Reading order: [`limits`], the four `*_format` files (the only offsets), `frame` (headers,
//! stream framing), `request`, `reply`, `entries` (what a fetch reply carries), `group_request`
//! and `group_reply` (consumer groups, idempotent producers), `lookup` (by key).
//!
//! Invariants: decoding never panics and never allocates more than the frame's own length;
//! decoding a produce or a fetch request allocates nothing; an encoder that returns an error
//! leaves `out` as it was; no encoder emits a frame above the limits.
//!
//! Deliberately absent: I/O, buffers' ownership, what an operation means, and the record batch
//! itself (`engine::batch` looks inside it; here it is a run of bytes).

mod cursor;
mod entries;
mod error;
mod frame;
mod frame_format;
mod group_format;
mod group_reply;
mod group_request;
pub mod limits;
mod lookup;
mod names;
mod reply;
mod reply_encode;
mod reply_format;
mod request;
mod request_encode;
mod request_format;
mod vocabulary;

#[cfg(test)]
mod proptests;

#[cfg(test)]
pub(crate) use entries::write_entry;
pub use entries::{ENTRY_HEADER_BYTES, Entries, Entry, EntryError, Kind};
pub use error::{DecodeError, EncodeError, ErrorCode};
pub use frame::{ReplyHeader, RequestHeader, frame_length, peek_reply, peek_request};
pub use group_reply::{CommittedReply, GroupSummary, ProducerId};
pub use group_request::{NewOffset, OffsetCommit, OffsetFetch, Offsets, Places, check_group_name};
pub use lookup::{Lookup, LookupReply};
pub use names::{Names, check_topic_name};
pub use reply::{
    Counter, ErrorReply, FetchReply, HelloReply, HistogramPart, OffsetReply, QueueDescription,
    Reply, StatsReply, TopicDescription, TopicMetadata, TopicSummary, decode_reply,
};
pub use reply_encode::{encode_error, encode_fetch_header, encode_produce_reply, encode_reply};
pub use request::{
    Fetch, Hello, ListOffsets, Produce, Request, TopicAlter, TopicCreate, decode_request,
};
pub use request_encode::{encode_produce_header, encode_request};
pub use vocabulary::{
    AckLevel, ListKind, Operation, Retention, STATS_PER_SHARD, Stage, TOPIC_DEEP_VALIDATION,
    TOPIC_KEY_INDEX, TOPIC_KEY_INDEX_GIVEN, TOPIC_RETENTION_BYTES, TOPIC_RETENTION_MS, Timings,
};

/// First four bytes of a Hello body, `b"UMQ1"` read as a big-endian number.
pub const MAGIC: u32 = 0x554D_5131;

/// The protocol version this codec speaks.
pub const VERSION: u16 = 1;

/// A Hello's shard wish that means "any", and a statistic's shard that means "all, merged".
pub const SHARD_ANY: u16 = 0xFFFF;

/// The version to speak with a client that offers `min..=max`; `None` if there is none in common.
#[must_use]
pub fn negotiate(min: u16, max: u16) -> Option<u16> {
    (min <= VERSION && VERSION <= max).then_some(VERSION)
}
