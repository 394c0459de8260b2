//! Case 11: a node that holds many messages against one that holds none.
//!
//! Two nodes; one is filled. Then, in rounds, both get the same open-loop load (the other one
//! stopped), and places all over the log are looked for by offset (a fetch of one entry) and by
//! time, against raw reads of random blocks of the very same segment files.
//!
//! What is counted as memory is the growth of the resident set since the node had written enough to
//! have all its buffers; as index, the bytes of index files against those of the log.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::limits::SEGMENT_BYTES_DEFAULT;
use hdrhistogram::Histogram;
use net::wire::ListKind;
use nix::sys::statvfs::statvfs;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::stage::{Resting, Stage, counter, topic, usage};
use crate::load::control::Control;
use crate::load::{Load, Messages};
use crate::report::Ack;
use crate::report::grid::{bytes, count, rate};
use crate::scenario::BenchError;
use crate::scenario::goals::model::Bound::AtMost;
use crate::scenario::site::log_files;
use crate::yardstick::Probe;
use crate::yardstick::probe::histogram;
use crate::yardstick::random_reads::random_reads;

const MESSAGES: u64 = 100_000_000;
const MESSAGES_SMOKE: u64 = 100_000;
const MESSAGE_BYTES: u32 = 100;
const BATCH: u32 = 32;
const QUEUES: u16 = 16;
/// Requests a second of the open loop.
const REQUESTS_PER_S: f64 = 1_000.0;
/// What a message takes of the log beside its bytes, its share of batch and entry included.
const OVERHEAD_BYTES: u64 = 20;
/// Looks in each round, of each kind.
const SEEKS: u32 = 2_000;
const SEEKS_SMOKE: u32 = 100;
/// Of the messages, as many are sent one by one to a further node: several times as long for each.
const UNBATCHED_SHARE: u64 = 20;
/// Filled before the memory is looked at for the first time: every buffer has been used then.
const WARM_SHARE: u64 = 50;
const MIB: f64 = 1024.0 * 1024.0;
/// Nothing may go while it is measured. Small segments make a small backlog many segments, too.
const KEEP: [&str; 2] = ["--retention-disk", "none"];
const SMALL_SEGMENTS: [&str; 2] = ["--segment-size", "1MiB"];

/// A node, its topic, and a connection for questions.
struct Side {
    node: Resting,
    control: Control,
    topic: u32,
}

pub(super) fn measure(stage: &mut Stage<'_>) -> Result<(), BenchError> {
    let smoke = stage.size.smoke;
    let wanted = stage.size.messages.unwrap_or(if smoke { MESSAGES_SMOKE } else { MESSAGES });
    check_room(stage, wanted)?;
    stage.step("starting two nodes");
    let messages = Arc::new(Messages::generated(MESSAGE_BYTES));
    let mut empty = side(stage)?;
    empty.node.rest()?;
    let mut full = side(stage)?;
    fill(stage, &mut full, &messages, (wanted / WARM_SHARE, BATCH))?;
    full.node.broker.settle()?;
    let rss_before = usage(&full.node.broker)?.rss_bytes;
    let began = Instant::now();
    fill(stage, &mut full, &messages, (wanted, BATCH))?;
    let filled_in = began.elapsed();
    stage.step("waiting until the log is at rest");
    full.node.broker.settle()?;
    if stage.stopped() {
        return Ok(());
    }
    held(stage, &mut full, wanted, filled_in)?;
    unbatched(stage, &messages, wanted / UNBATCHED_SHARE)?;
    for round in 0..stage.options.rounds {
        let name = format!("round {} of {}", round + 1, stage.options.rounds);
        produce(stage, &mut empty, &mut full, &messages, round)?;
        seeks(stage, &mut full, &name)?;
        if stage.stopped() {
            return Ok(());
        }
    }
    let grown = usage(&full.node.broker)?.rss_bytes.saturating_sub(rss_before) as f64 / MIB;
    stage.add("growth of resident memory", "MiB", AtMost(64.0), grown);
    Ok(())
}

/// A full disk in the middle would help nobody.
fn check_room(stage: &Stage<'_>, wanted: u64) -> Result<(), BenchError> {
    let needed = wanted * (u64::from(MESSAGE_BYTES) + OVERHEAD_BYTES) + (1 << 30);
    fs::create_dir_all(&stage.place).map_err(BenchError::dir("making", &stage.place))?;
    let failed =
        |errno: nix::errno::Errno| BenchError::dir("looking at", &stage.place)(errno.into());
    let room = statvfs(&stage.place).map_err(failed)?;
    let free = room.blocks_available() * room.fragment_size();
    if !stage.size.smoke && free < needed {
        return Err(BenchError::Failed(format!(
            "{} messages need about {}, and {} has {} free; choose a larger disk with --data-dir, \
             or fewer with --messages",
            count(wanted),
            bytes(needed),
            stage.place.display(),
            bytes(free)
        )));
    }
    Ok(())
}

