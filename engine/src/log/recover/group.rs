//! A group that was read, its entries, and whether they are what was written.

use thiserror::Error;

use super::Found;
use crate::batch::{BatchError, BatchRef};
use crate::io::block::Slice;
use crate::log::entry_format::EntryHeader;
use crate::log::group_format::{GROUP_HEADER_BYTES, GroupHeader};
use crate::log::position::{Handle, LogPos};
use crate::log::resync::next_entry;

/// A group: its intact header, and as many bytes as that says.
#[derive(Clone, Debug)]
pub struct Group {
    header: GroupHeader,
    bytes: Slice,
}

/// What is wrong with an entry, or behind the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EntryFault {
    /// The header, or the stamped front of the batch, is not what was written.
    #[error("the checksum of the entry's header is wrong")]
    Header,
    /// An intact entry of another place: a write went astray.
    #[error("the entry belongs at position {pos} of shard {shard}", pos = .0.pos(), shard = .0.shard())]
    Misplaced(Handle),
    /// The batch ends behind the group.
    #[error("the entry reaches beyond its group")]
    TooLong,
    /// The batch is not what was sent.
    #[error("the batch is not what was sent: {0}")]
    Batch(BatchError),
    /// The batch was stamped in another life than the group.
    #[error("the entry is of life {0}, its group of another")]
    OtherLife(u32),
    /// The entries end before or behind the group.
    #[error("the entries do not fill the group")]
    Length,
}

/// A fault with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultAt {
    /// Log position of the entry.
    pub pos: LogPos,
    /// What is wrong.
    pub fault: EntryFault,
}

/// Where the entry after another is.
enum Next {
    At(usize),
    /// Somewhere behind this damaged one.
    Behind(usize),
    End,
}

impl Group {
    pub(crate) fn new(header: GroupHeader, bytes: Slice) -> Self {
        Self { header, bytes }
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> &GroupHeader {
        &self.header
    }

    /// The header's bytes and the entries'.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where it ends.
    #[must_use]
    pub fn end(&self) -> LogPos {
        self.header.position.plus(u64::from(self.header.length_bytes))
    }

    /// The entries of a group that is intact; of another one, those up to the first that cannot
    /// be read at all.
    pub fn entries(&self) -> impl Iterator<Item = Found<'_>> {
        let GroupHeader { position, sequence, epoch, .. } = self.header;
        let mut at = GROUP_HEADER_BYTES as usize;
        std::iter::from_fn(move || {
            let rest = self.bytes.get(at..)?;
            let header = EntryHeader::decode(rest)?;
            let batch = header.batch_of(rest)?;
            let records = BatchRef::parse_unverified(batch).ok()?.record_count();
            let pos = position.plus(at as u64);
            at += header.entry_bytes() as usize;
            Some(Found { header, batch, records, pos, sequence, epoch })
        })
    }

    /// Every entry with its checksums compared. Behind one that hides where the next begins it goes on
    /// with the next that is intact; entries that do not fill the group are the last fault.
    pub fn checked(&self) -> impl Iterator<Item = Result<Found<'_>, FaultAt>> {
        let mut left = self.header.entries;
        let mut next = Next::At(GROUP_HEADER_BYTES as usize);
        let mut is_counted = true;
        std::iter::from_fn(move || {
            let at = match std::mem::replace(&mut next, Next::End) {
                Next::At(at) => at,
                Next::Behind(damaged) => {
                    is_counted = false;
                    let shard = Some(self.header.shard as u8);
                    next_entry(&self.bytes, self.header.position, damaged, shard)?
                }
                Next::End => return None,
            };
            let pos = self.header.position.plus(at as u64);
            let is_end = at == self.bytes.len();
            // How many entries were lost on the way is not known.
            if left == 0 || (is_end && !is_counted) {
                let fault = FaultAt { pos, fault: EntryFault::Length };
                return (!is_end).then_some(Err(fault));
            }
            left -= 1;
            let checked = self.check(at);
            next = match &checked {
                Ok(found) => Next::At(at + found.header.entry_bytes() as usize),
                Err((_, Some(entry_bytes))) => Next::At(at + *entry_bytes as usize),
                Err((_, None)) => Next::Behind(at),
            };
            Some(checked.map_err(|(fault, _)| FaultAt { pos, fault }))
        })
    }

    /// The entry at byte `at`; with a fault, the bytes it takes if they are known.
    fn check(&self, at: usize) -> Result<Found<'_>, (EntryFault, Option<u32>)> {
        let rest = self.bytes.get(at..).unwrap_or_default();
        let Some(header) = EntryHeader::decode(rest) else {
            return Err((EntryFault::Header, None));
        };
        let pos = self.header.position.plus(at as u64);
        if header.handle != Handle::new(self.header.shard as u8, pos) {
            return Err((EntryFault::Misplaced(header.handle), None));
        }
        let Some(batch) = header.batch_of(rest) else {
            return Err((EntryFault::TooLong, None));
        };
        let entry_bytes = Some(header.entry_bytes());
        let parsed = BatchRef::parse(batch, u32::MAX)
            .map_err(|error| (EntryFault::Batch(error), entry_bytes))?;
        // Sectors of two lives can make up a group that nobody wrote.
        let same_life = |batch: BatchRef<'_>| batch.leader_epoch() == self.header.epoch;
        if !same_life(parsed) {
            return Err((EntryFault::OtherLife(parsed.leader_epoch()), entry_bytes));
        }
        let records = parsed.record_count();
        let GroupHeader { sequence, epoch, .. } = self.header;
        Ok(Found { header, batch, records, pos, sequence, epoch })
    }
}

/// Whether the entries verify, are of the header's life and fill the group exactly.
pub(super) fn is_intact(group: &Group) -> bool {
    group.checked().all(|entry| entry.is_ok())
}
