//! Case 7: a consumer far behind catches up while a producer goes on.
//!
//! The backlog is many times what the node keeps in memory, and it reads past the page cache. The
//! producer offers 30 % of what it reaches alone. In each round: the producer alone, with the
//! consumer, and with the yardstick, which reads the very same segment files from the node's CPU and
//! sends them to a socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::stage::{Resting, Stage, topic};
use crate::load::catch_up::{CaughtUp, catch_up};
use crate::load::{Load, Messages, Outcome};
use crate::report::Ack;
use crate::report::grid::{bytes, rate};
use crate::scenario::BenchError;
use crate::scenario::goals::model::Bound::{AtLeast, AtMost};
use crate::scenario::site::log_files;
use crate::yardstick::read_and_send::read_and_send;

const MESSAGE_BYTES: u32 = 1024;
const BATCH: u32 = 16;
const QUEUES: u16 = 4;
const BACKLOG_MESSAGES: u64 = 8 << 20;
const BACKLOG_SMOKE: u64 = 64 << 10;
/// What the producer offers of its maximum.
const SHARE: f64 = 0.3;
/// The yardstick reads as much at once as the node does at most.
const PIECE_BYTES: usize = 512 << 10;
/// Nothing may go while it is measured.
const KEEP: [&str; 2] = ["--retention-disk", "none"];

pub(super) fn measure(stage: &mut Stage<'_>) -> Result<(), BenchError> {
    let messages = Arc::new(Messages::generated(MESSAGE_BYTES));
    let backlog = if stage.size.smoke { BACKLOG_SMOKE } else { BACKLOG_MESSAGES };
    let backlog = stage.size.messages.unwrap_or(backlog);
    stage.step("starting");
    let mut node = stage.node(stage.options.waiting, &KEEP)?;
    let mut control = node.broker.control()?;
    let behind = topic(&mut control, "behind", QUEUES, Ack::Written)?;
    let live = topic(&mut control, "live", 1, Ack::Durable)?;
    fill(stage, &mut node, behind, &messages, backlog)?;
    stage.step("the producer's maximum");
    let writer = Load {
        topics: vec![live],
        batch: BATCH,
        in_flight: 8,
        timings: false,
        ..stage.load(Ack::Durable, 1, &messages)
    };
    let most = stage.run(&node.broker, writer.clone())?.messages_per_s();
    let writer = Load { rate_per_s: Some(SHARE * most), ..writer };
    stage.note(format!(
        "a backlog of {} in {QUEUES} queues; the producer offers {} messages/s, {:.0} % of its \
         closed loop; {MESSAGE_BYTES} B in batches of {BATCH}",
        bytes(backlog * u64::from(MESSAGE_BYTES)),
        rate(SHARE * most),
        SHARE * 100.0
    ));
    for round in 0..stage.options.rounds {
        let name = format!("round {} of {}", round + 1, stage.options.rounds);
        stage.step(&format!("the producer alone, {name}"));
        let alone = stage.run(&node.broker, writer.clone())?;
        stage.step(&format!("a consumer catches up, {name}"));
        let (beside, caught_up) = together(stage, &node, &writer, behind, backlog)?;
        stage.step(&format!("a plain reader of the same files, {name}"));
        let raw = raw(stage, &node, &writer)?;
        if stage.stopped() {
            return Ok(());
        }
        if caught_up.at_end && !stage.size.smoke {
            return Err(BenchError::Failed(
                "the consumer came to the end of the backlog: measure a shorter time with \
                 --duration, or more with --messages"
                    .to_owned(),
            ));
        }
        let ours = caught_up.messages_per_s() * f64::from(MESSAGE_BYTES) / 1e9;
        stage.add_ratio(("catch-up, GB/s", "x plain O_DIRECT reader"), AtLeast(0.7), (ours, raw));
        let (p99, before) = (beside.p99_us(), alone.p99_us());
        stage.add_ratio(("producer's p99 meanwhile", "x alone"), AtMost(1.5), (p99, before));
        let rates = (beside.messages_per_s(), alone.messages_per_s());
        stage.add_ratio(("producer's rate meanwhile", "x alone"), AtLeast(0.97), rates);
    }
    Ok(())
}

fn fill(
    stage: &mut Stage<'_>,
    node: &mut Resting,
    id: u32,
    messages: &Arc<Messages>,
    backlog: u64,
) -> Result<(), BenchError> {
    let load = Load {
        topics: vec![id],
        queues: QUEUES,
        batch: 64,
        in_flight: 16,
        timings: false,
        warm_up: Duration::ZERO,
        measure: Duration::from_millis(if stage.size.smoke { 50 } else { 1_000 }),
        ..stage.load(Ack::Written, 2, messages)
    };
    let mut filled = 0;
    while filled < backlog && !stage.stopped() {
        stage.step(&format!("filling: {filled} of {backlog} messages"));
        filled += stage.run(&node.broker, load.clone())?.messages;
    }
    node.broker.settle()
}

/// The producer's load, with a consumer that is behind for all of its recorded time.
fn together(
    stage: &Stage<'_>,
    node: &Resting,
    writer: &Load,
    topic: u32,
    backlog: u64,
) -> Result<(Outcome, CaughtUp), BenchError> {
    let reader = Load {
        topics: vec![topic],
        queues: QUEUES,
        addr: node.broker.addr(),
        rate_per_s: None,
        ..writer.clone()
    };
    let (over, time) = (AtomicBool::new(false), writer.warm_up + writer.measure);
    thread::scope(|scope| {
        let reading = scope.spawn(|| catch_up(&reader, backlog, time * 2, &over));
        let wrote = stage.run(&node.broker, writer.clone());
        over.store(true, Ordering::Relaxed);
        let read = reading.join().map_err(|_| crate::yardstick::YardstickError::Panicked)?;
        Ok((wrote?, read.map_err(BenchError::load("catching up"))?))
    })
}

/// GB a second of the plain reader, beside the same producer.
fn raw(stage: &Stage<'_>, node: &Resting, writer: &Load) -> Result<f64, BenchError> {
    let files = log_files(node.broker.data(), "segment-")?;
    let (cpu, time) = (stage.options.broker_cpu(), writer.warm_up + writer.measure);
    thread::scope(|scope| {
        let reading = scope.spawn(move || read_and_send(&files, PIECE_BYTES, cpu, time));
        let wrote = stage.run(&node.broker, writer.clone());
        let read = reading.join().map_err(|_| crate::yardstick::YardstickError::Panicked)?;
        wrote.and(Ok(read?.gb_per_s()))
    })
}
