//! What people say about a message on the command line is what others see of it: keys, headers,
//! times, queues, in every format; compressed or not; once, whatever the connection does.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::node::{Node, create_topic, fresh_dir, own_address};
use crate::harness::{run_badly, run_well, uringmq};

/// Runs a command of a node's, with this on its standard input.
fn fed(node: &Node, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = uringmq()
        .args(args)
        .args(["--server", &node.address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(input).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn read(node: &Node, args: &[&str]) -> String {
    let at = ["--server", &*node.address];
    String::from_utf8(run_well(&[args, &at[..]].concat())).expect("text")
}

#[tokio::test]
async fn keys_headers_times_and_queues_in_every_format() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    let client = node.client().await;
    for topic in ["t", "copy"] {
        create_topic(&client, topic, 4).await;
    }
    let said = [
        "produce",
        "t",
        "--key",
        "anna",
        "-H",
        "TAGS=red",
        "-H",
        "trace=a=b",
        "--timestamp",
        "2026-01-31T12:00:00Z",
        "--queue",
        "2",
    ];
    fed(&node, &said, b"one\n");
    fed(&node, &["produce", "t", "-f", "hex", "--queue", "3"], b"ff00\n");
    let template = "%t %p/%o %T %k(%K) [%h] %S\\n";
    let seen = read(&node, &["consume", "t", "--queue", "2", "-f", template]);
    assert_eq!(seen, "t 2/0 1769860800000 anna(4) [TAGS=red,trace=a=b] 3\n");
    assert_eq!(read(&node, &["consume", "t", "--queue", "3", "--format", "hex"]), "ff00\n");

    // One command's output is the other's input.
    let printed = read(&node, &["consume", "t", "--json", "--exit-at-end"]);
    fed(&node, &["produce", "copy", "--format", "json", "--keep-queue"], printed.as_bytes());
    let copied = read(&node, &["consume", "copy", "--format", "json"]);
    let messages = |text: &str| {
        let mut all: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        for message in &mut all {
            message["store_timestamp_ms"] = 0.into();
        }
        all.sort_by_key(|message| message["queue"].as_u64());
        all
    };
    assert_eq!(messages(&copied), messages(&printed));
    assert_eq!(messages(&copied)[1]["value_base64"], "/wA=");
    fed(&node, &["produce", "copy", "-f", "json", "--queue", "0"], b"{\"value\": null}\n");
    let tombstone = read(&node, &["consume", "copy", "--queue", "0", "-f", "%S"]);
    assert_eq!(tombstone, "-1");

    let at = ["--server", &*node.address];
    let file = dir.path().join("bad");
    std::fs::write(&file, "{\"value\": \"good\"}\nnot JSON\n").expect("a file");
    let bad = ["produce", "copy", "-f", "json", file.to_str().expect("a path")];
    let errors = run_badly(&[&bad[..], &at[..]].concat(), 1);
    assert!(errors.contains("line 2: not a JSON object"), "{errors}");
    let errors = run_badly(&["consume", "t", "-f", "%q"], 2);
    assert!(errors.contains("%q means nothing"), "{errors}");
    node.stop();
}

#[tokio::test]
async fn every_codec_brings_the_same_lines_in_fewer_bytes() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    let lines: String =
        (0..50_000).map(|n| format!("line {n} of a log, like the others\n")).collect();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        create_topic(&node.client().await, codec, 1).await;
        let said = ["produce", codec, "--compression", codec, "--json"];
        let report: Value =
            serde_json::from_slice(&fed(&node, &said, lines.as_bytes())).expect("JSON");
        assert_eq!(report["acknowledged"], 50_000);
        let sent = report["sent_bytes"].as_u64().expect("a number");
        assert_eq!(sent < lines.len() as u64 / 2, codec != "none", "{codec}: {sent}");
        assert!(read(&node, &["consume", codec]) == lines, "{codec}: other lines");
    }
    node.stop();
}

