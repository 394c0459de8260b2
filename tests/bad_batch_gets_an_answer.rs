//! Batches with something wrong in them: an answer that says what, nothing written, and the
//! connection goes on.

use engine::batch::{HEADER_BYTES, NewRecord, append_single};
use net::client::Record;
use net::wire::limits::BATCH_BYTES_MAX;
use net::wire::{AckLevel, ErrorCode, Produce, Request, encode_produce_header};

use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::raw::{Raw, frame};
use crate::harness::verify::{Acked, check, read_all, value};

// Offsets in a batch, as `net/PROTOCOL.md` has them.
const LENGTH: usize = 8;
const MAGIC: usize = 16;
const CRC: usize = 17;
const CRC_COVERS: usize = 21;
const LAST_DELTA: usize = 23;
const COUNT: usize = 57;

#[tokio::test]
async fn and_nothing_of_it_is_written() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    let client = node.client().await;
    let topic = create_topic(&client, "good", 1).await;
    let producer = client.producer("good").build().await.expect("the topic is there");
    let mut acked = Acked::default();
    let mut raw = Raw::greeted(&node.address);
    for (sequence, (what, batch, code)) in (0..).zip(bad_batches()) {
        raw.send(&produce(topic, &batch));
        assert_eq!(raw.refused().code, code, "{what}");
        raw.expect_open();
        // Others keep working: their offsets show that nothing was written in between.
        let value = value(0, sequence, 50);
        let sent = producer.send(&Record::new(&value)).await.expect("an ack");
        assert_eq!(sent.offset, sequence, "after a batch with {what}");
        acked.add(sent.queue, sent.offset, &value);
    }
    check(&read_all(&client, "good").await, &acked);
    node.stop();
}

#[tokio::test]
async fn deep_validation_looks_inside() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    let client = node.client().await;
    let deep = net::client::NewTopic {
        name: "deep",
        queues: 1,
        ack: None,
        deep_validation: true,
        key_index: false,
        retention: Default::default(),
    };
    let topic = client.create_topic(&deep).await.expect("a topic");
    let mut raw = Raw::greeted(&node.address);
    // The record says it is longer than it is; the checksum is right.
    let mut batch = good_batch();
    batch[HEADER_BYTES] = 0x7e;
    seal(&mut batch);
    raw.send(&produce(topic, &batch));
    assert_eq!(raw.refused().code, ErrorCode::CorruptBatch);
    raw.expect_open();
    assert_eq!(client.describe_topic("deep").await.expect("the topic").queues[0].end, 0);
    node.stop();
}

fn bad_batches() -> Vec<(&'static str, Vec<u8>, ErrorCode)> {
    let mut all = Vec::new();
    let mut corrupt = |what, change: &dyn Fn(&mut Vec<u8>), sealed: bool| {
        let mut batch = good_batch();
        change(&mut batch);
        if sealed {
            seal(&mut batch);
        }
        all.push((what, batch, ErrorCode::CorruptBatch));
    };
    let put = |at: usize, number: i32| {
        move |batch: &mut Vec<u8>| batch[at..at + 4].copy_from_slice(&number.to_be_bytes())
    };
    corrupt("a wrong checksum", &|batch| batch[CRC] ^= 1, false);
    corrupt("a changed byte", &|batch| *batch.last_mut().expect("bytes") ^= 1, false);
    corrupt("a length that is too long", &|batch| batch[LENGTH + 3] += 1, false);
    corrupt("a length that is too short", &|batch| batch[LENGTH + 3] -= 1, false);
    corrupt("a negative length", &put(LENGTH, -1), false);
    corrupt("an old magic", &|batch| batch[MAGIC] = 1, true);
    corrupt("a future magic", &|batch| batch[MAGIC] = 3, true);
    corrupt("more records than it says", &put(COUNT, 2), true);
    corrupt("a wrong last offset", &put(LAST_DELTA, 7), true);
    corrupt("a negative record count", &put(COUNT, -1), true);
    corrupt("half a header", &|batch| batch.truncate(30), false);
    corrupt("nothing at all", &Vec::clear, false);
    let none = |batch: &mut Vec<u8>| {
        batch.truncate(HEADER_BYTES);
        put(LENGTH, (HEADER_BYTES - 12) as i32)(batch);
        put(COUNT, 0)(batch);
        put(LAST_DELTA, -1)(batch);
    };
    corrupt("zero records", &none, true);
    // Fits a frame, is above the limit.
    let mut large = good_batch();
    large.resize(BATCH_BYTES_MAX as usize + 1, 0);
    put(LENGTH, (BATCH_BYTES_MAX as usize + 1 - 12) as i32)(&mut large);
    seal(&mut large);
    all.push(("a byte too many", large, ErrorCode::BatchTooLarge));
    all
}

fn good_batch() -> Vec<u8> {
    let mut batch = Vec::new();
    let record = NewRecord { timestamp_ms: 1, key: None, value: Some(b"9/9/bad"), headers: &[] };
    append_single(&mut batch, &record, BATCH_BYTES_MAX).expect("a batch");
    batch
}

/// Makes the checksum right again.
fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[CRC_COVERS..]);
    batch[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
}

/// A produce frame, also for a batch that the encoder would refuse.
fn produce(topic: u32, batch: &[u8]) -> Vec<u8> {
    let ack = Some(AckLevel::Durable);
    if batch.len() <= BATCH_BYTES_MAX as usize {
        return frame(3, &Request::Produce(Produce { topic, queue: 0, ack, batch }));
    }
    let mut out = Vec::new();
    let header = net::wire::RequestHeader { correlation: 3, ..Default::default() };
    encode_produce_header(&mut out, &header, topic, 0, ack, 0).expect("a header");
    out.extend_from_slice(batch);
    let length = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}
