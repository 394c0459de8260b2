//! An entry: one batch in the log with the log's own header before it, big-endian.
//!
//! ```text
//!   offset size field
//!        0    4 checksum            crc32c of bytes [4, 40) and the first 21 bytes of the batch,
//!                                   which the batch's own CRC leaves out
//!        4    1 magic               0xE7
//!        5    1 version             1
//!        6    1 kind                1 data, 2 metadata, 3 offset commit, 4 checkpoint
//!        7    1 flags               bit 0: the keys of its records are in the index; else zero
//!        8    4 queue               queue id, unique in the data directory; ffffffff: an offset
//!                                   commit or checkpoint, whose records name the queues
//!       12    4 batch_length        bytes of the batch
//!       16    8 base_offset         queue offset of the first record
//!       24    8 store_timestamp_ms  when the node took it; never goes back within a shard
//!       32    8 handle              shard << 56 | log position of this header
//!       40    n batch               Kafka record batch v2
//!     40+n    p padding             zeros up to a multiple of 8
//! ```
//!
//! The handle ties the bytes to their place: a write that went elsewhere does not verify.

use std::mem::{offset_of, size_of};

use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::position::Handle;

/// Bytes of the header.
pub const ENTRY_HEADER_BYTES: usize = 40;
/// Entries and groups start at multiples of this.
pub const ENTRY_ALIGN: u32 = 8;
/// First byte of the batch that its own CRC covers.
pub const BATCH_UNCOVERED_BYTES: usize = 21;

const MAGIC: u8 = 0xE7;
const VERSION: u8 = 1;
const KEYED: u8 = 1;

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A producer's batch.
    Data = 1,
    /// A change of topics or queues.
    Metadata = 2,
    /// Offsets that a consumer group has committed.
    OffsetCommit = 3,
    /// State of the shard, so that the log before it may go.
    Checkpoint = 4,
}

/// The header as it lies in the log.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Raw {
    checksum: U32,
    magic: u8,
    version: u8,
    kind: u8,
    flags: u8,
    queue: U32,
    batch_length: U32,
    base_offset: U64,
    store_timestamp_ms: U64,
    handle: U64,
}

const _: () = assert!(size_of::<Raw>() == ENTRY_HEADER_BYTES);
const _: () = assert!(offset_of!(Raw, queue) == 8 && offset_of!(Raw, batch_length) == 12);
const _: () = assert!(offset_of!(Raw, base_offset) == 16 && offset_of!(Raw, handle) == 32);

/// The header's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// What the batch is.
    pub kind: Kind,
    /// Queue id, unique in the data directory.
    pub queue: u32,
    /// Bytes of the batch.
    pub batch_bytes: u32,
    /// Queue offset of the first record.
    pub base_offset: u64,
    /// Store time in milliseconds since the Unix epoch.
    pub store_timestamp_ms: u64,
    /// Where the entry lies.
    pub handle: Handle,
    /// The keys of its records are in the index.
    pub keyed: bool,
}

impl EntryHeader {
    /// Bytes the entry takes in the log: header, batch and padding.
    #[must_use]
    pub const fn entry_bytes(&self) -> u32 {
        entry_bytes(self.batch_bytes)
    }

