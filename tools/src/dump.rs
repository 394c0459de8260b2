//! `uringmq dump`: the groups and entries of a data directory, readable.
//!
//! Reads top-down: [`run`] -> `engine::audit` (finds them, shows damage on the way) -> `Dumper`
//! (which of them) -> `text` or `json` (how). With `--index` it is index files: `index`.
//! Names of queues come from shard 0's log: it is read beforehand unless it is what is printed.

mod index;
mod json;
mod text;

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use engine::audit::directory::{expected, open_shard, topics};
use engine::audit::topics::{Topics, changes_of};
use engine::audit::{Damage, Found, Group, Unreadable, Visitor, walk_from};
use engine::data_dir::DataDir;
use engine::log::entry_format::Kind;
use engine::log::position::LogPos;
use engine::log::superblock_format::Superblock;

use crate::exit;
use crate::failure::Failure;
use crate::output::written;
use crate::verify;

/// Options of `dump`.
///
/// Prints what a shard's superblock says, and every group of its log with its entries, in the order
/// in which they were written, and every damage where it is met. What lies outside of the log (leftovers of crashes) is not
/// shown.
#[derive(Debug, Args)]
#[command(after_help = exit::after_help(
    "  uringmq dump ./uringmq-data --limit 20\n  \
     uringmq dump ./uringmq-data --topic greetings --queue 0 --payload\n  \
     uringmq dump ./uringmq-data --index 3 --topic greetings\n  \
     uringmq dump ./uringmq-data --shard 0 --from 8192 --json | jq -c 'select(.type == \"entry\")'"
))]
pub(crate) struct Options {
    /// The data directory. Its node must be stopped.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Only this shard; otherwise all of them, one after the other.
    #[arg(long, value_name = "N")]
    shard: Option<u16>,
    /// Begin with the group that holds this log position, or the first behind it. Where there are
    /// several shards --shard must be given.
    #[arg(long, value_name = "POS", default_value_t = 0)]
    from: u64,
    /// Stop after this many entries.
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<u64>,
    /// Only entries of this topic; of a deleted one, too.
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Only entries of this queue of it.
    #[arg(long, value_name = "N", requires = "topic")]
    queue: Option<u16>,
    /// Show keys and values of records, with unprintable bytes escaped.
    #[arg(long)]
    payload: bool,
    /// Show index files instead: of this sealed segment, or of all; --limit is a number of spans.
    #[arg(long, value_name = "SEGMENT", conflicts_with_all = ["from", "payload"])]
    index: Option<Option<u64>>,
    /// One JSON object per group, entry and damage, and line. What is not UTF-8 is in base64, in
    /// a field ending in `_base64`.
    #[arg(long)]
    json: bool,
    /// Do not take the directory's lock: for a copy on a read-only file system, or a glance at a
    /// running node.
    #[arg(long)]
    read_only: bool,
}

