//! Where each life of the log begins in a queue: what a reader saw of a life that has ended is
//! there still, or is not.
//!
//! A restart may find less than consumers were shown (a topic at level `memory`, a power loss at
//! level `written`), and the next records then get offsets that had been given out before. A
//! reader says which life its last record was of; from the lives that left records in the queue it
//! follows how far that reader's records survived. (Kafka's leader epoch cache, KIP-101.)
//!
//! Invariant: epochs and offsets both grow. Absent: lives that left nothing in the queue.

/// Lives remembered of one queue; of older ones only the end of the newest is known.
const LIVES_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    epoch: u32,
    base_offset: u64,
}

/// The lives that left records in one queue.
#[derive(Debug, Default)]
pub(super) struct Lives(Vec<Life>);

impl Lives {
    /// A record of life `epoch` has the offset `base_offset`.
    pub(super) fn note(&mut self, epoch: u32, base_offset: u64) {
        if self.0.last().is_some_and(|last| last.epoch >= epoch) {
            return;
        }
        if self.0.len() == LIVES_MAX {
            self.0.remove(0);
        }
        self.0.push(Life { epoch, base_offset });
    }

    /// Epoch and first offset of each.
    pub(super) fn all(&self) -> Vec<(u32, u64)> {
        self.0.iter().map(|life| (life.epoch, life.base_offset)).collect()
    }

    /// The lives that a checkpoint names.
    pub(super) fn restored(lives: &[(u32, u64)]) -> Self {
        let lives = &lives[lives.len().saturating_sub(LIVES_MAX)..];
        Self(lives.iter().map(|&(epoch, base_offset)| Life { epoch, base_offset }).collect())
    }

    /// The offset behind the last record that lives up to `epoch` left, in a queue that ends at
    /// `next_offset`.
    pub(super) fn end_of(&self, epoch: u32, next_offset: u64) -> u64 {
        let later = self.0.partition_point(|life| life.epoch <= epoch);
        self.0.get(later).map_or(next_offset, |life| life.base_offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_ends_where_the_next_one_begins() {
        let mut lives = Lives::default();
        for (epoch, offset) in [(2, 0), (2, 5), (5, 10), (6, 30)] {
            lives.note(epoch, offset);
        }
        let ends: Vec<u64> = (1..=7).map(|epoch| lives.end_of(epoch, 42)).collect();
        assert_eq!(ends, [0, 10, 10, 10, 30, 42, 42]);
    }

    #[test]
    fn old_lives_are_forgotten_from_the_front() {
        let mut lives = Lives::default();
        for epoch in 1..=100 {
            lives.note(epoch, u64::from(epoch) * 10);
        }
        assert_eq!(lives.0.len(), LIVES_MAX);
        assert_eq!(lives.end_of(99, 2000), 1000);
        assert_eq!(lives.end_of(3, 2000), 370, "the end of the newest that is forgotten");
    }
}
