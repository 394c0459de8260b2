//! Whatever happens to connections and replies, every record is stored once and in order, callers
//! that go away or come late included; and what cannot be delivered says so.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use proptest::prelude::*;

use super::small_node::{Fault, SmallNode};
use crate::client::{
    Client, ClientConfig, ClientError, ErrorCode, Partitioner, Producer, ProducerStats, Record,
    RetryPolicy,
};

const QUICK: RetryPolicy = RetryPolicy {
    pause_min: Duration::from_millis(1),
    pause_max: Duration::from_millis(4),
    attempts_max: u32::MAX,
};

async fn producer(node: &SmallNode) -> Producer {
    let config =
        ClientConfig { request_timeout: Duration::from_millis(150), ..ClientConfig::default() };
    let client = Client::connect_with(node.address, config).await.unwrap();
    let producer = client.producer("t").partitioner(Partitioner::RoundRobin).retry(QUICK);
    producer.batch_bytes(150).build().await.unwrap()
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        6 => Just(Fault::None),
        2 => Just(Fault::Refuse(ErrorCode::Busy, 1)),
        1 => Just(Fault::Refuse(ErrorCode::DiskFull, 0)),
        2 => Just(Fault::CutBefore),
        2 => Just(Fault::CutAfter),
        1 => Just(Fault::Silent),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn everything_is_stored_once_and_in_order(
        faults in prop::collection::vec(fault(), 0..25),
        queues in 1_usize..3,
        // How often each caller polls before it goes away.
        polls in prop::collection::vec(prop::option::of(0_usize..4), 60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let node = SmallNode::start(queues).await;
            let producer = producer(&node).await;
            node.state.lock().unwrap().faults = faults.clone().into();
            let mut accepted = vec![];
            for (number, polls) in polls.iter().enumerate() {
                let value = (number as u64).to_be_bytes();
                let record = Record::new(&value);
                match polls {
                    None => drop(producer.send_async(&record).await.unwrap()),
                    Some(polls) => give_up_after(*polls, producer.send(&record)).await,
                }
                // There is room for all of these: they are accepted when they are first polled.
                if *polls != Some(0) {
                    accepted.push((number as u64, accepted.len()));
                }
            }
            producer.flush().await.unwrap();
            let state = node.state.lock().unwrap();
            for (queue, stored) in state.queues.iter().enumerate() {
                let numbers: Vec<_> = stored.values().iter()
                    .map(|value| u64::from_be_bytes(value[..].try_into().unwrap())).collect();
                let expected: Vec<_> = accepted.iter()
                    .filter(|(_, turn)| turn % queues == queue)
                    .map(|(number, _)| *number).collect();
                assert_eq!(numbers, expected, "queue {queue}");
            }
        });
    }
}

/// Polls a future so often, and drops it.
async fn give_up_after<T>(polls: usize, future: impl Future<Output = T>) {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        let done = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await;
        if done {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_sender_that_goes_away_while_it_waits_for_room_sends_nothing() {
    let node = SmallNode::start(1).await;
    let client = Client::connect(node.address).await.unwrap();
    let stats = Arc::new(ProducerStats::new());
    let producer = client.producer("t").buffer_bytes(100).linger(Duration::from_secs(1000));
    let producer = producer.observer(Arc::clone(&stats) as _).build().await.unwrap();
    let value = [1; 80];
    let first = producer.send_async(&Record::new(&value)).await.unwrap();
    // The buffer is full; that also ends the first one's lingering.
    give_up_after(1, producer.send(&Record::new(&[2; 80]))).await;
    assert_eq!(first.await.unwrap().offset, 0);
    let third = producer.send_async(&Record::new(&[3; 80])).await.unwrap();
    producer.flush().await.unwrap();
    assert_eq!(third.await.unwrap().offset, 1);
    assert_eq!(node.state.lock().unwrap().queues[0].values(), [[1; 80], [3; 80]]);
    assert_eq!(stats.counts().records, 2);
}

#[tokio::test]
async fn without_retries_the_first_answer_counts() {
    let node = SmallNode::start(1).await;
    let client = Client::connect(node.address).await.unwrap();
    let producer = client.producer("t").retry(RetryPolicy::NONE).build().await.unwrap();
    node.state.lock().unwrap().faults =
        [Fault::Refuse(ErrorCode::Busy, 5), Fault::None, Fault::CutAfter].into();
    let busy = producer.send(&Record::new(b"1")).await.unwrap_err();
    assert!(busy.retryable() && !busy.outcome_unknown(), "{busy}");
    assert_eq!(producer.send(&Record::new(b"2")).await.unwrap().offset, 0);
    let lost = producer.send(&Record::new(b"3")).await.unwrap_err();
    assert!(matches!(lost, ClientError::ConnectionLost { .. }), "{lost}");
    assert_eq!(producer.send(&Record::new(b"4")).await.unwrap().offset, 2);
}

#[tokio::test]
async fn a_busy_nodes_wish_is_respected() {
    let node = SmallNode::start(1).await;
    let client = Client::connect(node.address).await.unwrap();
    let producer = client.producer("t").build().await.unwrap();
    let busy = Fault::Refuse(ErrorCode::Busy, 120);
    node.state.lock().unwrap().faults = [busy, busy].into();
    producer.send(&Record::new(b"v")).await.unwrap();
    let state = node.state.lock().unwrap();
    let times: Vec<_> = state.produces.iter().map(|(at, _)| *at).collect();
    assert_eq!(times.len(), 3);
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_millis(120));
    }
}

