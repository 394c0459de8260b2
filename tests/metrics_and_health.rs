//! What an operator's machines see of a node: figures, whether it lives, whether clients may come.

use std::time::{Duration, Instant};

use net::client::{AckLevel, NewTopic, Record};
use net::wire::{Fetch, Request};
use nix::sys::signal::Signal;
use prometheus_parse::{Scrape, Value};
use serde_json::Value as Json;

use crate::disk_full::Mount;
use crate::harness::http::{admin_address, get, request};
use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::raw::{Raw, frame};
use crate::harness::{run_badly, run_well, skip};

const MESSAGES: u64 = 50;
const MANUAL: &str = include_str!("../tools/docs/operations.md");
const BOARD: &str = include_str!("../tools/packaging/grafana.json");

pub(crate) fn scrape(admin: &str) -> Scrape {
    let page = get(admin, "/metrics");
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(page.head.contains("application/openmetrics-text; version=1.0.0"), "{}", page.head);
    assert!(page.body.ends_with("# EOF\n"));
    Scrape::parse(page.body.lines().map(|line| Ok(line.to_owned()))).expect("it can be parsed")
}

/// The figure of the only shard, or of the node.
pub(crate) fn figure(scrape: &Scrape, name: &str) -> f64 {
    let sample = scrape.samples.iter().find(|sample| sample.metric == name);
    match sample.unwrap_or_else(|| panic!("{name} is not there")).value {
        Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => value,
        ref other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test]
async fn say_what_a_node_did() {
    let dir = fresh_dir();
    let options = ["--segment-size", "1MiB", "--admin", "0"];
    let node = Node::start(&dir.path().join("data"), &options);
    let admin = admin_address(&node);
    let client = node.client().await;
    create_topic(&client, "t", 1).await;
    let producer = client.producer("t").ack(AckLevel::Durable).build().await.expect("it is there");
    for _ in 0..MESSAGES {
        producer.send(&Record::new(b"hello")).await.expect("stored");
    }
    let at = ["--server", &*node.address];
    run_well(&[&["consume", "t", "--group", "billing", "-n", "20"], &at[..]].concat());
    let scrape = scrape(&admin);
    // And one that says that there is a topic.
    let records = figure(&scrape, "uringmq_produced_records_total");
    assert_eq!(records, (MESSAGES + 1) as f64);
    assert_eq!(figure(&scrape, "uringmq_shard_poisoned"), 0.0);
    assert_eq!(figure(&scrape, "uringmq_topics"), 1.0);
    assert!(figure(&scrape, "process_resident_memory_bytes") > 1e6);
    assert_eq!(figure(&scrape, "uringmq_topic_appended_records_total"), MESSAGES as f64);
    assert_eq!(figure(&scrape, "uringmq_topic_held_records"), MESSAGES as f64);
    assert_eq!(figure(&scrape, "uringmq_group_lag_records"), (MESSAGES - 20) as f64);
    // Nobody asked twice, and each message is a batch of its own, so that none came unasked with it.
    let fetched = figure(&scrape, "uringmq_topic_fetched_records_total");
    assert!(fetched >= 20.0 && fetched <= MESSAGES as f64, "{fetched}");
    assert_eq!(fetched, figure(&scrape, "uringmq_fetched_records_total"));
    let fetched_bytes = figure(&scrape, "uringmq_topic_fetched_bytes_total");
    assert_eq!(fetched_bytes, figure(&scrape, "uringmq_fetched_bytes_total"));
    assert!(fetched_bytes >= fetched * 60.0, "{fetched_bytes} of {fetched} records");
    // Each message was a device write of its own, which somebody waited for.
    let busy = figure(&scrape, "uringmq_device_busy_seconds_total");
    let writing = figure(&scrape, "uringmq_device_writing_seconds_total");
    assert!(writing > 0.0 && writing <= busy && busy < 1000.0, "{writing} {busy}");
    let written = figure(&scrape, "uringmq_device_written_bytes_total");
    assert!(written >= figure(&scrape, "uringmq_log_group_bytes_total"), "{written}");
    assert!(figure(&scrape, "uringmq_pump_busy_seconds_total") > 0.0);
    assert!(figure(&scrape, "uringmq_pump_turns_total") > MESSAGES as f64);
    if cfg!(feature = "histograms") {
        let device = scrape.samples.iter().find(|sample| {
            sample.metric == "uringmq_request_stage_duration_seconds"
                && sample.labels.get("stage") == Some("device")
                && sample.labels.get("operation") == Some("produce")
        });
        let Value::Histogram(buckets) = &device.expect("it was measured").value else {
            panic!("no histogram");
        };
        let all = buckets.last().expect("the one above all");
        // A group's commit is an append, too.
        let commits = figure(&scrape, "uringmq_offset_commits_total");
        assert_eq!((all.less_than, all.count), (f64::INFINITY, records + commits));
        assert!(buckets.windows(2).all(|pair| pair[0].count <= pair[1].count));
    }
    the_board_shows_what_there_is(&admin);
    every_family_is_known(&admin);

    assert_eq!((get(&admin, "/healthz").status, get(&admin, "/readyz").status), (200, 200));
    assert!(get(&admin, "/").body.contains("/metrics"));
    assert_eq!(get(&admin, "/nothing").status, 404);
    assert_eq!(request(&admin, "POST", "/metrics").expect("an answer").status, 405);
    node.stop();
    assert!(request(&admin, "GET", "/healthz").is_none(), "it has gone with its node");
}

#[tokio::test]
async fn name_so_many_topics_and_only_count_the_others() {
    let dir = fresh_dir();
    let options = ["--metrics-topics", "2", "--admin", "0"];
    let node = Node::start(&dir.path().join("data"), &options);
    let admin = admin_address(&node);
    let client = node.client().await;
    for (name, queues) in [("one", 10_000), ("two", 3), ("three", 1)] {
        create_topic(&client, name, queues).await;
        let producer = client.producer(name).build().await.expect("it is there");
        let records = [Record::new(b"hello"); 100];
        producer.send_batch(&records).await.expect("stored");
    }
    let at = ["--server", &*node.address];
    for (topic, group) in [("one", "a"), ("two", "a"), ("three", "a"), ("two", "b")] {
        run_well(&[&["consume", topic, "--group", group, "-n", "40"], &at[..]].concat());
    }
    let scrape = scrape(&admin);
    let labelled = |name: &str, label: &str| -> Vec<(String, f64)> {
        let of_name = scrape.samples.iter().filter(|sample| sample.metric == name);
        let value = |sample: &prometheus_parse::Sample| match sample.value {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => value,
            ref other => panic!("{name}: {other:?}"),
        };
        let label = |sample: &prometheus_parse::Sample| {
            sample.labels.get(label).expect("it has the label").to_owned()
        };
        of_name.map(|sample| (label(sample), value(sample))).collect()
    };
    let appended = labelled("uringmq_topic_appended_records_total", "topic");
    assert_eq!(appended, [("one".to_owned(), 100.0), ("two".to_owned(), 100.0)]);
    let queues = labelled("uringmq_topic_queues", "topic");
    assert_eq!(queues, [("one".to_owned(), 10_000.0), ("two".to_owned(), 3.0)]);
    assert!(labelled("uringmq_topic_held_bytes", "topic").iter().all(|(_, bytes)| *bytes > 500.0));
    assert_eq!(figure(&scrape, "uringmq_topics_omitted"), 1.0);
    // Group a is not shown with all of its topics, b not at all: two pairs are as many as there may be.
    let lags = labelled("uringmq_group_lag_records", "group");
    assert!(lags.len() == 2 && lags.iter().all(|(group, _)| group == "a"), "{lags:?}");
    assert_eq!(figure(&scrape, "uringmq_groups_omitted"), 2.0);
    node.stop();
}

/// Each has a type and a place in the documents.
fn every_family_is_known(admin: &str) {
    let page = get(admin, "/metrics").body;
    let families = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut count = 0;
    for family in families {
        let (name, kind) = family.split_once(' ').expect("a name and a type");
        assert!(["counter", "gauge", "histogram"].contains(&kind), "{family}");
        let total = if kind == "counter" { "_total" } else { "" };
        assert!(MANUAL.contains(&format!("`{name}{total}`")), "{name} is not in operations.md");
        count += 1;
    }
    assert!(count > 50, "{count}");
}

/// Every metric that a panel asks for is one that this node has.
fn the_board_shows_what_there_is(admin: &str) {
    let text = get(admin, "/metrics").body;
    let board: Json = serde_json::from_str(BOARD).expect("the board is JSON");
    let mut asked = 0;
    for panel in board["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().expect("a query");
            let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let metrics = words.filter(|w| w.starts_with("uringmq_") || w.starts_with("process_"));
            for name in metrics {
                asked += 1;
                let is_there = text.lines().any(|line| {
                    line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                });
                assert!(is_there, "{name}, in {query}, is nothing that a node says");
            }
        }
    }
    assert!(asked >= 15, "{asked}");
}