fn side(stage: &Stage<'_>) -> Result<Side, BenchError> {
    let mut further = KEEP.to_vec();
    if stage.size.smoke {
        further.extend(SMALL_SEGMENTS);
    }
    let node = stage.node(stage.options.waiting, &further)?;
    let mut control = node.broker.control()?;
    let topic = topic(&mut control, "backlog", QUEUES, Ack::Written)?;
    Ok(Side { node, control, topic })
}

/// Messages that a side holds.
fn holds(side: &mut Side) -> Result<u64, BenchError> {
    let mut all = 0;
    for queue in 0..QUEUES {
        let mut at = |kind| side.control.offset(side.topic, queue, kind, 0);
        let end = at(ListKind::Latest).map_err(BenchError::load("asking for an end"))?;
        let start = at(ListKind::Earliest).map_err(BenchError::load("asking for a start"))?;
        all += end.offset - start.offset;
    }
    Ok(all)
}

/// Fills up to so many messages in batches of so many, two seconds at a time.
fn fill(
    stage: &mut Stage<'_>,
    side: &mut Side,
    messages: &Arc<Messages>,
    (wanted, batch): (u64, u32),
) -> Result<(), BenchError> {
    let load = Load {
        topics: vec![side.topic],
        queues: QUEUES,
        batch,
        in_flight: 32 * BATCH / batch,
        timings: false,
        warm_up: Duration::ZERO,
        measure: Duration::from_millis(if stage.size.smoke { 100 } else { 2_000 }),
        ..stage.load(Ack::Written, 4, messages)
    };
    loop {
        let held = holds(side)?;
        if held >= wanted || stage.stopped() {
            return Ok(());
        }
        stage.step(&format!("filling: {} of {}", count(held), count(wanted)));
        stage.run(&side.node.broker, load.clone())?;
    }
}

/// What the backlog is, and what its index takes.
fn held(
    stage: &mut Stage<'_>,
    full: &mut Side,
    wanted: u64,
    filled_in: Duration,
) -> Result<(), BenchError> {
    let held = holds(full)?;
    let log = counter(&mut full.control, "log_end")?;
    let index = lengths(&log_files(full.node.broker.data(), "index-")?);
    let in_memory = counter(&mut full.control, "index_bytes")?;
    let segments = counter(&mut full.control, "sealed_segments")?;
    stage.note(format!(
        "{} messages of {MESSAGE_BYTES} B in batches of {BATCH} over {QUEUES} queues: {} of log, {} \
         of index files for {} sealed segments ({} of it in memory); filled at {} messages/s, \
         acknowledged when written",
        count(held),
        bytes(log),
        bytes(index),
        count(segments),
        bytes(in_memory),
        rate(wanted as f64 / filled_in.as_secs_f64().max(1e-3))
    ));
    stage.add("index files", "% of the log", AtMost(1.0), 100.0 * index as f64 / log.max(1) as f64);
    Ok(())
}

/// What messages that come one by one take, on a node of its own.
fn unbatched(
    stage: &mut Stage<'_>,
    messages: &Arc<Messages>,
    wanted: u64,
) -> Result<(), BenchError> {
    let mut side = side(stage)?;
    let began = Instant::now();
    fill(stage, &mut side, messages, (wanted, 1))?;
    let filled_in = began.elapsed().as_secs_f64();
    side.node.broker.settle()?;
    let held = holds(&mut side)?;
    let segments = counter(&mut side.control, "sealed_segments")?;
    let log = counter(&mut side.control, "log_end")?;
    let index = lengths(&log_files(side.node.broker.data(), "index-")?);
    let segment = if stage.size.smoke { 1 << 20 } else { SEGMENT_BYTES_DEFAULT };
    stage.note(format!(
        "unbatched, {} messages: {} of log, {:.0} B a message; index files take {:.2} % of {} sealed \
         segments; filled at {} messages/s",
        count(held),
        bytes(log),
        log as f64 / held.max(1) as f64,
        100.0 * index as f64 / (segments * segment).max(1) as f64,
        count(segments),
        rate(held as f64 / filled_in.max(1e-3))
    ));
    Ok(())
}

