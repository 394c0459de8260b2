//! When connections are closed because of what does not happen on them.
//!
//! | what | counts from | limit |
//! |---|---|---|
//! | no first frame | the connection was accepted | `hello_deadline_ms` |
//! | half a frame | its last byte came | `partial_deadline_ms` |
//! | a close that the peer does not return | it was begun | `partial_deadline_ms` |
//! | nothing at all, and nothing asked that is unanswered | the last byte either way | `idle_deadline_ms` |
//! | output that is not taken | less than [`SLOW_BYTES_MIN`] went since | `slow_reader_deadline_ms` |
//!
//! Invariants: a connection has at most one entry that counts (others are stale and ignored); an
//! entry is looked at when it is due and put back if something has happened meanwhile, so moving a
//! deadline costs nothing; input that is left in the socket because the service is congested is no
//! silence; deadlines that pass within [`TICK_NANOS`] cost one wake-up, however many they are.
//! Absent: closing (the pump's), clocks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use engine::io::Nanos;

use super::connections::{Connection, State};
use super::{ConnId, Limits, Standing};

/// A reader that takes less than this in a deadline's time, while more waits, is cut off.
pub(super) const SLOW_BYTES_MIN: u64 = 64 << 10;

/// A connection may stay so much longer than its deadline: thousands that were accepted at once are
/// then looked at in a few turns, not in one each.
pub(super) const TICK_NANOS: u64 = 50_000_000;

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cut {
    Hello,
    Frame,
    Close,
    Idle,
    SlowReader,
}

impl Cut {
    /// For the log.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Hello => "it said nothing",
            Self::Frame => "it stopped within a frame",
            Self::Close => "it did not close in turn",
            Self::Idle => "it was idle",
            Self::SlowReader => "it did not take its replies",
        }
    }
}

/// Since when output waits for the peer, and how much had been sent then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocked {
    pub(super) since: Nanos,
    pub(super) sent_bytes: u64,
}

/// What to do with a connection whose entry is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    Close(Cut),
}

/// The entries of all connections of a reactor.
#[derive(Debug)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(Nanos, ConnId)>>,
    limits: Limits,
}

impl Deadlines {
    pub(super) fn new(limits: Limits) -> Self {
        Self { heap: BinaryHeap::new(), limits }
    }

    /// Makes sure that a connection is looked at when it is due.
    pub(super) fn watch(
        &mut self,
        id: ConnId,
        connection: &mut Connection,
        standing: Standing,
        now: Nanos,
    ) {
        let Some((due, _)) = self.due(connection, standing, now) else { return };
        if connection.deadline_at.is_none_or(|at| due < at) {
            connection.deadline_at = Some(due);
            self.heap.push(Reverse((due, id)));
        }
    }

    /// When to look at the next ones.
    pub(super) fn wake_at(&self) -> Option<Nanos> {
        self.next().map(|at| Nanos(at.0.checked_next_multiple_of(TICK_NANOS).unwrap_or(at.0)))
    }

    fn next(&self) -> Option<Nanos> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// An entry that is due, if any.
    pub(super) fn pop_due(&mut self, now: Nanos) -> Option<(Nanos, ConnId)> {
        let at = self.next().filter(|at| *at <= now)?;
        self.heap.pop().map(|Reverse((_, id))| (at, id))
    }

    /// Judges a connection whose entry of `at` is due; `sent_bytes` is what it was sent in all.
    pub(super) fn judge(
        &mut self,
        (at, id): (Nanos, ConnId),
        connection: &mut Connection,
        (standing, sent_bytes): (Standing, u64),
        now: Nanos,
    ) -> Verdict {
        if connection.deadline_at != Some(at) {
            return Verdict::Keep;
        }
        connection.deadline_at = None;
        if connection.queued && connection.state == State::Open {
            connection.progress_at = now;
            connection.opened_at = now;
        }
        if let Some(blocked) = &mut connection.blocked
            && sent_bytes - blocked.sent_bytes >= SLOW_BYTES_MIN
        {
            *blocked = Blocked { since: now, sent_bytes };
        }
        match self.due(connection, standing, now) {
            Some((due, cut)) if due <= now => return Verdict::Close(cut),
            _ => self.watch(id, connection, standing, now),
        }
        Verdict::Keep
    }

    /// The first thing a connection is closed for, and when, if nothing happens.
    fn due(&self, connection: &Connection, standing: Standing, now: Nanos) -> Option<(Nanos, Cut)> {
        let after = |at: Nanos, ms: u32| at.plus(u64::from(ms) * 1_000_000);
        let Limits { hello_deadline_ms, partial_deadline_ms, idle_deadline_ms, .. } = self.limits;
        if connection.state != State::Open {
            return Some((after(connection.progress_at, partial_deadline_ms), Cut::Close));
        }
        let is_new = standing == Standing::New;
        let hello = is_new.then(|| (after(connection.opened_at, hello_deadline_ms), Cut::Hello));
        let is_partial = !connection.partial.is_empty() && !connection.paused;
        let frame =
            is_partial.then(|| (after(connection.progress_at, partial_deadline_ms), Cut::Frame));
        let active_at = match standing {
            Standing::Busy => now,
            _ => connection.progress_at.max(connection.sent_at),
        };
        let idle = (idle_deadline_ms > 0 && !is_new)
            .then(|| (after(active_at, idle_deadline_ms), Cut::Idle));
        let slow_ms = self.limits.slow_reader_deadline_ms;
        let slow = connection.blocked.map(|it| (after(it.since, slow_ms), Cut::SlowReader));
        [hello, frame, idle, slow].into_iter().flatten().min()
    }
}

#[cfg(test)]
#[path = "deadlines_tests.rs"]
mod tests;
