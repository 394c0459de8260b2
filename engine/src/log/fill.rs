//! Prefill: zeros written ahead of the append point, so that appends overwrite written space.
//!
//! One segment at a time, one operation at a time: the current segment at full speed, then its
//! successor at the pace of the appends. Each step is flushed, so that its file-system metadata is
//! committed before an append needs it; when all of a segment is filled its header says so, and a
//! restart does not fill it again.
//!
//! Invariants: a step starts at or above everything appended when it was submitted; no group is
//! submitted into a step in flight ([`Fill::blocks`]); a step that fails only ends the filling.
//! Absent: which segment comes next (the caller's).

use super::position::LogPos;
use super::segments::{Geometry, header_block};
use crate::io::{BLOCK_BYTES, Disk, DiskOp, Errno, FileId, Nanos, OpId, Output};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Writing {
        op: OpId,
        from: u64,
        to: u64,
        since: Nanos,
    },
    /// The disk's queue was full when a step had to be flushed.
    Unsynced,
    Syncing {
        op: OpId,
    },
    Heading {
        op: OpId,
    },
    Done,
}

/// The filling of one segment.
#[derive(Debug)]
pub(super) struct Fill {
    number: u64,
    file: FileId,
    filled: u64,
    state: State,
}

impl Fill {
    /// Segment `number`, which is written space up to `filled` bytes of its file.
    pub(super) fn new(geometry: &Geometry, number: u64, file: FileId, filled: u64) -> Self {
        let done = filled >= geometry.segment_bytes;
        Self { number, file, filled, state: if done { State::Done } else { State::Idle } }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Zeros are on their way to the device.
    pub(super) fn is_writing(&self) -> bool {
        matches!(self.state, State::Writing { .. })
    }

    /// Some operation of its own is in flight: until it has ended the file is not to be given away.
    pub(super) fn is_busy(&self) -> bool {
        !matches!(self.state, State::Idle | State::Unsynced | State::Done)
    }

    /// Since when a step is in flight that a group ending at `end` of segment `number` would meet.
    pub(super) fn blocks(&self, number: u64, end: u64) -> Option<Nanos> {
        match self.state {
            State::Writing { from, since, .. } if number == self.number && end > from => {
                Some(since)
            }
            _ => None,
        }
    }

    /// Bytes from the start of the file that are written space.
    pub(super) fn filled(&self) -> u64 {
        self.filled
    }

    /// Whether a write up to `end` may meet space that was never written.
    pub(super) fn is_unwritten(&self, end: u64) -> bool {
        end > self.filled
    }

    /// A group of `bytes` is about to be written up to `end`: how many of them go to space that
    /// was not written before.
    pub(super) fn note_append(&mut self, end: u64, bytes: u64) -> u64 {
        let unwritten = end.saturating_sub(self.filled).min(bytes);
        if !self.is_writing() {
            // The end of a step in flight lies behind all groups that may be written meanwhile.
            self.filled = self.filled.max(end);
        }
        unwritten
    }

    /// Submits the next step, of `step_bytes`, if less than `target` bytes of the file are filled. `append` is the
    /// append point when it lies in this segment.
    pub(super) fn step<D: Disk>(
        &mut self,
        disk: &mut D,
        geometry: &Geometry,
        append: Option<LogPos>,
        target: u64,
        step_bytes: u32,
        now: Nanos,
    ) {
        match self.state {
            State::Idle => {}
            State::Unsynced => return self.sync(disk),
            _ => return,
        }
        let base = self.number * geometry.segment_bytes;
        let appended =
            append.map_or(0, |at| (at.0 - base).next_multiple_of(u64::from(BLOCK_BYTES)));
        let from = self.filled.max(appended).min(geometry.segment_bytes);
        if from >= target {
            return;
        }
        let len = (geometry.segment_bytes - from).min(u64::from(step_bytes));
        if len == 0 {
            return;
        }
        let op = DiskOp::Zero { file: self.file, offset: from, len: len as u32 };
        if let Ok(op) = disk.submit(op) {
            self.state = State::Writing { op, from, to: from + len, since: now };
        }
    }

    pub(super) fn owns(&self, op: OpId) -> bool {
        match self.state {
            State::Writing { op: mine, .. }
            | State::Syncing { op: mine }
            | State::Heading { op: mine } => mine == op,
            State::Idle | State::Unsynced | State::Done => false,
        }
    }

    /// One of its operations ended; returns how many bytes were filled.
    pub(super) fn on_completion<D: Disk>(
        &mut self,
        disk: &mut D,
        geometry: &Geometry,
        sequence: u64,
        result: Result<Output, Errno>,
    ) -> u64 {
        if result.is_err() {
            // Space that cannot be filled is appended to as it is, and counted.
            self.state = State::Done;
            return 0;
        }
        match self.state {
            State::Writing { from, to, .. } => {
                self.filled = to;
                self.sync(disk);
                to - from
            }
            State::Syncing { .. } if self.filled >= geometry.segment_bytes => {
                self.state = self.head(disk, geometry, sequence);
                0
            }
            State::Syncing { .. } => {
                self.state = State::Idle;
                0
            }
            State::Heading { .. } | State::Idle | State::Unsynced | State::Done => {
                self.state = State::Done;
                0
            }
        }
    }

    fn sync<D: Disk>(&mut self, disk: &mut D) {
        self.state = match disk.submit(DiskOp::Sync { file: self.file }) {
            Ok(op) => State::Syncing { op },
            Err(_) => State::Unsynced,
        };
    }

    /// Writes into the header that all of the segment is written space. The header is one sector:
    /// a crash leaves the old one or the new one.
    fn head<D: Disk>(&self, disk: &mut D, geometry: &Geometry, sequence: u64) -> State {
        let header = geometry.header(self.number, sequence, geometry.segment_bytes);
        let Some(block) = header_block(disk, &header) else { return State::Done };
        let data = block.device_slice(0..BLOCK_BYTES);
        match disk.submit(DiskOp::Write {
            file: self.file,
            offset: 0,
            data,
            durable: true,
            unwritten: false,
        }) {
            Ok(op) => State::Heading { op },
            Err(_) => State::Done,
        }
    }
}

#[cfg(test)]
mod tests;
