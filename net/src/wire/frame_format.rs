//! Frame headers and the optional parts behind them, big-endian.
//!
//! ```text
//! request header                            reply header
//! offset size field                         offset size field
//!      0    4 length  bytes after this           0    4 length  bytes after this
//!      4    1 op                                 4    1 op
//!      5    1 flags                              5    1 flags  optional parts that follow
//!      6    2 reserved, zero                     6    2 error, 0 = none
//!      8    4 correlation                        8    4 correlation
//!     12   [8 sent_at]  if SENT_AT              12  [24 timings]  if TIMINGS: 6 x u32 ns
//!                                                   [ 8 sent_at]  if SENT_AT
//! error body: 0 retry_after_ms u32, 4 range_start u64, 12 range_end u64, 20 message string
//! ```

use core::mem::offset_of;

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Flag: the reply carries (or, in a reply, is followed by) stage timings.
pub(super) const FLAG_TIMINGS: u8 = 1;
/// Flag: no reply is sent; produce only.
pub(super) const FLAG_ONE_WAY: u8 = 1 << 1;
/// Flag: the client's send time follows the header (in a reply: behind the timings).
pub(super) const FLAG_SENT_AT: u8 = 1 << 2;

pub(super) const LENGTH_BYTES: usize = 4;
pub(super) const REQUEST_HEADER_BYTES: usize = size_of::<RequestHead>();
pub(super) const REPLY_HEADER_BYTES: usize = size_of::<ReplyHead>();
pub(super) const OPTIONAL_REPLY_BYTES: usize = size_of::<TimingsPart>() + size_of::<U64>();

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RequestHead {
    pub(super) length: U32,
    pub(super) op: u8,
    pub(super) flags: u8,
    pub(super) reserved: U16,
    pub(super) correlation: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ReplyHead {
    pub(super) length: U32,
    pub(super) op: u8,
    pub(super) flags: u8,
    pub(super) error: U16,
    pub(super) correlation: U32,
}

/// Nanoseconds spent in each stage, in the order of [`Stage`](super::Stage).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct TimingsPart {
    pub(super) stages: [U32; 6],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ErrorHead {
    pub(super) retry_after_ms: U32,
    pub(super) range_start: U64,
    pub(super) range_end: U64,
}

const _: () = {
    assert!(size_of::<RequestHead>() == 12 && offset_of!(RequestHead, correlation) == 8);
    assert!(size_of::<ReplyHead>() == 12 && offset_of!(ReplyHead, error) == 6);
    assert!(size_of::<TimingsPart>() == 24);
    assert!(size_of::<ErrorHead>() == 20 && offset_of!(ErrorHead, range_end) == 12);
};
