//! A group: the entries written by one device write, behind this header, big-endian.
//!
//! ```text
//!   offset size field
//!        0    4 magic      "UGR1"
//!        4    4 checksum   crc32c of bytes [8, 64)
//!        8    4 length     bytes of header and entries; what follows up to the block is padding
//!       12    4 entries    how many
//!       16    4 epoch      life of the log; leftovers of an earlier life never match
//!       20    2 shard
//!       22    2 reserved   zero
//!       24    8 sequence   counts the groups of the log without a gap, over all its lives
//!       32    8 position   log position of this header
//!       40    8 watermark  everything below was durable when the group was cut
//!       48    8 records    records in the group's entries
//!       56    8 reserved   zero
//! ```
//!
//! The entries carry checksums of their own (header and batch), so that no byte is summed twice:
//! a group is intact when its header verifies and its entries verify and fill `length` exactly.
//! A group starts at a multiple of 8: behind its predecessor in the same block when that one's
//! write had completed, at the next block otherwise.

use std::mem::{offset_of, size_of};

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::position::LogPos;

/// Bytes of the header.
pub const GROUP_HEADER_BYTES: u32 = 64;

const MAGIC: [u8; 4] = *b"UGR1";

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Raw {
    magic: [u8; 4],
    checksum: U32,
    length: U32,
    entries: U32,
    epoch: U32,
    shard: U16,
    reserved: U16,
    sequence: U64,
    position: U64,
    watermark: U64,
    records: U64,
    reserved_tail: U64,
}

const _: () = assert!(size_of::<Raw>() == GROUP_HEADER_BYTES as usize);
const _: () = assert!(offset_of!(Raw, epoch) == 16 && offset_of!(Raw, sequence) == 24);
const _: () = assert!(offset_of!(Raw, position) == 32 && offset_of!(Raw, watermark) == 40);

/// The header's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHeader {
    /// Bytes of header and entries.
    pub length_bytes: u32,
    /// Entries in the group.
    pub entries: u32,
    /// Life of the log that wrote it.
    pub epoch: u32,
    /// The shard whose log it belongs to.
    pub shard: u16,
    /// Number of the group, without gaps.
    pub sequence: u64,
    /// Where the header lies.
    pub position: LogPos,
    /// Everything below was durable when the group was cut.
    pub watermark: LogPos,
    /// Records in its entries.
    pub records: u64,
}

impl GroupHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; GROUP_HEADER_BYTES as usize] {
        let mut raw = Raw {
            magic: MAGIC,
            checksum: U32::ZERO,
            length: self.length_bytes.into(),
            entries: self.entries.into(),
            epoch: self.epoch.into(),
            shard: self.shard.into(),
            reserved: U16::ZERO,
            sequence: self.sequence.into(),
            position: self.position.0.into(),
            watermark: self.watermark.0.into(),
            records: self.records.into(),
            reserved_tail: U64::ZERO,
        };
        raw.checksum = checksum(&raw).into();
        let mut bytes = [0; GROUP_HEADER_BYTES as usize];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }

    /// Reads and checks the header at the start of `bytes`; `None` when there is no intact one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (raw, _) = Raw::ref_from_prefix(bytes).ok()?;
        if raw.magic != MAGIC || raw.checksum.get() != checksum(raw) {
            return None;
        }
        Some(Self {
            length_bytes: raw.length.get(),
            entries: raw.entries.get(),
            epoch: raw.epoch.get(),
            shard: raw.shard.get(),
            sequence: raw.sequence.get(),
            position: LogPos(raw.position.get()),
            watermark: LogPos(raw.watermark.get()),
            records: raw.records.get(),
        })
    }
}

fn checksum(raw: &Raw) -> u32 {
    crc32c::crc32c(raw.as_bytes().get(8..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> GroupHeader {
        GroupHeader {
            length_bytes: 0x0102,
            entries: 3,
            epoch: 4,
            shard: 5,
            sequence: 6,
            position: LogPos(0x1000),
            watermark: LogPos(0x0800),
            records: 9,
        }
    }

    #[test]
    fn golden_bytes() {
        let bytes = header().encode();
        assert_eq!(&bytes[..4], b"UGR1");
        let tail: [u8; 56] = [
            0, 0, 1, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0,
            0, 0x10, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(&bytes[8..], &tail);
        assert_eq!(&bytes[4..8], &crc32c::crc32c(&tail).to_be_bytes());
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = header().encode();
        assert_eq!(GroupHeader::decode(&bytes), Some(header()));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(GroupHeader::decode(&damaged), None, "bit {bit}");
        }
        assert_eq!(GroupHeader::decode(&bytes[..63]), None);
    }
}
