//! The connection ends, or the peer breaks the protocol: everyone waiting hears of it.

use tokio::net::TcpListener;

use super::peer::Peer;
use super::small_node::SmallNode;
use crate::client::{Client, ClientConfig, ClientError, ErrorCode, Record};
use crate::wire::{ErrorReply, Reply};

#[tokio::test]
async fn every_request_in_flight_fails_and_the_next_one_connects_again() {
    let (client, mut peer) = Peer::pair(ClientConfig::default()).await;
    let node = async {
        for _ in 0..3 {
            peer.next().await.unwrap();
        }
        drop(peer);
    };
    let calls = async { tokio::join!(client.ping(b"1"), client.list_topics(), client.ping(b"3")) };
    let ((first, second, third), ()) = tokio::join!(calls, node);
    for error in [first.unwrap_err(), second.unwrap_err(), third.unwrap_err()] {
        assert!(matches!(error, ClientError::ConnectionLost { .. }), "{error}");
        assert!(error.outcome_unknown());
    }
    // Nobody listens any more.
    assert!(client.flush().await.is_err());
    let later = client.ping(b"later").await.unwrap_err();
    assert!(matches!(later, ClientError::Connect { .. }), "{later}");
}

#[tokio::test]
async fn a_request_waiting_for_room_fails_too() {
    let config = ClientConfig { requests_in_flight_max: 1, ..ClientConfig::default() };
    let (client, mut peer) = Peer::pair(config).await;
    let node = async {
        peer.next().await.unwrap();
        drop(peer);
    };
    let calls = async { tokio::join!(client.ping(b"sent"), client.ping(b"waiting")) };
    let ((sent, waiting), ()) = tokio::join!(calls, node);
    assert!(sent.is_err());
    assert!(matches!(waiting.unwrap_err(), ClientError::ConnectionLost { .. }));
}

#[tokio::test]
async fn acks_of_records_in_flight_fail() {
    let node = SmallNode::start(1).await;
    let client = Client::connect(node.address).await.unwrap();
    let producer = client.producer("t").idempotent(false).build().await.unwrap();
    node.mute();
    let mut acks = vec![];
    for _ in 0..5 {
        acks.push(producer.send_async(&Record::new(b"v")).await.unwrap());
    }
    node.holds(1).await;
    node.stop();
    for ack in acks {
        assert!(ack.await.unwrap_err().outcome_unknown());
    }
}

#[tokio::test]
async fn a_reply_to_nobody_ends_the_connection_with_its_reason() {
    let (client, mut peer) = Peer::pair(ClientConfig::default()).await;
    let node = async {
        peer.next().await.unwrap();
        let error = ErrorReply::new(ErrorCode::ShuttingDown, "going");
        peer.reply(u32::MAX, &Reply::Error { op: 0, error }).await;
        peer.next().await.is_none()
    };
    let (answer, _) = tokio::join!(
        async {
            let answer = client.ping(b"").await;
            drop(client);
            answer
        },
        node
    );
    let code = ErrorCode::ShuttingDown;
    assert!(matches!(answer.unwrap_err(), ClientError::Server { code: c, .. } if c == code));
}

#[tokio::test]
async fn garbage_and_giant_lengths_end_the_connection() {
    for bytes in [&[0xFF; 12][..], &[0, 0, 0, 1, 0], &[0, 0, 0, 8, 2, 0, 0, 0, 0, 0, 0, 99]] {
        let (client, mut peer) = Peer::pair(ClientConfig::default()).await;
        let node = async {
            peer.next().await.unwrap();
            peer.send(bytes).await;
        };
        let (answer, ()) = tokio::join!(client.ping(b""), node);
        assert!(matches!(answer.unwrap_err(), ClientError::Reply(_)), "{bytes:?}");
    }
}

#[tokio::test]
async fn nobody_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = Client::connect(address).await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }));
}

#[tokio::test]
async fn dropping_the_client_closes_after_what_was_requested() {
    let (client, mut peer) = Peer::pair(ClientConfig::default()).await;
    let task = tokio::spawn(async move { client.ping(b"last").await });
    assert!(peer.next().await.is_some());
    task.abort();
    assert!(peer.next().await.is_none());
}
