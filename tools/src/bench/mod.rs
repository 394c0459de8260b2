//! `uringmq bench`: parses, runs a scenario of the harness, prints and writes its report.
//!
//! This file is the flush-mode comparison, what `bench` does without a subcommand; each subcommand
//! has a file, and `place` is what they share.

mod cases;
mod diff;
mod omb;
mod place;
mod sweep;
mod value;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bench::report::{Ack, Report, Verified, Waiting, hdr, html, json, plot, table};
use bench::scenario::{self, BenchError, Fault, comparison, goals, site};
use bench::yardstick::{ServerSpec, serve};
use clap::{Args, Subcommand, ValueEnum};
use place::Place;

use crate::exit;
use crate::output::say;
use crate::stop::flag_on_signal;

/// Connections of either kind: one thread serves them all.
const LINKS_MAX: i64 = bench::load::settings::LINKS_MAX as i64;
const IN_FLIGHT_MAX: i64 = bench::load::settings::IN_FLIGHT_MAX as i64;
const ROUNDS_MAX: i64 = 10_000;

/// When the broker acknowledges.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Mode {
    /// When appended in memory: lost with the process.
    Memory,
    /// When its device write completed: survives the process.
    Written,
    /// When it is on stable media: survives power loss.
    Durable,
}

/// How the broker waits.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Wait {
    /// Asleep whenever there is nothing to do.
    Sleep,
    /// Asleep when idle, looking while a durable write is in flight.
    Hybrid,
    /// Never asleep; needs a core of its own.
    Poll,
}

/// Options of `bench`.
///
/// Starts a node of its own on a fresh data directory, measures what the bare machine can do
/// (yardsticks), and then the node: the ack levels memory, written and durable with 1, 16 and 256
/// producers. Everything is interleaved in rounds, so that a slow moment of the machine hits all
/// alike. Ends with tables, a plot and JSON.
#[derive(Debug, Args)]
#[command(after_help = exit::after_help(EXAMPLES), args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    other: Option<Other>,

    /// Ack levels to compare
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "memory,written,durable",
        help_heading = "What is compared"
    )]
    modes: Vec<Mode>,
    /// Numbers of producers to compare; each producer is a connection
    #[arg(
        long,
        value_name = "N,..",
        value_delimiter = ',',
        default_value = "1,16,256",
        value_parser = clap::value_parser!(u32).range(1..=LINKS_MAX),
        help_heading = "What is compared"
    )]
    producers: Vec<u32>,
    /// How the broker waits; the yardsticks wait alike
    #[arg(long, value_enum, default_value = "hybrid", help_heading = "What is compared")]
    wait: Wait,
    /// Measure the published goals instead, each against its yardstick, and say which are met
    #[arg(long, help_heading = "What is compared",
          conflicts_with_all = ["modes", "producers", "wait", "size", "batch", "queues", "consumers",
                                "in_flight", "rate", "input", "verify", "canary", "connect"])]
    goals: bool,
    /// With --goals: only the goals of this case (1, 2, 4, 5, 15)
    #[arg(long, value_name = "N", requires = "goals", help_heading = "What is compared")]
    case: Option<u32>,

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
    /// Connections that consume meanwhile
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(..=LINKS_MAX), help_heading = "Load")]
    consumers: u32,
    /// Requests outstanding on each producer's connection
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=IN_FLIGHT_MAX), help_heading = "Load")]
    in_flight: u32,
    /// Send so many messages a second over all producers, whatever the answers do (open loop), and
    /// count latencies from when each should have been sent. Without it every producer sends when
    /// its last request was answered (closed loop)
    #[arg(long, value_name = "PER_S", value_parser = value::rate, help_heading = "Load")]
    rate: Option<f64>,
    /// The messages are the lines of this file, or of all files below this directory, in order, and
    /// again from the start when there are no more
    #[arg(long, value_name = "FILE_OR_DIR", help_heading = "Load")]
    input: Option<PathBuf>,
    /// Check every message with a consumer: there, as sent, in order, once. Exit code 1 if not
    #[arg(long, help_heading = "Load")]
    verify: bool,

    /// What is recorded for each line of the table, in each round; a bare number is seconds
    #[arg(long, value_name = "TIME", default_value = "1200ms", value_parser = value::time,
          help_heading = "Method")]
    duration: Duration,
    /// Time before that
    #[arg(long, value_name = "TIME", default_value = "300ms", value_parser = value::time_or_zero,
          help_heading = "Method")]
    warmup: Duration,
    /// Rounds; a ratio is the median of its rounds [default: 3, with --goals 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=ROUNDS_MAX),
          help_heading = "Method")]
    rounds: Option<u32>,
    /// Beside it all, look 200 times a second whether the machine itself is slow (an echo and a
    /// durable write), and mark such times in the report. Costs the disk a little
    #[arg(long, help_heading = "Method")]
    canary: bool,
    /// A few seconds that show that everything works, for CI: figures mean little
    #[arg(long, help_heading = "Method", conflicts_with_all = ["duration", "warmup", "rounds"])]
    smoke: bool,

    /// A running node instead of a child; its topics are removed again
    #[arg(long, visible_alias = "server", value_name = "HOST:PORT", value_parser = value::server,
          help_heading = "Where")]
    connect: Option<SocketAddr>,
    #[command(flatten)]
    place: Place,
}

