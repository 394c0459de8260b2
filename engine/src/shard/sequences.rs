//! Idempotent producers: which batch of a producer comes next in a queue, and which came before.
//!
//! Kafka's rules. A batch names its producer, the producer's epoch and the sequence number of its
//! first record; per producer and queue the numbers have no gap, and after `i32::MAX` comes 0. One
//! of the last [`PRODUCER_BATCHES_MAX`] batches that comes again is recognized. A higher epoch
//! begins at 0 and shuts out the lower ones.
//!
//! Invariants: a state changes only when a batch was appended, so what the log holds and what is
//! said here agree, and reading the log rebuilds it; at most [`PRODUCERS_PER_SHARD_MAX`] states.
//! Stricter than Kafka: a producer that was never seen must begin at 0, unless the table has
//! overflowed and may have forgotten it; then any number is a beginning, and a repetition from
//! before is stored again.
//! Absent: ids (the broker gives them out); queues that are gone (their producers age out).

use std::num::NonZeroUsize;

use lru::LruCache;
use thiserror::Error;

use super::checkpoint_format::Part;
use crate::batch::BatchRef;
use crate::limits::{PRODUCER_BATCHES_MAX, PRODUCERS_PER_SHARD_MAX};
use crate::log::recover::Found;

/// Why a batch of an idempotent producer was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SequenceError {
    /// Batches before this one are missing, or it is older than what is remembered.
    #[error("sequence {got} where {expected} is next")]
    OutOfOrder {
        /// The next sequence number.
        expected: i32,
        /// The batch's.
        got: i32,
    },
    /// The producer goes on under a higher epoch: this one is a leftover.
    #[error("epoch {got} is over, the producer's is {current}")]
    Fenced {
        /// The newest epoch.
        current: i16,
        /// The batch's.
        got: i16,
    },
    /// An id without epoch or sequence.
    #[error("a producer id without an epoch and a sequence")]
    Incomplete,
}

/// What a batch says about its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    pub(super) producer: i64,
    pub(super) epoch: i16,
    pub(super) first: i32,
    pub(super) records: u32,
}

impl Numbered {
    /// `None` for a batch of no idempotent producer.
    pub(super) fn of(batch: &BatchRef<'_>) -> Option<Self> {
        let producer = batch.producer_id();
        (producer >= 0).then(|| Self {
            producer,
            epoch: batch.producer_epoch(),
            first: batch.base_sequence(),
            records: batch.record_count(),
        })
    }

    /// The sequence number behind the last record.
    fn next(&self) -> i32 {
        // Modulo 2^31: after i32::MAX comes 0.
        (self.first.cast_unsigned().wrapping_add(self.records) & i32::MAX as u32).cast_signed()
    }
}

/// A batch that was appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Sequence number of its first record.
    pub(super) first: i32,
    pub(super) records: u32,
    /// Queue offset of its first record.
    pub(super) base_offset: u64,
    /// The group it is in.
    pub(super) group: u64,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Append it.
    Next,
    /// It is there already.
    Repeated(Stored),
}

#[derive(Clone, Debug)]
struct State {
    epoch: i16,
    next: i32,
    /// The last batches, oldest first.
    batches: [Stored; PRODUCER_BATCHES_MAX],
    count: u8,
}

impl State {
    fn push(&mut self, batch: Stored) {
        if usize::from(self.count) == PRODUCER_BATCHES_MAX {
            self.batches.rotate_left(1);
            self.count -= 1;
        }
        if let Some(slot) = self.batches.get_mut(usize::from(self.count)) {
            *slot = batch;
            self.count += 1;
        }
    }

    fn find(&self, numbered: &Numbered) -> Option<Stored> {
        let kept = self.batches.iter().take(usize::from(self.count));
        let same =
            |batch: &&Stored| batch.first == numbered.first && batch.records == numbered.records;
        kept.rev().find(same).copied()
    }
}

const _: () = assert!(size_of::<State>() <= 136, "65,536 of them are some megabytes");

/// The producers of a shard, by queue and id.
#[derive(Debug)]
pub(super) struct Sequences {
    states: LruCache<(u32, i64), State, std::hash::RandomState>,
    /// The table has overflowed: who is not in it may have been.
    forgot: bool,
}

impl Default for Sequences {
    fn default() -> Self {
        Self::with_capacity(const { NonZeroUsize::new(PRODUCERS_PER_SHARD_MAX).unwrap() })
    }
}

