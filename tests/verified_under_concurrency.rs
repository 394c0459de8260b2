//! Many producers and consumers at once: every message once, in order, to everyone.

use std::collections::BTreeSet;
use std::time::Duration;

use net::client::{AckLevel, Client, Message, Record};

use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::verify::{Acked, check, value};

const PRODUCERS: usize = 8;
const CONSUMERS: usize = 4;
const PER_PRODUCER: u64 = 1000;
const TOTAL: usize = PRODUCERS * PER_PRODUCER as usize;

#[tokio::test]
async fn everyone_sees_everything_once_and_in_order() {
    let dir = fresh_dir();
    // Segments large enough that nobody is told to come again, which would cost the order.
    let node = Node::start(&dir.path().join("data"), &[]);
    let admin = node.client().await;
    create_topic(&admin, "t", 4).await;
    let mut consumers = Vec::new();
    for _ in 0..CONSUMERS {
        consumers.push(tokio::spawn(consume(node.client().await)));
    }
    let mut producers = Vec::new();
    for number in 0..PRODUCERS {
        producers.push(tokio::spawn(produce(node.client().await, number)));
    }
    let mut acked = Acked::default();
    for producer in producers {
        acked.extend(producer.await.expect("a producer"));
    }
    assert_eq!(acked.0.len(), TOTAL);
    for consumer in consumers {
        let mut messages = consumer.await.expect("a consumer");
        // Stable: the order within a queue is as it came.
        messages.sort_by_key(|message| message.queue);
        check(&messages, &acked);
        let different: BTreeSet<_> = messages.iter().map(|message| &message.value).collect();
        assert_eq!(different.len(), TOTAL);
    }
    node.stop();
}

/// Single messages and batches, pipelined, of every size and level.
async fn produce(client: Client, number: usize) -> Acked {
    let level = [AckLevel::Durable, AckLevel::Written, AckLevel::Memory][number % 3];
    let producer = client.producer("t").ack(level).build().await.expect("the topic is there");
    let mut acked = Acked::default();
    let mut sequence = 0;
    while sequence < PER_PRODUCER {
        let size = |sequence: u64| (sequence as usize * 37) % 900;
        let values: Vec<_> = (sequence..sequence + 50).map(|n| value(number, n, size(n))).collect();
        sequence += 50;
        // Keys keep each of these in one queue, so that its order can be checked.
        let key = [b'a' + number as u8];
        let records: Vec<_> =
            values.iter().map(|value| Record::new(value).with_key(&key)).collect();
        let (first, second) = records.split_at(25);
        let mut sent = producer.send_batch(first).await.expect("acks");
        let mut acks = Vec::new();
        for record in second {
            acks.push(producer.send_async(record).await.expect("room"));
        }
        for ack in acks {
            sent.push(ack.await.expect("an ack"));
        }
        for (sent, value) in sent.iter().zip(&values) {
            acked.add(sent.queue, sent.offset, value);
        }
    }
    acked
}

async fn consume(client: Client) -> Vec<Message> {
    let mut consumer = client.consumer("t").build().await.expect("the topic is there");
    let mut all = Vec::new();
    while all.len() < TOTAL {
        let messages = tokio::time::timeout(Duration::from_secs(20), consumer.poll()).await;
        all.extend(messages.expect("in time").expect("messages"));
    }
    all
}
