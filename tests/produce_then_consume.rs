//! The walk of the first five minutes, by command line.

use serde_json::Value;

use crate::harness::node::{Node, fresh_dir};
use crate::harness::{run_badly, run_well};

#[test]
fn lines_come_back_byte_for_byte() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    let at = ["--server", &*node.address];
    let run = |args: &[&str]| run_well(&[args, &at[..]].concat());
    let json = |args: &[&str]| -> Value {
        serde_json::from_slice(&run(&[args, &["--json"]].concat())).expect("JSON")
    };

    assert_eq!(json(&["ping", "--count", "2", "--interval-ms", "1"])["shards"], 1);
    run(&["topic", "create", "walk", "--ack", "written"]);
    let lines = many_lines();
    let file = dir.path().join("lines");
    std::fs::write(&file, &lines).expect("a file");
    let produced = json(&["produce", "walk", file.to_str().expect("a path")]);
    assert_eq!((&produced["acknowledged"], &produced["failed"]), (&5003.into(), &0.into()));
    assert_eq!(produced["ack"], "written");
    assert!(run(&["consume", "walk"]) == lines, "consumed lines differ");

    let from = run(&["consume", "walk", "--from", "5002", "--json"]);
    let last: Value = serde_json::from_slice(&from).expect("JSON");
    assert_eq!((&last["offset"], &last["value_base64"]), (&5002.into(), &"/wAB".into()));
    let some = run(&["consume", "walk", "--count", "2"]);
    assert_eq!(some, b"line 0\nline 1\n");

    let described = json(&["topic", "describe", "walk"]);
    assert_eq!(
        (&described["ack"], &described["queues"][0]["end"]),
        (&"written".into(), &5003.into())
    );
    let listed = json(&["topic", "list"]);
    assert_eq!(listed[0]["name"], "walk");
    let stats = json(&["stats"]);
    let counters = stats["counters"].as_array().expect("counters");
    let records = counters.iter().find(|counter| counter["name"] == "produced_records");
    // The topic itself is a record, too.
    assert!(records.expect("the counter")["value"].as_u64() >= Some(5003));
    let histograms = stats["histograms"].as_array().expect("histograms");
    let total = histograms.iter().find(|h| h["operation"] == "produce" && h["stage"] == "total");
    assert!(total.expect("the histogram")["p50_ns"].as_u64() > Some(0));

    run(&["topic", "delete", "walk"]);
    let gone = run_badly(&["consume", "walk", "--server", &node.address], 1);
    assert!(gone.contains("UNKNOWN_TOPIC") && gone.contains("uringmq topic create"), "{gone}");
    node.stop();
}

#[test]
fn keys_choose_queues_and_come_back() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    let at = ["--server", &*node.address];
    let run = |args: &[&str]| run_well(&[args, &at[..]].concat());
    run(&["topic", "create", "keyed", "--queues", "4"]);
    let file = dir.path().join("lines");
    let lines: Vec<_> = (0..400).map(|n| format!("key{}={n}\n", n % 10)).collect();
    std::fs::write(&file, lines.concat()).expect("a file");
    run(&["produce", "keyed", file.to_str().expect("a path"), "--key-separator", "="]);
    let out = run(&["consume", "keyed", "--key-separator", "="]);
    let out = String::from_utf8(out).expect("text");
    for key in 0..10 {
        let key = format!("key{key}=");
        let of_key = |line: &&str| line.starts_with(&key);
        let came: Vec<_> = out.lines().filter(of_key).collect();
        let went: Vec<_> = lines.iter().map(|line| line.trim_end()).filter(of_key).collect();
        assert_eq!(came, went, "one key's messages are in one queue, in order");
    }
    assert_eq!(out.lines().count(), 400);
    node.stop();
}

#[test]
fn nobody_at_the_address_is_said_so() {
    // Port 1 is privileged and unused: nobody listens there.
    let errors = run_badly(&["ping", "--server", "127.0.0.1:1"], 3);
    assert!(errors.contains("start one with: uringmq serve"), "{errors}");
    run_badly(&["ping", "--count", "0"], 2);
}

/// Empty lines, long lines, lines that are no text; more than one read takes.
fn many_lines() -> Vec<u8> {
    let mut lines = Vec::new();
    for n in 0..5000 {
        lines.extend(format!("line {n}").bytes());
        lines.extend((0..n % 97).map(|at| b'a' + (at % 26) as u8));
        // The first two are looked at on their own.
        if n < 2 {
            lines.truncate(lines.len() - (n % 97));
        }
        lines.push(b'\n');
    }
    lines.extend(b"\n");
    lines.extend(std::iter::repeat_n(b'x', 300_000));
    lines.extend(b"\n\xff\x00\x01\n");
    lines
}

#[test]
fn a_busy_node_gets_it_in_the_end() {
    let dir = fresh_dir();
    // Segments that fill up faster than the next one is made: some batches are refused at first.
    let node = Node::start(&dir.path().join("data"), &["--segment-size", "1MiB"]);
    let at = ["--server", &*node.address];
    let run = |args: &[&str]| run_well(&[args, &at[..]].concat());
    run(&["topic", "create", "t"]);
    let lines: Vec<_> = (0..300_000).map(|n| format!("{n:020}\n")).collect();
    let file = dir.path().join("lines");
    std::fs::write(&file, lines.concat()).expect("a file");
    let path = file.to_str().expect("a path");
    run(&["produce", "t", path, "--in-flight", "1"]);
    assert!(run(&["consume", "t"]) == lines.concat().as_bytes(), "one at a time: in order");
    node.stop();
}
