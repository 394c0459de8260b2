//! `uringmq tune`: measures the device under a directory, says what it found, and writes the file
//! that a node on it reads.
//!
//! Reads top-down: [`run`] -> claim the directory -> `bench::tune` (all the work) -> file, text or
//! JSON. Invariant: however it ends, nothing is left but the file, and that only if it is complete.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bench::tune::{FREE_BYTES_MIN, Findings, Settings, TuneError, measure, sentences, table};
use clap::Args;
use config::value::Time;
use engine::data_dir::{DirError, claim};
use engine::device::{Choices, DeviceFile, Evidence, FileError, Place};
use serde::Serialize;
use thiserror::Error;

use crate::exit;
use crate::output::{print, print_json, say};
use crate::stop::flag_on_signal;

const SECONDS_DEFAULT: f64 = 30.0;
const SECONDS_QUICK: f64 = 5.0;
const ROUNDS: u32 = 3;
const ROUNDS_QUICK: u32 = 2;

/// Options of `tune`.
///
/// Measures durable writes by O_DSYNC and by write and fdatasync, into written and unwritten space,
/// alone, paced and pipelined; whether polling delays them; and two ways to send cold records. Says
/// what it found and what a node should do, and writes both to DIR/device.toml, which
/// `uringmq serve --data DIR` reads. Let the machine be quiet meanwhile.
#[derive(Debug, Args)]
#[command(after_help = exit::after_help(
    "  uringmq tune ./uringmq-data\n  \
     uringmq tune /mnt/nvme/mq --dry-run\n  \
     uringmq tune ./uringmq-data --quick --json | jq '.choices'"
))]
pub(crate) struct Options {
    /// A data directory whose node is stopped, or a new one; it is made if it is missing.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// How long to measure: seconds, or a time with its unit, such as 2m.
    #[arg(long, value_name = "TIME", default_value_t = SECONDS_DEFAULT, value_parser = seconds)]
    seconds: f64,
    /// A rough look, in 5 seconds.
    #[arg(long, conflicts_with = "seconds")]
    quick: bool,
    /// Measure and say what was found; write no file.
    #[arg(long)]
    dry_run: bool,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = match text.parse::<f64>() {
        Ok(seconds) => seconds,
        Err(_) => text.parse::<Time>()?.0.as_secs_f64(),
    };
    if (1.0..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("from 1s to 1h".to_owned()) }
}

/// Why there is no file.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Dir(#[from] DirError),
    #[error(transparent)]
    Tune(#[from] TuneError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{what} {}: {source}", dir.display())]
    Io { what: &'static str, dir: PathBuf, source: std::io::Error },
    #[error("the system does not say which file system {} is on", dir.display())]
    NoPlace { dir: PathBuf },
}

/// What is said in JSON.
#[derive(Serialize)]
struct Document<'a> {
    /// The file, if one was written.
    file: Option<&'a Path>,
    choices: &'a Choices,
    place: &'a Place,
    evidence: &'a Evidence,
    explanation: Vec<String>,
}

/// Tunes.
pub(crate) fn run(options: &Options) -> ExitCode {
    let stop = match flag_on_signal("nothing is written") {
        Ok(stop) => stop,
        Err(errno) => return exit::fail(exit::CANNOT_START, &errno),
    };
    match tune(options, &stop) {
        Ok(found) => match show(options, &found) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(),
        },
        Err(failure) => refused(&failure),
    }
}

/// What was found, where, and the file it was written to.
struct Tuned {
    findings: Findings,
    place: Place,
    file: Option<PathBuf>,
}

fn tune(options: &Options, stop: &AtomicBool) -> Result<Tuned, Failure> {
    let dir = &options.dir;
    let made = Made::new(dir)?;
    let _claim = claim(dir)?;
    let place = Place::of(dir).ok_or_else(|| Failure::NoPlace { dir: dir.clone() })?;
    let seconds = if options.quick { SECONDS_QUICK } else { options.seconds };
    let rounds = if options.quick { ROUNDS_QUICK } else { ROUNDS };
    let budget = Duration::from_secs_f64(seconds);
    let settings = Settings { budget, rounds, quiet: options.json };
    let findings = measure(dir, &settings, stop)?;
    if options.dry_run {
        return Ok(Tuned { findings, place, file: None });
    }
    let Findings { choices, evidence, .. } = &findings;
    let file = DeviceFile::new(*choices, place.clone(), evidence.clone()).write(dir)?;
    made.keep();
    Ok(Tuned { findings, place, file: Some(file) })
}

fn show(options: &Options, tuned: &Tuned) -> Result<(), crate::failure::Failure> {
    let Tuned { findings, place, file } = tuned;
    if options.json {
        let explanation = sentences(findings);
        let Findings { choices, evidence, .. } = findings;
        let file = file.as_deref();
        return print_json(&Document { file, choices, place, evidence, explanation });
    }
    let end = match file {
        Some(file) => format!(
            "wrote {}; it counts when the node starts: uringmq serve --data {}",
            file.display(),
            options.dir.display()
        ),
        None => "dry run: nothing was written".to_owned(),
    };
    print(&format!("{}\n{end}\n", table::text(findings, place)))
}

/// Says why there is no file, and what to do about it.
fn refused(failure: &Failure) -> ExitCode {
    let code = match failure {
        Failure::Tune(TuneError::Stopped) => exit::FAILED,
        Failure::Tune(TuneError::TooSlow { .. }) | Failure::File(_) => exit::FAILED,
        _ => exit::CANNOT_START,
    };
    let code = exit::fail(code, failure);
    match failure {
        Failure::Dir(DirError::InUse { .. }) => {
            say("  stop its node first: the two would measure each other");
        }
        Failure::Tune(TuneError::NoRoom { .. }) => say(format_args!(
            "  make room, or name a directory on the same disk with {} MiB",
            FREE_BYTES_MIN >> 20
        )),
        _ => {}
    }
    code
}

/// Directories made for measuring; removed again unless there is something to keep in them.
struct Made {
    /// The innermost first.
    dirs: Vec<PathBuf>,
}

impl Made {
    fn new(dir: &Path) -> Result<Self, Failure> {
        let failed = |source| Failure::Io { what: "making", dir: dir.to_owned(), source };
        let absolute = std::path::absolute(dir).map_err(failed)?;
        let missing = absolute.ancestors().take_while(|dir| !dir.exists());
        let made = Self { dirs: missing.map(Path::to_owned).collect() };
        fs::create_dir_all(dir).map_err(failed)?;
        Ok(made)
    }

    fn keep(mut self) {
        self.dirs.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // One that is not empty is somebody else's by now.
        for dir in &self.dirs {
            let _ = fs::remove_dir(dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_removed_unless_something_is_kept_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        drop(Made::new(&inner).unwrap());
        assert!(!dir.path().join("a").exists() && dir.path().exists());
        Made::new(&inner).unwrap().keep();
        assert!(inner.exists());
        drop(Made::new(&inner).unwrap());
        assert!(inner.exists(), "it was there before");
    }

    #[test]
    fn seconds_have_a_range() {
        assert_eq!(seconds("1.5"), Ok(1.5));
        for bad in ["0", "-3", "nan", "inf", "4000", "soon"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
