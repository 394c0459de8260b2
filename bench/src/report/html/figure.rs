//! A chart with two axes as SVG, in the page's own colours: lines have classes, not colours.
//!
//! Absent: scripts. What a reader may want to know of a line stands in its title, which browsers
//! show when the pointer rests on it.

use std::fmt::Write;

/// What a page must not take for markup.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// How values are laid out along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Log,
}

/// An axis: its range, its ticks and what they are called.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) scale: Scale,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) ticks: Vec<(f64, String)>,
    pub(super) title: &'static str,
}

impl Axis {
    /// From zero to a round figure above `high`, with at most six steps.
    pub(super) fn from_zero(high: f64, title: &'static str, label: fn(f64) -> String) -> Self {
        let high = if high > 0.0 { high } else { 1.0 };
        let step = round_step(high / 5.0);
        let steps = (high / step).ceil().max(1.0);
        let ticks = (0..=steps as u32).map(|n| f64::from(n) * step).map(|v| (v, label(v)));
        Self { scale: Scale::Linear, low: 0.0, high: steps * step, ticks: ticks.collect(), title }
    }

    /// Logarithmic, from the round figure below `low` to the one above `high`.
    pub(super) fn log(low: f64, high: f64, title: &'static str, label: fn(f64) -> String) -> Self {
        let low = low.max(1e-3);
        let high = high.max(low);
        let decades = |steps: &'static [f64]| {
            (-3..12).flat_map(move |power| steps.iter().map(move |step| step * 10_f64.powi(power)))
        };
        let all: Vec<f64> = decades(&[1.0, 2.0, 5.0]).collect();
        let from = all.iter().copied().rfind(|v| *v <= low * 1.001).unwrap_or(low);
        let to = all.iter().copied().find(|v| *v >= high * 0.999 && *v > from).unwrap_or(high);
        let within = |v: &f64| (from * 0.999..=to * 1.001).contains(v);
        let mut ticks: Vec<f64> = all.iter().copied().filter(within).collect();
        if ticks.len() > 9 {
            ticks = decades(&[1.0]).filter(within).collect();
        }
        let ticks = ticks.into_iter().map(|v| (v, label(v))).collect();
        Self { scale: Scale::Log, low: from, high: to, ticks, title }
    }

    fn share(&self, value: f64) -> f64 {
        let place = |v: f64| match self.scale {
            Scale::Linear => v,
            Scale::Log => v.max(1e-9).log10(),
        };
        let (low, high) = (place(self.low), place(self.high));
        if high > low { ((place(value) - low) / (high - low)).clamp(-0.01, 1.01) } else { 0.0 }
    }
}

/// 1, 2 or 5 times a power of ten, not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|n| n * power)
        .find(|s| *s >= step * 0.999)
        .unwrap_or(step)
}

/// A chart in the making.
pub(super) struct Chart {
    width: f64,
    height: f64,
    left: f64,
    x: Axis,
    y: Axis,
    body: String,
}

const RIGHT: f64 = 18.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 44.0;
/// About the width of a digit at the size of the labels.
const DIGIT: f64 = 7.4;

impl Chart {
    /// An empty chart.
    pub(super) fn new((width, height): (f64, f64), x: Axis, y: Axis) -> Self {
        let widest = y.ticks.iter().map(|(_, label)| label.chars().count()).max().unwrap_or(0);
        let mut chart =
            Self { width, height, left: 14.0 + DIGIT * widest as f64, x, y, body: String::new() };
        chart.axes();
        chart
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let (wide, high) = (self.width - self.left - RIGHT, self.height - TOP - BOTTOM);
        (self.left + wide * self.x.share(x), TOP + high * (1.0 - self.y.share(y)))
    }

    fn axes(&mut self) {
        let (right, bottom) = (self.width - RIGHT, self.height - BOTTOM);
        let (left, mut body) = (self.left, String::new());
        for (value, label) in &self.y.ticks {
            let (_, y) = self.at((self.x.low, *value));
            let _ = write!(body, "<path class=g d='M{left:.1} {y:.1}H{right:.1}'/>");
            let (x, y) = (left - 7.0, y + 4.5);
            let _ =
                write!(body, "<text x={x:.1} y={y:.1} text-anchor=end>{}</text>", escape(label));
        }
        let mut free = 0.0;
        for (value, label) in &self.x.ticks {
            let (x, _) = self.at((*value, self.y.low));
            let _ = write!(body, "<path class=g d='M{x:.1} {TOP}V{bottom:.1}'/>");
            // A label that would touch its neighbour is left out.
            let half = DIGIT * label.chars().count() as f64 / 2.0;
            if x - half < free {
                continue;
            }
            free = x + half + 6.0;
            let (x, y) = (x.min(self.width - half - 1.0), bottom + 17.0);
            let text = escape(label);
            let _ = write!(body, "<text x={x:.1} y={y:.1} text-anchor=middle>{text}</text>");
        }
        let middle = (left + right) / 2.0;
        let _ = write!(
            body,
            "<path class=a d='M{left:.1} {TOP}V{bottom:.1}H{right:.1}'/>\
             <text class=f x={middle:.1} y={:.1} text-anchor=middle>{}</text>\
             <text class=f x=2 y=13>{}</text>",
            self.height - 6.0,
            escape(self.x.title),
            escape(self.y.title)
        );
        self.body += &body;
    }

