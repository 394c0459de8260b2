//! A block of keys in an index file; big-endian.
//!
//! ```text
//!   offset size field
//!        0    4 checksum       crc32c of bytes [4, 4096), seeded with segment and block number
//!        4    2 rows           in this block: 255 but in the last
//!        6   10 reserved       zero
//!       16   16 row, each; rows are in order, and none is there twice:
//!             0    4 hash           crc32c of the key
//!             4    4 queue
//!             8    8 offset         of a record with such a key
//! ```
//!
//! Blocks of keys are numbered on from the blocks of spans. Two keys may have the same hash: whoever
//! looks for one compares the records' keys.

use std::mem::size_of;
use std::ops::Range;

use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::span_format::{RawBlock, checksum};
use crate::io::BLOCK_BYTES;

const BLOCK: usize = BLOCK_BYTES as usize;
/// Rows in a full block.
pub const KEYS_PER_BLOCK: u32 = ((BLOCK - size_of::<RawBlock>()) / size_of::<RawKey>()) as u32;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawKey {
    hash: U32,
    queue: U32,
    offset: U64,
}

const _: () = assert!(size_of::<RawKey>() == 16 && KEYS_PER_BLOCK == 255);

/// A record with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRow {
    /// crc32c of the key.
    pub hash: u32,
    /// Queue id.
    pub queue: u32,
    /// The record's offset.
    pub offset: u64,
}

impl RawKey {
    pub(super) fn of(row: &KeyRow) -> Self {
        Self { hash: row.hash.into(), queue: row.queue.into(), offset: row.offset.into() }
    }

    pub(super) fn row(&self) -> KeyRow {
        let (hash, queue) = (self.hash.get(), self.queue.get());
        KeyRow { hash, queue, offset: self.offset.get() }
    }
}

/// One block of keys, to be written.
#[derive(Debug)]
pub(crate) struct KeyBlock {
    bytes: Box<[u8; BLOCK]>,
    rows: u32,
}

impl KeyBlock {
    pub(crate) fn new() -> Self {
        Self { bytes: Box::new([0; BLOCK]), rows: 0 }
    }

    /// Adds a row; `false` when the block is full.
    pub(crate) fn push(&mut self, row: &KeyRow) -> bool {
        let at = size_of::<RawBlock>() + self.rows as usize * size_of::<RawKey>();
        let Some(room) = self.bytes.get_mut(at..at + size_of::<RawKey>()) else { return false };
        room.copy_from_slice(RawKey::of(row).as_bytes());
        self.rows += 1;
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows == KEYS_PER_BLOCK
    }

    /// The block's bytes, complete as block `block` of segment `number`.
    pub(crate) fn finish(mut self, number: u64, block: u32) -> Box<[u8; BLOCK]> {
        self.bytes[4..6].copy_from_slice(&(self.rows as u16).to_be_bytes());
        let sum = checksum(&self.bytes[4..], number, block);
        self.bytes[..4].copy_from_slice(&sum.to_be_bytes());
        self.bytes
    }
}

/// The rows of one block, as they were written.
#[derive(Debug)]
pub struct Keys<'a>(&'a [RawKey]);

impl<'a> Keys<'a> {
    /// Reads block `block` of segment `number`; `None` when it is not what was written.
    #[must_use]
    pub fn decode(bytes: &'a [u8], number: u64, block: u32) -> Option<Self> {
        let bytes = bytes.get(..BLOCK)?;
        let (head, rows) = RawBlock::ref_from_prefix(bytes).ok()?;
        let intact = head.checksum.get() == checksum(bytes.get(4..)?, number, block);
        let (rows, rest) =
            <[RawKey]>::ref_from_prefix_with_elems(rows, head.count.get().into()).ok()?;
        let clean = head.reserved == [0; 10] && rest.iter().all(|byte| *byte == 0);
        let in_order = rows.is_sorted_by(|one, next| one.row() < next.row());
        (intact && clean && in_order).then_some(Self(rows))
    }

    /// All rows, in order.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = KeyRow> + ExactSizeIterator + use<'a> {
        self.0.iter().map(RawKey::row)
    }

    /// The offsets in `range` of records of a queue with a key of this hash, the last first.
    pub fn newest(
        &self,
        hash: u32,
        queue: u32,
        range: &Range<u64>,
    ) -> impl Iterator<Item = u64> + use<'a> {
        let below = |offset| {
            let row = KeyRow { hash, queue, offset };
            self.0.partition_point(|raw| raw.row() < row)
        };
        let (first, end) = (below(range.start), below(range.end));
        self.0.get(first..end).unwrap_or_default().iter().rev().map(|raw| raw.offset.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(hash: u32, queue: u32, offset: u64) -> KeyRow {
        KeyRow { hash, queue, offset }
    }

    #[test]
    fn a_block_in_golden_bytes() {
        let mut block = KeyBlock::new();
        assert!(block.push(&row(0x0102_0304, 5, 6)));
        assert!(block.push(&row(0x0102_0304, 5, 259)));
        let bytes = block.finish(3, 7);
        let mut golden = vec![0, 2];
        golden.extend([0; 10]);
        golden.extend([1, 2, 3, 4, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6]);
        golden.extend([1, 2, 3, 4, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 1, 3]);
        assert_eq!(&bytes[4..4 + golden.len()], &golden);
        assert!(bytes[4 + golden.len()..].iter().all(|byte| *byte == 0));
        let keys = Keys::decode(&bytes[..], 3, 7).unwrap();
        assert_eq!(keys.rows().map(|row| row.offset).collect::<Vec<_>>(), [6, 259]);
        assert!(Keys::decode(&bytes[..], 4, 7).is_none(), "another segment's");
        assert!(Keys::decode(&bytes[..], 3, 8).is_none(), "another block's");
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            assert!(Keys::decode(&damaged[..], 3, 7).is_none(), "byte {at}");
        }
    }

    #[test]
    fn a_block_holds_255_keys_in_order() {
        let mut block = KeyBlock::new();
        for at in 0..u64::from(KEYS_PER_BLOCK) {
            assert!(!block.is_full());
            assert!(block.push(&row(1, 1, at)));
        }
        assert!(block.is_full());
        assert!(!block.push(&row(1, 1, 255)));
        assert_eq!(Keys::decode(&block.finish(0, 0)[..], 0, 0).unwrap().rows().len(), 255);
        let mut block = KeyBlock::new();
        assert!(block.push(&row(1, 1, 1)) && block.push(&row(1, 1, 1)));
        assert!(Keys::decode(&block.finish(0, 0)[..], 0, 0).is_none(), "one is there twice");
    }

    #[test]
    fn the_newest_come_first() {
        let mut block = KeyBlock::new();
        for (hash, queue, offset) in
            [(1, 1, 9), (2, 1, 3), (2, 4, 1), (2, 4, 5), (2, 4, 7), (2, 5, 1)]
        {
            block.push(&row(hash, queue, offset));
        }
        let bytes = block.finish(0, 0);
        let keys = Keys::decode(&bytes[..], 0, 0).unwrap();
        let newest = |hash, queue, range| keys.newest(hash, queue, &range).collect::<Vec<_>>();
        assert_eq!(newest(2, 4, 0..100), [7, 5, 1]);
        assert_eq!(newest(2, 4, 2..7), [5]);
        assert_eq!((newest(2, 3, 0..100), newest(3, 4, 0..100)), (vec![], vec![]));
    }
}
