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
//!         64    8 newest_ms      store time of its last group
//!         72    4 blocks         of spans
//!         76    4 queues
//!         80    4 directory      crc32c of fences and queues
//!         84 4012 reserved       zero
//! ```
//!
//! The footer is written last, when everything before it is durable.

use std::mem::{offset_of, size_of};

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::queue::Span;
use crate::io::BLOCK_BYTES;
use crate::log::position::LogPos;
use crate::log::segments::Geometry;

const BLOCK: usize = BLOCK_BYTES as usize;
/// Spans in a full block.
pub(crate) const SPANS_PER_BLOCK: u32 =
    ((BLOCK - size_of::<RawBlock>()) / size_of::<RawSpan>()) as u32;
/// Bytes of one fence.
pub(crate) const FENCE_BYTES: usize = size_of::<Fence>();
/// Bytes of one queue's row.
pub(crate) const ROW_BYTES: usize = size_of::<RawRow>();

const MAGIC: [u8; 4] = *b"UIX1";
const VERSION: u32 = 1;
const ALONE: u32 = 1 << 31;

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
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Fence {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Queue id.
    pub(crate) queue: u32,
    /// Its first span, counted over all blocks.
    pub(crate) first: u32,
    /// How many it has.
    pub(crate) spans: u32,
    /// Its first offset in the segment.
    pub(crate) base_offset: u64,
    /// The offset behind its last record there.
    pub(crate) end_offset: u64,
    /// Bytes of its batches.
    pub(crate) batch_bytes: u64,
    /// Store time of its last span, in milliseconds since the Unix epoch.
    pub(crate) newest_ms: u64,
}

