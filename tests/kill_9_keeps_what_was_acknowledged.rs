//! Killed again and again under load, a node has everything it acknowledged with `written` or
//! `durable`: once, in order, byte for byte; and every topic whose making it acknowledged.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use net::client::{AckLevel, Client, NewTopic, Record};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::{JoinHandle, LocalSet};

use crate::harness::directory::verify_clean;
use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::verify::{Acked, check, read_all, value};

const ROUNDS: usize = 6;
const TOPICS: [&str; 3] = ["a", "b", "c"];
const PRODUCERS: usize = 6;
/// Each producer's requests in flight.
const WINDOW: usize = 16;

/// What the node has promised, by topic; and the topics it has made.
#[derive(Clone, Default)]
struct Promises {
    acked: [Acked; TOPICS.len()],
    topics: Vec<String>,
    /// The next number of each producer.
    sequences: [u64; PRODUCERS],
}

#[test]
fn round_after_round() {
    let seed = rand::random();
    // What a failure needs to be looked into; a kill is never quite the same twice, though.
    println!("seed {seed}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), rounds(seed));
}

async fn rounds(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let dir = fresh_dir();
    let data = dir.path().join("data");
    // Small segments, so that kills meet rolls.
    let options = ["--segment-mib", "1"];
    let promises = Rc::new(RefCell::new(Promises::default()));
    let mut node = Node::start(&data, &options);
    let client = node.client().await;
    for topic in TOPICS {
        create_topic(&client, topic, 2).await;
    }
    for round in 0..ROUNDS {
        let mut load = vec![tokio::task::spawn_local(make_topics(
            node.client().await,
            round,
            Rc::clone(&promises),
        ))];
        for number in 0..PRODUCERS {
            let random = StdRng::seed_from_u64(random.random());
            let client = node.client().await;
            load.push(tokio::task::spawn_local(produce(
                client,
                number,
                random,
                Rc::clone(&promises),
            )));
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(50..500))).await;
        node.kill();
        end_all(load).await;
        verify_clean(&data);
        node = Node::start(&data, &options);
        let so_far = promises.borrow().clone();
        verify(&node.client().await, &so_far).await;
    }
    let promises = promises.borrow().clone();
    let messages: usize = promises.acked.iter().map(|acked| acked.0.len()).sum();
    println!("{messages} messages and {} topics were acknowledged", promises.topics.len());
    assert!(messages > 100, "the load did load: {messages}");
    node.stop();
    verify_clean(&data);
}

async fn end_all(load: Vec<JoinHandle<()>>) {
    for task in load {
        // They end by themselves when the connection breaks.
        task.await.expect("no check failed");
    }
}

async fn verify(client: &Client, promises: &Promises) {
    let there = client.list_topics().await.expect("a list");
    for name in &promises.topics {
        assert!(there.iter().any(|topic| topic.name == *name), "topic {name} is missing");
    }
    for (topic, acked) in TOPICS.iter().zip(&promises.acked) {
        check(&read_all(client, topic).await, acked);
    }
}

/// Makes topics until the node is gone.
async fn make_topics(client: Client, round: usize, promises: Rc<RefCell<Promises>>) {
    for number in 0.. {
        let name = format!("made-{round}-{number}");
        let topic = NewTopic {
            name: &name,
            queues: 1,
            ack: None,
            deep_validation: false,
            retention: Default::default(),
        };
        match client.create_topic(&topic).await {
            Ok(_) => promises.borrow_mut().topics.push(name),
            Err(_) => return,
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// Produces to one topic, several requests in flight, until the node is gone.
async fn produce(
    client: Client,
    number: usize,
    mut random: StdRng,
    promises: Rc<RefCell<Promises>>,
) {
    let topic = number % TOPICS.len();
    let mut producers = Vec::new();
    for level in [AckLevel::Memory, AckLevel::Written, AckLevel::Durable] {
        let producer = client.producer(TOPICS[topic]).ack(level).build().await;
        producers.push((level, producer.expect("the topic is there")));
    }
    loop {
        let mut acks = Vec::new();
        for _ in 0..WINDOW {
            let sequence = promises.borrow().sequences[number];
            promises.borrow_mut().sequences[number] += 1;
            let value = value(number, sequence, random.random_range(0..6000));
            let (level, producer) = &producers[random.random_range(0..3)];
            // One key, so one queue: the order can be checked.
            let key = [number as u8];
            match producer.send_async(&Record::new(&value).with_key(&key)).await {
                Ok(ack) => acks.push((*level, value, ack)),
                Err(_) => break,
            }
        }
        if acks.is_empty() {
            return;
        }
        for (level, value, ack) in acks {
            // A kill may have come in the middle: the others may still have been answered.
            let Ok(sent) = ack.await else { continue };
            // What is only in memory may be lost, and its offset given out again.
            if level >= AckLevel::Written {
                promises.borrow_mut().acked[topic].add(sent.queue, sent.offset, &value);
            }
        }
    }
}