impl Sequences {
    fn with_capacity(producers_max: NonZeroUsize) -> Self {
        // Grows as producers come: reserving for the most would cost every shard its memory.
        let mut states = LruCache::unbounded_with_hasher(std::hash::RandomState::new());
        states.resize(producers_max);
        Self { states, forgot: false }
    }

    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether a batch may be appended to `queue` now. Changes nothing but who is idle.
    pub(super) fn check(&mut self, queue: u32, batch: &Numbered) -> Result<Verdict, SequenceError> {
        if batch.epoch < 0 || batch.first < 0 {
            return Err(SequenceError::Incomplete);
        }
        let (got, forgot) = (batch.first, self.forgot);
        let Some(state) = self.states.get(&(queue, batch.producer)) else {
            return in_order(if forgot { got } else { 0 }, got);
        };
        if batch.epoch < state.epoch {
            return Err(SequenceError::Fenced { current: state.epoch, got: batch.epoch });
        }
        if batch.epoch > state.epoch {
            return in_order(0, got);
        }
        match state.find(batch) {
            Some(stored) => Ok(Verdict::Repeated(stored)),
            None => in_order(state.next, got),
        }
    }

    /// Who is remembered, the one that has been idle for longest first.
    pub(super) fn keys(&self) -> Vec<(u32, i64)> {
        self.states.iter().rev().map(|(key, _)| *key).collect()
    }

    /// What is remembered of a producer in a queue, for a checkpoint.
    pub(super) fn part(&self, (queue, producer): (u32, i64)) -> Option<Part<'static>> {
        let state = self.states.peek(&(queue, producer))?;
        let batches = state.batches.iter().take(usize::from(state.count)).copied().collect();
        Some(Part::Producer { queue, producer, epoch: state.epoch, next: state.next, batches })
    }

    /// Whether somebody was forgotten.
    pub(super) fn has_forgotten(&self) -> bool {
        self.forgot
    }

    /// Somebody had been forgotten when a checkpoint was written.
    pub(super) fn note_forgotten(&mut self) {
        self.forgot = true;
    }

    /// What a checkpoint says of a producer replaces what is known.
    pub(super) fn restore(&mut self, key: (u32, i64), epoch: i16, next: i32, batches: &[Stored]) {
        let empty = [Stored::default(); PRODUCER_BATCHES_MAX];
        let mut state = State { epoch, next, batches: empty, count: 0 };
        for batch in batches {
            state.push(*batch);
        }
        self.forgot |=
            self.states.push(key, state).is_some_and(|(pushed_out, _)| pushed_out != key);
    }

    /// An entry that the scan of the log found.
    pub(super) fn recovered(&mut self, found: &Found<'_>) {
        let batch = BatchRef::parse_unverified(found.batch).ok();
        if let Some(numbered) = batch.and_then(|batch| Numbered::of(&batch)) {
            let (queue, base_offset) = (found.header.queue, found.header.base_offset);
            self.appended(queue, &numbered, base_offset, found.sequence);
        }
    }

    /// A batch was appended, or found in the log.
    pub(super) fn appended(&mut self, queue: u32, batch: &Numbered, base_offset: u64, group: u64) {
        let key = (queue, batch.producer);
        let Numbered { first, records, epoch, .. } = *batch;
        let stored = Stored { first, records, base_offset, group };
        if let Some(state) = self.states.get_mut(&key) {
            if state.epoch != epoch {
                (state.epoch, state.count) = (epoch, 0);
            }
            state.next = batch.next();
            state.push(stored);
            return;
        }
        let batches = [Stored::default(); PRODUCER_BATCHES_MAX];
        let mut state = State { epoch, next: batch.next(), batches, count: 0 };
        state.push(stored);
        self.forgot |= self.states.push(key, state).is_some();
    }
}

