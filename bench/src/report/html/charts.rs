//! The figures of a flush-mode report: latency by percentile, where the time goes, the run over
//! time.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::Entry;
use super::figure::{Axis, Chart, Scale, escape, svg};
use crate::report::grid::{number, rate};
use crate::report::model::{Report, Run, StageTime};
use crate::report::plot::{curves, run_label};
use crate::report::table::producers;
use crate::report::{Ack, Stage};

const WIDE: (f64, f64) = (1000.0, 470.0);
const NARROW: (f64, f64) = (440.0, 380.0);
const HALF: (f64, f64) = (500.0, 230.0);

/// A latency on an axis.
pub(super) fn latency_label(us: f64) -> String {
    match us {
        us if us >= 999_999.0 => format!("{} s", trimmed(us / 1e6)),
        us if us >= 999.9 => format!("{} ms", trimmed(us / 1e3)),
        us => format!("{} µs", trimmed(us)),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A rate on an axis.
pub(super) fn rate_label(per_s: f64) -> String {
    match per_s {
        v if v >= 999_999.0 => format!("{} M", trimmed(v / 1e6)),
        v if v >= 9_999.0 => format!("{} k", trimmed(v / 1e3)),
        v => trimmed(v),
    }
}

fn seconds_label(s: f64) -> String {
    trimmed(s)
}

/// The colours of lines as rules: class `cN` for the n-th curve, by day and by night.
pub(super) fn colours(report: &Report) -> String {
    let (mut day, mut night) = (String::new(), String::new());
    for (n, curve) in curves(report).iter().enumerate() {
        let (r, g, b) = curve.rgb();
        let _ = write!(day, ".c{n}{{--c:#{r:02x}{g:02x}{b:02x}}}");
        // Towards white: what is dark on paper would vanish on black.
        let light = |v: u8| 255 - (255 - u32::from(v)) * 62 / 100;
        let (r, g, b) = (light(r), light(g), light(b));
        let _ = write!(night, ".c{n}{{--c:#{r:02x}{g:02x}{b:02x}}}");
    }
    format!("{day}\n@media(prefers-color-scheme:dark){{{night}}}\n")
}

/// All modes and yardsticks in one figure.
pub(super) fn percentiles(report: &Report) -> String {
    let curves = curves(report);
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let Some(nines) = points().map(|point| point.0).reduce(f64::max) else { return String::new() };
    let low = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let high = points().map(|point| point.1).fold(0.0, f64::max);
    let mut legend = Vec::new();
    let mut dashed = 0;
    for (n, curve) in curves.iter().enumerate() {
        let class = if curve.dashed {
            dashed += 1;
            format!("y y{dashed} c{n}")
        } else {
            format!("l c{n}")
        };
        legend.push(Entry { class, label: curve.label.clone() });
    }
    let drawn = wide_and_narrow(|size, class| {
        let latency = Axis::log(low, high, "latency", latency_label);
        let mut chart = Chart::new(size, percent_axis(nines), latency);
        for (curve, entry) in curves.iter().zip(&legend) {
            chart.line(&entry.class, &curve.label, &curve.points);
        }
        chart.svg("Latency by percentile of all modes", class)
    });
    drawn + &legends(report, legend)
}

/// A row for each ack level, and one for yardsticks.
fn legends(report: &Report, entries: Vec<Entry>) -> String {
    let mut rows: Vec<(Option<Ack>, Vec<Entry>)> = Vec::new();
    // Runs without a curve have no entry either.
    let acks = report.runs.iter().filter(|run| !run.latency.histogram_ns.is_empty());
    let acks = acks.map(|run| Some(run.ack)).chain(std::iter::repeat(None));
    for (entry, ack) in entries.into_iter().zip(acks) {
        match rows.last_mut() {
            Some((last, row)) if *last == ack => row.push(entry),
            _ => rows.push((ack, vec![entry])),
        }
    }
    rows.iter().map(|(_, row)| super::legend(row)).collect()
}

/// The same figure laid out for a screen and for a telephone; the style shows one of them.
pub(super) fn wide_and_narrow(draw: impl Fn((f64, f64), &str) -> String) -> String {
    draw(WIDE, "wide") + &draw(NARROW, "narrow")
}

fn percent_axis(nines: f64) -> Axis {
    let nines = nines.max(1.0);
    let marks = [0.0, 2_f64.log10()].into_iter().chain((1..=6).map(f64::from));
    let ticks = marks.filter(|mark| *mark <= nines + 1e-9).map(|mark| {
        let decimals = (mark.round() as usize).saturating_sub(2);
        (mark, format!("{:.decimals$} %", 100.0 * (1.0 - 10_f64.powf(-mark))))
    });
    let ticks = ticks.collect();
    let title = "percentile of requests";
    Axis { scale: Scale::Linear, low: 0.0, high: nines, ticks, title }
}

/// The numbers of producers that were compared, in order.
fn groups(runs: &[Run]) -> BTreeSet<u32> {
    runs.iter().map(|run| run.producers).collect()
}

const ROW: f64 = 30.0;
/// Left of the bars for the name, right of them for the figure; on a telephone less.
const NAME: f64 = 150.0;
const NAME_NARROW: f64 = 118.0;
const FIGURE: f64 = 110.0;
const FIGURE_NARROW: f64 = 76.0;

/// Medians of the stages, stacked; a panel with its own scale for each number of producers.
pub(super) fn stages(report: &Report) -> String {
    let mut text = String::new();
    for count in groups(&report.runs) {
        let of: Vec<&Run> = report
            .runs
            .iter()
            .filter(|run| run.producers == count && !run.stages.is_empty())
            .collect();
        let longest = of.iter().map(|run| sum(run).max(run.latency.p50_us)).fold(0.0, f64::max);
        if longest <= 0.0 {
            continue;
        }
        let drawn = wide_and_narrow(|(width, _), class| {
            let mut body = String::new();
            for (n, run) in of.iter().enumerate() {
                bar(&mut body, run, (n as f64 * ROW, width), longest);
            }
            let size = (width, ROW * of.len() as f64 + 2.0);
            svg(size, &format!("Where the time goes with {}", producers(count)), class, &body)
        });
        let _ = write!(text, "<h3>{}</h3>{drawn}", producers(count));
    }
    let shown = |stage: &Stage| {
        report.runs.iter().any(|run| run.stages.iter().any(|time| time.stage == *stage))
    };
    let legend: Vec<Entry> = Stage::ALL
        .iter()
        .filter(|stage| shown(stage))
        .map(|stage| Entry { class: class(*stage), label: stage.title().to_owned() })
        .collect();
    let measured = Entry { class: "k".to_owned(), label: "measured median".to_owned() };
    let legend: Vec<Entry> = legend.into_iter().chain([measured]).collect();
    if text.is_empty() { text } else { text + &super::legend(&legend) }
}

fn sum(run: &Run) -> f64 {
    run.stages.iter().map(|time| time.p50_us).sum()
}

/// `s-flush-wait`: the class and the name of the colour.
fn class(stage: Stage) -> String {
    let name = if stage == Stage::Rest { "rest" } else { stage.title() };
    format!("s-{}", name.replace(' ', "-"))
}

/// The stages of a run one after the other, and where its measured median is: medians of parts do
/// not add up to that of the whole.
fn bar(body: &mut String, run: &Run, (top, width): (f64, f64), longest: f64) {
    let is_narrow = width < WIDE.0;
    let (left, right) = if is_narrow { (NAME_NARROW, FIGURE_NARROW) } else { (NAME, FIGURE) };
    let middle = top + ROW / 2.0 + 4.5;
    let name = escape(&format!("{} ({})", run.ack, run.waiting));
    let _ = write!(body, "<text x={:.0} y={middle:.1} text-anchor=end>{name}</text>", left - 8.0);
    let scale = (width - left - right) / longest;
    let mut x = left;
    for StageTime { stage, p50_us, p99_us } in &run.stages {
        let width = p50_us * scale;
        let class = class(*stage);
        let title =
            format!("{}: median {} µs, p99 {} µs", stage.title(), number(*p50_us), number(*p99_us));
        let _ = write!(
            body,
            "<rect x={x:.1} y={:.1} width={width:.1} height={:.1} style='fill:var(--{class})'>\
             <title>{title}</title></rect>",
            top + 4.0,
            ROW - 8.0
        );
        x += width;
    }
    let p50_us = run.latency.p50_us;
    let (measured, from, to) = (left + p50_us * scale, top + 1.5, top + ROW - 1.5);
    if measured > x + 1.0 {
        let title = format!("in no stage's median: {} µs", number(p50_us - sum(run)));
        let _ = write!(
            body,
            "<rect class=rest x={x:.1} y={:.1} width={:.1} height={:.1}><title>{title}</title></rect>",
            top + 4.5,
            measured - x,
            ROW - 9.0
        );
    }
    let title = format!("measured median: {} µs", number(p50_us));
    let _ = write!(
        body,
        "<path class=k d='M{measured:.1} {from:.1}V{to:.1}'><title>{title}</title></path>"
    );
    let total = escape(&format!("{} µs", number(p50_us)));
    let after = x.max(measured) + 7.0;
    let _ = write!(body, "<text class=f x={after:.1} y={middle:.1}>{total}</text>");
}

/// Rate and p99 over the recorded time; a pair of panels for each number of producers.
pub(super) fn over_time(report: &Report) -> String {
    let mut text = String::new();
    for count in groups(&report.runs) {
        let of: Vec<(usize, &Run)> = report
            .runs
            .iter()
            .enumerate()
            .filter(|(_, run)| run.producers == count && !run.rounds.is_empty())
            .collect();
        if of.is_empty() {
            continue;
        }
        let rates = series(&of, false);
        let tails = series(&of, true);
        let _ = write!(
            text,
            "<h3>{}</h3><div class=pair><figure>{rates}</figure><figure>{tails}</figure></div>",
            producers(count)
        );
        let entry = |(n, run): &(usize, &Run)| Entry {
            class: format!("l c{n}"),
            label: run_label(&report.runs, run),
        };
        let legend: Vec<Entry> = of.iter().map(entry).collect();
        text += &super::legend(&legend);
    }
    text
}

/// The points of pieces in which the machine was slow.
fn slow(run: &Run, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let pieces = run.rounds.iter().flat_map(|round| &round.pieces);
    let all: Vec<bool> = pieces.map(|piece| piece.machine_was_slow).collect();
    // Pieces without samples have no point of their p99: then places do not match.
    let marked = all.iter().zip(points).filter(|(slow, _)| all.len() == points.len() && **slow);
    marked.map(|(_, point)| *point).collect()
}

/// Recorded seconds, and the figure; rounds one after the other.
fn points(run: &Run, tail: bool) -> (Vec<(f64, f64)>, Vec<f64>) {
    let (mut points, mut starts, mut begin) = (Vec::new(), Vec::new(), 0.0);
    for round in &run.rounds {
        starts.push(begin);
        for piece in &round.pieces {
            let at = begin + piece.from_s + piece.length_s / 2.0;
            if !tail {
                points.push((at, piece.messages_per_s));
            } else if piece.samples > 0 {
                points.push((at, piece.p99_us));
            }
        }
        begin += round.pieces.iter().map(|piece| piece.length_s).sum::<f64>();
    }
    starts.push(begin);
    (points, starts)
}

fn series(of: &[(usize, &Run)], tail: bool) -> String {
    let all: Vec<_> = of.iter().map(|(n, run)| (*n, *run, points(run, tail))).collect();
    let values = || all.iter().flat_map(|(_, _, (points, _))| points.iter().map(|p| p.1));
    let high = values().fold(0.0, f64::max);
    let low = values().fold(f64::INFINITY, f64::min).min(high);
    let longest = all.iter().flat_map(|(_, _, (_, starts))| starts.last().copied());
    let longest = longest.fold(0.0, f64::max);
    let y = if tail {
        Axis::log(low, high, "p99 latency", latency_label)
    } else {
        Axis::from_zero(high, "messages/s", rate_label)
    };
    let mut x =
        Axis::from_zero(longest, "recorded seconds, one round after the other", seconds_label);
    x.high = longest.max(1e-3);
    x.ticks.retain(|(value, _)| *value <= longest * 1.001);
    let mut chart = Chart::new(HALF, x, y);
    if let Some((_, _, (_, starts))) = all.first() {
        for start in starts.iter().skip(1).take(starts.len().saturating_sub(2)) {
            chart.upright("a", *start);
        }
    }
    for (n, run, (points, _)) in &all {
        let title = format!("{}: {} messages/s", run.name, rate(run.messages_per_s));
        chart.line(&format!("l c{n}"), &title, points);
        for at in slow(run, points) {
            chart.dot(&format!("p c{n}"), "the machine itself was slow here (canary)", at);
        }
    }
    chart.svg(if tail { "p99 latency over time" } else { "Rate over time" }, "")
}
