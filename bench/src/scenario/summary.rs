//! Many rounds become one line: distributions are merged, rates and ratios are the median round's.
//!
//! Invariants: percentiles are read from merged histograms, never averaged; a ratio is formed
//! within a round, with the yardstick of that round.

use std::time::UNIX_EPOCH;

use hdrhistogram::Histogram;

use super::Options;
use crate::load::Outcome;
use crate::load::tally::STAGES;
use crate::report::{
    Ack, Latency, Piece, Ratio, Round, Run, Schedule, StageTime, Verified, Waiting, Yardstick,
};
use crate::yardstick::Measured;
use crate::yardstick::probe::histogram;

/// A generator this busy may be what limits the rate.
const BUSY_SHARE: f64 = 0.95;
/// Rates of rounds further apart than this (highest over lowest) are worth a remark.
const SPREAD_MAX: f64 = 1.3;

/// What a line of the report is about.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Its name.
    pub name: String,
    /// When the broker acknowledged.
    pub ack: Ack,
    /// How the broker waited.
    pub waiting: Waiting,
    /// Connections that produced.
    pub producers: u32,
    /// Mean size of a message.
    pub message_bytes: u32,
}

/// One line of the report from the rounds of one cell.
#[must_use]
pub fn run(cell: &Cell, options: &Options, rounds: &[Outcome], ratio: Option<Ratio>) -> Run {
    let total = |of: fn(&Outcome) -> f64| rounds.iter().map(of).sum::<f64>();
    let middle = |of: &dyn Fn(&Outcome) -> f64| median(rounds.iter().map(of).collect());
    let messages = total(|round| round.messages as f64);
    let broker_cpu_s: Option<f64> =
        rounds.iter().map(|round| round.broker_cpu.map(|cpu| cpu.as_secs_f64())).sum();
    let latency = merged(rounds.iter().map(|round| &round.latency));
    let schedule = options.rate_per_s.map(|_| schedule(rounds, &latency));
    Run {
        name: cell.name.clone(),
        ack: cell.ack,
        waiting: cell.waiting,
        producers: cell.producers,
        message_bytes: cell.message_bytes,
        batch_messages: options.batch,
        target_per_s: options.rate_per_s,
        messages_per_s: middle(&Outcome::messages_per_s),
        bytes_per_s: middle(&|round| {
            round.payload_bytes as f64 / round.elapsed.as_secs_f64().max(1e-9)
        }),
        latency: Latency::of(&latency),
        stages: stages(rounds),
        ratio,
        broker_cpu_s,
        messages_per_broker_cpu_s: broker_cpu_s.filter(|s| *s > 0.0).map(|s| messages / s),
        kernel_cpu_s: broker_cpu_s.map(|_| total(|round| round.kernel_cpu.as_secs_f64())),
        generator_cpu_s: Some(total(|round| round.generator_cpu.as_secs_f64())),
        verified: verified(rounds),
        schedule,
        rounds: rounds.iter().map(round).collect(),
        notes: notes(cell, rounds, schedule),
    }
}

/// Whether the generator kept its schedule in all rounds together.
#[must_use]
pub fn schedule(rounds: &[Outcome], latency: &Histogram<u64>) -> Schedule {
    let lateness = merged(rounds.iter().map(|round| &round.lateness));
    Schedule::of(&lateness, latency, rounds.iter().map(|round| round.unsent).sum())
}

fn round(outcome: &Outcome) -> Round {
    let began = outcome.began.duration_since(UNIX_EPOCH).unwrap_or_default();
    Round {
        began_unix_s: began.as_secs_f64(),
        messages_per_s: outcome.messages_per_s(),
        pieces: outcome.intervals.iter().map(Piece::of).collect(),
    }
}

fn stages(rounds: &[Outcome]) -> Vec<StageTime> {
    let us = |all: &Histogram<u64>, quantile| all.value_at_quantile(quantile) as f64 / 1e3;
    STAGES
        .into_iter()
        .enumerate()
        .map(|(n, stage)| (stage, merged(rounds.iter().map(|round| &round.stages[n]))))
        .filter(|(_, all)| !all.is_empty())
        .map(|(stage, all)| StageTime { stage, p50_us: us(&all, 0.5), p99_us: us(&all, 0.99) })
        .collect()
}