#[tokio::test]
async fn send_clients_elsewhere_while_it_drains() {
    let dir = fresh_dir();
    let options = ["--stop-deadline", "5s", "--admin", "0", "--segment-size", "16MiB"];
    let mut node = Node::start(&dir.path().join("data"), &options);
    let admin = admin_address(&node);
    let client = node.client().await;
    let topic = create_topic(&client, "t", 1).await;
    let producer = client.producer("t").ack(AckLevel::Written).build().await.expect("it is there");
    let value = vec![7; 900_000];
    for _ in 0..8 {
        producer.send(&Record::new(&value)).await.expect("stored");
    }
    // Somebody who asks for much and takes nothing: the stop waits for him, to its deadline.
    let mut slow = Raw::greeted(&node.address);
    for correlation in 0..32 {
        let fetch = Fetch {
            topic,
            queue: 0,
            offset: 0,
            epoch: 0,
            bytes_min: 1,
            bytes_max: 1 << 20,
            wait_max_ms: 0,
        };
        slow.send(&frame(correlation, &Request::Fetch(fetch)));
    }
    drop((producer, client));
    assert_eq!(get(&admin, "/readyz").status, 200);
    node.signal(Signal::SIGTERM);
    let begun = Instant::now();
    loop {
        let page = get(&admin, "/readyz");
        if page.status == 503 {
            let answer: Json = serde_json::from_str(&page.body).expect("JSON");
            assert_eq!(answer["ready"], false);
            assert!(answer["reasons"][0].as_str().expect("text").contains("draining"), "{answer}");
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(4), "never drained: {page:?}");
    }
    assert_eq!(get(&admin, "/healthz").status, 200, "it must not be killed for that");
    assert!(node.wait().success());
}

