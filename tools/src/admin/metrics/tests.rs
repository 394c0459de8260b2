//! What a scrape says, read by a parser of others and held against the conventions.

use std::collections::{BTreeMap, BTreeSet};

use hdrhistogram::Histogram;
use net::client::NodeCounter;
use net::wire::SHARD_ANY;
use prometheus_parse::{Scrape as Parsed, Value};

use super::figures::ROWS;
use super::*;
use crate::admin::topics::{Lag, Topic};

fn scrape(stats: NodeStats) -> String {
    text(Arc::new(stats), Arc::new(topics()), Process::now(), false).unwrap()
}

fn parse(text: &str) -> Parsed {
    Parsed::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap()
}

fn topics() -> Topics {
    let topic = |name: &str, appended| Topic {
        name: name.to_owned(),
        queues: 4,
        appended,
        held: appended / 2,
        held_bytes: 1 << 20,
        fetched: 3 * appended,
        fetched_bytes: 100 * appended,
    };
    let lag = Lag { group: "billing".to_owned(), topic: "orders".to_owned(), records: 17 };
    Topics {
        topics: vec![topic("orders", 900), topic("log", 8)],
        lags: vec![lag],
        omitted: 3,
        groups_omitted: 2,
    }
}

/// A figure of every row, on two shards, and histograms of all kinds.
fn everything() -> NodeStats {
    let mut stats = NodeStats { histograms: Vec::new(), counters: Vec::new() };
    for (figure, ..) in ROWS {
        for shard in [0, 1] {
            stats.counters.push(NodeCounter { name: figure.to_owned(), shard, value: 50 });
        }
    }
    let value = 7;
    stats.counters.push(NodeCounter { name: "wings".to_owned(), shard: SHARD_ANY, value });
    for stage in [Stage::Device, Stage::Total] {
        let mut histogram = Histogram::new_with_bounds(1, 60_000_000_000, 2).unwrap();
        for nanos in [5_000, 9_000, 150_000, 30_000_000_000] {
            histogram.record(nanos).unwrap();
        }
        let (operation, stage) = (Some(Operation::Produce), Some(stage));
        stats.histograms.push(NodeHistogram { operation, stage, shard: 1, histogram });
    }
    stats
}

#[test]
fn a_parser_reads_what_was_measured() {
    let parsed = parse(&scrape(everything()));
    let find = |name: &str, shard: &str| {
        let mut samples = parsed.samples.iter();
        let sample = samples.find(|s| s.metric == name && s.labels.get("shard") == Some(shard));
        sample.unwrap_or_else(|| panic!("{name}")).value.clone()
    };
    assert!(matches!(find("uringmq_produced_records_total", "1"), Value::Untyped(v) if v == 50.0));
    assert!(matches!(find("uringmq_disk_used_ratio", "0"), Value::Gauge(v) if v == 0.5));
    assert!(
        matches!(find("uringmq_device_busy_seconds_total", "0"), Value::Untyped(v) if v == 5e-8)
    );
    let of_topic = |name: &str, topic: &str| {
        let mut samples = parsed.samples.iter();
        let sample = samples.find(|s| s.metric == name && s.labels.get("topic") == Some(topic));
        sample.unwrap_or_else(|| panic!("{name}")).value.clone()
    };
    let appended = of_topic("uringmq_topic_appended_records_total", "orders");
    assert!(matches!(appended, Value::Untyped(v) if v == 900.0), "{appended:?}");
    assert!(matches!(of_topic("uringmq_topic_held_records", "log"), Value::Gauge(v) if v == 4.0));
    let Value::Histogram(buckets) = find("uringmq_request_duration_seconds", "1") else {
        panic!("no histogram");
    };
    let counts: Vec<_> = buckets.iter().map(|b| (b.less_than, b.count)).collect();
    assert_eq!(counts.len(), BOUNDS.len() + 1);
    assert_eq!(counts[0], (1e-5, 2.0));
    assert_eq!(counts[4], (2e-4, 3.0));
    assert_eq!(counts[BOUNDS.len() - 1], (10.0, 3.0));
    assert_eq!(counts[BOUNDS.len()], (f64::INFINITY, 4.0));
    let text = scrape(everything());
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    let stage = "{operation=\"produce\",shard=\"1\",stage=\"device\"}";
    let count = line(&format!("uringmq_request_stage_duration_seconds_count{stage}"));
    assert!(count.ends_with(" 4"), "{count}");
    let sum = line(&format!("uringmq_request_stage_duration_seconds_sum{stage}"));
    let sum: f64 = sum.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((29.5..31.0).contains(&sum), "{sum}");
    line("uringmq_pump_busy_seconds_total{reactor=\"1\"} ");
    line("uringmq_group_lag_records{group=\"billing\",topic=\"orders\"} 17");
    line("uringmq_topics_omitted 3");
    assert!(text.contains("# TYPE uringmq_wings unknown\n") && text.contains("\nuringmq_wings 7"));
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn names_keep_to_the_conventions() {
    let text = scrape(everything());
    let mut types = BTreeMap::new();
    let mut helps = BTreeSet::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        match (words.next(), words.next()) {
            (Some("#"), Some("TYPE")) => {
                let (name, kind) = (words.next().unwrap(), words.next().unwrap());
                assert!(types.insert(name, kind).is_none(), "{name} twice");
            }
            (Some("#"), Some("HELP")) => {
                helps.insert(words.next().unwrap());
                assert!(words.next().is_some(), "{line}");
            }
            _ => {}
        }
    }
    assert!(types.len() > ROWS.len());
    let bad = ["_ms", "_us", "_percent", "_milliseconds", "_kib", "_mib", "_kilobytes", "_info_"];
    for (name, kind) in &types {
        assert!(helps.contains(name), "{name} says nothing");
        assert!(name.starts_with("uringmq_") || name.starts_with("process_"), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert!(!bad.iter().any(|suffix| name.ends_with(suffix)), "{name}");
        // The encoder adds `_total` to the lines of a counter, and nothing else may have it.
        assert!(!name.ends_with("_total") && !name.ends_with("_count"), "{name}");
        if *kind == "histogram" {
            assert!(name.ends_with("_seconds"), "{name}");
        }
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let of = |line: &&str| line.split(['{', ' ']).next() == Some(&format!("{name}_total"));
        assert_eq!(samples.filter(of).count() > 0, *kind == "counter", "{name}");
    }
}

#[test]
fn the_documents_name_every_metric() {
    let page = include_str!("../../../docs/operations.md");
    for line in scrape(everything()).lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let suffix = if kind == "counter" { "_total" } else { "" };
        let shown = page.contains(&format!("`{name}{suffix}`"));
        assert!(shown || name == "uringmq_wings", "{name}{suffix} is not in operations.md");
    }
}
