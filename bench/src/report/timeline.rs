//! A run over time: its rounds, each in pieces; and whether the generator kept its own schedule.
//!
//! Coordinated omission is a generator that waits for a slow broker and so leaves out the requests
//! that would have been slow. An open loop here counts from when a request was due, so nothing is
//! left out; but a generator that is late *itself* adds its own delay to what it measures. So it
//! records how late it was with requests that nothing but itself held up, and from the percentile
//! on at which this is a good part of the latency, the line says that it is no figure of the broker.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::json;
use crate::load::intervals::Interval;

/// Lateness below this is the resolution of a sleeping thread.
const LATE_US_MIN: f64 = 1_000.0;
/// Lateness of this share of the latency spoils it.
const LATE_SHARE_MAX: f64 = 0.1;
/// Percentiles at which the schedule is judged, in percent.
const JUDGED: [f64; 4] = [50.0, 90.0, 99.0, 99.9];

/// One round of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Start of the recorded time, in seconds since 1970.
    pub began_unix_s: f64,
    /// Acknowledged messages a second.
    pub messages_per_s: f64,
    /// The recorded time, in order.
    pub pieces: Vec<Piece>,
}

/// A piece of a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// Its start, from the round's.
    pub from_s: f64,
    /// Its length.
    pub length_s: f64,
    /// Messages acknowledged in it, a second.
    pub messages_per_s: f64,
    /// Requests that were due in it.
    pub samples: u64,
    /// Their median, in microseconds.
    pub p50_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// The slowest.
    pub max_us: f64,
    /// All of them, in nanoseconds.
    #[serde(with = "json::hdr_v2_base64")]
    pub histogram_ns: Histogram<u64>,
    /// Whether a canary saw that the machine itself was slow.
    #[serde(default)]
    pub machine_was_slow: bool,
}

impl Piece {
    /// From a piece of the generator's recorded time.
    #[must_use]
    pub fn of(interval: &Interval) -> Self {
        let us = |quantile| interval.latency.value_at_quantile(quantile) as f64 / 1e3;
        let length_s = interval.length.as_secs_f64();
        Self {
            from_s: interval.from.as_secs_f64(),
            length_s,
            messages_per_s: interval.messages as f64 / length_s.max(1e-9),
            samples: interval.latency.len(),
            p50_us: us(0.5),
            p99_us: us(0.99),
            max_us: interval.latency.max() as f64 / 1e3,
            histogram_ns: interval.latency.clone(),
            machine_was_slow: false,
        }
    }
}

/// Whether the generator of an open loop sent when it meant to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// How late it sent what nothing but itself held up: median.
    pub late_p50_us: f64,
    /// 99th percentile.
    pub late_p99_us: f64,
    /// The latest.
    pub late_max_us: f64,
    /// Requests that were due and never sent: the broker left no room for them.
    pub unsent: u64,
    /// From this percentile on, latencies are those of the generator.
    pub spoilt_from_percent: Option<f64>,
}

impl Schedule {
    /// Judges an open loop by its lateness and latency, both in nanoseconds.
    #[must_use]
    pub fn of(lateness: &Histogram<u64>, latency: &Histogram<u64>, unsent: u64) -> Self {
        let us = |of: &Histogram<u64>, percent: f64| of.value_at_percentile(percent) as f64 / 1e3;
        let spoilt = |percent: &f64| {
            let late = us(lateness, *percent);
            late > LATE_US_MIN && late >= LATE_SHARE_MAX * us(latency, *percent)
        };
        Self {
            late_p50_us: us(lateness, 50.0),
            late_p99_us: us(lateness, 99.0),
            late_max_us: lateness.max() as f64 / 1e3,
            unsent,
            spoilt_from_percent: JUDGED.into_iter().find(spoilt),
        }
    }

    /// Did it send when it meant to, all the time but one request in a thousand?
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.spoilt_from_percent.is_none() && self.unsent == 0
    }

    /// What is wrong, as a remark.
    #[must_use]
    pub fn remark(&self) -> Option<String> {
        self.spoilt_from_percent.map(|percent| {
            format!(
                "the generator did not keep its own schedule: it sent up to {:.1} ms late; from \
                 p{percent} on, latencies are upper bounds that contain its own delay",
                self.late_max_us / 1e3
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yardstick::probe::histogram;

    fn of(values: &[(u64, u64)]) -> Histogram<u64> {
        let mut all = histogram();
        for (us, count) in values {
            all.saturating_record_n(us * 1_000, *count);
        }
        all
    }

    #[test]
    fn a_generator_that_stalls_is_found_out_from_the_percentile_it_reaches() {
        // Half a second in a minute: 8 of 1000 requests.
        let lateness = of(&[(20, 59_500), (250_000, 500)]);
        let latency = of(&[(200, 59_500), (250_200, 500)]);
        let schedule = Schedule::of(&lateness, &latency, 0);
        assert_eq!(schedule.spoilt_from_percent, Some(99.9));
        assert!(!schedule.is_kept());
        assert!(schedule.remark().unwrap().contains("from p99.9 on"));
    }

    #[test]
    fn a_slow_broker_is_not_the_generators_fault() {
        let schedule = Schedule::of(&of(&[(30, 1_000)]), &of(&[(250_000, 1_000)]), 0);
        assert!(schedule.is_kept() && schedule.remark().is_none());
        // A little late, but nothing beside what the broker took.
        let schedule = Schedule::of(&of(&[(1_500, 1_000)]), &of(&[(250_000, 1_000)]), 0);
        assert!(schedule.is_kept());
    }

    #[test]
    fn what_was_never_sent_was_not_kept_either() {
        let schedule = Schedule::of(&of(&[(30, 1_000)]), &of(&[(900, 1_000)]), 3);
        assert!(!schedule.is_kept() && schedule.remark().is_none());
    }
}
