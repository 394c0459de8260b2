//! Many requests in flight: replies in any order, errors, bounds, futures dropped half-way.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use engine::batch::{BatchBuilder, NewRecord};

use super::peer::Peer;
use super::small_node::{SmallNode, TOPIC};
use crate::client::{Client, ClientConfig, ClientError, ErrorCode, NewTopic, Record};
use crate::wire::{ErrorReply, Operation, Reply, Request};

/// Polls a future once, so that it gets as far as it can without waiting.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

async fn create(client: &Client, name: &str) -> Result<u32, ClientError> {
    client
        .create_topic(&NewTopic {
            name,
            queues: 1,
            ack: None,
            deep_validation: false,
            key_index: false,
            retention: Default::default(),
        })
        .await
}

#[tokio::test]
async fn replies_find_their_requests_in_any_order() {
    let (client, mut peer) = Peer::pair(ClientConfig::default()).await;
    assert_eq!((client.node().shard, client.node().name.as_str()), (1, "peer"));
    let node = async {
        let mut frames = vec![];
        for _ in 0..3 {
            frames.push(peer.next().await.unwrap());
        }
        for frame in frames.iter().rev() {
            let (header, Request::TopicCreate(topic)) = frame.decode() else { panic!() };
            let id = topic.name.len() as u32;
            peer.reply(header.correlation, &Reply::TopicCreate(id)).await;
        }
    };
    let calls =
        async { tokio::join!(create(&client, "a"), create(&client, "bb"), create(&client, "ccc")) };
    let ((a, b, c), ()) = tokio::join!(calls, node);
    assert_eq!((a.unwrap(), b.unwrap(), c.unwrap()), (1, 2, 3));
}

#[tokio::test]
async fn errors_of_the_node_arrive_whole_and_do_not_end_the_connection() {
    let (client, mut peer) = Peer::pair(ClientConfig::default()).await;
    let node = async {
        let frame = peer.next().await.unwrap();
        let error = ErrorReply {
            code: ErrorCode::Busy,
            retry_after_ms: 25,
            range_start: 3,
            range_end: 9,
            message: "full",
        };
        let op = Operation::TopicDelete.as_u8();
        peer.reply(frame.correlation(), &Reply::Error { op, error }).await;
        let frame = peer.next().await.unwrap();
        peer.reply(frame.correlation(), &Reply::Ping(b"x")).await;
    };
    let calls = async {
        let error = client.delete_topic("t").await.unwrap_err();
        assert!(error.retryable());
        assert!(!error.outcome_unknown());
        let ClientError::Server { code, message, retry_after_ms, range } = error else { panic!() };
        assert_eq!((code, &*message, retry_after_ms, range), (ErrorCode::Busy, "full", 25, 3..9));
        client.ping(b"x").await.unwrap();
    };
    tokio::join!(node, calls);
}

#[tokio::test]
async fn a_dropped_future_does_not_disturb_the_others() {
    let (client, mut peer) = Peer::pair(ClientConfig::default()).await;
    {
        let call = client.ping(b"dropped");
        tokio::pin!(call);
        assert!(poll_once(call.as_mut()).await.is_none());
    }
    let node = async {
        let (dropped, kept) = (peer.next().await.unwrap(), peer.next().await.unwrap());
        assert_eq!(dropped.decode().1, Request::Ping(b"dropped"));
        peer.reply(dropped.correlation(), &Reply::Ping(b"dropped")).await;
        peer.reply(kept.correlation(), &Reply::Ping(b"kept")).await;
    };
    let (kept, ()) = tokio::join!(client.ping(b"kept"), node);
    kept.unwrap();
}

#[tokio::test]
async fn a_full_connection_makes_requests_wait_and_a_dropped_wait_sends_nothing() {
    let config = ClientConfig { requests_in_flight_max: 1, ..ClientConfig::default() };
    let (client, mut peer) = Peer::pair(config).await;
    let (first, second, third) = (client.ping(b"1"), client.ping(b"2"), client.ping(b"3"));
    tokio::pin!(first, third);
    assert!(poll_once(first.as_mut()).await.is_none());
    let mut second = Box::pin(second);
    assert!(poll_once(second.as_mut()).await.is_none());
    assert!(poll_once(third.as_mut()).await.is_none());
    drop(second);
    let node = async {
        let frame = peer.next().await.unwrap();
        assert_eq!(frame.decode().1, Request::Ping(b"1"));
        assert!(tokio::time::timeout(Duration::from_millis(20), peer.next()).await.is_err());
        peer.reply(frame.correlation(), &Reply::Ping(b"1")).await;
        let frame = peer.next().await.unwrap();
        assert_eq!(frame.decode().1, Request::Ping(b"3"));
        peer.reply(frame.correlation(), &Reply::Ping(b"3")).await;
    };
    let (first, third, ()) = tokio::join!(first, third, node);
    first.unwrap();
    third.unwrap();
}

#[tokio::test]
async fn a_late_reply_times_out_and_the_connection_goes_on() {
    let config =
        ClientConfig { request_timeout: Duration::from_millis(300), ..ClientConfig::default() };
    let (client, mut peer) = Peer::pair(config).await;
    let late = client.ping(b"late").await.unwrap_err();
    assert!(matches!(late, ClientError::TimedOut { timeout_ms: 300 }));
    let node = async {
        for _ in 0..2 {
            let frame = peer.next().await.unwrap();
            let Request::Ping(echo) = frame.decode().1 else { panic!() };
            peer.reply(frame.correlation(), &Reply::Ping(echo)).await;
        }
    };
    let (next, ()) = tokio::join!(client.ping(b"next"), node);
    next.unwrap();
}

#[tokio::test]
async fn large_records_wait_for_room_in_bytes() {
    let node = SmallNode::start(1).await;
    // Room for one full batch: the least there can be.
    let config = ClientConfig { bytes_in_flight_max: 0, ..ClientConfig::default() };
    let client = Client::connect_with(node.address, config).await.unwrap();
    let value = vec![0; 600_000];
    let mut builder = BatchBuilder::new(1 << 20);
    builder.append(&NewRecord { value: Some(&value), ..NewRecord::default() }).unwrap();
    let batch = builder.finish().unwrap();
    let first = client.produce(TOPIC, 0, None, batch).await.unwrap();
    let second = client.produce(TOPIC, 0, None, batch);
    tokio::pin!(second);
    assert!(poll_once(second.as_mut()).await.is_none());
    assert_eq!(first.await.unwrap(), 0);
    assert_eq!(second.await.unwrap().await.unwrap(), 1);
}

#[tokio::test]
async fn a_silent_node_is_noticed_by_a_consumer() {
    let node = SmallNode::start(1).await;
    let config =
        ClientConfig { request_timeout: Duration::from_millis(300), ..ClientConfig::default() };
    let client = Client::connect_with(node.address, config).await.unwrap();
    let mut consumer =
        client.consumer("t").wait_max_ms(10).retry_for(Duration::ZERO).build().await.unwrap();
    let error = consumer.poll().await.unwrap_err();
    assert!(matches!(error.source, ClientError::TimedOut { timeout_ms: 310 }), "{error}");
    client.producer("t").build().await.unwrap().send(&Record::new(b"late")).await.unwrap();
    assert_eq!(consumer.poll().await.unwrap().len(), 1);
}
