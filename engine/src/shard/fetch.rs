//! Fetch: plan over the index, answer from memory, park what has to wait.
//!
//! Reads top-down: [`Shard::fetch`] -> `answer_arrived` (end of the turn) -> `try_fetch` -> `plan`;
//! what waits is met again in `wake_parked`, or in `cold`.
//!
//! A fetch is planned at the end of the turn that received it: it sees everything of that turn, and
//! when the receive pass ended is known. A parked fetch is an entry in a table, not a task; it is
//! answered in the turn in which the append that satisfies it becomes visible.

use std::collections::{BTreeMap, BTreeSet};

use super::turn::TurnClock;
use super::{Effect, Fetch, FetchError, Fetched, Shard, Token};
use crate::index::walk::{Extents, Origin, Wanted, take};
use crate::io::{Env, Nanos};
use crate::limits::{FETCH_BYTES_MAX, PARKED_MAX};
use crate::stage::{Operation, Stage, Timings};

/// The most a fetch waits longer than it asked for.
const WAIT_GRAIN_NANOS_MAX: u64 = 1 << 26;

/// A fetch that is planned, parked, or waits for a read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) fetch: Fetch,
    /// The turn that received it began ...
    pub(super) gathered: Nanos,
    /// ... and ended its receive pass.
    pub(super) received: Nanos,
    pub(super) deadline: Nanos,
}

impl Waiting {
    /// Where its time has gone, having waited until `until`.
    pub(super) fn timings(&self, until: Nanos) -> Timings {
        Timings::default().with(Stage::Parse, self.gathered, self.received).with(
            Stage::FlushWait,
            self.received,
            until,
        )
    }
}

/// A fetch of this turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived {
    fetch: Fetch,
    gathered: Nanos,
}

/// Consecutive fetches whose time went the same way: recorded together.
#[derive(Debug, Default)]
pub(super) struct Cohort {
    timings: Timings,
    count: u32,
}

/// The fetches that wait, by queue and by deadline.
#[derive(Debug, Default)]
pub(super) struct Parked {
    by_key: BTreeMap<(u32, u64), Waiting>,
    deadlines: BTreeSet<(Nanos, u32, u64)>,
    next_key: u64,
}

impl Parked {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn waits_for(&self, queue: u32) -> bool {
        !self.by_key.is_empty()
            && self.by_key.range((queue, 0)..).next().is_some_and(|(key, _)| key.0 == queue)
    }

    pub(super) fn wake_at(&self) -> Option<Nanos> {
        self.deadlines.first().map(|&(deadline, ..)| deadline)
    }

    fn insert(&mut self, waiting: Waiting) {
        let key = (waiting.fetch.queue, self.next_key);
        self.next_key += 1;
        self.deadlines.insert((waiting.deadline, key.0, key.1));
        self.by_key.insert(key, waiting);
    }

    fn remove(&mut self, key: (u32, u64)) -> Option<Waiting> {
        let waiting = self.by_key.remove(&key)?;
        self.deadlines.remove(&(waiting.deadline, key.0, key.1));
        Some(waiting)
    }

    /// Lets the waits of all whose token is chosen be over.
    fn end(&mut self, mut chosen: impl FnMut(Token) -> bool) {
        for (key, waiting) in &mut self.by_key {
            if chosen(waiting.fetch.token) {
                self.deadlines.remove(&(waiting.deadline, key.0, key.1));
                waiting.deadline = Nanos(0);
                self.deadlines.insert((waiting.deadline, key.0, key.1));
            }
        }
    }

    fn of_queue(&self, queue: u32) -> Vec<(u32, u64)> {
        self.by_key.range((queue, 0)..=(queue, u64::MAX)).map(|(key, _)| *key).collect()
    }

    pub(super) fn drop_queue(&mut self, queue: u32, effects: &mut Vec<Effect>) {
        for key in self.of_queue(queue) {
            if let Some(waiting) = self.remove(key) {
                effects.push(refused(&waiting.fetch, FetchError::UnknownQueue));
            }
        }
    }

    pub(super) fn stop(&mut self, effects: &mut Vec<Effect>) {
        self.deadlines.clear();
        for waiting in std::mem::take(&mut self.by_key).into_values() {
            effects.push(refused(&waiting.fetch, FetchError::Stopping));
        }
    }
}

/// When a fetch that waits so long is answered with nothing: up to a 32nd later than it asked for, so
/// that thousands that were parked one after the other wake the reactor a few times and not once each.
pub(super) fn end_of_wait(gathered: Nanos, wait_nanos: u64) -> Nanos {
    let grain = (wait_nanos / 64).next_power_of_two().min(WAIT_GRAIN_NANOS_MAX);
    let end = gathered.plus(wait_nanos);
    Nanos(end.0.checked_next_multiple_of(grain).unwrap_or(end.0))
}

pub(super) fn refused(fetch: &Fetch, error: FetchError) -> Effect {
    let timings = Timings::default();
    Effect::Fetched { token: fetch.token, result: Err(error), timings }
}

/// What a plan came to.
pub(super) enum Plan {
    /// Entries (or none, for a reader that is at the end) from memory.
    Ready(Fetched),
    /// The next entries lie on the device; the spans say where.
    Cold,
}

impl<E: Env> Shard<E> {
    /// Takes a fetch of the turn that began at `gathered`. It is answered in this turn or a later
    /// one.
    pub fn fetch(&mut self, fetch: &Fetch, gathered: Nanos, effects: &mut Vec<Effect>) {
        if self.stopping {
            effects.push(refused(fetch, FetchError::Stopping));
        } else if self.arrived.len() >= PARKED_MAX {
            effects.push(refused(fetch, FetchError::Busy));
        } else {
            self.arrived.push(Arrived { fetch: *fetch, gathered });
        }
    }

