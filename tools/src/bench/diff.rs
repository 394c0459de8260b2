//! `bench diff`: two reports compared.

use std::io::Write;
use std::path::PathBuf;

use bench::report::{ReportError, diff, json};
use bench::scenario::BenchError;
use clap::Args;

use super::value;
use crate::exit;

/// Options of `bench diff`.
///
/// Compares the rate, the median and the p99 of every line that both reports have, and says which
/// differ by more than the noise between rounds explains.
#[derive(Debug, Args)]
#[command(after_help = exit::after_help(
    "  uringmq bench diff before/report.json after/report.json\n  \
     uringmq bench diff main.json branch.json --fail-above 10     exit code 1 if a line lost 10 %"
))]
pub(super) struct DiffOptions {
    /// `report.json` of the first run
    before: PathBuf,
    /// `report.json` of the second run
    after: PathBuf,
    /// How sure a difference must be, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 99.0,
          value_parser = confidence)]
    confidence: f64,
    /// Exit code 1 if a figure got significantly worse by more than this, in percent, or if there is
    /// no verdict
    #[arg(long, value_name = "PERCENT", value_parser = value::percent)]
    fail_above: Option<f64>,
    /// Print the changes as JSON
    #[arg(long)]
    json: bool,
}

fn confidence(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (50.0..100.0).contains(&percent) => Ok(percent),
        _ => Err("a number from 50 to below 100, such as 99".to_owned()),
    }
}

/// False when a figure got worse by more than is allowed, or nobody can tell.
pub(super) fn run(options: &DiffOptions) -> Result<bool, BenchError> {
    let named = |path: &PathBuf| {
        json::read(path).map_err(|error| match error {
            error @ ReportError::File { .. } => BenchError::Report(error),
            error => BenchError::Failed(format!("{}: {error}", path.display())),
        })
    };
    let (before, after) = (named(&options.before)?, named(&options.after)?);
    let found = diff::diff(&before, &after, options.confidence / 100.0);
    let worst = found
        .worst()
        .filter(|worst| options.fail_above.is_some_and(|allowed| worst.loss_percent() > allowed));
    let mut out = std::io::stdout().lock();
    // Nobody reads it any more when writing fails.
    let _ = if options.json {
        let text = serde_json::to_string_pretty(&found)
            .map_err(|error| BenchError::Failed(format!("the changes: {error}")))?;
        writeln!(out, "{text}")
    } else {
        write!(out, "{}", found.text())
    };
    if let Some(worst) = worst {
        let loss = worst.loss_percent();
        eprintln!("uringmq: {}: {} got worse by {loss:.1} %", worst.line, worst.figure);
    }
    let unjudged = found.no_verdict.as_ref().filter(|_| options.fail_above.is_some());
    if let Some(why) = unjudged {
        eprintln!("uringmq: {why}");
    }
    Ok(worst.is_none() && unjudged.is_none())
}
