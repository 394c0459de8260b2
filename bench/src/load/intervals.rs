//! The recorded time in equal pieces: what a time series, an interval log and a test of
//! significance are made from.
//!
//! Invariants: at most 600 pieces, whatever the length of the run; the latencies of all pieces
//! together are the latencies of the run; nothing is allocated while the run is recorded.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::yardstick::probe::histogram;

/// Ten pieces at least, each a second at most, unless that were too many.
const PIECES_MIN: u32 = 10;
const PIECES_MAX: u32 = 600;
const LENGTH_MIN: Duration = Duration::from_millis(10);
const LENGTH_MAX: Duration = Duration::from_secs(1);

/// One piece of the recorded time.
#[derive(Clone, Debug)]
pub struct Interval {
    /// Its start, from the start of the recorded time.
    pub from: Duration,
    /// Its length.
    pub length: Duration,
    /// Messages whose acknowledgement came in it.
    pub messages: u64,
    /// Messages that arrived at consumers in it.
    pub consumed: u64,
    /// Nanoseconds from the intended send, of the requests that were due in it.
    pub latency: Histogram<u64>,
    /// Nanoseconds from the intended send to the arrival at a consumer, of the messages that were
    /// due in it and say so.
    pub end_to_end: Histogram<u64>,
}

/// All pieces.
#[derive(Clone, Debug, Default)]
pub(super) struct Intervals {
    begin: Option<Instant>,
    length: Duration,
    all: Vec<Interval>,
}

impl Intervals {
    /// Divides a time; the last piece may be shorter. Nothing counts before it begins.
    pub(super) fn over(whole: Duration) -> Self {
        let length = (whole / PIECES_MIN).clamp(LENGTH_MIN, LENGTH_MAX).max(whole / PIECES_MAX);
        let mut all = Vec::new();
        let mut from = Duration::ZERO;
        while from < whole {
            let length = length.min(whole - from);
            all.push(Interval {
                from,
                length,
                messages: 0,
                consumed: 0,
                latency: histogram(),
                end_to_end: histogram(),
            });
            from += length;
        }
        Self { begin: None, length, all }
    }

    /// The time begins.
    pub(super) fn begin(&mut self, at: Instant) {
        self.begin = Some(at);
    }

    /// So many messages were acknowledged.
    pub(super) fn acknowledged(&mut self, messages: u64, now: Instant) {
        if let Some(interval) = self.at(now) {
            interval.messages += messages;
        }
    }

    /// So many messages arrived at consumers.
    pub(super) fn consumed(&mut self, messages: u64, now: Instant) {
        if let Some(interval) = self.at(now) {
            interval.consumed += messages;
        }
    }

    /// So many messages that were due at `intended` took so long to a consumer.
    pub(super) fn arrived(&mut self, messages: u64, nanos: u64, intended: Instant) {
        if let Some(interval) = self.at(intended) {
            interval.end_to_end.saturating_record_n(nanos, messages);
        }
    }

    /// A request that was due at `intended` took so long.
    pub(super) fn took(&mut self, nanos: u64, intended: Instant) {
        if let Some(interval) = self.at(intended) {
            interval.latency.saturating_record(nanos);
        }
    }

    fn at(&mut self, at: Instant) -> Option<&mut Interval> {
        let since = at.checked_duration_since(self.begin?)?;
        let index = since.as_nanos() / self.length.as_nanos().max(1);
        self.all.get_mut(usize::try_from(index).ok()?)
    }

    /// The pieces, without those that begin after `elapsed`.
    pub(super) fn finish(self, elapsed: Duration) -> Vec<Interval> {
        let mut all = self.all;
        all.retain(|interval| interval.from < elapsed);
        if let Some(last) = all.last_mut() {
            last.length = last.length.min(elapsed - last.from);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(whole: Duration) -> (Instant, Intervals) {
        let mut intervals = Intervals::over(whole);
        let begin = Instant::now();
        intervals.begin(begin);
        (begin, intervals)
    }

    #[test]
    fn short_runs_have_short_pieces_and_long_ones_are_bounded() {
        let shape = |whole: Duration| {
            let all = over(whole).1.all;
            let sum: Duration = all.iter().map(|interval| interval.length).sum();
            assert_eq!(sum, whole);
            (all.len(), all[0].length)
        };
        assert_eq!(shape(Duration::from_millis(1_200)), (10, Duration::from_millis(120)));
        assert_eq!(shape(Duration::from_millis(25)), (3, LENGTH_MIN));
        assert_eq!(shape(Duration::from_secs(60)), (60, LENGTH_MAX));
        assert_eq!(shape(Duration::from_secs(36_000)), (600, Duration::from_secs(60)));
        assert_eq!(over(Duration::ZERO).1.all.len(), 0);
    }

    #[test]
    fn latencies_belong_to_when_they_were_due_and_messages_to_when_they_were_acknowledged() {
        let (begin, mut intervals) = over(Duration::from_secs(2));
        let at = |ms| begin + Duration::from_millis(ms);
        intervals.took(900_000_000, at(100));
        intervals.acknowledged(5, at(1_000));
        intervals.acknowledged(7, at(2_000)); // after the end
        let all = intervals.finish(Duration::from_secs(2));
        assert_eq!(all.len(), 10);
        assert_eq!((all[0].latency.len(), all[0].messages), (1, 0));
        assert_eq!((all[5].latency.len(), all[5].messages), (0, 5));
        assert_eq!(all.iter().map(|interval| interval.messages).sum::<u64>(), 5);
    }

    #[test]
    fn an_interrupted_run_ends_within_a_piece() {
        let (_, intervals) = over(Duration::from_secs(10));
        let all = intervals.finish(Duration::from_millis(2_500));
        assert_eq!(all.len(), 3);
        assert_eq!(all[2].length, Duration::from_millis(500));
    }
}
