//! Settling: the file of a segment that is not written any more gives its descriptor back.
//!
//! Absent: when it gets one again (the disk's business).

use super::Segments;
use crate::io::{Disk, DiskOp, FileName};
use crate::log::position::LogPos;

impl Segments {
    /// Gives back the descriptors of segments that are not written any more, now that the log is
    /// durable up to `durable`: they are read by name from then on.
    pub fn settle<D: Disk>(&mut self, disk: &mut D, durable: LogPos) {
        while self.settled < self.current.min(self.fill.number())
            && self.geometry.number_before(durable) > self.settled
            && !self.halted
        {
            if let Some(file) = self.files.get_mut(&self.settled) {
                if disk.submit(DiskOp::Close { file: *file }).is_err() {
                    return;
                }
                *file = disk.adopt(FileName::Segment(self.settled));
            }
            self.settled += 1;
        }
    }
}

#[cfg(test)]
mod tests;
