//! `uringmq stats`: what a node has counted and measured since it started, or (`--watch`) from one
//! look to the next.

use std::fs;
use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bench::report::hdr;
use clap::Args;
use config::value::Time;
use net::client::{Client, NodeHistogram, NodeStats};
use net::wire::{Operation, SHARD_ANY, Stage};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::connect::{Server, block_on};
use crate::failure::Failure;
use crate::interval::{Interval, per_second};
use crate::output::{grouped, print, print_json, table};

/// The quantiles that are shown, and their names.
pub(crate) const QUANTILES: [(f64, &str); 4] =
    [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")];

/// What ends the name of a counter of nanoseconds.
const NANOS: &str = "_nanos";

/// Options of `stats`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Histograms of every shard instead of all shards together.
    #[arg(long)]
    per_shard: bool,
    /// Answer in JSON (times in nanoseconds); with --watch one object a line.
    #[arg(long)]
    json: bool,
    /// Look again every TIME, and show what happened in between; Ctrl-C ends it.
    #[arg(short, long, value_name = "TIME", num_args = 0..=1, default_missing_value = "2s")]
    watch: Option<Time>,
    /// With --watch: end after this many looks.
    #[arg(short = 'n', long, value_name = "N", requires = "watch")]
    count: Option<u64>,
    /// Write each latency's percentile distribution into this directory, as HdrHistogram's tools
    /// and plotters read them (values in ms): OPERATION-STAGE.hgrm.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["json", "watch"])]
    hgrm: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

/// Runs it.
pub(crate) fn run(options: Options) -> ExitCode {
    block_on(async move { stats(&options).await })
}

async fn stats(options: &Options) -> Result<(), Failure> {
    let client = options.server.connect().await?;
    if let Some(every) = options.watch {
        return watch(&client, options, every).await;
    }
    let stats = client.stats(options.per_shard).await?;
    if let Some(dir) = &options.hgrm {
        return write_distributions(&stats, dir);
    }
    if options.json {
        return print_json(&document(&client.node().name, &stats));
    }
    print(&format!(
        "{} at {}\n\nTime per operation and stage on the node, in microseconds\n{}\n{}",
        client.node().name,
        options.server.server,
        latencies(&stats.histograms, options.per_shard),
        counters(&stats),
    ))
}

/// Shows interval after interval.
async fn watch(client: &Client, options: &Options, Time(every): Time) -> Result<(), Failure> {
    let mut before = client.stats(options.per_shard).await?;
    let mut looked = Instant::now();
    let mut left = options.count.unwrap_or(u64::MAX);
    while left > 0 {
        sleep_until(looked + every).await;
        let now = client.stats(options.per_shard).await?;
        let length = looked.elapsed();
        looked = Instant::now();
        let interval = Interval::between(&before, &now, length);
        before = now;
        left -= 1;
        if options.json {
            print(&format!("{}\n", interval_document(&interval)))?;
            continue;
        }
        // A terminal shows the newest; a file or a pipe gets all of them.
        let clear = if stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
        print(&format!(
            "{clear}{} at {}, the last {:.1} s\n\nTime per operation and stage on the node, in \
             microseconds\n{}\n{}\n",
            client.node().name,
            options.server.server,
            length.as_secs_f64(),
            latencies(&interval.histograms, options.per_shard),
            changes(&interval),
        ))?;
    }
    Ok(())
}

/// Writes a file for each latency of which there is anything, and says which.
fn write_distributions(stats: &NodeStats, dir: &Path) -> Result<(), Failure> {
    let writing = |path: &Path| Failure::io(format!("writing {}", path.display()));
    fs::create_dir_all(dir).map_err(writing(dir))?;
    for measured in stats.histograms.iter().filter(|measured| !measured.histogram.is_empty()) {
        let mut name = format!("{}-{}", operation(measured), stage(measured));
        if measured.shard != SHARD_ANY {
            name.push_str(&format!("-shard-{}", measured.shard));
        }
        let path = dir.join(format!("{name}.hgrm"));
        fs::write(&path, hdr::percentiles(&measured.histogram)).map_err(writing(&path))?;
        print(&format!("{}\n", path.display()))?;
    }
    Ok(())
}

fn latencies(histograms: &[NodeHistogram], per_shard: bool) -> String {
    let mut heading = vec!["operation"];
    if per_shard {
        heading.push("shard");
    }
    heading.extend(["stage", "count"]);
    heading.extend(QUANTILES.map(|(_, name)| name));
    heading.push("max");
    let rows: Vec<_> = (histograms.iter())
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
        return "(nothing was produced or fetched)\n".to_owned();
    }
    table(&heading, &rows)
}

