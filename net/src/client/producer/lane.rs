//! One queue of a producer: the batch that is being filled, and the full ones behind which it
//! stands in line. Callers fill, the queue's delivery task takes.
//!
//! Invariants: records leave in the order in which they came; a task runs exactly while there is
//! something to deliver (`running`), so a producer that is dropped leaves nothing behind, and an
//! idle one costs no task; the lock is never held across an await.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::batch::{BatchBuilder, BatchError};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::ack::{Ack, Promise};
use super::record::Record;
use crate::wire::ProducerId;

/// A batch that has been filled, or is being filled.
#[derive(Debug)]
pub(super) struct Filling {
    pub(super) builder: BatchBuilder,
    pub(super) promise: Promise,
    /// When its first record was accepted.
    pub(super) since: Instant,
    /// What its records count against the producer's buffer.
    pub(super) cost: usize,
}

/// The numbers of an idempotent producer in one queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) id: i64,
    pub(super) epoch: i16,
    pub(super) next: i32,
    /// There is no next epoch: another id is needed.
    pub(super) over: bool,
}

impl Line {
    pub(super) fn new(producer: ProducerId) -> Self {
        Self { id: producer.id, epoch: producer.epoch, next: 0, over: false }
    }
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) queue: u16,
    pub(super) shard: u16,
    state: Mutex<State>,
    /// There is more to take, or to take now.
    work: Notify,
}

#[derive(Debug, Default)]
struct State {
    open: Option<Filling>,
    full: VecDeque<Filling>,
    running: bool,
    /// The open batch goes as it is.
    flush: bool,
    line: Option<Line>,
    /// Of the newest batch.
    last: Option<Ack>,
    /// An empty builder to use again.
    spare: Option<BatchBuilder>,
}

/// How large batches are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// A batch takes no further record that would make it larger.
    pub(super) batch_bytes: usize,
    /// What the node takes.
    pub(super) batch_bytes_max: u32,
}

/// What is to be delivered next.
#[derive(Debug)]
pub(super) enum Next {
    Batch(Filling),
    /// A batch lingers until then, unless it is full before.
    At(Instant),
    Nothing,
}

impl Lane {
    pub(super) fn new(queue: u16, shard: u16, line: Option<Line>) -> Self {
        let state = State { line, ..State::default() };
        Self { queue, shard, state: Mutex::new(state), work: Notify::new() }
    }

    /// Takes a record; says whether a delivery task has to be started.
    pub(super) fn append(
        &self,
        record: &Record<'_>,
        cost: usize,
        sizes: Sizes,
    ) -> Result<(Ack, bool), BatchError> {
        let mut state = self.state();
        let size = record.size();
        if state.open.as_ref().is_some_and(|open| open.is_full(size, sizes)) {
            let full = state.open.take();
            state.full.extend(full);
        }
        let begins = state.open.is_none();
        let mut open = match state.open.take() {
            Some(open) => open,
            None => state.begin(sizes),
        };
        if let Err(error) = open.builder.append(&record.stamped()) {
            // It stood at the front of its batch: no other one takes it either.
            if open.builder.is_empty() {
                state.spare = Some(open.builder);
            } else {
                state.open = Some(open);
            }
            return Err(error);
        }
        open.cost += cost;
        let ack = open.promise.ack(open.builder.record_count().saturating_sub(1));
        if begins {
            state.last = Some(open.promise.ack(0));
        }
        state.open = Some(open);
        let starts = !std::mem::replace(&mut state.running, true);
        drop(state);
        // Whoever takes finds further records by itself.
        if begins && !starts {
            self.work.notify_one();
        }
        Ok((ack, starts))
    }

    /// Lets what is there go without lingering; an acknowledgement of the newest batch.
    pub(super) fn flush(&self) -> Option<Ack> {
        let mut state = self.state();
        if !state.running {
            return None;
        }
        state.flush = true;
        let last = state.last.as_ref().map(Ack::again);
        drop(state);
        self.work.notify_one();
        last
    }

