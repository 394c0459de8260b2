//! What a verifying consumer checks: every acknowledged message is there, as it was sent, in the
//! order of its producer and queue, once.
//!
//! A producer's batches go to the queues in turn, so its messages in one queue, its *lane*, have
//! numbers known in advance; they are renumbered 0, 1, 2... there, and anything but the next one
//! is a fault. What is skipped is remembered as a hole: a message that fills one later is out of
//! order, one that fills none was delivered before.
//!
//! Invariant: a broker without faults costs one table entry per lane and no allocation.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::tag_format::Tag;
use super::{Load, Messages};
use crate::report::Verified;

/// Holes remembered; a broker that loses more is not diagnosed any further.
const HOLES_MAX: usize = 1 << 20;

/// Where messages go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes {
    producers: u32,
    queues: u16,
    batch: u64,
}

impl Lanes {
    pub(super) fn of(load: &Load) -> Self {
        Self { producers: load.producers, queues: load.queues, batch: u64::from(load.batch) }
    }

    /// The queue of the batch that begins with this message.
    pub(super) fn queue(&self, producer: u32, number: u64) -> u16 {
        ((u64::from(producer) + number / self.batch) % u64::from(self.queues)) as u16
    }

    fn lane(&self, producer: u32, queue: u16) -> usize {
        producer as usize * usize::from(self.queues) + usize::from(queue)
    }

    /// The place of a message in its lane.
    fn place(&self, number: u64) -> u64 {
        number / self.batch / u64::from(self.queues) * self.batch + number % self.batch
    }

    /// How many of a producer's first `sent` messages (whole batches) are in a queue.
    fn count(&self, producer: u32, queue: u16, sent: u64) -> u64 {
        let queues = u64::from(self.queues);
        let first = (u64::from(queue) + queues - u64::from(producer) % queues) % queues;
        let batches = sent / self.batch;
        if batches > first { ((batches - first - 1) / queues + 1) * self.batch } else { 0 }
    }
}

/// Checks the messages of one run.
#[derive(Debug)]
pub struct Verifier {
    lanes: Lanes,
    messages: Arc<Messages>,
    /// By lane: the place of the next message.
    next: Vec<u64>,
    /// By queue: the next offset.
    next_offset: Vec<u64>,
    holes: BTreeSet<(usize, u64)>,
    /// Places that were sent and not acknowledged: they may be there or not.
    unknown: BTreeSet<(usize, u64)>,
    found: Verified,
}

impl Verifier {
    /// Knows what `load` will send.
    #[must_use]
    pub fn new(load: &Load) -> Self {
        let lanes = Lanes::of(load);
        Self {
            lanes,
            messages: Arc::clone(&load.messages),
            next: vec![0; load.producers as usize * usize::from(load.queues)],
            next_offset: vec![0; usize::from(load.queues)],
            holes: BTreeSet::new(),
            unknown: BTreeSet::new(),
            found: Verified::default(),
        }
    }

    /// A request of so many messages was acknowledged.
    pub fn acknowledged(&mut self, messages: u32) {
        self.found.acknowledged += u64::from(messages);
    }

    /// The request that begins with message `first` was refused, or never answered.
    pub fn unacknowledged(&mut self, producer: u32, first: u64, messages: u32) {
        let lane = self.lanes.lane(producer, self.lanes.queue(producer, first));
        let place = self.lanes.place(first);
        for place in place..place + u64::from(messages) {
            self.holes.remove(&(lane, place));
            self.unknown.insert((lane, place));
        }
    }

    /// So many records were delivered that cannot even be read.
    pub fn damaged(&mut self, records: u64) {
        self.found.corrupt += records;
    }

    /// A record was delivered.
    pub fn see(&mut self, queue: u16, offset: u64, key: Option<&[u8]>, value: Option<&[u8]>) {
        let Some(next_offset) = self.next_offset.get_mut(usize::from(queue)) else {
            self.found.corrupt += 1;
            return;
        };
        let in_order = offset == *next_offset;
        *next_offset = offset + 1;
        let Some((lane, place)) = self.recognise(queue, key, value.unwrap_or_default()) else {
            self.found.corrupt += 1;
            return;
        };
        let next = self.next[lane];
        if place == next {
            self.next[lane] = next + 1;
        } else if place > next {
            self.skip(lane, place);
        } else if self.holes.remove(&(lane, place)) {
            self.found.reordered += 1;
        } else if !self.unknown.remove(&(lane, place)) {
            self.found.duplicated += 1;
            return;
        }
        if !in_order {
            self.found.reordered += 1;
        }
        self.found.consumed += 1;
    }

    /// Remembers what lies between the expected message and this one.
    fn skip(&mut self, lane: usize, place: u64) {
        for hole in self.next[lane]..place {
            if self.holes.len() >= HOLES_MAX {
                break;
            }
            if !self.unknown.contains(&(lane, hole)) {
                self.holes.insert((lane, hole));
            }
        }
        self.next[lane] = place + 1;
    }

    /// Lane and place of a message whose every byte is as it was sent.
    fn recognise(&self, queue: u16, key: Option<&[u8]>, value: &[u8]) -> Option<(usize, u64)> {
        let Tag { producer, number } = Tag::decode(key, value)?;
        if producer >= self.lanes.producers || self.lanes.queue(producer, number) != queue {
            return None;
        }
        let which = number.checked_mul(u64::from(self.lanes.producers))? + u64::from(producer);
        if self.messages.get(which) != value {
            return None;
        }
        Some((self.lanes.lane(producer, queue), self.lanes.place(number)))
    }

    /// Messages delivered so far that were as sent.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        self.found.consumed
    }

    /// Whether as many messages were delivered as acknowledged.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.found.consumed >= self.found.acknowledged
    }

    /// The verdict, once nothing more comes; `sent` is how many messages each producer sent.
    #[must_use]
    pub fn finish(&self, sent: &[u64]) -> Verified {
        let mut found = self.found;
        found.missing = self.holes.len() as u64;
        for (producer, sent) in (0..self.lanes.producers).zip(sent) {
            for queue in 0..self.lanes.queues {
                let lane = self.lanes.lane(producer, queue);
                let count = self.lanes.count(producer, queue, *sent);
                let rest = (lane, self.next[lane])..(lane, count.max(self.next[lane]));
                let unknown = self.unknown.range(rest).count() as u64;
                found.missing += count.saturating_sub(self.next[lane]) - unknown;
            }
        }
        found
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
