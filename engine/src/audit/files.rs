//! The superblock and the segment files: there, the right ones, and clean where nothing belongs.

use super::damage::{Damage, Place, What};
use super::{Expected, Opened, Visitor, Walked};
use crate::io::{BLOCK_BYTES, Disk, DiskOp, FileName, run};
use crate::log::position::LogPos;
use crate::log::recover::OpenError;
use crate::log::recover::files::{
    best_slot, foreign, open_segment, opened, segment_numbers, superblock_slots,
};
use crate::log::segment_format::SEGMENT_HEADER_BYTES;
use crate::log::segments::Geometry;
use crate::log::superblock_format::{SUPERBLOCK_BYTES, SUPERBLOCK_FILE_BYTES, Superblock};

/// Opens everything that can be opened; what is wrong is shown to `visitor`.
pub(super) fn open<D: Disk, V: Visitor>(
    disk: &mut D,
    expected: &Expected,
    visitor: &mut V,
    walked: &mut Walked,
) -> Result<Opened, OpenError> {
    let what = "reading the directory";
    let names = disk.list().map_err(|errno| OpenError::Io { what, errno })?;
    let has_segments = segment_numbers(&names).next().is_some();
    let superblock = if names.contains(&FileName::Superblock) {
        superblock(disk, expected, has_segments, visitor)?
    } else {
        if has_segments {
            visitor.damage(&in_superblock(0, What::SuperblockMissing));
        }
        None
    };
    walked.epoch = superblock.map(|superblock| superblock.epoch);
    for name in &names {
        match name {
            FileName::Spare(number) => walked.spare_numbers.push(*number),
            FileName::Index(number) => walked.index_numbers.push(*number),
            FileName::Segment(_) | FileName::Superblock => {}
        }
    }
    let mut opened = Opened { superblock, ..Opened::default() };
    segments(disk, expected, &names, &mut opened, visitor)?;
    walked.segments = opened.segments.len() as u64;
    walked.segment_bytes = walked.segments * expected.segment_bytes;
    if !has_segments && superblock.is_some_and(|superblock| superblock.certain() > 0) {
        visitor.damage(&in_log(expected, LogPos(0), What::AllSegmentsMissing));
    }
    Ok(opened)
}

/// Damage at a position of the log.
fn in_log(expected: &Expected, pos: LogPos, what: What) -> Damage {
    let place = Place::of(pos, expected.segment_bytes);
    Damage { place, sequence: None, queue: None, what }
}

fn in_superblock(slot: u64, what: What) -> Damage {
    let offset = slot * u64::from(BLOCK_BYTES);
    let place = Place { file: FileName::Superblock, offset, pos: None };
    Damage { place, sequence: None, queue: None, what }
}

/// Reads both slots. The other slot than the best one holds the life before; in the first life it
/// is empty, and both are before the first.
fn superblock<D: Disk, V: Visitor>(
    disk: &mut D,
    expected: &Expected,
    has_segments: bool,
    visitor: &mut V,
) -> Result<Option<Superblock>, OpenError> {
    let open = DiskOp::Open { name: FileName::Superblock, create: None };
    let (file, len) = opened(run(disk, open), "opening the superblock")?;
    if len != SUPERBLOCK_FILE_BYTES {
        visitor.damage(&in_superblock(0, What::SuperblockLength(len)));
    }
    if len < SUPERBLOCK_FILE_BYTES {
        return Ok(None);
    }
    let blocks = superblock_slots(disk, file)?;
    let decoded = blocks.each_ref().map(|block| Superblock::decode(block));
    let best = best_slot(decoded);
    for ((number, block), slot) in (0..).zip(&blocks).zip(decoded) {
        let what = match slot {
            Some(slot) => slot_fault(expected, number, block, &slot),
            None => {
                let is_empty = block.iter().all(|byte| *byte == 0);
                let may_be_empty = best.map_or(!has_segments, |best| best.generation == 1);
                (!is_empty || !may_be_empty).then_some(What::SuperblockSlot)
            }
        };
        if let Some(what) = what {
            visitor.damage(&in_superblock(number, what));
        }
    }
    if let [Some(first), Some(second)] = decoded
        && first.generation.abs_diff(second.generation) != 1
    {
        visitor.damage(&in_superblock(0, What::SuperblockForeign("the generation")));
    }
    run(disk, DiskOp::Close { file })
        .map_err(|errno| OpenError::Io { what: "closing the superblock", errno })?;
    Ok(best)
}

fn slot_fault(expected: &Expected, number: u64, block: &[u8], slot: &Superblock) -> Option<What> {
    if let Some(what) = foreign(slot, &geometry(expected, None)) {
        return Some(What::SuperblockForeign(what));
    }
    if slot.slot_offset() != number * u64::from(BLOCK_BYTES) {
        return Some(What::SuperblockForeign("the slot"));
    }
    (!is_zero(block.get(SUPERBLOCK_BYTES..))).then_some(What::Reserved)
}

fn is_zero(bytes: Option<&[u8]>) -> bool {
    bytes.is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
}

/// Opens the segments. One whose header is damaged is walked all the same: what its groups say of
/// themselves is enough.
fn segments<D: Disk, V: Visitor>(
    disk: &mut D,
    expected: &Expected,
    names: &[FileName],
    opened: &mut Opened,
    visitor: &mut V,
) -> Result<(), OpenError> {
    let geometry = geometry(expected, opened.superblock.as_ref());
    // Retention takes segments from the front; a checkpoint must stand for them.
    let mut next = segment_numbers(names).next().unwrap_or(0);
    for number in segment_numbers(names) {
        let at = LogPos(number.saturating_mul(expected.segment_bytes));
        if number > next {
            let pos = LogPos(next.saturating_mul(expected.segment_bytes));
            visitor.damage(&in_log(expected, pos, What::SegmentsMissing(number - next)));
        }
        let segment = match open_segment(disk, &geometry, number)? {
            Ok(segment) => segment,
            Err(what) => {
                visitor.damage(&in_log(expected, at, What::Segment(what)));
                next = number.saturating_add(1);
                continue;
            }
        };
        next = number + 1;
        let what = match segment.header {
            Err(what) => Some(What::Segment(what)),
            Ok(header) if header.epoch > geometry.epoch => Some(What::LaterLife),
            Ok(header) if header.prefilled_bytes > expected.segment_bytes => {
                Some(What::Segment("more is written space than the segment has"))
            }
            Ok(_) => {
                (!is_zero(segment.block.get(SEGMENT_HEADER_BYTES..))).then_some(What::Reserved)
            }
        };
        if let Some(what) = what {
            visitor.damage(&in_log(expected, at, what));
        }
        opened.segments.insert(number, segment.file);
    }
    Ok(())
}

/// Without a superblock any life may have written.
pub(super) fn geometry(expected: &Expected, superblock: Option<&Superblock>) -> Geometry {
    Geometry {
        segment_bytes: expected.segment_bytes,
        shard: expected.shard,
        node: expected.node,
        epoch: superblock.map_or(u32::MAX, |superblock| superblock.epoch),
    }
}
