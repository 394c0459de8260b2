//! Segment files: the current one, its successor, and the written space ahead of the append point.
//!
//! Reading order: [`Segments::step`] (the background work, one operation at a time) ->
//! [`Segments::on_completion`] -> [`Segments::roll`].
//!
//! A successor's life: `Absent -> Opening -> Filling <-> Pausing -> Syncing -> Heading ->
//! Renaming -> SyncingDir -> Ready -> (rolled into) current`. There is no edge back: a failure goes
//! to `Failed` and starts over later, under another spare name if need be.
//! Crash story: 1. the spare is filled and headed 2. crash before the rename is durable 3. reopen
//! finds a spare: its space is used again; headers, not names, say what a file is.
//!
//! Invariants: the successor is durable in the directory before a group is written to it; a fill
//! never starts below the append point, and no group is submitted into a fill in flight.
//! Absent: what is in groups; retention.

use std::collections::BTreeMap;

use super::position::LogPos;
use super::segment_format::SegmentHeader;
use crate::io::block::Block;
use crate::io::{
    BLOCK_BYTES, Completion, Disk, DiskOp, Errno, FileId, FileName, Nanos, OpId, Output,
};
use crate::limits::PREFILL_STEP_BYTES;

/// How long preparation rests after a failure (a full disk, as a rule).
const RETRY_NANOS: u64 = 250_000_000;

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

#[derive(Debug)]
enum Next {
    Absent,
    Opening(OpId),
    Filling {
        file: FileId,
        from: u64,
        to: u64,
        op: OpId,
    },
    Pausing {
        file: FileId,
        filled: u64,
    },
    Syncing {
        file: FileId,
        op: OpId,
    },
    Heading {
        file: FileId,
        op: OpId,
    },
    Renaming {
        file: FileId,
        op: OpId,
    },
    SyncingDir {
        file: FileId,
        op: OpId,
    },
    Ready {
        file: FileId,
    },
    /// Preparation starts over later; a file that has its final name already (`renamed`) only
    /// needs the directory synced.
    Failed {
        at: Nanos,
        renamed: Option<FileId>,
    },
}

/// Filling of the current segment, which a new log starts with only its first bytes written.
#[derive(Debug)]
enum Fill {
    Done,
    Idle { filled: u64 },
    Writing { op: OpId, from: u64, to: u64, since: Nanos },
    Syncing { op: OpId, filled: u64 },
}

/// The files of one log.
#[derive(Debug)]
pub struct Segments {
    geometry: Geometry,
    files: BTreeMap<u64, FileId>,
    current: u64,
    current_file: FileId,
    fill: Fill,
    /// The segment that `fill` is about: the current one, or the one before while its last fill
    /// is in flight.
    fill_number: u64,
    next: Next,
    /// A group did not fit the current segment and waits for the successor.
    roll_waits: bool,
    /// Why the successor could not be prepared the last time it was tried.
    failure: Option<Errno>,
    header: Option<Block>,
    /// Bytes appended to space that was not written before.
    unwritten_bytes: u64,
    /// Bytes written by prefill.
    prefilled_bytes: u64,
}

impl Segments {
    /// The files of a log whose append point lies in segment `current`, which has written space
    /// up to `filled` bytes of its file. A segment behind `current` is a successor already in
    /// place.
    #[must_use]
    pub fn new(
        geometry: Geometry,
        files: BTreeMap<u64, FileId>,
        current: u64,
        current_file: FileId,
        filled: u64,
    ) -> Self {
        let next = files.get(&(current + 1)).map_or(Next::Absent, |&file| Next::Ready { file });
        let fill =
            if filled >= geometry.segment_bytes { Fill::Done } else { Fill::Idle { filled } };
        Self {
            geometry,
            files,
            current,
            current_file,
            fill,
            fill_number: current,
            next,
            roll_waits: false,
            failure: None,
            header: None,
            unwritten_bytes: 0,
            prefilled_bytes: 0,
        }
    }

