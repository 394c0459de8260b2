//! Fetch: plan over the index, answer from memory, park what has to wait.
//!
//! A parked fetch is an entry in a table, not a task; it is answered in the turn in which the
//! append that satisfies it becomes visible.

use std::collections::{BTreeMap, BTreeSet};

use super::{Effect, Fetch, FetchError, Fetched, Shard};
use crate::index::walk::{Extents, Wanted, take};
use crate::io::{Env, Nanos};
use crate::limits::{FETCH_BYTES_MAX, PARKED_MAX};
use crate::stage::{Operation, Stage, Timings};

/// A fetch that waits for records.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    fetch: Fetch,
    since: Nanos,
    deadline: Nanos,
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
    /// Answers a fetch now, parks it, or starts reading for it.
    pub fn fetch(&mut self, fetch: &Fetch, gathered: Nanos, effects: &mut Vec<Effect>) {
        if self.stopping {
            effects.push(refused(fetch, FetchError::Stopping));
            return;
        }
        let mut fetch = *fetch;
        fetch.bytes_max = fetch.bytes_max.clamp(1, FETCH_BYTES_MAX);
        fetch.bytes_min = fetch.bytes_min.min(fetch.bytes_max);
        let deadline = gathered.plus(fetch.wait_nanos);
        self.try_fetch(&Waiting { fetch, since: gathered, deadline }, gathered, effects);
    }

    fn try_fetch(&mut self, waiting: &Waiting, now: Nanos, effects: &mut Vec<Effect>) {
        let fetch = &waiting.fetch;
        match self.plan(fetch) {
            Ok(Plan::Ready(fetched)) => {
                let enough = fetched.extents.bytes >= fetch.bytes_min.max(1);
                if enough || now >= waiting.deadline {
                    self.answer(waiting, fetched, now, effects);
                } else if self.parked.len() >= PARKED_MAX {
                    effects.push(refused(fetch, FetchError::Busy));
                } else {
                    self.parked.insert(*waiting);
                }
            }
            Ok(Plan::Cold) => self.read_cold(fetch, now, effects),
            Err(error) => effects.push(refused(fetch, error)),
        }
    }

    /// Looks the offset up and collects entries from memory.
    pub(super) fn plan(&self, fetch: &Fetch) -> Result<Plan, FetchError> {
        let queue = self.queues.get(fetch.queue).ok_or(FetchError::UnknownQueue)?;
        let range = queue.range();
        if fetch.offset < range.start_offset || fetch.offset > range.end_offset {
            let (start, end) = (range.start_offset, range.end_offset);
            return Err(FetchError::OutOfRange { start, end });
        }
        let mut extents = Extents::default();
        let wanted =
            Wanted { queue: fetch.queue, offset: fetch.offset, bytes_max: fetch.bytes_max };
        if fetch.offset < range.visible_offset {
            for span in queue.index.from(fetch.offset) {
                let Some(bytes) = self.log.hot(span.pos, span.len) else {
                    if extents.bytes == 0 {
                        return Ok(Plan::Cold);
                    }
                    break;
                };
                let whole = take(&span, &bytes, &wanted, false, &mut extents)
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

    fn answer(
        &mut self,
        waiting: &Waiting,
        fetched: Fetched,
        now: Nanos,
        effects: &mut Vec<Effect>,
    ) {
        let timings = Timings::default().with(Stage::FlushWait, waiting.since, now);
        self.finish_fetch(&waiting.fetch, fetched, timings, effects);
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
            self.histograms.record(Operation::Fetch, &timings, 1);
        }
        effects.push(Effect::Fetched { token: fetch.token, result: Ok(fetched), timings });
    }

    /// Answers the parked fetches of queues that have more to show, and those whose time is up.
    pub(super) fn wake_parked(&mut self, now: Nanos, effects: &mut Vec<Effect>) {
        while let Some(queue) = self.woken.pop_first() {
            for key in self.parked.of_queue(queue) {
                if let Some(waiting) = self.parked.remove(key) {
                    self.try_fetch(&waiting, now, effects);
                }
            }
        }
        while let Some(&(deadline, queue, key)) = self.parked.deadlines.first() {
            if deadline > now {
                break;
            }
            if let Some(waiting) = self.parked.remove((queue, key)) {
                self.try_fetch(&waiting, now, effects);
            }
        }
    }
}
