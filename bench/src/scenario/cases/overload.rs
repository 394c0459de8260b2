//! Case 13: twice what the node can take is offered for a minute, in open loop.
//!
//! Goodput is what is acknowledged meanwhile, against the peak: a closed loop for as long a time in the
//! same round, before it and behind it in turn, because what a device takes for seconds is not what it
//! takes for a minute. What is offered is twice what a closed loop of seconds gets. All of it goes into
//! space that was used before, because the first life of space costs more than any later one. Memory is
//! the highest resident set the node ever had. Whether it is back to normal: the p99 of a light load that
//! is recorded from one second after the end on, against the same load before.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::stage::{Stage, topic};
use crate::load::{Load, Messages, Outcome};
use crate::report::Ack;
use crate::scenario::BenchError;
use crate::scenario::goals::model::Bound::{AtLeast, AtMost};
use crate::scenario::site::Broker;

const MESSAGE_BYTES: u32 = 1024;
const PRODUCERS: u32 = 16;
/// Enough that the node, not the client, has to hold what is too much.
const IN_FLIGHT: u32 = 4_096;
const FOR: Duration = Duration::from_secs(60);
/// A minute of it would fill tens of gigabytes: space is used again.
const KEEP: [&str; 2] = ["--retention-size", "4GiB"];
const KEEP_BYTES: u64 = 4 << 30;
const LIGHT_PER_S: f64 = 500.0;
const RECOVERS_IN: Duration = Duration::from_secs(1);
/// The engine's blocks may take 128 MiB, and an idle node 32.
const RSS_MIB_MAX: f64 = 160.0;

pub(super) fn measure(stage: &mut Stage<'_>) -> Result<(), BenchError> {
    let messages = Arc::new(Messages::generated(MESSAGE_BYTES));
    stage.step("starting");
    let node = stage.node(stage.options.waiting, &KEEP)?;
    let id = topic(&mut node.broker.control()?, "overload", 1, Ack::Durable)?;
    let time = if stage.size.smoke { stage.time() } else { FOR };
    let load = Load {
        topics: vec![id],
        in_flight: IN_FLIGHT,
        timings: false,
        ..stage.load(Ack::Durable, PRODUCERS, &messages)
    };
    let closed = Load { in_flight: 64, ..load.clone() };
    if !stage.size.smoke {
        fill(stage, &node.broker, &closed)?;
    }
    // A minute each: as many rounds as usual would take too long.
    for round in 0..stage.options.rounds.min(3) {
        stage.step(&format!("what is twice too much, round {}", round + 1));
        let of_seconds = stage.run(&node.broker, closed.clone())?.messages_per_s();
        let long = |stage: &mut Stage<'_>| {
            let seconds = time.as_secs();
            stage.step(&format!("the peak (closed loop) for {seconds} s, round {}", round + 1));
            stage.run(&node.broker, Load { measure: time, ..closed.clone() })
        };
        let is_first = round % 2 == 1;
        let first = if is_first { Some(long(stage)?) } else { None };
        stage.step(&format!("a light load, round {}", round + 1));
        let before = light(stage, &node.broker, &load, Duration::from_millis(300))?;
        stage.step(&format!("twice the peak for {} s, round {}", time.as_secs(), round + 1));
        let rate_per_s = Some(2.0 * of_seconds);
        let over = stage.run(&node.broker, Load { rate_per_s, measure: time, ..load.clone() })?;
        stage.step(&format!("a light load again, round {}", round + 1));
        let after = light(stage, &node.broker, &load, RECOVERS_IN)?;
        let peak = match first {
            Some(peak) => peak,
            None => long(stage)?,
        };
        if stage.stopped() {
            return Ok(());
        }
        let goodput = (over.messages_per_s(), peak.messages_per_s());
        stage.add_ratio(("goodput at 2 x the peak", "x peak"), AtLeast(0.9), goodput);
        let what = ("p99 from 1 s after it, 500/s", "x before");
        stage.add_ratio(what, AtMost(2.0), (after.p99_us(), before.p99_us()));
        let highest = highest_rss_mib(&node.broker)?;
        stage.add("highest resident memory", "MiB", AtMost(RSS_MIB_MAX), highest);
        if round == 0 {
            let (refused, unsent) = (over.refused, over.unsent);
            stage.note(format!(
                "first round: {refused} requests were refused with a time to wait, {unsent} that were \
                 due were not sent within 2 s of the end"
            ));
        }
    }
    Ok(())
}

/// Makes the log as large as it will be: from then on space is used again.
fn fill(stage: &mut Stage<'_>, broker: &Broker, load: &Load) -> Result<(), BenchError> {
    stage.step("filling the space that is used again");
    let mut bytes = 0;
    // Half as much again: the log holds more than what is kept.
    while bytes < KEEP_BYTES / 2 * 3 && !stage.stopped() {
        bytes += stage.run(broker, load.clone())?.messages * u64::from(MESSAGE_BYTES);
    }
    Ok(())
}

fn light(
    stage: &Stage<'_>,
    broker: &Broker,
    load: &Load,
    warm_up: Duration,
) -> Result<Outcome, BenchError> {
    stage.run(broker, Load { rate_per_s: Some(LIGHT_PER_S), warm_up, ..load.clone() })
}

/// The kernel's high-water mark.
fn highest_rss_mib(broker: &Broker) -> Result<f64, BenchError> {
    let path = format!("/proc/{}/status", broker.pid().unwrap_or_default());
    let status = fs::read_to_string(&path).map_err(BenchError::dir("reading", path.as_ref()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    Ok(kib.unwrap_or(0.0_f64) / 1024.0)
}
