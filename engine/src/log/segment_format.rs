//! Segment header: the first block of a segment file, big-endian.
//!
//! ```text
//!   offset size field
//!        0    4 magic          "USG1"
//!        4    4 checksum       crc32c of bytes [8, 64)
//!        8    8 number         base position / segment_bytes
//!       16    8 segment_bytes  length of the file
//!       24    8 sequence       of the first group that may lie in it
//!       32    8 prefilled      bytes from the start of the file that were written space
//!       40    4 epoch          life of the log that headed the file
//!       44    2 shard
//!       46    2 reserved       zero
//!       48   16 node           id of the data directory
//!       64 4032 reserved       zero
//! ```

use std::mem::{offset_of, size_of};

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the fields; the rest of the block is zero.
pub const SEGMENT_HEADER_BYTES: usize = 64;

const MAGIC: [u8; 4] = *b"USG1";

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Raw {
    magic: [u8; 4],
    checksum: U32,
    number: U64,
    segment_bytes: U64,
    sequence: U64,
    prefilled: U64,
    epoch: U32,
    shard: U16,
    reserved: U16,
    node: [u8; 16],
}

const _: () = assert!(size_of::<Raw>() == SEGMENT_HEADER_BYTES);
const _: () = assert!(offset_of!(Raw, prefilled) == 32 && offset_of!(Raw, node) == 48);

/// The header's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Base position / segment_bytes.
    pub number: u64,
    /// Length of the file in bytes.
    pub segment_bytes: u64,
    /// Sequence number of the first group that may lie in it.
    pub sequence: u64,
    /// Bytes from the start of the file that were written space when it was headed.
    pub prefilled_bytes: u64,
    /// Life of the log that headed the file.
    pub epoch: u32,
    /// The shard whose log it belongs to.
    pub shard: u16,
    /// Id of the data directory.
    pub node: [u8; 16],
}

impl SegmentHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut raw = Raw {
            magic: MAGIC,
            checksum: U32::ZERO,
            number: self.number.into(),
            segment_bytes: self.segment_bytes.into(),
            sequence: self.sequence.into(),
            prefilled: self.prefilled_bytes.into(),
            epoch: self.epoch.into(),
            shard: self.shard.into(),
            reserved: U16::ZERO,
            node: self.node,
        };
        raw.checksum = crc32c::crc32c(raw.as_bytes().get(8..).unwrap_or_default()).into();
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }

    /// Reads and checks the header at the start of `bytes`; `None` when there is no intact one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (raw, _) = Raw::ref_from_prefix(bytes).ok()?;
        let sum = crc32c::crc32c(raw.as_bytes().get(8..).unwrap_or_default());
        (raw.magic == MAGIC && raw.checksum.get() == sum).then(|| Self {
            number: raw.number.get(),
            segment_bytes: raw.segment_bytes.get(),
            sequence: raw.sequence.get(),
            prefilled_bytes: raw.prefilled.get(),
            epoch: raw.epoch.get(),
            shard: raw.shard.get(),
            node: raw.node,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_and_flips() {
        let header = SegmentHeader {
            number: 1,
            segment_bytes: 2,
            sequence: 3,
            prefilled_bytes: 4,
            epoch: 5,
            shard: 6,
            node: [7; 16],
        };
        let bytes = header.encode();
        let mut golden = vec![0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];
        golden.extend([0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 5, 0, 6, 0, 0]);
        golden.extend([7; 16]);
        assert_eq!(&bytes[..4], b"USG1");
        assert_eq!(&bytes[8..], &golden);
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&damaged), None, "bit {bit}");
        }
    }
}
