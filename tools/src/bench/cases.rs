//! `bench list` and `bench run`: the named cases.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bench::report::grid::{Align, Grid};
use bench::scenario::cases::{self, Size};
use bench::scenario::{self, BenchError, Goals, site};
use clap::Args;

use super::place::Place;
use super::{ROUNDS_MAX, Wait, value};
use crate::exit;

/// Options of `bench list`.
#[derive(Debug, Args)]
#[command(after_help = exit::after_help(
    "  uringmq bench list\n  \
     uringmq bench list --json | jq '.[] | .name'"
))]
pub(super) struct ListOptions {
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

/// Options of `bench run`.
#[derive(Debug, Args)]
#[command(after_help = exit::after_help(
    "  uringmq bench run backlog --smoke                 see that it works, in seconds\n  \
     uringmq bench run backlog --messages 20000000     a fifth of the real size\n  \
     uringmq bench run restart --gib 1,10              logs that fit a small disk\n  \
     uringmq bench run 1 --rounds 9 --data-dir /mnt/nvme"
))]
pub(super) struct RunOptions {
    /// Name or number of the case, as `bench list` shows
    case: String,
    /// A few seconds that show that everything works: figures mean little
    #[arg(long, help_heading = "Method", 
          conflicts_with_all = ["duration", "rounds", "messages", "gib"])]
    smoke: bool,
    /// Messages of the backlog, instead of the case's own number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..),
          help_heading = "Method")]
    messages: Option<u64>,
    /// Lengths of the logs that are restarted, in GiB, instead of 1, 10 and 50
    #[arg(long, value_name = "N,..", value_delimiter = ',', value_parser = value::gib,
          help_heading = "Method")]
    gib: Vec<f64>,
    /// How the broker waits, where the case does not say
    #[arg(long, value_enum, default_value = "hybrid", help_heading = "Method")]
    wait: Wait,
    /// What is recorded for each figure, in each round; a bare number is seconds
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = value::time,
          help_heading = "Method")]
    duration: Duration,
    /// Rounds; the median one is the figure
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=ROUNDS_MAX), help_heading = "Method")]
    rounds: u32,
    #[command(flatten)]
    place: Place,
}

/// Shows what there is.
pub(super) fn list(options: &ListOptions) -> Result<bool, BenchError> {
    let mut out = std::io::stdout().lock();
    // Nobody reads it any more when writing fails.
    let _ = if options.json {
        let all: Vec<_> = cases::ALL
            .iter()
            .map(|case| {
                serde_json::json!({
                    "case": case.number, "name": case.name, "what": case.what, "takes": case.takes
                })
            })
            .collect();
        writeln!(out, "{}", serde_json::Value::from(all))
    } else {
        let mut grid = Grid::new(&[
            ("case", Align::Right),
            ("name", Align::Left),
            ("what is measured", Align::Left),
            ("takes", Align::Left),
        ]);
        for case in cases::ALL {
            let cells = [case.name, case.what, case.takes].map(str::to_owned);
            grid.row(std::iter::once(case.number.to_string()).chain(cells).collect());
        }
        write!(out, "{}", grid.text())
    };
    Ok(true)
}

/// Measures a case. False when messages were lost or damaged.
pub(super) fn run(options: &RunOptions, stop: &AtomicBool) -> Result<bool, BenchError> {
    let case = cases::find(&options.case)?;
    // Some cases hold thousands of connections.
    crate::descriptors::raise_limits();
    let (measure, rounds) = match options.smoke {
        true => (Duration::from_millis(150), 1),
        false => (options.duration, options.rounds),
    };
    let scenario = scenario::Options {
        measure,
        rounds,
        smoke: options.smoke,
        waiting: options.wait.into(),
        ..options.place.scenario()?
    };
    let dir = site::report_dir(&scenario.out)?;
    let size = Size { smoke: options.smoke, messages: options.messages, gib: options.gib.clone() };
    let goals = cases::run(case, &scenario, size, &dir, stop, options.place.json)?;
    report(&goals, &dir, options.place.json)
}

/// Prints and writes verdicts. False when messages were lost or damaged.
pub(super) fn report(goals: &Goals, dir: &Path, as_json: bool) -> Result<bool, BenchError> {
    let json = serde_json::to_string_pretty(&goals)
        .map_err(|error| BenchError::Failed(format!("the goals cannot be written: {error}")))?;
    let mut paths = String::new();
    let files =
        [("goals.html", &goals.html()), ("goals.json", &json), ("goals.md", &goals.markdown())];
    for (name, text) in files {
        let path = dir.join(name);
        if std::fs::write(&path, text).is_ok() {
            paths += &format!("report {}\n", path.display());
        }
    }
    let mut out = std::io::stdout().lock();
    let _ =
        if as_json { writeln!(out, "{json}") } else { write!(out, "{}\n{paths}", goals.text()) };
    Ok(goals.faults == 0)
}
