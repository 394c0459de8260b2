//! Records sent come back: in order, from where the consumer begins, unharmed or not at all.

use std::collections::HashSet;

use engine::batch::RecordHeader;

use super::small_node::SmallNode;
use crate::client::{
    Client, ClientConfig, ClientError, Consumer, ErrorCode, Message, Partitioner, Record, StartAt,
};
use crate::wire::ENTRY_HEADER_BYTES;

async fn connected(queues: usize) -> (SmallNode, Client) {
    let node = SmallNode::start(queues).await;
    let client = Client::connect(node.address).await.unwrap();
    (node, client)
}

async fn read(consumer: &mut Consumer, count: usize) -> Vec<Message> {
    let mut messages = vec![];
    while messages.len() < count {
        messages.extend(consumer.poll().await.unwrap());
    }
    assert_eq!(messages.len(), count);
    messages
}

fn numbers(messages: &[Message]) -> Vec<u32> {
    let number = |value: &[u8]| u32::from_be_bytes(value.try_into().unwrap());
    messages.iter().map(|message| number(message.value.as_deref().unwrap())).collect()
}

#[tokio::test]
async fn a_record_comes_back_whole_and_shares_the_replys_memory() {
    let (_node, client) = connected(1).await;
    let producer = client.producer("t").timings(true).build().await.unwrap();
    let headers = [
        RecordHeader { key: b"TAGS", value: Some(b"red") },
        RecordHeader { key: b"nil", value: None },
    ];
    let record =
        Record { key: Some(b"k"), value: Some(b"v"), headers: &headers, timestamp_ms: Some(42) };
    let sent = producer.send(&record).await.unwrap();
    assert_eq!((sent.queue, sent.offset), (0, 0));
    assert_eq!(sent.timings.unwrap().device_ns, 77);
    producer.send(&Record::default()).await.unwrap();

    let mut consumer = client.consumer("t").build().await.unwrap();
    let messages = read(&mut consumer, 2).await;
    let first = &messages[0];
    assert_eq!((first.offset, first.timestamp_ms, first.store_timestamp_ms), (0, 42, 1000));
    assert_eq!((first.key.as_deref(), first.value.as_deref()), (Some(&b"k"[..]), Some(&b"v"[..])));
    assert_eq!(first.headers.len(), 2);
    assert_eq!(&first.headers[0].key[..], b"TAGS");
    assert_eq!(
        (first.headers[0].value.as_deref(), &first.headers[1].value),
        (Some(&b"red"[..]), &None)
    );
    assert_eq!((messages[1].key.clone(), messages[1].value.clone()), (None, None));
    // In the batch only the value's length stands between them: neither was copied away.
    let (key, value) = (first.key.as_ref().unwrap(), first.value.as_ref().unwrap());
    assert_eq!(value.as_ptr() as usize - key.as_ptr() as usize, 2);
}

#[tokio::test]
async fn pipelined_records_keep_their_order_in_every_queue() {
    let (_node, client) = connected(3).await;
    let producer = client.producer("t").partitioner(Partitioner::RoundRobin).build().await.unwrap();
    let mut acks = vec![];
    for number in 0..300u32 {
        acks.push(producer.send_async(&Record::new(&number.to_be_bytes())).await.unwrap());
    }
    for (number, ack) in acks.into_iter().enumerate() {
        let sent = ack.await.unwrap();
        assert_eq!((u64::from(sent.queue), sent.offset), (number as u64 % 3, number as u64 / 3));
    }
    let mut consumer = client.consumer("t").bytes_max(500).build().await.unwrap();
    let messages = read(&mut consumer, 300).await;
    for queue in 0..3 {
        let of_queue: Vec<_> = messages.iter().filter(|m| m.queue == queue).cloned().collect();
        let expected: Vec<_> = (0..100).map(|at| at * 3 + u32::from(queue)).collect();
        assert_eq!(numbers(&of_queue), expected);
        assert!(of_queue.iter().map(|m| m.offset).eq(0..100));
    }
}

#[tokio::test]
async fn a_batch_is_split_by_queue_and_says_where_each_record_went() {
    let (node, client) = connected(4).await;
    let producer = client.producer("t").build().await.unwrap();
    let keys: Vec<_> = (0..50u32).map(|number| (number % 10).to_be_bytes()).collect();
    let values: Vec<_> = (0..50u32).map(u32::to_be_bytes).collect();
    let records: Vec<_> =
        keys.iter().zip(&values).map(|(key, value)| Record::new(value).with_key(key)).collect();
    let sent = producer.send_batch(&records).await.unwrap();
    assert_eq!(sent.len(), 50);
    assert!(producer.send_batch(&[]).await.unwrap().is_empty());
    assert!(node.state.lock().unwrap().queues.iter().all(|queue| queue.entries.len() <= 1));

    let mut consumer = client.consumer("t").build().await.unwrap();
    let messages = read(&mut consumer, 50).await;
    for (message, number) in messages.iter().zip(numbers(&messages)) {
        let place = sent[number as usize];
        assert_eq!((place.queue, place.offset), (message.queue, message.offset));
        assert_eq!(message.key.as_deref(), Some(&(number % 10).to_be_bytes()[..]));
    }
    let queues: HashSet<_> = sent.iter().map(|sent| sent.queue).collect();
    assert!(queues.len() > 1, "ten keys, all in one queue");
}

