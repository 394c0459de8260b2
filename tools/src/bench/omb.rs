//! `bench omb`: a workload file of the OpenMessaging Benchmark.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use bench::report::table;
use bench::scenario::omb::{self, Driver};
use bench::scenario::{self, BenchError, site};
use clap::Args;

use super::place::Place;
use super::{IN_FLIGHT_MAX, Mode, Wait, ack, value};
use crate::exit;

/// Options of `bench omb`.
///
/// Runs a workload file of the OpenMessaging Benchmark as it is, and writes the result in that
/// benchmark's own layout (omb.json) beside the usual report. Keys that are not known are named.
#[derive(Debug, Args)]
#[command(after_help = exit::after_help(
    "  uringmq bench omb workloads/1-topic-16-partitions-1kb.yaml\n  \
     uringmq bench omb workload.yaml --minutes 0.5 --ack written     a short look"
))]
pub(super) struct OmbOptions {
    /// The workload file
    workload: PathBuf,
    /// When the broker acknowledges
    #[arg(long, value_enum, default_value = "durable", help_heading = "Load")]
    ack: Mode,
    /// Messages of a request [default: those that are due in a millisecond]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..),
          help_heading = "Load")]
    batch: Option<u32>,
    /// Requests that may be outstanding on each producer's connection
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=IN_FLIGHT_MAX), help_heading = "Load")]
    in_flight: u32,
    /// Measure for so many minutes, instead of the file's; the warm-up is shortened alike
    #[arg(long, value_name = "MINUTES", value_parser = value::minutes, help_heading = "Method")]
    minutes: Option<f64>,
    /// Hold back so much before consumers start, if the file asks for a backlog at all
    #[arg(long, value_name = "GIB", value_parser = value::gib, help_heading = "Method")]
    backlog_gib: Option<f64>,
    /// How the broker waits
    #[arg(long, value_enum, default_value = "hybrid", help_heading = "Method")]
    wait: Wait,
    /// A running node instead of a child; its topics are removed again
    #[arg(long, visible_alias = "server", value_name = "HOST:PORT", value_parser = value::server,
          help_heading = "Where", conflicts_with = "data_dir")]
    connect: Option<SocketAddr>,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(options: &OmbOptions, stop: &AtomicBool) -> Result<bool, BenchError> {
    let scenario = scenario::Options {
        in_flight: options.in_flight,
        waiting: options.wait.into(),
        connect: options.connect,
        ..options.place.scenario()?
    };
    let driver = Driver {
        ack: ack(options.ack),
        batch: options.batch,
        minutes: options.minutes,
        backlog_gib: options.backlog_gib,
    };
    let dir = site::report_dir(&scenario.out)?;
    let (path, quiet) = (&options.workload, options.place.json);
    let found = omb::run(&scenario, path, driver, &dir, stop, quiet)?;
    let json = serde_json::to_string_pretty(&found.omb)
        .map_err(|error| BenchError::Failed(format!("the result cannot be written: {error}")))?;
    let mut paths = super::write(&found.report, &dir)?;
    let path = dir.join("omb.json");
    std::fs::write(&path, &json).map_err(|source| BenchError::Directory {
        action: "writing",
        path: path.clone(),
        source,
    })?;
    paths += &format!("omb    {}\n", path.display());
    let mut out = std::io::stdout().lock();
    // Nobody reads it any more when writing fails.
    let _ = match options.place.json {
        true => writeln!(out, "{json}"),
        false => write!(out, "{}\n{paths}", table::text(&found.report)),
    };
    Ok(true)
}
