//! What is counted: latencies from the intended send time, stages, rates, costs.
//!
//! Only the window counts: a request's latency if it was *due* in the window, however late its
//! answer came; a message's acknowledgement if it *came* in the window.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use net::wire::Timings;

use super::control::Counters;
use super::intervals::{Interval, Intervals};
use super::slots::Sent;
use crate::report::{Stage, Verified};
use crate::yardstick::probe::histogram;

/// Stages a histogram is kept for. One node replicates to nobody.
pub const STAGES: [Stage; 6] =
    [Stage::Parse, Stage::Append, Stage::FlushWait, Stage::Device, Stage::Send, Stage::Rest];

/// What one run of the generator found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Nanoseconds from the intended send to the acknowledgement, of each request.
    pub latency: Histogram<u64>,
    /// Nanoseconds of each of [`STAGES`]; empty if the broker does not tell.
    pub stages: [Histogram<u64>; STAGES.len()],
    /// Messages acknowledged in the window.
    pub messages: u64,
    /// Their bytes.
    pub payload_bytes: u64,
    /// Messages consumed in the window.
    pub consumed: u64,
    /// Length of the window.
    pub elapsed: Duration,
    /// When the window began.
    pub began: SystemTime,
    /// The window in pieces.
    pub intervals: Vec<Interval>,
    /// Nanoseconds from a message's intended send to its arrival at a consumer, if messages say
    /// when they were due.
    pub end_to_end: Histogram<u64>,
    /// How late the generator itself was with each request, in nanoseconds.
    pub lateness: Histogram<u64>,
    /// Requests that were due and never sent; they count with the time they waited.
    pub unsent: u64,
    /// Requests the broker refused.
    pub refused: u64,
    /// CPU of the broker in the window.
    pub broker_cpu: Option<Duration>,
    /// CPU of kernel workers in the window and the drain after it.
    pub kernel_cpu: Duration,
    /// CPU of the generator in the window.
    pub generator_cpu: Duration,
    /// How much the node's counters grew, over the window and the drain after it.
    pub counters: Counters,
    /// What the verifying consumer found.
    pub verified: Option<Verified>,
    /// Whether it was ended before its time.
    pub interrupted: bool,
}

impl Outcome {
    /// Messages acknowledged a second.
    #[must_use]
    pub fn messages_per_s(&self) -> f64 {
        per_s(self.messages, self.elapsed)
    }

    /// Messages consumed a second.
    #[must_use]
    pub fn consumed_per_s(&self) -> f64 {
        per_s(self.consumed, self.elapsed)
    }

    /// Messages for each second of the broker's CPU.
    #[must_use]
    pub fn messages_per_broker_cpu_s(&self) -> Option<f64> {
        self.broker_cpu.filter(|cpu| !cpu.is_zero()).map(|cpu| per_s(self.messages, cpu))
    }

    /// The median latency in microseconds.
    #[must_use]
    pub fn p50_us(&self) -> f64 {
        self.latency.value_at_quantile(0.5) as f64 / 1e3
    }

    /// The 99th percentile in microseconds.
    #[must_use]
    pub fn p99_us(&self) -> f64 {
        self.latency.value_at_quantile(0.99) as f64 / 1e3
    }
}