/// What else `bench` can do.
#[derive(Debug, Subcommand)]
enum Other {
    /// List the named cases
    List(cases::ListOptions),
    /// Measure a named case against its published goal and its yardstick
    Run(cases::RunOptions),
    /// Offer rates up to more than the node can take, and find the knee
    Sweep(sweep::SweepOptions),
    /// Run a workload file of the OpenMessaging Benchmark
    Omb(omb::OmbOptions),
    /// Compare two reports, and say what is more than noise
    Diff(diff::DiffOptions),
}

const EXAMPLES: &str =
    "  uringmq bench                                       the comparison, in about a minute
  uringmq bench --rate 500 --producers 1              latency of 500 messages a second
  uringmq bench --data-dir /mnt/nvme --wait poll      another disk, a dedicated core
  uringmq bench --input /var/log --verify             real lines, each one checked
  uringmq bench --size 100 --batch 1000 --modes memory,durable --producers 1 --in-flight 4
  uringmq bench --goals                               the published goals, on this machine
  uringmq bench sweep                                 latency by rate, and the knee
  uringmq bench omb workload.yaml --minutes 1         an OpenMessaging Benchmark workload
  uringmq bench diff A/report.json B/report.json      what changed by more than noise
  uringmq bench list                                  named cases, such as
  uringmq bench run backlog --smoke                   100 million messages held, small

Reading the result: `durable` against `ED` is the broker against the simplest possible durable
server on the same disk; `durable` against `memory` at 256 producers is what the disk still costs
when writes are shared. The second table says where the time went.";

