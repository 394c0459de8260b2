//! A new life behind the end of a log that was read: what was found is made certain, the epoch is
//! stored, the segments to be written are opened.
//!
//! Invariant: nothing is appended before the superblock has the new epoch.
//! Absent: reading.

use std::collections::BTreeMap;

use super::files::{opened, reopen_segment, segment_numbers};
use super::scan::Tail;
use super::{OpenError, Opened, Walked, io};
use crate::io::{BLOCK_BYTES, Disk, DiskOp, Errno, FileId, FileName, run};
use crate::limits::{PREFILL_FIRST_BYTES, PREFILL_STEP_BYTES};
use crate::log::position::LogPos;
use crate::log::segments::{Geometry, Segments, header_block, is_spare_for};
use crate::log::superblock::SuperblockFile;
use crate::log::superblock_format::Superblock;
use crate::log::writer::{Begin, Log};

/// A log that was read to its end.
#[derive(Debug)]
pub struct WasRead {
    pub(super) opened: Opened,
    pub(super) tail: Tail,
    /// The latest store time that was found, in milliseconds since the Unix epoch.
    pub(super) store_ms: u64,
}

impl WasRead {
    /// Begins a new life; in an empty directory it makes the log. Returns it, ready to append, and
    /// what was read.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn begin<D: Disk>(self, disk: &mut D) -> Result<(Log, Walked), OpenError> {
        let Self { opened, tail, store_ms } = self;
        let Opened { options, mut geometry, names, superblock, mut files, mut prefilled, start } =
            opened;
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
        let mut segments = Segments::new(geometry, files, prefilled, (current, file));
        segments.keep_spares(&names);
        let mut walked = tail.segments;
        let newest = walked.pop_if(|groups| groups.number == current);
        let before = newest.map_or(tail.sequence, |groups| groups.first - 1);
        let begin = Begin { end, sequence: tail.sequence, before, store_ms, superblock };
        let walked = Walked { segments: walked, read_bytes: tail.read_bytes };
        Ok((Log::new(options.writer, segments, begin), walked))
    }
}

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
            FileName::Spare(number) => !is_spare_for(next, *number),
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
