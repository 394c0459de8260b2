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
        errors.contains("1 messages were not acknowledged") && errors.contains("within 500 ms"),
        "{errors}"
    );
}
