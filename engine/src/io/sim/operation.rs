//! An operation in flight, after the checks that show whose fault it is: a caller who misuses
//! the seam panics here, with the numbers, before anything is simulated.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use super::cache::PAGE_BYTES;
use super::faults::ENOSPC;
use super::namespace::{Change, Inode};
use super::random::mix;
use crate::io::block::{Block, Slice};
use crate::io::{BLOCK_BYTES, Errno, FileId, FileName, OpId};

/// What an operation in flight will do.
#[derive(Debug)]
pub(super) enum Operation {
    Open {
        name: FileName,
        create: Option<u64>,
        /// The file this makes if the name is missing.
        file: Inode,
    },
    Write(Write),
    Read {
        file: Inode,
        offset: u64,
        /// `None`: the memory budget was used up.
        block: Option<Block>,
    },
    Sync {
        file: Inode,
    },
    /// A read or a sync of an adopted file that is not there.
    Missing,
    Change(Change),
    SyncDir,
    Close,
}

impl Operation {
    /// Whether its completion is an event.
    pub(super) fn changes_state(&self) -> bool {
        match self {
            Self::Read { .. } | Self::Missing | Self::Close => false,
            Self::Open { create, .. } => create.is_some(),
            Self::Write(_) | Self::Sync { .. } | Self::Change(_) | Self::SyncDir => true,
        }
    }

    /// Whether this, failing with `errno`, is a flush that failed.
    pub(super) fn is_flush(&self, errno: Errno) -> bool {
        match self {
            Self::Sync { .. } | Self::SyncDir => true,
            Self::Write(write) => write.durable && errno != ENOSPC,
            _ => false,
        }
    }

    /// What the trace remembers of a write: where, and which bytes.
    pub(super) fn fingerprint(&self) -> u64 {
        let Self::Write(write) = self else { return 0 };
        let bytes = write.data.as_ref().map_or(0, |(_, copy)| crc32c::crc32c(copy));
        mix(u64::from(write.file.0) ^ mix(write.bytes.start)) ^ mix(u64::from(bytes))
    }
}

/// A `Write` or a `Zero` in flight.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) file: Inode,
    pub(super) bytes: Range<u64>,
    pub(super) durable: bool,
    /// The caller's memory and what was in it at submit; `None` for zeros. A device reads the
    /// memory at any time until it completes, so it must not change.
    pub(super) data: Option<(Slice, Rc<[u8]>)>,
}

impl Write {
    pub(super) fn pages(&self) -> Range<u64> {
        self.bytes.start / PAGE_BYTES as u64..self.bytes.end / PAGE_BYTES as u64
    }

    /// Misuse: the memory of the write was changed while the device could read it.
    pub(super) fn check_memory(&self) {
        if let Some((slice, copy)) = &self.data {
            let same = **slice == **copy;
            assert!(same, "memory of the write in flight to {:?} was changed", self.bytes);
        }
    }
}

/// An operation in flight, with what was decided at submit.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) operation: Operation,
    /// Events that had happened: what a sync or a flush covers.
    pub(super) cutoff: u64,
    pub(super) failure: Option<Errno>,
}

impl InFlight {
    /// The namespace change it may have made when the machine crashes.
    pub(super) fn change(&self) -> Option<Change> {
        match self.operation {
            _ if self.failure.is_some() => None,
            Operation::Change(change) => Some(change),
            Operation::Open { name, create: Some(len), file } => {
                Some(Change::Create { name, file, len })
            }
            _ => None,
        }
    }
}

/// Misuse: not whole blocks, or beyond the end of the file.
pub(super) fn check_range(what: &str, offset: u64, len: u64, file_len: u64) {
    let block = u64::from(BLOCK_BYTES);
    let aligned = offset.is_multiple_of(block) && len.is_multiple_of(block) && len > 0;
    assert!(aligned, "unaligned {what} of {len} bytes at {offset}");
    let end = offset.checked_add(len);
    assert!(
        end.is_some_and(|end| end <= file_len),
        "{what} of {len} bytes at {offset} beyond the file's {file_len}"
    );
}

/// Misuse: a write that overlaps one in flight; the device may do them in either order.
pub(super) fn check_overlap(in_flight: &BTreeMap<OpId, InFlight>, new: &Write) {
    for (id, other) in in_flight {
        let Operation::Write(old) = &other.operation else { continue };
        let apart = old.bytes.end <= new.bytes.start || new.bytes.end <= old.bytes.start;
        assert!(
            old.file != new.file || apart,
            "write to {:?} overlaps {id:?} in flight to {:?}",
            new.bytes,
            old.bytes
        );
    }
}

/// Misuse: a handle that was never given out, or was closed.
pub(super) fn handle(open: &BTreeMap<FileId, Inode>, file: FileId) -> Inode {
    match open.get(&file) {
        Some(inode) => *inode,
        None => panic!("{file:?} is not open"),
    }
}
