//! The oldest segment leaves the log: it becomes a spare that a later segment is made from, or goes.
//!
//! `Idle -> Moving (rename or remove) -> SyncingDir -> Idle`; a failure rests and starts over, and
//! nothing else is trimmed before it has succeeded: names must not get a gap. A file that cannot be
//! renamed is no spare any more (the log must not wait for it) but is removed; one that is not there
//! has gone already. Before a segment that
//! no life since the last restart has written becomes a spare, `Heading` reads from its header how
//! much of it is written space; what cannot be read is none.
//! Crash story: 1. the segment is renamed or removed 2. crash before that is durable 3. reopen
//! finds it again, whole, before the others: its records are there once more, and it is trimmed
//! again.
//!
//! Absent: what may be trimmed (the caller must know that nobody reads the segment any more, that
//! all of it is durable, and that a checkpoint stands behind it).

use std::collections::VecDeque;

use super::segment_format::SegmentHeader;
use crate::io::{BLOCK_BYTES, Disk, DiskOp, Errno, FileId, FileName, Nanos, OpId, Output};
use crate::limits::SPARES_MAX;

/// How long trimming rests after a failure.
const RETRY_NANOS: u64 = 250_000_000;

const EBUSY: Errno = Errno(16);
const ENOENT: Errno = Errno(2);

/// A spare that was a segment: the next one of this number is made from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recycled {
    pub(super) number: u64,
    /// How much of it is written space, in bytes.
    pub(super) filled: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Idle,
    Heading { op: OpId },
    Moving { op: OpId },
    SyncingDir { op: OpId },
    Failed { at: Nanos, moved: bool, errno: Errno },
}

#[derive(Clone, Copy, Debug)]
struct Job {
    number: u64,
    file: FileId,
    /// What becomes of it, if it is kept.
    recycled: Option<Recycled>,
}

/// The trimming of one log.
#[derive(Debug)]
pub(super) struct Trim {
    state: State,
    /// When the operation in flight, or the last one, was submitted.
    submitted: Nanos,
    job: Option<Job>,
    /// Spares that wait to be used, by number.
    waiting: VecDeque<Recycled>,
    recycled: u64,
    removed: u64,
    vanished: u64,
}

impl Trim {
    pub(super) fn new() -> Self {
        let (state, submitted) = (State::Idle, Nanos(0));
        let waiting = VecDeque::new();
        Self { state, submitted, job: None, waiting, recycled: 0, removed: 0, vanished: 0 }
    }

    /// Spares that an earlier life left, for this log whose next segment is `next`. How much of
    /// them is written space nobody knows any more.
    pub(super) fn keep(&mut self, next: u64, spares: impl Iterator<Item = u64>) {
        let found = spares.filter(|number| is_spare_for(next, *number));
        self.waiting.extend(found.map(|number| Recycled { number, filled: 0 }));
        self.waiting.make_contiguous().sort_unstable_by_key(|spare| spare.number);
    }

    /// Whether a segment is on its way out.
    pub(super) fn is_busy(&self) -> bool {
        self.job.is_some()
    }

    /// Segments recycled and segments removed so far.
    pub(super) fn counters(&self) -> (u64, u64) {
        (self.recycled, self.removed)
    }

    /// Segments whose file was gone when they were to leave the log.
    pub(super) fn vanished(&self) -> u64 {
        self.vanished
    }

    /// Whether a spare of this number is being made: whoever needs it must wait.
    pub(super) fn is_making(&self, number: u64) -> bool {
        let recycled = self.job.and_then(|job| job.recycled);
        recycled.is_some_and(|recycled| recycled.number == number)
    }

    /// Since when an operation is in flight.
    pub(super) fn busy_since(&self) -> Option<Nanos> {
        let busy = !matches!(self.state, State::Idle | State::Failed { .. });
        busy.then_some(self.submitted)
    }

    /// Why the last operation failed, until it has succeeded.
    pub(super) fn failure(&self) -> Option<Errno> {
        match self.state {
            State::Failed { errno, .. } => Some(errno),
            _ => None,
        }
    }

    /// How much of the spare of this number is written space, in bytes; none of one that was never
    /// a segment.
    pub(super) fn filled(&self, number: u64) -> Option<u64> {
        self.waiting.iter().find(|spare| spare.number == number).map(|spare| spare.filled)
    }

    /// The segment of this number was made, from a spare or not.
    pub(super) fn made(&mut self, number: u64) {
        self.waiting.retain(|spare| spare.number > number);
    }

    /// Begins with segment `number`. If `spare` says a number, and how many of its bytes are written
    /// space (`None`: its header knows), it will become that spare or, if spares wait already, the
    /// one after them; if there are enough it goes.
    pub(super) fn begin<D: Disk>(
        &mut self,
        disk: &mut D,
        (number, file): (u64, FileId),
        spare: Option<(u64, Option<u64>)>,
        now: Nanos,
    ) {
        let spare = spare.filter(|_| self.waiting.len() < SPARES_MAX);
        let after = self.waiting.back().map_or(0, |last| last.number + 1);
        let recycled = spare.map(|(number, filled)| Recycled {
            number: number.max(after),
            filled: filled.unwrap_or(0),
        });
        self.job = Some(Job { number, file, recycled });
        match spare {
            Some((_, None)) => self.submit_read(disk, file, now),
            Some((_, Some(_))) | None => self.submit_move(disk, now),
        }
    }

