//! The node's counters as metrics: their names, types and texts, in one table.
//!
//! A counter that has no row in [`ROWS`] is shown under its own name, without a type.

use std::collections::BTreeMap;
use std::fmt;

use net::client::NodeCounter;
use net::wire::SHARD_ANY;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows; its name gets `_total`.
    Counter,
    Gauge,
    /// A gauge that the node keeps in percent.
    Percent,
    /// A counter that the node keeps in nanoseconds.
    Nanos,
    /// A gauge that the node keeps in nanoseconds.
    NanosNow,
}

use Kind::{Counter, Gauge, Nanos, NanosNow, Percent};

/// A figure of the node, its metric without the prefix, and what it is.
pub(super) type Row = (&'static str, &'static str, Kind, &'static str);

pub(super) const ROWS: [Row; 53] = [
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
    ("fetched_records", "fetched_records", Counter, "Records given to fetches"),
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
    (
        "vanished_segments",
        "log_vanished_segments",
        Counter,
        "Segments whose file was gone when retention was to take them out",
    ),
    ("log_end", "log_end_bytes", Gauge, "Position at which the log ends"),
    (
        "opening_read_bytes",
        "opening_read_bytes",
        Gauge,
        "Bytes of the log that were read when it was opened",
    ),
    (
        "opening_read_nanos",
        "opening_read_seconds",
        NanosNow,
        "Time that reading the log took when it was opened",
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
    (
        "device_busy_nanos",
        "device_busy_seconds",
        Nanos,
        "Time in which the shard had something in flight at its device",
    ),
    (
        "device_reading_nanos",
        "device_reading_seconds",
        Nanos,
        "Time in which the shard had a read in flight at its device",
    ),
    (
        "device_writing_nanos",
        "device_writing_seconds",
        Nanos,
        "Time in which the shard had a write or flush in flight at its device",
    ),
    ("device_read_bytes", "device_read_bytes", Counter, "Bytes read from the device"),
    (
        "device_written_bytes",
        "device_written_bytes",
        Counter,
        "Bytes written to the device, those ahead of the log among them",
    ),
    (
        "pump_busy_nanos",
        "pump_busy_seconds",
        Nanos,
        "Time in which the reactor worked, instead of looking for work or sleeping",
    ),
    (
        "pump_turns",
        "pump_turns",
        Counter,
        "Turns of the reactor; looking for work and sleeping in between are none",
    ),
];

/// The node's counters: one metric each, one line a shard or reactor.
pub(super) fn encode(counters: &[NodeCounter], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let mut by_name: BTreeMap<&str, Vec<(u16, u64)>> = BTreeMap::new();
    for counter in counters {
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
            Some(Counter | Nanos) => MetricType::Counter,
            Some(Gauge | Percent | NanosNow) => MetricType::Gauge,
            None => MetricType::Unknown,
        };
        let mut metric = encoder.encode_descriptor(&name, help, None, metric_type)?;
        for (shard, value) in values {
            if shard == SHARD_ANY {
                figure_line(&mut metric, kind, value)?;
            } else {
                let label = if figure.starts_with("pump_") { "reactor" } else { "shard" };
                let labels = [(label, shard.to_string())];
                figure_line(&mut metric.encode_family(&labels)?, kind, value)?;
            }
        }
    }
    Ok(())
}

fn figure_line(metric: &mut MetricEncoder<'_>, kind: Option<Kind>, value: u64) -> fmt::Result {
    match kind {
        Some(Counter) => metric.encode_counter::<NoLabelSet, u64, f64>(&value, None),
        Some(Nanos) => metric.encode_counter::<NoLabelSet, f64, f64>(&(value as f64 / 1e9), None),
        Some(Percent) => metric.encode_gauge(&(value as f64 / 100.0)),
        Some(NanosNow) => metric.encode_gauge(&(value as f64 / 1e9)),
        Some(Gauge) | None => metric.encode_gauge(&(value as f64)),
    }
}
