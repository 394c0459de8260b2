//! A log's files as they are found: the superblock's slots, and segments with their headers.
//!
//! Absent: creating or changing a file; what is behind a segment's header.

use std::collections::BTreeMap;

use super::{EIO, OpenError, io};
use crate::io::block::Slice;
use crate::io::{BLOCK_BYTES, Disk, DiskOp, Errno, FileId, FileName, Output, run};
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

/// The numbers of the segments among `names`.
pub(crate) fn segment_numbers(names: &[FileName]) -> impl Iterator<Item = u64> {
    names.iter().filter_map(|name| match name {
        FileName::Segment(number) => Some(*number),
        _ => None,
    })
}

fn damaged(geometry: &Geometry, number: u64, what: &'static str) -> OpenError {
    OpenError::Damaged { at: LogPos(number.saturating_mul(geometry.segment_bytes)), what }
}

/// Takes every segment into use by its name, to be read. None may be missing between two others.
pub(super) fn adopt_segments<D: Disk>(
    disk: &mut D,
    geometry: &Geometry,
    names: &[FileName],
) -> Result<BTreeMap<u64, FileId>, OpenError> {
    let numbers: Vec<u64> = segment_numbers(names).collect();
    let ends = numbers.windows(2).find(|pair| pair.first().map(|n| n + 1) != pair.last().copied());
    if let Some(number) = ends.and_then(|pair| pair.last()) {
        return Err(damaged(geometry, *number, "the segment before is missing"));
    }
    if let Some(number) = numbers.last().filter(|number| !is_possible(geometry, **number)) {
        return Err(damaged(geometry, *number, BEYOND));
    }
    let adopt = |number| (number, disk.adopt(FileName::Segment(number)));
    Ok(numbers.into_iter().map(adopt).collect())
}

/// Opens a segment to go on in it.
pub(super) fn reopen_segment<D: Disk>(
    disk: &mut D,
    geometry: &Geometry,
    number: u64,
    adopted: FileId,
) -> Result<FileId, OpenError> {
    let open = DiskOp::Open { name: FileName::Segment(number), create: None };
    let (file, len) = opened(run(disk, open), "opening a segment")?;
    if len != geometry.segment_bytes {
        return Err(damaged(geometry, number, WRONG_LENGTH));
    }
    run(disk, DiskOp::Close { file: adopted }).map_err(io("closing a segment"))?;
    Ok(file)
}

/// Looks at segments that are about to be read: they must be what their names say. Returns how
/// much of each is written space.
pub(super) fn check_segments<D: Disk>(
    disk: &mut D,
    geometry: &Geometry,
    numbers: impl IntoIterator<Item = u64>,
) -> Result<BTreeMap<u64, u64>, OpenError> {
    let mut prefilled = BTreeMap::new();
    for number in numbers {
        let segment = open_segment(disk, geometry, number)?;
        let segment = segment.map_err(|what| damaged(geometry, number, what))?;
        let header = segment.header.map_err(|what| damaged(geometry, number, what))?;
        run(disk, DiskOp::Close { file: segment.file }).map_err(io("closing a segment"))?;
        prefilled.insert(number, header.prefilled_bytes);
    }
    Ok(prefilled)
}
