//! What is written and what is durable: the watermarks of a pipelined group commit.
//!
//! Reads top-down: [`Commit::next`] (may a group go, and through which descriptor) ->
//! [`Commit::submitted`] -> [`Commit::completed`] -> [`Commit::synced`].
//!
//! A flush covers only what had been written when it was *issued*, and with FUA only its own
//! blocks. So while something durable is wanted every group is written with RWF_DSYNC;
//! on passing from plain to those the plain groups in flight are waited for and one fdatasync is
//! issued for them; and `durable` moves only over a contiguous durable prefix.
//!
//! Where `tune` found fdatasync the better way ([`Flush::Fdatasync`]) every group is a plain write,
//! and what is wanted durable is flushed as soon as it has landed: a flush covers the contiguous
//! prefix that was written when it was issued, and takes a place in the pipeline like a write.
//!
//! Invariants: durable <= written <= submitted, counted in group sequence numbers; none moves back.
//! Absent: any clock but the deadline's, any retry.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::io::{FileId, Nanos, OpId};
use crate::limits::FULL_GROUPS_FACTOR;

/// How a group is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through the plain descriptor: in the device's cache when complete.
    Plain,
    /// With RWF_DSYNC: on stable media when complete.
    Durable,
}

/// How groups become durable. Both give the same guarantee; which one is faster depends on the
/// device (`uringmq tune` measures it).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flush {
    /// Each write by itself, with RWF_DSYNC (what O_DSYNC does, for one write).
    #[default]
    Dsync,
    /// A plain write, then fdatasync.
    Fdatasync,
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
    flush: Flush,
    flights: VecDeque<Flight>,
    landed: VecDeque<Landed>,
    syncs: Vec<SyncFlight>,
    /// A flush failed while something was written that it might have made durable.
    in_doubt: bool,
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
    pub fn new(sequence: u64, inflight_max: usize, flush: Flush) -> Self {
        Self {
            flush,
            flights: VecDeque::new(),
            landed: VecDeque::new(),
            syncs: Vec::new(),
            in_doubt: false,
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

    /// Whether the open group may be cut, though more would fit into it.
    #[must_use]
    pub fn has_room(&self) -> bool {
        match self.flush {
            Flush::Dsync => self.inflight < self.inflight_max,
            // Write and sync are the two halves of one durable write: while both kinds fill the
            // pipeline, arrivals gather, and fewer flushes carry more.
            Flush::Fdatasync => self.inflight + self.syncs.len() < self.inflight_max,
        }
    }

    /// Whether a group may go that takes no more.
    fn has_room_for_full(&self) -> bool {
        match self.flush {
            Flush::Dsync => self.inflight < FULL_GROUPS_FACTOR * self.inflight_max,
            // More syncs at once would carry less each.
            Flush::Fdatasync => self.has_room(),
        }
    }

    /// Group `sequence` must become durable.
    pub fn want_durable(&mut self, sequence: u64) {
        self.durable_wanted = self.durable_wanted.max(sequence);
    }

    /// What to do next, given whether a group that was cut `waits` to be written. Without one, a sync
    /// may still be due for plain groups that became wanted later.
    #[must_use]
    pub fn next(&self, waits: bool) -> Next {
        if self.durable_wanted <= self.durable {
            return if waits && self.has_room_for_full() {
                Next::Write(Way::Plain)
            } else {
                Next::Wait
            };
        }
        match self.flush {
            Flush::Dsync => self.next_dsync(waits),
            Flush::Fdatasync => self.next_fdatasync(waits),
        }
    }

    fn next_dsync(&self, waits: bool) -> Next {
        if self.flights.iter().any(|flight| !flight.done && flight.way == Way::Plain) {
            return Next::Wait;
        }
        if let Some(file) = self.unsynced() {
            return Next::Sync(file);
        }
        if waits && self.has_room_for_full() { Next::Write(Way::Durable) } else { Next::Wait }
    }

    /// A sync before a write: who has waited longer goes first.
    fn next_fdatasync(&self, waits: bool) -> Next {
        match self.unsynced_wanted() {
            _ if !self.has_room() => Next::Wait,
            Some(file) => Next::Sync(file),
            None if waits => Next::Write(Way::Plain),
            None => Next::Wait,
        }
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

    /// The same, of groups that are wanted and whose whole prefix has landed: what overtook a
    /// write in flight is flushed together with it.
    fn unsynced_wanted(&self) -> Option<FileId> {
        let mut before = self.durable;
        for group in self.landed.iter().take_while(|group| {
            let wanted = before < self.durable_wanted;
            before = group.sequence;
            wanted
        }) {
            if group.way == Way::Plain && !self.is_covered(group.file, group.sequence) {
                return Some(group.file);
            }
        }
        None
    }

    /// Plain groups up to this one are covered by a sync that is issued now: they have landed.
    fn covers(&self) -> u64 {
        match self.flush {
            // No plain group is in flight then.
            Flush::Dsync => self.submitted,
            Flush::Fdatasync => self.written,
        }
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
        self.syncs.push(SyncFlight { op, file, sequence: self.covers(), submitted: now });
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
            self.land(Landed { sequence: flight.sequence, file: flight.file, way: flight.way });
        }
        self.advance();
        true
    }

    /// Plain groups that nobody asks for need no bookkeeping beyond the newest of each run in the
    /// same file, unless a sync in flight covers some of a run and not all of it.
    fn land(&mut self, group: Landed) {
        let parts = |last: &Landed| {
            let covers_last = |sync: &SyncFlight| {
                sync.file == last.file && (last.sequence..group.sequence).contains(&sync.sequence)
            };
            self.syncs.iter().any(covers_last)
        };
        match self.landed.back_mut() {
            Some(last)
                if last.way == Way::Plain
                    && group.way == Way::Plain
                    && last.file == group.file
                    && !parts(last) =>
            {
                *last = group;
            }
            _ => self.landed.push_back(group),
        }
    }

    /// A sync completed. `false` if `op` is not one of this pipeline's syncs.
    pub fn synced(&mut self, op: OpId) -> bool {
        let Some(at) = self.syncs.iter().position(|sync| sync.op == op) else {
            return false;
        };
        let sync = self.syncs.swap_remove(at);
        if self.in_doubt {
            return true;
        }
        // Each plain group up to `sequence` had landed when it was issued.
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

    /// A flush failed, of this pipeline or of anybody else on the device. Plain groups that are not
    /// known to be durable may be lost, and a later sync, though it succeeds, does not make them
    /// good. Whether there are any.
    pub fn flush_failed(&mut self) -> bool {
        let landed = self.landed.iter().map(|group| group.way);
        let mut ways = landed.chain(self.flights.iter().map(|flight| flight.way));
        self.in_doubt |= ways.any(|way| way == Way::Plain);
        self.in_doubt
    }

    fn advance(&mut self) {
        while let Some(group) = self.landed.pop_front_if(|group| group.way == Way::Durable) {
            self.durable = group.sequence;
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
mod tests;
