//! The fixed parts of request bodies, big-endian. Strings are `u16` length and UTF-8.
//!
//! ```text
//! Hello        0 magic u32 "UMQ1", 4 version_min u16, 6 version_max u16, 8 shard_wish u16,
//!              10 client name string
//! Ping         up to 1024 bytes
//! Metadata     0 count u16 (0 = all), then count strings
//! TopicCreate  name string, then: 0 queues u16, 2 ack u8, 3 flags u8, limits
//! TopicAlter   name string, then: 0 ack u8, 1 flags u8, limits
//! limits       flag 2: retention_ms u64; flag 4: retention_bytes u64
//! TopicDelete, TopicDescribe   name string
//! TopicList    empty
//! Produce      0 topic u32, 4 queue u16, 6 ack u8, 7 reserved u8, 8 batch to the end
//! Fetch        0 topic u32, 4 queue u16, 6 reserved u16, 8 epoch u32, 12 offset u64,
//!              20 bytes_max u32, 24 bytes_min u32, 28 wait_max_ms u32
//! ListOffsets  0 topic u32, 4 queue u16, 6 kind u8, 7 reserved u8, 8 timestamp_ms i64
//! Stats        0 flags u8
//! Lookup       see `lookup`
//! ```

use core::mem::offset_of;

use zerocopy::byteorder::big_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(super) const PRODUCE_HEAD_BYTES: usize = size_of::<ProduceHead>();

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct HelloHead {
    pub(super) magic: U32,
    pub(super) version_min: U16,
    pub(super) version_max: U16,
    pub(super) shard_wish: U16,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct TopicCreateTail {
    pub(super) queues: U16,
    pub(super) ack: u8,
    pub(super) flags: u8,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct TopicAlterTail {
    pub(super) ack: u8,
    pub(super) flags: u8,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ProduceHead {
    pub(super) topic: U32,
    pub(super) queue: U16,
    pub(super) ack: u8,
    pub(super) reserved: u8,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct FetchBody {
    pub(super) topic: U32,
    pub(super) queue: U16,
    pub(super) reserved: U16,
    pub(super) epoch: U32,
    pub(super) offset: U64,
    pub(super) bytes_max: U32,
    pub(super) bytes_min: U32,
    pub(super) wait_max_ms: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ListOffsetsBody {
    pub(super) topic: U32,
    pub(super) queue: U16,
    pub(super) kind: u8,
    pub(super) reserved: u8,
    pub(super) timestamp_ms: I64,
}

const _: () = {
    assert!(size_of::<HelloHead>() == 10 && offset_of!(HelloHead, shard_wish) == 8);
    assert!(size_of::<TopicCreateTail>() == 4 && size_of::<TopicAlterTail>() == 2);
    assert!(size_of::<ProduceHead>() == 8 && offset_of!(ProduceHead, ack) == 6);
    assert!(size_of::<FetchBody>() == 32 && offset_of!(FetchBody, bytes_max) == 20);
    assert!(size_of::<ListOffsetsBody>() == 16 && offset_of!(ListOffsetsBody, timestamp_ms) == 8);
};
