//! An idempotent producer sends a batch again, before and after `kill -9`: it is there once, at
//! the offset that is told every time.

use std::time::Duration;

use engine::batch::{BatchBuilder, NewRecord};
use net::client::Record;
use net::wire::{
    AckLevel, ErrorCode, Produce, Reply, Request, RequestHeader, decode_reply, encode_request,
};

use crate::harness::node::{Node, create_topic, fresh_dir, own_address};
use crate::harness::raw::{Raw, frame};
use crate::harness::verify::{Acked, check, read_all, value};

struct Sender {
    topic: u32,
    id: i64,
}

impl Sender {
    fn batch(&self, epoch: i16, sequence: i32) -> Vec<u8> {
        let mut builder = BatchBuilder::new(1 << 20);
        builder.set_producer(self.id, epoch, sequence);
        let value = value(0, sequence as u64, 100);
        builder.append(&NewRecord { value: Some(&value), ..NewRecord::default() }).expect("fits");
        builder.finish().expect("a batch").to_vec()
    }

    fn frame(&self, epoch: i16, sequence: i32) -> Vec<u8> {
        let batch = self.batch(epoch, sequence);
        let (topic, ack) = (self.topic, Some(AckLevel::Durable));
        frame(9, &Request::Produce(Produce { topic, queue: 0, ack, batch: &batch }))
    }

    fn send(&self, raw: &mut Raw, epoch: i16, sequence: i32) -> Result<u64, ErrorCode> {
        raw.send(&self.frame(epoch, sequence));
        match decode_reply(&raw.frame()) {
            Ok((_, Reply::Produce(offset))) => Ok(offset),
            Ok((_, Reply::Error { error, .. })) => Err(error.code),
            other => panic!("{other:?}"),
        }
    }
}

fn new_producer(raw: &mut Raw) -> i64 {
    raw.send(&frame(1, &Request::InitProducerId));
    match decode_reply(&raw.frame()) {
        Ok((_, Reply::InitProducerId(producer))) if producer.epoch == 0 => producer.id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn batch_by_batch() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let node = Node::start(&data, &[]);
    let topic = create_topic(&node.client().await, "t", 1).await;
    let mut raw = Raw::greeted(&node.address);
    let sender = Sender { topic, id: new_producer(&mut raw) };
    let mut ids = vec![sender.id, new_producer(&mut raw)];
    for sequence in 0..3 {
        assert_eq!(sender.send(&mut raw, 0, sequence), Ok(sequence as u64));
        assert_eq!(sender.send(&mut raw, 0, sequence), Ok(sequence as u64), "again");
    }
    assert_eq!(sender.send(&mut raw, 0, 4), Err(ErrorCode::OutOfOrderSequence));
    node.kill();

    // The reply came, but suppose it had not: the node has been killed since.
    let node = Node::start(&data, &[]);
    let mut raw = Raw::greeted(&node.address);
    ids.extend([new_producer(&mut raw), new_producer(&mut raw)]);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4, "an id was given out twice");
    assert_eq!(sender.send(&mut raw, 0, 2), Ok(2));
    assert_eq!(sender.send(&mut raw, 0, 4), Err(ErrorCode::OutOfOrderSequence));
    // One whose reply is not waited for.
    raw.send(&sender.frame(0, 3));
    node.kill();

    let node = Node::start(&data, &[]);
    let mut raw = Raw::greeted(&node.address);
    assert_eq!(sender.send(&mut raw, 0, 3), Ok(3));
    assert_eq!(sender.send(&mut raw, 1, 4), Err(ErrorCode::OutOfOrderSequence));
    assert_eq!(sender.send(&mut raw, 1, 0), Ok(4), "a new epoch begins at 0");
    assert_eq!(sender.send(&mut raw, 0, 4), Err(ErrorCode::ProducerFenced));
    let messages = read_all(&node.client().await, "t").await;
    let expected: Vec<_> = [0, 1, 2, 3, 0].map(|sequence| value(0, sequence, 100)).into();
    let found: Vec<_> = messages.iter().map(|message| message.value.as_deref()).collect();
    assert_eq!(found, expected.iter().map(|value| Some(&value[..])).collect::<Vec<_>>());
    node.stop();
}

#[tokio::test]
async fn by_the_client_library_through_kills() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let listen = own_address();
    let options = ["--listen", &*listen];
    let mut node = Node::start(&data, &options);
    let client = node.client().await;
    create_topic(&client, "t", 1).await;
    let producer = client.producer("t").delivery_timeout(Duration::from_secs(30));
    let producer = producer.build().await.expect("a producer");
    let load = tokio::spawn(async move {
        let mut acked = Acked::default();
        let stop = tokio::time::Instant::now() + Duration::from_secs(3);
        let mut sequence = 0;
        while tokio::time::Instant::now() < stop {
            let value = value(0, sequence, 200);
            let sent = producer.send(&Record::new(&value)).await.expect("stored in the end");
            acked.add(sent.queue, sent.offset, &value);
            sequence += 1;
        }
        acked
    });
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        node.kill();
        // The kernel may not have given up its port yet: the next one waits for it.
        node = Node::start(&data, &options);
    }
    let acked = load.await.expect("every send was stored");
    let messages = read_all(&node.client().await, "t").await;
    check(&messages, &acked);
    assert_eq!(
        messages.len(),
        acked.0.len(),
        "nothing is there that was not acknowledged, or twice"
    );
    node.stop();
}

#[test]
fn a_batch_without_an_epoch_is_refused() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    let mut raw = Raw::greeted(&node.address);
    let create = net::wire::TopicCreate {
        name: "t",
        queues: 1,
        ack: None,
        deep_validation: false,
        key_index: false,
        retention: Default::default(),
    };
    let mut bytes = Vec::new();
    encode_request(&mut bytes, &RequestHeader::default(), &Request::TopicCreate(create))
        .expect("a request");
    raw.send(&bytes);
    let reply = raw.frame();
    let Ok((_, Reply::TopicCreate(topic))) = decode_reply(&reply) else { panic!("{reply:?}") };
    let sender = Sender { topic, id: 5 };
    assert_eq!(sender.send(&mut raw, -1, 0), Err(ErrorCode::InvalidArgument));
    raw.expect_open();
    node.stop();
}
