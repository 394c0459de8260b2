//! Latency by percentile, all runs and yardsticks in one figure, as SVG.
//!
//! The x axis is the HDR scale: log of 1 / (1 - q), so that every further nine takes the same room
//! and the tail, where systems differ, is most of the picture. Both axes are logarithmic. Colour is
//! the ack level, the shade the number of producers; yardsticks are dashed and grey.
//!
//! Invariant: a curve ends where its samples do: 1,000 samples say nothing beyond p99.9.
//! SVG text needs no installed font here; the viewer brings one.

use std::fs;
use std::path::Path;

use hdrhistogram::Histogram;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Ack;
use super::axis::Axis;
use super::json::ReportError;
use super::model::{Report, Run};
use super::table::producers;

const WIDTH: u32 = 1120;
const HEIGHT: u32 = 620;
const TITLE_HEIGHT: u32 = 64;
const LEGEND_WIDTH: u32 = 235;
const LEGEND_LINE: i32 = 22;
const FONT: &str = "Helvetica, Arial, DejaVu Sans, sans-serif";
const INK: RGBColor = RGBColor(0x24, 0x29, 0x2f);
const FAINT: RGBColor = RGBColor(0x6e, 0x77, 0x81);
const GRID: RGBColor = RGBColor(0xe4, 0xe7, 0xeb);

/// Points a decade of 1 / (1 - q): finer than a pixel shows.
const POINTS_PER_NINE: f64 = 60.0;
const NINES_MAX: f64 = 6.0;

pub(super) struct Curve {
    pub(super) label: String,
    colour: RGBColor,
    stroke: u32,
    pub(super) dashed: bool,
    /// (log10 of 1 / (1 - q), microseconds)
    pub(super) points: Vec<(f64, f64)>,
}

impl Curve {
    /// Red, green, blue.
    pub(super) fn rgb(&self) -> (u8, u8, u8) {
        (self.colour.0, self.colour.1, self.colour.2)
    }
}

/// The figure.
///
/// # Errors
/// [`ReportError::Plot`] when there is nothing to draw or the drawing fails.
pub fn svg(report: &Report) -> Result<String, ReportError> {
    let curves = curves(report);
    if curves.is_empty() {
        return Err(ReportError::Plot("no latencies".to_owned()));
    }
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (WIDTH, HEIGHT)).into_drawing_area();
        draw(&root, report, &curves).map_err(|error| ReportError::Plot(error.to_string()))?;
        root.present().map_err(|error| ReportError::Plot(error.to_string()))?;
    }
    Ok(text)
}

/// Writes the figure to a file.
///
/// # Errors
/// As [`svg`], and [`ReportError::File`].
pub fn write(report: &Report, path: &Path) -> Result<(), ReportError> {
    let text = svg(report)?;
    fs::write(path, text).map_err(|source| ReportError::File { path: path.to_path_buf(), source })
}

/// Runs, then yardsticks.
pub(super) fn curves(report: &Report) -> Vec<Curve> {
    let mut curves = Vec::new();
    for run in &report.runs {
        let (rank, of) = shade(&report.runs, run);
        curves.push(Curve {
            label: run_label(&report.runs, run),
            colour: colour(run.ack, rank, of),
            stroke: 2,
            dashed: false,
            points: points(&run.latency.histogram_ns),
        });
    }
    let of = report.yardsticks.len();
    for (n, yardstick) in report.yardsticks.iter().enumerate() {
        let pace = yardstick.pace_per_s.map_or(String::new(), |pace| format!(" at {pace:.0}/s"));
        // Beside runs they are the background; alone they are the picture.
        let alone = report.runs.is_empty();
        curves.push(Curve {
            label: format!("{} {}{pace}", yardstick.name, yardstick.wait),
            colour: if alone { hue(n, of) } else { grey(n, of) },
            stroke: if alone { 2 } else { 1 },
            dashed: !alone,
            points: points(&yardstick.latency.histogram_ns),
        });
    }
    curves.retain(|curve| !curve.points.is_empty());
    curves
}

/// The way to wait is only named where it tells curves apart.
pub(super) fn run_label(runs: &[Run], run: &Run) -> String {
    let mut label = format!("{}, {}", run.ack, producers(run.producers));
    if runs.iter().any(|other| other.waiting != run.waiting) {
        label += &format!(", {}", run.waiting);
    }
    if runs.iter().any(|other| other.batch_messages != run.batch_messages) {
        label += &format!(", batch {}", run.batch_messages);
    }
    label
}