fn counters(stats: &NodeStats) -> String {
    let several = stats.counters.iter().any(|c| c.shard != SHARD_ANY && c.shard != 0);
    let rows: Vec<_> = (stats.counters.iter())
        .map(|counter| {
            let (name, value) = figure(&counter.name, counter.value);
            if several { vec![name, shard_name(counter.shard), value] } else { vec![name, value] }
        })
        .collect();
    let heading: &[&str] =
        if several { &["counter", "shard", "value"] } else { &["counter", "value"] };
    table(heading, &rows)
}

/// What a counter says, for people: times in microseconds.
fn figure(name: &str, value: u64) -> (String, String) {
    match name.strip_suffix(NANOS) {
        Some(name) => (name.to_owned(), format!("{} us", grouped(value / 1000))),
        None => (name.to_owned(), grouped(value)),
    }
}

/// The counters that changed.
fn changes(interval: &Interval) -> String {
    let rows: Vec<_> = (interval.counters.iter())
        .filter(|counter| counter.grown > 0)
        .map(|counter| {
            let rate = per_second(counter.grown, interval.length);
            // A share of the time.
            let rate = match counter.name.ends_with(NANOS) {
                true => format!("{:.1} %", rate / 1e7),
                false => format!("{rate:.1}"),
            };
            let of = match counter.shard {
                SHARD_ANY => "node".to_owned(),
                number if counter.name.starts_with("pump_") => format!("reactor {number}"),
                number => format!("shard {number}"),
            };
            let (name, value) = figure(&counter.name, counter.value);
            let (_, grown) = figure(&counter.name, counter.grown);
            vec![name, of, rate, grown, value]
        })
        .collect();
    table(&["counter", "of", "a second", "grown by", "value"], &rows)
}

fn interval_document(interval: &Interval) -> Value {
    let counter = |counter: &crate::interval::Change| {
        json!({
            "name": counter.name, "shard": shard_json(counter.shard), "value": counter.value,
            "grown": counter.grown,
        })
    };
    let measured = interval.histograms.iter().filter(|measured| !measured.histogram.is_empty());
    json!({
        "seconds": interval.length.as_secs_f64(),
        "histograms": measured.map(histogram_json).collect::<Vec<_>>(),
        "counters": interval.counters.iter().map(counter).collect::<Vec<_>>(),
    })
}

fn document(node: &str, stats: &NodeStats) -> Value {
    let counter = |counter: &net::client::NodeCounter| {
        json!({
            "name": counter.name, "shard": shard_json(counter.shard), "value": counter.value,
        })
    };
    json!({
        "node": node,
        "histograms": stats.histograms.iter().map(histogram_json).collect::<Vec<_>>(),
        "counters": stats.counters.iter().map(counter).collect::<Vec<_>>(),
    })
}

fn histogram_json(measured: &NodeHistogram) -> Value {
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
}

pub(crate) fn operation(measured: &NodeHistogram) -> &'static str {
    measured.operation.map_or("?", Operation::name)
}

pub(crate) fn stage(measured: &NodeHistogram) -> &'static str {
    measured.stage.map_or("?", Stage::name)
}

fn shard_name(shard: u16) -> String {
    if shard == SHARD_ANY { "node".to_owned() } else { shard.to_string() }
}

/// `null` stands for all shards, or the node itself.
fn shard_json(shard: u16) -> Value {
    if shard == SHARD_ANY { Value::Null } else { shard.into() }
}

pub(crate) fn micros(nanos: u64) -> String {
    format!("{:.1}", nanos as f64 / 1e3)
}