/// The same load on both, in an order that changes with the round.
fn produce(
    stage: &mut Stage<'_>,
    empty: &mut Side,
    full: &mut Side,
    messages: &Arc<Messages>,
    round: u32,
) -> Result<(), BenchError> {
    full.node.rest()?;
    let p99 = |stage: &mut Stage<'_>, side: &mut Side, name: &str| {
        stage.step(&format!("produce with {name} log, round {}", round + 1));
        side.node.wake();
        let load = Load {
            topics: vec![side.topic],
            queues: QUEUES,
            batch: BATCH,
            in_flight: 32,
            rate_per_s: Some(REQUESTS_PER_S * f64::from(BATCH)),
            ..stage.load(Ack::Durable, 4, messages)
        };
        let outcome = stage.run(&side.node.broker, load)?;
        side.node.rest()?;
        Ok::<f64, BenchError>(outcome.p99_us())
    };
    let (with, without) = if round.is_multiple_of(2) {
        let without = p99(stage, empty, "an empty")?;
        (p99(stage, full, "the long")?, without)
    } else {
        let with = p99(stage, full, "the long")?;
        (with, p99(stage, empty, "an empty")?)
    };
    full.node.wake();
    stage.add_ratio(("produce, durable p99, 1000/s", "x empty"), AtMost(1.1), (with, without));
    Ok(())
}

/// Looks all over the log, against raw reads of the same files.
fn seeks(stage: &mut Stage<'_>, full: &mut Side, round: &str) -> Result<(), BenchError> {
    stage.step(&format!("looking for offsets and times, {round}"));
    let count = if stage.size.smoke { SEEKS_SMOKE } else { SEEKS };
    let mut random = SmallRng::seed_from_u64(u64::from(stage.options.rounds));
    let mut places = Vec::new();
    for queue in 0..QUEUES {
        let at = |control: &mut Control, kind, time| {
            let found = control.offset(full.topic, queue, kind, time);
            found.map_err(BenchError::load("asking for an offset"))
        };
        let end = at(&mut full.control, ListKind::Latest, 0)?;
        let first = at(&mut full.control, ListKind::ByTimestamp, 0)?;
        places.push((queue, first, end.offset));
    }
    let now_ms = unix_ms();
    let mut by_offset = Looks::before(&mut full.control)?;
    for _ in 0..count {
        let (queue, first, end) = places[random.random_range(0..places.len())];
        let offset = random.random_range(first.offset..end.max(first.offset + 1));
        by_offset.time(|| full.control.fetch_one(full.topic, queue, offset).map(|_| ()))?;
    }
    let by_offset = by_offset.after(&mut full.control)?;
    let mut by_time = Looks::before(&mut full.control)?;
    for _ in 0..count {
        let (queue, first, _) = places[random.random_range(0..places.len())];
        let time = random.random_range(first.timestamp_ms..now_ms.max(first.timestamp_ms + 1));
        let kind = ListKind::ByTimestamp;
        by_time.time(|| full.control.offset(full.topic, queue, kind, time).map(|_| ()))?;
    }
    let by_time = by_time.after(&mut full.control)?;
    stage.step(&format!("raw reads of the same files, {round}"));
    full.node.rest()?;
    let probe = Probe {
        cpu: stage.options.broker_cpu(),
        measure: stage.time(),
        ops_max: u64::from(count),
        ..Probe::default()
    };
    let raw = random_reads(&log_files(full.node.broker.data(), "segment-")?, &probe)?.p99_us();
    full.node.wake();
    for (name, (p99, reads)) in [("by offset", by_offset), ("by time", by_time)] {
        let what = format!("seek {name}, p99 over loopback");
        stage.add_ratio((&what, "x raw 4K read"), AtMost(3.0), (p99, raw));
        let what = format!("device reads of a seek {name}");
        stage.add(&what, "reads", AtMost(3.0), reads);
    }
    Ok(())
}

/// Looks that are timed, and the device reads they cost.
struct Looks {
    latency: Histogram<u64>,
    reads_before: u64,
}

impl Looks {
    fn before(control: &mut Control) -> Result<Self, BenchError> {
        Ok(Self { latency: histogram(), reads_before: reads(control)? })
    }

    fn time(
        &mut self,
        look: impl FnOnce() -> Result<(), crate::load::LoadError>,
    ) -> Result<(), BenchError> {
        let began = Instant::now();
        look().map_err(BenchError::load("a seek"))?;
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.latency.saturating_record(nanos);
        Ok(())
    }

    /// p99 in microseconds, and reads a look.
    fn after(self, control: &mut Control) -> Result<(f64, f64), BenchError> {
        let reads = reads(control)? - self.reads_before;
        let p99 = self.latency.value_at_quantile(0.99) as f64 / 1e3;
        Ok((p99, reads as f64 / self.latency.len().max(1) as f64))
    }
}

fn reads(control: &mut Control) -> Result<u64, BenchError> {
    Ok(counter(control, "cold_reads")? + counter(control, "index_reads")?)
}

fn unix_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

fn lengths(files: &[PathBuf]) -> u64 {
    files.iter().filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum()
}
