//! Boot: read the log's tail, find its end, begin a new life behind it.
//!
//! Reads top-down: [`Opened::new`] (superblock and segment files: `files`) -> [`Opened::walk`] (one
//! segment whose index is missing) -> [`Opened::read`] -> `scan` (`read`, `group`) -> [`WasRead::begin`]
//! (`life`).
//!
//! What lies before the segment in which the newest checkpoint begins is not read: the checkpoint
//! has the state, and the sealed segments have indexes. Their files are taken into use by name: none
//! is opened before somebody reads it, so that a long log starts as fast as a short one. That one is
//! missing is seen by the names; that it is not what its name says is seen by whoever reads it, for
//! entries' checksums have their positions in them.
//! The log ends where the next group, by sequence, is not intact. A later group that was cut when
//! the missing place was already durable proves that the place was once whole: that is damage,
//! not a torn tail, and nothing is opened.
//! The superblock remembers groups that were durable: they cannot be missing. And it remembers the
//! last group that its life found: a later one of an earlier life is a leftover beyond a hole.
//! Crash story: 1. the new epoch is in the superblock 2. crash before the first append 3. reopen
//! takes the next epoch; leftovers of both lives have epochs that never match again.
//!
//! Absent: repair (damage is reported with its position, never skipped); what entries mean.

use std::collections::BTreeMap;
use std::ops::Range;

use thiserror::Error;

use super::entry_format::EntryHeader;
use super::position::LogPos;
use super::segments::Geometry;
use super::superblock_format::{Pointer, SUPERBLOCK_FILE_BYTES, Superblock};
use super::writer::WriterOptions;
use crate::io::{Disk, DiskOp, Errno, FileId, FileName, run};
use crate::shard::retention::Retention;

pub(crate) mod files;
pub(crate) mod gap;
mod group;
mod life;
mod read;
pub(crate) mod scan;
#[cfg(test)]
mod tests;

use files::{adopt_segments, best_slot, check_segments, foreign, opened, superblock_slots};
pub use gap::Leftovers;
pub use group::{EntryFault, FaultAt, Group};
pub use life::WasRead;
pub use scan::Groups;
use scan::{Scan, Start};

/// What a log must be to belong to this shard, and how it will be written.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// The shard.
    pub shard: u16,
    /// Id of the data directory.
    pub node: [u8; 16],
    /// Length of every segment in bytes.
    pub segment_bytes: u64,
    /// How the writer behaves.
    pub writer: WriterOptions,
    /// How long records are kept.
    pub retention: Retention,
}

/// Why a log cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The disk failed; try again, or look at the device.
    #[error("{what}: {errno}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the disk said.
        errno: Errno,
    },
    /// The log was whole here once and is not now; restore it from a copy.
    #[error("the log is damaged at position {at}: {what}")]
    Damaged {
        /// Log position of the damage.
        at: LogPos,
        /// What is wrong.
        what: &'static str,
    },
    /// The files belong to another directory, shard or segment length.
    #[error("the log belongs elsewhere: {what} differs")]
    Foreign {
        /// What differs.
        what: &'static str,
    },
}

/// An entry that was found.
#[derive(Debug)]
pub struct Found<'a> {
    /// Its header.
    pub header: EntryHeader,
    /// Its batch.
    pub batch: &'a [u8],
    /// Records in the batch.
    pub records: u32,
    /// Position of the header.
    pub pos: LogPos,
    /// The group it is in.
    pub sequence: u64,
    /// The life of the log that wrote it.
    pub epoch: u32,
}

fn io(what: &'static str) -> impl Fn(Errno) -> OpenError {
    move |errno| OpenError::Io { what, errno }
}

/// What was read of a log.
#[derive(Clone, Debug)]
pub struct Walked {
    /// The groups of each segment, the current one left out.
    pub segments: Vec<Groups>,
    /// Bytes that were read.
    pub read_bytes: u64,
}

/// A log whose files are in use and of which nothing was read yet.
#[derive(Debug)]
pub struct Opened {
    options: OpenOptions,
    geometry: Geometry,
    names: Vec<FileName>,
    superblock: (FileId, Option<Superblock>),
    files: BTreeMap<u64, FileId>,
    prefilled: BTreeMap<u64, u64>,
    start: Start,
}

