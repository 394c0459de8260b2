//! The two axes of the plot: percentiles on the HDR scale, latencies on a logarithmic one.
//!
//! A percentile is held as its nines, log10 of 1 / (1 - q): 90 % is 1, 99 % is 2. A latency is held
//! in microseconds.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// A range of values with chosen ticks.
pub(super) struct Axis {
    values: Range<f64>,
    ticks: Vec<f64>,
    /// Where a value stands; equal steps of it take equal room.
    place: fn(f64) -> f64,
    label: fn(f64) -> String,
}

impl Axis {
    /// From 0 % to so many nines.
    pub(super) fn percentiles(nines: f64) -> Self {
        Self {
            values: 0.0..nines,
            ticks: percentile_ticks(nines),
            place: |nines| nines,
            label: percentile_label,
        }
    }

    /// From the round figure below `low_us` to the one above `high_us`.
    pub(super) fn latencies(low_us: f64, high_us: f64) -> Self {
        let low = latency_ticks(0.0, low_us).pop().unwrap_or(low_us);
        let high = latency_ticks(high_us, f64::INFINITY).first().copied().unwrap_or(high_us);
        Self {
            values: low..high,
            ticks: latency_ticks(low, high),
            place: f64::log10,
            label: latency_label,
        }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let (from, to) = ((self.place)(self.values.start), (self.place)(self.values.end));
        let share = if to > from { ((self.place)(*value) - from) / (to - from) } else { 0.0 };
        limit.0 + (f64::from(limit.1 - limit.0) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Asked once for labels and bold lines, and once more for lines in between: we have none.
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.values.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        (self.label)(*value)
    }
}

fn percentile_ticks(nines: f64) -> Vec<f64> {
    let mut ticks = vec![0.0, 2_f64.log10()];
    ticks.extend((1..).map(f64::from).take_while(|tick| *tick <= nines + 1e-9));
    ticks
}

fn percentile_label(nines: f64) -> String {
    let percent = 100.0 * (1.0 - 10_f64.powf(-nines));
    let decimals = (nines.round() as usize).saturating_sub(2);
    format!("{percent:.decimals$}%")
}

/// 1, 2 and 5 times the powers of ten.
fn latency_ticks(low_us: f64, high_us: f64) -> Vec<f64> {
    let decades = (-3..9).map(|power| 10_f64.powi(power));
    let ticks = decades.flat_map(|decade| [decade, 2.0 * decade, 5.0 * decade]);
    ticks.filter(|tick| (low_us * 0.999..=high_us * 1.001).contains(tick)).collect()
}

fn latency_label(us: f64) -> String {
    match us {
        us if us >= 999_999.0 => format!("{} s", us / 1e6),
        us if us >= 999.9 => format!("{} ms", us / 1e3),
        us => format!("{us} us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_where_they_say() {
        let ticks = percentile_ticks(4.5);
        let labels: Vec<String> = ticks.into_iter().map(percentile_label).collect();
        assert_eq!(labels, ["0%", "50%", "90%", "99%", "99.9%", "99.99%"]);
        assert_eq!(latency_ticks(10.0, 100.0), [10.0, 20.0, 50.0, 100.0]);
        let labels = [0.5, 20.0, 5_000.0, 2e6].map(latency_label);
        assert_eq!(labels, ["0.5 us", "20 us", "5 ms", "2 s"]);
    }

    #[test]
    fn equal_factors_take_equal_room() {
        let axis = Axis::latencies(12.0, 940.0);
        assert_eq!(axis.range(), 10.0..1_000.0);
        assert_eq!([10.0, 100.0, 1_000.0].map(|us| axis.map(&us, (500, 0))), [500, 250, 0]);
        let axis = Axis::percentiles(4.0);
        assert_eq!([0.0, 1.0, 4.0].map(|nines| axis.map(&nines, (100, 500))), [100, 200, 500]);
    }
}