/// A write that takes longer than the deadline poisons its shard, and a deadline of 1 ms is soon
/// missed: by a megabyte, on a device that other tests use, too.
#[tokio::test]
async fn send_clients_elsewhere_once_a_shard_takes_no_writes() {
    let dir = fresh_dir();
    let options = ["--flush-deadline", "1ms", "--segment-size", "16MiB", "--admin", "0"];
    let node = Node::start(&dir.path().join("data"), &options);
    let admin = admin_address(&node);
    let client = node.client().await;
    let value = vec![7; 1_000_000];
    let topic = NewTopic {
        name: "t",
        queues: 1,
        ack: Some(AckLevel::Durable),
        deep_validation: false,
        key_index: false,
        retention: net::client::Retention::default(),
    };
    let begun = Instant::now();
    loop {
        let page = get(&admin, "/readyz");
        if page.status == 503 {
            assert!(page.body.contains("shard 0 takes no writes"), "{}", page.body);
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "every write takes less than 1 ms");
        // Neither need succeed: what is wanted is that one of them does not.
        let attempt = async {
            let _ = client.create_topic(&topic).await;
            if let Ok(producer) = client.producer("t").build().await {
                let _ = producer.send(&Record::new(&value)).await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(5), attempt).await;
    }
    assert_eq!(figure(&scrape(&admin), "uringmq_shard_poisoned"), 1.0);
    assert_eq!(get(&admin, "/healthz").status, 200, "it serves reads");
    assert!(node.log().contains("the shard takes no more writes"), "{}", node.log());
}

#[tokio::test]
async fn send_clients_elsewhere_while_the_disk_is_full() {
    let dir = fresh_dir();
    let mount = match Mount::new(dir.path()) {
        Ok(mount) => mount,
        Err(why) => return skip(format_args!("cannot mount a small file system: {why}")),
    };
    let node = Node::start(&mount.path.join("data"), &["--segment-size", "2MiB", "--admin", "0"]);
    let admin = admin_address(&node);
    assert_eq!(get(&admin, "/readyz").status, 200);
    let ballast = mount.path.join("ballast");
    // As much as there is room for.
    let _ = std::fs::write(&ballast, vec![1; 48 << 20]);
    until(&admin, 503, "% full");
    assert!(figure(&scrape(&admin), "uringmq_disk_used_ratio") >= 0.95);
    assert_eq!(get(&admin, "/healthz").status, 200);
    std::fs::remove_file(&ballast).expect("it was made");
    until(&admin, 200, "true");
    node.stop();
}

/// The node looks at its disk about once a second.
fn until(admin: &str, status: u16, says: &str) {
    let begun = Instant::now();
    loop {
        let page = get(admin, "/readyz");
        if page.status == status {
            assert!(page.body.contains(says), "{}", page.body);
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(90), "{page:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_port_that_was_asked_for_must_be_had() {
    let dir = fresh_dir();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let admin = taken.local_addr().expect("an address").to_string();
    let data = dir.path().join("data");
    let data = data.to_str().expect("UTF-8");
    let args = ["serve", "--data", data, "--listen", "127.0.0.1:0", "--admin", &admin];
    let said = run_badly(&args, 3);
    assert!(said.contains(&admin) && said.contains("admin server"), "{said}");
}
