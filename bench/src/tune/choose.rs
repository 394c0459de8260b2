//! From figures to choices. Pure: the same figures, the same choices.
//!
//! Each choice stays with the default unless the figures of every single round clearly speak for the
//! same other one: they come from seconds of measuring on a machine that may have other things to do.

use engine::device::{Blocks, Choices, ColdFigure, ColdWay, Evidence, SpinFigure, WriteFigure};
use engine::log::writer::Flush;

use super::plan::{DEPTHS, EVERY_US};

/// What is no further off than this is equal: rounds of the same measurement differ by as much.
const EQUAL: f64 = 1.05;
/// The other way to flush has to be better by this much, all in all ...
const CLEARLY: f64 = 0.9;
/// ... and nowhere worse by more than this.
const NOWHERE_WORSE: f64 = 1.1;
/// A depth that leaves the device below this share of its full rate is too small for it.
const FULL_RATE: f64 = 0.85;
/// A prefill step is over in this time, so that an append that queues behind it does not see it.
const PREFILL_S: f64 = 0.5e-3;
const PREFILL_STEP_KIB: std::ops::RangeInclusive<u32> = 64..=4096;
/// Smaller groups would cost more CPU than they save time, larger ones do not fit the window.
const GROUP_KIB: std::ops::RangeInclusive<u32> = 64..=engine::limits::GROUP_BYTES_LIMIT >> 10;
/// A write that somebody waits for should end in this time.
const ACCEPTABLE_P99_US: f64 = 10_000.0;
/// Polling without yielding is only worth it where it hurts nobody ...
const SPIN_P99: f64 = 1.25;

/// What a node does that was told nothing.
const DEFAULTS: Choices = Choices {
    flush: Flush::Dsync,
    groups_inflight_max: engine::limits::GROUPS_INFLIGHT_MAX as u32,
    group_kib: engine::limits::GROUP_BYTES_MAX >> 10,
    prefill_step_kib: engine::limits::PREFILL_STEP_BYTES >> 10,
    yield_in_flight: true,
};

/// What a node on this device is to do, from the figures of each round; and what to say about the
/// rounds that do not agree.
#[must_use]
pub(super) fn choose(rounds: &[Evidence]) -> (Choices, Vec<String>) {
    let mut notes = Vec::new();
    let mut agreed = Agreed { rounds, notes: &mut notes };
    let flush = agreed.on("how to flush", flush, DEFAULTS.flush);
    let depth = |round: &Evidence| depth(round, flush);
    let depth = agreed.on("how many groups to keep in flight", depth, DEFAULTS.groups_inflight_max);
    let group = |round: &Evidence| group_kib(round, flush, depth);
    let group = agreed.on("the largest group in KiB", group, DEFAULTS.group_kib);
    let step = |round: &Evidence| prefill_step_kib(round, flush, depth);
    let step = agreed.on("the prefill step in KiB", step, DEFAULTS.prefill_step_kib);
    let yields = agreed.on("whether to yield", yields, DEFAULTS.yield_in_flight);
    let choices = Choices {
        flush,
        groups_inflight_max: depth,
        group_kib: group,
        prefill_step_kib: step,
        yield_in_flight: yields,
    };
    (choices, notes)
}

struct Agreed<'a> {
    rounds: &'a [Evidence],
    notes: &'a mut Vec<String>,
}

impl Agreed<'_> {
    /// What every round chooses, or the default.
    fn on<T: Copy + PartialEq + std::fmt::Debug>(
        &mut self,
        what: &str,
        choose: impl Fn(&Evidence) -> T,
        default: T,
    ) -> T {
        let each: Vec<T> = self.rounds.iter().map(choose).collect();
        match each.split_first() {
            Some((first, rest)) if rest.iter().all(|other| other == first) => *first,
            None => default,
            Some(_) => {
                self.notes.push(format!(
                    "the rounds do not agree on {what} ({each:?}): the default, {default:?}, stays"
                ));
                default
            }
        }
    }
}

