//! Case 9: what queues take that nobody uses, and what those take that are written to.
//!
//! The growth of the node's resident set over the number of queues, and of its open descriptors:
//! there is no file for a queue. Those in use are weighed against the same load to a single queue. A
//! million of them are made in the first round only.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::stage::{Stage, topic, usage};
use crate::load::control::Control;
use crate::load::{Load, Messages};
use crate::report::Ack;
use crate::scenario::BenchError;
use crate::scenario::goals::model::Bound::AtMost;
use crate::scenario::site::Broker;

const QUEUES_OF_A_TOPIC: u16 = 10_000;
/// Topics at which the idle queues are weighed: 10,000, 100,000 and a million queues.
const TOPICS: [u32; 3] = [1, 10, 100];
const QUEUES_SMOKE: u16 = 1_000;
const TOPICS_SMOKE: [u32; 3] = [1, 2, 3];
/// One for each queue would be thousands; a segment of the log may well be opened meanwhile.
const DESCRIPTORS_MAX: f64 = 8.0;
const ACTIVE_BYTES: u32 = 100;
/// Each queue in use gets ten messages. (Until a segment is sealed, every group in which a queue has
/// something costs that queue 40 to 80 bytes.)
const MESSAGES_EACH_PER_S: f64 = 10.0;
const USE_TIME: Duration = Duration::from_secs(1);

pub(super) fn measure(stage: &mut Stage<'_>) -> Result<(), BenchError> {
    let (steps, queues) = match stage.size.smoke {
        true => (TOPICS_SMOKE, QUEUES_SMOKE),
        false => (TOPICS, QUEUES_OF_A_TOPIC),
    };
    let messages = Arc::new(Messages::generated(ACTIVE_BYTES));
    for round in 0..stage.options.rounds {
        stage.step(&format!("an empty node, round {}", round + 1));
        let node = stage.node(stage.options.waiting, &[])?;
        let mut control = node.broker.control()?;
        // The first topic brings what all share.
        let first = topic(&mut control, "first", 1, Ack::Written)?;
        let used = topic(&mut control, "used", queues, Ack::Written)?;
        node.broker.settle()?;
        let steps = if round == 0 { &steps[..] } else { &steps[..2] };
        if !idle(stage, &node.broker, &mut control, (steps, queues), round)? {
            return Ok(());
        }
        stage.step(&format!("{queues} queues in use, round {}", round + 1));
        let load = Load {
            topics: vec![used],
            queues,
            in_flight: 64,
            rate_per_s: Some(f64::from(queues) * MESSAGES_EACH_PER_S),
            measure: USE_TIME,
            warm_up: Duration::ZERO,
            timings: false,
            ..stage.load(Ack::Written, 4, &messages)
        };
        // The same load to a single queue: the node's buffers, which all queues share, are in place.
        stage.run(&node.broker, Load { topics: vec![first], queues: 1, ..load.clone() })?;
        node.broker.settle()?;
        let before = usage(&node.broker)?.rss_bytes;
        stage.run(&node.broker, load)?;
        node.broker.settle()?;
        let grown = each(usage(&node.broker)?.rss_bytes, before, u64::from(queues));
        let what = format!("growth for each of {queues} queues in use");
        stage.add(&what, "B", AtMost(2_048.0), grown);
    }
    Ok(())
}

/// Makes topics that nobody uses and weighs them at each step. False: it was stopped.
fn idle(
    stage: &mut Stage<'_>,
    broker: &Broker,
    control: &mut Control,
    (steps, queues): (&[u32], u16),
    round: u32,
) -> Result<bool, BenchError> {
    let (before, files) = (usage(broker)?.rss_bytes, descriptors(broker)?);
    let mut topics = 0;
    for step in steps {
        let made = u64::from(*step) * u64::from(queues);
        stage.step(&format!("{made} idle queues, round {}", round + 1));
        while topics < *step {
            if stage.stopped() {
                return Ok(false);
            }
            topic(control, &format!("idle-{topics}"), queues, Ack::Written)?;
            topics += 1;
        }
        broker.settle()?;
        let grown = each(usage(broker)?.rss_bytes, before, made);
        let what = format!("memory of each of {made} idle queues");
        stage.add(&what, "B", AtMost(256.0), grown);
    }
    let opened = descriptors(broker)?.saturating_sub(files) as f64;
    stage.add("descriptors for all of them", "files", AtMost(DESCRIPTORS_MAX), opened);
    Ok(true)
}

/// What each of so many takes.
fn each(now: u64, before: u64, count: u64) -> f64 {
    now.saturating_sub(before) as f64 / count as f64
}

fn descriptors(broker: &Broker) -> Result<u64, BenchError> {
    let path = format!("/proc/{}/fd", broker.pid().unwrap_or_default());
    let all = fs::read_dir(&path).map_err(BenchError::dir("reading", path.as_ref()))?;
    Ok(all.count() as u64)
}
