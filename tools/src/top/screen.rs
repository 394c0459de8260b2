//! What `top` draws: rates with their history, latencies by operation and stage, groups and their
//! lag. Nothing here asks or waits.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};

use super::sample::Lag;
use crate::interval::Interval;
use crate::output::grouped;
use crate::stats::{QUANTILES, micros, operation, stage};

/// Lines of the panel of rates, its frame included.
const RATES_LINES: u16 = 8;
/// Lines of the graph, its frame included.
const GRAPH_LINES: u16 = 5;
/// Groups' queues that are always shown, with heading and frame.
const LAG_LINES_MIN: u16 = 6;

/// What is known about a node.
pub(super) struct View {
    pub(super) title: String,
    /// Between the last two looks.
    pub(super) interval: Option<Interval>,
    pub(super) lags: Vec<Lag>,
    /// Messages produced per second, the newest last.
    pub(super) history: VecDeque<u64>,
    /// Why the last look failed, if it did.
    pub(super) trouble: Option<String>,
}

impl View {
    /// Takes in what happened.
    pub(super) fn show(&mut self, interval: Interval, history_max: usize) {
        self.history.push_back(interval.rate("produced_records") as u64);
        while self.history.len() > history_max {
            self.history.pop_front();
        }
        self.interval = Some(interval);
    }
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let areas = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(RATES_LINES),
        Constraint::Length(GRAPH_LINES),
        Constraint::Fill(2),
        Constraint::Min(LAG_LINES_MIN),
    ]);
    let [title, rates, graph, latencies, lags] = areas.areas(frame.area());
    frame.render_widget(headline(view), title);
    draw_rates(frame, rates, view);
    draw_graph(frame, graph, view);
    draw_latencies(frame, latencies, view);
    draw_lags(frame, lags, view);
}

fn headline(view: &View) -> Line<'_> {
    let state = match &view.trouble {
        Some(trouble) => Span::styled(format!("  {trouble}"), Style::new().fg(Color::Red)),
        None if view.interval.is_none() => "  looking ...".into(),
        None => Span::styled("  up", Style::new().fg(Color::Green)),
    };
    Line::from(vec![view.title.as_str().bold(), state, "  (q quits)".dim()])
}

