//! What each goal compares. Everything that is compared is measured in the same call.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::end_to_end;
use super::field::Field;
use super::model::Bound::{AtLeast, AtMost};
use super::model::Goals;
use crate::load::control::Control;
use crate::load::{Load, Messages, Outcome};
use crate::report::{Ack, Waiting};
use crate::scenario::BenchError;
use crate::scenario::options::wire_ack;
use crate::scenario::site::Broker;
use crate::yardstick::process::Usage;
use crate::yardstick::{Measured, Wait};

const KIB: u32 = 1024;
const BLOCK_BYTES: usize = 4096;
/// The pace of the open loop.
const PACE_PER_S: f64 = 500.0;
/// Device writes the engine keeps in flight.
const DEPTH: usize = engine::limits::GROUPS_INFLIGHT_MAX;
/// Producers whose groups are held against the device; and to how many a rate should scale.
const PRODUCERS: [u32; 3] = [4, 16, 64];
const SCALES_TO: u32 = 16;
/// Small messages.
const SMALL_BYTES: u32 = 100;
const SMALL_BATCH: u32 = 1000;
/// How long an idle node is watched, in the first round and in the others.
const IDLE: Duration = Duration::from_secs(5);
const IDLE_AGAIN: Duration = Duration::from_secs(1);

/// A case of `performance.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    DurableLatency,
    GroupCommit,
    SmallMessages,
    MemoryLatency,
    Footprint,
}

impl Case {
    pub(super) const ALL: [Self; 5] = [
        Self::DurableLatency,
        Self::GroupCommit,
        Self::SmallMessages,
        Self::MemoryLatency,
        Self::Footprint,
    ];

    pub(super) fn number(self) -> u32 {
        match self {
            Self::DurableLatency => 1,
            Self::GroupCommit => 2,
            Self::SmallMessages => 4,
            Self::MemoryLatency => 5,
            Self::Footprint => 15,
        }
    }

    pub(super) fn measure(
        self,
        field: &mut Field<'_>,
        round: u32,
        goals: &mut Goals,
    ) -> Result<(), BenchError> {
        match self {
            Self::DurableLatency => {
                durable_latency(field, None, goals)?;
                durable_latency(field, Some(PACE_PER_S), goals)
            }
            Self::GroupCommit => group_commit(field, goals),
            Self::SmallMessages => {
                batched(field, goals)?;
                produced_and_consumed(field, goals)?;
                unbatched(field, goals)
            }
            Self::MemoryLatency => {
                memory_latency(field, goals)?;
                end_to_end::measure(field, goals)
            }
            Self::Footprint => footprint(field, round, goals),
        }
    }
}

pub(super) fn generated(bytes: u32) -> Arc<Messages> {
    Arc::new(Messages::generated(bytes))
}

/// One producer, 1 KiB, durable, one in flight: back to back, or at a pace.
fn durable_latency(
    field: &mut Field<'_>,
    rate_per_s: Option<f64>,
    goals: &mut Goals,
) -> Result<(), BenchError> {
    let pace = rate_per_s.map(|rate| Duration::from_secs_f64(1.0 / rate));
    let how = rate_per_s.map_or("back to back".to_owned(), |rate| format!("{rate:.0}/s"));
    let time = field.time();
    let d = field.sleeping.durable((BLOCK_BYTES, 1), None, pace, time)?;
    let ed = field.sleeping.echo_durable(KIB, pace, time)?;
    let messages = generated(KIB);
    for (waiting, p50, p99, unit, yardstick) in [
        (Waiting::Sleep, AtMost(0.85), Some(AtMost(1.0)), "x ED", &ed),
        (Waiting::Hybrid, AtMost(0.55), None, "x ED", &ed),
        (Waiting::Poll, AtMost(1.0), Some(AtMost(1.3)), "x D", &d),
    ] {
        let load = Load { rate_per_s, ..field.load(Ack::Durable, 1, &messages) };
        let ours = field.run(waiting, load)?;
        let what = format!("{waiting}: durable p50, {how}");
        goals.add_ratio(1, (&what, unit), p50, (ours.p50_us(), Measured::p50_us(yardstick)));
        if let Some(p99) = p99 {
            let what = format!("{waiting}: durable p99, {how}");
            let figures = (ours.p99_us(), Measured::p99_us(yardstick));
            goals.add_ratio(1, (&what, unit), p99, figures);
        }
    }
    Ok(())
}

fn group_commit(field: &mut Field<'_>, goals: &mut Goals) -> Result<(), BenchError> {
    let messages = generated(KIB);
    for (waiting, bound) in [(Waiting::Poll, AtLeast(0.9)), (Waiting::Sleep, AtLeast(0.75))] {
        let rates = [Ack::Memory, Ack::Durable].map(|ack| {
            let load = field.load(ack, 256, &messages);
            field.run(waiting, load).map(|outcome| outcome.messages_per_s())
        });
        let [memory, durable] = rates;
        let what = format!("{waiting}: durable rate, 256 producers");
        goals.add_ratio(2, (&what, "x memory"), bound, (durable?, memory?));
        let one = field.run(waiting, field.load(Ack::Durable, 1, &messages))?;
        let mut many = None;
        for producers in PRODUCERS {
            let outcome = field.run(waiting, field.load(Ack::Durable, producers, &messages))?;
            groups(field, waiting, producers, &outcome, goals)?;
            many = many.or((producers == SCALES_TO).then(|| outcome.messages_per_s()));
        }
        if let Some(many) = many {
            let what = format!("{waiting}: durable rate, {SCALES_TO} producers");
            let rates = (many, one.messages_per_s());
            goals.add_ratio(2, (&what, "x 1 producer"), AtLeast(9.0), rates);
        }
    }
    Ok(())
}

