//! Where positions lie: which segment, and where in its file.

use super::position::LogPos;
use super::segment_format::SegmentHeader;
use crate::io::BLOCK_BYTES;

/// What all segments of a log share.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Length of every segment in bytes.
    pub segment_bytes: u64,
    /// The shard the log belongs to.
    pub shard: u16,
    /// Id of the data directory.
    pub node: [u8; 16],
    /// Life of the log.
    pub epoch: u32,
}

impl Geometry {
    /// The segment that holds `pos`.
    #[must_use]
    pub const fn number(&self, pos: LogPos) -> u64 {
        pos.0 / self.segment_bytes
    }

    /// The segment of an end position: a group that fills its segment ends where the next begins.
    #[must_use]
    pub const fn number_before(&self, end: LogPos) -> u64 {
        self.number(LogPos(end.0.saturating_sub(1)))
    }

    /// Offset of `pos` in its segment's file.
    #[must_use]
    pub const fn offset(&self, pos: LogPos) -> u64 {
        pos.0 % self.segment_bytes
    }

    /// Where the first group of segment `number` starts.
    #[must_use]
    pub const fn first_group(&self, number: u64) -> LogPos {
        LogPos(number * self.segment_bytes + BLOCK_BYTES as u64)
    }

    /// The first block of segment `number`.
    #[must_use]
    pub fn header(&self, number: u64, sequence: u64, prefilled_bytes: u64) -> SegmentHeader {
        SegmentHeader {
            number,
            segment_bytes: self.segment_bytes,
            sequence,
            prefilled_bytes,
            epoch: self.epoch,
            shard: self.shard,
            node: self.node,
        }
    }
}
