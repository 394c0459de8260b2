//! A log has two files for every sealed segment, and a node may have more of them than it may open:
//! it opens what is read, and keeps a bounded number.

use std::path::Path;
use std::time::{Duration, Instant};

use net::client::{AckLevel, Client, Record};

use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::verify::{Acked, check, read_all, value};

const SEGMENTS: usize = 160;
/// Fewer than the log has files; a node needs no less.
const FILES_MAX: u32 = 256;
/// What the engine keeps of files that are only read, and a few that are written.
const READ_MAX: usize = 128 + 8;
const WRITTEN_MAX: usize = 8;
const DEADLINE: Duration = Duration::from_secs(60);

fn count(shard: &Path, start: &str) -> usize {
    let names = std::fs::read_dir(shard).expect("a shard");
    let names = names.map(|entry| entry.expect("an entry").file_name());
    names.filter(|name| name.to_str().is_some_and(|name| name.starts_with(start))).count()
}

async fn fill(client: &Client, shard: &Path, acked: &mut Acked) {
    create_topic(client, "t", 1).await;
    let producer = client.producer("t").ack(AckLevel::Durable).build().await.expect("the topic");
    for number in 0.. {
        let value = value(0, number, 300_000);
        let sent = producer.send(&Record::new(&value)).await.expect("it is stored");
        acked.add(sent.queue, sent.offset, &value);
        if count(shard, "segment-") >= SEGMENTS {
            break;
        }
    }
    let deadline = Instant::now() + DEADLINE;
    while count(shard, "index-") + 2 < SEGMENTS {
        assert!(Instant::now() < deadline, "{} are sealed", count(shard, "index-"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn more_files_than_may_be_open() {
    let dir = fresh_dir();
    let data = dir.path().canonicalize().expect("a path").join("data");
    let shard = data.join("shard-000");
    let mut acked = Acked::default();
    let node = Node::start_with_files(&data, &["--segment-size", "1MiB"], FILES_MAX);
    fill(&node.client().await, &shard, &mut acked).await;
    let open = node.open_files(&shard);
    assert!(open <= WRITTEN_MAX, "{open} files are open, of a log that nobody has read");
    node.kill();

    let node = Node::start_with_files(&data, &[], FILES_MAX);
    let open = node.open_files(&shard);
    assert!(open <= READ_MAX, "{open} files are open after a restart");
    for _ in 0..2 {
        check(&read_all(&node.client().await, "t").await, &acked);
        let open = node.open_files(&shard);
        assert!(open <= READ_MAX, "{open} files are open of a log that was read");
    }
    node.stop();
}
