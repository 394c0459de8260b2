//! `uringmq doctor`: whether a node would run here, and what to do if not; and the same checks for
//! `serve`, before any runtime starts (which would end the process without a word of advice).
//!
//! Reading order: `facts` (what there is to know) -> `probe` (asks the machine) -> `checks` (what it
//! means); `place` (what only matters now, and only for `doctor`). Absent: repairs; it only says.

mod checks;
mod clock;
mod facts;
mod place;
mod probe;

use std::process::ExitCode;

use clap::Args;
use config::{Arguments, Options};

use self::checks::{Finding, Level};
use crate::options::effective;
use crate::output::{complain, print, print_json, say};
use crate::{descriptors, exit};

/// Options of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    arguments: Arguments,
}

/// Checks and prints everything.
pub(crate) fn run(doctor: &Doctor) -> ExitCode {
    let resolved = match effective(&["doctor"], &doctor.arguments) {
        Ok(resolved) => resolved,
        Err(code) => return code,
    };
    let mut findings = examine(&resolved.options);
    findings.extend(place::look(&resolved.options));
    let printed = if doctor.json { print_json(&findings) } else { print(&text(&findings)) };
    if let Err(failure) = printed {
        return failure.report();
    }
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    if failed { ExitCode::from(exit::FAILED) } else { ExitCode::SUCCESS }
}

/// Checks for a node that starts: says what is wrong; false if it cannot start.
pub(crate) fn admits(options: &Options) -> bool {
    let findings = examine(options);
    for Finding { check, level, what, fix } in &findings {
        let fix = fix.as_ref().map(|fix| format!("\n  {fix}")).unwrap_or_default();
        let text = format!("uringmq: {check}: {what}{fix}");
        match level {
            Level::Ok | Level::Note => {}
            Level::Warn => say(text),
            Level::Fail => complain(text),
        }
    }
    findings.iter().all(|finding| finding.level < Level::Fail)
}

fn examine(options: &Options) -> Vec<Finding> {
    // As `serve` would.
    descriptors::raise_limits();
    let mut findings: Vec<Finding> = (options.conflicts().into_iter())
        .map(|what| Finding { check: "options", level: Level::Fail, what, fix: None })
        .collect();
    findings.extend(checks::all(&probe::facts(options)));
    findings
}

fn text(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { check, level, what, fix } in findings {
        let level = match level {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Warn => "WARN",
            Level::Fail => "FAIL",
        };
        text.push_str(&format!("{level:4}  {check:width$}  {what}\n"));
        if let Some(fix) = fix {
            text.push_str(&format!("      {:width$}  fix: {fix}\n", ""));
        }
    }
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    text.push_str(match worst {
        Level::Fail => "\nA node would not start here.\n",
        Level::Warn => "\nA node would start here, but see above.\n",
        _ => "\nA node would run here.\n",
    });
    text
}
