//! A log with a limit stays within it, over kills: what is left is in order and complete, up to
//! the last acknowledged message, and topics and groups outlive the records they began with.

use std::path::Path;
use std::time::Duration;

use net::client::{ClientError, ErrorCode, NewOffset, Producer, Record, Sent, StartAt};

use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::run_well;
use crate::harness::verify::value;

const ROUNDS: u64 = 4;
const MESSAGES: u64 = 400;
const VALUE_BYTES: usize = 10_000;
const MIB: u64 = 1 << 20;
const OPTIONS: [&str; 4] = ["--segment-size", "1MiB", "--retention-size", "3MiB"];

fn bytes_below(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("the directory is there");
    let bytes = entries.map(|entry| {
        let entry = entry.expect("an entry");
        let metadata = entry.metadata().expect("it is there");
        if metadata.is_dir() { bytes_below(&entry.path()) } else { metadata.len() }
    });
    bytes.sum()
}

/// Sends until there is room: small segments can be filled faster than the next ones are made.
async fn store(producer: &Producer, value: &[u8]) -> Sent {
    loop {
        match producer.send(&Record::new(value)).await {
            Ok(sent) => return sent,
            Err(ClientError::Server { code: ErrorCode::Busy, retry_after_ms, .. }) => {
                tokio::time::sleep(Duration::from_millis(retry_after_ms.into())).await;
            }
            Err(error) => panic!("not stored: {error}"),
        }
    }
}

#[tokio::test]
async fn over_kills() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let mut sent = 0;
    for round in 0..ROUNDS {
        let node = Node::start(&data, &OPTIONS);
        let client = node.client().await;
        if round == 0 {
            create_topic(&client, "t", 1).await;
            let topic = create_topic(&client, "untouched", 3).await;
            let offset = NewOffset { topic, queue: 2, offset: Some(0), epoch: 0, metadata: "" };
            let committed = client.commit_offsets("g", &[offset], None).await;
            assert_eq!(committed.expect("an answer"), [None]);
        }
        let producer = client.producer("t").build().await.expect("the topic is there");
        for _ in 0..MESSAGES {
            let value = value(0, sent, VALUE_BYTES);
            let sent_to = store(&producer, &value).await;
            assert_eq!(sent_to.offset, sent, "offsets go on, whatever has expired");
            sent += 1;
        }
        let counters = run_well(&["stats", "--json", "--server", &node.address]);
        node.kill();
        let counters = String::from_utf8(counters).expect("text");
        assert!(counters.contains("recycled_segments"), "{counters}");
        // Three segments, the successor, a spare, and one on its way out.
        let bytes = bytes_below(&data);
        assert!(bytes <= 6 * MIB + MIB / 2, "{bytes} bytes in round {round}");
    }
    let node = Node::start(&data, &OPTIONS);
    let client = node.client().await;
    let details = client.describe_topic("t").await.expect("the topic is there");
    let queue = details.queues.first().expect("a queue");
    assert_eq!((queue.end, queue.visible), (sent, sent));
    assert!(queue.start > sent / 2 && queue.start < sent - 100, "{queue:?}");
    let consumer = client.consumer("t").queues([0]).start(StartAt::Earliest);
    let mut consumer = consumer.build().await.expect("the topic is there");
    let mut next = queue.start;
    while next < sent {
        for message in consumer.poll().await.expect("the queue can be read") {
            assert_eq!(message.offset, next);
            assert!(message.value.as_deref() == Some(&value(0, next, VALUE_BYTES)[..]), "{next}");
            next += 1;
        }
    }
    let untouched = client.describe_topic("untouched").await.expect("it is still there");
    assert_eq!(untouched.queues.len(), 3);
    let groups = run_well(&["group", "list", "--server", &node.address]);
    assert!(String::from_utf8_lossy(&groups).contains('g'), "the group is still known");
    node.stop();
}
