//! Which sealed segments hold a queue's records: one run per (queue, sealed segment), in memory.
//!
//! Invariant: runs are in order of segment, offset and time alike.
//! Absent: where in the segment (its index says that).

use std::collections::VecDeque;

use super::file_format::Row;

/// What a queue has in one sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The segment.
    pub(crate) number: u64,
    /// The queue's first span there, counted over all blocks of the segment's index.
    pub(crate) first: u32,
    /// How many it has there.
    pub(crate) spans: u32,
    pub(crate) base_offset: u64,
    /// The offset behind its last record there.
    pub(crate) end_offset: u64,
    pub(crate) batch_bytes: u64,
    /// Store time of its last span there, in milliseconds since the Unix epoch.
    pub(crate) newest_ms: u64,
}

impl Run {
    pub(crate) fn new(number: u64, row: &Row) -> Self {
        Self {
            number,
            first: row.first,
            spans: row.spans,
            base_offset: row.base_offset,
            end_offset: row.end_offset,
            batch_bytes: row.batch_bytes,
            newest_ms: row.newest_ms,
        }
    }
}

/// The runs of one queue.
#[derive(Debug, Default)]
pub(crate) struct Runs(VecDeque<Run>);

impl Runs {
    /// Adds the run of a segment behind all others.
    pub(crate) fn push(&mut self, run: Run) {
        debug_assert!(self.0.back().is_none_or(|last| last.number < run.number));
        self.0.push_back(run);
    }

    /// The spans of a segment are elsewhere in its index from now on.
    pub(crate) fn replace(&mut self, number: u64, row: &Row) {
        let at = self.0.partition_point(|run| run.number < number);
        if let Some(run) = self.0.get_mut(at).filter(|run| run.number == number) {
            (run.first, run.spans) = (row.first, row.spans);
        }
    }

    /// The first one.
    pub(crate) fn first(&self) -> Option<&Run> {
        self.0.front()
    }

    /// The last one.
    pub(crate) fn last(&self) -> Option<&Run> {
        self.0.back()
    }

    /// The last one that begins at or before `offset`.
    pub(crate) fn holding(&self, offset: u64) -> Option<&Run> {
        let after = self.0.partition_point(|run| run.base_offset <= offset);
        after.checked_sub(1).and_then(|at| self.0.get(at))
    }

    /// The first one with something stored at or after `timestamp_ms`.
    pub(crate) fn at_time(&self, timestamp_ms: u64) -> Option<&Run> {
        self.0.get(self.0.partition_point(|run| run.newest_ms < timestamp_ms))
    }

    /// Forgets what lies before `offset`; returns the bytes of those batches. Of a segment that
    /// holds the offset they are estimated by the number of records.
    pub(crate) fn drop_before(&mut self, offset: u64) -> u64 {
        let mut bytes = 0;
        while let Some(run) = self.0.pop_front_if(|run| run.end_offset <= offset) {
            bytes += run.batch_bytes;
        }
        if let Some(run) = self.0.front_mut().filter(|run| run.base_offset < offset) {
            let (gone, all) = (offset - run.base_offset, run.end_offset - run.base_offset);
            let share = u128::from(run.batch_bytes) * u128::from(gone) / u128::from(all);
            run.base_offset = offset;
            run.batch_bytes -= share as u64;
            bytes += share as u64;
        }
        bytes
    }

    /// Forgets segments below `number`; returns the bytes of their batches.
    pub(crate) fn drop_below(&mut self, number: u64) -> u64 {
        let mut bytes = 0;
        while let Some(run) = self.0.pop_front_if(|run| run.number < number) {
            bytes += run.batch_bytes;
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_by_offset_and_by_time_and_forgets() {
        let mut runs = Runs::default();
        assert!(runs.holding(5).is_none() && runs.at_time(0).is_none());
        for (number, base_offset, newest_ms) in [(1, 10, 100), (2, 20, 200), (5, 30, 300)] {
            let (first, spans, batch_bytes) = (0, 1, 70);
            let end_offset = base_offset + 10;
            runs.push(Run {
                number,
                first,
                spans,
                base_offset,
                end_offset,
                batch_bytes,
                newest_ms,
            });
        }
        let holding = |offset| runs.holding(offset).map(|run| run.number);
        assert_eq!([9, 10, 29, 30, 99].map(holding), [None, Some(1), Some(2), Some(5), Some(5)]);
        let at_time = |ms| runs.at_time(ms).map(|run| run.number);
        assert_eq!(
            [0, 100, 101, 300, 301].map(at_time),
            [Some(1), Some(1), Some(2), Some(5), None]
        );
        assert_eq!(runs.drop_before(15), 35);
        assert_eq!(runs.first().map(|run| (run.base_offset, run.batch_bytes)), Some((15, 35)));
        assert_eq!(runs.drop_before(20), 35);
        assert_eq!(runs.drop_below(5), 70);
        assert_eq!(runs.first().map(|run| run.base_offset), Some(30));
    }
}
