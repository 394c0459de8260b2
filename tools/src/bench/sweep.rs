//! `bench sweep`: latency by rate, and the knee.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bench::scenario::sweep::{Plan, sweep};
use bench::scenario::{self, BenchError, site};
use clap::Args;

use super::place::{self, Place};
use super::{Mode, Wait, ack};

/// Options of `bench sweep`.
///
/// Finds out how fast the node goes at all, then offers rates up to a little more than that in open
/// loop, and says where the knee is: the highest rate at which the p99 stays within a bound and
/// everything offered is acknowledged.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  uringmq bench sweep                                   durable, 16 producers, p99 within 10 ms
  uringmq bench sweep --p99 2 --producers 64            a tighter bound, more connections
  uringmq bench sweep --ack memory --batch 100 --size 100 --steps 20")]
pub(super) struct SweepOptions {
    /// When the broker acknowledges
    #[arg(long, value_enum, default_value = "durable", help_heading = "Load")]
    ack: Mode,
    /// Connections that produce
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Load")]
    producers: u32,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value_t = 1024, help_heading = "Load")]
    size: u32,
    /// Messages of a request
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Load")]
    batch: u32,
    /// Queues of the topic; batches go to them in turn
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Load")]
    queues: u16,
    /// Requests that may be outstanding on each connection
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Load")]
    in_flight: u32,
    /// The bound of the p99, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10.0, help_heading = "Method")]
    p99: f64,
    /// Rates offered
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Method")]
    steps: u32,
    /// Further rates, between the last good and the first bad one
    #[arg(long, value_name = "N", default_value_t = 3, help_heading = "Method")]
    refine: u32,
    /// The highest rate offered, in messages a second, instead of 1.1 x what a closed loop reaches
    #[arg(long, value_name = "PER_S", help_heading = "Method")]
    max_rate: Option<f64>,
    /// Seconds recorded at each rate, in each round
    #[arg(long, value_name = "S", default_value_t = 2.0, help_heading = "Method")]
    duration: f64,
    /// Rounds; percentiles are of all of them together
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = "Method")]
    rounds: u32,
    /// How the broker waits
    #[arg(long, value_enum, default_value = "hybrid", help_heading = "Method")]
    wait: Wait,
    /// A running node instead of a child; its topics are removed again
    #[arg(long, value_name = "ADDR", help_heading = "Where", conflicts_with = "data_dir")]
    connect: Option<SocketAddr>,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(options: &SweepOptions, stop: &AtomicBool) -> Result<bool, BenchError> {
    let scenario = scenario::Options {
        message_bytes: options.size,
        batch: options.batch,
        queues: options.queues,
        in_flight: options.in_flight,
        measure: place::seconds(options.duration, "duration")?,
        rounds: options.rounds,
        waiting: options.wait.into(),
        connect: options.connect,
        ..options.place.scenario()?
    };
    let plan = Plan {
        ack: ack(options.ack),
        producers: options.producers,
        bound: Duration::try_from_secs_f64(options.p99 / 1e3)
            .map_err(|_| BenchError::Options("--p99 must be a number of milliseconds".into()))?,
        steps: options.steps,
        refine: options.refine,
        rate_max: options.max_rate,
    };
    let dir = site::report_dir(&scenario.out)?;
    let found = sweep(&scenario, plan, &dir, stop, options.place.json)?;
    let json = serde_json::to_string_pretty(&found)
        .map_err(|error| BenchError::Options(format!("the sweep cannot be written: {error}")))?;
    let mut paths = String::new();
    let table =
        format!("`{}`\n\n{}\n{}\n", found.command, found.grid().markdown(), found.sentence());
    for (name, text) in [("sweep.html", &found.html()), ("sweep.json", &json), ("sweep.md", &table)]
    {
        let path = dir.join(name);
        if std::fs::write(&path, text).is_ok() {
            paths += &format!("report {}\n", path.display());
        }
    }
    let mut out = std::io::stdout().lock();
    // Nobody reads it any more when writing fails.
    let _ = match options.place.json {
        true => writeln!(out, "{json}"),
        false => write!(out, "{}\n{paths}", found.text()),
    };
    Ok(true)
}
