//! Writing an index file in the background, one operation at a time.
//!
//! `Removing -> Creating -> Writing the body, piece by piece -> Syncing -> Writing the footer ->
//! Syncing the directory`; a failure rests and starts over.
//! Crash story: 1. the body is in the file, in part or wholly 2. crash before the footer 3. reopen
//! finds no footer, and makes the index again from its segment. What an earlier life has left
//! under the name is removed first, so that its footer cannot stand behind another body.
//!
//! Absent: what happens without the file (it is made again).

use super::image::Image;
use crate::io::{BLOCK_BYTES, Disk, DiskOp, Errno, FileId, FileName, Nanos, OpId, Output};

/// Written at a time: as long as a large group takes, so that it does not hold up the log.
const PIECE_BYTES: u32 = 128 << 10;
/// How long it rests after a failure.
const RETRY_NANOS: u64 = 1_000_000_000;

const ENOENT: Errno = Errno(2);

#[derive(Clone, Copy, Debug)]
enum State {
    Removing,
    Creating,
    Writing { file: FileId, offset: u64 },
    Syncing { file: FileId },
    Footer { file: FileId },
    SyncingDir { file: FileId },
    Failed { at: Nanos },
}

/// One index on its way into its file.
#[derive(Debug)]
pub(crate) struct Save {
    number: u64,
    state: State,
    op: Option<OpId>,
    /// A flush failed since it was begun: its own does not make good what was written before.
    in_doubt: bool,
}

impl Save {
    /// Of segment `number`.
    pub(crate) fn new(number: u64) -> Self {
        Self { number, state: State::Removing, op: None, in_doubt: false }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn owns(&self, op: OpId) -> bool {
        self.op == Some(op)
    }

    /// Its file, if it is open.
    pub(crate) fn file(&self) -> Option<FileId> {
        match self.state {
            State::Writing { file, .. }
            | State::Syncing { file }
            | State::Footer { file }
            | State::SyncingDir { file } => Some(file),
            State::Removing | State::Creating | State::Failed { .. } => None,
        }
    }

    /// Whether an operation is in flight.
    pub(crate) fn is_busy(&self) -> bool {
        self.op.is_some()
    }

    /// When it goes on after a failure.
    pub(crate) fn retry_at(&self) -> Option<Nanos> {
        match self.state {
            State::Failed { at } => Some(at.plus(RETRY_NANOS)),
            _ => None,
        }
    }

    /// Submits the next operation, if none is in flight.
    pub(crate) fn step<D: Disk>(&mut self, disk: &mut D, image: &Image, now: Nanos) {
        if self.op.is_some() || self.retry_at().is_some_and(|at| now < at) {
            return;
        }
        if matches!(self.state, State::Failed { .. }) {
            self.state = State::Removing;
        }
        let name = FileName::Index(self.number);
        let op = match self.state {
            State::Removing | State::Failed { .. } => Some(DiskOp::Remove { name }),
            State::Creating => {
                Some(DiskOp::Open { name, create: Some(image.footer().file_bytes()) })
            }
            State::Writing { file, offset } => piece(disk, image, file, offset),
            State::Syncing { file } => Some(DiskOp::Sync { file }),
            State::Footer { file } => footer(disk, image, file),
            State::SyncingDir { .. } => Some(DiskOp::SyncDir),
        };
        match op.map(|op| disk.submit(op)) {
            Some(Ok(op)) => self.op = Some(op),
            // Memory or the disk's queue is used up for the moment.
            Some(Err(_)) | None => self.fail(disk, now),
        }
    }

    fn fail<D: Disk>(&mut self, disk: &mut D, now: Nanos) {
        if let Some(file) = self.file() {
            // Nothing useful can be done if it cannot be closed.
            let _ = disk.submit(DiskOp::Close { file });
        }
        self.state = State::Failed { at: now };
        self.in_doubt = false;
    }

    /// A flush of the device failed, this one's or another's.
    pub(crate) fn on_flush_failed(&mut self) {
        self.in_doubt |= matches!(self.state, State::Writing { .. } | State::Syncing { .. });
    }

    /// Its operation ended; the file, once all of it is written.
    pub(crate) fn on_completion<D: Disk>(
        &mut self,
        disk: &mut D,
        image: &Image,
        result: Result<Output, Errno>,
        now: Nanos,
    ) -> Option<FileId> {
        self.op = None;
        self.state = match (self.state, result) {
            (State::Removing, Ok(_) | Err(ENOENT)) => State::Creating,
            (State::Creating, Ok(Output::Opened { file, .. })) => from(file, 0, image),
            (State::Writing { file, offset }, Ok(_)) => {
                from(file, offset + u64::from(PIECE_BYTES), image)
            }
            (State::Syncing { file }, Ok(_)) if !self.in_doubt => State::Footer { file },
            (State::Footer { file }, Ok(_)) => State::SyncingDir { file },
            (State::SyncingDir { file }, Ok(_)) => return Some(file),
            (_, Ok(_) | Err(_)) => {
                self.fail(disk, now);
                return None;
            }
        };
        None
    }
}

/// The body is written up to `offset`.
fn from(file: FileId, offset: u64, image: &Image) -> State {
    if offset < image.body_bytes() {
        State::Writing { file, offset }
    } else {
        State::Syncing { file }
    }
}

fn piece<D: Disk>(disk: &mut D, image: &Image, file: FileId, offset: u64) -> Option<DiskOp> {
    let len = (image.body_bytes() - offset).min(u64::from(PIECE_BYTES)) as u32;
    let mut block = disk.block(len)?;
    image.body(offset, len, |bytes| {
        block.append(bytes);
    });
    let data = block.device_slice(0..len);
    Some(DiskOp::Write { file, offset, data, durable: false, unwritten: true })
}

fn footer<D: Disk>(disk: &mut D, image: &Image, file: FileId) -> Option<DiskOp> {
    let mut block = disk.block(BLOCK_BYTES)?;
    block.append(image.footer_block());
    let data = block.device_slice(0..BLOCK_BYTES);
    let offset = image.body_bytes();
    Some(DiskOp::Write { file, offset, data, durable: true, unwritten: true })
}

const _: () = assert!(PIECE_BYTES.is_multiple_of(BLOCK_BYTES));

#[cfg(test)]
#[path = "save_tests.rs"]
mod tests;
