//! A topic with limits of its own lets go of its oldest messages: readers below are told what is
//! there, `topic describe` shows it, other topics keep everything, and a restart changes nothing.

use std::time::{Duration, Instant};

use net::client::{Client, ClientError, ErrorCode, PollError, Record, StartAt};
use serde_json::Value;

use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::run_well;
use crate::harness::verify::value;

const OPTIONS: [&str; 4] = ["--segment-size", "1MiB", "--retention-disk", "none"];
const MESSAGES: u64 = 300;
const VALUE_BYTES: usize = 20_000;
const MIB: u64 = 1 << 20;

fn topic(node: &Node, arguments: &[&str]) -> Value {
    let server = ["--json", "--server", &node.address];
    let output = run_well(&[&["topic"], arguments, &server].concat());
    serde_json::from_slice(&output).expect("JSON")
}

async fn send(client: &Client, topic: &str, messages: u64) {
    let producer = client.producer(topic).build().await.expect("the topic is there");
    for n in 0..messages {
        // The next small segment may still be in the making.
        while let Err(error) = producer.send(&Record::new(&value(0, n, VALUE_BYTES))).await {
            let busy = matches!(error, ClientError::Server { code: ErrorCode::Busy, .. });
            assert!(busy, "{error}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Where the topic's only queue begins, once that has been where it is for longer than a pause
/// between two looks at it.
async fn start_at_rest(client: &Client, name: &str) -> u64 {
    let begun = Instant::now();
    let mut last = (0, Instant::now());
    loop {
        let start = client.describe_topic(name).await.expect("it is there").queues[0].start;
        if start != last.0 {
            last = (start, Instant::now());
        }
        if start > 0 && last.1.elapsed() > Duration::from_secs(2) {
            return start;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "the start never comes to rest");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn range_told(client: &Client, offset: u64) -> std::ops::Range<u64> {
    let consumer = client.consumer("short").queues([0]).start(StartAt::Offset(offset));
    let mut consumer = consumer.build().await.expect("the topic is there");
    match consumer.poll().await {
        Err(PollError {
            source: ClientError::Server { code: ErrorCode::OffsetOutOfRange, range, .. },
            ..
        }) => range,
        other => panic!("offset {offset}: {other:?}"),
    }
}

#[tokio::test]
async fn and_a_restart_keeps_it() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let node = Node::start(&data, &OPTIONS);
    let client = node.client().await;
    topic(&node, &["create", "short", "--retention-size", "1MiB"]);
    create_topic(&client, "long", 1).await;
    send(&client, "long", 10).await;
    send(&client, "short", MESSAGES).await;
    let start = start_at_rest(&client, "short").await;
    let held = (MESSAGES - start) * VALUE_BYTES as u64;
    assert!((MIB..2 * MIB).contains(&held), "{start}");
    assert_eq!(range_told(&client, start - 1).await, start..MESSAGES);
    assert_eq!(range_told(&client, 0).await, start..MESSAGES);

    let described = topic(&node, &["describe", "short"]);
    assert_eq!(described["retention_bytes"], MIB);
    assert_eq!(described["retention_ms"], Value::Null);
    assert_eq!(described["queues"][0]["start"], start);
    let text = run_well(&["topic", "describe", "short", "--server", &node.address]);
    assert!(String::from_utf8_lossy(&text).contains("keeps 1 048 576 bytes"), "{text:?}");
    let long = client.describe_topic("long").await.expect("it is there");
    assert_eq!((long.queues[0].start, long.queues[0].end), (0, 10), "it has no limits");

    node.kill();
    let node = Node::start(&data, &OPTIONS);
    let client = node.client().await;
    assert_eq!(range_told(&client, 0).await, start..MESSAGES);
    let altered =
        topic(&node, &["alter", "short", "--retention-size", "none", "--retention", "48h"]);
    assert_eq!(altered["retention_bytes"], Value::Null);
    assert_eq!(altered["retention_ms"], 48 * 3_600_000_u64);
    send(&client, "short", 100).await;
    node.kill();
    let node = Node::start(&data, &OPTIONS);
    let described = topic(&node, &["describe", "short"]);
    assert_eq!(described["retention_ms"], 48 * 3_600_000_u64);
    assert_eq!(described["queues"][0]["start"], start, "without the limit nothing more goes");
    assert_eq!(described["queues"][0]["end"], MESSAGES + 100);
    run_well(&["topic", "alter", "long", "--ack", "written", "--server", &node.address]);
    let long = node.client().await.describe_topic("long").await.expect("it is there");
    assert_eq!(long.ack, net::client::AckLevel::Written);
    node.stop();
}