/// Prints what is asked for.
pub(crate) fn run(options: &Options) -> ExitCode {
    let dir = match verify::open(&options.dir, options.read_only) {
        Ok(dir) => dir,
        Err(error) => return verify::refused(&error, exit::CANNOT_START),
    };
    match dump(options, &dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn dump(options: &Options, dir: &DataDir) -> Result<(), Failure> {
    let shards = match options.shard {
        Some(shard) if shard >= dir.shards => {
            let (path, count) = (dir.path().display(), dir.shards);
            return Err(Failure::Usage(format!("{path} has {count} shards, numbered from 0")));
        }
        Some(shard) => shard..shard + 1,
        None if options.from > 0 && dir.shards > 1 => {
            let why = "a position means something in one shard only: add --shard N";
            return Err(Failure::Usage(why.to_owned()));
        }
        None => 0..dir.shards,
    };
    if let Some(number) = options.index {
        return index::dump(options, dir, shards, number);
    }
    let in_order = shards.start == 0 && options.from == 0 && options.topic.is_none();
    let topics = if in_order { Topics::default() } else { topics(dir).map_err(unreadable)? };
    let mut dumper = Dumper {
        options,
        queues: wanted(options, &topics)?,
        topics,
        shard: 0,
        left: options.limit.unwrap_or(u64::MAX),
        out: BufWriter::with_capacity(OUT_BYTES, io::stdout()),
        result: Ok(()),
    };
    for shard in shards {
        dumper.shard = shard;
        let walked = open_shard(dir, shard).and_then(|mut disk| {
            walk_from(&mut disk, &expected(dir, shard), LogPos(options.from), &mut dumper)
        });
        match &dumper.result {
            // The reader has seen enough (`| head`).
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(_) => break,
            Ok(()) => walked.map_err(unreadable)?,
        };
        if dumper.left == 0 {
            break;
        }
    }
    written(dumper.result.and_then(|()| dumper.out.flush()))
}

/// Output is gathered up to this size.
const OUT_BYTES: usize = 256 * 1024;

fn unreadable(error: Unreadable) -> Failure {
    let at = error.at.map(|place| format!(" at {place}")).unwrap_or_default();
    Failure::Incomplete(format!("{error}{at}"))
}

/// Ids of the queues that are asked for; `None`: all.
fn wanted(options: &Options, topics: &Topics) -> Result<Option<BTreeSet<u32>>, Failure> {
    let Some(topic) = &options.topic else { return Ok(None) };
    let queues = topics.queues_of(topic);
    let number = options.queue;
    let ids: BTreeSet<u32> =
        queues.filter(|(_, queue)| number.is_none_or(|n| n == *queue)).map(|(id, _)| id).collect();
    if ids.is_empty() {
        let queue = number.map(|number| format!("queue {number} of ")).unwrap_or_default();
        return Err(Failure::Incomplete(format!("there never was {queue}a topic {topic} here")));
    }
    Ok(Some(ids))
}

/// Prints the groups it is shown.
struct Dumper<'o> {
    options: &'o Options,
    queues: Option<BTreeSet<u32>>,
    topics: Topics,
    shard: u16,
    /// Entries that may still be printed.
    left: u64,
    out: BufWriter<io::Stdout>,
    result: io::Result<()>,
}

impl Visitor for Dumper<'_> {
    fn begins(&mut self, _: LogPos, superblock: Option<&Superblock>) {
        let from_front = self.options.topic.is_none() && self.options.from == 0;
        let Some(superblock) = superblock.filter(|_| from_front) else { return };
        if self.result.is_ok() {
            self.result = match self.options.json {
                true => json::superblock(&mut self.out, superblock),
                false => text::superblock(&mut self.out, superblock),
            };
        }
    }

    fn group(&mut self, group: &Group) -> ControlFlow<()> {
        self.show(group, group.entries())
    }

    fn broken_group(&mut self, group: &Group) -> ControlFlow<()> {
        self.show(group, group.checked().filter_map(Result::ok))
    }

    fn damage(&mut self, damage: &Damage) {
        if self.result.is_ok() {
            self.result = match self.options.json {
                true => json::damage(&mut self.out, self.shard, damage),
                false => writeln!(self.out, "DAMAGE shard {}: {damage}", self.shard),
            };
        }
    }

    fn passed(&mut self, _: u64) {}
}

impl Dumper<'_> {
    fn show<'g>(
        &mut self,
        group: &Group,
        entries: impl Iterator<Item = Found<'g>>,
    ) -> ControlFlow<()> {
        if self.result.is_ok() && group.end() > LogPos(self.options.from) {
            self.result = self.print(group, entries);
        }
        if self.result.is_err() || self.left == 0 {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn print<'g>(
        &mut self,
        group: &Group,
        entries: impl Iterator<Item = Found<'g>>,
    ) -> io::Result<()> {
        let mut headed = false;
        for found in entries {
            let changes = changes_of(&found);
            for change in changes.iter().flatten() {
                self.topics.learn(change);
            }
            let change = changes.filter(|_| found.header.kind == Kind::Metadata);
            let change = change.as_ref().and_then(|changes| changes.first());
            let queue = found.header.queue;
            if self.left == 0 || self.queues.as_ref().is_some_and(|ids| !ids.contains(&queue)) {
                continue;
            }
            self.left -= 1;
            let shown = Shown {
                shard: self.shard,
                group,
                found: &found,
                name: self.topics.queue(queue),
                change,
                payload: self.options.payload,
            };
            let is_first = !std::mem::replace(&mut headed, true);
            match (self.options.json, is_first) {
                (true, true) => json::group(&mut self.out, self.shard, group)?,
                (false, true) => text::group(&mut self.out, self.shard, group)?,
                (_, false) => {}
            }
            match self.options.json {
                true => json::entry(&mut self.out, &shown)?,
                false => text::entry(&mut self.out, &shown)?,
            }
        }
        Ok(())
    }
}

/// An entry with what is known about it.
struct Shown<'a> {
    shard: u16,
    group: &'a Group,
    found: &'a Found<'a>,
    name: Option<&'a engine::audit::topics::QueueName>,
    change: Option<&'a engine::broker::change_format::Change>,
    payload: bool,
}
