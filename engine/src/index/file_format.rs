//! Index file: where the records of each queue lie in one sealed segment, and which of them have
//! a key; big-endian.
//!
//! ```text
//!   blocks of 4096 bytes   spans of all queues, by queue, then in order: see `span_format`
//!   blocks of 4096 bytes   keys of all queues' records, by hash: see `key_format`
//!   fences, 16 bytes for each block of spans:
//!          0    8 base_offset    of its first span
//!          8    8 store_ms
//!   key fences, 16 bytes for each block of keys: its first row
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
//!          8    4 version        2
//!         12    2 shard
//!         14    2 reserved       zero
//!         16    8 number         of the segment
//!         24    8 segment_bytes
//!         32   16 node           id of the data directory
//!         48    8 first_sequence of the segment's groups
//!         56    8 last_sequence
//!         64    8 newest_ms      nothing in it was stored later
//!         72    4 blocks         of spans
//!         76    4 key_blocks     of keys
//!         80    4 queues
//!         84    4 directory      crc32c of fences, key fences and queues
//!         88 4008 reserved       zero
//! ```
//!
//! The footer is written last, when everything before it is durable.
//! A reader takes nothing that a segment of this length cannot hold, and no spans outside of it: so
//! whatever a file says, it asks for no more memory than its segment is long.

use std::mem::{offset_of, size_of};

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::key_format::{KEYS_PER_BLOCK, KeyRow, RawKey};
use super::queue::Span;
use super::span_format::SPANS_PER_BLOCK;
use crate::io::BLOCK_BYTES;
use crate::log::entry_format::ENTRY_HEADER_BYTES;
use crate::log::segments::Geometry;

const BLOCK: usize = BLOCK_BYTES as usize;
/// Bytes of one fence, of spans or of keys.
pub(crate) const FENCE_BYTES: usize = size_of::<Fence>();
/// Bytes of one queue's row.
pub const ROW_BYTES: usize = size_of::<RawRow>();

const MAGIC: [u8; 4] = *b"UIX1";
const VERSION: u32 = 2;
/// An entry is never shorter, nor is a span.
pub(super) const SPAN_BYTES_MIN: u64 = ENTRY_HEADER_BYTES as u64;
/// A key takes no less of its record: a word of one byte and what parts it from the next.
const KEY_BYTES_MIN: u64 = 2;

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
    key_blocks: U32,
    queues: U32,
    directory: U32,
}

const _: () = assert!(size_of::<RawRow>() == 48 && offset_of!(RawRow, base_offset) == 16);
const _: () = assert!(size_of::<RawFooter>() == 88 && offset_of!(RawFooter, blocks) == 72);

/// The first span of a block.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Fence {
    base_offset: U64,
    store_ms: U64,
}

const _: () = assert!(size_of::<Fence>() == 16 && size_of::<RawKey>() == FENCE_BYTES);

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
    /// Blocks of keys.
    pub key_blocks: u32,
    /// Queues that have spans.
    pub queues: u32,
    /// crc32c of fences, key fences and rows.
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
            key_blocks: self.key_blocks.into(),
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
            key_blocks: raw.key_blocks.get(),
            queues: raw.queues.get(),
            directory: raw.directory.get(),
        };
        (intact && ours && footer.is_possible(geometry) && footer.file_bytes() == len)
            .then_some(footer)
    }

    /// Whether a segment can hold so many spans, keys and queues.
    fn is_possible(&self, geometry: &Geometry) -> bool {
        let spans_max = geometry.segment_bytes / SPAN_BYTES_MIN;
        let keys_max = geometry.segment_bytes / KEY_BYTES_MIN;
        let in_full =
            |blocks: u32, each: u32| u64::from(blocks.saturating_sub(1)) * u64::from(each);
        in_full(self.blocks, SPANS_PER_BLOCK) <= spans_max
            && in_full(self.key_blocks, KEYS_PER_BLOCK) <= keys_max
            && u64::from(self.queues) <= spans_max
    }

    /// Bytes of fences, key fences and rows.
    #[must_use]
    pub fn directory_bytes(&self) -> u64 {
        let fences = (u64::from(self.blocks) + u64::from(self.key_blocks)) * FENCE_BYTES as u64;
        fences + u64::from(self.queues) * ROW_BYTES as u64
    }

    /// Where the directory begins.
    #[must_use]
    pub fn directory_offset(&self) -> u64 {
        (u64::from(self.blocks) + u64::from(self.key_blocks)) * u64::from(BLOCK_BYTES)
    }

    /// Length of the whole file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        let directory = self.directory_bytes().next_multiple_of(u64::from(BLOCK_BYTES));
        self.directory_offset() + directory + u64::from(BLOCK_BYTES)
    }

    /// Reads the directory; `None` when it is not what was written, or cannot be true.
    #[must_use]
    pub fn directory(&self, bytes: &[u8]) -> Option<Directory> {
        let bytes = bytes.get(..usize::try_from(self.directory_bytes()).ok()?)?;
        if crc32c::crc32c(bytes) != self.directory {
            return None;
        }
        let (fences, bytes) = bytes.split_at_checked(self.blocks as usize * FENCE_BYTES)?;
        let (keys, rows) = bytes.split_at_checked(self.key_blocks as usize * FENCE_BYTES)?;
        let fences = <[Fence]>::ref_from_bytes(fences).ok()?;
        let keys = <[RawKey]>::ref_from_bytes(keys).ok()?;
        let rows = <[RawRow]>::ref_from_bytes(rows).ok()?;
        if rows.iter().any(|row| row.reserved != U32::ZERO) {
            return None;
        }
        let rows: Vec<Row> = rows.iter().map(Row::decode).collect();
        let key_fences: Vec<KeyRow> = keys.iter().map(RawKey::row).collect();
        (self.holds(&rows) && key_fences.is_sorted_by(|one, next| one < next)).then(|| Directory {
            fences: fences.to_vec(),
            key_fences,
            rows,
        })
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

/// What is between the blocks and the footer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// The first span of every block of spans.
    pub fences: Vec<Fence>,
    /// The first row of every block of keys.
    pub key_fences: Vec<KeyRow>,
    /// What each queue has in the segment.
    pub rows: Vec<Row>,
}

impl Directory {
    /// Its bytes, without the padding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.fences.as_bytes().to_vec();
        self.key_fences.iter().for_each(|key| bytes.extend_from_slice(RawKey::of(key).as_bytes()));
        self.rows.iter().for_each(|row| bytes.extend(row.encode()));
        bytes
    }
}

#[cfg(test)]
mod tests;