fn per_s(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

/// Counts while the generator runs.
#[derive(Debug)]
pub struct Tally {
    window: Option<(Instant, Instant)>,
    batch: u64,
    intervals: Intervals,
    seen: u64,
    found: Outcome,
}

impl Tally {
    /// Counts requests of `batch` messages in a window of `measure`; nothing until it is set.
    #[must_use]
    pub fn new(batch: u32, measure: Duration) -> Self {
        let found = Outcome {
            latency: histogram(),
            stages: std::array::from_fn(|_| histogram()),
            messages: 0,
            payload_bytes: 0,
            consumed: 0,
            elapsed: Duration::ZERO,
            began: SystemTime::UNIX_EPOCH,
            intervals: Vec::new(),
            end_to_end: histogram(),
            lateness: histogram(),
            unsent: 0,
            refused: 0,
            broker_cpu: None,
            kernel_cpu: Duration::ZERO,
            generator_cpu: Duration::ZERO,
            counters: Counters::new(),
            verified: None,
            interrupted: false,
        };
        Self {
            window: None,
            batch: u64::from(batch),
            intervals: Intervals::over(measure),
            seen: 0,
            found,
        }
    }

    /// What counts from here on.
    pub(super) fn set_window(&mut self, from: Instant, to: Instant) {
        self.window = Some((from, to));
        self.found.elapsed = to - from;
        self.found.began = SystemTime::now();
        self.intervals.begin(from);
    }

    /// The window ends here instead.
    pub(super) fn cut_window(&mut self, to: Instant) {
        if let Some((from, end)) = self.window.as_mut() {
            *end = to;
            self.found.elapsed = to.saturating_duration_since(*from);
        }
        self.found.interrupted = true;
    }

    pub(super) fn answered(&mut self, sent: &Sent, timings: Option<&Timings>, now: Instant) {
        if self.counts(now) {
            self.found.messages += self.batch;
            self.found.payload_bytes += sent.payload_bytes;
            self.intervals.acknowledged(self.batch, now);
        }
        if !self.counts(sent.intended) {
            return;
        }
        let latency = nanos(now, sent.intended);
        self.found.latency.saturating_record(latency);
        self.intervals.took(latency, sent.intended);
        if let Some(t) = timings {
            let broker = [t.parse_ns, t.append_ns, t.flush_wait_ns, t.device_ns, t.send_ns];
            let mut rest = latency;
            for (stage, time) in self.found.stages.iter_mut().zip(broker) {
                stage.saturating_record(u64::from(time));
                rest = rest.saturating_sub(u64::from(time));
            }
            let [.., last] = &mut self.found.stages;
            last.saturating_record(rest);
        }
    }

    /// A request was sent at `real` that could have been sent at `ready`.
    pub(super) fn sent(&mut self, ready: Instant, real: Instant) {
        if self.counts(real) {
            self.found.lateness.saturating_record(nanos(real, ready));
        }
    }

    /// A request due at `intended` has no answer at `now`, and nobody waits for it any longer.
    pub(super) fn given_up(&mut self, intended: Instant, now: Instant) {
        if self.counts(intended) {
            self.found.unsent += 1;
            self.found.latency.saturating_record(nanos(now, intended));
            self.intervals.took(nanos(now, intended), intended);
        }
    }

    pub(super) fn refused(&mut self) {
        self.found.refused += 1;
    }

    pub(super) fn refusals(&self) -> u64 {
        self.found.refused
    }

    /// A time as messages carry it.
    pub(super) fn stamp(at: Instant) -> u64 {
        nanos(at, epoch())
    }

    /// Messages that were due at `stamp` arrived at a consumer.
    pub(super) fn arrived(&mut self, messages: u64, stamp: u64, now: Instant) {
        let Some(intended) = epoch().checked_add(Duration::from_nanos(stamp)) else { return };
        if self.counts(intended) {
            self.found.end_to_end.saturating_record_n(nanos(now, intended), messages);
            self.intervals.arrived(messages, nanos(now, intended), intended);
        }
    }

    /// Messages that consumers got, ever.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    pub(super) fn consumed(&mut self, messages: u64, now: Instant) {
        self.seen += messages;
        if self.counts(now) {
            self.found.consumed += messages;
            self.intervals.consumed(messages, now);
        }
    }

    fn counts(&self, at: Instant) -> bool {
        self.window.is_some_and(|(from, to)| from <= at && at < to)
    }

    pub(super) fn found(&mut self) -> &mut Outcome {
        &mut self.found
    }

    pub(super) fn finish(self) -> Outcome {
        let intervals = self.intervals.finish(self.found.elapsed);
        Outcome { intervals, ..self.found }
    }
}

/// What stamps count from, in all runs of this process: a consumer may see those of an earlier one.
fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

fn nanos(to: Instant, from: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(base: Instant, us: u64) -> Instant {
        base + Duration::from_micros(us)
    }

    fn sent(base: Instant, intended_us: u64) -> Sent {
        let intended = at(base, intended_us);
        Sent { intended, ready: intended, real: intended, first: 0, payload_bytes: 100 }
    }

    #[test]
    fn what_was_due_in_the_window_counts_from_when_it_was_due() {
        let base = Instant::now();
        let mut tally = Tally::new(10, Duration::from_micros(100));
        tally.answered(&sent(base, 0), None, at(base, 5)); // no window yet
        tally.set_window(at(base, 100), at(base, 200));
        tally.answered(&sent(base, 99), None, at(base, 150)); // due before it
        tally.answered(&sent(base, 100), None, at(base, 160)); // sent late
        tally.answered(&sent(base, 199), None, at(base, 900)); // answered after it
        let found = tally.finish();
        assert_eq!((found.messages, found.payload_bytes), (20, 200));
        assert_eq!(found.latency.len(), 2);
        assert!(found.latency.equivalent(found.latency.min(), 60_000));
        assert!(found.latency.equivalent(found.latency.max(), 701_000));
        assert_eq!(found.elapsed, Duration::from_micros(100));
        let of_intervals: u64 = found.intervals.iter().map(|i| i.latency.len()).sum();
        assert_eq!(of_intervals, found.latency.len());
    }

    #[test]
    fn the_rest_is_what_the_broker_does_not_account_for() {
        let base = Instant::now();
        let mut tally = Tally::new(1, Duration::from_millis(1));
        tally.set_window(base, at(base, 1_000));
        let timings = Timings {
            parse_ns: 1_000,
            append_ns: 2_000,
            flush_wait_ns: 3_000,
            device_ns: 40_000,
            replicate_ns: 0,
            send_ns: 4_000,
        };
        tally.answered(&sent(base, 0), Some(&timings), at(base, 100));
        let found = tally.finish();
        let medians = found.stages.each_ref().map(|stage| stage.value_at_quantile(0.5) / 1_000);
        assert_eq!(medians, [1, 2, 3, 40, 4, 50]);
    }

    #[test]
    fn what_was_never_sent_counts_with_the_time_it_waited() {
        let base = Instant::now();
        let mut tally = Tally::new(1, Duration::from_millis(1));
        tally.set_window(base, at(base, 1_000));
        tally.given_up(at(base, 500), at(base, 3_500));
        tally.given_up(at(base, 1_000), at(base, 3_500)); // not due in the window
        let found = tally.finish();
        assert_eq!((found.unsent, found.latency.len()), (1, 1));
        assert!(found.latency.equivalent(found.latency.max(), 3_000_000));
    }
}