/// Writes of this shape into written space.
pub(super) fn write(
    evidence: &Evidence,
    flush: Flush,
    (block_kib, depth): (u32, u32),
    every_us: Option<u32>,
) -> Option<&WriteFigure> {
    evidence.writes.iter().find(|figure| {
        figure.flush == flush
            && figure.blocks == Blocks::Written
            && (figure.block_kib, figure.depth) == (block_kib, depth)
            && figure.every_us == every_us
    })
}

/// Bytes a second, in units of 1e9.
pub(super) fn gb_per_s(figure: &WriteFigure) -> f64 {
    figure.per_s * f64::from(figure.block_kib) * 1024.0 / 1e9
}

/// fdatasync against O_DSYNC, as times: below 1 fdatasync is the better one. A lone write, a paced
/// one, and a request of many producers who share groups.
pub(super) fn flush_ratios(evidence: &Evidence) -> Option<[f64; 3]> {
    let lone = |flush| Some(write(evidence, flush, (4, 1), None)?.p50_us);
    let paced = |flush| Some(write(evidence, flush, (4, 1), Some(EVERY_US))?.p50_us);
    let shared = |flush| {
        let depths = DEPTHS.iter().filter_map(|&depth| sharing(evidence, flush, depth));
        depths.reduce(f64::max).map(|rate| 1.0 / rate)
    };
    let ratio = |of: &dyn Fn(Flush) -> Option<f64>| Some(of(Flush::Fdatasync)? / of(Flush::Dsync)?);
    Some([ratio(&lone)?, ratio(&paced)?, ratio(&shared)?])
}

fn flush(evidence: &Evidence) -> Flush {
    let Some(ratios) = flush_ratios(evidence) else { return Flush::Dsync };
    let mean = ratios.iter().product::<f64>().cbrt();
    let nowhere_worse = ratios.iter().all(|ratio| *ratio <= NOWHERE_WORSE);
    if mean <= CLEARLY && nowhere_worse { Flush::Fdatasync } else { Flush::Dsync }
}

/// Requests a second, of each of many producers who wait for theirs and share groups: depth d, R
/// groups a second. A group takes d/R, and a request waits about 1/R for a group to go: (d+1)/R. So
/// a deeper pipeline only pays if its rate grows faster than d+1; else it splits what could share a
/// flush.
pub(super) fn sharing(evidence: &Evidence, flush: Flush, depth: u32) -> Option<f64> {
    Some(write(evidence, flush, (4, depth), None)?.per_s / f64::from(depth + 1))
}

fn depth(evidence: &Evidence, flush: Flush) -> u32 {
    let full = |depth| write(evidence, flush, (256, depth), None).map_or(0.0, gb_per_s);
    let most = DEPTHS.into_iter().map(full).fold(0.0, f64::max);
    let enough = DEPTHS.into_iter().filter(|&depth| full(depth) >= FULL_RATE * most);
    let scored = enough.filter_map(|depth| Some((depth, sharing(evidence, flush, depth)?)));
    let better = |best: (u32, f64), other: (u32, f64)| {
        // Shallower ones come first, and stay unless a deeper one is clearly better.
        if other.1 > best.1 * EQUAL { other } else { best }
    };
    scored.reduce(better).map_or(DEFAULTS.groups_inflight_max, |(depth, _)| depth)
}

fn prefill_step_kib(evidence: &Evidence, flush: Flush, depth: u32) -> u32 {
    let Some(figure) = write(evidence, flush, (256, depth), None) else {
        return DEFAULTS.prefill_step_kib;
    };
    let kib = (gb_per_s(figure) * 1e9 * PREFILL_S / 1024.0) as u32;
    // Rounded to the nearer power of two, so that a little noise does not halve it.
    let step = (kib.max(1) * 4 / 3).max(1);
    let power = 1 << step.ilog2();
    power.clamp(*PREFILL_STEP_KIB.start(), *PREFILL_STEP_KIB.end())
}

