//! The fixed parts of what consumer groups and idempotent producers send and get, big-endian.
//! Strings are `u16` length and UTF-8; an offset of ffffffffffffffff is none.
//!
//! ```text
//! requests
//! OffsetCommit    group string, 0 ack u8, 1 reserved u8, 2 count u16, then per queue: 0 topic u32,
//!                 4 queue u16, 6 reserved u16, 8 epoch u32, 12 offset u64, metadata string
//! OffsetFetch     group string, 0 count u16 (0 = all), then per queue: 0 topic u32, 4 queue u16
//! GroupList       empty
//! InitProducerId  empty
//! replies
//! OffsetCommit    0 count u16, then per queue: error u16
//! OffsetFetch     0 count u32, then per queue: 0 error u16, 2 topic u32, 6 queue u16, 8 epoch u32,
//!                 12 offset u64, 20 commit_time_ms u64, 28 start u64, 36 visible u64,
//!                 metadata string
//! GroupList       0 count u32, then per group: 0 queues u32, name string
//! InitProducerId  0 producer_id i64, 8 epoch i16
//! ```

use core::mem::offset_of;

use zerocopy::byteorder::big_endian::{I16, I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The offset that stands for none.
pub(super) const NO_OFFSET: u64 = u64::MAX;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct CommitHead {
    pub(super) ack: u8,
    pub(super) reserved: u8,
    pub(super) count: U16,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct CommitPart {
    pub(super) topic: U32,
    pub(super) queue: U16,
    pub(super) reserved: U16,
    pub(super) epoch: U32,
    pub(super) offset: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct PlacePart {
    pub(super) topic: U32,
    pub(super) queue: U16,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct CommittedPart {
    pub(super) error: U16,
    pub(super) topic: U32,
    pub(super) queue: U16,
    pub(super) epoch: U32,
    pub(super) offset: U64,
    pub(super) commit_time_ms: U64,
    pub(super) start: U64,
    pub(super) visible: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ProducerIdPart {
    pub(super) producer_id: I64,
    pub(super) epoch: I16,
}

const _: () = {
    assert!(size_of::<CommitHead>() == 4 && offset_of!(CommitHead, count) == 2);
    assert!(size_of::<CommitPart>() == 20 && offset_of!(CommitPart, offset) == 12);
    assert!(size_of::<PlacePart>() == 6);
    assert!(size_of::<CommittedPart>() == 44 && offset_of!(CommittedPart, visible) == 36);
    assert!(offset_of!(CommittedPart, offset) == 12 && offset_of!(CommittedPart, start) == 28);
    assert!(size_of::<ProducerIdPart>() == 10);
};