    fn submit_read<D: Disk>(&mut self, disk: &mut D, file: FileId, now: Nanos) {
        self.submitted = now;
        match disk.submit(DiskOp::Read { file, offset: 0, len: BLOCK_BYTES }) {
            Ok(op) => self.state = State::Heading { op },
            Err(_) => self.submit_move(disk, now),
        }
    }

    fn submit_move<D: Disk>(&mut self, disk: &mut D, now: Nanos) {
        let Some(job) = self.job else { return };
        let from = FileName::Segment(job.number);
        let op = match job.recycled {
            Some(recycled) => DiskOp::Rename { from, to: FileName::Spare(recycled.number) },
            None => DiskOp::Remove { name: from },
        };
        self.submitted = now;
        self.state = match disk.submit(op) {
            Ok(op) => State::Moving { op },
            Err(_) => State::Failed { at: now, moved: false, errno: EBUSY },
        };
    }

    fn submit_sync<D: Disk>(&mut self, disk: &mut D, now: Nanos) {
        self.submitted = now;
        self.state = match disk.submit(DiskOp::SyncDir) {
            Ok(op) => State::SyncingDir { op },
            Err(_) => State::Failed { at: now, moved: true, errno: EBUSY },
        };
    }

    /// Tries again what failed, after a rest.
    pub(super) fn step<D: Disk>(&mut self, disk: &mut D, now: Nanos) {
        match self.state {
            State::Failed { at, .. } if now < at.plus(RETRY_NANOS) => {}
            State::Failed { moved: true, .. } => self.submit_sync(disk, now),
            State::Failed { moved: false, .. } => self.submit_move(disk, now),
            _ => {}
        }
    }

    pub(super) fn wake_at(&self) -> Option<Nanos> {
        match self.state {
            State::Failed { at, .. } => Some(at.plus(RETRY_NANOS)),
            _ => None,
        }
    }

    pub(super) fn owns(&self, op: OpId) -> bool {
        match self.state {
            State::Heading { op: mine }
            | State::Moving { op: mine }
            | State::SyncingDir { op: mine } => mine == op,
            State::Idle | State::Failed { .. } => false,
        }
    }

    /// The segment that is on its way becomes no spare.
    fn give_up_spare(&mut self) {
        if let Some(job) = &mut self.job {
            job.recycled = None;
        }
    }

    /// One of its operations ended.
    pub(super) fn on_completion<D: Disk>(
        &mut self,
        disk: &mut D,
        result: Result<Output, Errno>,
        now: Nanos,
    ) {
        match (self.state, result) {
            (State::Heading { .. }, result) => {
                if let Some(Job { number, recycled: Some(recycled), .. }) = &mut self.job {
                    recycled.filled = filled_by_header(*number, result).unwrap_or(0);
                }
                self.submit_move(disk, now);
            }
            (State::Moving { .. }, Err(ENOENT)) => {
                self.vanished += 1;
                self.give_up_spare();
                self.submit_sync(disk, now);
            }
            (State::Moving { .. }, Ok(_)) => self.submit_sync(disk, now),
            (State::SyncingDir { .. }, Ok(_)) => {
                self.state = State::Idle;
                let Some(job) = self.job.take() else { return };
                match job.recycled {
                    Some(recycled) => {
                        self.waiting.push_back(recycled);
                        self.recycled += 1;
                    }
                    None => self.removed += 1,
                }
                // Nothing useful can be done if it cannot be closed.
                let _ = disk.submit(DiskOp::Close { file: job.file });
            }
            (state, Err(errno)) => {
                let moved = matches!(state, State::SyncingDir { .. });
                if !moved {
                    self.give_up_spare();
                }
                self.state = State::Failed { at: now, moved, errno };
            }
            (State::Idle | State::Failed { .. }, Ok(_)) => {}
        }
    }
}

/// Whether a spare of this number is of use to a log whose next segment is `next`: that one may be
/// made otherwise, and the spares are for those behind it.
#[must_use]
pub fn is_spare_for(next: u64, number: u64) -> bool {
    (next..=next.saturating_add(SPARES_MAX as u64)).contains(&number)
}

/// How much of segment `number` is written space, by its header.
fn filled_by_header(number: u64, result: Result<Output, Errno>) -> Option<u64> {
    let Ok(Output::Read(block)) = result else { return None };
    let header = SegmentHeader::decode(&block.slice(0..block.published()))?;
    (header.number == number).then_some(header.prefilled_bytes)
}

#[cfg(test)]
mod tests;
