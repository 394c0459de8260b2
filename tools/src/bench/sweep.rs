//! `bench sweep`: latency by rate, and the knee.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bench::scenario::sweep::{Plan, sweep};
use bench::scenario::{self, BenchError, site};
use clap::Args;

use super::place::Place;
use super::{IN_FLIGHT_MAX, LINKS_MAX, Mode, ROUNDS_MAX, Wait, ack, value};
use crate::exit;

/// Options of `bench sweep`.
///
/// Finds out how fast the node goes at all, then offers rates up to a little more than that in open
/// loop, and says where the knee is: the highest rate at which the p99 stays within a bound and
/// everything offered is acknowledged.
#[derive(Debug, Args)]
#[command(after_help = exit::after_help(
    "  uringmq bench sweep                                   durable, 16 producers, p99 within 10 ms\n  \
     uringmq bench sweep --p99 2 --producers 64            a tighter bound, more connections\n  \
     uringmq bench sweep --ack memory --batch 100 --size 100 --steps 20"
))]
pub(super) struct SweepOptions {
    /// When the broker acknowledges
    #[arg(long, value_enum, default_value = "durable", help_heading = "Load")]
    ack: Mode,
    /// Connections that produce
    #[arg(long, value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(1..=LINKS_MAX), help_heading = "Load")]
    producers: u32,
    /// Bytes of a message
    #[arg(long, value_name = "SIZE", default_value = "1KiB", value_parser = value::size,
          help_heading = "Load")]
    size: u32,
    /// Messages of a request
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..), help_heading = "Load")]
    batch: u32,
    /// Queues of the topic; batches go to them in turn
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..), help_heading = "Load")]
    queues: u16,
    /// Requests that may be outstanding on each connection
    #[arg(long, value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(1..=IN_FLIGHT_MAX), help_heading = "Load")]
    in_flight: u32,
    /// The bound of the p99; a bare number is milliseconds
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = value::millis,
          help_heading = "Method")]
    p99: Duration,
    /// Rates offered
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=1_000), help_heading = "Method")]
    steps: u32,
    /// Further rates, between the last good and the first bad one
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(..=100), help_heading = "Method")]
    refine: u32,
    /// The highest rate offered, in messages a second, instead of 1.1 x what a closed loop reaches
    #[arg(long, value_name = "PER_S", value_parser = value::rate, help_heading = "Method")]
    max_rate: Option<f64>,
    /// What is recorded at each rate, in each round; a bare number is seconds
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = value::time,
          help_heading = "Method")]
    duration: Duration,
    /// Rounds; percentiles are of all of them together
    #[arg(long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(1..=ROUNDS_MAX), help_heading = "Method")]
    rounds: u32,
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

pub(super) fn run(options: &SweepOptions, stop: &AtomicBool) -> Result<bool, BenchError> {
    let scenario = scenario::Options {
        message_bytes: options.size,
        batch: options.batch,
        queues: options.queues,
        in_flight: options.in_flight,
        measure: options.duration,
        rounds: options.rounds,
        waiting: options.wait.into(),
        connect: options.connect,
        ..options.place.scenario()?
    };
    let plan = Plan {
        ack: ack(options.ack),
        producers: options.producers,
        bound: options.p99,
        steps: options.steps,
        refine: options.refine,
        rate_max: options.max_rate,
    };
    scenario.check()?;
    let dir = site::report_dir(&scenario.out)?;
    let found = sweep(&scenario, plan, &dir, stop, options.place.json)?;
    let json = serde_json::to_string_pretty(&found)
        .map_err(|error| BenchError::Failed(format!("the sweep cannot be written: {error}")))?;
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