/// The place of a run among those of its ack level, and how many there are.
fn shade(runs: &[Run], run: &Run) -> (usize, usize) {
    let same: Vec<&Run> = runs.iter().filter(|other| other.ack == run.ack).collect();
    let rank = same.iter().position(|other| std::ptr::eq(*other, run)).unwrap_or(0);
    (rank, same.len())
}

/// From light (few producers) to dark (many), in a hue that colour-blind readers tell apart.
fn colour(ack: Ack, rank: usize, of: usize) -> RGBColor {
    let (light, dark) = match ack {
        Ack::None => ((0xc9, 0xa2, 0xd6), (0x5e, 0x2b, 0x78)),
        Ack::Memory => ((0x8f, 0xc4, 0xee), (0x0b, 0x4f, 0x8a)),
        Ack::Written => ((0xf5, 0xb8, 0x70), (0xb3, 0x54, 0x00)),
        Ack::Durable => ((0x86, 0xcf, 0xa0), (0x0b, 0x66, 0x36)),
    };
    let share = if of > 1 { rank as f64 / (of - 1) as f64 } else { 1.0 };
    let mix =
        |from: u8, to: u8| (f64::from(from) + (f64::from(to) - f64::from(from)) * share) as u8;
    RGBColor(mix(light.0, dark.0), mix(light.1, dark.1), mix(light.2, dark.2))
}

/// Around the colour wheel, alternately lighter, so that neighbours differ.
fn hue(n: usize, of: usize) -> RGBColor {
    let lightness = if n.is_multiple_of(2) { 0.36 } else { 0.54 };
    let (r, g, b) = HSLColor(n as f64 / of as f64, 0.75, lightness).to_backend_color().rgb;
    RGBColor(r, g, b)
}

fn grey(n: usize, of: usize) -> RGBColor {
    let level = 0x50 + u8::try_from(n * 0x60 / of).unwrap_or(0);
    RGBColor(level, level, level)
}

fn points(histogram_ns: &Histogram<u64>) -> Vec<(f64, f64)> {
    if histogram_ns.is_empty() {
        return Vec::new();
    }
    // The last sample stands at q = 1 - 1 / n.
    let nines_max = (histogram_ns.len() as f64).log10().min(NINES_MAX);
    let steps = (nines_max * POINTS_PER_NINE).ceil().max(1.0) as u32;
    let mut points = Vec::new();
    for step in 0..=steps {
        let nines = nines_max * f64::from(step) / f64::from(steps);
        let quantile = 1.0 - 10_f64.powf(-nines);
        points.push((nines, histogram_ns.value_at_quantile(quantile).max(1) as f64 / 1e3));
    }
    points
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw(root: &Area<'_>, report: &Report, curves: &[Curve]) -> Drawn {
    root.fill(&WHITE)?;
    let (title, body) = root.split_vertically(TITLE_HEIGHT);
    title.draw(&Text::new("Latency by percentile", (18, 14), font(22, INK)))?;
    title.draw(&Text::new(subtitle(report), (18, 42), font(13, FAINT)))?;
    let (chart, legend) = body.split_horizontally(WIDTH - LEGEND_WIDTH);
    draw_chart(&chart, curves)?;
    draw_legend(&legend, curves)
}

fn draw_chart(area: &Area<'_>, curves: &[Curve]) -> Drawn {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let nines = all().map(|point| point.0).fold(1.0, f64::max);
    let low = all().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let high = all().map(|point| point.1).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin_right(20)
        .margin_left(6)
        .x_label_area_size(52)
        .y_label_area_size(72)
        .build_cartesian_2d(Axis::percentiles(nines), Axis::latencies(low, high))?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(FAINT)
        .label_style(font(13, INK))
        .axis_desc_style(font(13, FAINT))
        .x_desc("percentile of requests")
        .y_desc("latency")
        .draw()?;
    for curve in curves {
        let style = curve.colour.stroke_width(curve.stroke);
        if curve.dashed {
            chart.draw_series(DashedLineSeries::new(curve.points.clone(), 6, 4, style))?;
        } else {
            chart.draw_series(LineSeries::new(curve.points.clone(), style))?;
        }
    }
    Ok(())
}

fn draw_legend(area: &Area<'_>, curves: &[Curve]) -> Drawn {
    for (n, curve) in curves.iter().enumerate() {
        let y = 12 + LEGEND_LINE * i32::try_from(n)?;
        let style = curve.colour.stroke_width(curve.stroke + 1);
        // Two dashes stand for a dashed curve.
        let strokes: &[(i32, i32)] = if curve.dashed { &[(0, 9), (15, 24)] } else { &[(0, 24)] };
        for (from, to) in strokes {
            area.draw(&PathElement::new(vec![(*from, y), (*to, y)], style))?;
        }
        let text = font(13, INK).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(curve.label.clone(), (32, y), text))?;
    }
    Ok(())
}

