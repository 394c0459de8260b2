//! `/metrics`: the node's figures in the OpenMetrics text format, which Prometheus reads.
//!
//! Names and labels are part of the interface. Counters end in `_total`, times are seconds, sizes
//! bytes, shares ratios; labels are `shard`, `reactor`, `operation`, `stage`, `topic`, `group`.
//! Reading order: [`text`] -> `figures` (the node's counters) -> `topics` (topics and groups, so many).
//! Absent: labels per queue (their number has no bound).

mod figures;
mod topics;

use std::fmt;
use std::sync::Arc;

use net::client::{NodeHistogram, NodeStats};
use net::wire::{Operation, Stage};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text::encode};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::process::Process;
use super::topics::Topics;

/// What the text is.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the buckets in nanoseconds: 1-2-5 steps from 10 us to 10 s.
const BOUNDS: [u64; 19] = [
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// The text of a scrape.
pub(super) fn text(
    stats: Arc<NodeStats>,
    topics: Arc<Topics>,
    process: Process,
    draining: bool,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { stats, topics, process, draining }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Scrape {
    stats: Arc<NodeStats>,
    topics: Arc<Topics>,
    process: Process,
    draining: bool,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let mut build = encoder.encode_descriptor(
            "uringmq_build_info",
            "The program that runs",
            None,
            MetricType::Gauge,
        )?;
        build.encode_family(&version)?.encode_gauge(&1_i64)?;
        let draining = f64::from(u8::from(self.draining));
        gauge(&mut encoder, "uringmq_draining", "1: the node is about to stop", draining)?;
        figures::encode(&self.stats.counters, &mut encoder)?;
        topics::encode(&self.topics, &mut encoder)?;
        self.times(&mut encoder)?;
        self.process(&mut encoder)
    }
}

impl Scrape {
    fn times(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut totals = encoder.encode_descriptor(
            "uringmq_request_duration_seconds",
            "Time of a request on the node, from the turn that found it to the one that found its \
             result",
            None,
            MetricType::Histogram,
        )?;
        for measured in self.measured(|stage| stage == Stage::Total) {
            let (operation, _, shard) = places(measured);
            let labels = [("operation", operation.to_owned()), ("shard", shard)];
            histogram(&mut totals.encode_family(&labels)?, measured)?;
        }
        let mut stages = encoder.encode_descriptor(
            "uringmq_request_stage_duration_seconds",
            "Time of a request in one stage of its way through the node",
            None,
            MetricType::Histogram,
        )?;
        for measured in self.measured(|stage| stage != Stage::Total) {
            let (operation, stage, shard) = places(measured);
            let labels = [
                ("operation", operation.to_owned()),
                ("shard", shard),
                ("stage", stage.to_owned()),
            ];
            histogram(&mut stages.encode_family(&labels)?, measured)?;
        }
        Ok(())
    }

    fn measured(&self, which: impl Fn(Stage) -> bool) -> impl Iterator<Item = &NodeHistogram> {
        let known = |measured: &&NodeHistogram| measured.operation.is_some();
        let wanted = move |measured: &&NodeHistogram| measured.stage.is_some_and(&which);
        self.stats.histograms.iter().filter(known).filter(wanted)
    }

    fn process(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let process = &self.process;
        if let Some(seconds) = process.cpu_seconds {
            let help = "Total user and system CPU time spent in seconds";
            let (name, kind) = ("process_cpu_seconds", MetricType::Counter);
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            metric.encode_counter::<NoLabelSet, f64, f64>(&seconds, None)?;
        }
        let whole = |value: Option<u64>| value.map(|value| value as f64);
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Resident memory size in bytes",
                whole(process.resident_bytes),
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory size in bytes",
                whole(process.virtual_bytes),
            ),
            ("process_open_fds", "Number of open file descriptors", whole(process.open_fds)),
            ("process_max_fds", "Maximum number of open file descriptors", whole(process.max_fds)),
            (
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds",
                process.start_seconds,
            ),
        ] {
            if let Some(value) = value {
                gauge(encoder, name, help, value)?;
            }
        }
        Ok(())
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
}

fn places(measured: &NodeHistogram) -> (&'static str, &'static str, String) {
    let operation = measured.operation.map_or("?", Operation::name);
    let stage = measured.stage.map_or("?", Stage::name);
    (operation, stage, measured.shard.to_string())
}

/// The node's own histogram has two digits: a value counts below a bound if all that it stands for
/// does. The sum is of the same values, so that it never goes back.
fn histogram(metric: &mut MetricEncoder<'_>, measured: &NodeHistogram) -> fmt::Result {
    let mut buckets: Vec<(f64, u64)> =
        BOUNDS.iter().map(|nanos| (*nanos as f64 / 1e9, 0)).collect();
    buckets.push((f64::INFINITY, 0));
    let (mut count, mut nanos) = (0, 0.0);
    for step in measured.histogram.iter_recorded() {
        let at = BOUNDS.partition_point(|bound| *bound < step.value_iterated_to());
        if let Some((_, bucket)) = buckets.get_mut(at) {
            *bucket += step.count_at_value();
        }
        count += step.count_at_value();
        nanos += step.value_iterated_to() as f64 * step.count_at_value() as f64;
    }
    metric.encode_histogram::<NoLabelSet>(nanos / 1e9, count, &buckets, None)
}

#[cfg(test)]
mod tests;