    /// A line through points; `class` says how it looks, `title` what it is.
    pub(super) fn line(&mut self, class: &str, title: &str, points: &[(f64, f64)]) {
        let mut path = String::new();
        let mut last = None;
        for point in points {
            let (x, y) = self.at(*point);
            // Points that fall on the last one show nothing new.
            let place = ((x * 10.0) as i64, (y * 10.0) as i64);
            if last.replace(place) != Some(place) {
                let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
            }
        }
        let title = escape(title);
        let _ = write!(self.body, "<path class='{class}' d='{path}'><title>{title}</title></path>");
    }

    /// A dot.
    pub(super) fn dot(&mut self, class: &str, title: &str, point: (f64, f64)) {
        let ((x, y), title) = (self.at(point), escape(title));
        let _ = write!(
            self.body,
            "<circle class='{class}' cx={x:.1} cy={y:.1} r=5><title>{title}</title></circle>"
        );
    }

    /// A vertical line at `x`.
    pub(super) fn upright(&mut self, class: &str, x: f64) {
        let ((x, _), bottom) = (self.at((x, self.y.low)), self.height - BOTTOM);
        let _ = write!(self.body, "<path class='{class}' d='M{x:.1} {TOP}V{bottom:.1}'/>");
    }

    /// A horizontal line at `y`.
    pub(super) fn level(&mut self, class: &str, y: f64) {
        let ((_, y), right) = (self.at((self.x.low, y)), self.width - RIGHT);
        let _ =
            write!(self.body, "<path class='{class}' d='M{:.1} {y:.1}H{right:.1}'/>", self.left);
    }

    /// The chart; `name` is for those who cannot see it.
    pub(super) fn svg(&self, name: &str, class: &str) -> String {
        svg((self.width, self.height), name, class, &self.body)
    }
}

/// An SVG element that scales with the page; `class` says on which screens it is shown.
pub(super) fn svg((width, height): (f64, f64), name: &str, class: &str, body: &str) -> String {
    let class = if class.is_empty() { String::new() } else { format!(" class={class}") };
    let name = escape(name);
    format!(
        "<svg{class} viewBox='0 0 {width} {height}' role=img aria-label=\"{name}\" \
         xmlns='http://www.w3.org/2000/svg'>{body}</svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn linear_axes_begin_at_zero_and_end_above_the_highest_value() {
        let axis = Axis::from_zero(93.0, "", |v| v.to_string());
        assert_eq!(labels(&axis), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!((axis.share(0.0), axis.share(50.0), axis.share(100.0)), (0.0, 0.5, 1.0));
        assert_eq!(Axis::from_zero(0.0, "", |v| v.to_string()).high, 1.0);
    }

    #[test]
    fn logarithmic_axes_have_few_ticks_however_wide_they_are() {
        let axis = Axis::log(30.0, 4_000.0, "", |v| v.to_string());
        assert_eq!(labels(&axis), ["20", "50", "100", "200", "500", "1000", "2000", "5000"]);
        let axis = Axis::log(0.5, 9e6, "", |v| v.to_string());
        assert!(axis.ticks.len() <= 9, "{axis:?}");
        let axis = Axis::log(5.0, 5.0, "", |v| v.to_string());
        assert!(axis.high > axis.low);
    }

    #[test]
    fn labels_of_the_x_axis_never_touch() {
        let ticks = (0..200).map(|n| (f64::from(n), format!("{n}00,000"))).collect();
        let x = Axis { scale: Scale::Linear, low: 0.0, high: 199.0, ticks, title: "x" };
        let chart = Chart::new((400.0, 200.0), x, Axis::from_zero(1.0, "y", |v| v.to_string()));
        let shown = chart.body.matches("text-anchor=middle").count() - 1;
        assert!(shown <= 400 / 59, "{shown} labels of 8 characters in 400 px");
    }

    #[test]
    fn names_are_no_markup() {
        let axis = || Axis::from_zero(1.0, "a<b", |v| v.to_string());
        let mut chart = Chart::new((100.0, 100.0), axis(), axis());
        chart.line("l", "<script>", &[(0.0, 0.0), (1.0, 1.0)]);
        let svg = chart.svg("\"&", "");
        assert!(svg.contains("&lt;script&gt;") && svg.contains("&quot;&amp;"), "{svg}");
        assert!(!svg.contains("<script"), "{svg}");
    }
}
