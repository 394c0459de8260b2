//! What a node does in a second: figures in columns, as many beside each other as there is room for.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph};

use crate::interval::Interval;
use crate::output::grouped;

/// What stands before the figures of a line.
const LABEL_COLUMNS: usize = 8;
/// A figure and its unit: three fit into 80 columns.
const FIGURE_COLUMNS: usize = 23;
/// Of these for the figure itself.
const NUMBER_COLUMNS: usize = 9;
/// More lines of reactors than this become one.
const PUMP_LINES_MAX: usize = 2;

/// A figure and what it is.
type Figure = (String, &'static str);

/// The lines for a panel of so many columns.
pub(super) fn lines(interval: Option<&Interval>, columns: u16) -> Vec<String> {
    let Some(interval) = interval else { return Vec::new() };
    let in_line = (usize::from(columns).saturating_sub(LABEL_COLUMNS) / FIGURE_COLUMNS).max(1);
    let pumps = pumps(interval, in_line * PUMP_LINES_MAX);
    let [messages_in, messages_out, disk, log] = flows(interval);
    let all = [
        ("in", messages_in),
        ("out", messages_out),
        ("disk", disk),
        ("log", log),
        ("device", device(interval)),
        ("pumps", pumps),
    ];
    all.iter().flat_map(|(label, figures)| folded(label, figures, in_line)).collect()
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, lines: Vec<String>) {
    let lines: Vec<Line<'_>> = lines.into_iter().map(Line::from).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title("rates")), area);
}

/// Figures under each other in columns, so many in a line.
fn folded(label: &str, figures: &[Figure], in_line: usize) -> Vec<String> {
    let line = |(at, figures): (usize, &[Figure])| {
        let label = if at == 0 { label } else { "" };
        let mut line = format!("{label:LABEL_COLUMNS$}");
        for (number, unit) in figures {
            let figure = format!("{number:>NUMBER_COLUMNS$} {unit}");
            line.push_str(&format!("{figure:FIGURE_COLUMNS$}"));
        }
        line.trim_end().to_owned()
    };
    figures.chunks(in_line).enumerate().map(line).collect()
}

fn flows(interval: &Interval) -> [Vec<Figure>; 4] {
    let rate = |name: &str| grouped(interval.rate(name) as u64);
    let bytes = |name: &str| mib(interval.rate(name));
    let value = |name: &str| grouped(interval.value(name));
    let groups = interval.rate("groups");
    let mean = if groups > 0.0 { interval.rate("group_bytes") / groups / 1024.0 } else { 0.0 };
    [
        vec![
            (rate("produced_records"), "messages/s"),
            (bytes("produced_bytes"), "MiB/s"),
            (rate("produced_batches"), "batches/s"),
        ],
        vec![
            (rate("fetched_records"), "messages/s"),
            (bytes("fetched_bytes"), "MiB/s"),
            (rate("fetches"), "fetches/s"),
        ],
        vec![
            (grouped(groups as u64), "groups/s"),
            (bytes("group_bytes"), "MiB/s"),
            (format!("{mean:.1}"), "KiB a group"),
        ],
        vec![
            (value("segments"), "segments"),
            (value("waiting_produces"), "wait for it"),
            (value("parked_fetches"), "parked"),
            (most(interval, "disk_used_percent").to_string(), "% disk used"),
            (rate("cold_reads"), "cold reads/s"),
            (rate("repeated_batches"), "repeated/s"),
        ],
    ]
}

/// Of what every shard says of the same disk.
fn most(interval: &Interval, name: &str) -> u64 {
    let values = interval.counters.iter().filter(|counter| counter.name == name);
    values.map(|counter| counter.value).max().unwrap_or(0)
}

/// How busy the shards' devices were; each shard counts what is its own, so the busiest is shown.
fn device(interval: &Interval) -> Vec<Figure> {
    let busiest = |name| {
        let shares = interval.shares(name).into_iter().map(|(_, share)| share);
        format!("{:.1}", shares.fold(0.0, f64::max))
    };
    vec![
        (busiest("device_busy_nanos"), "% busy"),
        (busiest("device_reading_nanos"), "% reading"),
        (busiest("device_writing_nanos"), "% writing"),
        (mib(interval.rate("device_read_bytes")), "MiB/s read"),
        (mib(interval.rate("device_written_bytes")), "MiB/s written"),
    ]
}

/// How busy each reactor was; of more than `max` the busiest and the mean.
fn pumps(interval: &Interval, max: usize) -> Vec<Figure> {
    let shares = interval.shares("pump_busy_nanos");
    if shares.len() <= max {
        return shares.iter().map(|(_, share)| (format!("{share:.1}"), "% busy")).collect();
    }
    let busiest = shares.iter().map(|(_, share)| *share).fold(0.0, f64::max);
    let sum: f64 = shares.iter().map(|(_, share)| share).sum();
    vec![
        (grouped(shares.len() as u64), "reactors"),
        (format!("{busiest:.1}"), "% the busiest"),
        (format!("{:.1}", sum / shares.len() as f64), "% in the mean"),
    ]
}

fn mib(bytes_per_second: f64) -> String {
    format!("{:.1}", bytes_per_second / (1 << 20) as f64)
}
