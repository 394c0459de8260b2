//! Readers, who take a crash for no reason to forget: what they have seen is to be found again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use net::client::{Client, ClientError, ErrorCode, Message};

use super::promises::Given;
use super::{QUEUES, TOPICS, Witness, pause};
use crate::harness::verify::origin;

/// Reads a topic until the node is gone, from where it was read before. Only of a level that survives
/// the crash to come: of others what was seen may be lost.
pub(super) async fn run(client: Client, topic: usize, witness: Arc<Witness>) {
    let (name, of_topic) = TOPICS[topic];
    if !witness.survives(of_topic) {
        return;
    }
    // A node may be killed that early.
    let consumer = client.consumer(name).retry_for(Duration::ZERO).build().await;
    let Ok(mut consumer) = consumer else { return };
    for queue in 0..QUEUES {
        let next = witness.promises().seen_until(topic, queue);
        consumer.seek(queue, next).expect("a queue it reads");
    }
    let mut last = BTreeMap::new();
    loop {
        let before: Vec<_> = (0..QUEUES).map(|queue| consumer.position(queue)).collect();
        match consumer.poll().await {
            Ok(messages) => {
                let queue = messages.first().expect("at least one").queue;
                let next = before[usize::from(queue)].expect("it is read");
                see(topic, next, &messages, &mut last, &witness);
            }
            Err(error) => match error.source {
                ClientError::Server { code: ErrorCode::OffsetOutOfRange, range, .. } => {
                    let (queue, at) = (error.queue, error.offset);
                    // It has expired before it was read; what was read cannot be beyond the end.
                    assert!(at < range.start, "{name}/{queue} was seen up to {at}: {range:?}");
                    consumer.seek(queue, range.start).expect("a queue it reads");
                }
                ClientError::Server { code: ErrorCode::Busy, .. } => pause().await,
                ClientError::ConnectionLost { .. } | ClientError::Connect { .. } => return,
                other => panic!("{name} cannot be read: {other}"),
            },
        }
    }
}

/// Messages of one queue, from the wanted offset on without a gap, in the order of their numbers,
/// and as they were sent.
fn see(
    topic: usize,
    wanted: u64,
    messages: &[Message],
    last: &mut BTreeMap<(u16, u64), u64>,
    witness: &Witness,
) {
    let name = TOPICS[topic].0;
    let mut seen = Vec::new();
    for (expected, message) in (wanted..).zip(messages) {
        let (queue, at) = (message.queue, message.offset);
        assert_eq!(at, expected, "{name}/{queue}: offsets without gaps");
        let bytes = message.value.as_deref().expect("a value");
        let (producer, sequence) = origin(bytes);
        let sent = witness.value(producer as usize, sequence);
        assert!(bytes == sent, "{name}/{queue} at {at}: not what {producer} sent");
        if let Some(before) = last.insert((queue, producer), sequence) {
            assert!(
                before < sequence,
                "{name}/{queue} at {at}: {producer}/{sequence} after {before}"
            );
        }
        seen.push(((queue, at), producer as usize, sequence));
    }
    let now = witness.now();
    let mut promises = witness.promises();
    for (place, producer, sequence) in seen {
        promises.seen(topic, place, Given { at: now, producer, sequence });
    }
}
