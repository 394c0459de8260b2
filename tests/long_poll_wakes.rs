//! A fetch that waits at the end of a queue is answered by the append, not by its deadline.

use std::time::{Duration, Instant};

use net::client::{Client, ClientError, Consumer, ErrorCode, Record, StartAt};

use crate::harness::node::{Node, create_topic, fresh_dir};

/// Far longer than the test may take.
const WAIT_MS: u32 = 60_000;
const SOON: Duration = Duration::from_secs(5);

async fn consumer(client: &Client) -> Consumer {
    let consumer = client.consumer("t").start(StartAt::Latest).wait_max_ms(WAIT_MS);
    consumer.build().await.expect("the topic is there")
}

/// Waits until so many fetches are parked on the node.
async fn parked(client: &Client, count: u64) {
    let begun = Instant::now();
    loop {
        let stats = client.stats(false).await.expect("statistics");
        let found = stats.counters.iter().find(|counter| counter.name == "parked_fetches");
        if found.expect("the counter").value == count {
            return;
        }
        assert!(begun.elapsed() < SOON, "{count} fetches should be parked: {found:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn by_the_append_for_all_who_wait() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    let client = node.client().await;
    create_topic(&client, "t", 1).await;
    let waiting: Vec<_> = futures(&node, 3).await;
    parked(&client, 3).await;
    let producer = client.producer("t").build().await.expect("the topic is there");
    let begun = Instant::now();
    producer.send(&Record::new(b"wake up")).await.expect("an ack");
    for waiting in waiting {
        let messages = waiting.await.expect("a task").expect("messages");
        let values: Vec<_> = messages.iter().map(|message| message.value.as_deref()).collect();
        assert_eq!(values, [Some(&b"wake up"[..])]);
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    node.stop();
}

#[tokio::test]
async fn by_the_end_of_the_topic() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    let client = node.client().await;
    create_topic(&client, "t", 1).await;
    let waiting = futures(&node, 2).await;
    parked(&client, 2).await;
    let begun = Instant::now();
    client.delete_topic("t").await.expect("the topic goes");
    for waiting in waiting {
        let error = waiting.await.expect("a task").expect_err("the topic is gone");
        let ClientError::Server { code, .. } = error.source else { panic!("{error}") };
        let expected = [ErrorCode::UnknownTopic, ErrorCode::UnknownQueue];
        assert!(expected.contains(&code), "{code:?}");
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    client.ping(b"undisturbed").await.expect("the node goes on");
    node.stop();
}

#[tokio::test]
async fn by_its_deadline_if_nothing_comes() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    let client = node.client().await;
    create_topic(&client, "t", 1).await;
    let builder = client.consumer("t").wait_max_ms(100);
    let mut consumer = builder.build().await.expect("the topic is there");
    // An empty answer is not handed out: the consumer asks again, several times here.
    let nothing = tokio::time::timeout(Duration::from_millis(450), consumer.poll()).await;
    assert!(nothing.is_err(), "nothing was produced: {nothing:?}");
    let producer = client.producer("t").build().await.expect("the topic is there");
    producer.send(&Record::new(b"late")).await.expect("an ack");
    let late = tokio::time::timeout(SOON, consumer.poll()).await.expect("in time");
    assert_eq!(late.expect("messages").len(), 1);
    node.stop();
}

type Polling = tokio::task::JoinHandle<Result<Vec<net::client::Message>, net::client::PollError>>;

/// So many consumers, on connections of their own, polling.
async fn futures(node: &Node, count: usize) -> Vec<Polling> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut consumer = consumer(&node.client().await).await;
        all.push(tokio::spawn(async move { consumer.poll().await }));
    }
    all
}