    /// The log's geometry.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The file that holds `pos`, with the offset in it.
    #[must_use]
    pub fn locate(&self, pos: LogPos) -> Option<(FileId, u64)> {
        let file = self.files.get(&self.geometry.number(pos))?;
        Some((*file, self.geometry.offset(pos)))
    }

    /// The segment that is appended to.
    #[must_use]
    pub fn current(&self) -> u64 {
        self.current
    }

    /// How many segments there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.files.len()
    }

    /// Bytes appended to space that was not written before, and bytes written by prefill.
    #[must_use]
    pub fn counters(&self) -> (u64, u64) {
        (self.unwritten_bytes, self.prefilled_bytes)
    }

    /// Why the successor is not in place, if preparing it failed; also while it is tried again.
    #[must_use]
    pub fn failure(&self) -> Option<Errno> {
        self.failure
    }

    /// Moves on to the successor; `false` while it is not in place. From then on it is prepared
    /// without pause: a batch that does not fit may come long before the segment is full.
    pub fn roll(&mut self) -> bool {
        let Next::Ready { file } = self.next else {
            self.roll_waits = true;
            return false;
        };
        self.roll_waits = false;
        self.current += 1;
        self.current_file = file;
        self.files.insert(self.current, file);
        // A fill of the old segment that is still in flight keeps blocking the groups that are
        // sealed there but not yet written: zeros must never land on top of them.
        if !matches!(self.fill, Fill::Writing { .. }) {
            self.fill = Fill::Done;
        }
        // Segments behind the successor are there when a power loss took the end of the log but
        // not the names of what came after it.
        let after = self.files.get(&(self.current + 1));
        self.next = after.map_or(Next::Absent, |&file| Next::Ready { file });
        true
    }

    /// Whether a group that ends at `end` in segment `number` must wait for a fill, and since when
    /// that is in flight.
    #[must_use]
    pub fn blocks(&self, number: u64, end: u64) -> Option<Nanos> {
        match self.fill {
            Fill::Writing { from, since, .. } if number == self.fill_number && end > from => {
                Some(since)
            }
            _ => None,
        }
    }

    /// A group is about to be written up to `end` in segment `number`.
    pub fn note_append(&mut self, number: u64, end: u64) {
        if number != self.fill_number {
            return;
        }
        let (Fill::Idle { filled } | Fill::Syncing { filled, .. }) = &mut self.fill else { return };
        if *filled < end {
            self.unwritten_bytes += end - *filled;
            *filled = end;
        }
    }

    /// Submits background work that is due; `append` is the append point. One operation at a time
    /// for the current segment and one for its successor.
    pub fn step<D: Disk>(&mut self, disk: &mut D, append: LogPos, now: Nanos) {
        self.step_fill(disk, append, now);
        self.step_next(disk, append, now);
    }

    fn step_fill<D: Disk>(&mut self, disk: &mut D, append: LogPos, now: Nanos) {
        let Fill::Idle { filled } = self.fill else { return };
        // An idle node writes nothing: filling starts with the first append.
        if append <= self.geometry.first_group(self.current) {
            return;
        }
        let start = self.current * self.geometry.segment_bytes;
        let at = (append.0 - start).next_multiple_of(u64::from(BLOCK_BYTES));
        // A segment filled to its last byte ends where the next begins.
        let from = filled.max(at).min(self.geometry.segment_bytes);
        let len = (self.geometry.segment_bytes - from).min(u64::from(PREFILL_STEP_BYTES));
        if len == 0 {
            self.fill = Fill::Done;
            return;
        }
        let op = DiskOp::Zero { file: self.current_file, offset: from, len: len as u32 };
        if let Ok(op) = disk.submit(op) {
            self.fill = Fill::Writing { op, from, to: from + len, since: now };
        }
    }

    fn step_next<D: Disk>(&mut self, disk: &mut D, append: LogPos, now: Nanos) {
        match self.next {
            Next::Failed { at, renamed: Some(file), .. } if now >= at.plus(RETRY_NANOS) => {
                self.sync_dir(disk, file, now);
            }
            Next::Failed { at, renamed: None, .. } if now >= at.plus(RETRY_NANOS) => {
                self.next = Next::Absent;
            }
            _ => {}
        }
        // Written space of a new log first: both fills at once would double what a flush waits for.
        let current_filled = matches!(self.fill, Fill::Done);
        match self.next {
            Next::Absent if current_filled && self.used_share(append) >= 0.25 => {
                let name = FileName::Spare(self.current + 1);
                let create = Some(self.geometry.segment_bytes);
                if let Ok(op) = disk.submit(DiskOp::Open { name, create }) {
                    self.next = Next::Opening(op);
                }
            }
            Next::Pausing { file, filled } if filled < self.fill_target(append) => {
                self.fill_next(disk, file, filled);
            }
            _ => {}
        }
    }

    /// Share of the current segment that has been appended to, all of it when no more fits.
    fn used_share(&self, append: LogPos) -> f64 {
        if self.roll_waits || self.geometry.number(append) > self.current {
            return 1.0;
        }
        self.geometry.offset(append) as f64 / self.geometry.segment_bytes as f64
    }

    /// How much of the successor should be filled by now: all of it when the current segment is
    /// 3/4 full, in proportion from 1/4 on.
    fn fill_target(&self, append: LogPos) -> u64 {
        let due = ((self.used_share(append) - 0.25) * 2.0).clamp(0.0, 1.0);
        let target = (due * self.geometry.segment_bytes as f64) as u64;
        (target + u64::from(PREFILL_STEP_BYTES)).min(self.geometry.segment_bytes)
    }

    fn fill_next<D: Disk>(&mut self, disk: &mut D, file: FileId, filled: u64) {
        let len = (self.geometry.segment_bytes - filled).min(u64::from(PREFILL_STEP_BYTES));
        let op = if len == 0 {
            DiskOp::Sync { file }
        } else {
            DiskOp::Zero { file, offset: filled, len: len as u32 }
        };
        self.next = match disk.submit(op) {
            Ok(op) if len == 0 => Next::Syncing { file, op },
            Ok(op) => Next::Filling { file, from: filled, to: filled + len, op },
            Err(_) => Next::Pausing { file, filled },
        };
    }

    /// Takes a completion that belongs to background work; gives back any other.
    pub fn on_completion<D: Disk>(
        &mut self,
        disk: &mut D,
        completion: Completion,
        append: LogPos,
        sequence: u64,
        now: Nanos,
    ) -> Option<Completion> {
        let op = completion.op;
        let filling = match self.fill {
            Fill::Writing { op: writing, .. } => writing == op,
            Fill::Syncing { op: syncing, .. } => syncing == op,
            _ => false,
        };
        if filling {
            self.on_fill(disk, completion.result);
            self.step_fill(disk, append, now);
            return None;
        }
        let mine = match self.next {
            Next::Opening(next)
            | Next::Filling { op: next, .. }
            | Next::Syncing { op: next, .. }
            | Next::Heading { op: next, .. }
            | Next::Renaming { op: next, .. }
            | Next::SyncingDir { op: next, .. } => next == op,
            _ => false,
        };
        if !mine {
            return Some(completion);
        }
        match completion.result {
            Ok(output) => self.on_next(disk, output, append, sequence, now),
            Err(errno) => self.fail(disk, errno, now),
        }
        None
    }

    fn on_fill<D: Disk>(&mut self, disk: &mut D, result: Result<Output, Errno>) {
        self.fill = match (&self.fill, result) {
            // Space that cannot be filled is appended to as it is, and counted.
            (_, Err(_)) => Fill::Done,
            (Fill::Writing { from, to, .. }, Ok(_)) => {
                self.prefilled_bytes += to - from;
                if self.fill_number != self.current {
                    Fill::Done
                } else {
                    match disk.submit(DiskOp::Sync { file: self.current_file }) {
                        Ok(op) => Fill::Syncing { op, filled: *to },
                        Err(_) => Fill::Idle { filled: *to },
                    }
                }
            }
            (Fill::Syncing { filled, .. } | Fill::Idle { filled }, Ok(_)) => {
                Fill::Idle { filled: *filled }
            }
            (Fill::Done, Ok(_)) => Fill::Done,
        };
    }

    fn on_next<D: Disk>(
        &mut self,
        disk: &mut D,
        output: Output,
        append: LogPos,
        sequence: u64,
        now: Nanos,
    ) {
        let number = self.current + 1;
        match (&self.next, output) {
            (Next::Opening(_), Output::Opened { file, .. }) => {
                self.next = Next::Pausing { file, filled: 0 };
            }
            (&Next::Filling { file, from, to, .. }, _) => {
                self.prefilled_bytes += to - from;
                if to == self.geometry.segment_bytes {
                    self.fill_next(disk, file, to);
                } else {
                    self.next = Next::Pausing { file, filled: to };
                }
            }
            (&Next::Syncing { file, .. }, _) => self.head(disk, file, number, sequence, now),
            (&Next::Heading { file, .. }, _) => {
                let (from, to) = (FileName::Spare(number), FileName::Segment(number));
                match disk.submit(DiskOp::Rename { from, to }) {
                    Ok(op) => self.next = Next::Renaming { file, op },
                    Err(_) => self.fail(disk, Errno(EBUSY), now),
                }
            }
            (&Next::Renaming { file, .. }, _) => self.sync_dir(disk, file, now),
            (&Next::SyncingDir { file, .. }, _) => {
                self.header = None;
                self.failure = None;
                self.next = Next::Ready { file };
            }
            _ => {}
        }
        self.step_next(disk, append, now);
    }

    fn head<D: Disk>(
        &mut self,
        disk: &mut D,
        file: FileId,
        number: u64,
        sequence: u64,
        now: Nanos,
    ) {
        let header = self.geometry.header(number, sequence, self.geometry.segment_bytes);
        let Some(block) = header_block(disk, &header) else {
            return self.fail(disk, Errno(ENOMEM), now);
        };
        let data = block.device_slice(0..BLOCK_BYTES);
        self.header = Some(block);
        match disk.submit(DiskOp::Write { file, offset: 0, data, durable: true }) {
            Ok(op) => self.next = Next::Heading { file, op },
            Err(_) => self.fail(disk, Errno(EBUSY), now),
        }
    }

    /// The file has its name; the name must become durable.
    fn sync_dir<D: Disk>(&mut self, disk: &mut D, file: FileId, now: Nanos) {
        self.next = match disk.submit(DiskOp::SyncDir) {
            Ok(op) => Next::SyncingDir { file, op },
            Err(_) => Next::Failed { at: now, renamed: Some(file) },
        };
    }

    fn fail<D: Disk>(&mut self, disk: &mut D, errno: Errno, now: Nanos) {
        let renamed = match self.next {
            Next::SyncingDir { file, .. } => Some(file),
            Next::Filling { file, .. }
            | Next::Syncing { file, .. }
            | Next::Heading { file, .. }
            | Next::Renaming { file, .. } => {
                // The file stays as a spare and is opened again; closing cannot fail usefully.
                let _ = disk.submit(DiskOp::Close { file });
                None
            }
            _ => None,
        };
        self.failure = Some(errno);
        self.next = Next::Failed { at: now, renamed };
    }

    /// When [`Segments::step`] should be called again though nothing happens.
    #[must_use]
    pub fn wake_at(&self) -> Option<Nanos> {
        match self.next {
            Next::Failed { at, .. } => Some(at.plus(RETRY_NANOS)),
            _ => None,
        }
    }
}

const EBUSY: i32 = 16;
const ENOMEM: i32 = 12;

/// A block with a segment header in it.
pub fn header_block<D: Disk>(disk: &mut D, header: &SegmentHeader) -> Option<Block> {
    let mut block = disk.block(BLOCK_BYTES)?;
    block.append(&header.encode());
    block.append_zeros(block.room());
    Some(block)
}
