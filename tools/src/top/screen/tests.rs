//! What is on the screen, on terminals of several sizes.

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
    let of_shard =
        |name: &str, shard, value| net::client::NodeCounter { name: name.to_owned(), shard, value };
    let counter = |name: &str, value| of_shard(name, SHARD_ANY, value);
    NodeStats {
        histograms: vec![NodeHistogram { operation, stage, shard: SHARD_ANY, histogram }],
        counters: vec![
            counter("produced_records", records),
            counter("fetched_records", 3 * records),
            counter("groups", records / 100),
            counter("group_bytes", records / 100 * 8192),
            of_shard("device_busy_nanos", 0, records * 10_000),
            of_shard("device_busy_nanos", 1, records * 12_500),
            of_shard("pump_busy_nanos", 0, records * 42_000),
            of_shard("pump_busy_nanos", 1, records * 7_000),
        ],
    }
}

fn drawn(view: &mut View, width: u16, height: u16) -> String {
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
    View { lags: vec![lag], ..View::new("node at here".to_owned()) }
}

#[test]
fn rates_latencies_and_lags_are_on_the_screen() {
    let mut view = view();
    assert!(drawn(&mut view, 120, 40).contains("looking ..."));
    let (before, now) = (stats(1_000, &[1000]), stats(21_000, &[1000, 250_000, 250_000]));
    view.show(Interval::between(&before, &now, Duration::from_secs(2)), 10);
    let screen = drawn(&mut view, 120, 40);
    for shown in [
        "node at here",
        "up",
        "10 000 messages/s",
        "30 000 messages/s",
        "8.0 KiB a group",
        "produce",
        "total",
        "250.",
        "billing",
        "orders/3",
        "1 234 567",
        "at most 10 000",
        "12.5 % busy",
        "42.0 % busy",
        "7.0 % busy",
    ] {
        assert!(screen.contains(shown), "{shown} is not on\n{screen}");
    }
    view.trouble = Some("connection lost".to_owned());
    assert!(drawn(&mut view, 120, 40).contains("connection lost"));
}

#[test]
fn no_terminal_is_too_small() {
    let mut view = view();
    view.show(Interval::between(&stats(0, &[]), &stats(9, &[7]), Duration::ZERO), 10);
    for (width, height) in [(1, 1), (20, 3), (40, 10), (300, 100)] {
        drawn(&mut view, width, height);
    }
}

#[test]
fn the_history_is_bounded() {
    let mut view = view();
    for _ in 0..50 {
        let interval = Interval::between(&stats(0, &[]), &stats(9, &[]), Duration::from_secs(1));
        view.show(interval, 10);
    }
    assert_eq!(view.history.len(), 10);
}

/// A node that everything is asked of: every stage has times, many groups lag.
fn busy() -> View {
    let mut now = stats(21_000, &[]);
    now.histograms.clear();
    for operation in [Operation::Produce, Operation::Fetch] {
        for stage in Stage::ALL {
            let mut histogram = Histogram::new(2).unwrap();
            [1_000, 250_000, 9_876_543_210]
                .iter()
                .for_each(|nanos| histogram.record(*nanos).unwrap());
            let (operation, stage) = (Some(operation), Some(stage));
            now.histograms.push(NodeHistogram { operation, stage, shard: SHARD_ANY, histogram });
        }
    }
    let mut view = view();
    let lag = view.lags[0].clone();
    view.lags = (0..20).map(|queue| Lag { queue, ..lag.clone() }).collect();
    view.show(Interval::between(&stats(1_000, &[]), &now, Duration::from_secs(2)), 10);
    view
}

#[test]
fn a_small_terminal_shows_everything_to_who_scrolls() {
    let mut view = busy();
    let rows = view.interval.as_ref().unwrap().histograms.len();
    let screen = drawn(&mut view, 80, 24);
    for shown in [
        "10 000 messages/s",
        "30 000 messages/s",
        "KiB a group",
        "% disk used",
        "repeated/s",
        "MiB/s written",
        "12.5 % busy",
        "% busy",
        "produce",
        "9932112",
        "p99.9",
        "orders/0",
        "of 20)",
    ] {
        assert!(screen.contains(shown), "{shown} is not on\n{screen}");
    }
    assert!(!screen.contains("at most"), "no room for the graph\n{screen}");
    assert!(drawn(&mut view, 80, 35).contains("at most"));
    let body_rows = |screen: &str| {
        screen.lines().filter(|line| line.contains("produce") || line.contains("fetch ")).count()
    };
    assert!(body_rows(&screen) >= 4, "{screen}");
    view.scroll(Scroll::Down(1_000));
    let screen = drawn(&mut view, 80, 24);
    assert!(screen.contains(&format!("-{rows} of {rows})")), "{screen}");
    assert!(screen.contains("fetch"), "{screen}");
    // The end is where it stopped, not where a thousand would have been.
    view.scroll(Scroll::Up(rows));
    assert!(drawn(&mut view, 80, 24).contains("(1-"));
    view.turn();
    view.scroll(Scroll::Down(1_000));
    let screen = drawn(&mut view, 80, 24);
    assert!(screen.contains("orders/19") && screen.contains("-20 of 20)"), "{screen}");
    assert!(screen.contains("produce"), "{screen}");
}

#[test]
fn many_reactors_take_few_lines() {
    let mut now = stats(2_000, &[]);
    for shard in 2..64 {
        let name = "pump_busy_nanos".to_owned();
        now.counters.push(net::client::NodeCounter { name, shard, value: 500_000_000 });
    }
    let mut view = view();
    view.show(Interval::between(&stats(0, &[]), &now, Duration::from_secs(1)), 10);
    let screen = drawn(&mut view, 80, 24);
    assert!(screen.contains("64 reactors") && screen.contains("50.0 % the busiest"), "{screen}");
}
