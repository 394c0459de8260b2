//! Is what was promised so, after a crash and a restart? Panics with what is not.

use std::collections::BTreeSet;

use net::client::{Client, ClientError, ErrorCode, PollError, StartAt};

use super::judge::{self, Found, Seen};
use super::once::new_id;
use super::promises::Promises;
use super::{GROUP, ONCE, QUEUES, TOPICS, Witness};
use crate::harness::node::Node;
use crate::harness::raw::Raw;

/// Checks a node that has just been started and has no other clients. Forgets what has expired,
/// which nothing may unless `expires`.
pub(crate) async fn check(node: &Node, witness: &Witness, expires: bool) -> Seen {
    let client = node.client().await;
    let mut held = witness.promises().clone();
    topics(&client, &held).await;
    let mut seen = Seen::default();
    for (topic, (name, _)) in TOPICS.iter().enumerate() {
        for queue in 0..QUEUES {
            let (id, found) = read(&client, name, queue).await;
            keys(&client, name, queue, &found).await;
            let value = |producer, sequence| witness.value(producer, sequence);
            let given = &mut held.messages[topic];
            seen += judge::messages(&found, queue, given, expires, value);
            seen.seen += judge::seen(&found, queue, &mut held.seen[topic]);
            let commits = held.commits.get(&(topic, queue)).map_or(&[][..], |commits| commits);
            let committed = client.committed_offsets(GROUP, &[(id, queue)]).await;
            let committed = &committed.expect("the queue is there")[0];
            let committed = committed.offset.map(|offset| (offset, &*committed.metadata));
            judge::committed(committed, commits, found.end);
        }
    }
    for (number, sender) in held.senders.iter().enumerate() {
        let (_, found) = read(&client, ONCE, number as u16).await;
        let acked = sender.acked.len() as u64;
        seen += judge::once(&found, acked, expires, |sequence| witness.once(number, sequence));
    }
    let mut raw = Raw::greeted(&node.address);
    let id = new_id(&mut raw).expect("the node answers");
    assert!(held.ids.iter().all(|(_, known)| *known != id), "producer id {id} was given out twice");
    *witness.promises() = held;
    seen
}

async fn topics(client: &Client, held: &Promises) {
    let there = client.list_topics().await.expect("a list");
    for (name, life) in &held.topics {
        let is_there = there.iter().any(|topic| topic.name == *name);
        match (life.deleting, life.deleted) {
            (None, _) => assert!(is_there, "topic {name} is missing"),
            (_, Some(_)) => assert!(!is_there, "topic {name} was deleted"),
            // Asked for, not answered.
            (Some(_), None) => {}
        }
    }
}

/// The newest messages with a key are found by it.
async fn keys(client: &Client, topic: &str, queue: u16, found: &Found) {
    let keys: BTreeSet<_> = found.messages.iter().filter_map(|m| m.key.as_ref()).collect();
    for key in keys {
        let with_key =
            found.messages.iter().rev().filter(|message| message.key.as_ref() == Some(key));
        let expected: Vec<u64> = with_key.map(|message| message.offset).take(20).collect();
        let by_key = client.find(topic, key, 20).await.expect("the topic has an index of keys");
        let by_key: Vec<_> = by_key.iter().map(|message| (message.queue, message.offset)).collect();
        let expected: Vec<_> = expected.into_iter().map(|offset| (queue, offset)).collect();
        assert_eq!(by_key, expected, "{topic}/{queue}: key {key:?}");
    }
}

/// The topic's id, and everything that is in one of its queues.
async fn read(client: &Client, topic: &str, queue: u16) -> (u32, Found) {
    'again: loop {
        let details = client.describe_topic(topic).await.expect("the topic is there");
        let described = &details.queues[usize::from(queue)];
        assert_eq!(described.visible, described.end, "nothing is on its way any more");
        let mut found = Found { start: described.start, end: described.end, messages: Vec::new() };
        let consumer = client.consumer(topic).queues([queue]).start(StartAt::Earliest);
        let mut consumer = consumer.build().await.expect("the topic is there");
        while consumer.position(queue).expect("it is read") < found.end {
            match consumer.poll().await {
                Ok(more) => found.messages.extend(more),
                // Its segment has just left the log: to be read from where that begins now.
                Err(error) if has_expired(&error) => continue 'again,
                Err(error) => panic!("{topic}/{queue} cannot be read: {error}"),
            }
        }
        if found.messages.first().is_none_or(|first| first.offset == found.start) {
            return (details.id, found);
        }
    }
}

fn has_expired(error: &PollError) -> bool {
    matches!(&error.source, ClientError::Server { code: ErrorCode::OffsetOutOfRange, .. })
}
