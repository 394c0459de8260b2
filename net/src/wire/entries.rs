//! The entries of a fetch reply, as they lie in the log, big-endian:
//!
//! ```text
//! offset size field
//!      0    4 checksum  CRC-32C of bytes [4, 40) and the first 21 bytes of the batch
//!      4    1 magic     0xE7
//!      5    1 version   1
//!      6    1 kind      1 = data
//!      7    1 flags
//!      8    4 queue     global queue id
//!     12    4 batch_length
//!     16    8 base_offset
//!     24    8 store_timestamp_ms
//!     32    8 handle    shard << 56 | position of this header in the shard's log
//!     40      batch, then zero padding to a multiple of 8
//! ```
//!
//! The checksum covers what the batch's own CRC leaves out; together they cover every byte.

use core::mem::offset_of;

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::limits::BATCH_HEADER_BYTES;

/// Bytes of an entry's header.
pub const ENTRY_HEADER_BYTES: usize = size_of::<EntryHead>();
/// [`Entry::kind`] of records; a reader skips entries of any other kind.
pub const KIND_DATA: u8 = 1;

const MAGIC: u8 = 0xE7;
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
/// Bytes of a batch that its own CRC does not cover.
const BATCH_COVERED_BYTES: usize = 21;
const ALIGN_BYTES: usize = 8;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EntryHead {
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

const _: () = assert!(
    ENTRY_HEADER_BYTES == 40
        && offset_of!(EntryHead, batch_length) == 12
        && offset_of!(EntryHead, handle) == 32
);

/// One entry, its checksum verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What it holds: [`KIND_DATA`], or something a reader skips.
    pub kind: u8,
    /// Reserved.
    pub flags: u8,
    /// Global id of its queue.
    pub queue: u32,
    /// Offset of its batch's first record.
    pub base_offset: u64,
    /// When the node stored it; never goes back within a shard.
    pub store_timestamp_ms: u64,
    /// Shard and position.
    pub handle: u64,
    /// The record batch; its own CRC is not checked here.
    pub batch: &'a [u8],
}

/// Entries that cannot be trusted: drop the rest and fetch again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The bytes end inside an entry.
    #[error("entry at byte {at} is cut short")]
    CutShort {
        /// Where it begins.
        at: usize,
    },
    /// These bytes are no entry this version can read.
    #[error("no entry at byte {at}: magic {magic:#04x}, version {version}")]
    NotAnEntry {
        /// Where it should begin.
        at: usize,
        /// Magic found.
        magic: u8,
        /// Version found.
        version: u8,
    },
    /// The bytes were changed on their way, or in the log.
    #[error("entry at byte {at} has a wrong checksum")]
    Checksum {
        /// Where it begins.
        at: usize,
    },
}

/// Iterates over the entries of a fetch reply; ends at the first error.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Entries<'a> {
    /// Iterates over [`FetchReply::entries`](super::FetchReply::entries).
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn read(&self, rest: &'a [u8]) -> Result<(Entry<'a>, usize), EntryError> {
        let at = self.at;
        let cut_short = EntryError::CutShort { at };
        let (head_bytes, tail) = rest.split_at_checked(ENTRY_HEADER_BYTES).ok_or(cut_short)?;
        let head = EntryHead::ref_from_bytes(head_bytes).map_err(|_| cut_short)?;
        if head.magic != MAGIC || head.version != VERSION {
            let (magic, version) = (head.magic, head.version);
            return Err(EntryError::NotAnEntry { at, magic, version });
        }
        let batch_length = head.batch_length.get() as usize;
        let batch = tail.get(..batch_length).ok_or(cut_short)?;
        if batch_length < BATCH_HEADER_BYTES as usize && head.kind == KIND_DATA {
            return Err(cut_short);
        }
        if checksum(head_bytes, batch) != head.checksum.get() {
            return Err(EntryError::Checksum { at });
        }
        let padded = batch_length.next_multiple_of(ALIGN_BYTES);
        if tail.len() < padded {
            return Err(cut_short);
        }
        let entry = Entry {
            kind: head.kind,
            flags: head.flags,
            queue: head.queue.get(),
            base_offset: head.base_offset.get(),
            store_timestamp_ms: head.store_timestamp_ms.get(),
            handle: head.handle.get(),
            batch,
        };
        Ok((entry, ENTRY_HEADER_BYTES + padded))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, EntryError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        match self.read(rest) {
            Ok((entry, length)) => {
                self.at += length;
                Some(Ok(entry))
            }
            Err(error) => {
                self.at = self.bytes.len();
                Some(Err(error))
            }
        }
    }
}

fn checksum(head: &[u8], batch: &[u8]) -> u32 {
    let covered = batch.get(..BATCH_COVERED_BYTES).unwrap_or(batch);
    crc32c::crc32c_append(crc32c::crc32c(head.get(CHECKSUM_BYTES..).unwrap_or(&[])), covered)
}

/// Appends an entry as a node would, for tests that play the node.
#[cfg(test)]
pub(crate) fn write_entry(out: &mut Vec<u8>, entry: &Entry<'_>) {
    let mut head = EntryHead {
        checksum: U32::ZERO,
        magic: MAGIC,
        version: VERSION,
        kind: entry.kind,
        flags: entry.flags,
        queue: U32::new(entry.queue),
        batch_length: U32::new(entry.batch.len() as u32),
        base_offset: U64::new(entry.base_offset),
        store_timestamp_ms: U64::new(entry.store_timestamp_ms),
        handle: U64::new(entry.handle),
    };
    head.checksum = U32::new(checksum(head.as_bytes(), entry.batch));
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(entry.batch);
    out.resize(out.len().next_multiple_of(ALIGN_BYTES), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(batch: &[u8]) -> Entry<'_> {
        Entry {
            kind: KIND_DATA,
            flags: 0,
            queue: 7,
            base_offset: 1000,
            store_timestamp_ms: 1_700_000_000_000,
            handle: 2 << 56 | 4096,
            batch,
        }
    }

    #[test]
    fn golden_header() {
        let mut out = vec![];
        write_entry(&mut out, &entry(&[0xAB; 61]));
        assert_eq!(out.len(), 104);
        let golden =
            "e7010100 00000007 0000003d 00000000000003e8 0000018bcfe56800 0200000000001000";
        let hex: String = out[4..40].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden.replace(' ', ""));
        let mut covered = out[4..40].to_vec();
        covered.extend_from_slice(&[0xAB; 21]);
        assert_eq!(out[..4], crc32c::crc32c(&covered).to_be_bytes());
        assert_eq!(out[101..], [0; 3]);
    }

    #[test]
    fn every_flipped_covered_bit_is_found_and_every_cut_is_found() {
        let mut out = vec![];
        write_entry(&mut out, &entry(&[1; 70]));
        let first_bytes = out.len();
        write_entry(&mut out, &entry(&[2; 64]));
        let good: Vec<_> = Entries::new(&out).map(Result::unwrap).collect();
        assert_eq!(good, [entry(&[1; 70]), entry(&[2; 64])]);
        for at in 0..ENTRY_HEADER_BYTES + BATCH_COVERED_BYTES {
            for bit in 0..8 {
                let mut bad = out.clone();
                bad[at] ^= 1 << bit;
                assert!(Entries::new(&bad).next().unwrap().is_err(), "byte {at} bit {bit}");
            }
        }
        for end in first_bytes + 1..out.len() {
            let mut entries = Entries::new(&out[..end]);
            assert!(entries.next().unwrap().is_ok());
            assert!(entries.next().unwrap().is_err());
            assert!(entries.next().is_none());
        }
    }
}
