//! What is written and what is durable: the watermarks of a pipelined group commit.
//!
//! Reads top-down: [`Commit::next`] (may a group go, and through which descriptor) ->
//! [`Commit::submitted`] -> [`Commit::completed`] -> [`Commit::synced`].
//!
//! A flush covers only what had been written when it was *issued*, and with FUA only its own
//! blocks. So while something durable is wanted every group goes through the O_DSYNC descriptor;
//! on passing from plain to O_DSYNC the plain groups in flight are waited for and one fdatasync is
//! issued for them; and `durable` moves only over a contiguous durable prefix.
//!
//! Invariants: durable <= written <= submitted, counted in group sequence numbers; none moves back.
//! Absent: any clock but the deadline's, any retry.

use std::collections::VecDeque;

use crate::io::{FileId, Nanos, OpId};

/// How a group is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through the plain descriptor: in the device's cache when complete.
    Plain,
    /// Through the O_DSYNC descriptor: on stable media when complete.
    Durable,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Write the next group this way.
    Write(Way),
    /// First fdatasync this file (which then counts as issued), then ask again.
    Sync(FileId),
    /// The pipeline is full, or plain groups must land first.
    Wait,
}

#[derive(Debug)]
struct Flight {
    op: OpId,
    sequence: u64,
    file: FileId,
    way: Way,
    submitted: Nanos,
    done: bool,
}

/// A written group that is not yet known to be durable.
#[derive(Debug)]
struct Landed {
    sequence: u64,
    file: FileId,
    way: Way,
}

#[derive(Debug)]
struct SyncFlight {
    op: OpId,
    file: FileId,
    /// Plain groups of the file up to this one are covered.
    sequence: u64,
    submitted: Nanos,
}

/// The pipeline of one log.
#[derive(Debug)]
pub struct Commit {
    flights: VecDeque<Flight>,
    landed: VecDeque<Landed>,
    syncs: Vec<SyncFlight>,
    inflight: usize,
    inflight_max: usize,
    submitted: u64,
    written: u64,
    durable: u64,
    /// The newest group that must become durable.
    durable_wanted: u64,
}

impl Commit {
    /// A pipeline in which everything up to group `sequence` is durable.
    #[must_use]
    pub fn new(sequence: u64, inflight_max: usize) -> Self {
        Self {
            flights: VecDeque::new(),
            landed: VecDeque::new(),
            syncs: Vec::new(),
            inflight: 0,
            inflight_max,
            submitted: sequence,
            written: sequence,
            durable: sequence,
            durable_wanted: sequence,
        }
    }

    /// Everything up to this group has been written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Everything up to this group is on stable media.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// The newest group handed to the device.
    #[must_use]
    pub fn submitted_sequence(&self) -> u64 {
        self.submitted
    }

    /// Device writes in flight.
    #[must_use]
    pub fn inflight(&self) -> usize {
        self.inflight
    }

    /// Whether somebody waits for a flush that is in progress.
    #[must_use]
    pub fn durable_in_flight(&self) -> bool {
        self.durable_wanted > self.durable && (self.inflight > 0 || !self.syncs.is_empty())
    }

