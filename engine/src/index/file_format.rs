//! Index file: where the records of each queue lie in one sealed segment; big-endian.
//!
//! ```text
//!   blocks of 4096 bytes   spans of all queues, by queue, then in order:
//!     offset size field
//!          0    4 checksum       crc32c of bytes [4, 4096), seeded with segment and block number
//!          4    2 spans          in this block: 145 but in the last
//!          6   10 reserved       zero
//!         16   28 span, each:
//!               0    8 base_offset    of its first record
//!               8    8 store_ms       store time of the group
//!              16    4 offset         of the first entry in the segment file
//!              20    4 length         bytes to the end of the queue's last entry in the group;
//!                                     the highest bit: no other queue's entry lies between
//!              24    4 batch_bytes    bytes of the queue's batches in the group
//!   fences, 16 bytes for each block of spans:
//!          0    8 base_offset    of its first span
//!          8    8 store_ms
//!   queues, 48 bytes each, by id:
//!          0    4 queue
//!          4    4 first          its first span, counted over all blocks
//!          8    4 spans
//!         12    4 reserved       zero
//!         16    8 base_offset
//!         24    8 end_offset     behind its last record in the segment
//!         32    8 batch_bytes
//!         40    8 newest_ms      store time of its last span
//!   zeros to the last block, the footer:
//!          0    4 magic          "UIX1"
//!          4    4 checksum       crc32c of bytes [8, 4096)
//!          8    4 version        1
//!         12    2 shard
//!         14    2 reserved       zero
//!         16    8 number         of the segment
//!         24    8 segment_bytes
//!         32   16 node           id of the data directory
//!         48    8 first_sequence of the segment's groups
//!         56    8 last_sequence
//!         64    8 newest_ms      nothing in it was stored later
//!         72    4 blocks         of spans
//!         76    4 queues
//!         80    4 directory      crc32c of fences and queues
//!         84 4012 reserved       zero
//! ```
//!
//! The footer is written last, when everything before it is durable.
//! A reader takes nothing that a segment of this length cannot hold, and no spans outside of it: so
//! whatever a file says, it asks for no more memory than its segment is long.

use std::mem::{offset_of, size_of};

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::queue::Span;
use crate::io::BLOCK_BYTES;
use crate::limits::CHUNK_BYTES;
use crate::log::entry_format::ENTRY_HEADER_BYTES;
use crate::log::position::LogPos;
use crate::log::segments::Geometry;

const BLOCK: usize = BLOCK_BYTES as usize;
/// Spans in a full block.
pub const SPANS_PER_BLOCK: u32 = ((BLOCK - size_of::<RawBlock>()) / size_of::<RawSpan>()) as u32;
/// Bytes of one fence.
pub(crate) const FENCE_BYTES: usize = size_of::<Fence>();
/// Bytes of one queue's row.
pub const ROW_BYTES: usize = size_of::<RawRow>();

const MAGIC: [u8; 4] = *b"UIX1";
const VERSION: u32 = 1;
const ALONE: u32 = 1 << 31;
/// An entry is never shorter, nor is a span.
const SPAN_BYTES_MIN: u64 = ENTRY_HEADER_BYTES as u64;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawBlock {
    checksum: U32,
    spans: U16,
    reserved: [u8; 10],
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

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawRow {
    queue: U32,
    first: U32,
    spans: U32,
    reserved: U32,
    base_offset: U64,
    end_offset: U64,
    batch_bytes: U64,
    newest_ms: U64,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawFooter {
    magic: [u8; 4],
    checksum: U32,
    version: U32,
    shard: U16,
    reserved: U16,
    number: U64,
    segment_bytes: U64,
    node: [u8; 16],
    first_sequence: U64,
    last_sequence: U64,
    newest_ms: U64,
    blocks: U32,
    queues: U32,
    directory: U32,
}

const _: () = assert!(size_of::<RawBlock>() == 16 && size_of::<RawSpan>() == 28);
const _: () = assert!(size_of::<RawRow>() == 48 && offset_of!(RawRow, base_offset) == 16);
const _: () = assert!(size_of::<RawFooter>() == 84 && offset_of!(RawFooter, blocks) == 72);
const _: () = assert!(SPANS_PER_BLOCK == 145);

/// The first span of a block.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Fence {
    base_offset: U64,
    store_ms: U64,
}

const _: () = assert!(size_of::<Fence>() == 16);

impl Fence {
    pub(crate) fn of(span: &Span) -> Self {
        let (base_offset, store_ms) = (span.base_offset.into(), span.store_timestamp_ms.into());
        Self { base_offset, store_ms }
    }

    pub(crate) fn base_offset(&self) -> u64 {
        self.base_offset.get()
    }

    pub(crate) fn store_ms(&self) -> u64 {
        self.store_ms.get()
    }
}

/// What one queue has in the segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Queue id.
    pub queue: u32,
    /// Its first span, counted over all blocks.
    pub first: u32,
    /// How many it has.
    pub spans: u32,
    /// Its first offset in the segment.
    pub base_offset: u64,
    /// The offset behind its last record there.
    pub end_offset: u64,
    /// Bytes of its batches.
    pub batch_bytes: u64,
    /// Store time of its last span, in milliseconds since the Unix epoch.
    pub newest_ms: u64,
}

impl Row {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; ROW_BYTES] {
        let raw = RawRow {
            queue: self.queue.into(),
            first: self.first.into(),
            spans: self.spans.into(),
            reserved: U32::ZERO,
            base_offset: self.base_offset.into(),
            end_offset: self.end_offset.into(),
            batch_bytes: self.batch_bytes.into(),
            newest_ms: self.newest_ms.into(),
        };
        zerocopy::transmute!(raw)
    }

    fn decode(raw: &RawRow) -> Self {
        Self {
            queue: raw.queue.get(),
            first: raw.first.get(),
            spans: raw.spans.get(),
            base_offset: raw.base_offset.get(),
            end_offset: raw.end_offset.get(),
            batch_bytes: raw.batch_bytes.get(),
            newest_ms: raw.newest_ms.get(),
        }
    }
}