fn verified(rounds: &[Outcome]) -> Option<Verified> {
    rounds.iter().filter_map(|round| round.verified).reduce(|a, b| Verified {
        acknowledged: a.acknowledged + b.acknowledged,
        consumed: a.consumed + b.consumed,
        missing: a.missing + b.missing,
        duplicated: a.duplicated + b.duplicated,
        reordered: a.reordered + b.reordered,
        corrupt: a.corrupt + b.corrupt,
    })
}

fn notes(cell: &Cell, rounds: &[Outcome], schedule: Option<Schedule>) -> Vec<String> {
    let mut notes: Vec<String> = schedule.and_then(|s| s.remark()).into_iter().collect();
    let count = |of: fn(&Outcome) -> u64| rounds.iter().map(of).sum::<u64>();
    let busy = |round: &Outcome| round.generator_cpu.as_secs_f64() / round.elapsed.as_secs_f64();
    if cell.waiting != Waiting::Poll && rounds.iter().any(|round| busy(round) > BUSY_SHARE) {
        notes.push("the generator used a whole CPU: the broker may be faster".to_owned());
    }
    let unsent = count(|round| round.unsent);
    if unsent > 0 {
        notes.push(format!(
            "the broker did not keep up: {unsent} requests that were due were never sent; they \
             count with the time they waited"
        ));
    }
    let refused = count(|round| round.refused);
    if refused > 0 {
        notes.push(format!("the broker was busy and refused {refused} requests"));
    }
    let rates = rounds.iter().map(Outcome::messages_per_s);
    let (low, high) = rates.fold((f64::INFINITY, 0.0_f64), |(l, h), r| (l.min(r), h.max(r)));
    if rounds.len() > 1 && high > low * SPREAD_MAX {
        notes.push(format!("rates of the rounds differ: {low:.0} to {high:.0} messages/s"));
    }
    if rounds.iter().any(|round| round.interrupted) {
        notes.push("ended before its time".to_owned());
    }
    notes
}

/// A yardstick's line from its rounds.
#[must_use]
pub fn yardstick(
    name: &str,
    wait: &str,
    pace_per_s: Option<f64>,
    rounds: &[Measured],
) -> Option<Yardstick> {
    rounds.first()?;
    let middle = |of: &dyn Fn(&Measured) -> f64| median(rounds.iter().map(of).collect());
    Some(Yardstick {
        name: name.to_owned(),
        wait: wait.to_owned(),
        pace_per_s,
        ops_per_s: middle(&Measured::ops_per_s),
        bytes_per_s: middle(&Measured::bytes_per_s),
        latency: Latency::of(&merged(rounds.iter().map(|round| &round.latency))),
    })
}

/// Ours over the yardstick's, formed in each round.
#[must_use]
pub fn ratio(
    figure: &str,
    yardstick: &str,
    ours: impl Iterator<Item = f64>,
    theirs: impl Iterator<Item = f64>,
) -> Option<Ratio> {
    let mut rounds: Vec<f64> =
        ours.zip(theirs).map(|(a, b)| a / b).filter(|r| r.is_finite()).collect();
    rounds.sort_by(f64::total_cmp);
    let (low, high) = (*rounds.first()?, *rounds.last()?);
    Some(Ratio {
        yardstick: yardstick.to_owned(),
        figure: figure.to_owned(),
        value: median(rounds),
        low,
        high,
    })
}

/// The middle one, or the mean of the two in the middle; 0 of none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n.is_multiple_of(2) => f64::midpoint(values[half - 1], values[half]),
        _ => values[half],
    }
}

/// All samples of several histograms.
#[must_use]
pub fn merged<'a>(all: impl Iterator<Item = &'a Histogram<u64>>) -> Histogram<u64> {
    let mut sum = histogram();
    for one in all {
        // Same bounds everywhere: adding cannot fail.
        let _ = sum.add(one);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_formed_within_each_round() {
        // Overall both would be 1.0; the rounds say otherwise.
        let ratio =
            ratio("p50", "E", [10.0, 40.0, 30.0].into_iter(), [20.0, 20.0, 40.0].into_iter());
        let ratio = ratio.unwrap();
        assert_eq!((ratio.low, ratio.value, ratio.high), (0.5, 0.75, 2.0));
        assert!(super::ratio("p50", "E", [1.0].into_iter(), [0.0].into_iter()).is_none());
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
