//! Case 10: how long a node takes to serve again after SIGKILL, by length of its log.
//!
//! A directory for each length is filled over loopback and its node killed. In every round the nodes
//! are started and killed in turn, there and back. Time counts from the start of the process to the
//! first durable acknowledgement. All logs end in the middle of a segment, so that what is read of
//! their tails is alike. The yardstick R reads the very bytes that the node has to read (the last segment
//! up to its end, and where a restart looks for what may lie behind it), once: before the node in every
//! second round, behind it in the others. Space that was never written costs both nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::io::FileName;
use engine::limits::SURVEY_BYTES;
use nix::sys::statvfs::statvfs;

use super::stage::{Stage, counter, topic};
use crate::load::{Load, Messages};
use crate::report::Ack;
use crate::report::grid::{bytes, count};
use crate::scenario::BenchError;
use crate::scenario::goals::model::Bound::{AtLeast, AtMost};
use crate::scenario::options::wire_ack;
use crate::scenario::site::{Broker, Scratch};
use crate::yardstick::process::Usage;
use crate::yardstick::{Probe, Space, device};

const GIB: f64 = (1_u64 << 30) as f64;
const LENGTHS_GIB: [f64; 3] = [1.0, 10.0, 50.0];
const LENGTHS_SMOKE: [f64; 2] = [0.01, 0.04];
const SEGMENT_BYTES: u64 = 256 << 20;
const SEGMENT_SMOKE: u64 = 4 << 20;
const MESSAGE_BYTES: u32 = 4096;
/// Messages of a batch: 256 KiB.
const BATCH: u32 = 64;
const QUEUES: u16 = 4;
/// Left on the disk beside the logs.
const SPARE_BYTES: u64 = 2 << 30;
/// Bytes of one of R's reads.
const READ_BYTES: u64 = 256 << 10;
/// The length that others are compared with.
const FIRST: usize = 0;

/// A directory of a killed node.
struct Log {
    gib: f64,
    dir: Scratch,
    topic: u32,
    /// The segment in which it ends, and how much of it a restart reads.
    last_segment: (PathBuf, u64),
}

pub(super) fn measure(stage: &mut Stage<'_>) -> Result<(), BenchError> {
    let lengths = lengths(stage)?;
    let messages = Arc::new(Messages::generated(MESSAGE_BYTES));
    let mut logs = Vec::new();
    for gib in lengths {
        logs.push(fill(stage, gib, &messages)?);
        if stage.stopped() {
            return Ok(());
        }
    }
    for round in 0..stage.options.rounds {
        let mut order: Vec<usize> = (0..logs.len()).collect();
        if !round.is_multiple_of(2) {
            order.reverse();
        }
        let mut took = vec![None; logs.len()];
        for at in order {
            let Some((log, took)) = logs.get(at).zip(took.get_mut(at)) else { continue };
            stage.step(&format!("{} GiB, round {}", log.gib, round + 1));
            *took = Some(restart(stage, log, round.is_multiple_of(2))?);
            if stage.stopped() {
                return Ok(());
            }
        }
        compare(stage, &logs, &took);
    }
    Ok(())
}

/// What was measured in a round: the longer logs against the first.
fn compare(stage: &mut Stage<'_>, logs: &[Log], took: &[Option<f64>]) {
    let first = took.get(FIRST).copied().flatten();
    for (log, took) in logs.iter().zip(took) {
        let Some(ms) = *took else { continue };
        let what = format!("{} GiB: to the first durable ack", log.gib);
        stage.add(&what, "ms", AtMost(1_000.0), ms);
    }
    for (log, took) in logs.iter().zip(took).skip(FIRST + 1) {
        let (Some(ms), Some(first)) = (*took, first) else { continue };
        let what =
            format!("{} GiB against {} GiB", log.gib, logs.first().map_or(0.0, |log| log.gib));
        stage.add_ratio((&what, "x the time"), AtMost(1.2), (ms, first));
    }
}

/// Those that fit the disk.
fn lengths(stage: &mut Stage<'_>) -> Result<Vec<f64>, BenchError> {
    if stage.size.smoke {
        return Ok(LENGTHS_SMOKE.to_vec());
    }
    let wanted = if stage.size.gib.is_empty() { &LENGTHS_GIB[..] } else { &stage.size.gib[..] };
    std::fs::create_dir_all(&stage.place).map_err(BenchError::dir("making", &stage.place))?;
    let failed =
        |errno: nix::errno::Errno| BenchError::dir("looking at", &stage.place)(errno.into());
    let room = statvfs(&stage.place).map_err(failed)?;
    let mut free = (room.blocks_available() * room.fragment_size()).saturating_sub(SPARE_BYTES);
    let (mut fit, mut left_out) = (Vec::new(), Vec::new());
    for &gib in wanted {
        // The last segment, its successor and a little.
        let needs = (gib * GIB) as u64 + 3 * SEGMENT_BYTES;
        if needs <= free {
            free -= needs;
            fit.push(gib);
        } else {
            left_out.push(gib.to_string());
        }
    }
    if fit.is_empty() {
        return Err(BenchError::Failed(format!(
            "{} has no room for any of these logs; choose a larger disk with --data-dir, or shorter \
             ones with --gib",
            stage.place.display()
        )));
    }
    if !left_out.is_empty() {
        stage.note(format!("no room for {} GiB beside the others", left_out.join(", ")));
    }
    Ok(fit)
}

