//! The segment that comes after the current one: made under a spare name, headed, renamed, and
//! its name made durable, before the log needs it.
//!
//! `Absent -> Opening -> Heading -> Renaming -> SyncingDir -> Ready -> (rolled into) Absent`. A
//! failure goes to `Failed` and starts over later, from the rename's sync if the file has its final
//! name already.
//! Crash story: 1. the spare is headed 2. crash before the rename is durable 3. reopen finds a
//! spare: it is used again; headers, not names, say what a file is.
//!
//! Invariant: `Ready` only when the name is durable. Absent: deadlines (whoever needs the successor
//! looks at [`Successor::busy_since`]); filling (it may go on in the current segment: a log never
//! waits for zeros); what is in groups.

use super::segments::{Geometry, header_block};
use crate::io::{BLOCK_BYTES, Disk, DiskOp, Errno, FileId, FileName, Nanos, OpId, Output};

/// How long preparation rests after a failure (a full disk, as a rule).
const RETRY_NANOS: u64 = 250_000_000;

const EBUSY: Errno = Errno(16);
const ENOMEM: Errno = Errno(12);

#[derive(Clone, Copy, Debug)]
enum State {
    Absent,
    Opening { op: OpId },
    Heading { file: FileId, op: OpId },
    Renaming { file: FileId, op: OpId },
    SyncingDir { file: FileId, op: OpId },
    Ready { file: FileId, filled: u64 },
    Failed { at: Nanos, renamed: Option<FileId> },
}

/// The preparation of segment `number`.
#[derive(Debug)]
pub(super) struct Successor {
    number: u64,
    state: State,
    /// How much of the file it is made from is written space, in bytes.
    filled: u64,
    /// When the operation in flight, or the last one, was submitted.
    submitted: Nanos,
    /// Why it could not be prepared the last time it was tried.
    failure: Option<Errno>,
}

impl Successor {
    pub(super) fn absent(number: u64) -> Self {
        let (state, filled) = (State::Absent, u64::from(BLOCK_BYTES));
        Self { number, state, filled, submitted: Nanos(0), failure: None }
    }

    /// A segment that is in place already, written space up to `filled` bytes.
    pub(super) fn ready(number: u64, file: FileId, filled: u64) -> Self {
        Self { state: State::Ready { file, filled }, ..Self::absent(number) }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// It is made from a spare of which so many bytes are written space.
    pub(super) fn make_from(&mut self, filled: u64) {
        self.filled = filled.max(u64::from(BLOCK_BYTES));
    }

    /// Its file and how much of it is written space, once it may be rolled into.
    pub(super) fn in_place(&self) -> Option<(FileId, u64)> {
        match self.state {
            State::Ready { file, filled } => Some((file, filled)),
            _ => None,
        }
    }

    pub(super) fn failure(&self) -> Option<Errno> {
        self.failure
    }

    /// Since when an operation is in flight.
    pub(super) fn busy_since(&self) -> Option<Nanos> {
        match self.state {
            State::Opening { .. }
            | State::Heading { .. }
            | State::Renaming { .. }
            | State::SyncingDir { .. } => Some(self.submitted),
            State::Absent | State::Ready { .. } | State::Failed { .. } => None,
        }
    }

    pub(super) fn wake_at(&self) -> Option<Nanos> {
        match self.state {
            State::Failed { at, .. } => Some(at.plus(RETRY_NANOS)),
            _ => None,
        }
    }

    /// Begins, or begins again after a rest.
    pub(super) fn step<D: Disk>(&mut self, disk: &mut D, geometry: &Geometry, now: Nanos) {
        match self.state {
            State::Failed { at, .. } if now < at.plus(RETRY_NANOS) => {}
            State::Failed { renamed: Some(file), .. } => self.sync_dir(disk, file, now),
            State::Failed { renamed: None, .. } | State::Absent => {
                let name = FileName::Spare(self.number);
                let create = Some(geometry.segment_bytes);
                self.submitted = now;
                self.state = match disk.submit(DiskOp::Open { name, create }) {
                    Ok(op) => State::Opening { op },
                    Err(_) => State::Absent,
                };
            }
            _ => {}
        }
    }

    pub(super) fn owns(&self, op: OpId) -> bool {
        match self.state {
            State::Opening { op: mine }
            | State::Heading { op: mine, .. }
            | State::Renaming { op: mine, .. }
            | State::SyncingDir { op: mine, .. } => mine == op,
            State::Absent | State::Ready { .. } | State::Failed { .. } => false,
        }
    }

    /// One of its operations ended.
    pub(super) fn on_completion<D: Disk>(
        &mut self,
        disk: &mut D,
        geometry: &Geometry,
        sequence: u64,
        result: Result<Output, Errno>,
        now: Nanos,
    ) {
        let output = match result {
            Ok(output) => output,
            Err(errno) => return self.fail(disk, errno, now),
        };
        // What is submitted next.
        self.submitted = now;
        match (self.state, output) {
            (State::Opening { .. }, Output::Opened { file, .. }) => {
                self.head(disk, geometry, file, sequence, now);
            }
            (State::Heading { file, .. }, _) => {
                let (from, to) = (FileName::Spare(self.number), FileName::Segment(self.number));
                match disk.submit(DiskOp::Rename { from, to }) {
                    Ok(op) => self.state = State::Renaming { file, op },
                    Err(_) => self.fail(disk, EBUSY, now),
                }
            }
            (State::Renaming { file, .. }, _) => self.sync_dir(disk, file, now),
            (State::SyncingDir { file, .. }, _) => {
                self.failure = None;
                self.state = State::Ready { file, filled: self.filled };
            }
            _ => {}
        }
    }

    fn head<D: Disk>(
        &mut self,
        disk: &mut D,
        geometry: &Geometry,
        file: FileId,
        sequence: u64,
        now: Nanos,
    ) {
        let header = geometry.header(self.number, sequence, self.filled);
        let block = header_block(disk, &header);
        let op = block.map(|block| {
            let data = block.device_slice(0..BLOCK_BYTES);
            let unwritten = self.filled <= u64::from(BLOCK_BYTES);
            disk.submit(DiskOp::Write { file, offset: 0, data, durable: true, unwritten })
        });
        // In place before it can fail: a failure closes the file.
        self.state = State::Heading { file, op: OpId(u64::MAX) };
        match op {
            Some(Ok(op)) => self.state = State::Heading { file, op },
            Some(Err(_)) => self.fail(disk, EBUSY, now),
            None => self.fail(disk, ENOMEM, now),
        }
    }

    /// The file has its name; the name must become durable.
    fn sync_dir<D: Disk>(&mut self, disk: &mut D, file: FileId, now: Nanos) {
        self.submitted = now;
        self.state = match disk.submit(DiskOp::SyncDir) {
            Ok(op) => State::SyncingDir { file, op },
            Err(_) => State::Failed { at: now, renamed: Some(file) },
        };
    }

    fn fail<D: Disk>(&mut self, disk: &mut D, errno: Errno, now: Nanos) {
        let renamed = match self.state {
            State::SyncingDir { file, .. } => Some(file),
            State::Heading { file, .. } | State::Renaming { file, .. } => {
                // The file stays as a spare and is opened again; closing cannot fail usefully.
                let _ = disk.submit(DiskOp::Close { file });
                None
            }
            _ => None,
        };
        self.failure = Some(errno);
        self.state = State::Failed { at: now, renamed };
    }
}

#[cfg(test)]
mod tests;