/// Groups a second against what the device does with writes of that size and depth.
fn groups(
    field: &Field<'_>,
    waiting: Waiting,
    producers: u32,
    outcome: &Outcome,
    goals: &mut Goals,
) -> Result<(), BenchError> {
    let count = |name: &str| outcome.counters.get(name).copied().unwrap_or(0);
    let groups = count("groups").max(1);
    let mean_bytes = (count("group_bytes") / groups) as usize;
    let block_bytes = mean_bytes.div_ceil(BLOCK_BYTES).max(1) * BLOCK_BYTES;
    let wait = if waiting == Waiting::Poll { Wait::Spinning } else { Wait::Sleeping };
    // One request in flight each: fewer producers than that keep fewer writes in flight.
    let depth = DEPTH.min(producers as usize);
    let d = field.sleeping.durable((block_bytes, depth), Some(wait), None, field.time())?;
    let what = format!("{waiting}: groups/s, {producers} producers");
    let unit = format!("x D({}K,{depth})", block_bytes / 1024);
    let ours = groups as f64 / outcome.elapsed.as_secs_f64();
    goals.add_ratio(2, (&what, &unit), AtLeast(0.8), (ours, d.ops_per_s()));
    Ok(())
}

/// Batches of 1000 messages: what a message costs the broker.
fn batched(field: &mut Field<'_>, goals: &mut Goals) -> Result<(), BenchError> {
    let messages = generated(SMALL_BYTES);
    for ack in [Ack::Memory, Ack::Durable] {
        let load = Load { batch: SMALL_BATCH, in_flight: 8, ..field.load(ack, 1, &messages) };
        let outcome = field.run(Waiting::Sleep, load)?;
        if let Some(figure) = outcome.messages_per_broker_cpu_s() {
            let what = format!("sleep: {ack}, 100 B x 1000");
            goals.add(4, &what, "msg per CPU s", AtLeast(12e6), figure);
        }
    }
    Ok(())
}

/// Producer and consumer at once, every message checked.
fn produced_and_consumed(field: &mut Field<'_>, goals: &mut Goals) -> Result<(), BenchError> {
    // A tag of 16 bytes belongs to each message.
    let messages = generated(SMALL_BYTES - 16);
    let load = field.load(Ack::Durable, 1, &messages);
    let load = Load { batch: SMALL_BATCH, in_flight: 4, consumers: 1, verify: true, ..load };
    let outcome = field.run(Waiting::Sleep, load)?;
    let verified = outcome.verified.unwrap_or_default();
    goals.faults += verified.missing + verified.duplicated + verified.reordered + verified.corrupt;
    let figure = outcome.messages_per_s().min(outcome.consumed_per_s());
    goals.add(4, "sleep: produced and consumed, verified", "msg/s", AtLeast(1e6), figure);
    Ok(())
}

/// One message a request, 64 in flight, against a server of the same stack that only answers.
fn unbatched(field: &mut Field<'_>, goals: &mut Goals) -> Result<(), BenchError> {
    let messages = generated(SMALL_BYTES);
    // The bare server answers no question about stages either.
    let load = Load { in_flight: 64, timings: false, ..field.load(Ack::Memory, 1, &messages) };
    let bare = field.run_bare(load.clone())?;
    let ours = field.run(Waiting::Sleep, load)?;
    let rates = (ours.messages_per_s(), bare.messages_per_s());
    let what = "sleep: memory rate, 64 in flight";
    goals.add_ratio(4, (what, "x bare server"), AtLeast(0.8), rates);
    Ok(())
}

fn memory_latency(field: &mut Field<'_>, goals: &mut Goals) -> Result<(), BenchError> {
    let echo = field.spinning.echo(KIB, None, field.time())?;
    let load = field.load(Ack::Memory, 1, &generated(KIB));
    let ours = field.run(Waiting::Poll, load)?;
    let medians = (ours.p50_us(), echo.p50_us());
    goals.add_ratio(5, ("poll: memory p50", "x E spinning"), AtMost(1.3), medians);
    Ok(())
}

/// An empty start, and what a node costs that has nothing to do.
fn footprint(field: &Field<'_>, round: u32, goals: &mut Goals) -> Result<(), BenchError> {
    let begun = Instant::now();
    let broker = Broker::start(field.options, Waiting::Sleep, &field.place)?;
    first_durable_ack(&broker)?;
    let ms = begun.elapsed().as_secs_f64() * 1e3;
    goals.add(15, "empty start to first durable ack", "ms", AtMost(50.0), ms);
    broker.settle()?;
    let Some(pid) = broker.pid() else { return Ok(()) };
    let usage = || Usage::of(pid).map_err(BenchError::dir("reading", "/proc".as_ref()));
    let before = usage()?;
    let watched = if round == 0 { IDLE } else { IDLE_AGAIN };
    thread::sleep(watched);
    let idle = usage()?;
    let rss_mib = idle.rss_bytes as f64 / f64::from(1 << 20);
    goals.add(15, "idle RSS", "MiB", AtMost(32.0), rss_mib);
    let share = idle.since(&before).cpu.as_secs_f64() / watched.as_secs_f64();
    goals.add(15, "sleep: idle CPU", "% of a core", AtMost(0.5), share * 100.0);
    Ok(())
}

fn first_durable_ack(broker: &Broker) -> Result<(), BenchError> {
    let mut control =
        Control::connect(broker.addr()).map_err(BenchError::load("the first message"))?;
    let ack = wire_ack(Ack::Durable);
    let topic =
        control.create_topic("first", 1, ack).map_err(BenchError::load("the first message"))?;
    let message = generated(KIB);
    control.produce(topic, ack, message.get(0)).map_err(BenchError::load("the first message"))?;
    Ok(())
}
