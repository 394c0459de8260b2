//! Records that are older than the node keeps them go, whole segments at a time and never before their
//! time: who asks for them is told what is there, what is younger stays, and a restart changes nothing.

use std::time::{Duration, Instant};

use net::client::{Client, ClientError, ErrorCode, PollError, Record, StartAt};

use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::verify::{Acked, check_from, read_what_is_left, value};

const KEPT: Duration = Duration::from_secs(4);
const OPTIONS: [&str; 6] =
    ["--segment-size", "1MiB", "--retention", "4s", "--retention-disk", "none"];
const MESSAGES: u64 = 250;
const VALUE_BYTES: usize = 20_000;
/// Of a segment, there is less room for records.
const MESSAGES_PER_SEGMENT_MAX: u64 = (1 << 20) / VALUE_BYTES as u64;
const PATIENCE: Duration = Duration::from_secs(60);

/// Stores so many, and returns where they begin and what they are.
async fn store(client: &Client, messages: u64) -> Acked {
    let producer = client.producer("t").build().await.expect("the topic is there");
    let mut acked = Acked::default();
    for sequence in 0..messages {
        let value = value(0, sequence, VALUE_BYTES);
        let sent = loop {
            match producer.send(&Record::new(&value)).await {
                Ok(sent) => break sent,
                // The next small segment may still be in the making.
                Err(ClientError::Server { code: ErrorCode::Busy, .. }) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("not stored: {error}"),
            }
        };
        acked.add(sent.queue, sent.offset, &value);
    }
    acked
}

async fn start(client: &Client) -> u64 {
    client.describe_topic("t").await.expect("it is there").queues[0].start
}

/// The queue's start, once it is beyond this offset.
async fn start_beyond(client: &Client, offset: u64) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let start = start(client).await;
        if start > offset {
            return start;
        }
        assert!(Instant::now() < deadline, "it still begins at {start}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn range_told(client: &Client, offset: u64) -> std::ops::Range<u64> {
    let consumer = client.consumer("t").queues([0]).start(StartAt::Offset(offset)).build().await;
    match consumer.expect("the topic is there").poll().await {
        Err(PollError {
            source: ClientError::Server { code: ErrorCode::OffsetOutOfRange, range, .. },
            ..
        }) => range,
        other => panic!("offset {offset}: {other:?}"),
    }
}

#[tokio::test]
async fn and_no_younger_ones() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let node = Node::start(&data, &OPTIONS);
    let client = node.client().await;
    create_topic(&client, "t", 1).await;
    let begun = Instant::now();
    store(&client, MESSAGES).await;
    let first = start_beyond(&client, 0).await;
    assert!(begun.elapsed() >= KEPT, "{first} records went after {:?}", begun.elapsed());
    // All but the segment that is being written to.
    let start_at_rest = start_beyond(&client, MESSAGES - MESSAGES_PER_SEGMENT_MAX - 1).await;
    for below in [0, start_at_rest - 1] {
        assert_eq!(range_told(&client, below).await, start_at_rest..MESSAGES);
    }
    // What comes now is young: read at once, it is all there.
    let young = Instant::now();
    let acked = store(&client, MESSAGES / 2).await;
    let (_, mut found) = read_what_is_left(&client, "t").await;
    found.retain(|message| message.offset >= MESSAGES);
    if young.elapsed() < KEPT {
        check_from(MESSAGES, &found, &acked);
    }
    let before = start(&client).await;
    node.kill();
    let node = Node::start(&data, &OPTIONS);
    let client = node.client().await;
    assert!(start(&client).await >= before, "what is gone does not come back");
    let end = MESSAGES + MESSAGES / 2;
    let at_rest = start_beyond(&client, end - MESSAGES_PER_SEGMENT_MAX - 1).await;
    let (_, left) = read_what_is_left(&client, "t").await;
    let offsets: Vec<_> = left.iter().map(|message| message.offset).collect();
    assert_eq!(offsets, (at_rest..end).collect::<Vec<_>>());
    node.stop();
}
