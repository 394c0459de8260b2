//! The result of a workload in the layout of the OpenMessaging Benchmark's own result files, so that
//! the scripts that draw those read this.
//!
//! Publish and end-to-end latencies are in milliseconds, publish delays in microseconds. Where the
//! benchmark's driver counts a publish latency from the real send, ours counts from when the request
//! was due (its delay included); the delay is beside it.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::workload::Workload;
use crate::load::Outcome;
use crate::load::intervals::Interval;

const NS_PER_MS: f64 = 1e6;
const NS_PER_US: f64 = 1e3;
const QUANTILE_TICKS: u32 = 100;
const PERCENTILES: [(&str, f64); 7] = [
    ("50pct", 50.0),
    ("75pct", 75.0),
    ("95pct", 95.0),
    ("99pct", 99.0),
    ("999pct", 99.9),
    ("9999pct", 99.99),
    ("99999pct", 99.999),
];

/// The result as JSON.
#[must_use]
pub fn result(workload: &Workload, driver: &str, held_back: u64, outcome: &Outcome) -> Value {
    let intervals = &outcome.intervals;
    let per_s = |count: u64, interval: &Interval| count as f64 / interval.length.as_secs_f64();
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
    put("workload", json!(workload.name));
    put("driver", json!(driver));
    put("messageSize", json!(workload.message_size));
    put("topics", json!(workload.topics));
    put("partitions", json!(workload.partitions_per_topic));
    put("producersPerTopic", json!(workload.producers_per_topic));
    put("consumersPerTopic", json!(workload.consumer_per_subscription));
    put("publishRate", list(intervals, |interval| per_s(interval.messages, interval)));
    put("publishErrorRate", list(intervals, |_| 0.0));
    put("consumeRate", list(intervals, |interval| per_s(interval.consumed, interval)));
    put("backlog", json!(backlog(workload, held_back, intervals)));
    latencies(&mut all, "publishLatency", intervals, |i| &i.latency, NS_PER_MS);
    aggregate(&mut all, "PublishLatency", &outcome.latency, NS_PER_MS);
    aggregate(&mut all, "PublishDelayLatency", &outcome.lateness, NS_PER_US);
    latencies(&mut all, "endToEndLatency", intervals, |i| &i.end_to_end, NS_PER_MS);
    aggregate(&mut all, "EndToEndLatency", &outcome.end_to_end, NS_PER_MS);
    Value::Object(all)
}

/// Messages that consumers have yet to get, at the end of each interval.
#[must_use]
pub fn backlog(workload: &Workload, held_back: u64, intervals: &[Interval]) -> Vec<u64> {
    let subscriptions = match workload.consumer_per_subscription {
        0 => 0,
        _ => u64::from(workload.subscriptions_per_topic),
    };
    let (mut produced, mut consumed) = (held_back * subscriptions, 0);
    let after = |interval: &Interval| {
        produced += interval.messages * subscriptions;
        consumed += interval.consumed;
        produced.saturating_sub(consumed)
    };
    intervals.iter().map(after).collect()
}

fn list<T: Serialize>(intervals: &[Interval], of: impl Fn(&Interval) -> T) -> Value {
    json!(intervals.iter().map(of).collect::<Vec<T>>())
}

/// `publishLatency50pct: [...]` and so on, one value for each interval.
fn latencies(
    all: &mut Map<String, Value>,
    name: &str,
    intervals: &[Interval],
    of: fn(&Interval) -> &Histogram<u64>,
    unit_ns: f64,
) {
    let mut put = |suffix: &str, value: Value| all.insert(format!("{name}{suffix}"), value);
    put("Avg", list(intervals, |interval| of(interval).mean() / unit_ns));
    for (suffix, percentile) in PERCENTILES {
        let at = |i: &Interval| of(i).value_at_percentile(percentile) as f64 / unit_ns;
        put(suffix, list(intervals, at));
    }
    put("Max", list(intervals, |interval| of(interval).max() as f64 / unit_ns));
}

/// `aggregatedPublishLatency50pct` and so on, over the whole time.
fn aggregate(all: &mut Map<String, Value>, name: &str, of: &Histogram<u64>, unit_ns: f64) {
    let mut put = |suffix: &str, value: Value| {
        all.insert(format!("aggregated{name}{suffix}"), value);
    };
    put("Avg", json!(of.mean() / unit_ns));
    for (suffix, percentile) in PERCENTILES {
        put(suffix, json!(of.value_at_percentile(percentile) as f64 / unit_ns));
    }
    put("Max", json!(of.max() as f64 / unit_ns));
    let quantiles: BTreeMap<String, f64> = of
        .iter_quantiles(QUANTILE_TICKS)
        .map(|step| {
            let percentile = step.quantile_iterated_to() * 100.0;
            (format!("{percentile:?}"), step.value_iterated_to() as f64 / unit_ns)
        })
        .collect();
    put("Quantiles", json!(quantiles));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::yardstick::probe::histogram;

    fn interval(messages: u64, consumed: u64) -> Interval {
        let mut latency = histogram();
        latency.saturating_record_n(2_000_000, messages);
        let end_to_end = latency.clone();
        let (from, length) = (Duration::ZERO, Duration::from_millis(500));
        Interval { from, length, messages, consumed, latency, end_to_end }
    }

    #[test]
    fn a_backlog_is_what_every_subscription_has_yet_to_get() {
        let workload = Workload {
            subscriptions_per_topic: 2,
            consumer_per_subscription: 1,
            ..Workload::default()
        };
        let intervals = [interval(10, 5), interval(10, 30), interval(0, 25)];
        assert_eq!(backlog(&workload, 10, &intervals), [35, 25, 0]);
        let nobody = Workload { consumer_per_subscription: 0, ..workload };
        assert_eq!(backlog(&nobody, 10, &intervals), [0, 0, 0]);
    }

    #[test]
    fn aggregates_have_every_percentile_in_their_unit() {
        let mut all = Map::new();
        aggregate(&mut all, "PublishLatency", &interval(10, 0).latency, NS_PER_MS);
        assert_eq!(all.len(), PERCENTILES.len() + 3);
        let p99 = all["aggregatedPublishLatency99pct"].as_f64().unwrap();
        assert!((1.99..2.01).contains(&p99), "{p99}");
        assert!(all["aggregatedPublishLatencyQuantiles"].get("100.0").is_some(), "{all:?}");
    }
}
