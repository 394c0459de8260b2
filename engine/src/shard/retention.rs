//! Retention: whole segments leave the log, oldest first, when they are too old, the log is too
//! long, the device too full (`room`), or nothing in them is left of what topics keep.
//!
//! Reads top-down: `Shard::expire` (once per turn) -> `expired` -> a checkpoint (`upkeep`), if none
//! stands behind the segment -> `Shard::trim`.
//!
//! Invariants: a segment goes only when a durable checkpoint begins behind it (so everything in it
//! is durable, and its state is known without it), when no read of it is in flight, and when no
//! queue names it any more; the current segment never goes.
//! Absent: limits of single topics (`keep`); the files (the log's).

use std::collections::BTreeMap;

use super::Shard;
use super::age_clock::AgeClock;
use super::checkpoint::PACE_NANOS;
use super::keep::PAUSE_NANOS_MAX;
use crate::io::{Env, Nanos};

/// How long records are kept, in a log or of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Records go when they are older than this, in milliseconds (of a log: whole segments, by
    /// their newest record).
    pub age_ms: Option<u64>,
    /// The oldest records go while there are more bytes than this (of a log: whole segments).
    pub bytes: Option<u64>,
}

/// What a shard knows about the age of its segments.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    policy: Retention,
    /// No record of the segment was stored later than this, in milliseconds since the Unix epoch.
    newest_ms: BTreeMap<u64, u64>,
    /// The current segment as of the last check.
    checked: Option<u64>,
    /// When the oldest segment will be too old.
    due_at: Option<Nanos>,
    /// The last segment that has expired, as of the last check.
    through: Option<u64>,
    clock: AgeClock,
    /// A queue that had a record in the oldest segment when last asked.
    holder: Option<u32>,
}

impl Expiry {
    pub(super) fn new(policy: Retention, newest_ms: BTreeMap<u64, u64>) -> Self {
        Self { policy, newest_ms, ..Self::default() }
    }

    /// Something else than time and the log's length has changed.
    pub(super) fn look_again(&mut self) {
        self.checked = None;
    }
}

impl<E: Env> Shard<E> {
    /// Looks for what has expired, and takes it out step by step.
    pub(super) fn expire(&mut self, now: Nanos) {
        self.begin_later();
        if !self.is_expiring() {
            return;
        }
        self.look_at_room(now);
        self.step_keep(now);
        let current = self.log.segments().current();
        let due = self.expiry.due_at.is_some_and(|at| now >= at);
        if due || self.expiry.checked != Some(current) {
            self.expiry.checked = Some(current);
            self.expiry.through = self.expired(now);
        }
        if let Some(through) = self.expiry.through
            && self.is_behind_checkpoint(self.log.segments().oldest())
        {
            self.trim(now);
            if self.log.segments().oldest() > through {
                // Look again: the next one has its own time.
                (self.expiry.through, self.expiry.checked) = (None, None);
            }
        }
    }

    /// When `Shard::expire` has something to do though nothing happens.
    pub(super) fn expire_at(&self, now: Nanos) -> Option<Nanos> {
        if !self.is_expiring() {
            return None;
        }
        let more = self.expiry.through.is_some() || self.expiry.checked.is_none();
        let at = if more { Some(now.plus(PACE_NANOS)) } else { self.expiry.due_at };
        [at, self.keep_at(now), self.room_at()].into_iter().flatten().min()
    }

    /// Whether anything leaves this log at all.
    fn is_expiring(&self) -> bool {
        let limited = self.expiry.policy != Retention::default() || !self.keep.is_empty();
        (limited || self.room.is_on()) && !self.stopping && self.log.poison().is_none()
    }

    /// The time by which records age, in milliseconds since the Unix epoch.
    pub(super) fn age_clock_ms(&mut self, now: Nanos) -> u64 {
        let wall_ms = self.env.wall_ms();
        self.expiry.clock.read(now, wall_ms)
    }

    /// Whether no queue has a record in segment `number`, the oldest, or below.
    fn is_dead(&mut self, number: u64) -> bool {
        let end = self.end_of_segment(number);
        let holder = self.expiry.holder.and_then(|id| self.queues.get(id));
        if holder.is_some_and(|queue| queue.has_below(number + 1, end)) {
            return false;
        }
        self.expiry.holder = self.queues.with_records_below((number + 1, end), self.internal);
        self.expiry.holder.is_none()
    }

    /// The last of the oldest segments that are to go.
    fn expired(&mut self, now: Nanos) -> Option<u64> {
        let segments = self.log.segments();
        let (oldest, current) = (segments.oldest(), segments.current());
        let segment_bytes = segments.geometry().segment_bytes;
        let (store_ms, clock_ms) = (self.log.store_ms(), self.age_clock_ms(now));
        let dead = oldest < current && self.is_dead(oldest);
        for number in oldest..current {
            // Sealed since the last check: at most that much too young.
            self.expiry.newest_ms.entry(number).or_insert(store_ms);
        }
        self.expiry.newest_ms = self.expiry.newest_ms.split_off(&oldest);
        let Retention { age_ms, bytes } = self.expiry.policy;
        self.expiry.due_at = None;
        let mut through = None;
        for number in oldest..current {
            let newest_ms = self.expiry.newest_ms.get(&number).copied().unwrap_or(u64::MAX);
            let old = age_ms.is_some_and(|age| newest_ms.saturating_add(age) < clock_ms);
            let left = (current + 1 - number).saturating_mul(segment_bytes);
            let made_room = number == oldest && self.room.wants_segment();
            let dead = dead && number == oldest;
            if !old && !dead && !made_room && bytes.is_none_or(|bytes| left <= bytes) {
                let left_ms = |age: u64| newest_ms.saturating_add(age).saturating_sub(clock_ms) + 1;
                let in_nanos = |age| left_ms(age).saturating_mul(1_000_000).min(PAUSE_NANOS_MAX);
                self.expiry.due_at = age_ms.map(|age| now.plus(in_nanos(age)));
                break;
            }
            if made_room {
                self.room.note_answer();
            }
            through = Some(number);
        }
        through
    }

    /// Whether the newest checkpoint begins behind a segment.
    fn is_behind_checkpoint(&self, number: u64) -> bool {
        let behind = self.end_of_segment(number);
        self.checkpoints.newest().is_some_and(|begin| begin >= behind)
    }

    /// Takes the oldest segment out, unless somebody is still reading it.
    fn trim(&mut self, now: Nanos) {
        let oldest = self.log.segments().oldest();
        let end = self.end_of_segment(oldest);
        if self.cold.reads_below(end)
            || self.sealing.is_saving(oldest)
            || self.rebuilds.is_reading(oldest)
        {
            return;
        }
        if self.log.trim(self.env.disk(), !self.room.is_short(), now) {
            self.queues.drop_below(oldest + 1, end);
            self.keep.count_again();
            self.sealing.forget(oldest, self.env.disk());
            self.rebuilds.forget(oldest);
        }
    }

    /// Whether segments wait for a checkpoint behind them.
    pub(super) fn expiry_wants_checkpoint(&self) -> bool {
        self.expiry.through.is_some_and(|through| !self.is_behind_checkpoint(through))
    }
}
