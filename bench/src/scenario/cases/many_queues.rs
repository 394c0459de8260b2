//! Case 6: 10,000 and 100,000 queues, written round robin, against 16.
//!
//! All are on the same node: all queues of a shard share its log, so the device sees the same writes
//! whatever the number of queues. 100,000 are ten topics, since a topic has no more than 32,768.

use std::sync::Arc;
use std::time::Instant;

use super::stage::{Stage, topic};
use crate::load::control::Control;
use crate::load::{Load, Messages, Outcome};
use crate::report::Ack;
use crate::scenario::BenchError;
use crate::scenario::goals::model::Bound::{AtLeast, AtMost};

const QUEUES: u16 = 10_000;
const QUEUES_SMOKE: u16 = 500;
const QUEUES_FEW: u16 = 16;
/// Of the most queues.
const TOPICS: u32 = 10;
const TOPICS_SMOKE: u32 = 2;
const MESSAGE_BYTES: u32 = 1024;
const PRODUCERS: u32 = 64;
/// For each 10,000 queues.
const MAKING_S_MAX: f64 = 2.0;

/// Topics of as many queues each, and how many that is together.
struct Side {
    topics: Vec<u32>,
    queues: u16,
    all: u32,
}

pub(super) fn measure(stage: &mut Stage<'_>) -> Result<(), BenchError> {
    let smoke = stage.size.smoke;
    let (queues, topics) = if smoke { (QUEUES_SMOKE, TOPICS_SMOKE) } else { (QUEUES, TOPICS) };
    let messages = Arc::new(Messages::generated(MESSAGE_BYTES));
    stage.step("starting");
    let node = stage.node(stage.options.waiting, &[])?;
    let mut control = node.broker.control()?;
    let sides = [
        side(stage, &mut control, "few", QUEUES_FEW, 1)?,
        side(stage, &mut control, "many", queues, 1)?,
        side(stage, &mut control, "most", queues, topics)?,
    ];
    for round in 0..stage.options.rounds {
        let mut order: Vec<usize> = (0..sides.len()).collect();
        if !round.is_multiple_of(2) {
            order.reverse();
        }
        let mut found: [Option<Outcome>; 3] = [None, None, None];
        for at in order {
            let Side { topics, queues, all } = &sides[at];
            stage.step(&format!("{all} queues, round {}", round + 1));
            let load = Load {
                topics: topics.clone(),
                queues: *queues,
                ..stage.load(Ack::Durable, PRODUCERS, &messages)
            };
            node.broker.settle()?;
            found[at] = Some(stage.run(&node.broker, load)?);
        }
        if stage.stopped() {
            return Ok(());
        }
        if let [Some(few), Some(many), Some(most)] = &found {
            compare(stage, sides[1].all, few, many);
            compare(stage, sides[2].all, few, most);
        }
    }
    Ok(())
}

/// Makes topics; how long that takes is a figure, unless there are hardly any queues.
fn side(
    stage: &mut Stage<'_>,
    control: &mut Control,
    name: &str,
    queues: u16,
    topics: u32,
) -> Result<Side, BenchError> {
    let all = u32::from(queues) * topics;
    stage.step(&format!("making {all} queues"));
    let began = Instant::now();
    let made = (0..topics).map(|n| topic(control, &format!("{name}-{n}"), queues, Ack::Durable));
    let topics = made.collect::<Result<_, _>>()?;
    let seconds = began.elapsed().as_secs_f64();
    if queues != QUEUES_FEW {
        let bound = MAKING_S_MAX * (f64::from(all) / f64::from(QUEUES)).max(1.0);
        stage.add(&format!("making {all} queues"), "s", AtMost(bound), seconds);
    }
    Ok(Side { topics, queues, all })
}

fn compare(stage: &mut Stage<'_>, queues: u32, few: &Outcome, many: &Outcome) {
    let unit = format!("x {QUEUES_FEW} queues");
    let rates = (many.messages_per_s(), few.messages_per_s());
    let what = format!("durable rate, {PRODUCERS} producers, {queues} queues");
    stage.add_ratio((&what, &unit), AtLeast(0.9), rates);
    let what = format!("durable p99, {queues} queues");
    stage.add_ratio((&what, &unit), AtMost(2.0), (many.p99_us(), few.p99_us()));
    let groups = |outcome: &Outcome| {
        let groups = outcome.counters.get("groups").copied().unwrap_or(0) as f64;
        groups / outcome.messages.max(1) as f64
    };
    let what = format!("device writes a message, {queues} queues");
    stage.add_ratio((&what, &unit), AtMost(1.1), (groups(many), groups(few)));
}
