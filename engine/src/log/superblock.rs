//! The superblock while a log is open: written again when a checkpoint has become durable, and at
//! an orderly stop.
//!
//! `Idle -> Writing -> Idle`; a failure rests and starts over. Each write goes to the slot that
//! does not hold what counts, so a torn one costs nothing.
//! Crash story: 1. a checkpoint is durable 2. crash before or while the superblock is written 3.
//! reopen goes by the checkpoint before, whose segments are all there: they go only when the newer
//! one is in the superblock.
//!
//! Absent: what the fields mean to a log that is opened (`recover`).

use super::superblock_format::{Pointer, Superblock};
use crate::io::{BLOCK_BYTES, Disk, DiskOp, Errno, FileId, Nanos, OpId, Output};

/// How long it rests after a failure.
const RETRY_NANOS: u64 = 250_000_000;

#[derive(Clone, Copy, Debug)]
enum State {
    Idle,
    Writing { op: OpId, new: Superblock, since: Nanos },
    Failed { at: Nanos },
}

/// The superblock of one open log.
#[derive(Debug)]
pub struct SuperblockFile {
    file: FileId,
    /// What counts, and is durable.
    current: Superblock,
    state: State,
    /// What it is to say next.
    wanted: Superblock,
}

impl SuperblockFile {
    /// The file, with what it says.
    #[must_use]
    pub fn new(file: FileId, current: Superblock) -> Self {
        Self { file, current, state: State::Idle, wanted: current }
    }

    /// What it says for certain.
    #[must_use]
    pub fn current(&self) -> &Superblock {
        &self.current
    }

    /// It is to name this checkpoint, and that all groups up to `durable` are.
    pub fn want(&mut self, checkpoint: Option<Pointer>, durable: u64) {
        self.wanted.checkpoint = checkpoint.or(self.wanted.checkpoint);
        self.wanted.durable = self.wanted.durable.max(durable);
    }

    /// Whether it says all it is to say.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let Superblock { checkpoint, durable, .. } = self.current;
        (checkpoint, durable) == (self.wanted.checkpoint, self.wanted.durable)
    }

    /// Writes it if there is something new to say.
    pub fn step<D: Disk>(&mut self, disk: &mut D, now: Nanos) {
        let rests = match self.state {
            State::Idle => false,
            State::Writing { .. } => true,
            State::Failed { at } => now < at.plus(RETRY_NANOS),
        };
        if rests || self.is_settled() {
            return;
        }
        let new = Superblock { generation: self.current.generation + 1, ..self.wanted };
        self.state = State::Failed { at: now };
        let Some(mut block) = disk.block(BLOCK_BYTES) else { return };
        block.append(&new.encode());
        block.append_zeros(block.room());
        let data = block.device_slice(0..BLOCK_BYTES);
        let (file, offset) = (self.file, new.slot_offset());
        // In the first life the other slot was never written: on a worker, it is not urgent.
        let write = DiskOp::Write { file, offset, data, durable: true, unwritten: true };
        if let Ok(op) = disk.submit(write) {
            self.state = State::Writing { op, new, since: now };
        }
    }

    /// Whether `op` is its write.
    #[must_use]
    pub fn owns(&self, op: OpId) -> bool {
        matches!(self.state, State::Writing { op: mine, .. } if mine == op)
    }

    /// Its write ended.
    pub fn on_completion(&mut self, result: &Result<Output, Errno>, now: Nanos) {
        let State::Writing { new, .. } = self.state else { return };
        self.state = match result {
            Ok(_) => {
                self.current = new;
                State::Idle
            }
            Err(_) => State::Failed { at: now },
        };
    }

    /// Since when a write is in flight.
    #[must_use]
    pub fn busy_since(&self) -> Option<Nanos> {
        match self.state {
            State::Writing { since, .. } => Some(since),
            _ => None,
        }
    }

    /// Whether the last write failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed { .. })
    }

    /// When [`SuperblockFile::step`] should be called again though nothing happens.
    #[must_use]
    pub fn wake_at(&self) -> Option<Nanos> {
        match self.state {
            State::Failed { at } if !self.is_settled() => Some(at.plus(RETRY_NANOS)),
            _ => None,
        }
    }
}
