//! Somebody removes the file of the oldest segment under a running node whose log has a limit: the
//! node goes on, readers of what was in it are told, the rest is there, and a counter says it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use net::client::{Client, ClientError, ErrorCode, Record, StartAt};

use crate::harness::http::{admin_address, get};
use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::verify::{Acked, check_from, read_what_is_left, value};

const OPTIONS: [&str; 6] =
    ["--segment-size", "1MiB", "--retention-size", "4MiB", "--retention-disk", "none"];
const VALUE_BYTES: usize = 100_000;
/// Of these there are fewer than this in a segment.
const MESSAGES_PER_SEGMENT: u64 = (1 << 20) / VALUE_BYTES as u64;
const PATIENCE: Duration = Duration::from_secs(20);
const VANISHED: &str = "uringmq_log_vanished_segments_total";

async fn store(client: &Client, messages: u64, acked: &mut Acked) {
    let producer = client.producer("t").build().await.expect("the topic is there");
    for _ in 0..messages {
        let sequence = acked.0.len() as u64;
        let value = value(0, sequence, VALUE_BYTES);
        let deadline = Instant::now() + PATIENCE;
        let sent = loop {
            match producer.send(&Record::new(&value)).await {
                Ok(sent) => break sent,
                // The next small segment may still be in the making.
                Err(ClientError::Server { code: ErrorCode::Busy, .. }) => {
                    assert!(Instant::now() < deadline, "message {sequence} is never stored");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("message {sequence} is not stored: {error}"),
            }
        };
        assert_eq!(sent.offset, sequence, "offsets go on");
        acked.add(sent.queue, sent.offset, &value);
    }
}

/// What the reader of the first record is told, which is gone.
async fn first_read(client: &Client) -> ClientError {
    let consumer = client.consumer("t").start(StartAt::Offset(0)).retry_for(Duration::ZERO);
    let mut consumer = consumer.build().await.expect("the topic is there");
    consumer.poll().await.expect_err("it is gone").source
}

/// The segments of the log, the oldest first.
fn segments(data: &Path) -> Vec<PathBuf> {
    let shards = std::fs::read_dir(data).expect("the directory is there");
    let shards = shards.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir());
    let files = shards.flat_map(|shard| std::fs::read_dir(shard).expect("it is there"));
    let is_segment = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("segment-") && name.ends_with(".log")
    };
    let mut segments: Vec<_> =
        files.map(|entry| entry.expect("an entry").path()).filter(is_segment).collect();
    segments.sort();
    segments
}

fn vanished(admin: &str) -> f64 {
    let page = get(admin, "/metrics").body;
    let line = page.lines().find(|line| line.starts_with(VANISHED) && line.contains("shard"));
    let line = line.unwrap_or_else(|| panic!("{VANISHED} is not there"));
    line.rsplit(' ').next().expect("a figure").parse().expect("a number")
}

#[tokio::test]
async fn while_the_log_goes_on() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let node = Node::start(&data, &OPTIONS);
    let client = node.client().await;
    create_topic(&client, "t", 1).await;
    let mut acked = Acked::default();
    store(&client, 3 * MESSAGES_PER_SEGMENT, &mut acked).await;
    // What it has in memory it needs no file for.
    node.stop();
    let node = Node::start(&data, &[&OPTIONS[..], &["--admin", "0"]].concat());
    let admin = admin_address(&node);
    let client = node.client().await;
    assert_eq!(vanished(&admin), 0.0);
    let oldest = segments(&data).first().expect("a segment").clone();
    std::fs::remove_file(&oldest).expect("it can be removed");
    let error = first_read(&client).await;
    assert!(matches!(&error, ClientError::Server { code: ErrorCode::ReadFailed, .. }), "{error}");

    // Over ten segments and more: what is gone is at the beginning for a while, then not at all.
    for _ in 0..12 {
        store(&client, MESSAGES_PER_SEGMENT, &mut acked).await;
    }
    let end = acked.0.len() as u64;
    let queue = client.describe_topic("t").await.expect("it is there").queues.remove(0);
    assert!(end - queue.start < 6 * MESSAGES_PER_SEGMENT, "it still begins at {}", queue.start);
    assert_eq!(queue.end, end);
    let error = first_read(&client).await;
    assert!(
        matches!(&error, ClientError::Server { code: ErrorCode::OffsetOutOfRange, range, .. }
            if *range == (queue.start..end)),
        "{error}"
    );
    let (start, left) = read_what_is_left(&client, "t").await;
    acked.0.retain(|(_, offset), _| *offset >= start);
    check_from(start, &left, &acked);
    // Figures may be a little old.
    let deadline = Instant::now() + PATIENCE;
    while vanished(&admin) != 1.0 {
        assert!(Instant::now() < deadline, "it is {} for ever", vanished(&admin));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(segments(&data).len() <= 7, "{:?}", segments(&data));
    node.kill();
    let node = Node::start(&data, &OPTIONS);
    let (again, left) = read_what_is_left(&node.client().await, "t").await;
    assert!(again <= start, "it began at {start}, and now at {again}");
    let left: Vec<_> = left.into_iter().filter(|message| message.offset >= start).collect();
    check_from(start, &left, &acked);
    node.stop();
}
