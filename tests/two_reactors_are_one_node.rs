//! A node with two reactors: connections land where they wish, and whatever they ask, wherever it
//! lies, is answered as by one reactor.

use std::time::{Duration, Instant};

use net::client::{
    Client, ClientError, Consumer, ErrorCode, NewOffset, Partitioner, Record, StartAt,
};
use net::wire::SHARD_ANY;

use crate::harness::directory::verify_clean;
use crate::harness::node::{Node, create_topic, fresh_dir, has_two_cpus};
use crate::harness::{run_badly, run_well};

const TWO: [&str; 2] = ["--reactors", "2"];
const QUEUES: u16 = 4;
const SOON: Duration = Duration::from_secs(5);

async fn counter(client: &Client, name: &str) -> u64 {
    let stats = client.stats(false).await.expect("statistics");
    stats.counters.iter().filter(|counter| counter.name == name).map(|counter| counter.value).sum()
}

/// The shard of each queue.
async fn shards_of(client: &Client, topic: &str) -> Vec<u16> {
    let layout = client.metadata(&[topic]).await.expect("metadata").remove(0);
    layout.found.expect("the topic").2
}

async fn fill(client: &Client, topic: &str, tag: &str) {
    let each = Partitioner::RoundRobin;
    let producer = client.producer(topic).partitioner(each).build().await.expect("the topic");
    for n in 0..u32::from(QUEUES) * 5 {
        producer.send(&Record::new(format!("{tag}{n}").as_bytes())).await.expect("an ack");
    }
}

async fn all_values(client: &Client, topic: &str, count: usize) -> Vec<String> {
    let builder = client.consumer(topic).start(StartAt::Earliest);
    let mut consumer: Consumer = builder.build().await.expect("the topic");
    let mut values = Vec::new();
    while values.len() < count {
        let messages = tokio::time::timeout(SOON, consumer.poll()).await.expect("in time");
        for message in messages.expect("messages") {
            let value = message.value.expect("a value");
            values.push(String::from_utf8(value.to_vec()).expect("text"));
        }
    }
    values.sort();
    values
}

#[tokio::test]
async fn whatever_is_asked_wherever_it_lies() {
    if !has_two_cpus() {
        return;
    }
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let node = Node::start(&data, &TWO);
    let (zero, one) = (node.client_at(0).await, node.client_at(1).await);
    assert_eq!([zero.node().shard, one.node().shard], [0, 1]);
    assert_eq!([zero.node().shards, one.node().shards], [2, 2]);
    let mut landed = Vec::new();
    for _ in 0..4 {
        landed.push(node.client_at(SHARD_ANY).await.node().shard);
    }
    landed.sort_unstable();
    assert_eq!(landed, [0, 0, 1, 1], "without a wish, each reactor in turn");

    // Made by one, there for both, with queues on both.
    let topic = create_topic(&one, "t", QUEUES).await;
    for client in [&zero, &one] {
        let shards = shards_of(client, "t").await;
        assert_eq!(shards.iter().filter(|shard| **shard == 1).count(), 2);
    }
    assert!(counter(&zero, "forwarded_requests").await > 0, "the topic at least");
    fill(&zero, "t", "a").await;
    fill(&one, "t", "b").await;
    let values = all_values(&zero, "t", 40).await;
    assert_eq!(values, all_values(&one, "t", 40).await);
    let expected: usize = values.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(expected, 40, "{values:?}");

    // Questions that both answer.
    for client in [&zero, &one] {
        let details = client.describe_topic("t").await.expect("the topic");
        assert!(details.queues.iter().all(|queue| queue.end == 10), "{details:?}");
        // Topics are records of shard 0, too.
        assert_eq!(counter(client, "produced_records").await, 41);
        assert_eq!(counter(client, "topics").await, 1);
    }
    let offset = |queue: u16, offset: u64| NewOffset {
        topic,
        queue,
        offset: Some(offset),
        epoch: 0,
        metadata: "",
    };
    let offsets: Vec<_> = [(3, 3), (0, 7), (2, 99), (1, 1)].map(|(q, o)| offset(q, o)).into();
    let results = one.commit_offsets("g", &offsets, None).await.expect("an answer");
    assert_eq!(results, [None, None, Some(ErrorCode::OffsetOutOfRange), None]);
    for client in [&zero, &one] {
        let places = [(topic, 3), (topic, 2), (topic, 0)];
        let found = client.committed_offsets("g", &places).await.expect("offsets");
        let said: Vec<_> = found.iter().map(|one| (one.queue, one.offset)).collect();
        assert_eq!(said, [(3, Some(3)), (2, None), (0, Some(7))]);
        let found = client.all_committed_offsets("g").await.expect("offsets");
        let said: Vec<_> = found.iter().map(|one| (one.queue, one.offset)).collect();
        assert_eq!(said, [(0, Some(7)), (1, Some(1)), (3, Some(3))]);
        let groups = client.list_groups().await.expect("groups");
        assert_eq!((groups.len(), groups[0].queues), (1, 3));
    }

    one.delete_topic("t").await.expect("it goes");
    for client in [&zero, &one] {
        let gone = client.describe_topic("t").await.expect_err("it is gone");
        assert!(matches!(gone, ClientError::Server { code: ErrorCode::UnknownTopic, .. }));
        assert!(client.list_groups().await.expect("groups").is_empty());
    }
    node.stop();
    verify_clean(&data);
}

