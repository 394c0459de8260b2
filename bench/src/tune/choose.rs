//! From figures to choices. Pure: the same figures, the same choices.
//!
//! Each choice stays with the default unless the figures clearly speak against it: they come from
//! seconds of measuring on a machine that may have other things to do.

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
/// Polling without yielding is only worth it where it hurts nobody ...
const SPIN_P99: f64 = 1.25;

/// What a node on this device is to do.
#[must_use]
pub fn choose(evidence: &Evidence) -> Choices {
    let flush = flush(evidence);
    let depth = depth(evidence, flush);
    Choices {
        flush,
        groups_inflight_max: depth,
        prefill_step_kib: prefill_step_kib(evidence, flush, depth),
        yield_in_flight: yields(evidence),
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
    let default = engine::limits::GROUPS_INFLIGHT_MAX as u32;
    scored.reduce(better).map_or(default, |(depth, _)| depth)
}

fn prefill_step_kib(evidence: &Evidence, flush: Flush, depth: u32) -> u32 {
    let default = engine::limits::PREFILL_STEP_BYTES >> 10;
    let Some(figure) = write(evidence, flush, (256, depth), None) else { return default };
    let kib = (gb_per_s(figure) * 1e9 * PREFILL_S / 1024.0) as u32;
    // Rounded to the nearer power of two, so that a little noise does not halve it.
    let step = (kib.max(1) * 4 / 3).max(1);
    let power = 1 << step.ilog2();
    power.clamp(*PREFILL_STEP_KIB.start(), *PREFILL_STEP_KIB.end())
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
    const ACCEPTABLE_P99_US: f64 = 10_000.0;
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

/// Extent sizes at which one way to send cold extents is clearly better, and which.
pub(super) fn cold_winners(evidence: &Evidence) -> Vec<(u32, Option<ColdWay>)> {
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
mod tests {
    use super::super::synthetic::Device;
    use super::*;

    fn chosen(device: &Device) -> (Flush, u32, u32, bool) {
        let choices = choose(&device.evidence());
        (
            choices.flush,
            choices.groups_inflight_max,
            choices.prefill_step_kib,
            choices.yield_in_flight,
        )
    }

    #[test]
    fn every_kind_of_device_gets_what_suits_it() {
        use Flush::{Dsync, Fdatasync};
        let reference = Device::default();
        let cases = [
            ("the reference device", reference.clone(), (Dsync, 2, 1024, true)),
            (
                // Parallel, in no need of flushes, its completions need no worker.
                "NVMe with FUA",
                Device {
                    rates: [30e3, 60e3, 115e3, 200e3],
                    lone_us: [33.0, 40.0],
                    full_gb: [2.0, 3.6, 5.8, 6.0],
                    spin_us: [33.0, 29.0],
                    ..reference.clone()
                },
                (Dsync, 4, 2048, false),
            ),
            (
                "a slow fdatasync",
                Device { lone_us: [110.0, 1400.0], ..reference.clone() },
                (Dsync, 2, 1024, true),
            ),
            (
                "a slow FUA",
                Device { lone_us: [900.0, 400.0], ..reference.clone() },
                (Fdatasync, 2, 2048, true),
            ),
            (
                "fdatasync a little faster: not worth leaving the default",
                Device { lone_us: [110.0, 105.0], ..reference.clone() },
                (Dsync, 2, 1024, true),
            ),
            (
                "a depth that does not help",
                Device {
                    rates: [9e3; 4],
                    full_gb: [0.4; 4],
                    spin_us: [110.0, 110.0],
                    ..reference.clone()
                },
                (Dsync, 1, 256, true),
            ),
            (
                "a cloud disk that has to be asked for much at once",
                Device {
                    rates: [1e3, 2e3, 4e3, 8e3],
                    lone_us: [1000.0, 1100.0],
                    full_gb: [0.02, 0.04, 0.08, 0.12],
                    ..reference
                },
                (Dsync, 8, 64, true),
            ),
        ];
        for (name, device, wanted) in cases {
            assert_eq!(chosen(&device), wanted, "{name}");
        }
    }

    #[test]
    fn without_figures_the_defaults_are_chosen() {
        let choices = choose(&Evidence::default());
        let defaults = Choices {
            flush: Flush::Dsync,
            groups_inflight_max: 2,
            prefill_step_kib: 1024,
            yield_in_flight: true,
        };
        assert_eq!(choices, defaults);
    }

    #[test]
    fn one_cpu_that_suffers_is_enough_to_yield_on() {
        let mut evidence = Device { spin_us: [100.0, 80.0], ..Device::default() }.evidence();
        assert!(!choose(&evidence).yield_in_flight);
        let worst = evidence.spins.last_mut().unwrap();
        assert!(!worst.yields);
        (worst.p50_us, worst.per_s) = (4000.0, 250.0);
        assert!(choose(&evidence).yield_in_flight);
    }

    #[test]
    fn a_way_to_send_cold_extents_wins_by_a_clear_margin_only() {
        let mut evidence = Device::default().evidence();
        let mut set = |kib, (gb, cpu): (f64, f64)| {
            evidence.cold_reads.push(ColdFigure {
                extent_kib: kib,
                way: ColdWay::Direct,
                gb_per_s: 1.0,
                cpu_s_per_gb: 0.5,
            });
            evidence.cold_reads.push(ColdFigure {
                extent_kib: kib,
                way: ColdWay::Sendfile,
                gb_per_s: gb,
                cpu_s_per_gb: cpu,
            });
        };
        for (kib, figures) in [
            (1, (1.3, 0.5)),
            (2, (1.0, 0.3)),
            (3, (1.1, 0.45)),
            (5, (1.5, 0.9)),
            (6, (0.7, 0.6)),
            (7, (0.9, 0.3)),
        ] {
            set(kib, figures);
        }
        let (direct, sendfile) = (Some(ColdWay::Direct), Some(ColdWay::Sendfile));
        let winners = cold_winners(&evidence);
        let wanted = [(1, sendfile), (2, sendfile), (3, None), (5, None), (6, direct), (7, None)];
        assert_eq!(winners, wanted);
    }
}
