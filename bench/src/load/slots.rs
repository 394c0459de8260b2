//! A connection's room for requests in flight, and how late the generator itself is with each.
//!
//! A request can be late for two reasons: the generator was (it was not given the CPU), or there
//! was no room, because the broker had not answered. Only the first is the generator's fault. After
//! a stall of the generator, though, room is short *because* of it: a hundred requests that fell due
//! meanwhile now queue for one slot. So every slot remembers when it would have become free if the
//! generator had been punctual: a request is ready when it is due and its slot would have been free;
//! the slot would have been free again as much later as the broker took for the answer. What lies
//! between ready and really sent is the generator's own lateness, however it came about.
//!
//! Invariant: a slot is free or holds one request.

use std::time::Instant;

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// When it should have been sent.
    pub(super) intended: Instant,
    /// When a punctual generator could have sent it.
    pub(super) ready: Instant,
    /// When it was sent.
    pub(super) real: Instant,
    /// Number of its first message.
    pub(super) first: u64,
    /// Bytes of its messages.
    pub(super) payload_bytes: u64,
}

/// The slots of one connection.
#[derive(Debug)]
pub(super) struct Slots {
    sent: Vec<Sent>,
    free: Vec<u32>,
    /// By slot: when it would have become free.
    free_at: Vec<Instant>,
}

impl Slots {
    pub(super) fn new(count: u32, now: Instant) -> Self {
        let unused = Sent { intended: now, ready: now, real: now, first: 0, payload_bytes: 0 };
        Self {
            sent: vec![unused; count as usize],
            free: (0..count).rev().collect(),
            free_at: vec![now; count as usize],
        }
    }

    /// Requests without an answer.
    pub(super) fn outstanding(&self) -> usize {
        self.sent.len() - self.free.len()
    }

    /// The slot that the next request would take.
    pub(super) fn next(&self) -> Option<u32> {
        self.free.last().copied()
    }

    /// When a request that is due at `intended` could have been sent from this slot, if nobody
    /// asked to wait until `not_before`.
    pub(super) fn ready(&self, slot: u32, intended: Instant, not_before: Instant) -> Instant {
        let free_at = self.free_at.get(slot as usize).copied().unwrap_or(intended);
        intended.max(free_at).max(not_before)
    }

    /// The next slot holds a request.
    pub(super) fn put(&mut self, sent: Sent) {
        if let Some(place) = self.free.pop().and_then(|slot| self.sent.get_mut(slot as usize)) {
            *place = sent;
        }
    }

    /// The request in a slot was answered, as far as the generator can tell at `answered`. `None`:
    /// there is no such slot.
    pub(super) fn take(&mut self, slot: u32, answered: Instant) -> Option<Sent> {
        let sent = *self.sent.get(slot as usize)?;
        let free_at = self.free_at.get_mut(slot as usize)?;
        *free_at = sent.ready + answered.saturating_duration_since(sent.real);
        self.free.push(slot);
        Some(sent)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Sends what is due every `interval_ms` with one slot; `send_at` is when the generator gets to
    /// it, each answer takes a millisecond. Returns how late it was, in milliseconds.
    fn lateness(count: u64, interval_ms: u64, stall: std::ops::Range<u64>) -> Vec<u64> {
        let base = Instant::now();
        let at = |ms| base + Duration::from_millis(ms);
        let mut slots = Slots::new(1, base);
        let mut free_ms = 0;
        let mut late = Vec::new();
        for n in 0..count {
            let due = n * interval_ms;
            let mut real = due.max(free_ms);
            if stall.contains(&real) {
                real = stall.end;
            }
            let slot = slots.next().unwrap();
            let ready = slots.ready(slot, at(due), base);
            late.push((at(real) - ready).as_millis() as u64);
            slots.put(Sent {
                intended: at(due),
                ready,
                real: at(real),
                first: n,
                payload_bytes: 0,
            });
            free_ms = real + 1;
            slots.take(slot, at(free_ms)).unwrap();
        }
        late
    }

    #[test]
    fn a_stall_makes_everything_late_that_fell_due_in_it() {
        // Due every 2 ms, stalled from 10 to 30: ten requests fell due and queue for one slot, so
        // that the last of them is still late though the stall is over.
        let late = lateness(40, 2, 10..30);
        assert_eq!(late[..5], [0; 5]);
        assert_eq!(late[5..10], [20, 19, 18, 17, 16]);
        assert_eq!(late[24..], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn waiting_for_the_broker_is_not_the_generators_lateness() {
        // Due twice as often as answers come: it queues ever longer, for the broker.
        let late = lateness(20, 0, 0..0);
        assert_eq!(late, [0; 20]);
    }

    #[test]
    fn slots_are_taken_and_given_back() {
        let now = Instant::now();
        let mut slots = Slots::new(2, now);
        let sent = |first| Sent { intended: now, ready: now, real: now, first, payload_bytes: 0 };
        assert_eq!(slots.next(), Some(0));
        slots.put(sent(7));
        slots.put(sent(8));
        assert_eq!((slots.next(), slots.outstanding()), (None, 2));
        assert_eq!(slots.take(1, now).map(|sent| sent.first), Some(8));
        assert_eq!((slots.next(), slots.outstanding()), (Some(1), 1));
        assert!(slots.take(2, now).is_none());
    }
}
