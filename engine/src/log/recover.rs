//! Boot: read the log's tail, find its end, begin a new life behind it.
//!
//! Reads top-down: [`Opened::new`] (superblock and segment files: `files`) -> [`Opened::walk`] (one
//! segment whose index is missing) -> [`Opened::begin`] -> `scan` (`read`, `group`) -> new life.
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
use super::segments::{Geometry, Segments, header_block};
use super::superblock::SuperblockFile;
use super::superblock_format::{Pointer, SUPERBLOCK_FILE_BYTES, Superblock};
use super::writer::{Begin, Log, WriterOptions};
use crate::io::{BLOCK_BYTES, Disk, DiskOp, Errno, FileId, FileName, run};
use crate::limits::{PREFILL_FIRST_BYTES, PREFILL_STEP_BYTES};
use crate::shard::retention::Retention;

pub(crate) mod files;
pub(crate) mod gap;
mod group;
mod read;
pub(crate) mod scan;
#[cfg(test)]
mod tests;

use files::{
    adopt_segments, best_slot, check_segments, foreign, opened, reopen_segment, segment_numbers,
    superblock_slots,
};
pub use gap::Leftovers;
pub use group::{EntryFault, FaultAt, Group};
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

    /// Reads the rest of the log, or makes a new one in an empty directory, and shows every entry
    /// in log order to `visit`. Returns the log, ready to append in a new life, and what was read.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn begin<D: Disk>(
        self,
        disk: &mut D,
        mut visit: impl FnMut(&Found<'_>),
    ) -> Result<(Log, Walked), OpenError> {
        let found_before = self.found_before();
        let Self { options, mut geometry, names, superblock, mut files, mut prefilled, start } =
            self;
        let scan = Scan::from(geometry, found_before, &files, start);
        let mut store_ms = 0;
        let certain = superblock.1.map_or(0, |last| last.certain());
        let tail = scan.run(disk, certain, &mut |found: &Found<'_>| {
            store_ms = store_ms.max(found.header.store_timestamp_ms);
            visit(found);
        })?;
        sync_tail(disk, &geometry, &files, tail.watermark)?;
        let used_up =
            OpenError::Damaged { at: LogPos(0), what: "the superblock's epoch is the last" };
        geometry.epoch = geometry.epoch.checked_add(1).ok_or(used_up)?;
        let superblock = write_superblock(disk, superblock, &geometry, tail.sequence)?;
        if tail.end.is_none() {
            prefilled.insert(0, make_first_segment(disk, &geometry, &mut files)?);
        }
        let current = tail.end.map_or(0, |end| geometry.number_before(end));
        let end = tail.end.unwrap_or(geometry.first_group(current));
        if tail.end.is_some() {
            remove_unused(disk, &names, (start.number, current + 1))?;
        }
        if tail.end.is_some() {
            for (&number, file) in files.range_mut(current..) {
                *file = reopen_segment(disk, &geometry, number, *file)?;
            }
        }
        let Some(&file) = files.get(&current) else {
            return Err(OpenError::Damaged { at: end, what: "the last segment is missing" });
        };
        let segments = Segments::new(geometry, files, prefilled, (current, file));
        let mut walked = tail.segments;
        let newest = walked.pop_if(|groups| groups.number == current);
        let before = newest.map_or(tail.sequence, |groups| groups.first - 1);
        let begin = Begin { end, sequence: tail.sequence, before, store_ms, superblock };
        let walked = Walked { segments: walked, read_bytes: tail.read_bytes };
        Ok((Log::new(options.writer, segments, begin), walked))
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

/// Spares that no segment will be made from, and indexes of segments that are gone or were read
/// again, are left of lives that ended in between.
fn remove_unused<D: Disk>(
    disk: &mut D,
    names: &[FileName],
    (start, next): (u64, u64),
) -> Result<(), OpenError> {
    let oldest = segment_numbers(names).next().unwrap_or(0);
    for name in names {
        let unused = match name {
            FileName::Spare(number) => *number != next,
            FileName::Index(number) => *number < oldest || *number >= start,
            FileName::Segment(_) | FileName::Superblock => false,
        };
        if unused {
            run(disk, DiskOp::Remove { name: *name }).map_err(io("removing an unused file"))?;
        }
    }
    Ok(())
}

/// What the scan found may still be in the device's cache (the process died, the machine did
/// not): flush every file that can hold such data before calling it durable.
fn sync_tail<D: Disk>(
    disk: &mut D,
    geometry: &Geometry,
    files: &BTreeMap<u64, FileId>,
    watermark: LogPos,
) -> Result<(), OpenError> {
    for (_, &file) in files.range(geometry.number(watermark)..) {
        run(disk, DiskOp::Sync { file }).map_err(io("flushing the log"))?;
    }
    Ok(())
}

fn write_superblock<D: Disk>(
    disk: &mut D,
    (file, last): (FileId, Option<Superblock>),
    geometry: &Geometry,
    sequence: u64,
) -> Result<SuperblockFile, OpenError> {
    let superblock = Superblock {
        epoch: geometry.epoch,
        sequence,
        segment_bytes: geometry.segment_bytes,
        shard: geometry.shard,
        node: geometry.node,
        generation: last.map_or(1, |last| last.generation.wrapping_add(1)),
        durable: sequence,
        checkpoint: last.and_then(|last| last.checkpoint),
    };
    let what = "writing the superblock";
    let mut block = disk.block(BLOCK_BYTES).ok_or(io(what)(ENOMEM))?;
    block.append(&superblock.encode());
    block.append_zeros(block.room());
    let offset = superblock.slot_offset();
    let data = block.device_slice(0..BLOCK_BYTES);
    run(disk, DiskOp::Write { file, offset, data, durable: true, unwritten: false })
        .map_err(io(what))?;
    // The file's own creation, and its metadata, in case this is its first life.
    run(disk, DiskOp::Sync { file }).map_err(io(what))?;
    run(disk, DiskOp::SyncDir).map_err(io(what))?;
    Ok(SuperblockFile::new(file, superblock))
}

const ENOMEM: Errno = Errno(12);

/// Makes segment 0 with just enough written space for the first appends; the rest is filled in
/// the background. Returns how much is filled.
fn make_first_segment<D: Disk>(
    disk: &mut D,
    geometry: &Geometry,
    files: &mut BTreeMap<u64, FileId>,
) -> Result<u64, OpenError> {
    let what = "making the first segment";
    let open = DiskOp::Open { name: FileName::Spare(0), create: Some(geometry.segment_bytes) };
    let (file, _) = opened(run(disk, open), what)?;
    let filled = PREFILL_FIRST_BYTES.min(geometry.segment_bytes);
    let mut offset = 0;
    while offset < filled {
        let len = (filled - offset).min(u64::from(PREFILL_STEP_BYTES));
        run(disk, DiskOp::Zero { file, offset, len: len as u32 }).map_err(io(what))?;
        offset += len;
    }
    run(disk, DiskOp::Sync { file }).map_err(io(what))?;
    let header = geometry.header(0, 1, filled);
    let block = header_block(disk, &header).ok_or(io(what)(ENOMEM))?;
    let data = block.device_slice(0..BLOCK_BYTES);
    run(disk, DiskOp::Write { file, offset: 0, data, durable: true, unwritten: false })
        .map_err(io(what))?;
    let rename = DiskOp::Rename { from: FileName::Spare(0), to: FileName::Segment(0) };
    run(disk, rename).map_err(io(what))?;
    run(disk, DiskOp::SyncDir).map_err(io(what))?;
    files.insert(0, file);
    Ok(filled)
}
