//! Every maximum of the protocol, in one place; they prove each other at compile time.
//!
//! The Hello reply repeats those a client has to keep to, so that they may change per node.

use super::frame_format::{OPTIONAL_REPLY_BYTES, REPLY_HEADER_BYTES, REQUEST_HEADER_BYTES};
use super::reply_format::{FETCH_REPLY_HEAD_BYTES, QUEUE_DESCRIPTION_BYTES};
use super::request_format::PRODUCE_HEAD_BYTES;

/// Bytes of a record batch's own header (Kafka's record batch, magic v2).
pub const BATCH_HEADER_BYTES: u32 = engine::batch::HEADER_BYTES as u32;

/// Largest record batch: 1 MiB of records and the batch header.
pub const BATCH_BYTES_MAX: u32 = 1024 * 1024 + BATCH_HEADER_BYTES;

/// Largest request frame, its length field included.
pub const FRAME_BYTES_MAX: u32 = 1024 * 1024 + 4096;

/// Most entry bytes in one fetch reply.
pub const FETCH_BYTES_MAX: u32 = 8 * 1024 * 1024;

/// Largest reply frame, its length field included.
pub const REPLY_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// Longest topic name.
pub const TOPIC_NAME_BYTES_MAX: u16 = 249;

/// Longest name of a consumer group.
pub const GROUP_NAME_BYTES_MAX: u16 = engine::limits::GROUP_NAME_BYTES_MAX as u16;

/// Longest metadata kept with a committed offset.
pub const OFFSET_METADATA_BYTES_MAX: u16 = engine::limits::OFFSET_METADATA_BYTES_MAX as u16;

/// Longest client name in a Hello, and node name in its reply.
pub const PEER_NAME_BYTES_MAX: u16 = 255;

/// Longest key that can be looked for.
pub const KEY_BYTES_MAX: u16 = u16::MAX;

/// Longest Ping body.
pub const PING_BYTES_MAX: u32 = 1024;

/// Longest sentence in an error body; longer ones are cut.
pub const MESSAGE_BYTES_MAX: u16 = 1024;

/// Longest a fetch may wait on the node.
pub const WAIT_MAX_MS: u32 = 60_000;

const SENT_AT_BYTES: u32 = 8;

const _: () = {
    let request_overhead = REQUEST_HEADER_BYTES as u32 + SENT_AT_BYTES + PRODUCE_HEAD_BYTES as u32;
    assert!(BATCH_BYTES_MAX + request_overhead <= FRAME_BYTES_MAX, "a full batch fits a frame");

    let entry_bytes_max = super::ENTRY_HEADER_BYTES as u32 + BATCH_BYTES_MAX.next_multiple_of(8);
    assert!(entry_bytes_max <= FETCH_BYTES_MAX, "any entry fits a fetch reply");

    let reply_overhead =
        (REPLY_HEADER_BYTES + OPTIONAL_REPLY_BYTES + FETCH_REPLY_HEAD_BYTES) as u32;
    assert!(FETCH_BYTES_MAX + reply_overhead <= REPLY_BYTES_MAX, "a full fetch fits a reply");

    let queues_bytes = u16::MAX as u32 * QUEUE_DESCRIPTION_BYTES as u32;
    assert!(queues_bytes + 4096 <= REPLY_BYTES_MAX, "the widest topic can be described");
    assert!(KEY_BYTES_MAX as u32 + request_overhead + 32 <= FRAME_BYTES_MAX);
    assert!(engine::limits::LOOKUP_OFFSETS_MAX * 8 + reply_overhead + 32 <= REPLY_BYTES_MAX);
    assert!(PING_BYTES_MAX + request_overhead <= FRAME_BYTES_MAX);
    assert!(MESSAGE_BYTES_MAX as u32 + reply_overhead + 32 <= REPLY_BYTES_MAX);
};
