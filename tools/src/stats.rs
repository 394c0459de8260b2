//! `uringmq stats`: what a node has counted and measured since it started.

use std::process::ExitCode;

use clap::Args;
use net::client::{NodeHistogram, NodeStats};
use net::wire::{Operation, SHARD_ANY, Stage};
use serde_json::{Value, json};

use crate::connect::{Server, block_on};
use crate::failure::Failure;
use crate::output::{grouped, print, print_json, table};

/// The quantiles that are shown, and their names.
const QUANTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")];

/// Options of `stats`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Histograms of every shard instead of all shards together.
    #[arg(long)]
    per_shard: bool,
    /// Answer in JSON (times in nanoseconds).
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Runs it.
pub(crate) fn run(options: Options) -> ExitCode {
    block_on(async move { stats(&options).await })
}

async fn stats(options: &Options) -> Result<(), Failure> {
    let client = options.server.connect().await?;
    let stats = client.stats(options.per_shard).await?;
    if options.json {
        return print_json(&document(&client.node().name, &stats));
    }
    print(&format!(
        "{} at {}\n\nTime per operation and stage on the node, in microseconds\n{}\n{}",
        client.node().name,
        options.server.server,
        latencies(&stats, options.per_shard),
        counters(&stats),
    ))
}

fn latencies(stats: &NodeStats, per_shard: bool) -> String {
    let mut heading = vec!["operation"];
    if per_shard {
        heading.push("shard");
    }
    heading.extend(["stage", "count"]);
    heading.extend(QUANTILES.map(|(_, name)| name));
    heading.push("max");
    let rows: Vec<_> = (stats.histograms.iter())
        // Stages that nothing has gone through yet only take up the screen.
        .filter(|measured| !measured.histogram.is_empty())
        .map(|measured| {
            let mut row = vec![operation(measured).to_owned()];
            if per_shard {
                row.push(shard_name(measured.shard));
            }
            row.extend([stage(measured).to_owned(), grouped(measured.histogram.len())]);
            let at = |(q, _)| micros(measured.histogram.value_at_quantile(q));
            row.extend(QUANTILES.map(at));
            row.push(micros(measured.histogram.max()));
            row
        })
        .collect();
    if rows.is_empty() {
        return "(nothing has been produced or fetched yet)\n".to_owned();
    }
    table(&heading, &rows)
}

fn counters(stats: &NodeStats) -> String {
    let several = stats.counters.iter().any(|c| c.shard != SHARD_ANY && c.shard != 0);
    let rows: Vec<_> = (stats.counters.iter())
        .map(|counter| {
            let name = counter.name.clone();
            let value = grouped(counter.value);
            if several { vec![name, shard_name(counter.shard), value] } else { vec![name, value] }
        })
        .collect();
    let heading: &[&str] =
        if several { &["counter", "shard", "value"] } else { &["counter", "value"] };
    table(heading, &rows)
}

fn document(node: &str, stats: &NodeStats) -> Value {
    let histogram = |measured: &NodeHistogram| {
        let mut fields = json!({
            "operation": operation(measured),
            "stage": stage(measured),
            "shard": shard_json(measured.shard),
            "count": measured.histogram.len(),
            "mean_ns": measured.histogram.mean(),
            "max_ns": measured.histogram.max(),
        });
        if let Some(fields) = fields.as_object_mut() {
            for (quantile, name) in QUANTILES {
                let value = measured.histogram.value_at_quantile(quantile);
                fields.insert(format!("{name}_ns"), value.into());
            }
        }
        fields
    };
    let counter = |counter: &net::client::NodeCounter| {
        json!({
            "name": counter.name, "shard": shard_json(counter.shard), "value": counter.value,
        })
    };
    json!({
        "node": node,
        "histograms": stats.histograms.iter().map(histogram).collect::<Vec<_>>(),
        "counters": stats.counters.iter().map(counter).collect::<Vec<_>>(),
    })
}

fn operation(measured: &NodeHistogram) -> &'static str {
    measured.operation.map_or("?", Operation::name)
}

fn stage(measured: &NodeHistogram) -> &'static str {
    measured.stage.map_or("?", Stage::name)
}

fn shard_name(shard: u16) -> String {
    if shard == SHARD_ANY { "node".to_owned() } else { shard.to_string() }
}

/// `null` stands for all shards, or the node itself.
fn shard_json(shard: u16) -> Value {
    if shard == SHARD_ANY { Value::Null } else { shard.into() }
}

fn micros(nanos: u64) -> String {
    format!("{:.1}", nanos as f64 / 1e3)
}
