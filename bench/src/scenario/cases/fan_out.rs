//! Case 8: one producer and 1, 8 and 32 consumers at the tail.
//!
//! What a delivered gigabyte costs the broker: its CPU time beside that of the same load without
//! consumers, over the bytes delivered, against the CPU time of a thread that sends blocks of the
//! same size in a loop. Reads of the device are counted: at the tail there should be none.

use std::sync::Arc;

use super::stage::{Stage, topic};
use crate::load::{Load, Messages, Outcome};
use crate::report::Ack;
use crate::scenario::BenchError;
use crate::scenario::goals::model::Bound::AtMost;
use crate::yardstick::stream::stream;

const MESSAGE_BYTES: u32 = 1024;
/// Messages of a request: entries of 16 KiB.
const BATCH: u32 = 16;
/// 16 MB/s in, half a gigabyte a second out to 32: what one generating thread can take.
const RATE_PER_S: f64 = 16_000.0;
const CONSUMERS: [u32; 3] = [1, 8, 32];

pub(super) fn measure(stage: &mut Stage<'_>) -> Result<(), BenchError> {
    let messages = Arc::new(Messages::generated(MESSAGE_BYTES));
    stage.step("starting");
    let node = stage.node(stage.options.waiting, &[])?;
    let mut topics = 0_u32;
    for round in 0..stage.options.rounds {
        let mut run = |stage: &mut Stage<'_>, consumers: u32| {
            stage.step(&format!("{}, round {}", named(consumers), round + 1));
            topics += 1;
            let mut control = node.broker.control()?;
            // A topic each: consumers begin at its tail, which is its beginning.
            let id = topic(&mut control, &format!("fan-{topics}"), 1, Ack::Written)?;
            let load = Load {
                topics: vec![id],
                batch: BATCH,
                in_flight: 8,
                rate_per_s: Some(RATE_PER_S),
                consumers: consumers.min(1),
                subscriptions: consumers.max(1),
                timings: false,
                ..stage.load(Ack::Written, 1, &messages)
            };
            stage.run(&node.broker, load)
        };
        let alone = run(stage, 0)?;
        let mut eight = None;
        for consumers in CONSUMERS {
            let outcome = run(stage, consumers)?;
            if stage.stopped() {
                return Ok(());
            }
            let cost = cost(&outcome, &alone);
            if consumers == 8 {
                eight = Some(cost);
            }
            deliveries(stage, consumers, &outcome, cost)?;
            if let (32, Some(eight)) = (consumers, eight) {
                let what = ("growth of that CPU with consumers", "x with 8, at 32");
                stage.add_ratio(what, AtMost(1.1), (cost, eight));
            }
        }
    }
    Ok(())
}

fn named(consumers: u32) -> String {
    if consumers == 1 { "1 consumer".to_owned() } else { format!("{consumers} consumers") }
}

/// Broker CPU seconds for each 1e9 bytes delivered.
fn cost(outcome: &Outcome, alone: &Outcome) -> f64 {
    let share = |of: &Outcome| {
        let cpu = of.broker_cpu.map_or(0.0, |cpu| cpu.as_secs_f64());
        cpu / of.elapsed.as_secs_f64().max(1e-9)
    };
    let gb = outcome.consumed_per_s() * f64::from(MESSAGE_BYTES) / 1e9;
    (share(outcome) - share(alone)).max(0.0) / gb.max(1e-9)
}

fn deliveries(
    stage: &mut Stage<'_>,
    consumers: u32,
    outcome: &Outcome,
    cost: f64,
) -> Result<(), BenchError> {
    let block = (MESSAGE_BYTES * BATCH) as usize;
    let raw = stream(block, stage.options.broker_cpu(), stage.time())?.cpu_s_per_gb();
    let name = named(consumers);
    let what = format!("CPU of a delivered GB, {name}");
    stage.add_ratio((&what, "x raw send loop"), AtMost(1.3), (cost, raw));
    let reads = outcome.counters.get("cold_reads").copied().unwrap_or(0) as f64;
    stage.add(&format!("device reads, {name}"), "reads", AtMost(0.0), reads);
    let due = outcome.messages as f64 * f64::from(consumers);
    let behind = 100.0 * (1.0 - outcome.consumed as f64 / due.max(1.0));
    let what = format!("not delivered at the end, {name}");
    stage.add(&what, "% of all", AtMost(2.0), behind.max(0.0));
    Ok(())
}