fn draw_rates(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let block = Block::bordered().title("rates");
    let Some(interval) = &view.interval else { return frame.render_widget(block, area) };
    let rate = |name: &str| grouped(interval.rate(name) as u64);
    let bytes = |name: &str| mib(interval.rate(name));
    let groups = interval.rate("groups");
    let mean = if groups > 0.0 { interval.rate("group_bytes") / groups / 1024.0 } else { 0.0 };
    let lines = vec![
        Line::from(format!(
            "in    {:>12} messages/s  {:>10} MiB/s  {:>10} batches/s  {:>8} repeated/s",
            rate("produced_records"),
            bytes("produced_bytes"),
            rate("produced_batches"),
            rate("repeated_batches"),
        )),
        Line::from(format!(
            "out   {:>12} fetches/s   {:>10} MiB/s  {:>10} cold reads/s  {:>6} parked",
            rate("fetches"),
            bytes("fetched_bytes"),
            rate("cold_reads"),
            grouped(interval.value("parked_fetches")),
        )),
        Line::from(format!(
            "disk  {:>12} groups/s    {:>10} MiB/s  {mean:>10.1} KiB a group",
            grouped(groups as u64),
            bytes("group_bytes"),
        )),
        Line::from(format!(
            "      {:>12} segments    {:>10} % used {:>10} waiting for the disk",
            grouped(interval.value("segments")),
            interval.value("disk_used_percent"),
            grouped(interval.value("waiting_produces")),
        )),
        Line::from(format!("device  {}", device(interval))),
        Line::from(format!("pumps   {}", pumps(interval))),
    ];
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// How busy the shards' devices were; each shard counts what is its own, so the busiest is shown.
fn device(interval: &Interval) -> String {
    let busiest = |name| {
        let shares = interval.shares(name).into_iter().map(|(_, share)| share);
        shares.fold(0.0, f64::max)
    };
    format!(
        "{:>8.1} % busy    {:>10.1} % reading, {:.1} % writing; {} MiB/s read, {} MiB/s written",
        busiest("device_busy_nanos"),
        busiest("device_reading_nanos"),
        busiest("device_writing_nanos"),
        mib(interval.rate("device_read_bytes")),
        mib(interval.rate("device_written_bytes")),
    )
}

/// How busy each reactor was.
fn pumps(interval: &Interval) -> String {
    let shares = interval.shares("pump_busy_nanos");
    let shares: Vec<_> = shares.iter().map(|(_, share)| format!("{share:>8.1} % busy")).collect();
    shares.join("  ")
}

fn draw_graph(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let most = view.history.iter().max().copied().unwrap_or(0);
    let title = format!("messages/s in, at most {}", grouped(most));
    let block = Block::bordered().title(title);
    // One column a look, the newest to the right.
    let columns = usize::from(area.width.saturating_sub(2));
    let shown = view.history.iter().skip(view.history.len().saturating_sub(columns)).copied();
    let data: Vec<u64> = shown.collect();
    frame.render_widget(Sparkline::default().block(block).data(data), area);
}

fn draw_latencies(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let mut heading = vec!["operation", "stage", "a second"];
    heading.extend(QUANTILES.map(|(_, name)| name));
    heading.push("max");
    let interval = view.interval.iter();
    let measured = interval.flat_map(|interval| {
        let some = interval.histograms.iter().filter(|measured| !measured.histogram.is_empty());
        some.map(|measured| (measured, interval.length))
    });
    let rows = measured.map(|(measured, length)| {
        let rate = crate::interval::per_second(measured.histogram.len(), length);
        let mut cells =
            vec![operation(measured).to_owned(), stage(measured).to_owned(), grouped(rate as u64)];
        let at = |(quantile, _)| micros(measured.histogram.value_at_quantile(quantile));
        cells.extend(QUANTILES.map(at));
        cells.push(micros(measured.histogram.max()));
        let is_total = stage(measured) == "total";
        let row = Row::new(cells.into_iter().enumerate().map(|(at, text)| match at {
            0 | 1 => Cell::from(text),
            _ => Cell::from(Line::from(text).right_aligned()),
        }));
        if is_total { row.bold() } else { row }
    });
    let widths = [Constraint::Length(16), Constraint::Length(10)]
        .into_iter()
        .chain(std::iter::repeat_n(Constraint::Length(10), QUANTILES.len() + 2));
    let heading = Row::new(heading.into_iter().enumerate().map(|(at, text)| match at {
        0 | 1 => Cell::from(text),
        _ => Cell::from(Line::from(text).right_aligned()),
    }));
    let block = Block::bordered().title("time on the node, in microseconds");
    frame.render_widget(Table::new(rows, widths).header(heading.dim()).block(block), area);
}

fn draw_lags(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let rows = view.lags.iter().map(|lag| {
        let offset = lag.offset.map_or_else(|| "-".to_owned(), grouped);
        let text = [grouped(lag.lag), offset, grouped(lag.visible)];
        let numbers = text.map(|text| Cell::from(Line::from(text).right_aligned()));
        let place = format!("{}/{}", lag.topic, lag.queue);
        Row::new([Cell::from(lag.group.clone()), Cell::from(place)].into_iter().chain(numbers))
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Length(14),
        Constraint::Length(14),
        Constraint::Length(14),
    ];
    let right = |text| Cell::from(Line::from(text).right_aligned());
    let heading = Row::new([
        Cell::from("group"),
        Cell::from("queue"),
        right("lag"),
        right("at"),
        right("of"),
    ]);
    let block = Block::bordered().title("groups, the furthest behind first");
    frame.render_widget(Table::new(rows, widths).header(heading.dim()).block(block), area);
}

fn mib(bytes_per_second: f64) -> String {
    format!("{:.1}", bytes_per_second / (1 << 20) as f64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hdrhistogram::Histogram;
    use net::client::{NodeHistogram, NodeStats};
    use net::wire::{Operation, SHARD_ANY, Stage};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn stats(records: u64, latencies: &[u64]) -> NodeStats {
        let mut histogram = Histogram::new(2).unwrap();
        latencies.iter().for_each(|latency| histogram.record(*latency).unwrap());
        let (operation, stage) = (Some(Operation::Produce), Some(Stage::Total));
        let of_shard = |name: &str, shard, value| net::client::NodeCounter {
            name: name.to_owned(),
            shard,
            value,
        };
        let counter = |name: &str, value| of_shard(name, SHARD_ANY, value);
        NodeStats {
            histograms: vec![NodeHistogram { operation, stage, shard: SHARD_ANY, histogram }],
            counters: vec![
                counter("produced_records", records),
                counter("groups", records / 100),
                counter("group_bytes", records / 100 * 8192),
                of_shard("device_busy_nanos", 0, records * 10_000),
                of_shard("device_busy_nanos", 1, records * 12_500),
                of_shard("pump_busy_nanos", 0, records * 42_000),
                of_shard("pump_busy_nanos", 1, records * 7_000),
            ],
        }
    }

    fn drawn(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        terminal.backend().to_string()
    }

    fn view() -> View {
        let lag = Lag {
            group: "billing".to_owned(),
            topic: "orders".to_owned(),
            queue: 3,
            offset: Some(5),
            visible: 1_234_572,
            lag: 1_234_567,
        };
        View {
            title: "node at here".to_owned(),
            interval: None,
            lags: vec![lag],
            history: VecDeque::new(),
            trouble: None,
        }
    }

    #[test]
    fn rates_latencies_and_lags_are_on_the_screen() {
        let mut view = view();
        assert!(drawn(&view, 120, 40).contains("looking ..."));
        let (before, now) = (stats(1_000, &[1000]), stats(21_000, &[1000, 250_000, 250_000]));
        view.show(Interval::between(&before, &now, Duration::from_secs(2)), 10);
        let screen = drawn(&view, 120, 40);
        for shown in [
            "node at here",
            "up",
            "10 000 messages/s",
            "8.0 KiB a group",
            "produce",
            "total",
            "250.",
            "billing",
            "orders/3",
            "1 234 567",
            "at most 10 000",
            "12.5 % busy",
            "42.0 % busy       7.0 % busy",
        ] {
            assert!(screen.contains(shown), "{shown} is not on\n{screen}");
        }
        view.trouble = Some("connection lost".to_owned());
        assert!(drawn(&view, 120, 40).contains("connection lost"));
    }

    #[test]
    fn no_terminal_is_too_small() {
        let mut view = view();
        view.show(Interval::between(&stats(0, &[]), &stats(9, &[7]), Duration::ZERO), 10);
        for (width, height) in [(1, 1), (20, 3), (40, 10), (300, 100)] {
            drawn(&view, width, height);
        }
    }

    #[test]
    fn the_history_is_bounded() {
        let mut view = view();
        for _ in 0..50 {
            let interval =
                Interval::between(&stats(0, &[]), &stats(9, &[]), Duration::from_secs(1));
            view.show(interval, 10);
        }
        assert_eq!(view.history.len(), 10);
    }
}
