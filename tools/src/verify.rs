//! `uringmq verify`: every byte of a data directory, without a node.
//!
//! Reads top-down: [`run`] -> `engine::audit` (all the work) -> `text` or `json` (the answer).
//! Absent: repair of what is stored: only derived data can be made again.

pub(crate) mod json;
pub(crate) mod text;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use engine::audit::directory::{Checked, segment_bytes, verify_all};
use engine::audit::repair::{Repaired, Why, removable, repair};
use engine::audit::topics::Topics;
use engine::data_dir::{DataDir, DirError};
use indicatif::{ProgressBar, ProgressStyle};

use crate::exit;
use crate::output::{print, print_json, say};

const DAMAGE: u8 = 1;
const CANNOT_READ: u8 = 2;
const DERIVED_DAMAGE: u8 = 3;

/// How often the bar is redrawn.
const TICK: Duration = Duration::from_millis(100);

/// Options of `verify`.
///
/// Checks that everything in the files is what was written: superblocks, segment headers, groups,
/// entries, the checksum of every batch, padding, offsets without gaps, store times that never go
/// back, the checkpoint that a restart begins with; and that every index file says exactly what its
/// segment holds. What a crash may leave (a torn tail, leftovers behind it, unfinished index files)
/// is told apart from damage.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Options {
    /// The data directory. Its node must be stopped.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Do not take the directory's lock: for a copy on a read-only file system. Beside a running
    /// node this finds damage where there is none.
    #[arg(long)]
    read_only: bool,
    /// Remove what is derived and damaged or of no use: index files of sealed segments, which the
    /// node makes again when it starts, and spare files. Segments and superblocks are never touched.
    #[arg(long, conflicts_with = "read_only")]
    repair: bool,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

const HELP: &str = "Examples:
  uringmq verify ./uringmq-data
  uringmq verify /mnt/copy --read-only --json | jq '.damages'
  uringmq verify ./uringmq-data --repair

Exit codes:
  0  clean: everything is what was written, or --repair has removed what was not
  1  what is stored is damaged: restore it from a copy
  2  cannot read: not a data directory, in use, or the file system failed; also wrong usage
  3  only index files are damaged: nothing that is stored; --repair removes them";

/// What was found in a directory.
struct Outcome {
    dir: DataDir,
    shards: Vec<Checked>,
    topics: Topics,
    elapsed: Duration,
    /// Files that were removed, or should have been.
    repaired: Vec<Repaired>,
}

impl Outcome {
    fn damages(&self) -> u64 {
        self.shards.iter().map(|shard| shard.report.damages_total).sum()
    }

    /// Damages to derived data.
    fn derived(&self) -> u64 {
        self.shards.iter().map(|shard| shard.report.derived_damages).sum()
    }

    /// Whether damaged index files are still there.
    fn needs_repair(&self) -> bool {
        let gone = |shard: u16, name| {
            let mut repaired = self.repaired.iter();
            repaired.any(|file| (file.shard, file.name) == (shard, name) && file.result.is_ok())
        };
        self.shards.iter().any(|checked| {
            let files = removable(checked).into_iter();
            let mut damaged = files.filter(|(_, why)| *why == Why::Damaged);
            let kept = !checked.report.derived.kept.is_empty();
            kept || damaged.any(|(name, _)| !gone(checked.shard, name))
        })
    }

    fn unreadable(&self) -> bool {
        self.shards.iter().any(|shard| shard.unreadable.is_some())
    }

    /// Bytes of the segment files.
    fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.report.walked.segment_bytes).sum()
    }

    /// Bytes a second.
    fn rate(&self) -> f64 {
        self.bytes() as f64 / self.elapsed.as_secs_f64().max(1e-6)
    }
}

/// Checks a directory.
pub(crate) fn run(options: &Options) -> ExitCode {
    let dir = match open(&options.dir, options.read_only) {
        Ok(dir) => dir,
        Err(error) => return refused(&error, CANNOT_READ),
    };
    let progress = progress(segment_bytes(&dir), options.json);
    let begun = Instant::now();
    let (shards, topics) = verify_all(&dir, &mut |bytes| progress.inc(bytes));
    progress.finish_and_clear();
    let elapsed = begun.elapsed();
    let repaired = match options.repair {
        true => shards.iter().flat_map(|checked| repair(&dir, checked)).collect(),
        false => Vec::new(),
    };
    let outcome = Outcome { dir, shards, topics, elapsed, repaired };
    let printed = match options.json {
        true => print_json(&json::document(&outcome)),
        false => print(&text::report(&outcome)),
    };
    if let Err(failure) = printed {
        return failure.report();
    }
    if outcome.damages() > outcome.derived() {
        ExitCode::from(DAMAGE)
    } else if outcome.unreadable() {
        ExitCode::from(CANNOT_READ)
    } else if outcome.needs_repair() {
        ExitCode::from(DERIVED_DAMAGE)
    } else {
        ExitCode::SUCCESS
    }
}

/// Opens a data directory that no node uses.
pub(crate) fn open(dir: &Path, read_only: bool) -> Result<DataDir, DirError> {
    if read_only {
        say("uringmq: the lock is not taken: a running node may be changing what is read");
    }
    DataDir::open_existing(dir, !read_only)
}

/// Says why a directory cannot be opened, and what to do about it.
pub(crate) fn refused(error: &DirError, code: u8) -> ExitCode {
    let code = exit::fail(code, error);
    match error {
        DirError::InUse { .. } => say("  stop its node first; --read-only looks all the same"),
        DirError::Io { what: "opening" | "locking", .. } => {
            say("  if it cannot be written to: --read-only does without the lock");
        }
        _ => {}
    }
    code
}

/// A bar on a terminal, nothing elsewhere.
fn progress(bytes: u64, quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(bytes);
    let style = "{elapsed_precise} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(TICK);
    bar
}