/// What an index says of its segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// Sequence number of the segment's first group ...
    pub first_sequence: u64,
    /// ... and of its last.
    pub last_sequence: u64,
    /// Nothing in it was stored later, in milliseconds since the Unix epoch.
    pub newest_ms: u64,
}

/// The last block of an index file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The segment.
    pub number: u64,
    /// What holds of it.
    pub sealed: Sealed,
    /// Blocks of spans.
    pub blocks: u32,
    /// Queues that have spans.
    pub queues: u32,
    /// crc32c of fences and rows.
    pub directory: u32,
}

impl Footer {
    /// The whole block.
    #[must_use]
    pub fn encode(&self, geometry: &Geometry) -> [u8; BLOCK] {
        let raw = RawFooter {
            magic: MAGIC,
            checksum: U32::ZERO,
            version: VERSION.into(),
            shard: geometry.shard.into(),
            reserved: U16::ZERO,
            number: self.number.into(),
            segment_bytes: geometry.segment_bytes.into(),
            node: geometry.node,
            first_sequence: self.sealed.first_sequence.into(),
            last_sequence: self.sealed.last_sequence.into(),
            newest_ms: self.sealed.newest_ms.into(),
            blocks: self.blocks.into(),
            queues: self.queues.into(),
            directory: self.directory.into(),
        };
        let mut bytes = [0; BLOCK];
        bytes[..size_of::<RawFooter>()].copy_from_slice(raw.as_bytes());
        let sum = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// Reads the last block of a file of `len` bytes; `None` when it is not the intact footer of
    /// segment `number` of this log.
    #[must_use]
    pub fn decode(bytes: &[u8], geometry: &Geometry, number: u64, len: u64) -> Option<Self> {
        let (raw, _) = RawFooter::ref_from_prefix(bytes.get(..BLOCK)?).ok()?;
        let intact =
            raw.magic == MAGIC && raw.checksum.get() == crc32c::crc32c(bytes.get(8..BLOCK)?);
        let ours = raw.version.get() == VERSION
            && raw.shard.get() == geometry.shard
            && raw.number.get() == number
            && raw.segment_bytes.get() == geometry.segment_bytes
            && raw.node == geometry.node;
        let footer = Self {
            number,
            sealed: Sealed {
                first_sequence: raw.first_sequence.get(),
                last_sequence: raw.last_sequence.get(),
                newest_ms: raw.newest_ms.get(),
            },
            blocks: raw.blocks.get(),
            queues: raw.queues.get(),
            directory: raw.directory.get(),
        };
        (intact && ours && footer.is_possible(geometry) && footer.file_bytes() == len)
            .then_some(footer)
    }

    /// Whether a segment can hold so many spans and queues.
    fn is_possible(&self, geometry: &Geometry) -> bool {
        let spans_max = geometry.segment_bytes / SPAN_BYTES_MIN;
        let full_blocks = u64::from(self.blocks.saturating_sub(1));
        full_blocks * u64::from(SPANS_PER_BLOCK) <= spans_max && u64::from(self.queues) <= spans_max
    }

    /// Bytes of fences and rows.
    #[must_use]
    pub fn directory_bytes(&self) -> u64 {
        u64::from(self.blocks) * FENCE_BYTES as u64 + u64::from(self.queues) * ROW_BYTES as u64
    }

    /// Where fences and rows begin.
    #[must_use]
    pub fn directory_offset(&self) -> u64 {
        u64::from(self.blocks) * u64::from(BLOCK_BYTES)
    }

    /// Length of the whole file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        let directory = self.directory_bytes().next_multiple_of(u64::from(BLOCK_BYTES));
        self.directory_offset() + directory + u64::from(BLOCK_BYTES)
    }

    /// Reads fences and rows; `None` when they are not what was written, or cannot be true.
    #[must_use]
    pub fn directory(&self, bytes: &[u8]) -> Option<(Vec<Fence>, Vec<Row>)> {
        let bytes = bytes.get(..usize::try_from(self.directory_bytes()).ok()?)?;
        if crc32c::crc32c(bytes) != self.directory {
            return None;
        }
        let (fences, rows) = bytes.split_at_checked(self.blocks as usize * FENCE_BYTES)?;
        let fences = <[Fence]>::ref_from_bytes(fences).ok()?;
        let rows = <[RawRow]>::ref_from_bytes(rows).ok()?;
        if rows.iter().any(|row| row.reserved != U32::ZERO) {
            return None;
        }
        let rows: Vec<Row> = rows.iter().map(Row::decode).collect();
        self.holds(&rows).then(|| (fences.to_vec(), rows))
    }

    /// Whether the rows are in order and share out the spans of all blocks.
    fn holds(&self, rows: &[Row]) -> bool {
        let mut spans = 0_u64;
        let mut before = None;
        let fit = rows.iter().all(|row| {
            let follows = u64::from(row.first) == spans && before < Some(row.queue);
            spans += u64::from(row.spans);
            before = Some(row.queue);
            let is_range = row.base_offset < row.end_offset;
            follows && row.spans > 0 && is_range && row.batch_bytes <= u32::MAX.into()
        });
        fit && spans.div_ceil(SPANS_PER_BLOCK.into()) == u64::from(self.blocks)
    }
}

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

fn checksum(bytes: &[u8], number: u64, block: u32) -> u32 {
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
            <[RawSpan]>::ref_from_prefix_with_elems(spans, head.spans.get().into()).ok()?;
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