fn font(size: u32, colour: RGBColor) -> TextStyle<'static> {
    (FONT, size).into_font().color(&colour)
}

fn subtitle(report: &Report) -> String {
    let env = &report.environment;
    let mut parts = Vec::new();
    if let Some(run) = report.runs.first()
        && report.runs.iter().all(|other| other.message_bytes == run.message_bytes)
    {
        parts.push(format!("{} messages", super::grid::bytes(u64::from(run.message_bytes))));
    }
    parts.push(format!("{} CPUs", env.cpus));
    parts.push(format!("{} on {}", env.file_system, env.device));
    parts.push(format!("Linux {}", env.kernel));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::sample::report;

    #[test]
    fn every_run_and_yardstick_has_a_curve_and_a_name() {
        let report = report();
        let text = svg(&report).unwrap();
        for label in [
            "memory, 1 producer",
            "memory, 256 producers",
            "durable, 1 producer",
            "durable, 256 producers",
            "D(4K,1) sleeping",
            "ED sleeping at 500/s",
        ] {
            assert!(text.contains(&format!("\n{label}\n")), "no {label:?}");
        }
        for curve in curves(&report).iter().filter(|curve| !curve.dashed) {
            let RGBColor(r, g, b) = curve.colour;
            let stroke = format!("stroke=\"#{r:02X}{g:02X}{b:02X}\"");
            let drawn = text.lines().filter(|line| line.contains(&stroke));
            assert!(drawn.count() >= 2, "{}: a curve and its sample {stroke}", curve.label);
        }
        for tick in ["50%", "90%", "99%", "99.9%", "100 us", "1 ms"] {
            assert!(text.contains(&format!("\n{tick}\n")), "no tick {tick}");
        }
    }

    #[test]
    fn the_svg_is_well_formed() {
        let text = svg(&report()).unwrap();
        assert_eq!(unclosed(&text), Vec::<String>::new());
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
    }

    /// Names of elements that are open at the end, or a mismatch; enough XML for what we write.
    fn unclosed(xml: &str) -> Vec<String> {
        let mut open = Vec::new();
        for tag in xml.split('<').skip(1) {
            let (tag, text) = tag.split_once('>').expect("a tag without an end");
            assert!(!text.contains('>') && tag.matches('"').count() % 2 == 0, "{tag}");
            let name = tag.split_whitespace().next().unwrap_or_default().trim_matches('/');
            if let Some(closed) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(closed));
            } else if !tag.ends_with('/') {
                open.push(name.to_owned());
            }
        }
        open
    }

    #[test]
    fn a_curve_ends_where_its_samples_do() {
        let points = points(&report().runs[0].latency.histogram_ns);
        assert_eq!(points.first().map(|p| p.0), Some(0.0));
        assert!((points.last().unwrap().0 - 3.0).abs() < 1e-9, "1,000 samples are three nines");
        assert!(points.windows(2).all(|pair| pair[0].1 <= pair[1].1), "a percentile falls");
    }

    #[test]
    fn yardsticks_alone_are_drawn_in_colour() {
        let mut alone = report();
        alone.runs.clear();
        let curves = curves(&alone);
        assert_eq!(curves.len(), 2);
        assert!(curves.iter().all(|curve| !curve.dashed));
        assert_ne!(curves[0].colour, curves[1].colour);
    }

    #[test]
    fn nothing_to_draw_is_an_error() {
        let mut empty = report();
        (empty.runs, empty.yardsticks) = (Vec::new(), Vec::new());
        assert!(matches!(svg(&empty), Err(ReportError::Plot(_))));
    }
}
