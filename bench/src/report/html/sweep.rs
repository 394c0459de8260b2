//! The figure of a rate sweep: percentiles over the offered rate, the bound and the knee.

use super::charts::{latency_label, rate_label, wide_and_narrow};
use super::figure::{Axis, Chart};
use super::{Entry, legend};

/// Rules for the lines' colours.
pub(crate) const COLOURS: &str = ".q0{--c:#0969da}.q1{--c:#0b6636}.q2{--c:#b35400}\n\
    @media(prefers-color-scheme:dark){.q0{--c:#58a6ff}.q1{--c:#3fb970}.q2{--c:#f0883e}}\n";

/// One rate.
pub(crate) struct Point {
    pub(crate) offered_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: Option<f64>,
    pub(crate) is_good: bool,
}

/// The figure, with its legend.
pub(crate) fn figure(points: &[Point], bound_us: f64, knee_per_s: Option<f64>) -> String {
    if points.is_empty() {
        return String::new();
    }
    let highest = points.iter().map(|p| p.offered_per_s).fold(0.0, f64::max);
    let low = points.iter().map(|p| p.p50_us).fold(bound_us, f64::min);
    let high = points.iter().map(|p| p.p999_us.unwrap_or(p.p99_us)).fold(bound_us, f64::max);
    let x = Axis::from_zero(highest, "offered messages/s", rate_label);
    let y = Axis::log(low, high, "latency", latency_label);
    let drawn = wide_and_narrow(|size, class| {
        let mut chart = Chart::new(size, x.clone(), y.clone());
        chart.level("m", bound_us);
        if let Some(knee) = knee_per_s {
            chart.upright("a", knee);
        }
        for n in 0..PERCENTILES.len() {
            line(&mut chart, points, n);
        }
        chart.svg("Latency by offered rate", class)
    });
    let shown = PERCENTILES
        .iter()
        .enumerate()
        .filter(|(_, (_, of))| points.iter().any(|p| of(p).is_some()));
    let mut entries: Vec<Entry> = shown
        .map(|(n, (name, _))| Entry { class: format!("l q{n}"), label: (*name).to_owned() })
        .collect();
    entries.push(Entry { class: "m".to_owned(), label: "bound of the p99".to_owned() });
    if knee_per_s.is_some() {
        entries.push(Entry { class: "a".to_owned(), label: "knee".to_owned() });
    }
    drawn + &legend(&entries)
}

/// A percentile of a rate; `None`: of too few samples.
type Percentile = fn(&Point) -> Option<f64>;

const PERCENTILES: [(&str, Percentile); 3] =
    [("p50", |p| Some(p.p50_us)), ("p99", |p| Some(p.p99_us)), ("p99.9", |p| p.p999_us)];

/// The n-th percentile over the rates.
fn line(chart: &mut Chart, points: &[Point], n: usize) {
    let (name, of) = PERCENTILES[n];
    let at = |p: &Point| of(p).map(|us| (p.offered_per_s, us));
    let places: Vec<(f64, f64)> = points.iter().filter_map(at).collect();
    if places.is_empty() {
        return;
    }
    chart.line(&format!("l q{n}"), name, &places);
    for point in points {
        let Some(place) = at(point) else { continue };
        let class = format!("{} q{n}", if point.is_good { "p" } else { "h" });
        let title = format!("{name} at {}/s: {}", rate_label(place.0), latency_label(place.1));
        chart.dot(&class, &title, place);
    }
}
