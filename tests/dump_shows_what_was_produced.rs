//! `dump` shows what producers sent: all of it, in order, and where it lies; damage where it is.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;

use engine::io::FileName;
use net::client::{Partitioner, Record};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::directory::{flip, places};
use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::{run_badly, run_well, uringmq};

const VALUES: [&[u8]; 3] = [b"plain", "gr\u{fc}n\n\u{1b}[31m".as_bytes(), b"\xff\x00"];

/// Two shards; topic `t` with two queues; three batches of two records in each.
async fn stopped() -> TempDir {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let node = Node::start(&data, &["--segment-size", "1MiB", "--shards", "2"]);
    let client = node.client().await;
    create_topic(&client, "t", 2).await;
    create_topic(&client, "other", 1).await;
    for queue in [0, 1] {
        let producer = client.producer("t").partitioner(Partitioner::Queue(queue)).build().await;
        let producer = producer.expect("the topic is there");
        for value in VALUES {
            let record = Record::new(value).with_key(b"k");
            producer.send_batch(&[record, record]).await.expect("it is stored");
        }
    }
    let producer = client.producer("other").build().await.expect("the topic is there");
    producer.send(&Record::new(b"else")).await.expect("it is stored");
    node.stop();
    dir
}

fn dump(data: &Path, options: &[&str]) -> String {
    let path = data.to_str().expect("a path");
    let text = run_well(&[&["dump", path], options].concat());
    String::from_utf8(text).expect("text")
}

/// The lines of a JSON dump of this type.
fn lines(text: &str, kind: &str) -> Vec<Value> {
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter(|line| line["type"] == kind).collect()
}

#[tokio::test]
async fn in_json_and_in_text() {
    let dir = stopped().await;
    let data = dir.path().join("data");
    let all = dump(&data, &["--json", "--payload"]);
    let entries = lines(&all, "entry");
    assert_eq!(entries.len(), 2 + 2 * VALUES.len() + 1, "{all}");
    let created: Vec<_> = entries.iter().filter_map(|e| e["change"]["create"].as_str()).collect();
    assert_eq!(created, ["t", "other"]);
    for queue in [0, 1] {
        let of_queue = entries.iter().filter(|e| e["topic"] == "t" && e["queue"] == queue);
        for ((at, entry), value) in of_queue.enumerate().zip(VALUES) {
            assert_eq!(entry["base_offset"], 2 * at, "{entry}");
            assert_eq!((&entry["records"], &entry["crc_ok"]), (&2.into(), &true.into()));
            let records = entry["payload"].as_array().expect("records");
            assert_eq!(records.len(), 2);
            assert_eq!(records[1]["offset"], 2 * at + 1);
            assert_eq!(records[0]["key"], "k");
            match std::str::from_utf8(value) {
                Ok(text) => assert_eq!(records[0]["value"], text),
                Err(_) => assert_eq!(records[0]["value_base64"], "/wA="),
            }
        }
    }
    let groups = lines(&all, "group");
    let entries_said: u64 = groups.iter().map(|g| g["entries"].as_u64().expect("a number")).sum();
    assert_eq!(entries_said, entries.len() as u64);
    let text = dump(&data, &["--topic", "t", "--payload"]);
    assert!(text.contains(r#"key "k" value "grün\n\u{1b}[31m""#), "{text}");
    assert!(text.contains(r#"value b"\xff\x00""#) && !text.contains('\u{1b}'), "{text}");
    assert!(!text.contains("other"), "{text}");
}

#[tokio::test]
async fn as_much_of_it_as_is_asked_for() {
    let dir = stopped().await;
    let data = dir.path().join("data");
    let one = dump(&data, &["--topic", "t", "--queue", "1", "--json"]);
    assert!(lines(&one, "entry").iter().all(|entry| entry["queue"] == 1));
    assert_eq!(lines(&one, "entry").len(), VALUES.len());
    assert_eq!(lines(&dump(&data, &["--limit", "3", "--json"]), "entry").len(), 3);
    let places = places(&data);
    let (last, at) = (places.groups.len() - 1, places.entries.last().expect("a group")[0].start);
    for from in [at, places.groups[last - 1].1.end] {
        let from = dump(&data, &["--shard", "0", "--from", &from.to_string(), "--json"]);
        let groups = lines(&from, "group");
        assert_eq!(groups.len(), 1, "the last one: {from}");
        assert_eq!(groups[0]["group"], places.groups[last].0);
    }
    let beyond = dump(&data, &["--shard", "0", "--from", "99999999999"]);
    assert_eq!(beyond, "");
    let path = data.to_str().expect("a path");
    run_badly(&["dump", path, "--shard", "7"], 2);
    run_badly(&["dump", path, "--from", "7"], 2);
    assert!(run_badly(&["dump", path, "--topic", "nix"], 1).contains("nix"));
    let nowhere = dir.path().join("nowhere");
    run_badly(&["dump", nowhere.to_str().expect("a path")], 3);
}

#[tokio::test]
async fn a_closed_pipe_ends_it_quietly() {
    let dir = stopped().await;
    let data = dir.path().join("data");
    // More than a pipe and the command's own buffer hold.
    let node = Node::start(&data, &[]);
    let producer = node.client().await.producer("other").build().await.expect("the topic");
    for _ in 0..2 {
        producer.send(&Record::new(&[b'x'; 400_000])).await.expect("it is stored");
    }
    node.stop();
    let mut command = uringmq();
    command.arg("dump").arg(&data).arg("--payload").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdout = BufReader::with_capacity(16, child.stdout.take().expect("it was asked for"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    assert!(line.starts_with("superblock of shard 0: life 2 "), "{line}");
    drop(stdout);
    let status = child.wait().expect("an end");
    let mut errors = String::new();
    child.stderr.take().expect("it was asked for").read_to_string(&mut errors).expect("text");
    assert_eq!((status.code(), &*errors), (Some(0), ""));
}

#[tokio::test]
async fn damage_where_it_is_met() {
    let dir = stopped().await;
    let data = dir.path().join("data");
    Node::start(&data, &[]).stop();
    let places = places(&data);
    let entry = places.entries[2][0].clone();
    let (name, offset) = places.file(entry.start + 80);
    assert!(matches!(name, FileName::Segment(0)));
    flip(&data, name, offset);
    let text = dump(&data, &["--json"]);
    let kinds: Vec<_> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")).collect();
    let at = kinds.iter().position(|line| line["type"] == "damage").expect("damage");
    assert_eq!(kinds[at]["place"]["position"], entry.start);
    assert_eq!(kinds[at]["group"], places.groups[2].0);
    let before = kinds[..at].iter().filter(|line| line["type"] == "group").count();
    assert_eq!(before, 2, "in its place: {text}");
    assert!(lines(&text, "entry").iter().all(|line| line["position"] != entry.start));
}