#[tokio::test]
async fn a_topic_that_was_acknowledged_is_there_for_everybody_at_once() {
    if !has_two_cpus() {
        return;
    }
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &TWO);
    let (zero, one) = (node.client_at(0).await, node.client_at(1).await);
    for n in 0..100 {
        let (maker, user) = if n % 2 == 0 { (&zero, &one) } else { (&one, &zero) };
        let name = format!("t{n}");
        create_topic(maker, &name, 2).await;
        let producer = user.producer(&name).build().await.expect("it is there");
        producer.send_batch(&[Record::new(b"x")]).await.expect("an ack");
        producer.send(&Record::new(b"y")).await.expect("an ack");
    }
    node.stop();
}

#[tokio::test]
async fn a_fetch_that_waits_elsewhere_is_woken_and_a_stop_answers_it() {
    if !has_two_cpus() {
        return;
    }
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let mut node = Node::start(&data, &TWO);
    let (zero, one) = (node.client_at(0).await, node.client_at(1).await);
    create_topic(&zero, "t", 2).await;
    let mut waiting = Vec::new();
    for client in [&zero, &one] {
        let builder = client.consumer("t").start(StartAt::Latest).wait_max_ms(60_000);
        let builder = builder.retry_for(Duration::ZERO);
        let mut consumer = builder.build().await.expect("the topic");
        waiting.push(tokio::spawn(async move {
            let woken = consumer.poll().await.map(|messages| messages.len());
            (woken, consumer.poll().await.map(|messages| messages.len()))
        }));
    }
    let begun = Instant::now();
    while counter(&zero, "parked_fetches").await < 4 {
        assert!(begun.elapsed() < SOON, "both consumers wait at both queues");
    }
    // Several clients' connections, so that the message goes the long way for one of them.
    let producer = one.producer("t").build().await.expect("the topic");
    producer.send(&Record::new(b"wake up")).await.expect("an ack");
    while counter(&zero, "parked_fetches").await < 4 {
        assert!(begun.elapsed() < SOON, "and again");
    }
    node.signal(nix::sys::signal::Signal::SIGTERM);
    for waiting in waiting {
        let (woken, stopped) = waiting.await.expect("a task");
        assert_eq!(woken.expect("a message"), 1);
        stopped.expect_err("the node has stopped");
    }
    assert_eq!(node.wait().code(), Some(0), "{}", node.log());
    verify_clean(&data);
}

#[tokio::test]
async fn a_directory_moves_between_one_reactor_and_two() {
    if !has_two_cpus() {
        return;
    }
    let dir = fresh_dir();
    let data = dir.path().join("data");
    for (round, options) in [&TWO[..], &[], &TWO].into_iter().enumerate() {
        let node = Node::start(&data, options);
        let client = node.client().await;
        if round == 0 {
            create_topic(&client, "t", QUEUES).await;
        }
        fill(&client, "t", "x").await;
        assert_eq!(all_values(&client, "t", 20 * (round + 1)).await.len(), 20 * (round + 1));
        node.stop();
    }
}

#[tokio::test]
async fn added_shards_get_the_new_queues_and_another_reactor() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let path = data.to_str().expect("a path");
    run_badly(&["shards", "add", path, "1"], 3);
    let node = Node::start(&data, &[]);
    let client = node.client().await;
    create_topic(&client, "old", QUEUES).await;
    fill(&client, "old", "a").await;
    let running = run_badly(&["shards", "add", path, "1"], 3);
    assert!(running.contains("in use"), "{running}");
    node.stop();

    let said = run_well(&["shards", "add", path, "1"]);
    assert_eq!(String::from_utf8_lossy(&said), format!("added shard 1; {path} has 2 shards now\n"));
    verify_clean(&data);
    let options = if has_two_cpus() { &TWO[..] } else { &[] };
    let node = Node::start(&data, options);
    let client = node.client().await;
    create_topic(&client, "new", QUEUES).await;
    create_topic(&client, "newer", 2).await;
    assert_eq!(shards_of(&client, "old").await, [0; 4], "queues stay");
    assert_eq!(shards_of(&client, "new").await, [1; 4], "new ones go to the new shard");
    let newer = shards_of(&client, "newer").await;
    assert!(newer.contains(&0) && newer.contains(&1), "until both have as many: {newer:?}");
    fill(&client, "new", "b").await;
    assert_eq!(all_values(&client, "old", 20).await.len(), 20);
    assert_eq!(all_values(&client, "new", 20).await.len(), 20);
    node.stop();
    verify_clean(&data);
}

#[test]
fn more_reactors_than_cpus_or_shards_are_refused_with_advice() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let path = data.to_str().expect("a path");
    let serve = |options: &[&str]| {
        run_badly(&[&["serve", "--data", path, "--listen", "127.0.0.1:0"], options].concat(), 3)
    };
    let refused = serve(&["--reactors", "255"]);
    assert!(refused.contains("each needs a CPU of its own"), "{refused}");
    assert!(!data.exists(), "nothing was formatted");
    if has_two_cpus() {
        Node::start(&data, &[]).stop();
        let refused = serve(&TWO);
        assert!(refused.contains("shards add"), "{refused}");
    }
}
