//! Case 9: what queues take that nobody uses, and what those take that are written to.
//!
//! The growth of the node's resident set over the number of queues, and of its open descriptors:
//! there is no file for a queue.

use std::fs;
use std::sync::Arc;

use super::stage::{Stage, topic, usage};
use crate::load::{Load, Messages};
use crate::report::Ack;
use crate::scenario::BenchError;
use crate::scenario::goals::model::Bound::AtMost;
use crate::scenario::site::Broker;

const QUEUES_OF_A_TOPIC: u16 = 10_000;
const TOPICS: u32 = 10;
const QUEUES_SMOKE: u16 = 1_000;
const TOPICS_SMOKE: u32 = 2;
const ACTIVE_BYTES: u32 = 100;

pub(super) fn measure(stage: &mut Stage<'_>) -> Result<(), BenchError> {
    let (topics, queues) = match stage.size.smoke {
        true => (TOPICS_SMOKE, QUEUES_SMOKE),
        false => (TOPICS, QUEUES_OF_A_TOPIC),
    };
    let messages = Arc::new(Messages::generated(ACTIVE_BYTES));
    for round in 0..stage.options.rounds {
        stage.step(&format!("an empty node, round {}", round + 1));
        let node = stage.node(stage.options.waiting, &[])?;
        let mut control = node.broker.control()?;
        // The first topic brings what all share.
        topic(&mut control, "first", 1, Ack::Written)?;
        let used = topic(&mut control, "used", queues, Ack::Written)?;
        node.broker.settle()?;
        let (before, files) = (usage(&node.broker)?.rss_bytes, descriptors(&node.broker)?);
        let mut made = 0_u64;
        for number in 0..topics {
            if stage.stopped() {
                return Ok(());
            }
            topic(&mut control, &format!("idle-{number}"), queues, Ack::Written)?;
            made += u64::from(queues);
            stage.step(&format!("{made} idle queues, round {}", round + 1));
        }
        node.broker.settle()?;
        let each =
            |now: u64, before: u64, count: u64| now.saturating_sub(before) as f64 / count as f64;
        let idle = usage(&node.broker)?.rss_bytes;
        stage.add(
            &format!("memory of each of {made} idle queues"),
            "B",
            AtMost(256.0),
            each(idle, before, made),
        );
        let opened = descriptors(&node.broker)?.saturating_sub(files) as f64;
        stage.add("descriptors for them", "files", AtMost(0.0), opened);
        stage.step(&format!("{queues} queues in use, round {}", round + 1));
        let load = Load {
            topics: vec![used],
            queues,
            in_flight: 64,
            timings: false,
            ..stage.load(Ack::Written, 4, &messages)
        };
        let before = usage(&node.broker)?.rss_bytes;
        stage.run(&node.broker, load)?;
        node.broker.settle()?;
        let grown = each(usage(&node.broker)?.rss_bytes, before, u64::from(queues));
        let what = format!("growth for each of {queues} queues in use, buffers included");
        stage.add(&what, "B", AtMost(2_048.0), grown);
    }
    Ok(())
}

fn descriptors(broker: &Broker) -> Result<u64, BenchError> {
    let path = format!("/proc/{}/fd", broker.pid().unwrap_or_default());
    let all = fs::read_dir(&path).map_err(BenchError::dir("reading", path.as_ref()))?;
    Ok(all.count() as u64)
}
