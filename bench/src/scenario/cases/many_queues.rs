//! Case 6: one topic of 10,000 queues, written round robin, against one of 16.
//!
//! Both are on the same node: all queues of a shard share its log, so the device sees the same writes
//! whatever the number of queues.

use std::sync::Arc;
use std::time::Instant;

use super::stage::{Stage, p99_us, topic};
use crate::load::{Load, Messages, Outcome};
use crate::report::Ack;
use crate::scenario::BenchError;
use crate::scenario::goals::model::Bound::{AtLeast, AtMost};

const QUEUES: u16 = 10_000;
const QUEUES_SMOKE: u16 = 500;
const QUEUES_FEW: u16 = 16;
const MESSAGE_BYTES: u32 = 1024;
const PRODUCERS: u32 = 64;

pub(super) fn measure(stage: &mut Stage<'_>) -> Result<(), BenchError> {
    let queues = if stage.size.smoke { QUEUES_SMOKE } else { QUEUES };
    let messages = Arc::new(Messages::generated(MESSAGE_BYTES));
    stage.step("starting");
    let node = stage.node(stage.options.waiting, &[])?;
    let mut control = node.broker.control()?;
    let few = topic(&mut control, "few", QUEUES_FEW, Ack::Durable)?;
    stage.step(&format!("making {queues} queues"));
    let began = Instant::now();
    let many = topic(&mut control, "many", queues, Ack::Durable)?;
    let seconds = began.elapsed().as_secs_f64();
    stage.add(&format!("making {queues} queues"), "s", AtMost(2.0), seconds);
    for round in 0..stage.options.rounds {
        let mut both = [(few, QUEUES_FEW), (many, queues)];
        if !round.is_multiple_of(2) {
            both.reverse();
        }
        let mut found = Vec::new();
        for (topic, queues) in both {
            stage.step(&format!("{queues} queues, round {}", round + 1));
            let load = Load {
                topics: vec![topic],
                queues,
                ..stage.load(Ack::Durable, PRODUCERS, &messages)
            };
            node.broker.settle()?;
            found.push(stage.run(&node.broker, load)?);
        }
        if stage.stopped() {
            return Ok(());
        }
        if !round.is_multiple_of(2) {
            found.reverse();
        }
        if let [few, many] = &found[..] {
            compare(stage, queues, few, many);
        }
    }
    Ok(())
}

fn compare(stage: &mut Stage<'_>, queues: u16, few: &Outcome, many: &Outcome) {
    let unit = format!("x {QUEUES_FEW} queues");
    let rates = (many.messages_per_s(), few.messages_per_s());
    let what = format!("durable rate, {PRODUCERS} producers, {queues} queues");
    stage.add_ratio((&what, &unit), AtLeast(0.9), rates);
    let what = format!("durable p99, {queues} queues");
    stage.add_ratio((&what, &unit), AtMost(2.0), (p99_us(many), p99_us(few)));
    let groups = |outcome: &Outcome| {
        let groups = outcome.counters.get("groups").copied().unwrap_or(0) as f64;
        groups / outcome.messages.max(1) as f64
    };
    let what = format!("device writes a message, {queues} queues");
    stage.add_ratio((&what, &unit), AtMost(1.1), (groups(many), groups(few)));
}
