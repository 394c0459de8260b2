//! Superblock: two slots of one block each; the intact slot with the higher generation counts.
//! Every write goes to the *other* slot, so a torn one leaves what was known before. Big-endian.
//!
//! ```text
//!   offset size field
//!        0    4 magic          "USB1"
//!        4    4 checksum       crc32c of bytes [8, 88)
//!        8    4 version        2
//!       12    4 epoch          the life of the log that wrote this slot
//!       16    8 segment_bytes  length of every segment
//!       24    2 shard
//!       26    6 reserved       zero
//!       32   16 node           id of the data directory
//!       48    8 sequence       last group of the log, durable, when the life began
//!       56    8 generation     one more with every write; its lowest bit is the slot
//!       64    8 durable        a group of this life or an earlier one that is durable
//!       72    8 checkpoint     position of the newest durable checkpoint; 0: there is none
//!       80    8 before         the last group before the segment that the checkpoint begins in
//!       88 4008 reserved       zero
//! ```

use std::mem::{offset_of, size_of};

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::position::LogPos;
use crate::io::BLOCK_BYTES;

/// Bytes of the fields; the rest of the block is zero.
pub const SUPERBLOCK_BYTES: usize = 88;
/// Length of the superblock file: two slots.
pub const SUPERBLOCK_FILE_BYTES: u64 = 2 * BLOCK_BYTES as u64;

const MAGIC: [u8; 4] = *b"USB1";
const VERSION: u32 = 2;

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
    generation: U64,
    durable: U64,
    checkpoint: U64,
    before: U64,
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
    /// One more with every write.
    pub generation: u64,
    /// This group was durable, and all before it.
    pub durable: u64,
    /// The newest durable checkpoint.
    pub checkpoint: Option<Pointer>,
}

/// Where a checkpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// Position of its first entry.
    pub begin: LogPos,
    /// The last group before the segment that it begins in.
    pub before: u64,
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
            generation: self.generation.into(),
            durable: self.durable.into(),
            checkpoint: self.checkpoint.map_or(0, |pointer| pointer.begin.0).into(),
            before: self.checkpoint.map_or(0, |pointer| pointer.before).into(),
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
            generation: raw.generation.get(),
            durable: raw.durable.get(),
            checkpoint: (raw.checkpoint.get() > 0)
                .then(|| Pointer { begin: LogPos(raw.checkpoint.get()), before: raw.before.get() }),
        })
    }

    /// Byte offset of the slot that it is written to.
    #[must_use]
    pub const fn slot_offset(&self) -> u64 {
        self.generation % 2 * BLOCK_BYTES as u64
    }

    /// The group that cannot be missing: it was durable.
    #[must_use]
    pub fn certain(&self) -> u64 {
        self.sequence.max(self.durable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_and_flips() {
        let superblock = Superblock {
            epoch: 2,
            segment_bytes: 3,
            shard: 4,
            node: [5; 16],
            sequence: 6,
            generation: 7,
            durable: 8,
            checkpoint: Some(Pointer { begin: LogPos(9), before: 10 }),
        };
        let bytes = superblock.encode();
        let mut golden = vec![0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 4];
        golden.extend([0; 6]);
        golden.extend([5; 16]);
        for field in 6..=10 {
            golden.extend([0, 0, 0, 0, 0, 0, 0, field]);
        }
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