/// The arguments of every node here: nothing may go while it is measured.
fn arguments(stage: &Stage<'_>) -> Vec<&'static str> {
    let mut all = vec!["--retention-disk", "none"];
    if stage.size.smoke {
        all.extend(["--segment-size", "4MiB"]);
    }
    all
}

fn fill(stage: &mut Stage<'_>, gib: f64, messages: &Arc<Messages>) -> Result<Log, BenchError> {
    let dir = Scratch::new(&stage.place, stage.options.keep)?;
    let broker = start(stage, dir.path())?;
    let mut control = broker.control()?;
    let id = topic(&mut control, "fill", QUEUES, Ack::Written)?;
    let bulk = Load {
        topics: vec![id],
        queues: QUEUES,
        batch: BATCH,
        in_flight: 4,
        timings: false,
        warm_up: Duration::ZERO,
        ..stage.load(Ack::Written, 1, messages)
    };
    let segment = if stage.size.smoke { SEGMENT_SMOKE } else { SEGMENT_BYTES };
    let wanted = (gib * GIB) as u64;
    let began = Instant::now();
    loop {
        let end = counter(&mut control, "log_end")?;
        stage.step(&format!("filling: {} of {}", bytes(end), bytes(wanted)));
        let into = end % segment;
        if end >= wanted && (segment / 2..segment * 3 / 4).contains(&into) || stage.stopped() {
            break;
        }
        // Small steps near the end, else it would be missed.
        let far = !stage.size.smoke && wanted.saturating_sub(end) > 8 * segment;
        let measure = Duration::from_millis(if far { 500 } else { 10 });
        let load = Load { measure, in_flight: if far { 4 } else { 1 }, ..bulk.clone() };
        stage.run(&broker, load)?;
    }
    control.produce(id, wire_ack(Ack::Durable), b"the last one").map_err(failed("filling"))?;
    let segments = counter(&mut control, "segments")?;
    let end = counter(&mut control, "log_end")?;
    stage.note(format!(
        "{gib} GiB: {} in {} segments, filled in {:.0} s",
        bytes(end),
        count(segments),
        began.elapsed().as_secs_f64()
    ));
    // Its drop is a SIGKILL: nothing in it gets a chance to tidy up.
    drop(broker);
    let last = FileName::Segment(end / segment).to_string();
    let last_segment = (dir.path().join("shard-000").join(last), end % segment + SURVEY_BYTES);
    Ok(Log { gib, dir, topic: id, last_segment })
}

fn failed(what: &'static str) -> impl FnOnce(crate::load::LoadError) -> BenchError {
    BenchError::load(what)
}

fn start(stage: &Stage<'_>, dir: &Path) -> Result<Broker, BenchError> {
    Broker::on(stage.options, stage.options.waiting, dir, &arguments(stage))
}

/// Milliseconds to the first durable acknowledgement; the node is killed again.
fn restart(stage: &mut Stage<'_>, log: &Log, raw_first: bool) -> Result<f64, BenchError> {
    let before = if raw_first { Some(raw_rate(stage, log)?) } else { None };
    let began = Instant::now();
    let broker = start(stage, log.dir.path())?;
    let mut control = broker.control()?;
    let ack = wire_ack(Ack::Durable);
    control.produce(log.topic, ack, b"here again").map_err(failed("the first message"))?;
    let ms = began.elapsed().as_secs_f64() * 1e3;
    let read_bytes = counter(&mut control, "opening_read_bytes")? as f64;
    let read_s = counter(&mut control, "opening_read_nanos")? as f64 / 1e9;
    let rss = Usage::of(broker.pid().unwrap_or_default());
    let rss = rss.map_err(BenchError::dir("reading", "/proc".as_ref()))?.rss_bytes;
    drop(broker);
    let raw = before.map_or_else(|| raw_rate(stage, log), Ok)?;
    let rate = read_bytes / read_s.max(1e-9);
    let what = format!("{} GiB: GB/s of reading the tail", log.gib);
    stage.add_ratio((&what, "x R"), AtLeast(0.8), (rate / 1e9, raw / 1e9));
    stage.add(
        &format!("{} GiB: resident", log.gib),
        "MiB",
        AtMost(64.0),
        rss as f64 / f64::from(1 << 20),
    );
    Ok(ms)
}

/// Bytes a second of reading the log's last segment that is in use, by nobody else meanwhile.
fn raw_rate(stage: &Stage<'_>, log: &Log) -> Result<f64, BenchError> {
    let (file, bytes) = &log.last_segment;
    let space = Space::existing(file, *bytes)?;
    let probe = Probe {
        cpu: stage.options.broker_cpu(),
        warm_up: Duration::ZERO,
        ops_max: space.bytes() / READ_BYTES,
        ..Probe::default()
    };
    Ok(device::sequential_reads(&space, &probe)?.bytes_per_s())
}
