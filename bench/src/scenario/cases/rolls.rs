//! Case 16: what a producer sees of segments that end.
//!
//! Two nodes get the same durable open loop in turn. One has segments so small that one is rolled,
//! sealed and checkpointed every second, and used again by retention; the other fills a part of its
//! only segment. The slowest acknowledgement in a thousand of the one stands against that of the
//! other.

use std::sync::Arc;

use super::stage::{Resting, Stage, counter, topic};
use crate::load::{Load, Messages};
use crate::report::Ack;
use crate::scenario::BenchError;
use crate::scenario::goals::model::Bound::AtMost;

const MESSAGE_BYTES: u32 = 4096;
/// 8 MB/s with what belongs to each: a small segment a second.
const RATE_PER_S: f64 = 2_000.0;
const PRODUCERS: u32 = 1;
const IN_FLIGHT: u32 = 64;
const SMALL: [&str; 4] = ["--segment-size", "8MiB", "--retention-size", "64MiB"];
const SMALL_SMOKE: [&str; 4] = ["--segment-size", "1MiB", "--retention-size", "8MiB"];
/// A thousandth of a short time is no sample.
const LONGER: u32 = 8;

struct Side {
    node: Resting,
    topic: u32,
}

pub(super) fn measure(stage: &mut Stage<'_>) -> Result<(), BenchError> {
    let messages = Arc::new(Messages::generated(MESSAGE_BYTES));
    stage.step("starting two nodes");
    let small = if stage.size.smoke { SMALL_SMOKE } else { SMALL };
    let mut still = side(stage, &[])?;
    let mut rolling = side(stage, &small)?;
    for round in 0..stage.options.rounds {
        let (with, without) = if round.is_multiple_of(2) {
            let without = p999(stage, &mut still, &messages, "no rolls", round)?;
            (p999(stage, &mut rolling, &messages, "rolls", round)?, without)
        } else {
            let with = p999(stage, &mut rolling, &messages, "rolls", round)?;
            (with, p999(stage, &mut still, &messages, "no rolls", round)?)
        };
        if stage.stopped() {
            return Ok(());
        }
        let figures = (with, without);
        stage.add_ratio(("durable p99.9 with rolls", "x without"), AtMost(1.2), figures);
    }
    rolling.node.wake();
    let mut control = rolling.node.broker.control()?;
    let (rolled, used_again) =
        (counter(&mut control, "sealed_segments")?, counter(&mut control, "recycled_segments")?);
    let checkpoints = counter(&mut control, "checkpoints")?;
    stage.note(format!(
        "{RATE_PER_S:.0} messages of {MESSAGE_BYTES} B a second; meanwhile {rolled} segments were \
         sealed, {used_again} used again and {checkpoints} checkpoints written"
    ));
    Ok(())
}

fn side(stage: &mut Stage<'_>, further: &[&str]) -> Result<Side, BenchError> {
    let mut node = stage.node(stage.options.waiting, further)?;
    let topic = topic(&mut node.broker.control()?, "rolls", 1, Ack::Durable)?;
    node.rest()?;
    Ok(Side { node, topic })
}

fn p999(
    stage: &mut Stage<'_>,
    side: &mut Side,
    messages: &Arc<Messages>,
    name: &str,
    round: u32,
) -> Result<f64, BenchError> {
    stage.step(&format!("{name}, round {} of {}", round + 1, stage.options.rounds));
    side.node.wake();
    let longer = if stage.size.smoke { 4 } else { LONGER };
    let load = Load {
        topics: vec![side.topic],
        in_flight: IN_FLIGHT,
        rate_per_s: Some(RATE_PER_S),
        measure: stage.time() * longer,
        ..stage.load(Ack::Durable, PRODUCERS, messages)
    };
    let outcome = stage.run(&side.node.broker, load)?;
    side.node.rest()?;
    Ok(outcome.latency.value_at_quantile(0.999) as f64 / 1e3)
}
