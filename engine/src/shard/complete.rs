//! Answers: waiters whose group has reached their level, and queues whose records became visible.

use super::turn::TurnClock;
use super::{Effect, ProduceError, Shard, Token, Waiter};
use crate::io::{Env, Errno, Nanos};
use crate::level::AckLevel;
use crate::log::writer::{AppendError, GroupTimes};
use crate::stage::{Operation, Stage, Timings};

/// The device never answered: clients learn that their flush timed out.
const ETIMEDOUT: Errno = Errno(110);

/// Consecutive waiters whose time went the same way: recorded together.
struct Cohort {
    sequence: u64,
    gathered: Nanos,
    count: u32,
    timings: Timings,
}

impl<E: Env> Shard<E> {
    /// Answers everybody whose level is reached, and lets consumers see what may be seen.
    pub(super) fn release(&mut self, clock: TurnClock, effects: &mut Vec<Effect>) {
        self.release_memory(clock, effects);
        self.release_level(AckLevel::Written, clock.gathered, effects);
        self.release_level(AckLevel::Durable, clock.gathered, effects);
        self.show();
        self.refuse_waiting(effects);
    }

    /// Once the log takes no writes, refuses whoever waits for one.
    pub(super) fn refuse_waiting(&mut self, effects: &mut Vec<Effect>) {
        if let Some((at, errno)) = self.log.poison() {
            self.refuse_all(AppendError::Poisoned { at, errno }, effects);
        }
    }

    fn release_memory(&mut self, clock: TurnClock, effects: &mut Vec<Effect>) {
        let Some(first) = self.memory_waiters.first() else { return };
        let timings = Timings::default().with(Stage::Parse, first.gathered, clock.received);
        let count = self.memory_waiters.len() as u32;
        for waiter in self.memory_waiters.drain(..) {
            effects.push(produced(&waiter, timings));
        }
        self.histograms.record(Operation::Produce, &timings, count);
    }

    fn release_level(&mut self, level: AckLevel, landed: Nanos, effects: &mut Vec<Effect>) {
        let (waiters, reached) = match level {
            AckLevel::Written => (&mut self.written_waiters, self.log.written()),
            _ => (&mut self.durable_waiters, self.log.durable()),
        };
        let mut cohort: Option<Cohort> = None;
        while let Some(waiter) = waiters.pop_front_if(|waiter| waiter.sequence <= reached) {
            let same = cohort.as_mut().filter(|cohort| {
                cohort.sequence == waiter.sequence && cohort.gathered == waiter.gathered
            });
            let timings = if let Some(cohort) = same {
                cohort.count += 1;
                cohort.timings
            } else {
                if let Some(done) = cohort.take() {
                    self.histograms.record(Operation::Produce, &done.timings, done.count);
                }
                let timings = timings(&waiter, self.log.times(waiter.sequence), landed);
                let (sequence, gathered) = (waiter.sequence, waiter.gathered);
                cohort = Some(Cohort { sequence, gathered, count: 1, timings });
                timings
            };
            effects.push(produced(&waiter, timings));
        }
        if let Some(done) = cohort {
            self.histograms.record(Operation::Produce, &done.timings, done.count);
        }
    }

    /// Moves the queues' visible ends after the log's watermarks.
    fn show(&mut self) {
        let levels = [
            (&mut self.written_touched, self.log.written()),
            (&mut self.durable_touched, self.log.durable()),
        ];
        for (touched, reached) in levels {
            while let Some((_, id)) = touched.pop_front_if(|(sequence, _)| *sequence <= reached) {
                if let Some(queue) = self.queues.get_mut(id) {
                    queue.index.show_next();
                    if self.parked.waits_for(id) {
                        self.woken.insert(id);
                    }
                }
            }
        }
    }

    /// After a failed write nobody who waits will ever be told "stored".
    fn refuse_all(&mut self, poisoned: AppendError, effects: &mut Vec<Effect>) {
        let timed_out =
            matches!(poisoned, AppendError::Poisoned { errno, .. } if errno == ETIMEDOUT);
        let error =
            if timed_out { ProduceError::FlushTimeout } else { ProduceError::Append(poisoned) };
        for waiter in self.written_waiters.drain(..).chain(self.durable_waiters.drain(..)) {
            let (token, timings) = (waiter.token, Timings::default());
            effects.push(Effect::Produced { token, result: Err(error), timings });
        }
    }
}

fn produced(waiter: &Waiter, timings: Timings) -> Effect {
    let token: Token = waiter.token;
    Effect::Produced { token, result: Ok(waiter.base_offset), timings }
}

fn timings(waiter: &Waiter, group: GroupTimes, landed: Nanos) -> Timings {
    // A group that became full in the receive pass was sealed before the pass ended.
    let sealed = group.sealed.max(waiter.received);
    Timings::default()
        .with(Stage::Parse, waiter.gathered, waiter.received)
        .with(Stage::FlushWait, waiter.received, sealed)
        .with(Stage::Append, sealed, group.submitted)
        .with(Stage::Device, group.submitted, landed)
}
