//! The entries of a fetch reply, as they lie in the log: the engine's own format, byte for byte
//! ([`engine::log::entry_format`] has the table). A reply that carries them was never decoded on
//! the node; the client checks them here.

use engine::log::entry_format::{BATCH_UNCOVERED_BYTES, EntryHeader};
use engine::log::position::Handle;

pub use engine::log::entry_format::{ENTRY_HEADER_BYTES, Kind};

/// One entry, its checksum verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What it holds; a reader skips what is not [`Kind::Data`].
    pub kind: Kind,
    /// Global id of its queue.
    pub queue: u32,
    /// Offset of its batch's first record.
    pub base_offset: u64,
    /// When the node stored it; never goes back within a shard.
    pub store_timestamp_ms: u64,
    /// Shard and position.
    pub handle: Handle,
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
    /// These bytes are no entry this version can read, or were changed on their way.
    #[error("no intact entry at byte {at}")]
    Damaged {
        /// Where it should begin.
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
        if rest.len() < ENTRY_HEADER_BYTES + BATCH_UNCOVERED_BYTES {
            return Err(EntryError::CutShort { at });
        }
        let header = EntryHeader::decode(rest).ok_or(EntryError::Damaged { at })?;
        let batch = header.batch_of(rest).ok_or(EntryError::CutShort { at })?;
        let entry_bytes = header.entry_bytes() as usize;
        if rest.len() < entry_bytes {
            return Err(EntryError::CutShort { at });
        }
        let EntryHeader { kind, queue, base_offset, store_timestamp_ms, handle, .. } = header;
        let entry = Entry { kind, queue, base_offset, store_timestamp_ms, handle, batch };
        Ok((entry, entry_bytes))
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

/// Appends an entry as a node would, for tests that play the node.
#[cfg(test)]
pub(crate) fn write_entry(out: &mut Vec<u8>, entry: &Entry<'_>) {
    let header = EntryHeader {
        kind: entry.kind,
        queue: entry.queue,
        batch_bytes: entry.batch.len() as u32,
        base_offset: entry.base_offset,
        store_timestamp_ms: entry.store_timestamp_ms,
        handle: entry.handle,
        keyed: false,
    };
    let first = entry.batch.first_chunk().expect("a batch has a header");
    out.extend_from_slice(&header.encode(first));
    out.extend_from_slice(entry.batch);
    out.resize(out.len().next_multiple_of(8), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(batch: &[u8]) -> Entry<'_> {
        Entry {
            kind: Kind::Data,
            queue: 7,
            base_offset: 1000,
            store_timestamp_ms: 1_700_000_000_000,
            handle: Handle(2 << 56 | 4096),
            batch,
        }
    }

    #[test]
    fn every_flipped_covered_bit_is_found_and_every_cut_is_found() {
        let mut out = vec![];
        write_entry(&mut out, &entry(&[1; 70]));
        let first_bytes = out.len();
        write_entry(&mut out, &entry(&[2; 64]));
        let good: Vec<_> = Entries::new(&out).map(Result::unwrap).collect();
        assert_eq!(good, [entry(&[1; 70]), entry(&[2; 64])]);
        for at in 0..ENTRY_HEADER_BYTES + BATCH_UNCOVERED_BYTES {
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
