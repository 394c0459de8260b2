//! Case 3: large batches, durable, over loopback, into space that is new and space that is used
//! again.
//!
//! The limit is the slower of W (direct sequential writes) and T (a TCP stream). Write amplification
//! is what the node wrote (groups, and space prepared ahead) over what it was given. Used-again space
//! comes from a node that keeps few small segments and has been round them already.
//!
//! The generator shares the machine, and so is part of the limit. The goals for an engine in the same
//! process are not measured here.

use std::sync::Arc;

use super::stage::{Resting, Stage, topic};
use crate::load::{Load, Messages, Outcome};
use crate::report::Ack;
use crate::scenario::BenchError;
use crate::scenario::goals::model::Bound::{AtLeast, AtMost};
use crate::yardstick::stream::stream;
use crate::yardstick::{Probe, Space, device};

const MESSAGE_BYTES: u32 = 1024;
/// Messages of a request: 64 KiB, 256 KiB, just below 1 MiB.
const BATCHES: [u32; 3] = [63, 250, 970];
/// What the yardsticks write and send.
const SPACE_BYTES: u64 = 256 << 20;
const STREAM_BYTES: usize = 256 << 10;
const USED_AGAIN: [&str; 4] = ["--segment-size", "32MiB", "--retention-size", "96MiB"];
/// More than is kept, so that every segment has been written before.
const ROUND_BYTES: u64 = 256 << 20;
/// 1.5 x the published floor of 0.30 CPU seconds for receiving, copying, checking and submitting.
const CPU_S_PER_GB_MAX: f64 = 0.45;

pub(super) fn measure(stage: &mut Stage<'_>) -> Result<(), BenchError> {
    let messages = Arc::new(Messages::generated(MESSAGE_BYTES));
    stage.step("starting a node whose space is used again");
    let mut again = stage.node(stage.options.waiting, &USED_AGAIN)?;
    let mut control = again.broker.control()?;
    let id = topic(&mut control, "bulk", 1, Ack::Durable)?;
    let mut written = 0;
    while written < ROUND_BYTES && !stage.stopped() {
        written += bulk(stage, &again, id, &messages, 970)?.payload_bytes.max(1 << 20);
    }
    again.rest()?;
    for round in 0..stage.options.rounds {
        stage.step(&format!("W and T, round {}", round + 1));
        let limit = limit(stage)?;
        stage.step(&format!("used space, round {}", round + 1));
        again.wake();
        figures(stage, (&again, id), "used space", limit, &messages, 1.03)?;
        again.rest()?;
        stage.step(&format!("new space, round {}", round + 1));
        let fresh = stage.node(stage.options.waiting, &["--retention-disk", "none"])?;
        let id = topic(&mut fresh.broker.control()?, "bulk", 1, Ack::Durable)?;
        figures(stage, (&fresh, id), "new space", limit, &messages, 2.03)?;
        if stage.stopped() {
            return Ok(());
        }
    }
    Ok(())
}

/// Bytes a second that the machine moves at most.
fn limit(stage: &Stage<'_>) -> Result<f64, BenchError> {
    let space = Space::written(&stage.place, SPACE_BYTES)?;
    let probe = Probe { measure: stage.time(), ..Probe::default() };
    let w = device::sequential_writes(&space, &probe)?.bytes_per_s();
    let t = stream(STREAM_BYTES, stage.options.broker_cpu(), stage.time())?;
    Ok(w.min(t.gb_per_s() * 1e9))
}

fn bulk(
    stage: &Stage<'_>,
    node: &Resting,
    topic: u32,
    messages: &Arc<Messages>,
    batch: u32,
) -> Result<Outcome, BenchError> {
    let load = Load {
        topics: vec![topic],
        batch,
        in_flight: (4_000 / batch).clamp(4, 32),
        timings: false,
        ..stage.load(Ack::Durable, 1, messages)
    };
    stage.run(&node.broker, load)
}

fn figures(
    stage: &mut Stage<'_>,
    (node, topic): (&Resting, u32),
    space: &str,
    limit: f64,
    messages: &Arc<Messages>,
    amplification_max: f64,
) -> Result<(), BenchError> {
    let batches = if stage.size.smoke { &BATCHES[2..] } else { &BATCHES[..] };
    for batch in batches {
        let outcome = bulk(stage, node, topic, messages, *batch)?;
        let rate = outcome.payload_bytes as f64 / outcome.elapsed.as_secs_f64().max(1e-9);
        let what = format!("{space}: batches of {batch} KiB, bytes/s");
        stage.add_ratio((&what, "x min(W,T)"), AtLeast(0.6), (rate, limit));
        let of = |name: &str| outcome.counters.get(name).copied().unwrap_or(0) as f64;
        let given = of("produced_bytes").max(1.0);
        let amplification = (of("group_bytes") + of("prefilled_bytes")) / given;
        let what = format!("{space}: written for each byte, {batch} KiB");
        stage.add(&what, "bytes", AtMost(amplification_max), amplification);
        if let Some(cpu) = outcome.broker_cpu {
            let gb = outcome.payload_bytes as f64 / 1e9;
            let what = format!("{space}: broker CPU, {batch} KiB");
            let figure = cpu.as_secs_f64() / gb.max(1e-9);
            stage.add(&what, "CPU s per GB", AtMost(CPU_S_PER_GB_MAX), figure);
        }
    }
    Ok(())
}