    /// Whether the pipeline has room for a write.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.inflight < self.inflight_max
    }

    /// Group `sequence` must become durable.
    pub fn want_durable(&mut self, sequence: u64) {
        self.durable_wanted = self.durable_wanted.max(sequence);
    }

    /// What to do next, given whether a group `waits` to be written. Without one, a sync may still
    /// be due for plain groups that became wanted later.
    #[must_use]
    pub fn next(&self, waits: bool) -> Next {
        if self.durable_wanted <= self.durable {
            return if waits && self.has_room() { Next::Write(Way::Plain) } else { Next::Wait };
        }
        if self.flights.iter().any(|flight| !flight.done && flight.way == Way::Plain) {
            return Next::Wait;
        }
        if let Some(file) = self.unsynced() {
            return Next::Sync(file);
        }
        if waits && self.has_room() { Next::Write(Way::Durable) } else { Next::Wait }
    }

    /// A file with plain groups that no sync in flight covers.
    fn unsynced(&self) -> Option<FileId> {
        let done = self.flights.iter().filter(|flight| flight.done);
        let rest = done.map(|flight| (flight.way, flight.file, flight.sequence));
        let landed = self.landed.iter().map(|group| (group.way, group.file, group.sequence));
        landed
            .chain(rest)
            .find(|(way, file, sequence)| *way == Way::Plain && !self.is_covered(*file, *sequence))
            .map(|(_, file, _)| file)
    }

    fn is_covered(&self, file: FileId, sequence: u64) -> bool {
        self.syncs.iter().any(|sync| sync.file == file && sync.sequence >= sequence)
    }

    /// The group `sequence` was handed to the device.
    pub fn submitted(&mut self, op: OpId, sequence: u64, file: FileId, way: Way, now: Nanos) {
        debug_assert!(sequence == self.submitted + 1, "groups are submitted in order");
        self.submitted = sequence;
        self.inflight += 1;
        self.flights.push_back(Flight { op, sequence, file, way, submitted: now, done: false });
    }

    /// The sync that [`Commit::next`] asked for was handed to the device: it covers the groups
    /// that have landed by now.
    pub fn sync_submitted(&mut self, op: OpId, file: FileId, now: Nanos) {
        self.syncs.push(SyncFlight { op, file, sequence: self.submitted, submitted: now });
    }

    /// Whether `op` is a write or sync of this pipeline that has not completed.
    #[must_use]
    pub fn owns(&self, op: OpId) -> bool {
        self.flights.iter().any(|flight| flight.op == op && !flight.done)
            || self.syncs.iter().any(|sync| sync.op == op)
    }

    /// A device write completed. `false` if `op` is not one of this pipeline's writes.
    pub fn completed(&mut self, op: OpId) -> bool {
        let Some(flight) = self.flights.iter_mut().find(|flight| flight.op == op && !flight.done)
        else {
            return false;
        };
        flight.done = true;
        self.inflight -= 1;
        while let Some(flight) = self.flights.pop_front_if(|flight| flight.done) {
            self.written = flight.sequence;
            self.landed.push_back(Landed {
                sequence: flight.sequence,
                file: flight.file,
                way: flight.way,
            });
        }
        self.advance();
        true
    }

    /// A sync completed. `false` if `op` is not one of this pipeline's syncs.
    pub fn synced(&mut self, op: OpId) -> bool {
        let Some(at) = self.syncs.iter().position(|sync| sync.op == op) else {
            return false;
        };
        let sync = self.syncs.swap_remove(at);
        // No plain group was in flight when it was issued, so each one up to `sequence` had landed.
        let landed =
            self.landed.iter_mut().map(|group| (&mut group.way, group.file, group.sequence));
        let flights = self.flights.iter_mut().map(|flight| {
            debug_assert!(
                flight.done || flight.way == Way::Durable || flight.sequence > sync.sequence
            );
            (&mut flight.way, flight.file, flight.sequence)
        });
        for (way, file, sequence) in landed.chain(flights) {
            if file == sync.file && sequence <= sync.sequence {
                *way = Way::Durable;
            }
        }
        self.advance();
        true
    }

    fn advance(&mut self) {
        while let Some(group) = self.landed.pop_front_if(|group| group.way == Way::Durable) {
            self.durable = group.sequence;
        }
        // Nobody waits: plain groups that are never asked for need no bookkeeping of their own
        // beyond the newest of each run in the same file.
        if self.landed.len() > 1 {
            let last = self.landed.len() - 1;
            let (a, b) = (&self.landed[last - 1], &self.landed[last]);
            if a.way == Way::Plain && b.way == Way::Plain && a.file == b.file {
                self.landed.remove(last - 1);
            }
        }
    }

    /// When the oldest write or sync in flight was handed to the device.
    #[must_use]
    pub fn oldest(&self) -> Option<Nanos> {
        let flights = self.flights.iter().filter(|flight| !flight.done).map(|f| f.submitted);
        flights.chain(self.syncs.iter().map(|sync| sync.submitted)).min()
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileId = FileId(0);
    const T: Nanos = Nanos(0);

    #[test]
    fn durable_moves_over_a_contiguous_prefix_only() {
        let mut commit = Commit::new(0, 4);
        for n in 1..=3 {
            commit.want_durable(n);
            assert_eq!(commit.next(true), Next::Write(Way::Durable));
            commit.submitted(OpId(n), n, FILE, Way::Durable, T);
        }
        assert!(commit.completed(OpId(3)) && commit.completed(OpId(2)));
        assert_eq!((commit.written(), commit.durable()), (0, 0));
        assert!(commit.completed(OpId(1)));
        assert_eq!((commit.written(), commit.durable()), (3, 3));
        assert!(!commit.completed(OpId(1)), "an operation completes once");
    }

    #[test]
    fn durable_after_plain_waits_and_syncs() {
        let mut commit = Commit::new(0, 4);
        assert_eq!(commit.next(true), Next::Write(Way::Plain));
        commit.submitted(OpId(1), 1, FILE, Way::Plain, T);
        commit.want_durable(2);
        assert_eq!(commit.next(true), Next::Wait, "the plain group is in flight");
        commit.completed(OpId(1));
        assert_eq!((commit.written(), commit.durable()), (1, 0));
        assert_eq!(commit.next(true), Next::Sync(FILE));
        commit.sync_submitted(OpId(9), FILE, T);
        assert_eq!(commit.next(true), Next::Write(Way::Durable));
        commit.submitted(OpId(2), 2, FILE, Way::Durable, T);
        commit.completed(OpId(2));
        assert_eq!(commit.durable(), 0, "its prefix is not durable yet");
        assert!(commit.synced(OpId(9)));
        assert_eq!(commit.durable(), 2);
    }

    #[test]
    fn two_segments_need_two_syncs() {
        let mut commit = Commit::new(0, 4);
        let next = FileId(1);
        commit.submitted(OpId(1), 1, FILE, Way::Plain, T);
        commit.submitted(OpId(2), 2, next, Way::Plain, T);
        commit.completed(OpId(1));
        commit.completed(OpId(2));
        commit.want_durable(2);
        assert_eq!(commit.next(false), Next::Sync(FILE));
        commit.sync_submitted(OpId(3), FILE, T);
        assert_eq!(commit.next(false), Next::Sync(next));
        commit.sync_submitted(OpId(4), next, T);
        assert_eq!(commit.next(false), Next::Wait);
        commit.synced(OpId(4));
        assert_eq!(commit.durable(), 0);
        commit.synced(OpId(3));
        assert_eq!(commit.durable(), 2);
    }

    #[test]
    fn the_pipeline_is_bounded() {
        let mut commit = Commit::new(0, 2);
        commit.submitted(OpId(1), 1, FILE, Way::Plain, T);
        commit.submitted(OpId(2), 2, FILE, Way::Plain, T);
        assert_eq!(commit.next(true), Next::Wait);
        commit.completed(OpId(2));
        assert_eq!(commit.next(true), Next::Write(Way::Plain));
    }

    #[test]
    fn long_plain_runs_take_no_memory() {
        let mut commit = Commit::new(0, 4);
        for n in 1..=1000 {
            commit.submitted(OpId(n), n, FILE, Way::Plain, T);
            commit.completed(OpId(n));
        }
        assert_eq!(commit.landed.len(), 1);
        commit.want_durable(1000);
        assert_eq!(commit.next(false), Next::Sync(FILE));
        commit.sync_submitted(OpId(5000), FILE, T);
        commit.synced(OpId(5000));
        assert_eq!(commit.durable(), 1000);
    }
}
