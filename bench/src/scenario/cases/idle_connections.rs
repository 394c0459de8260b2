//! Case 12: 10,000 connections that say nothing and 10,000 that wait for a message, beside a node
//! that has none.
//!
//! Memory is the growth of the resident set (the kernel's socket buffers are not in it); CPU is what
//! the node uses while nobody does anything; and both nodes in turn serve the same producers.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};

use super::stage::{Stage, topic, usage};
use crate::load::control::Control;
use crate::load::{Load, Messages};
use crate::report::Ack;
use crate::scenario::BenchError;
use crate::scenario::goals::model::Bound::{AtLeast, AtMost};

const CONNECTIONS: u32 = 10_000;
const CONNECTIONS_SMOKE: u32 = 100;
const MESSAGE_BYTES: u32 = 1024;
const PRODUCERS: u32 = 16;
/// Longer than the deadline for a first frame, which all of them have met.
const IDLE: Duration = Duration::from_secs(15);
/// Of the files it may open a node leaves so many of four to clients, ...
const FOR_CLIENTS: (u64, u64) = (3, 4);
/// ... of which the producers and questions here need some.
const OTHERS: u64 = 100;
/// The node answers a waiting fetch after a minute at the latest: ask again before that.
const PARKED_MAX: Duration = Duration::from_secs(40);

pub(super) fn measure(stage: &mut Stage<'_>) -> Result<(), BenchError> {
    let count = if stage.size.smoke { CONNECTIONS_SMOKE } else { possible(stage)? };
    stage.step("starting two nodes");
    let mut plain = stage.node(stage.options.waiting, &[])?;
    let plain_topic = topic(&mut plain.broker.control()?, "used", 1, Ack::Durable)?;
    plain.rest()?;
    let mut crowded = stage.node(stage.options.waiting, &[])?;
    let mut control = crowded.broker.control()?;
    let crowded_topic = topic(&mut control, "used", 1, Ack::Durable)?;
    let empty = topic(&mut control, "empty", 1, Ack::Durable)?;
    let before = usage(&crowded.broker)?.rss_bytes;
    stage.step(&format!("{count} silent connections"));
    let connect =
        || Control::connect(crowded.broker.addr()).map_err(BenchError::load("connecting"));
    let silent: Vec<Control> = (0..count).map(|_| connect()).collect::<Result<_, _>>()?;
    stage.step(&format!("{count} waiting fetches"));
    let mut waiting: Vec<Control> = (0..count).map(|_| connect()).collect::<Result<_, _>>()?;
    let mut parked_at = park(&mut waiting, empty)?;
    crowded.broker.settle()?;
    let grown = usage(&crowded.broker)?.rss_bytes.saturating_sub(before) as f64;
    let each = grown / f64::from(2 * count);
    stage.add(&format!("memory of each of 2 x {count} connections"), "B", AtMost(4_096.0), each);
    let idle = if stage.size.smoke { IDLE / 10 } else { IDLE };
    let began = usage(&crowded.broker)?;
    thread::sleep(idle);
    let used = usage(&crowded.broker)?.since(&began).cpu.as_secs_f64();
    let share = 100.0 * used / idle.as_secs_f64();
    stage.add("CPU while nobody does anything", "% of a core", AtMost(1.0), share);
    let messages = Arc::new(Messages::generated(MESSAGE_BYTES));
    crowded.rest()?;
    for round in 0..stage.options.rounds {
        if parked_at.elapsed() > PARKED_MAX {
            parked_at = park(&mut waiting, empty)?;
        }
        let mut rates = [0.0; 2];
        let order = if round.is_multiple_of(2) { [0, 1] } else { [1, 0] };
        for which in order {
            stage.step(&format!("producers, round {}", round + 1));
            let (node, topic) = match which {
                0 => (&mut crowded, crowded_topic),
                _ => (&mut plain, plain_topic),
            };
            node.wake();
            let load = Load {
                topics: vec![topic],
                timings: false,
                ..stage.load(Ack::Durable, PRODUCERS, &messages)
            };
            rates[which] = stage.run(&node.broker, load)?.messages_per_s();
            node.rest()?;
        }
        if stage.stopped() {
            break;
        }
        let what = format!("durable rate, {PRODUCERS} producers");
        stage.add_ratio((&what, "x no idle ones"), AtLeast(0.97), (rates[0], rates[1]));
    }
    drop(silent);
    Ok(())
}

/// As many of each kind as descriptors allow.
fn possible(stage: &mut Stage<'_>) -> Result<u32, BenchError> {
    let failed = |errno: nix::errno::Errno| {
        BenchError::dir("reading", "RLIMIT_NOFILE".as_ref())(errno.into())
    };
    let (files, _) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed)?;
    let (part, of) = FOR_CLIENTS;
    let each = u32::try_from((files / of * part).saturating_sub(OTHERS) / 2).unwrap_or(u32::MAX);
    if each < CONNECTIONS {
        stage.note(format!(
            "RLIMIT_NOFILE of {files} has room for 2 x {each} connections instead of 2 x {CONNECTIONS}"
        ));
    }
    Ok(each.min(CONNECTIONS))
}

/// Everyone waits for a message that never comes.
fn park(waiting: &mut [Control], topic: u32) -> Result<Instant, BenchError> {
    for control in waiting {
        control.park(topic).map_err(BenchError::load("a waiting fetch"))?;
    }
    Ok(Instant::now())
}
