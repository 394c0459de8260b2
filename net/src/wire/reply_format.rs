//! The fixed parts of reply bodies, big-endian. Strings are `u16` length and UTF-8.
//!
//! ```text
//! Hello          0 version u16, 2 shard u16, 4 shards u16, 6 reserved u16, 8 frame_bytes_max u32,
//!                12 batch_bytes_max u32, 16 fetch_bytes_max u32, 20 node_id 16 bytes,
//!                36 node name string
//! Ping           the request's body
//! Metadata       0 count u32, then per topic: 0 error u16, 2 topic u32, 6 ack u8, name string,
//!                queue count u16, then per queue: shard u16
//! TopicCreate    0 topic u32
//! TopicDelete    empty
//! TopicList      0 count u32, then per topic: 0 topic u32, 4 queues u16, 6 ack u8, name string
//! TopicAlter     empty
//! TopicDescribe  0 topic u32, 4 ack u8, 5 flags u8, name string, flag 2: retention_ms u64, flag 4:
//!                retention_bytes u64, queue count u16, then per queue:
//!                0 queue u16, 2 shard u16, 4 start u64, 12 end u64, 20 visible u64, 28 bytes u64;
//!                then 0 fetched_records u64, 8 fetched_bytes u64
//! Produce        0 base_offset u64
//! Fetch          0 log_start u64, 8 visible u64, 16 entries to the end
//! ListOffsets    0 offset u64, 8 timestamp_ms i64
//! Lookup         see `lookup`
//! Stats          0 count u16, then per histogram: 0 op u8, 1 stage u8, 2 shard u16, 4 length u32,
//!                HdrHistogram V2; then 0 count u16, then per counter: name string, 0 shard u16,
//!                2 value u64
//! ```

use core::mem::offset_of;

use zerocopy::byteorder::big_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::frame_format::ReplyHead;

pub(super) const FETCH_REPLY_HEAD_BYTES: usize = size_of::<FetchReplyHead>();
pub(super) const QUEUE_DESCRIPTION_BYTES: usize = size_of::<QueuePart>();

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct HelloReplyHead {
    pub(super) version: U16,
    pub(super) shard: U16,
    pub(super) shards: U16,
    pub(super) reserved: U16,
    pub(super) frame_bytes_max: U32,
    pub(super) batch_bytes_max: U32,
    pub(super) fetch_bytes_max: U32,
    pub(super) node_id: [u8; 16],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct MetadataPart {
    pub(super) error: U16,
    pub(super) topic: U32,
    pub(super) ack: u8,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct SummaryPart {
    pub(super) topic: U32,
    pub(super) queues: U16,
    pub(super) ack: u8,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct DescriptionHead {
    pub(super) topic: U32,
    pub(super) ack: u8,
    pub(super) flags: u8,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct QueuePart {
    pub(super) queue: U16,
    pub(super) shard: U16,
    pub(super) start: U64,
    pub(super) end: U64,
    pub(super) visible: U64,
    pub(super) bytes: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct DescriptionTail {
    pub(super) fetched_records: U64,
    pub(super) fetched_bytes: U64,
}

/// A whole produce reply without optional parts: the frame a node sends most often.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct PlainProduceReply {
    pub(super) head: ReplyHead,
    pub(super) base_offset: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct FetchReplyHead {
    pub(super) log_start: U64,
    pub(super) visible: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct OffsetPart {
    pub(super) offset: U64,
    pub(super) timestamp_ms: I64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct HistogramHead {
    pub(super) op: u8,
    pub(super) stage: u8,
    pub(super) shard: U16,
    pub(super) length: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct CounterTail {
    pub(super) shard: U16,
    pub(super) value: U64,
}

const _: () = {
    assert!(size_of::<HelloReplyHead>() == 36 && offset_of!(HelloReplyHead, node_id) == 20);
    assert!(size_of::<MetadataPart>() == 7 && offset_of!(MetadataPart, ack) == 6);
    assert!(size_of::<SummaryPart>() == 7 && offset_of!(SummaryPart, ack) == 6);
    assert!(size_of::<DescriptionHead>() == 6);
    assert!(size_of::<DescriptionTail>() == 16);
    assert!(size_of::<QueuePart>() == 36 && offset_of!(QueuePart, bytes) == 28);
    assert!(
        size_of::<PlainProduceReply>() == 20 && offset_of!(PlainProduceReply, base_offset) == 12
    );
    assert!(size_of::<FetchReplyHead>() == 16 && size_of::<OffsetPart>() == 16);
    assert!(size_of::<HistogramHead>() == 8 && offset_of!(HistogramHead, length) == 4);
    assert!(size_of::<CounterTail>() == 10);
};
