//! One turn: completions in, groups out, answers to whoever reached their level.

use super::{Effect, Shard};
use crate::io::{Disk, Env, Nanos};

/// When the phases of a turn happened.
#[derive(Clone, Copy, Debug)]
pub struct TurnClock {
    /// Readiness and completions were gathered.
    pub gathered: Nanos,
    /// Every request of the turn was received and staged.
    pub received: Nanos,
}

/// What a shard says at the end of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnEnd {
    /// A flush somebody waits for is in progress.
    pub durable_in_flight: bool,
    /// Call again at this time, even if nothing happens.
    pub wake_at: Option<Nanos>,
}

impl<E: Env> Shard<E> {
    /// Ends a turn. The caller then makes the disk issue what was submitted, and sends the answers.
    pub fn turn(&mut self, clock: TurnClock, effects: &mut Vec<Effect>) -> TurnEnd {
        self.stamp_received(clock.received);
        self.take_completions(clock.gathered, effects);
        self.upkeep(clock.gathered);
        if self.log.commit(self.env.disk(), clock.received) {
            let now = self.env.now();
            self.log.note_submitted(now);
        }
        self.release(clock, effects);
        self.wake_parked(clock, effects);
        self.answer_arrived(clock, effects);
        self.record_fetches();
        self.seal(clock.gathered);
        TurnEnd {
            durable_in_flight: self.log.durable_in_flight(),
            wake_at: [self.log.wake_at(), self.parked.wake_at(), self.upkeep_at(clock.gathered)]
                .into_iter()
                .flatten()
                .min(),
        }
    }

    /// The waiters that came in this turn learn when its receive pass ended.
    fn stamp_received(&mut self, received: Nanos) {
        for waiters in [&mut self.written_waiters, &mut self.durable_waiters] {
            for waiter in waiters.iter_mut().rev().take_while(|waiter| waiter.received.0 == 0) {
                waiter.received = received;
            }
        }
        for waiter in &mut self.memory_waiters {
            waiter.received = received;
        }
    }

    fn take_completions(&mut self, now: Nanos, effects: &mut Vec<Effect>) {
        let mut completions = std::mem::take(&mut self.completions);
        self.env.disk().complete(&mut completions);
        if let Some(errno) = self.env.disk().take_flush_failure() {
            self.log.on_flush_failed(errno);
            self.sealing.on_flush_failed();
        }
        for completion in completions.drain(..) {
            let Some(rest) = self.log.on_completion(self.env.disk(), completion, now) else {
                continue;
            };
            let Some(rest) = self.on_saved(rest, now) else { continue };
            let Some(rest) = self.on_sought(rest, effects) else { continue };
            let Some(rest) = self.on_looked_up(rest, effects) else { continue };
            let Some(rest) = self.on_rebuild_read(rest) else { continue };
            self.on_cold_read(rest, now, effects);
        }
        self.completions = completions;
    }
}
