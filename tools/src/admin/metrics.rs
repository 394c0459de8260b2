//! `/metrics`: the node's figures in the OpenMetrics text format, which Prometheus reads.
//!
//! Names and labels are part of the interface. Counters end in `_total`, times are seconds, sizes
//! bytes, shares ratios; labels are `shard`, `operation`, `stage`. A figure of the node that has no
//! row in [`ROWS`] is shown under its own name, without a type.
//! Absent: labels per topic, queue or group (their number has no bound).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use net::client::{NodeHistogram, NodeStats};
use net::wire::{Operation, SHARD_ANY, Stage};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text::encode};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::process::Process;

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Only grows; its name gets `_total`.
    Counter,
    Gauge,
    /// A gauge that the node keeps in percent.
    Percent,
}

use Kind::{Counter, Gauge, Percent};

/// A figure of the node, its metric without the prefix, and what it is.
type Row = (&'static str, &'static str, Kind, &'static str);

const ROWS: [Row; 43] = [
    ("produced_batches", "produced_batches", Counter, "Batches appended"),
    ("produced_records", "produced_records", Counter, "Records appended"),
    ("produced_bytes", "produced_bytes", Counter, "Bytes of batches appended"),
    (
        "repeated_batches",
        "repeated_batches",
        Counter,
        "Batches of idempotent producers that came again and were not stored again",
    ),
    (
        "idempotent_producers",
        "idempotent_producers",
        Gauge,
        "Idempotent producers remembered, once per queue",
    ),
    ("offset_commits", "offset_commits", Counter, "Offset commits appended"),
    ("consumer_groups", "consumer_groups", Gauge, "Consumer groups with offsets"),
    ("committed_offsets_bytes", "committed_offsets_bytes", Gauge, "Memory of committed offsets"),
    ("fetches", "fetches", Counter, "Fetches answered with entries"),
    ("fetched_bytes", "fetched_bytes", Counter, "Bytes of entries given to fetches"),
    ("cold_reads", "cold_reads", Counter, "Reads of the device for fetches"),
    ("cold_read_bytes", "cold_read_bytes", Counter, "Bytes read from the device for fetches"),
    ("groups", "log_groups", Counter, "Groups written to the device, one write each"),
    ("group_bytes", "log_group_bytes", Counter, "Bytes of groups written to the device"),
    ("padding_bytes", "log_padding_bytes", Counter, "Bytes of padding in these"),
    ("prefilled_bytes", "log_prefilled_bytes", Counter, "Bytes written ahead of the log"),
    (
        "unwritten_bytes",
        "log_unwritten_bytes",
        Counter,
        "Bytes appended to space that was not written before, which is slower",
    ),
    ("parked_fetches", "parked_fetches", Gauge, "Fetches that wait for records"),
    ("waiting_produces", "waiting_produces", Gauge, "Requests that wait for the device"),
    ("segments", "log_segments", Gauge, "Segments of the log"),
    (
        "recycled_segments",
        "log_recycled_segments",
        Counter,
        "Segments that retention took out and used again",
    ),
    (
        "removed_segments",
        "log_removed_segments",
        Counter,
        "Segments that retention took out and removed",
    ),
    ("log_end", "log_end_bytes", Gauge, "Position at which the log ends"),
    (
        "opening_read_bytes",
        "opening_read_bytes",
        Gauge,
        "Bytes of the log that were read when it was opened",
    ),
    ("checkpoints", "checkpoints", Counter, "Checkpoints written"),
    ("rebuilt_indexes", "rebuilt_indexes", Counter, "Damaged or missing index files made again"),
    ("sealed_segments", "sealed_segments", Counter, "Index files of sealed segments written"),
    ("index_bytes", "index_bytes", Gauge, "Memory of the indexes of sealed segments"),
    ("index_reads", "index_reads", Counter, "Blocks of index files read for fetches"),
    (
        "moved_starts",
        "moved_starts",
        Counter,
        "Times the start of a queue was moved by its topic's limits",
    ),
    (
        "disk_used_percent",
        "disk_used_ratio",
        Percent,
        "Share of the file system that is used; 0 if nobody looks",
    ),
    ("disk_refused", "disk_full_refusals", Counter, "Produces refused because the disk is full"),
    (
        "poisoned",
        "shard_poisoned",
        Gauge,
        "1: the shard takes no writes any more, its device failed or stalled",
    ),
    (
        "sent_by_reference_bytes",
        "sent_by_reference_bytes",
        Counter,
        "Bytes of fetch replies sent without a copy",
    ),
    ("sent_copied_bytes", "sent_copied_bytes", Counter, "Bytes of fetch replies that were copied"),
    (
        "forwarded_requests",
        "forwarded_requests",
        Counter,
        "Requests that went to another reactor than their connection's",
    ),
    ("connections", "connections", Gauge, "Open connections of clients"),
    ("accepted_connections", "accepted_connections", Counter, "Connections accepted"),
    (
        "refused_connections",
        "refused_connections",
        Counter,
        "Connections refused at a limit, or for want of descriptors",
    ),
    ("cut_connections", "cut_connections", Counter, "Connections closed because a deadline passed"),
    (
        "directory_lost",
        "directory_lost",
        Gauge,
        "1: the data directory was removed, renamed or replaced, and no shard takes writes",
    ),
    (
        "directory_read_only",
        "directory_read_only",
        Gauge,
        "1: no files can be made in the data directory",
    ),
    ("topics", "topics", Gauge, "Topics"),
];

/// The text of a scrape.
pub(super) fn text(
    stats: Arc<NodeStats>,
    process: Process,
    draining: bool,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { stats, process, draining }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Scrape {
    stats: Arc<NodeStats>,
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
        self.figures(&mut encoder)?;
        self.times(&mut encoder)?;
        self.process(&mut encoder)
    }
}

impl Scrape {
    /// The node's counters: one metric each, one line a shard.
    fn figures(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut by_name: BTreeMap<&str, Vec<(u16, u64)>> = BTreeMap::new();
        for counter in &self.stats.counters {
            by_name.entry(&counter.name).or_default().push((counter.shard, counter.value));
        }
        for (figure, values) in by_name {
            let row = ROWS.iter().find(|(name, ..)| *name == figure);
            let (name, kind, help) = match row {
                Some((_, name, kind, help)) => (*name, Some(*kind), *help),
                None => (figure, None, "A figure of the node"),
            };
            let name = format!("uringmq_{name}");
            let metric_type = match kind {
                Some(Counter) => MetricType::Counter,
                Some(Gauge | Percent) => MetricType::Gauge,
                None => MetricType::Unknown,
            };
            let mut metric = encoder.encode_descriptor(&name, help, None, metric_type)?;
            for (shard, value) in values {
                if shard == SHARD_ANY {
                    figure_line(&mut metric, kind, value)?;
                } else {
                    let labels = [("shard", shard.to_string())];
                    figure_line(&mut metric.encode_family(&labels)?, kind, value)?;
                }
            }
        }
        Ok(())
    }

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

fn figure_line(metric: &mut MetricEncoder<'_>, kind: Option<Kind>, value: u64) -> fmt::Result {
    match kind {
        Some(Counter) => metric.encode_counter::<NoLabelSet, u64, f64>(&value, None),
        Some(Percent) => metric.encode_gauge(&(value as f64 / 100.0)),
        Some(Gauge) | None => metric.encode_gauge(&(value as f64)),
    }
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