#[tokio::test]
async fn records_too_large_for_one_batch_travel_in_several() {
    let (node, client) = connected(1).await;
    let producer = client.producer("t").batch_bytes(1 << 20).build().await.unwrap();
    let value = vec![9; 400_000];
    let sent = producer.send_batch(&[Record::new(&value); 5]).await.unwrap();
    assert!(sent.iter().map(|sent| sent.offset).eq(0..5));
    assert_eq!(node.state.lock().unwrap().queues[0].entries.len(), 3);
    let giant = vec![0; 2 << 20];
    let refused = producer.send(&Record::new(&giant)).await.unwrap_err();
    assert!(matches!(refused, ClientError::Records(_)));
    assert!(!refused.outcome_unknown());
}

#[tokio::test]
async fn one_way_records_arrive_unanswered() {
    let node = SmallNode::start(1).await;
    let config = ClientConfig { requests_in_flight_max: 2, ..ClientConfig::default() };
    let client = Client::connect_with(node.address, config).await.unwrap();
    let producer = client.producer("t").build().await.unwrap();
    // More than may be in flight: each gives its room back when it was written.
    for number in 0..10u32 {
        producer.send_one_way(&Record::new(&number.to_be_bytes())).await.unwrap();
    }
    client.flush().await.unwrap();
    node.holds(10).await;
    assert_eq!(node.state.lock().unwrap().frames_one_way, 10);
    let mut consumer = client.consumer("t").build().await.unwrap();
    assert_eq!(numbers(&read(&mut consumer, 10).await), (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_consumer_begins_where_it_is_told_even_inside_a_batch() {
    let (_node, client) = connected(1).await;
    let producer = client.producer("t").build().await.unwrap();
    let values: Vec<_> = (0..10u32).map(u32::to_be_bytes).collect();
    let records: Vec<_> = values.iter().map(|value| Record::new(value)).collect();
    producer.send_batch(&records).await.unwrap();
    for start in [StartAt::Offset(7), StartAt::Timestamp(7)] {
        let mut consumer = client.consumer("t").start(start).build().await.unwrap();
        assert_eq!(numbers(&read(&mut consumer, 3).await), [7, 8, 9]);
        assert_eq!(consumer.position(0), Some(10));
        consumer.seek(0, 9).unwrap();
        assert_eq!(numbers(&read(&mut consumer, 1).await), [9]);
        assert!(consumer.seek(1, 0).is_err());
    }
    let mut consumer = client.consumer("t").start(StartAt::Latest).build().await.unwrap();
    let late = async { producer.send(&Record::new(&77u32.to_be_bytes())).await.unwrap() };
    let (messages, _) = tokio::join!(read(&mut consumer, 1), late);
    assert_eq!(numbers(&messages), [77]);
}

#[tokio::test]
async fn a_dropped_poll_loses_nothing() {
    let (_node, client) = connected(2).await;
    let producer = client.producer("t").build().await.unwrap();
    let mut consumer = client.consumer("t").build().await.unwrap();
    tokio::select! {
        biased;
        _ = consumer.poll() => panic!("nothing was sent yet"),
        () = tokio::task::yield_now() => {}
    }
    for number in 0..4u32 {
        producer.send(&Record::new(&number.to_be_bytes())).await.unwrap();
    }
    let mut read: Vec<_> = numbers(&read(&mut consumer, 4).await);
    read.sort_unstable();
    assert_eq!(read, [0, 1, 2, 3]);
}

#[tokio::test]
async fn an_offset_out_of_range_says_what_is_valid() {
    let (_node, client) = connected(1).await;
    let mut consumer = client.consumer("t").start(StartAt::Offset(1000)).build().await.unwrap();
    let error = consumer.poll().await.unwrap_err();
    assert_eq!((error.queue, error.offset), (0, 1000));
    let ClientError::Server { code, range, .. } = error.source else { panic!() };
    assert_eq!((code, range), (ErrorCode::OffsetOutOfRange, 0..0));
    let missing = client.consumer("t").queues([3]).build().await.unwrap_err();
    assert!(matches!(missing, ClientError::NoSuchQueue { queue: 3 }));
}

#[tokio::test]
async fn damage_is_reported_behind_what_is_sound() {
    // In the entry's header, in the batch's stamps, in its records.
    for damaged_at in [20, ENTRY_HEADER_BYTES + 3, ENTRY_HEADER_BYTES + 64] {
        let (node, client) = connected(1).await;
        let producer = client.producer("t").build().await.unwrap();
        for number in 0..3u32 {
            producer.send(&Record::new(&number.to_be_bytes())).await.unwrap();
        }
        node.state.lock().unwrap().queues[0].entries[1].1[damaged_at] ^= 4;
        let mut consumer = client.consumer("t").build().await.unwrap();
        assert_eq!(numbers(&consumer.poll().await.unwrap()), [0]);
        for _ in 0..2 {
            let error = consumer.poll().await.unwrap_err();
            assert_eq!((error.queue, error.offset), (0, 1));
            let damaged = matches!(error.source, ClientError::Entry(_) | ClientError::Batch { .. });
            assert!(damaged, "{error}");
        }
        consumer.seek(0, 2).unwrap();
        assert_eq!(numbers(&read(&mut consumer, 1).await), [2]);
    }
}

#[tokio::test]
async fn the_next_fetch_is_sent_before_the_messages_are_handed_out() {
    let (node, client) = connected(1).await;
    let producer = client.producer("t").build().await.unwrap();
    producer.send(&Record::new(b"x")).await.unwrap();
    let mut consumer = client.consumer("t").build().await.unwrap();
    consumer.poll().await.unwrap();
    client.flush().await.unwrap();
    // The answer to this comes behind the fetch on the same connection.
    producer.send(&Record::new(b"y")).await.unwrap();
    assert!(node.state.lock().unwrap().fetches >= 2);
}