fn in_order(expected: i32, got: i32) -> Result<Verdict, SequenceError> {
    if got == expected {
        Ok(Verdict::Next)
    } else {
        Err(SequenceError::OutOfOrder { expected, got })
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: u32 = 3;

    fn batch(epoch: i16, first: i32, records: u32) -> Numbered {
        Numbered { producer: 9, epoch, first, records }
    }

    /// Appends what may be appended; says the offset it has.
    fn produce(
        table: &mut Sequences,
        end: &mut u64,
        batch: Numbered,
    ) -> Result<u64, SequenceError> {
        match table.check(QUEUE, &batch)? {
            Verdict::Repeated(stored) => Ok(stored.base_offset),
            Verdict::Next => {
                let base_offset = *end;
                table.appended(QUEUE, &batch, base_offset, 1);
                *end += u64::from(batch.records);
                Ok(base_offset)
            }
        }
    }

    #[test]
    fn the_last_five_are_recognized() {
        let (mut table, mut end) = (Sequences::default(), 0);
        for number in 0..7_i32 {
            let stored = produce(&mut table, &mut end, batch(0, number * 2, 2));
            assert_eq!(stored, Ok(number as u64 * 2));
        }
        for number in 2..7 {
            let again = produce(&mut table, &mut end, batch(0, number * 2, 2));
            assert_eq!(again, Ok(number as u64 * 2), "batch {number}");
        }
        let refused = |got| Err(SequenceError::OutOfOrder { expected: 14, got });
        assert_eq!(produce(&mut table, &mut end, batch(0, 2, 2)), refused(2), "too long ago");
        assert_eq!(produce(&mut table, &mut end, batch(0, 16, 2)), refused(16), "a gap");
        assert_eq!(produce(&mut table, &mut end, batch(0, 12, 1)), refused(12), "another batch");
        assert_eq!((produce(&mut table, &mut end, batch(0, 14, 1)), end), (Ok(14), 15));
    }

    #[test]
    fn a_new_epoch_begins_at_zero_and_fences() {
        let (mut table, mut end) = (Sequences::default(), 0);
        produce(&mut table, &mut end, batch(1, 0, 3)).unwrap();
        let gap = SequenceError::OutOfOrder { expected: 0, got: 3 };
        assert_eq!(produce(&mut table, &mut end, batch(2, 3, 1)), Err(gap));
        assert_eq!(produce(&mut table, &mut end, batch(2, 0, 3)), Ok(3), "not a repetition");
        let fenced = SequenceError::Fenced { current: 2, got: 1 };
        for first in [0, 3] {
            assert_eq!(produce(&mut table, &mut end, batch(1, first, 3)), Err(fenced));
        }
        assert_eq!(produce(&mut table, &mut end, batch(2, 0, 3)), Ok(3));
    }

    #[test]
    fn sequences_wrap_as_kafkas_do() {
        let mut table = Sequences::default();
        let last = batch(0, i32::MAX - 1, 2);
        assert_eq!(last.next(), 0);
        table.appended(QUEUE, &last, 10, 1);
        let over = batch(0, 0, 1);
        assert_eq!(table.check(QUEUE, &over), Ok(Verdict::Next));
        let across = batch(0, i32::MAX, 3);
        table.appended(QUEUE, &batch(0, i32::MAX - 3, 3), 10, 1);
        assert_eq!(table.check(QUEUE, &across), Ok(Verdict::Next));
        table.appended(QUEUE, &across, 13, 1);
        assert_eq!(table.check(QUEUE, &batch(0, 2, 1)), Ok(Verdict::Next));
        assert!(matches!(table.check(QUEUE, &across), Ok(Verdict::Repeated(_))));
    }

    #[test]
    fn a_stranger_begins_at_zero_unless_somebody_was_forgotten() {
        let mut table = Sequences::with_capacity(NonZeroUsize::new(2).unwrap());
        let of = |producer, first| Numbered { producer, ..batch(0, first, 1) };
        let gap = SequenceError::OutOfOrder { expected: 0, got: 5 };
        assert_eq!(table.check(QUEUE, &of(1, 5)), Err(gap));
        for incomplete in [batch(-1, 0, 1), batch(0, -1, 1)] {
            assert_eq!(table.check(QUEUE, &incomplete), Err(SequenceError::Incomplete));
        }
        table.appended(QUEUE, &of(1, 0), 0, 1);
        table.appended(QUEUE, &of(2, 0), 1, 1);
        // Who sends something again is not idle.
        table.check(QUEUE, &of(1, 0)).unwrap();
        table.appended(QUEUE, &of(3, 0), 2, 1);
        assert_eq!(table.len(), 2);
        assert!(matches!(table.check(QUEUE, &of(1, 0)), Ok(Verdict::Repeated(_))));
        assert_eq!(table.check(QUEUE, &of(2, 5)), Ok(Verdict::Next), "forgotten");
    }
}
