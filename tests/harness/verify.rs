//! Is what was acknowledged there: once, in order, byte for byte?

use std::collections::BTreeMap;

use net::client::{Client, ClientError, ErrorCode, Message, StartAt};

/// What was acknowledged in a topic: by queue and offset, the value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acked(pub(crate) BTreeMap<(u16, u64), Vec<u8>>);

impl Acked {
    pub(crate) fn add(&mut self, queue: u16, offset: u64, value: &[u8]) {
        let before = self.0.insert((queue, offset), value.to_vec());
        assert_eq!(before, None, "offset {offset} of queue {queue} was given out twice");
    }

    pub(crate) fn extend(&mut self, other: Self) {
        for ((queue, offset), value) in other.0 {
            self.add(queue, offset, &value);
        }
    }
}

/// A value that tells where it comes from and is filled up to about `bytes`.
pub(crate) fn value(producer: usize, sequence: u64, bytes: usize) -> Vec<u8> {
    let mut value = format!("{producer}/{sequence}/").into_bytes();
    let filler = (b'a'..=b'z').cycle().skip(sequence as usize % 26);
    value.extend(filler.take(bytes));
    value
}

/// Who made a value, and its number.
pub(crate) fn origin(value: &[u8]) -> (u64, u64) {
    let text = std::str::from_utf8(value).expect("values are text");
    let mut parts = text.split('/').map(|part| part.parse().expect("a number"));
    (parts.next().expect("the producer"), parts.next().expect("the sequence"))
}

/// Reads everything that is visible, queue by queue.
pub(crate) async fn read_all(client: &Client, topic: &str) -> Vec<Message> {
    let details = client.describe_topic(topic).await.expect("the topic is there");
    let mut all = Vec::new();
    for queue in details.queues {
        assert_eq!(queue.visible, queue.end, "nothing is on its way any more");
        let consumer = client.consumer(topic).queues([queue.queue]).start(StartAt::Earliest);
        let mut consumer = consumer.build().await.expect("the topic is there");
        while consumer.position(queue.queue).expect("it is read") < queue.end {
            all.extend(consumer.poll().await.expect("the queue can be read"));
        }
    }
    all
}

/// Everything that the only queue of a topic holds, and where that begins, while its oldest records
/// may be on their way out.
pub(crate) async fn read_what_is_left(client: &Client, topic: &str) -> (u64, Vec<Message>) {
    'again: loop {
        let queue =
            client.describe_topic(topic).await.expect("the topic is there").queues.remove(0);
        let consumer = client.consumer(topic).queues([0]).start(StartAt::Offset(queue.start));
        let mut consumer = consumer.build().await.expect("the topic is there");
        let mut all = Vec::new();
        while consumer.position(0).expect("it is read") < queue.end {
            match consumer.poll().await {
                Ok(messages) => all.extend(messages),
                Err(error) => match error.source {
                    // Its segment has just left.
                    ClientError::Server { code: ErrorCode::OffsetOutOfRange, range, .. }
                        if range.start > queue.start =>
                    {
                        continue 'again;
                    }
                    other => panic!("{topic} cannot be read: {other}"),
                },
            }
        }
        return (queue.start, all);
    }
}

/// Checks the messages of a topic against what was acknowledged.
pub(crate) fn check(messages: &[Message], acked: &Acked) {
    check_from(0, messages, acked);
}

/// The same, of queues that begin at this offset.
pub(crate) fn check_from(start: u64, messages: &[Message], acked: &Acked) {
    let mut next = BTreeMap::new();
    let mut last: BTreeMap<(u16, u64), u64> = BTreeMap::new();
    let mut found = 0;
    for message in messages {
        let (queue, offset) = (message.queue, message.offset);
        let expected = next.entry(queue).or_insert(start);
        assert_eq!(offset, *expected, "offsets of queue {queue} without gaps");
        *expected += 1;
        let value = message.value.as_deref().expect("a value");
        let (producer, sequence) = origin(value);
        // Rising numbers of each producer: in order, and none twice.
        if let Some(before) = last.insert((queue, producer), sequence) {
            assert!(before < sequence, "{producer}/{sequence} after {before} in queue {queue}");
        }
        if let Some(acked) = acked.0.get(&(queue, offset)) {
            assert!(acked == value, "offset {offset} of queue {queue} has changed");
            found += 1;
        }
    }
    assert_eq!(found, acked.0.len(), "acknowledged messages are missing");
}

/// The check must be able to fail, in each of its ways.
#[test]
fn check_notices_every_fault() {
    let message = |offset, value: Vec<u8>| Message {
        queue: 0,
        offset,
        timestamp_ms: 0,
        store_timestamp_ms: 0,
        key: None,
        value: Some(value.into()),
        headers: Vec::new(),
    };
    let good: Vec<_> = (0..4).map(|n| message(n, value(0, n, 10))).collect();
    let mut acked = Acked::default();
    for n in 0..4 {
        acked.add(0, n, &value(0, n, 10));
    }
    let fails = |change: &dyn Fn(&mut Vec<Message>)| {
        let mut messages = good.clone();
        change(&mut messages);
        std::panic::catch_unwind(|| check(&messages, &acked)).is_err()
    };
    assert!(!fails(&|_| {}), "all is well");
    assert!(fails(&|messages| messages.truncate(3)), "the last one is lost");
    assert!(fails(&|messages| drop(messages.remove(1))), "a gap");
    assert!(fails(&|messages| messages[2].value = Some(value(0, 2, 9).into())), "other bytes");
    assert!(fails(&|messages| messages.push(message(4, value(0, 3, 10)))), "one twice");
    assert!(fails(&|messages| messages.push(message(4, value(0, 1, 10)))), "out of order");
}