#[tokio::test]
async fn only_what_may_pass_is_tried_again() {
    let node = SmallNode::start(1).await;
    let client = Client::connect(node.address).await.unwrap();
    for code in [ErrorCode::CorruptBatch, ErrorCode::UnknownTopic, ErrorCode::BatchTooLarge] {
        let producer = client.producer("t").build().await.unwrap();
        let before = node.state.lock().unwrap().produces.len();
        node.state.lock().unwrap().faults = [Fault::Refuse(code, 0)].into();
        let error = producer.send(&Record::new(b"v")).await.unwrap_err();
        assert!(matches!(error, ClientError::Server { code: c, .. } if c == code), "{error}");
        assert_eq!(node.state.lock().unwrap().produces.len(), before + 1);
    }
}

#[tokio::test]
async fn a_deadline_says_what_stood_in_the_way() {
    let node = SmallNode::start(1).await;
    let client = Client::connect(node.address).await.unwrap();
    let timeout = Duration::from_millis(100);
    let producer = client.producer("t").delivery_timeout(timeout).build().await.unwrap();
    node.state.lock().unwrap().faults = [Fault::Refuse(ErrorCode::Busy, 30); 50].into();
    let error = producer.send(&Record::new(b"v")).await.unwrap_err();
    assert!(!error.outcome_unknown());
    let text = error.to_string();
    assert!(
        text.contains("100 ms") && text.contains("not stored") && text.contains("BUSY"),
        "{text}"
    );
}

#[tokio::test]
async fn a_plain_producer_sends_no_batch_twice() {
    let node = SmallNode::start(1).await;
    let client = Client::connect(node.address).await.unwrap();
    let producer = client.producer("t").idempotent(false).retry(QUICK).build().await.unwrap();
    node.state.lock().unwrap().faults =
        [Fault::CutAfter, Fault::Refuse(ErrorCode::Busy, 0), Fault::None].into();
    let error = producer.send(&Record::new(b"a")).await.unwrap_err();
    assert!(matches!(error, ClientError::ConnectionLost { .. }), "{error}");
    assert_eq!(producer.send(&Record::new(b"b")).await.unwrap().offset, 1);
    let state = node.state.lock().unwrap();
    assert_eq!(state.queues[0].values(), [b"a", b"b"]);
    assert_eq!(state.connections, 2);
}

#[tokio::test]
async fn batches_fill_while_others_are_in_flight_or_linger() {
    let node = SmallNode::start(1).await;
    let client = Client::connect(node.address).await.unwrap();
    let stats = Arc::new(ProducerStats::new());
    let producer = client.producer("t").linger(Duration::from_millis(30));
    let producer = producer.observer(Arc::clone(&stats) as _).build().await.unwrap();
    let first = producer.send_async(&Record::new(b"1")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let second = producer.send_async(&Record::new(b"2")).await.unwrap();
    assert_eq!((first.await.unwrap().offset, second.await.unwrap().offset), (0, 1));
    let counts = stats.counts();
    assert_eq!((counts.records, counts.batches), (2, 1));
    assert!(counts.queued_ns.max() >= 25_000_000);
    // A flush does not wait that long.
    let patient = client.producer("t").linger(Duration::from_secs(1000)).build().await.unwrap();
    let ack = patient.send_async(&Record::new(b"3")).await.unwrap();
    patient.flush().await.unwrap();
    assert_eq!(ack.await.unwrap().offset, 2);
    patient.close().await.unwrap();
}

#[tokio::test]
async fn a_dropped_producer_delivers_what_it_accepted() {
    let node = SmallNode::start(1).await;
    let client = Client::connect(node.address).await.unwrap();
    let producer = client.producer("t").build().await.unwrap();
    drop(producer.send_async(&Record::new(b"v")).await.unwrap());
    drop((producer, client));
    node.holds(1).await;
}
