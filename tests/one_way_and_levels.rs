//! Every ack level, chosen per message or by the topic, and messages without any answer.

use std::time::Duration;

use net::client::{AckLevel, Client, Message, NewTopic, Record, StartAt};

use crate::harness::node::{Node, fresh_dir};
use crate::harness::verify::{Acked, check, read_all, value};

const LEVELS: [AckLevel; 4] =
    [AckLevel::None, AckLevel::Memory, AckLevel::Written, AckLevel::Durable];

#[tokio::test]
async fn every_level_on_every_topic_is_stored_in_order() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let node = Node::start(&data, &[]);
    let client = node.client().await;
    let mut all = Vec::new();
    for default in LEVELS {
        let name = default.name();
        let topic = NewTopic {
            name,
            queues: 1,
            ack: Some(default),
            deep_validation: false,
            key_index: false,
            retention: Default::default(),
        };
        client.create_topic(&topic).await.expect("a topic");
        let mut acked = Acked::default();
        for (sequence, level) in (0..).zip(LEVELS.into_iter().cycle().take(40)) {
            let value = value(0, sequence, 200);
            let producer = client.producer(name).ack(level).build().await.expect("the topic");
            let sent = producer.send(&Record::new(&value)).await.expect("an ack");
            assert_eq!(sent.offset, sequence);
            acked.add(0, sent.offset, &value);
        }
        // The last one was durable, so everything before it is, too.
        check(&read_all(&client, name).await, &acked);
        all.push((name, acked));
    }
    node.kill();
    let node = Node::start(&data, &[]);
    let client = node.client().await;
    for (name, acked) in &all {
        check(&read_all(&client, name).await, acked);
    }
    node.stop();
}

#[tokio::test]
async fn one_way_messages_arrive_before_what_is_sent_after_them() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    let client = node.client().await;
    for default in LEVELS {
        let name = default.name();
        let topic = NewTopic {
            name,
            queues: 1,
            ack: Some(default),
            deep_validation: false,
            key_index: false,
            retention: Default::default(),
        };
        client.create_topic(&topic).await.expect("a topic");
        let producer = client.producer(name).build().await.expect("the topic");
        let mut values = Vec::new();
        for sequence in 0..100 {
            let value = value(0, sequence, 50);
            producer.send_one_way(&Record::new(&value)).await.expect("room to send");
            values.push(value);
        }
        // Nobody sends anything more: they must become visible by themselves.
        let came = take(&client, name, 100).await;
        let came: Vec<_> = came.iter().filter_map(|message| message.value.as_deref()).collect();
        assert!(came == values, "one-way messages of topic {name}");
        let last = value(0, 100, 50);
        let sent = producer.send(&Record::new(&last)).await.expect("an ack");
        assert_eq!(sent.offset, 100);
    }
    node.stop();
}

/// The first `count` messages, as they become visible.
async fn take(client: &Client, topic: &str, count: usize) -> Vec<Message> {
    let consumer = client.consumer(topic).start(StartAt::Earliest).build().await;
    let mut consumer = consumer.expect("the topic is there");
    let mut all = Vec::new();
    while all.len() < count {
        let messages = tokio::time::timeout(Duration::from_secs(5), consumer.poll()).await;
        all.extend(messages.expect("in time").expect("messages"));
    }
    all
}
