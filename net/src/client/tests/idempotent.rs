//! An idempotent producer sends the very same batch again, or begins another epoch; never anything
//! in between.

use std::sync::Arc;
use std::time::Duration;

use engine::batch::BatchRef;
use tokio::net::TcpListener;

use super::peer::{Frame, Peer};
use crate::client::{
    AckLevel, Client, ClientError, ErrorCode, Producer, ProducerBuilder, ProducerStats, Record,
};
use crate::wire::limits::BATCH_BYTES_MAX;
use crate::wire::{ErrorReply, Operation, ProducerId, Reply, Request, TopicMetadata};

const ID: i64 = 1 << 32;

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
async fn connected(
    options: impl FnOnce(ProducerBuilder) -> ProducerBuilder,
) -> (Producer, Peer, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let producer = async {
        let client = Client::connect(address).await.unwrap();
        options(client.producer("t")).build().await.unwrap()
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
    let (producer, mut peer, listener) = connected(|builder| builder).await;
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
        peer
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
    let (producer, mut peer, _listener) = connected(|builder| builder).await;
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
        // A caller that does not wait changes nothing: the next one has the next number.
        let (first, next) = batch(&mut peer).await;
        assert_eq!(numbers(&next), (ID, 2, 1, b"5".to_vec()));
        let (second, next) = batch(&mut peer).await;
        assert_eq!(numbers(&next), (ID, 2, 2, b"6".to_vec()));
        peer.reply(first.correlation(), &Reply::Produce(2)).await;
        peer.reply(second.correlation(), &Reply::Produce(3)).await;
        peer
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

/// Sends these values, a batch each, one after the other.
async fn send_each(producer: &Producer, values: &[&[u8]]) -> Vec<crate::client::Ack> {
    let mut acks = vec![];
    for value in values {
        acks.push(producer.send_async(&Record::new(value)).await.unwrap());
    }
    acks
}

#[tokio::test]
async fn those_behind_a_refused_batch_move_up() {
    let (producer, mut peer, _listener) = connected(|builder| builder.batch_bytes(1)).await;
    let node = async {
        let mut frames = vec![];
        for sequence in 0..3 {
            let (frame, batch) = batch(&mut peer).await;
            assert_eq!(numbers(&batch).2, sequence);
            frames.push(frame);
        }
        refuse(&mut peer, &frames[0], ErrorCode::CorruptBatch).await;
        for frame in &frames[1..] {
            refuse(&mut peer, frame, ErrorCode::OutOfOrderSequence).await;
        }
        for (sequence, value) in [(0, b"b"), (1, b"c")] {
            let (frame, batch) = batch(&mut peer).await;
            assert_eq!(numbers(&batch), (ID, 0, sequence, value.to_vec()));
            peer.reply(frame.correlation(), &Reply::Produce(sequence as u64)).await;
        }
        peer
    };
    let calls = async {
        let mut acks = send_each(&producer, &[b"a", b"b", b"c"]).await.into_iter();
        assert!(!acks.next().unwrap().await.unwrap_err().outcome_unknown());
        assert_eq!(acks.next().unwrap().await.unwrap().offset, 0);
        assert_eq!(acks.next().unwrap().await.unwrap().offset, 1);
        assert!(producer.flush().await.is_err(), "the first one's");
        assert!(producer.flush().await.is_ok());
    };
    tokio::join!(calls, node);
}

#[tokio::test]
async fn behind_a_batch_in_doubt_only_what_was_surely_refused_goes_again() {
    let (producer, mut peer, _listener) = connected(|builder| builder.batch_bytes(1)).await;
    let node = async {
        let mut frames = vec![];
        for _ in 0..4 {
            frames.push(batch(&mut peer).await.0);
        }
        refuse(&mut peer, &frames[0], ErrorCode::FlushDiskTimeout).await;
        peer.reply(frames[1].correlation(), &Reply::Produce(1)).await;
        refuse(&mut peer, &frames[2], ErrorCode::Busy).await;
        refuse(&mut peer, &frames[3], ErrorCode::OutOfOrderSequence).await;
        for (sequence, value) in [(0, b"c"), (1, b"d")] {
            let (frame, batch) = batch(&mut peer).await;
            assert_eq!(numbers(&batch), (ID, 1, sequence, value.to_vec()));
            peer.reply(frame.correlation(), &Reply::Produce(2 + sequence as u64)).await;
        }
        peer
    };
    let calls = async {
        let acks = send_each(&producer, &[b"a", b"b", b"c", b"d"]).await;
        let mut outcomes = vec![];
        for ack in acks {
            outcomes.push(ack.await.map(|sent| sent.offset).map_err(|e| e.outcome_unknown()));
        }
        assert_eq!(outcomes, [Err(true), Ok(1), Ok(2), Ok(3)]);
    };
    tokio::join!(calls, node);
}

#[tokio::test]
async fn a_node_that_stays_away_is_given_up() {
    let stats = Arc::new(ProducerStats::new());
    let timeout = Duration::from_millis(200);
    let options = |builder: ProducerBuilder| {
        builder.delivery_timeout(timeout).observer(Arc::clone(&stats) as _)
    };
    let (producer, mut peer, listener) = connected(options).await;
    let node = async {
        batch(&mut peer).await;
        drop((peer, listener));
    };
    let record = Record::new(b"x");
    let (sent, ()) = tokio::join!(producer.send(&record), node);
    let error = sent.unwrap_err();
    let ClientError::NotDelivered { timeout_ms: 200, unknown: true, last: Some(last) } = &error
    else {
        panic!("{error}")
    };
    let gone = matches!(**last, ClientError::Connect { .. } | ClientError::ConnectionLost { .. });
    assert!(gone, "{last}");
    assert!(error.outcome_unknown());
    // What was never sent is surely not stored.
    let error = producer.send(&record).await.unwrap_err();
    assert!(!error.outcome_unknown(), "{error}");
    assert!(error.to_string().starts_with("not acknowledged within 200 ms, and not stored"));
    let counts = stats.counts();
    assert_eq!((counts.records, counts.failed_records), (0, 2));
    assert!(counts.retries > 1);
}
