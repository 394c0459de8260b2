//! One flipped bit anywhere in the files of a stopped node: `verify` says where, and ends with 1.

use std::path::Path;

use engine::io::FileName;
use net::client::{AckLevel, Record};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::directory::{Places, flip, places, verify, verify_clean};
use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::run;

/// A directory with a topic `t`, stopped, started and stopped again: the second start vouches for
/// everything.
async fn stopped() -> TempDir {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let node = Node::start(&data, &["--segment-size", "1MiB"]);
    let client = node.client().await;
    create_topic(&client, "t", 2).await;
    let producer = client.producer("t").ack(AckLevel::Durable).build().await.expect("the topic");
    for number in 0..40_u8 {
        // 61 + n bytes: most entries need padding.
        let value = vec![number; 1000 + usize::from(number) * 3];
        let record = Record::new(&value);
        producer.send_batch(&[record, record]).await.expect("it is stored");
    }
    node.stop();
    Node::start(&data, &[]).stop();
    verify_clean(&data);
    dir
}

/// Flips a bit, verifies, flips it back. Returns the damages.
fn damaged(data: &Path, name: FileName, offset: u64) -> Vec<Value> {
    flip(data, name, offset);
    let (code, document) = verify(data);
    let text = run(&["verify", data.to_str().expect("a path")]);
    flip(data, name, offset);
    assert_eq!((code, text.status.code()), (1, Some(1)), "{name} {offset}: {document}");
    assert_eq!(document["clean"], false);
    let damages = document["damages"].as_array().expect("damages").clone();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("DAMAGE shard 0") && text.contains("damaged in "), "{text}");
    damages
}

/// The first damage is at this position, in this group.
fn expect(places: &Places, damages: &[Value], pos: u64, group: u64, what: &str) {
    let first = &damages[0];
    let (file, offset) = places.file(pos);
    assert_eq!(first["place"]["file"], file.to_string(), "{first}");
    assert_eq!(
        (&first["place"]["offset"], &first["place"]["position"]),
        (&offset.into(), &pos.into())
    );
    assert_eq!(first["group"], group, "{first}");
    assert!(first["what"].as_str().is_some_and(|text| text.contains(what)), "{first}");
}

#[tokio::test]
async fn in_every_part_of_a_group() {
    let dir = stopped().await;
    let data = dir.path().join("data");
    let places = places(&data);
    let at = places.groups.len() / 2;
    let (sequence, group) = places.groups[at].clone();
    let entry = places.entries[at][0].clone();
    let flipped = |pos: u64| {
        let (name, offset) = places.file(pos);
        damaged(&data, name, offset)
    };
    for pos in [group.start + 4, group.start + 24, group.start + 50] {
        expect(&places, &flipped(pos), group.start, sequence, "no intact header");
    }
    for pos in [entry.start + 1, entry.start + 16, entry.start + 40 + 5] {
        expect(&places, &flipped(pos), entry.start, sequence, "checksum of the entry's header");
    }
    for pos in [entry.start + 40 + 21, entry.start + 40 + 500, entry.end - 20] {
        let damages = flipped(pos);
        expect(&places, &damages, entry.start, sequence, "the batch is not what was sent");
        assert!(damages[0]["queue_id"].is_u64(), "it says which queue: {damages:?}");
        let lost = damages.iter().filter(|d| {
            d["what"].as_str().is_some_and(|w| w.contains("missing before this entry"))
        });
        assert_eq!(lost.count(), 1, "and which records are missing: {damages:?}");
    }
    // No checksum covers it.
    let (group, entry, padding) = places.padding[places.padding.len() / 2];
    expect(&places, &flipped(padding), entry, group, "padding behind the entry is not zero");
    verify_clean(&data);
}

#[tokio::test]
async fn in_the_headers_of_files() {
    let dir = stopped().await;
    let data = dir.path().join("data");
    for (name, offset, what) in [
        (FileName::Segment(0), 8, "a segment header is not intact"),
        (FileName::Segment(0), 2000, "reserved bytes are not zero"),
        (FileName::Superblock, 16, "a slot of the superblock is not intact"),
        (FileName::Superblock, 4096 + 16, "a slot of the superblock is not intact"),
        (FileName::Superblock, 4000, "reserved bytes are not zero"),
    ] {
        let damages = damaged(&data, name, offset);
        let found = damages.iter().find(|damage| damage["what"] == what);
        let found = found.unwrap_or_else(|| panic!("{name} {offset}: {damages:?}"));
        assert_eq!(found["place"]["file"], name.to_string());
        assert_eq!(found["place"]["offset"], offset - offset % 4096);
    }
    verify_clean(&data);
    std::fs::remove_file(data.join("shard-000").join(FileName::Segment(0).to_string()))
        .expect("it is there");
    let (code, document) = verify(&data);
    assert_eq!(
        (code, &document["damages"][0]["what"]),
        (1, &"all segment files are missing".into())
    );
}

/// What is behind the end of the log is no damage, whatever it is.
#[tokio::test]
async fn but_not_behind_the_end() {
    let dir = stopped().await;
    let data = dir.path().join("data");
    let places = places(&data);
    let (_, last) = places.groups.last().expect("groups").clone();
    let (name, offset) = places.file(last.end.next_multiple_of(4096) + 4096);
    flip(&data, name, offset);
    let document = verify_clean(&data);
    assert_eq!(document["shards"][0]["tail"]["leftovers"]["bytes"], 1);
    // And a node starts on it.
    Node::start(&data, &[]).stop();
}