    /// The batch behind this header, which starts at `bytes`; `None` if it is cut off.
    #[must_use]
    pub fn batch_of<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let end = ENTRY_HEADER_BYTES.checked_add(self.batch_bytes as usize)?;
        bytes.get(ENTRY_HEADER_BYTES..end)
    }

    /// The header's bytes, for a batch that begins with `head`.
    #[must_use]
    pub fn encode(&self, head: &[u8; BATCH_UNCOVERED_BYTES]) -> [u8; ENTRY_HEADER_BYTES] {
        let mut raw = Raw {
            checksum: U32::ZERO,
            magic: MAGIC,
            version: VERSION,
            kind: self.kind as u8,
            flags: if self.keyed { KEYED } else { 0 },
            queue: self.queue.into(),
            batch_length: self.batch_bytes.into(),
            base_offset: self.base_offset.into(),
            store_timestamp_ms: self.store_timestamp_ms.into(),
            handle: self.handle.0.into(),
        };
        raw.checksum = checksum(&raw, head).into();
        let mut bytes = [0; ENTRY_HEADER_BYTES];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }

    /// Reads and checks the header at the start of `bytes`, which must also hold the first
    /// 21 bytes of the batch. `None` when this is not an intact entry.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (raw, rest) = Raw::ref_from_prefix(bytes).ok()?;
        let head = rest.first_chunk::<BATCH_UNCOVERED_BYTES>()?;
        if raw.checksum.get() != checksum(raw, head) {
            return None;
        }
        Self::peek(bytes)
    }

    /// Reads the header at the start of `bytes` without comparing the checksum: for bytes that
    /// never left our memory.
    #[must_use]
    pub fn peek(bytes: &[u8]) -> Option<Self> {
        let (raw, _) = Raw::ref_from_prefix(bytes).ok()?;
        let kind = match raw.kind {
            1 => Kind::Data,
            2 => Kind::Metadata,
            3 => Kind::OffsetCommit,
            4 => Kind::Checkpoint,
            _ => return None,
        };
        let known = raw.magic == MAGIC && raw.version == VERSION && raw.flags & !KEYED == 0;
        known.then(|| Self {
            kind,
            queue: raw.queue.get(),
            batch_bytes: raw.batch_length.get(),
            base_offset: raw.base_offset.get(),
            store_timestamp_ms: raw.store_timestamp_ms.get(),
            handle: Handle(raw.handle.get()),
            keyed: raw.flags & KEYED != 0,
        })
    }
}

/// Bytes an entry with a batch of `batch_bytes` takes in the log.
#[must_use]
pub const fn entry_bytes(batch_bytes: u32) -> u32 {
    // Saturating: the length may come from a device. Rounds up to the alignment.
    batch_bytes.saturating_add(ENTRY_HEADER_BYTES as u32 + ENTRY_ALIGN - 1) & !(ENTRY_ALIGN - 1)
}

fn checksum(raw: &Raw, head: &[u8; BATCH_UNCOVERED_BYTES]) -> u32 {
    let covered = raw.as_bytes().get(4..).unwrap_or_default();
    crc32c::crc32c_append(crc32c::crc32c(covered), head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::position::LogPos;

    fn header() -> EntryHeader {
        EntryHeader {
            kind: Kind::Data,
            queue: 7,
            batch_bytes: 100,
            base_offset: 0x0102_0304,
            store_timestamp_ms: 0x0A0B,
            handle: Handle::new(3, LogPos(0x1000)),
            keyed: true,
        }
    }

    #[test]
    fn golden_bytes() {
        let bytes = header().encode(&[0x55; BATCH_UNCOVERED_BYTES]);
        let tail = [
            0xE7, 1, 1, 1, 0, 0, 0, 7, 0, 0, 0, 100, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0,
            0x0A, 0x0B, 3, 0, 0, 0, 0, 0, 0x10, 0,
        ];
        assert_eq!(&bytes[4..], &tail);
        let crc = crc32c::crc32c(&[&tail[..], &[0x55; BATCH_UNCOVERED_BYTES]].concat());
        assert_eq!(&bytes[..4], &crc.to_be_bytes());
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let head = [0x55; BATCH_UNCOVERED_BYTES];
        let bytes = [&header().encode(&head)[..], &head].concat();
        assert_eq!(EntryHeader::decode(&bytes), Some(header()));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(EntryHeader::decode(&damaged), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(EntryHeader::decode(&bytes[..len]), None);
        }
    }

    #[test]
    fn entries_are_aligned() {
        assert_eq!(entry_bytes(61), 104);
        assert_eq!(entry_bytes(64), 104);
        assert_eq!(entry_bytes(65), 112);
    }
}
