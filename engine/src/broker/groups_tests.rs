//! One request's offsets over two shards, some of which cannot be committed.

use super::groups::{CommitAnswer, TopicOffset};
use super::*;
use crate::io::Disk;
use crate::io::sim::{Clock, Config, SimEnv};
use crate::log::recover::OpenOptions;
use crate::log::writer::WriterOptions;
use crate::shard::offsets::OffsetError;

use crate::shard::retention::Retention;

fn broker() -> Broker<SimEnv> {
    let writer = WriterOptions::default();
    let options = OpenOptions {
        shard: 0,
        node: [1; 16],
        segment_bytes: 1 << 20,
        writer,
        retention: Retention::default(),
    };
    let clock = Clock::default();
    let envs = (0..2).map(|seed| {
        let mut env = SimEnv::new(Config::default(), seed);
        env.disk().set_clock(clock.clone());
        env
    });
    Broker::open(envs, &options).unwrap()
}

fn settle(broker: &mut Broker<SimEnv>, answers: &mut Answers) {
    loop {
        let now = broker.shards()[0].env().now();
        let end = broker.turn(TurnClock { gathered: now, received: now }, answers);
        let mut due = end.wake_at;
        for shard in broker.shards() {
            shard.env().disk().flush();
            due = due.into_iter().chain(shard.env().disk().next_due()).min();
        }
        let Some(due) = due else { return };
        broker.shards()[0].env().disk().clock().advance_to(due);
    }
}

#[test]
fn each_offset_gets_its_own_answer() {
    let (mut broker, mut answers) = (broker(), Answers::default());
    let (ack, retention) = (AckLevel::Durable, Retention::default());
    let topic = NewTopic { name: "t", queues: 3, ack, deep: false, keyed: false, retention };
    broker.create_topic(&topic, Token(1), Nanos(0), &mut answers);
    settle(&mut broker, &mut answers);
    let shards: Vec<u16> =
        broker.catalog().topic(1).unwrap().queues.iter().map(|queue| queue.shard).collect();
    assert!(shards.contains(&0) && shards.contains(&1), "{shards:?}");

    let new = |topic, queue, offset| TopicOffset { topic, queue, offset, epoch: 2, metadata: "m" };
    let offsets = [
        new(1, 0, Some(0)),
        new(9, 0, Some(0)),
        new(1, 1, Some(0)),
        new(1, 3, Some(0)),
        new(1, 2, Some(1)),
        new(1, 1, Some(0)),
    ];
    let asked = (Token(2), Nanos(0));
    broker.commit_offsets("g", &offsets, AckLevel::Durable, asked, &mut answers);
    assert!(answers.commits.is_empty() && broker.groups().is_empty(), "nothing is durable yet");
    settle(&mut broker, &mut answers);
    let CommitAnswer { token, results } = answers.commits.pop().unwrap();
    let beyond = OffsetError::BeyondEnd { start: 0, end: 0 };
    let expected = [
        Ok(()),
        Err(OffsetError::UnknownTopic),
        Ok(()),
        Err(OffsetError::UnknownQueue),
        Err(beyond),
        Ok(()),
    ];
    assert_eq!((token, &results[..], answers.commits.len()), (Token(2), &expected[..], 0));
    assert_eq!(broker.groups(), BTreeMap::from([("g", 2)]));
    let all: Vec<_> = broker.all_committed("g").iter().map(|at| (at.topic, at.queue)).collect();
    assert_eq!(all, [(1, 0), (1, 1)]);
    assert!(broker.committed("g", (1, 2)).unwrap().committed.is_none());
    assert_eq!(broker.committed("g", (1, 3)).unwrap_err(), catalog::Missing::Queue);

    // What cannot be committed at all is answered at once, and so is nothing.
    for (group, offsets) in [("", &offsets[..1]), ("g", &[])] {
        broker.commit_offsets(group, offsets, AckLevel::Durable, asked, &mut answers);
        let results = answers.commits.pop().unwrap().results;
        let invalid = vec![Err(OffsetError::InvalidGroup); offsets.len()];
        assert_eq!(results, invalid);
    }
    broker.delete_topic("t", Token(3), Nanos(0), &mut answers);
    settle(&mut broker, &mut answers);
    assert!(broker.groups().is_empty());
}