/// Options of the hidden `yardstick`: passed on as they are.
#[derive(Debug, Args)]
pub(crate) struct YardstickOptions {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Serves a yardstick until it is killed.
pub(crate) fn yardstick(options: &YardstickOptions) -> ExitCode {
    match ServerSpec::from_args(&options.args).and_then(|spec| serve(&spec)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::fail(exit::CANNOT_START, &error),
    }
}

/// Runs the benchmark.
pub(crate) fn run(options: Options) -> ExitCode {
    let stop = match flag_on_signal("what was measured follows") {
        Ok(stop) => stop,
        Err(error) => return exit::fail(exit::CANNOT_START, &error),
    };
    let done = match &options.other {
        None => run_and_report(&options, &stop),
        Some(Other::List(options)) => cases::list(options),
        Some(Other::Run(options)) => cases::run(options, &stop),
        Some(Other::Sweep(options)) => sweep::run(options, &stop),
        Some(Other::Omb(options)) => omb::run(options, &stop),
        Some(Other::Diff(options)) => diff::run(options),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(exit::FAILED),
        Err(error) => fail(&error),
    }
}

fn fail(error: &BenchError) -> ExitCode {
    match error.fault() {
        Fault::Usage => exit::fail(exit::USAGE, error),
        Fault::Failed => exit::fail(exit::FAILED, error),
        Fault::Unreachable => {
            let code = exit::fail(exit::CANNOT_START, error);
            say("  is a node running there? start one with: uringmq serve");
            code
        }
    }
}

/// False when a message was not delivered as it should.
fn run_and_report(options: &Options, stop: &AtomicBool) -> Result<bool, BenchError> {
    let scenario = scenario_options(options)?;
    // Nothing is made for what cannot be measured.
    scenario.check()?;
    let dir = site::report_dir(&scenario.out)?;
    if options.goals {
        return measure_goals(options, &scenario, &dir, stop);
    }
    let report = comparison::compare(&scenario, &dir, stop, options.place.json)?;
    let paths = write(&report, &dir)?;
    let mut out = std::io::stdout().lock();
    // Nobody reads it any more when this fails.
    let _ = if options.place.json {
        writeln!(out, "{}", json::to_json(&report)?)
    } else {
        write!(out, "{}\n{paths}", table::text(&report))
    };
    Ok(report.runs.iter().filter_map(|run| run.verified).all(|v| Verified::is_clean(&v)))
}

fn measure_goals(
    options: &Options,
    scenario: &scenario::Options,
    dir: &Path,
    stop: &AtomicBool,
) -> Result<bool, BenchError> {
    let goals = goals::measure(scenario, options.case, dir, stop, options.place.json)?;
    cases::report(&goals, dir, options.place.json)
}

/// Writes the report's files and says where they are.
fn write(report: &Report, dir: &Path) -> Result<String, BenchError> {
    let (json_path, svg_path) = (dir.join("report.json"), dir.join("latency.svg"));
    let (page_path, table_path) = (dir.join("report.html"), dir.join("report.md"));
    json::write(report, &json_path)?;
    html::write(report, &page_path)?;
    let mut paths = format!("page   {}\n", page_path.display());
    paths += &format!("report {}\n", json_path.display());
    let markdown = table::markdown(report);
    if std::fs::write(&table_path, markdown).is_ok() {
        paths += &format!("table  {}\n", table_path.display());
    }
    if !report.runs.is_empty() || !report.yardsticks.is_empty() {
        plot::write(report, &svg_path)?;
        paths += &format!("plot   {}\n", svg_path.display());
    }
    if !report.runs.is_empty() {
        hdr::write(report, dir)?;
        let log = dir.join("latency.hlog");
        paths += &format!("hdr    {} and *.hgrm beside it\n", log.display());
    }
    Ok(paths)
}

fn scenario_options(options: &Options) -> Result<scenario::Options, BenchError> {
    let (measure, warm_up, rounds) = if options.smoke {
        (Duration::from_millis(150), Duration::from_millis(50), 1)
    } else {
        let rounds = options.rounds.unwrap_or(if options.goals { 5 } else { 3 });
        (options.duration, options.warmup, rounds)
    };
    Ok(scenario::Options {
        modes: options.modes.iter().copied().map(ack).collect(),
        producers: options.producers.clone(),
        message_bytes: options.size,
        batch: options.batch,
        queues: options.queues,
        consumers: options.consumers,
        in_flight: options.in_flight,
        rate_per_s: options.rate,
        measure,
        warm_up,
        rounds,
        input: options.input.clone(),
        verify: options.verify,
        smoke: options.smoke,
        canary: options.canary,
        connect: options.connect,
        waiting: options.wait.into(),
        ..options.place.scenario()?
    })
}

impl From<Wait> for Waiting {
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::Sleep => Self::Sleep,
            Wait::Hybrid => Self::Hybrid,
            Wait::Poll => Self::Poll,
        }
    }
}

fn ack(mode: Mode) -> Ack {
    match mode {
        Mode::Memory => Ack::Memory,
        Mode::Written => Ack::Written,
        Mode::Durable => Ack::Durable,
    }
}
