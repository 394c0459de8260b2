//! The figure of a rate sweep: percentiles over the offered rate, the bound and the knee.

use super::charts::{latency_label, rate_label};
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
    pub(crate) p999_us: f64,
    pub(crate) is_good: bool,
}

/// The figure, with its legend.
pub(crate) fn figure(points: &[Point], bound_us: f64, knee_per_s: Option<f64>) -> String {
    if points.is_empty() {
        return String::new();
    }
    let highest = points.iter().map(|p| p.offered_per_s).fold(0.0, f64::max);
    let low = points.iter().map(|p| p.p50_us).fold(bound_us, f64::min);
    let high = points.iter().map(|p| p.p999_us).fold(bound_us, f64::max);
    let x = Axis::from_zero(highest, "offered messages/s", rate_label);
    let mut chart = Chart::new((1000.0, 420.0), x, Axis::log(low, high, "latency", latency_label));
    chart.level("m", bound_us);
    if let Some(knee) = knee_per_s {
        chart.upright("a", knee);
    }
    let mut entries = Vec::new();
    for (n, name) in ["p50", "p99", "p99.9"].into_iter().enumerate() {
        let value = |p: &Point| [p.p50_us, p.p99_us, p.p999_us].into_iter().nth(n).unwrap_or(0.0);
        let line: Vec<(f64, f64)> = points.iter().map(|p| (p.offered_per_s, value(p))).collect();
        chart.line(&format!("l q{n}"), name, &line);
        for point in points {
            let class = format!("{} q{n}", if point.is_good { "p" } else { "h" });
            let at = (point.offered_per_s, value(point));
            let title = format!("{name} at {}/s: {}", rate_label(at.0), latency_label(at.1));
            chart.dot(&class, &title, at);
        }
        entries.push(Entry { class: format!("l q{n}"), label: name.to_owned() });
    }
    entries.push(Entry { class: "m".to_owned(), label: "bound of the p99".to_owned() });
    if knee_per_s.is_some() {
        entries.push(Entry { class: "a".to_owned(), label: "knee".to_owned() });
    }
    let drawn = chart.svg("Latency by offered rate", true);
    format!("<div class=scroll>{drawn}</div>{}", legend(&entries))
}