impl Row {
    pub(crate) fn encode(&self) -> [u8; ROW_BYTES] {
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
pub(crate) struct Sealed {
    /// Sequence numbers of the segment's first and last group.
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
    /// Store time of the last group, in milliseconds since the Unix epoch.
    pub(crate) newest_ms: u64,
}

/// The last block of an index file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) number: u64,
    pub(crate) sealed: Sealed,
    /// Blocks of spans.
    pub(crate) blocks: u32,
    pub(crate) queues: u32,
    /// crc32c of fences and rows.
    pub(crate) directory: u32,
}

impl Footer {
    /// The whole block.
    pub(crate) fn encode(&self, geometry: &Geometry) -> [u8; BLOCK] {
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
    pub(crate) fn decode(bytes: &[u8], geometry: &Geometry, number: u64, len: u64) -> Option<Self> {
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
        (intact && ours && footer.file_bytes() == len).then_some(footer)
    }

    /// Bytes of fences and rows.
    pub(crate) fn directory_bytes(&self) -> u64 {
        u64::from(self.blocks) * FENCE_BYTES as u64 + u64::from(self.queues) * ROW_BYTES as u64
    }

    /// Where fences and rows begin.
    pub(crate) fn directory_offset(&self) -> u64 {
        u64::from(self.blocks) * u64::from(BLOCK_BYTES)
    }

    /// Length of the whole file.
    pub(crate) fn file_bytes(&self) -> u64 {
        let directory = self.directory_bytes().next_multiple_of(u64::from(BLOCK_BYTES));
        self.directory_offset() + directory + u64::from(BLOCK_BYTES)
    }

    /// Reads fences and rows; `None` when they are not what was written.
    pub(crate) fn directory(&self, bytes: &[u8]) -> Option<(Vec<Fence>, Vec<Row>)> {
        let bytes = bytes.get(..usize::try_from(self.directory_bytes()).ok()?)?;
        if crc32c::crc32c(bytes) != self.directory {
            return None;
        }
        let (fences, rows) = bytes.split_at_checked(self.blocks as usize * FENCE_BYTES)?;
        let fences = <[Fence]>::ref_from_bytes(fences).ok()?;
        let rows = <[RawRow]>::ref_from_bytes(rows).ok()?;
        Some((fences.to_vec(), rows.iter().map(Row::decode).collect()))
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
pub(crate) struct Spans<'a>(&'a [RawSpan]);

impl<'a> Spans<'a> {
    /// Reads block `block` of segment `number`; `None` when it is not what was written.
    pub(crate) fn decode(bytes: &'a [u8], number: u64, block: u32) -> Option<Self> {
        let bytes = bytes.get(..BLOCK)?;
        let (head, spans) = RawBlock::ref_from_prefix(bytes).ok()?;
        let intact = head.checksum.get() == checksum(bytes.get(4..)?, number, block);
        let (spans, _) =
            <[RawSpan]>::ref_from_prefix_with_elems(spans, head.spans.get().into()).ok()?;
        intact.then_some(Self(spans))
    }

    /// The spans at `range`, of segment `number`.
    pub(crate) fn get(
        &self,
        range: std::ops::Range<usize>,
        number: u64,
        geometry: &Geometry,
    ) -> Option<impl Iterator<Item = Span> + use<'a>> {
        let start = number * geometry.segment_bytes;
        let span = move |raw: &RawSpan| Span {
            base_offset: raw.base_offset.get(),
            pos: LogPos(start + u64::from(raw.offset.get())),
            store_timestamp_ms: raw.store_ms.get(),
            len: raw.length.get() & !ALONE,
            batch_bytes: raw.batch_bytes.get(),
            alone: raw.length.get() & ALONE != 0,
        };
        Some(self.0.get(range)?.iter().map(span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: Geometry =
        Geometry { segment_bytes: 1 << 20, shard: 2, node: [7; 16], epoch: 9 };

    fn span(base_offset: u64) -> Span {
        Span {
            base_offset,
            pos: LogPos((3 << 20) + 4096 + base_offset),
            store_timestamp_ms: 0x0102_0304_0506,
            len: 200,
            batch_bytes: 100,
            alone: base_offset.is_multiple_of(2),
        }
    }

    #[test]
    fn a_block_in_golden_bytes() {
        let mut block = SpanBlock::new();
        assert!(block.push(&span(10), &GEOMETRY));
        assert!(block.push(&span(11), &GEOMETRY));
        let bytes = block.finish(3, 0);
        let mut golden = vec![0, 2];
        golden.extend([0; 10]);
        golden.extend([0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1, 2, 3, 4, 5, 6]);
        golden.extend([0, 0, 16, 10, 0x80, 0, 0, 200, 0, 0, 0, 100]);
        golden.extend([0, 0, 0, 0, 0, 0, 0, 11, 0, 0, 1, 2, 3, 4, 5, 6]);
        golden.extend([0, 0, 16, 11, 0, 0, 0, 200, 0, 0, 0, 100]);
        assert_eq!(&bytes[4..4 + golden.len()], &golden);
        assert!(bytes[4 + golden.len()..].iter().all(|byte| *byte == 0));
        let spans = Spans::decode(&bytes[..], 3, 0).unwrap();
        assert_eq!(spans.0.len(), 2);
        let all: Vec<Span> = spans.get(0..2, 3, &GEOMETRY).unwrap().collect();
        assert_eq!(all, [span(10), span(11)]);
        assert!(spans.get(1..3, 3, &GEOMETRY).is_none());
        assert!(Spans::decode(&bytes[..], 4, 0).is_none(), "another segment's");
        assert!(Spans::decode(&bytes[..], 3, 1).is_none(), "another block's");
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            assert!(Spans::decode(&damaged[..], 3, 0).is_none(), "byte {at}");
        }
    }

    #[test]
    fn a_block_holds_145_spans() {
        let mut block = SpanBlock::new();
        for at in 0..u64::from(SPANS_PER_BLOCK) {
            assert!(!block.is_full());
            assert!(block.push(&span(at), &GEOMETRY));
        }
        assert!(block.is_full());
        assert!(!block.push(&span(145), &GEOMETRY));
    }

    #[test]
    fn directory_and_footer_in_golden_bytes() {
        let row = Row {
            queue: 1,
            first: 2,
            spans: 3,
            base_offset: 4,
            end_offset: 5,
            batch_bytes: 6,
            newest_ms: 7,
        };
        let mut directory = Fence::of(&span(258)).as_bytes().to_vec();
        directory.extend(row.encode());
        let mut golden = vec![0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 1, 2, 3, 4, 5, 6];
        golden.extend([0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0]);
        for field in 4..8 {
            golden.extend([0, 0, 0, 0, 0, 0, 0, field]);
        }
        assert_eq!(directory, golden);
        let sealed = Sealed { first_sequence: 10, last_sequence: 20, newest_ms: 30 };
        let crc = crc32c::crc32c(&directory);
        let footer = Footer { number: 3, sealed, blocks: 1, queues: 1, directory: crc };
        let (fences, rows) = footer.directory(&directory).unwrap();
        assert_eq!((fences.len(), fences[0].base_offset()), (1, 258));
        assert_eq!((fences[0].store_ms(), rows), (0x0102_0304_0506, vec![row]));
        let bytes = footer.encode(&GEOMETRY);
        let mut golden =
            vec![0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 16, 0, 0];
        golden.extend([7; 16]);
        golden.extend([0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 30]);
        golden.extend([0, 0, 0, 1, 0, 0, 0, 1]);
        golden.extend(crc.to_be_bytes());
        assert_eq!(&bytes[..4], b"UIX1");
        assert_eq!(&bytes[8..84], &golden);
        assert!(bytes[84..].iter().all(|byte| *byte == 0));
        let len = 3 * 4096;
        assert_eq!(Footer::decode(&bytes, &GEOMETRY, 3, len), Some(footer));
        assert_eq!(Footer::decode(&bytes, &GEOMETRY, 4, len), None);
        assert_eq!(Footer::decode(&bytes, &GEOMETRY, 3, len + 4096), None);
        let elsewhere = Geometry { node: [8; 16], ..GEOMETRY };
        assert_eq!(Footer::decode(&bytes, &elsewhere, 3, len), None);
        for at in 0..bytes.len() {
            let mut damaged = bytes;
            damaged[at] ^= 1 << (at % 8);
            assert_eq!(Footer::decode(&damaged, &GEOMETRY, 3, len), None, "byte {at}");
        }
        for at in 0..directory.len() {
            let mut damaged = directory.clone();
            damaged[at] ^= 1 << (at % 8);
            assert!(footer.directory(&damaged).is_none(), "byte {at}");
        }
    }
}
