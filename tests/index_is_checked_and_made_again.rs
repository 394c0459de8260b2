//! Index files of sealed segments are derived: `verify` finds what is wrong with one, `--repair`
//! removes it, and the node makes it again and serves everything; `dump --index` shows it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engine::io::FileName;
use net::client::{AckLevel, Record};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::directory::{flip, verify, verify_clean};
use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::verify::{Acked, check, read_all, value};
use crate::harness::{run, run_badly, run_well};

const MESSAGES: u64 = 400;
const DEADLINE: Duration = Duration::from_secs(20);

fn file(data: &Path, name: FileName) -> PathBuf {
    data.join("shard-000").join(name.to_string())
}

/// A node that is running has so many complete index files in a while.
fn wait_for_indexes(data: &Path, count: usize) {
    let deadline = Instant::now() + DEADLINE;
    let complete = |number| {
        fs::read(file(data, FileName::Index(number))).is_ok_and(|bytes| {
            let footer = bytes.len().checked_sub(4096).and_then(|at| bytes.get(at..at + 4));
            footer == Some(b"UIX1")
        })
    };
    while (0..16).filter(|number| complete(*number)).count() < count {
        assert!(Instant::now() < deadline, "{count} segments are sealed");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A directory with four segments or more, of which at least three are sealed, and what was
/// acknowledged in its topic `t`.
async fn stopped() -> (TempDir, Acked) {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let node = Node::start(&data, &["--segment-size", "1MiB"]);
    let client = node.client().await;
    create_topic(&client, "t", 2).await;
    let producer = client.producer("t").ack(AckLevel::Durable).build().await.expect("the topic");
    let mut acked = Acked::default();
    for number in 0..MESSAGES {
        let value = value(0, number, 10_000);
        let sent = producer.send(&Record::new(&value)).await.expect("it is stored");
        acked.add(sent.queue, sent.offset, &value);
    }
    wait_for_indexes(&data, 3);
    node.stop();
    (dir, acked)
}

/// A restarted node serves all of it, and makes the indexes that it lacks.
async fn served(data: &Path, acked: &Acked) {
    let node = Node::start(data, &[]);
    let client = node.client().await;
    check(&read_all(&client, "t").await, acked);
    wait_for_indexes(data, 3);
    node.stop();
    let document = verify_clean(data);
    let indexes = &document["shards"][0]["indexes"];
    assert!(indexes["intact"].as_u64() >= Some(3), "{indexes}");
    assert_eq!(indexes["missing"], Value::Array(Vec::new()), "{indexes}");
}

fn lines(text: &[u8], kind: &str) -> Vec<Value> {
    let text = std::str::from_utf8(text).expect("text");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter(|line| line["type"] == kind).collect()
}

#[tokio::test]
async fn damage_is_found_and_repaired() {
    let (dir, acked) = stopped().await;
    let data = dir.path().join("data");
    let path = data.to_str().expect("a path");
    verify_clean(&data);
    let (first, second) = (FileName::Index(0), FileName::Index(1));
    flip(&data, first, 4096 + 100);
    let footer = fs::metadata(file(&data, second)).expect("it is there").len() - 4096;
    flip(&data, second, footer + 20);
    fs::copy(file(&data, FileName::Index(2)), file(&data, FileName::Index(99))).expect("a copy");
    let (code, document) = verify(&data);
    assert_eq!((code, &document["clean"]), (3, &false.into()), "{document}");
    let damages = document["damages"].as_array().expect("damages");
    let found: Vec<_> = damages
        .iter()
        .map(|damage| (&damage["place"]["file"], &damage["place"]["offset"], &damage["derived"]))
        .collect();
    let expected = [(first.to_string(), 4096), (second.to_string(), footer)];
    let expected = expected.map(|(name, offset)| (name.into(), offset.into(), true.into()));
    assert_eq!(found, expected.each_ref().map(|(name, offset, derived)| (name, offset, derived)));
    let leftover = &document["shards"][0]["indexes"]["leftover"];
    assert_eq!(leftover, &Value::from(vec![99]));
    let text = String::from_utf8(run(&["verify", path]).stdout).expect("text");
    assert!(text.contains("--repair removes them") && text.contains("index-"), "{text}");

    let repaired = run(&["verify", path, "--repair"]);
    let text = String::from_utf8(repaired.stdout).expect("text");
    assert_eq!(repaired.status.code(), Some(0), "{text}");
    for name in [first, second, FileName::Index(99)] {
        assert!(text.contains(&format!("REMOVED shard 0: {name}")), "{text}");
        assert!(!file(&data, name).exists());
    }
    let document = verify_clean(&data);
    assert_eq!(document["shards"][0]["indexes"]["missing"], Value::from(vec![0, 1]));
    served(&data, &acked).await;
}

#[tokio::test]
async fn what_is_stored_is_never_repaired() {
    let (dir, acked) = stopped().await;
    let data = dir.path().join("data");
    let path = data.to_str().expect("a path");
    flip(&data, FileName::Segment(1), 4096 + 400);
    flip(&data, FileName::Index(1), 100);
    let before = fs::read(file(&data, FileName::Index(1))).expect("it is there");
    let repaired = run(&["verify", path, "--repair"]);
    let text = String::from_utf8(repaired.stdout).expect("text");
    assert_eq!(repaired.status.code(), Some(1), "{text}");
    assert!(!text.contains("REMOVED"), "it could not be made again: {text}");
    assert_eq!(fs::read(file(&data, FileName::Index(1))).expect("it is there"), before);
    flip(&data, FileName::Segment(1), 4096 + 400);
    assert_eq!(run(&["verify", path]).status.code(), Some(3));
    // While a node runs nobody repairs.
    let node = Node::start(&data, &[]);
    assert!(run_badly(&["verify", path, "--repair"], 2).contains("in use"));
    run_badly(&["verify", path, "--repair", "--read-only"], 2);
    node.stop();
    assert_eq!(run(&["verify", path, "--repair"]).status.code(), Some(0));
    served(&data, &acked).await;
}

#[tokio::test]
async fn and_shown() {
    let (dir, acked) = stopped().await;
    let data = dir.path().join("data");
    let path = data.to_str().expect("a path");
    let all = run_well(&["dump", path, "--index", "--json"]);
    assert!(lines(&all, "index").len() >= 3);
    let one = run_well(&["dump", path, "--index", "1", "--json", "--topic", "t", "--queue", "1"]);
    let [head] = &lines(&one, "index")[..] else { panic!("one file") };
    assert_eq!((&head["segment"], &head["shard"]), (&1.into(), &0.into()));
    let [row] = &lines(&one, "index_queue")[..] else { panic!("one queue") };
    assert_eq!((&row["topic"], &row["queue"]), (&"t".into(), &1.into()));
    let spans = lines(&one, "index_span");
    assert_eq!(row["spans"], spans.len());
    assert_eq!(row["base_offset"], spans[0]["base_offset"]);
    let offsets = row["base_offset"].as_u64().expect("a number")
        ..row["end_offset"].as_u64().expect("a number");
    assert!(offsets.into_iter().all(|offset| acked.0.contains_key(&(1, offset))), "{row}");
    assert_eq!(
        lines(&run_well(&["dump", path, "--index", "-n", "2", "--json"]), "index_span").len(),
        2
    );
    let text = String::from_utf8(run_well(&["dump", path, "--index", "0"])).expect("text");
    assert!(text.starts_with("index of segment 0 of shard 0: groups 1..="), "{text}");
    assert!(text.contains("  t/0: offsets 0.."), "{text}");
    assert!(run_badly(&["dump", path, "--index", "77"], 1).contains("no index of segment 77"));
    flip(&data, FileName::Index(0), 100);
    let text = String::from_utf8(run_well(&["dump", path, "--index", "0"])).expect("text");
    assert!(text.contains("DAMAGE shard 0: index-00000000000000000000.idx at byte 0"), "{text}");
    let superblock = &lines(&run_well(&["dump", path, "--json"]), "superblock")[0];
    assert_eq!((&superblock["shard"], &superblock["life"]), (&0.into(), &1.into()));
    assert!(superblock["checkpoint"]["position"].as_u64() > Some(0), "{superblock}");
    assert!(superblock["durable_group"].as_u64() > Some(0), "{superblock}");
}