    /// The next batch to deliver.
    pub(super) fn take(&self, linger: Duration, now: Instant) -> Next {
        let mut state = self.state();
        if let Some(full) = state.full.pop_front() {
            return Next::Batch(full);
        }
        let Some(open) = state.open.take() else { return Next::Nothing };
        let due = open.since + linger;
        if !state.flush && now < due {
            state.open = Some(open);
            return Next::At(due);
        }
        state.flush = false;
        Next::Batch(open)
    }

    /// Ends the task that delivers, unless there is something to deliver after all.
    pub(super) fn rest(&self, line: Option<Line>) -> bool {
        let mut state = self.state();
        if state.open.is_some() || !state.full.is_empty() {
            return false;
        }
        state.line = line;
        state.running = false;
        state.flush = false;
        state.last = None;
        true
    }

    /// The numbers of this queue, for the task that delivers.
    pub(super) fn line(&self) -> Option<Line> {
        self.state().line
    }

    /// Keeps a builder to use again.
    pub(super) fn give_back(&self, mut builder: BatchBuilder) {
        builder.clear();
        self.state().spare.get_or_insert(builder);
    }

    /// Waits until there is more to take, or to take now.
    pub(super) async fn work(&self) {
        self.work.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self, sizes: Sizes) -> Filling {
        let new = || BatchBuilder::new(sizes.batch_bytes_max);
        Filling {
            builder: self.spare.take().unwrap_or_else(new),
            promise: Promise::default(),
            since: Instant::now(),
            cost: 0,
        }
    }
}

impl Filling {
    fn is_full(&self, size: usize, sizes: Sizes) -> bool {
        let most = sizes.batch_bytes.min(sizes.batch_bytes_max as usize);
        !self.builder.is_empty() && self.builder.batch_bytes().saturating_add(size) > most
    }
}

/// For handing a lane to its task.
pub(super) type SharedLane = Arc<Lane>;

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { batch_bytes: 200, batch_bytes_max: 1000 };

    fn append(lane: &Lane, value: &[u8]) -> bool {
        lane.append(&Record::new(value), value.len(), SIZES).unwrap().1
    }

    fn taken(lane: &Lane, linger: Duration) -> Option<u32> {
        match lane.take(linger, Instant::now()) {
            Next::Batch(filling) => Some(filling.builder.record_count()),
            _ => None,
        }
    }

    #[test]
    fn a_batch_goes_when_it_is_full_was_waited_for_or_flushed() {
        let linger = Duration::from_secs(1000);
        let lane = Lane::new(0, 0, None);
        assert!(append(&lane, &[0; 40]), "the first record starts the task");
        assert!(!append(&lane, &[0; 40]));
        assert!(taken(&lane, linger).is_none());
        assert!(!append(&lane, &[0; 40]), "too much for one batch");
        assert_eq!(taken(&lane, linger), Some(2));
        assert!(taken(&lane, linger).is_none());
        assert!(matches!(lane.take(linger, Instant::now() + linger), Next::Batch(_)));
        append(&lane, b"x");
        assert!(lane.flush().is_some());
        assert_eq!(taken(&lane, linger), Some(1));
        append(&lane, b"x");
        assert!(!lane.rest(None), "there is something");
        assert_eq!(taken(&lane, Duration::ZERO), Some(1));
        assert!(lane.rest(None));
        assert!(append(&lane, b"x"), "the next one starts the task again");
    }

    #[test]
    fn a_record_larger_than_a_batch_should_be_goes_alone() {
        let lane = Lane::new(0, 0, None);
        append(&lane, b"small");
        append(&lane, &[0; 500]);
        append(&lane, b"small");
        for _ in 0..3 {
            assert_eq!(taken(&lane, Duration::ZERO), Some(1));
        }
        let giant = lane.append(&Record::new(&[0; 2000]), 0, SIZES);
        assert!(matches!(giant, Err(BatchError::TooLarge { .. })));
        assert!(taken(&lane, Duration::ZERO).is_none());
    }
}
