//! A log's files as they are found: the superblock's slots, and segments with their headers.
//!
//! Absent: creating or changing a file; what is behind a segment's header.

use std::collections::BTreeMap;

use super::{EIO, OpenError, io};
use crate::io::block::Slice;
use crate::io::{BLOCK_BYTES, Disk, DiskOp, Errno, FileId, FileName, Output, run, run_all};
use crate::log::position::LogPos;
use crate::log::segment_format::SegmentHeader;
use crate::log::segments::Geometry;
use crate::log::superblock_format::Superblock;

/// Both slots of the superblock, a block each.
pub(crate) fn superblock_slots<D: Disk>(
    disk: &mut D,
    file: FileId,
) -> Result<[Slice; 2], OpenError> {
    let mut slot = |number: u64| {
        let offset = number * u64::from(BLOCK_BYTES);
        block_of(disk, file, offset, "reading the superblock")
    };
    Ok([slot(0)?, slot(1)?])
}

/// The intact slot that was written last.
pub(crate) fn best_slot(slots: [Option<Superblock>; 2]) -> Option<Superblock> {
    slots
        .into_iter()
        .flatten()
        .reduce(|best, slot| if best.generation < slot.generation { slot } else { best })
}

/// What a superblock says otherwise, if it is not of this log.
pub(crate) fn foreign(superblock: &Superblock, geometry: &Geometry) -> Option<&'static str> {
    let pairs = [
        ("the node id", superblock.node != geometry.node),
        ("the shard", superblock.shard != geometry.shard),
        ("the segment length", superblock.segment_bytes != geometry.segment_bytes),
    ];
    pairs.iter().find(|(_, differs)| *differs).map(|(what, _)| *what)
}

/// One block of a file.
fn block_of<D: Disk>(
    disk: &mut D,
    file: FileId,
    offset: u64,
    what: &'static str,
) -> Result<Slice, OpenError> {
    read_block(run(disk, DiskOp::Read { file, offset, len: BLOCK_BYTES }), what)
}

/// What a read brought.
pub(crate) fn read_block(
    result: Result<Output, Errno>,
    what: &'static str,
) -> Result<Slice, OpenError> {
    match result.map_err(io(what))? {
        Output::Read(block) => Ok(block.slice(0..block.published())),
        _ => Err(io(what)(EIO)),
    }
}

/// What opening a file brought: its handle and its length in bytes.
pub(crate) fn opened(
    result: Result<Output, Errno>,
    what: &'static str,
) -> Result<(FileId, u64), OpenError> {
    match result.map_err(io(what))? {
        Output::Opened { file, len } => Ok((file, len)),
        _ => Err(io(what)(EIO)),
    }
}

const BEYOND: &str = "a segment's number is beyond every log";
const WRONG_LENGTH: &str = "a segment has the wrong length";

/// Whether positions in a segment of this number are numbers.
fn is_possible(geometry: &Geometry, number: u64) -> bool {
    number.checked_add(1).and_then(|next| next.checked_mul(geometry.segment_bytes)).is_some()
}

/// A segment file that was opened.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub(crate) file: FileId,
    /// The first block.
    pub(crate) block: Slice,
    /// Its header, or what is wrong with it.
    pub(crate) header: Result<SegmentHeader, &'static str>,
}

/// Opens a segment and compares its header with its name. `Ok(Err)`: the file is not a segment's
/// by its number or length.
pub(crate) fn open_segment<D: Disk>(
    disk: &mut D,
    geometry: &Geometry,
    number: u64,
) -> Result<Result<OpenSegment, &'static str>, OpenError> {
    if !is_possible(geometry, number) {
        return Ok(Err(BEYOND));
    }
    let open = DiskOp::Open { name: FileName::Segment(number), create: None };
    let (file, len) = opened(run(disk, open), "opening a segment")?;
    if len != geometry.segment_bytes {
        return Ok(Err(WRONG_LENGTH));
    }
    let block = block_of(disk, file, 0, "reading a segment header")?;
    let header = check_header(&block, geometry, number);
    Ok(Ok(OpenSegment { file, block, header }))
}

fn check_header(
    block: &[u8],
    geometry: &Geometry,
    number: u64,
) -> Result<SegmentHeader, &'static str> {
    let header = SegmentHeader::decode(block).ok_or("a segment header is not intact")?;
    let foreign = header.node != geometry.node || header.shard != geometry.shard;
    if foreign || header.number != number || header.segment_bytes != geometry.segment_bytes {
        return Err("a segment is not what its name says");
    }
    Ok(header)
}

type OpenSegments = (BTreeMap<u64, FileId>, BTreeMap<u64, SegmentHeader>);

/// The numbers of the segments among `names`.
pub(crate) fn segment_numbers(names: &[FileName]) -> impl Iterator<Item = u64> {
    names.iter().filter_map(|name| match name {
        FileName::Segment(number) => Some(*number),
        _ => None,
    })
}

/// Opens every segment; all must be there and be what their names say.
pub(super) fn open_segments<D: Disk>(
    disk: &mut D,
    geometry: &Geometry,
    names: &[FileName],
) -> Result<OpenSegments, OpenError> {
    let damaged = |number: u64, what| {
        let at = LogPos(number.saturating_mul(geometry.segment_bytes));
        OpenError::Damaged { at, what }
    };
    let numbers: Vec<u64> = segment_numbers(names).collect();
    let ends = numbers.windows(2).find(|pair| pair.first().map(|n| n + 1) != pair.last().copied());
    if let Some(number) = ends.and_then(|pair| pair.last()) {
        return Err(damaged(*number, "the segment before is missing"));
    }
    if let Some(number) = numbers.last().filter(|number| !is_possible(geometry, **number)) {
        return Err(damaged(*number, BEYOND));
    }
    let open = |&number: &u64| DiskOp::Open { name: FileName::Segment(number), create: None };
    let mut files = BTreeMap::new();
    for (&number, result) in numbers.iter().zip(run_all(disk, numbers.iter().map(open))) {
        let (file, len) = opened(result, "opening a segment")?;
        if len != geometry.segment_bytes {
            return Err(damaged(number, WRONG_LENGTH));
        }
        files.insert(number, file);
    }
    let read = |&file: &FileId| DiskOp::Read { file, offset: 0, len: BLOCK_BYTES };
    let mut headers = BTreeMap::new();
    for (&number, result) in numbers.iter().zip(run_all(disk, files.values().map(read))) {
        let block = read_block(result, "reading a segment header")?;
        let header = check_header(&block, geometry, number);
        headers.insert(number, header.map_err(|what| damaged(number, what))?);
    }
    Ok((files, headers))
}
