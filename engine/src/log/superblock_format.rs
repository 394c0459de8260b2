//! Superblock: two slots of one block each; the intact slot with the higher epoch counts. A new
//! life writes the *other* slot, so a torn write leaves the old life readable. Big-endian.
//!
//! ```text
//!   offset size field
//!        0    4 magic          "USB1"
//!        4    4 checksum       crc32c of bytes [8, 56)
//!        8    4 version        1
//!       12    4 epoch          the life of the log that wrote this slot
//!       16    8 segment_bytes  length of every segment
//!       24    2 shard
//!       26    6 reserved       zero
//!       32   16 node           id of the data directory
//!       48    8 sequence       last group of the log, durable, when the life began
//!       56 4040 reserved       zero
//! ```

use std::mem::{offset_of, size_of};

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::io::BLOCK_BYTES;

/// Bytes of the fields; the rest of the block is zero.
pub const SUPERBLOCK_BYTES: usize = 56;
/// Length of the superblock file: two slots.
pub const SUPERBLOCK_FILE_BYTES: u64 = 2 * BLOCK_BYTES as u64;

const MAGIC: [u8; 4] = *b"USB1";
const VERSION: u32 = 1;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Raw {
    magic: [u8; 4],
    checksum: U32,
    version: U32,
    epoch: U32,
    segment_bytes: U64,
    shard: U16,
    reserved: [u8; 6],
    node: [u8; 16],
    sequence: U64,
}

const _: () = assert!(size_of::<Raw>() == SUPERBLOCK_BYTES && offset_of!(Raw, node) == 32);

/// The fields of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Life of the log.
    pub epoch: u32,
    /// Length of every segment in bytes.
    pub segment_bytes: u64,
    /// The shard it belongs to.
    pub shard: u16,
    /// Id of the data directory.
    pub node: [u8; 16],
    /// The last group of the log when the life began: it and all before it were durable.
    pub sequence: u64,
}

impl Superblock {
    /// The slot's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SUPERBLOCK_BYTES] {
        let mut raw = Raw {
            magic: MAGIC,
            checksum: U32::ZERO,
            version: VERSION.into(),
            epoch: self.epoch.into(),
            segment_bytes: self.segment_bytes.into(),
            shard: self.shard.into(),
            reserved: [0; 6],
            node: self.node,
            sequence: self.sequence.into(),
        };
        raw.checksum = crc32c::crc32c(raw.as_bytes().get(8..).unwrap_or_default()).into();
        let mut bytes = [0; SUPERBLOCK_BYTES];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }

    /// Reads and checks one slot; `None` when it is not intact.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (raw, _) = Raw::ref_from_prefix(bytes).ok()?;
        let sum = crc32c::crc32c(raw.as_bytes().get(8..).unwrap_or_default());
        let intact =
            raw.magic == MAGIC && raw.version.get() == VERSION && raw.checksum.get() == sum;
        intact.then(|| Self {
            epoch: raw.epoch.get(),
            segment_bytes: raw.segment_bytes.get(),
            shard: raw.shard.get(),
            node: raw.node,
            sequence: raw.sequence.get(),
        })
    }

    /// Byte offset of the slot that a life writes: lives alternate.
    #[must_use]
    pub const fn slot_offset(epoch: u32) -> u64 {
        (epoch % 2) as u64 * BLOCK_BYTES as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_and_flips() {
        let superblock =
            Superblock { epoch: 2, segment_bytes: 3, shard: 4, node: [5; 16], sequence: 6 };
        let bytes = superblock.encode();
        let mut golden = vec![0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 4];
        golden.extend([0; 6]);
        golden.extend([5; 16]);
        golden.extend([0, 0, 0, 0, 0, 0, 0, 6]);
        assert_eq!(&bytes[..4], b"USB1");
        assert_eq!(&bytes[8..], &golden);
        assert_eq!(Superblock::decode(&bytes), Some(superblock));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Superblock::decode(&damaged), None, "bit {bit}");
        }
    }
}
