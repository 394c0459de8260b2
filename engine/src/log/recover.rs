//! Boot: read the log, find its end, begin a new life behind it.
//!
//! Reads top-down: [`open`] -> `files` (superblock, segments) -> `scan` (`read`, `group`) -> new life.
//!
//! The log ends where the next group, by sequence, is not intact. A later group that was cut when
//! the missing place was already durable proves that the place was once whole: that is damage,
//! not a torn tail, and nothing is opened.
//! The superblock remembers the last group that its life found: from then on that group cannot be
//! missing, and a group of an earlier life behind it is a leftover beyond a hole.
//! Crash story: 1. the new epoch is in the superblock 2. crash before the first append 3. reopen
//! takes the next epoch; leftovers of both lives have epochs that never match again.
//!
//! Absent: repair (damage is reported with its position, never skipped); checkpoints.

use std::collections::BTreeMap;

use thiserror::Error;

use super::entry_format::EntryHeader;
use super::position::LogPos;
use super::segments::{Geometry, Segments, header_block};
use super::superblock_format::{SUPERBLOCK_FILE_BYTES, Superblock};
use super::writer::{Log, WriterOptions};
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

use files::{best_slot, foreign, open_segments, opened, superblock_slots};
pub use gap::Leftovers;
pub use group::{EntryFault, FaultAt, Group};
use scan::Scan;

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

/// Opens the log, or makes a new one in an empty directory, and shows every entry in log order to
/// `visit`. Returns the log, ready to append in a new life.
///
/// # Errors
/// See [`OpenError`].
pub fn open<D: Disk>(
    disk: &mut D,
    options: &OpenOptions,
    mut visit: impl FnMut(&Found<'_>),
) -> Result<Log, OpenError> {
    let names = disk.list().map_err(io("reading the directory"))?;
    let mut geometry = Geometry {
        segment_bytes: options.segment_bytes,
        shard: options.shard,
        node: options.node,
        epoch: 0,
    };
    let (superblock, last) = read_superblock(disk, &geometry)?;
    geometry.epoch = last.map_or(0, |last| last.epoch);
    let (mut files, headers) = open_segments(disk, &geometry, &names)?;
    if last.is_none() && !files.is_empty() {
        let what = "segments without an intact superblock";
        return Err(OpenError::Damaged { at: LogPos(0), what });
    }
    let mut scan = Scan::new(geometry, last.map_or(0, |last| last.sequence), &files);
    let mut store_ms = 0;
    let tail = scan.run(disk, &mut |found: &Found<'_>| {
        store_ms = store_ms.max(found.header.store_timestamp_ms);
        visit(found);
    })?;
    sync_tail(disk, &geometry, &files, tail.watermark)?;
    let used_up = OpenError::Damaged { at: LogPos(0), what: "the superblock's epoch is the last" };
    geometry.epoch = geometry.epoch.checked_add(1).ok_or(used_up)?;
    write_superblock(disk, superblock, &geometry, tail.sequence)?;
    let mut prefilled: BTreeMap<u64, u64> =
        headers.iter().map(|(&number, header)| (number, header.prefilled_bytes)).collect();
    if tail.end.is_none() {
        prefilled.insert(0, make_first_segment(disk, &geometry, &mut files)?);
    }
    let current = tail.end.map_or(0, |end| geometry.number_before(end));
    let end = tail.end.unwrap_or(geometry.first_group(current));
    if tail.end.is_some() {
        remove_spares(disk, &names, current + 1)?;
    }
    let Some(&file) = files.get(&current) else {
        return Err(OpenError::Damaged { at: end, what: "the last segment is missing" });
    };
    let segments = Segments::new(geometry, files, prefilled, (current, file));
    Ok(Log::new(options.writer, segments, end, tail.sequence, store_ms))
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

/// Spares that no segment will be made from are left of lives that ended in between.
fn remove_spares<D: Disk>(disk: &mut D, names: &[FileName], next: u64) -> Result<(), OpenError> {
    for name in names {
        if matches!(name, FileName::Spare(number) if *number != next) {
            run(disk, DiskOp::Remove { name: *name }).map_err(io("removing a spare segment"))?;
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
    file: FileId,
    geometry: &Geometry,
    sequence: u64,
) -> Result<(), OpenError> {
    let superblock = Superblock {
        epoch: geometry.epoch,
        sequence,
        segment_bytes: geometry.segment_bytes,
        shard: geometry.shard,
        node: geometry.node,
    };
    let what = "writing the superblock";
    let mut block = disk.block(BLOCK_BYTES).ok_or(io(what)(ENOMEM))?;
    block.append(&superblock.encode());
    block.append_zeros(block.room());
    let offset = Superblock::slot_offset(geometry.epoch);
    let data = block.device_slice(0..BLOCK_BYTES);
    run(disk, DiskOp::Write { file, offset, data, durable: true, unwritten: false })
        .map_err(io(what))?;
    // The file's own creation, and its metadata, in case this is its first life.
    run(disk, DiskOp::Sync { file }).map_err(io(what))?;
    run(disk, DiskOp::SyncDir).map_err(io(what))?;
    Ok(())
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
