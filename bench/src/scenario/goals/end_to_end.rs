//! Case 5, second half: from when a message was due to its arrival at a consumer that waits for it.
//!
//! One producer and one long-polling consumer, which are one thread; open loop; the node polls. From
//! memory it stands against the spinning echo and, far out, against a canary that runs beside it; what
//! durability adds, at a quarter of the rate, against the device at the same pace.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::cases::generated;
use super::field::Field;
use super::model::Bound::AtMost;
use super::model::Goals;
use crate::load::Load;
use crate::report::{Ack, Waiting};
use crate::scenario::BenchError;
use crate::yardstick::Wait;
use crate::yardstick::canary::Canary;

const MESSAGE_BYTES: u32 = 1024;
/// The key that says when a message was due belongs to its size.
const STAMP_BYTES: u32 = 8;
const RATE_PER_S: f64 = 20_000.0;
const DURABLE_PER_S: f64 = 5_000.0;
/// An open loop must not wait for answers.
const IN_FLIGHT: u32 = 1_024;
const BLOCK_BYTES: usize = 4096;
/// Percentiles at which durability is judged.
const JUDGED: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

pub(super) fn measure(field: &mut Field<'_>, goals: &mut Goals) -> Result<(), BenchError> {
    from_memory(field, goals)?;
    what_durability_adds(field, goals)
}

fn from_memory(field: &mut Field<'_>, goals: &mut Goals) -> Result<(), BenchError> {
    let echo = field.spinning.echo(MESSAGE_BYTES, None, field.time())?.latency;
    let ours = end_to_end(field, Ack::Memory, RATE_PER_S)?;
    for (name, quantile, bound) in [("p50", 0.5, 1.5), ("p99", 0.99, 3.0)] {
        let what = format!("poll: end to end {name}, 20 k/s");
        let figures = (us(&ours, quantile), us(&echo, quantile));
        goals.add_ratio(5, (&what, "x E spinning"), AtMost(bound), figures);
    }
    // It takes part of the device and of the CPUs: the figures above go without.
    let canary = Canary::start(&field.place)?;
    let ours = end_to_end(field, Ack::Memory, RATE_PER_S);
    let canary = canary.stop()?.latency();
    let figures = (us(&ours?, 0.999), us(&canary, 0.999));
    let what = "poll: end to end p99.9, 20 k/s";
    goals.add_ratio(5, (what, "x canary p99.9"), AtMost(2.0), figures);
    Ok(())
}

fn what_durability_adds(field: &mut Field<'_>, goals: &mut Goals) -> Result<(), BenchError> {
    let pace = Duration::from_secs_f64(1.0 / DURABLE_PER_S);
    let time = field.time();
    let d = field.sleeping.durable((BLOCK_BYTES, 1), Some(Wait::Spinning), Some(pace), time)?;
    let memory = end_to_end(field, Ack::Memory, DURABLE_PER_S)?;
    let durable = end_to_end(field, Ack::Durable, DURABLE_PER_S)?;
    for (name, quantile) in JUDGED {
        let adds = (us(&durable, quantile) - us(&memory, quantile)).max(0.0);
        let what = format!("poll: durable adds to end to end {name}, 5 k/s");
        let figures = (adds, us(&d.latency, quantile));
        goals.add_ratio(5, (&what, "x D"), AtMost(1.3), figures);
    }
    Ok(())
}

fn end_to_end(
    field: &mut Field<'_>,
    ack: Ack,
    rate_per_s: f64,
) -> Result<Histogram<u64>, BenchError> {
    let load = Load {
        rate_per_s: Some(rate_per_s),
        in_flight: IN_FLIGHT,
        consumers: 1,
        stamps: true,
        ..field.load(ack, 1, &generated(MESSAGE_BYTES - STAMP_BYTES))
    };
    Ok(field.run(Waiting::Poll, load)?.end_to_end)
}

fn us(latency: &Histogram<u64>, quantile: f64) -> f64 {
    latency.value_at_quantile(quantile) as f64 / 1e3
}