    /// Answers the fetches of this turn, parks them, or starts reading for them.
    pub(super) fn answer_arrived(&mut self, clock: TurnClock, effects: &mut Vec<Effect>) {
        let mut arrived = std::mem::take(&mut self.arrived);
        for Arrived { mut fetch, gathered } in arrived.drain(..) {
            fetch.bytes_max = fetch.bytes_max.clamp(1, FETCH_BYTES_MAX);
            fetch.bytes_min = fetch.bytes_min.min(fetch.bytes_max);
            let deadline = end_of_wait(gathered, fetch.wait_nanos);
            let waiting = Waiting { fetch, gathered, received: clock.received, deadline };
            self.try_fetch(&waiting, clock, effects);
        }
        self.arrived = arrived;
    }

    fn try_fetch(&mut self, waiting: &Waiting, clock: TurnClock, effects: &mut Vec<Effect>) {
        let fetch = &waiting.fetch;
        match self.plan(fetch) {
            Ok(Plan::Ready(fetched)) => {
                let enough = fetched.extents.bytes >= fetch.bytes_min.max(1);
                if enough || clock.received >= waiting.deadline {
                    self.finish_fetch(fetch, fetched, waiting.timings(clock.gathered), effects);
                } else if self.stopping {
                    effects.push(refused(fetch, FetchError::Stopping));
                } else if self.parked.len() >= PARKED_MAX {
                    effects.push(refused(fetch, FetchError::Busy));
                } else {
                    self.parked.insert(*waiting);
                }
            }
            Ok(Plan::Cold) => self.read_cold(waiting, clock.received, effects),
            Err(error) => effects.push(refused(fetch, error)),
        }
    }

    /// Lets parked fetches be answered with this turn, with what there is: nobody waits for them.
    /// Looks at everything that is parked.
    pub fn end_waits(&mut self, chosen: impl FnMut(Token) -> bool) {
        self.parked.end(chosen);
    }

    /// Looks the offset up and collects entries from memory.
    pub(super) fn plan(&self, fetch: &Fetch) -> Result<Plan, FetchError> {
        let queue = self.queues.get(fetch.queue).ok_or(FetchError::UnknownQueue)?;
        let range = queue.range();
        let (start, end) = (range.start_offset, range.end_offset);
        if fetch.epoch != 0 && fetch.epoch != self.log.epoch() {
            let end = queue.lives.end_of(fetch.epoch, end);
            if fetch.offset > end {
                return Err(FetchError::Truncated { start, end });
            }
        }
        if fetch.offset < start || fetch.offset > end {
            return Err(FetchError::OutOfRange { start, end });
        }
        let mut extents = Extents::default();
        let wanted =
            Wanted { queue: fetch.queue, offset: fetch.offset, bytes_max: fetch.bytes_max };
        if fetch.offset < range.visible_offset {
            if queue.index.first_offset().is_none_or(|first| fetch.offset < first) {
                return Ok(Plan::Cold);
            }
            let mut spans = queue.index.from(fetch.offset).peekable();
            while let Some(span) = spans.next() {
                let next = spans.peek().map(|next| next.base_offset);
                let end_offset = next.unwrap_or(range.visible_offset);
                let Some(bytes) = self.log.hot(span.pos, span.len) else {
                    if extents.bytes == 0 {
                        return Ok(Plan::Cold);
                    }
                    break;
                };
                let whole =
                    take(&span, &bytes, &wanted, Origin::Memory { end_offset }, &mut extents)
                        .map_err(|damaged| FetchError::Damaged { at: damaged.at })?;
                if !whole || extents.bytes >= fetch.bytes_max {
                    break;
                }
            }
        }
        Ok(Plan::Ready(Fetched {
            start_offset: range.start_offset,
            visible_offset: range.visible_offset,
            extents,
        }))
    }

    pub(super) fn finish_fetch(
        &mut self,
        fetch: &Fetch,
        fetched: Fetched,
        timings: Timings,
        effects: &mut Vec<Effect>,
    ) {
        if fetched.extents.bytes > 0 {
            self.counters.fetches += 1;
            self.counters.fetched_bytes += u64::from(fetched.extents.bytes);
            self.counters.fetched_records += fetched.extents.records;
            if self.answered.timings != timings {
                self.record_fetches();
                self.answered.timings = timings;
            }
            self.answered.count += 1;
        }
        effects.push(Effect::Fetched { token: fetch.token, result: Ok(fetched), timings });
    }

    /// Puts the fetches that were answered alike into the histograms.
    pub(super) fn record_fetches(&mut self) {
        let Cohort { timings, count } = std::mem::take(&mut self.answered);
        if count > 0 {
            self.histograms.record(Operation::Fetch, &timings, count);
        }
    }

    /// Answers the parked fetches of queues that have more to show, and those whose time is up.
    pub(super) fn wake_parked(&mut self, clock: TurnClock, effects: &mut Vec<Effect>) {
        while let Some(queue) = self.woken.pop_first() {
            for key in self.parked.of_queue(queue) {
                if let Some(waiting) = self.parked.remove(key) {
                    self.try_fetch(&waiting, clock, effects);
                }
            }
        }
        while let Some(&(deadline, queue, key)) = self.parked.deadlines.first() {
            if deadline > clock.received {
                break;
            }
            if let Some(waiting) = self.parked.remove((queue, key)) {
                self.try_fetch(&waiting, clock, effects);
            }
        }
    }
}