impl Opened {
    /// Opens the superblock, takes all segments into use and looks at those that will be read.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn new<D: Disk>(disk: &mut D, options: &OpenOptions) -> Result<Self, OpenError> {
        let names = disk.list().map_err(io("reading the directory"))?;
        let mut geometry = Geometry {
            segment_bytes: options.segment_bytes,
            shard: options.shard,
            node: options.node,
            epoch: 0,
        };
        let (file, last) = read_superblock(disk, &geometry)?;
        geometry.epoch = last.map_or(0, |last| last.epoch);
        let files = adopt_segments(disk, &geometry, &names)?;
        if last.is_none() && !files.is_empty() {
            let what = "segments without an intact superblock";
            return Err(OpenError::Damaged { at: LogPos(0), what });
        }
        let start = start(&geometry, last.and_then(|last| last.checkpoint), &files);
        let numbers = files.range(start.number..).map(|(&number, _)| number);
        let prefilled = check_segments(disk, &geometry, numbers)?;
        let superblock = (file, last);
        Ok(Self { options: *options, geometry, names, superblock, files, prefilled, start })
    }

    /// What all segments share; the epoch is the last life's.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The segments that will not be read.
    #[must_use]
    pub fn sealed(&self) -> Range<u64> {
        self.oldest()..self.start.number
    }

    /// The oldest segment.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.files.first_key_value().map_or(0, |(&first, _)| first)
    }

    /// The last group before those that will be read; 0 when it is not known.
    #[must_use]
    pub fn before(&self) -> u64 {
        self.start.before
    }

    /// Names of all files there were.
    #[must_use]
    pub fn names(&self) -> &[FileName] {
        &self.names
    }

    /// Walks through one sealed segment, all of whose groups must be there up to group `last`.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn walk<D: Disk>(
        &self,
        disk: &mut D,
        number: u64,
        last: u64,
        visit: &mut impl FnMut(&Found<'_>),
    ) -> Result<Groups, OpenError> {
        check_segments(disk, &self.geometry, [number])?;
        let files = self.files.range(number..=number).map(|(&key, &file)| (key, file)).collect();
        let mut scan = Scan::new(self.geometry, self.found_before(), &files);
        while let Some(group) = scan.next(disk)? {
            for found in group.entries() {
                visit(&found);
            }
        }
        scan.reader().finish(disk);
        let what = "a group of a sealed segment is missing";
        let damaged = OpenError::Damaged { at: scan.end(), what };
        scan.segments().first().copied().filter(|groups| groups.last == last).ok_or(damaged)
    }

    fn found_before(&self) -> u64 {
        self.superblock.1.map_or(0, |last| last.sequence)
    }

    /// Reads the rest of the log and shows every entry in log order to `visit`.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn read<D: Disk>(
        self,
        disk: &mut D,
        mut visit: impl FnMut(&Found<'_>),
    ) -> Result<WasRead, OpenError> {
        let scan = Scan::from(self.geometry, self.found_before(), &self.files, self.start);
        let mut store_ms = 0;
        let certain = self.superblock.1.map_or(0, |last| last.certain());
        let tail = scan.run(disk, certain, &mut |found: &Found<'_>| {
            store_ms = store_ms.max(found.header.store_timestamp_ms);
            visit(found);
        })?;
        Ok(WasRead { opened: self, tail, store_ms })
    }
}

/// The walk begins with the segment of the newest checkpoint. If that is not there, a newer one
/// was in a slot that is damaged now: it is found if all is read.
fn start(geometry: &Geometry, checkpoint: Option<Pointer>, files: &BTreeMap<u64, FileId>) -> Start {
    let oldest = files.first_key_value().map_or(0, |(&first, _)| first);
    checkpoint
        .map(|Pointer { begin, before }| {
            let number = geometry.number(begin);
            let watermark = LogPos(number * geometry.segment_bytes);
            Start { number, before, watermark }
        })
        .filter(|start| files.contains_key(&start.number))
        .unwrap_or(Start { number: oldest, ..Start::default() })
}

/// Opens the superblock file and finds the intact slot with the highest epoch.
fn read_superblock<D: Disk>(
    disk: &mut D,
    geometry: &Geometry,
) -> Result<(FileId, Option<Superblock>), OpenError> {
    let open = DiskOp::Open { name: FileName::Superblock, create: Some(SUPERBLOCK_FILE_BYTES) };
    let file = opened(run(disk, open), "opening the superblock")?.0;
    let slots = superblock_slots(disk, file)?;
    let best = best_slot(slots.each_ref().map(|slot| Superblock::decode(slot)));
    match best.and_then(|best| foreign(&best, geometry)) {
        Some(what) => Err(OpenError::Foreign { what }),
        None => Ok((file, best)),
    }
}

const EIO: Errno = Errno(5);