/// The node is killed in the middle of a pipeline, and started again: no line is lost, none is
/// there twice, and the order is kept.
#[tokio::test]
async fn a_pipeline_survives_its_node() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let address = own_address();
    let mut node = Node::start(&data, &["--listen", &address]);
    create_topic(&node.client().await, "t", 1).await;
    let mut child = uringmq()
        .args(["produce", "t", "--json", "--server", &address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("it was asked for");
    let writer = std::thread::spawn(move || {
        let deadline = Instant::now() + Duration::from_secs(4);
        let mut number = 0_u64;
        while Instant::now() < deadline {
            for _ in 0..100 {
                writeln!(stdin, "{number}").expect("it reads");
                number += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        number
    });
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        node.kill();
        node = Node::start(&data, &["--listen", &address]);
    }
    let count = writer.join().expect("it wrote");
    let output = child.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&report["acknowledged"], &report["failed"]),
        (&json!(count), &json!(0)),
        "{errors}"
    );
    let expected: String = (0..count).map(|number| format!("{number}\n")).collect();
    assert!(read(&node, &["consume", "t"]) == expected, "lost, twice, or out of order: {errors}");
    node.stop();
}

#[test]
fn a_node_that_stays_away_is_given_up_and_said_so() {
    let dir = fresh_dir();
    let address = own_address();
    let node = Node::start(&dir.path().join("data"), &["--listen", &address]);
    run_well(&["topic", "create", "t", "--server", &node.address]);
    let mut child = uringmq()
        .args(["produce", "t", "--delivery-timeout", "500ms", "--server", &node.address])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("it was asked for");
    // It is connected when its first line is there.
    writeln!(stdin, "first").expect("it reads");
    let deadline = Instant::now() + Duration::from_secs(10);
    while read(&node, &["consume", "t"]) != "first\n" {
        assert!(Instant::now() < deadline, "the first line does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
    node.kill();
    writeln!(stdin, "second").expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("trying again for up to 500ms"), "{errors}");
    assert!(
        errors.contains("1 message was not acknowledged") && errors.contains("within 500 ms"),
        "{errors}"
    );
}

/// One after the other, so that a batch would go with each if nobody waited for more.
fn dripped(node: &Node, args: &[&str], lines: usize) -> Value {
    let mut child = uringmq()
        .args(args)
        .args(["--server", &node.address, "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("it was asked for");
    for line in 0..lines {
        stdin.write_all(format!("line {line}\n").as_bytes()).expect("it reads");
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{args:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[tokio::test]
async fn batches_are_made_and_spread_as_is_asked() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    let client = node.client().await;
    for topic in ["waits", "small", "keyed", "spread"] {
        create_topic(&client, topic, 4).await;
    }
    let report = dripped(&node, &["produce", "waits", "--queue", "0", "--linger", "30s"], 50);
    assert_eq!((&report["acknowledged"], &report["batches"]), (&50.into(), &1.into()), "{report}");
    let small = ["produce", "small", "--queue", "0", "--batch-size", "1KiB", "--json"];
    let lines = "a line of twenty-five bytes\n".repeat(400);
    let report: Value =
        serde_json::from_slice(&fed(&node, &small, lines.as_bytes())).expect("JSON");
    let batches = report["batches"].as_u64().expect("a number");
    assert!(batches >= lines.len() as u64 / 1024 && batches <= 400, "{report}");

    let queues = async |topic: &str| {
        let details = client.describe_topic(topic).await.expect("the topic");
        details.queues.iter().filter(|queue| queue.end > 0).count()
    };
    let lines = "the same key\n".repeat(100);
    for (topic, by) in [("keyed", "key"), ("spread", "round-robin")] {
        let said = ["produce", topic, "--key", "anna", "--partitioner", by, "--batch-size", "256"];
        fed(&node, &said, lines.as_bytes());
        assert_eq!(read(&node, &["consume", topic]).len(), lines.len(), "{topic}");
    }
    assert_eq!((queues("keyed").await, queues("spread").await), (1, 4));
    node.stop();
}

#[tokio::test]
async fn who_need_not_be_remembered_is_not() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    let client = node.client().await;
    create_topic(&client, "t", 1).await;
    let remembered = async || {
        let stats = client.stats(false).await.expect("statistics").counters;
        let of_name = stats.iter().filter(|counter| counter.name == "idempotent_producers");
        of_name.map(|counter| counter.value).sum::<u64>()
    };
    let plain = ["produce", "t", "--idempotent=false", "--in-flight", "9"];
    fed(&node, &plain, b"one\n");
    assert_eq!(remembered().await, 0);
    fed(&node, &["produce", "t"], b"two\n");
    assert_eq!(remembered().await, 1);
    assert_eq!(read(&node, &["consume", "t"]), "one\ntwo\n");

    let at = ["--server", &*node.address];
    let refused = |args: &[&str], code| run_badly(&[args, &at[..]].concat(), code);
    let said = refused(&["produce", "t", "--in-flight", "9"], 2);
    assert!(said.contains("at most 5") && said.contains("--idempotent=false"), "{said}");
    let said = refused(&["produce", "t", "--batch-size", "5TB"], 2);
    assert!(said.contains("--batch-size") && said.contains("up to"), "{said}");
    node.stop();
}

#[tokio::test]
async fn what_is_wrong_is_said_with_its_name() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &["--admin", "0"]);
    let admin = crate::harness::http::admin_address(&node);
    create_topic(&node.client().await, "orders", 1).await;
    let said = |args: &[&str], code: i32| {
        let at = ["--server", &*node.address];
        run_badly(&[args, &at[..]].concat(), code)
    };
    for command in ["produce", "consume", "find"] {
        let args = [command, "oders", "key"];
        let args = if command == "find" { &args[..] } else { &args[..2] };
        let errors = said(args, 1);
        assert!(errors.contains("topic oders: UNKNOWN_TOPIC"), "{errors}");
        assert!(errors.contains("uringmq topic create oders"), "{errors}");
        assert!(!errors.contains("0 messages"), "{errors}");
    }
    let file = dir.path().join("line");
    std::fs::write(&file, "a line\n").expect("a file");
    let produce = ["produce", "orders", file.to_str().expect("a path"), "--queue", "9"];
    for args in [&produce[..], &["consume", "orders", "--queue", "9"]] {
        let errors = said(args, 1);
        assert!(errors.contains("topic orders has no queue 9"), "{errors}");
        assert!(errors.contains("uringmq topic describe orders"), "{errors}");
        assert!(!errors.contains("0 messages"), "{errors}");
    }
    let errors = said(&["topic", "create", "bad name"], 2);
    assert!(errors.contains("a topic name is"), "{errors}");
    let errors = run_badly(&["ping", "--server", &admin], 3);
    assert!(errors.contains("a web server (HTTP) answers there"), "{errors}");
    assert!(errors.contains("admin server"), "{errors}");
    let once = ["ping", "--count", "2", "--interval", "1ms", "--server", &node.address];
    let once = String::from_utf8(run_well(&once)).expect("text");
    assert!(once.contains(", 1 shard, ") && once.contains("2 pings: "), "{once}");
    run_well(&["ping", "--count", "2", "--interval-ms", "1", "--server", &node.address]);
    node.stop();
}

/// However a node waits, and whatever it does while a write is under way, what it acknowledged is there.
#[tokio::test]
async fn every_way_of_waiting_keeps_messages() {
    let mut ways = vec![vec!["--yield-in-flight", "true"], vec!["--yield-in-flight", "false"]];
    if crate::harness::node::has_two_cpus() {
        ways.push(vec!["--wait", "poll"]);
    }
    for way in ways {
        let dir = fresh_dir();
        let data = dir.path().join("data");
        let node = Node::start(&data, &way);
        create_topic(&node.client().await, "t", 1).await;
        fed(&node, &["produce", "t", "--ack", "durable"], b"one\ntwo\n");
        if way.contains(&"poll") {
            // It works as hard as it can while there is nothing to do.
            let (before, begun) = (node.cpu_time(), Instant::now());
            while node.cpu_time() < before + Duration::from_millis(500) {
                assert!(begun.elapsed() < Duration::from_secs(20), "it does not poll");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        node.kill();
        let node = Node::start(&data, &way);
        assert_eq!(read(&node, &["consume", "t"]), "one\ntwo\n", "{way:?}");
        node.stop();
    }
}
