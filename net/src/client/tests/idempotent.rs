//! An idempotent producer sends the very same batch again, or begins another epoch; never anything
//! in between.

use std::time::Duration;

use engine::batch::BatchRef;
use tokio::net::TcpListener;

use super::peer::{Frame, Peer};
use crate::client::{AckLevel, Client, ClientError, ErrorCode, IdempotentProducer, Record};
use crate::wire::limits::BATCH_BYTES_MAX;
use crate::wire::{ErrorReply, Operation, ProducerId, Reply, Request, TopicMetadata};

const ID: i64 = 1 << 32;
const RETRY_FOR: Duration = Duration::from_secs(5);

/// The next request and its batch.
async fn batch(peer: &mut Peer) -> (Frame, Vec<u8>) {
    let frame = peer.next().await.unwrap();
    let Request::Produce(produce) = frame.decode().1 else { panic!("{:?}", frame.decode().1) };
    let batch = produce.batch.to_vec();
    (frame, batch)
}

/// Producer id, epoch and sequence of a batch, and its first value.
fn numbers(batch: &[u8]) -> (i64, i16, i32, Vec<u8>) {
    let batch = BatchRef::parse(batch, BATCH_BYTES_MAX).unwrap();
    let value = batch.records().next().unwrap().unwrap().value.unwrap().to_vec();
    (batch.producer_id(), batch.producer_epoch(), batch.base_sequence(), value)
}

async fn refuse(peer: &mut Peer, frame: &Frame, code: ErrorCode) {
    let error = ErrorReply::new(code, "no");
    let op = Operation::Produce.as_u8();
    peer.reply(frame.correlation(), &Reply::Error { op, error }).await;
}

/// A producer for a topic of one queue, and the node it is connected to.
async fn connected(retry_for: Duration) -> (IdempotentProducer, Peer, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let producer = async {
        let client = Client::connect(address).await.unwrap();
        let producer = client.producer("t").retry_for(retry_for);
        producer.build_idempotent().await.unwrap()
    };
    let node = async {
        let mut peer = Peer::accept(&listener).await;
        let frame = peer.next().await.unwrap();
        let (error, topic, ack, name) = (None, 3, AckLevel::Durable, "t");
        let topic = TopicMetadata { error, topic, ack, name, shards: vec![0].into() };
        peer.reply(frame.correlation(), &Reply::Metadata(vec![topic])).await;
        let frame = peer.next().await.unwrap();
        assert_eq!(frame.decode().1, Request::InitProducerId);
        let id = Reply::InitProducerId(ProducerId { id: ID, epoch: 0 });
        peer.reply(frame.correlation(), &id).await;
        peer
    };
    let (producer, peer) = tokio::join!(producer, node);
    (producer, peer, listener)
}

#[tokio::test]
async fn a_broken_connection_brings_the_same_batch_again() {
    let (producer, mut peer, listener) = connected(RETRY_FOR).await;
    let node = async {
        let (frame, first) = batch(&mut peer).await;
        assert_eq!(numbers(&first), (ID, 0, 0, b"a".to_vec()));
        peer.reply(frame.correlation(), &Reply::Produce(10)).await;
        let (_, second) = batch(&mut peer).await;
        assert_eq!(numbers(&second), (ID, 0, 2, b"c".to_vec()));
        drop(peer);
        let mut peer = Peer::accept(&listener).await;
        let (frame, again) = batch(&mut peer).await;
        assert_eq!(again, second);
        refuse(&mut peer, &frame, ErrorCode::Busy).await;
        let (frame, again) = batch(&mut peer).await;
        assert_eq!(again, second);
        peer.reply(frame.correlation(), &Reply::Produce(12)).await;
    };
    let calls = async {
        let two = [Record::new(b"a"), Record::new(b"b")];
        let sent = producer.send_batch(&two).await.unwrap();
        assert_eq!(sent.iter().map(|sent| sent.offset).collect::<Vec<_>>(), [10, 11]);
        assert_eq!(producer.send(&Record::new(b"c")).await.unwrap().offset, 12);
    };
    tokio::join!(calls, node);
}

#[tokio::test]
async fn what_is_refused_leaves_its_number_and_what_is_unknown_ends_the_epoch() {
    let (producer, mut peer, _listener) = connected(RETRY_FOR).await;
    let node = async {
        let (frame, refused) = batch(&mut peer).await;
        refuse(&mut peer, &frame, ErrorCode::CorruptBatch).await;
        let (frame, next) = batch(&mut peer).await;
        assert_eq!((numbers(&refused).2, numbers(&next).2), (0, 0));
        refuse(&mut peer, &frame, ErrorCode::FlushDiskTimeout).await;
        let (frame, next) = batch(&mut peer).await;
        assert_eq!(numbers(&next), (ID, 1, 0, b"3".to_vec()));
        peer.reply(frame.correlation(), &Reply::Produce(0)).await;
        // A node that has lost what came before gets the same records under the next epoch.
        let (frame, next) = batch(&mut peer).await;
        assert_eq!(numbers(&next), (ID, 1, 1, b"4".to_vec()));
        refuse(&mut peer, &frame, ErrorCode::OutOfOrderSequence).await;
        let (frame, next) = batch(&mut peer).await;
        assert_eq!(numbers(&next), (ID, 2, 0, b"4".to_vec()));
        peer.reply(frame.correlation(), &Reply::Produce(1)).await;
        // A caller that does not wait leaves the batch's fate open.
        batch(&mut peer).await;
        let (frame, next) = batch(&mut peer).await;
        assert_eq!(numbers(&next), (ID, 3, 0, b"6".to_vec()));
        peer.reply(frame.correlation(), &Reply::Produce(3)).await;
    };
    let calls = async {
        let refused = producer.send(&Record::new(b"1")).await.unwrap_err();
        assert!(!refused.outcome_unknown(), "{refused}");
        let unknown = producer.send(&Record::new(b"2")).await.unwrap_err();
        assert!(unknown.outcome_unknown(), "{unknown}");
        producer.send(&Record::new(b"3")).await.unwrap();
        assert_eq!(producer.send(&Record::new(b"4")).await.unwrap().offset, 1);
        let limit = Duration::from_millis(50);
        assert!(tokio::time::timeout(limit, producer.send(&Record::new(b"5"))).await.is_err());
        assert_eq!(producer.send(&Record::new(b"6")).await.unwrap().offset, 3);
    };
    tokio::join!(calls, node);
}

#[tokio::test]
async fn a_node_that_stays_away_is_given_up() {
    let (producer, mut peer, listener) = connected(Duration::from_millis(100)).await;
    let node = async {
        batch(&mut peer).await;
        drop((peer, listener));
    };
    let record = Record::new(b"x");
    let (sent, ()) = tokio::join!(producer.send(&record), node);
    let error = sent.unwrap_err();
    assert!(matches!(error, ClientError::ConnectionLost { .. }), "{error}");
    assert!(error.outcome_unknown());
}