/// The smallest group that carries nearly all of the bandwidth. One of the default's size stays if it
/// does: what comes with less in it is no faster.
fn group_kib(evidence: &Evidence, flush: Flush, depth: u32) -> u32 {
    let default = DEFAULTS.group_kib;
    let enough = block_kib(evidence, flush, depth).map_or(default, |figure| figure.block_kib);
    match write(evidence, flush, (default, depth), None) {
        Some(figure) if enough <= default && figure.p99_us <= ACCEPTABLE_P99_US => default,
        _ => enough.clamp(*GROUP_KIB.start(), *GROUP_KIB.end()),
    }
}

/// The two figures of each CPU: yielding, not yielding.
pub(super) fn spins(evidence: &Evidence) -> impl Iterator<Item = (&SpinFigure, &SpinFigure)> {
    let of = |cpu, yields| {
        evidence.spins.iter().find(move |spin| spin.cpu == cpu && spin.yields == yields)
    };
    let yielding = evidence.spins.iter().filter(|spin| spin.yields);
    yielding.filter_map(move |spin| Some((spin, of(spin.cpu, false)?)))
}

fn yields(evidence: &Evidence) -> bool {
    let worth_it = |(yielding, not): (&SpinFigure, &SpinFigure)| {
        not.p50_us * EQUAL <= yielding.p50_us
            && not.per_s >= yielding.per_s * EQUAL
            && not.p99_us <= yielding.p99_us * SPIN_P99
    };
    let mut spins = spins(evidence).peekable();
    spins.peek().is_none() || !spins.all(worth_it)
}

/// How much better the best write size is worth: the smallest with nearly all of the bandwidth,
/// among those that end in time for someone to wait for them.
pub(super) fn block_kib(evidence: &Evidence, flush: Flush, depth: u32) -> Option<&WriteFigure> {
    let here = |figure: &&WriteFigure| {
        figure.flush == flush
            && figure.blocks == Blocks::Written
            && figure.every_us.is_none()
            && figure.depth == depth
            && figure.p99_us <= ACCEPTABLE_P99_US
    };
    let figures = || evidence.writes.iter().filter(here);
    let most = figures().map(gb_per_s).fold(0.0, f64::max);
    figures().filter(|f| gb_per_s(f) >= CLEARLY * most).min_by_key(|figure| figure.block_kib)
}

/// Extent sizes, and which way to send cold ones is clearly better in every round.
pub(super) fn cold_winners(rounds: &[Evidence]) -> Vec<(u32, Option<ColdWay>)> {
    let mut each = rounds.iter().map(winners);
    let mut agreed = each.next().unwrap_or_default();
    for round in each {
        for ((_, winner), (_, other)) in agreed.iter_mut().zip(round) {
            *winner = winner.filter(|winner| Some(*winner) == other);
        }
    }
    agreed
}

fn winners(evidence: &Evidence) -> Vec<(u32, Option<ColdWay>)> {
    let of = |kib, way| {
        evidence.cold_reads.iter().find(move |cold| cold.extent_kib == kib && cold.way == way)
    };
    let sizes = evidence.cold_reads.iter().filter(|cold| cold.way == ColdWay::Direct);
    let winners = sizes.filter_map(|direct| {
        let sendfile = of(direct.extent_kib, ColdWay::Sendfile)?;
        let winner = match (beats(sendfile, direct), beats(direct, sendfile)) {
            (true, _) => Some(ColdWay::Sendfile),
            (_, true) => Some(ColdWay::Direct),
            _ => None,
        };
        Some((direct.extent_kib, winner))
    });
    winners.collect()
}

/// Clearly faster for no more CPU, or clearly cheaper and no slower.
fn beats(one: &ColdFigure, other: &ColdFigure) -> bool {
    const FASTER: f64 = 1.2;
    const CHEAPER: f64 = 0.8;
    let faster = one.gb_per_s >= other.gb_per_s * FASTER;
    let cheaper = one.cpu_s_per_gb <= other.cpu_s_per_gb * CHEAPER;
    let no_slower = one.gb_per_s * EQUAL >= other.gb_per_s;
    let no_dearer = one.cpu_s_per_gb <= other.cpu_s_per_gb * EQUAL;
    (faster && no_dearer) || (cheaper && no_slower)
}

#[cfg(test)]
mod tests;
