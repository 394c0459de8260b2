//! SIGTERM and SIGINT under load: everything acknowledged is there after the restart, what was
//! refused is not, every client is told, and the exit code is 0.

use std::collections::BTreeSet;
use std::time::Duration;

use net::client::{AckLevel, Client, ClientError, ErrorCode, Record, RetryPolicy};
use nix::sys::signal::Signal;

use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::verify::{Acked, check, read_all, value};

const PRODUCERS: usize = 6;
const WINDOW: usize = 16;

#[tokio::test]
async fn sigterm() {
    stops_well(Signal::SIGTERM).await;
}

#[tokio::test]
async fn sigint() {
    stops_well(Signal::SIGINT).await;
}

async fn stops_well(signal: Signal) {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let mut node = Node::start(&data, &["--segment-size", "1MiB"]);
    let client = node.client().await;
    create_topic(&client, "t", 2).await;
    let mut parked = client.consumer("t").start(net::client::StartAt::Offset(1)).queues([1]);
    parked = parked.wait_max_ms(60_000).retry_for(Duration::ZERO);
    let mut parked = parked.build().await.expect("the topic is there");
    let mut producers = Vec::new();
    for number in 0..PRODUCERS {
        producers.push(tokio::spawn(produce(node.client().await, number)));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    node.signal(signal);
    let mut acked = Acked::default();
    let mut refused = BTreeSet::new();
    for producer in producers {
        let done = tokio::time::timeout(Duration::from_secs(15), producer).await;
        let (its_acked, its_refused) = done.expect("it is told").expect("clean errors only");
        acked.extend(its_acked);
        refused.extend(its_refused);
    }
    // Whoever waits for messages is told, too.
    while parked.poll().await.is_ok() {}
    // In a thread of its own: waiting for the process must not keep tasks from running.
    let status = tokio::task::spawn_blocking(move || node.wait()).await.expect("an end");
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(acked.0.len() > 100, "the load did load: {}", acked.0.len());

    let node = Node::start(&data, &[]);
    let messages = read_all(&node.client().await, "t").await;
    check(&messages, &acked);
    for message in &messages {
        let value = message.value.as_deref().expect("a value");
        assert!(!refused.contains(value), "refused, but stored");
    }
    node.stop();
}

/// Produces until the node says that it is going; returns what was acknowledged and what was
/// refused.
async fn produce(client: Client, number: usize) -> (Acked, Vec<Vec<u8>>) {
    let level = [AckLevel::Durable, AckLevel::Written, AckLevel::Memory][number % 3];
    let producer = client.producer("t").ack(level).idempotent(false).retry(RetryPolicy::NONE);
    let producer = producer.build().await.expect("the topic is there");
    let (mut acked, mut refused) = (Acked::default(), Vec::new());
    let key = [number as u8];
    let mut sequence = 0;
    loop {
        let mut acks = Vec::new();
        for _ in 0..WINDOW {
            let value = value(number, sequence, (sequence as usize * 41) % 3000);
            sequence += 1;
            let record = Record::new(&value).with_key(&key);
            let ack = producer.send_async(&record).await.expect("room");
            acks.push((value, ack));
        }
        let mut ended = false;
        for (value, ack) in acks {
            match ack.await {
                Ok(sent) => acked.add(sent.queue, sent.offset, &value),
                // Small segments roll faster than their successors are made: that is an answer.
                Err(ClientError::Server { code: ErrorCode::Busy, .. }) => refused.push(value),
                Err(ClientError::Server { code: ErrorCode::ShuttingDown, .. }) => {
                    refused.push(value);
                    ended = true;
                }
                Err(ClientError::ConnectionLost { .. } | ClientError::Connect { .. }) => {
                    ended = true;
                }
                Err(error) => panic!("{error}"),
            }
        }
        if ended {
            return (acked, refused);
        }
    }
}
