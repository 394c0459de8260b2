//! A block of spans in an index file; big-endian.
//!
//! ```text
//!   offset size field
//!        0    4 checksum       crc32c of bytes [4, 4096), seeded with segment and block number
//!        4    2 spans          in this block: 145 but in the last
//!        6   10 reserved       zero
//!       16   28 span, each:
//!             0    8 base_offset    of its first record
//!             8    8 store_ms       store time of the group
//!            16    4 offset         of the first entry in the segment file
//!            20    4 length         bytes to the end of the queue's last entry in the group;
//!                                   the highest bit: no other queue's entry lies between
//!            24    4 batch_bytes    bytes of the queue's batches in the group
//! ```

use std::mem::size_of;

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::file_format::SPAN_BYTES_MIN;
use super::queue::Span;
use crate::io::BLOCK_BYTES;
use crate::limits::CHUNK_BYTES;
use crate::log::position::LogPos;
use crate::log::segments::Geometry;

const BLOCK: usize = BLOCK_BYTES as usize;
/// Spans in a full block.
pub const SPANS_PER_BLOCK: u32 = ((BLOCK - size_of::<RawBlock>()) / size_of::<RawSpan>()) as u32;

const ALONE: u32 = 1 << 31;

/// What every block begins with, of spans or of keys.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawBlock {
    pub(super) checksum: U32,
    pub(super) count: U16,
    pub(super) reserved: [u8; 10],
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawSpan {
    base_offset: U64,
    store_ms: U64,
    offset: U32,
    length: U32,
    batch_bytes: U32,
}

const _: () = assert!(size_of::<RawBlock>() == 16 && size_of::<RawSpan>() == 28);
const _: () = assert!(SPANS_PER_BLOCK == 145);

/// One block of spans, to be written.
#[derive(Debug)]
pub(crate) struct SpanBlock {
    bytes: Box<[u8; BLOCK]>,
    spans: u32,
}

impl SpanBlock {
    pub(crate) fn new() -> Self {
        Self { bytes: Box::new([0; BLOCK]), spans: 0 }
    }

    /// Adds a span; `false` when the block is full.
    pub(crate) fn push(&mut self, span: &Span, geometry: &Geometry) -> bool {
        let raw = RawSpan {
            base_offset: span.base_offset.into(),
            store_ms: span.store_timestamp_ms.into(),
            offset: (geometry.offset(span.pos) as u32).into(),
            length: (span.len | if span.alone { ALONE } else { 0 }).into(),
            batch_bytes: span.batch_bytes.into(),
        };
        let at = size_of::<RawBlock>() + self.spans as usize * size_of::<RawSpan>();
        let Some(room) = self.bytes.get_mut(at..at + size_of::<RawSpan>()) else { return false };
        room.copy_from_slice(raw.as_bytes());
        self.spans += 1;
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spans == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.spans == SPANS_PER_BLOCK
    }

    /// The block's bytes, complete as block `block` of segment `number`.
    pub(crate) fn finish(mut self, number: u64, block: u32) -> Box<[u8; BLOCK]> {
        self.bytes[4..6].copy_from_slice(&(self.spans as u16).to_be_bytes());
        let sum = checksum(&self.bytes[4..], number, block);
        self.bytes[..4].copy_from_slice(&sum.to_be_bytes());
        self.bytes
    }
}

pub(super) fn checksum(bytes: &[u8], number: u64, block: u32) -> u32 {
    let seed = crc32c::crc32c_append(crc32c::crc32c(&number.to_be_bytes()), &block.to_be_bytes());
    crc32c::crc32c_append(seed, bytes)
}

/// The spans of one block, as they were written.
#[derive(Debug)]
pub struct Spans<'a>(&'a [RawSpan]);

impl<'a> Spans<'a> {
    /// Reads block `block` of segment `number`; `None` when it is not what was written.
    #[must_use]
    pub fn decode(bytes: &'a [u8], number: u64, block: u32) -> Option<Self> {
        let bytes = bytes.get(..BLOCK)?;
        let (head, spans) = RawBlock::ref_from_prefix(bytes).ok()?;
        let intact = head.checksum.get() == checksum(bytes.get(4..)?, number, block);
        let (spans, rest) =
            <[RawSpan]>::ref_from_prefix_with_elems(spans, head.count.get().into()).ok()?;
        let clean = head.reserved == [0; 10] && rest.iter().all(|byte| *byte == 0);
        (intact && clean).then_some(Self(spans))
    }

    /// How many.
    #[expect(clippy::len_without_is_empty, reason = "no block is empty")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The spans at `range`, of one queue in segment `number`; `None` if they are not there, do not
    /// follow each other, or one lies outside of the segment.
    #[must_use]
    pub fn get(
        &self,
        range: std::ops::Range<usize>,
        number: u64,
        geometry: &Geometry,
    ) -> Option<impl Iterator<Item = Span> + use<'a>> {
        let spans = self.0.get(range)?;
        let in_order = spans.windows(2).all(|pair| match pair {
            [first, second] => {
                first.base_offset < second.base_offset
                    && first.store_ms <= second.store_ms
                    && first.end() <= second.offset.get().into()
            }
            _ => true,
        });
        if !in_order {
            return None;
        }
        checked(spans, number, geometry)
    }

    /// The spans of all queues; `None` if one lies outside of the segment.
    #[must_use]
    pub fn all(
        &self,
        number: u64,
        geometry: &Geometry,
    ) -> Option<impl Iterator<Item = Span> + use<'a>> {
        checked(self.0, number, geometry)
    }
}

impl RawSpan {
    /// Bytes, without what else the field says.
    fn len(&self) -> u32 {
        self.length.get() & !ALONE
    }

    /// Offset of its end in the segment file.
    fn end(&self) -> u64 {
        u64::from(self.offset.get()) + u64::from(self.len())
    }
}

/// The spans, if they lie in their segment.
fn checked<'a>(
    spans: &'a [RawSpan],
    number: u64,
    geometry: &Geometry,
) -> Option<impl Iterator<Item = Span> + use<'a>> {
    let lies_inside = |raw: &RawSpan| {
        raw.offset.get() >= BLOCK_BYTES
            && raw.end() <= geometry.segment_bytes
            // A span is of one group, which is built in one chunk of memory.
            && (SPAN_BYTES_MIN..=u64::from(CHUNK_BYTES)).contains(&raw.len().into())
    };
    let start = number.checked_mul(geometry.segment_bytes)?;
    let span = move |raw: &RawSpan| Span {
        base_offset: raw.base_offset.get(),
        pos: LogPos(start + u64::from(raw.offset.get())),
        store_timestamp_ms: raw.store_ms.get(),
        len: raw.len(),
        batch_bytes: raw.batch_bytes.get(),
        alone: raw.length.get() & ALONE != 0,
    };
    spans.iter().all(lies_inside).then(|| spans.iter().map(span))
}

#[cfg(test)]
mod tests;
