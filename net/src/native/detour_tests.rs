//! Two reactors, and a guest of one who produces for a shard of the other.

use engine::batch::{NewRecord, append_single};
use engine::io::sim::{Config, SimEnv};

use super::post::ASKED_COST_MAX;
use super::stage_tests::{Door, options};
use super::*;
use crate::server::Waker;
use crate::wire::decode_reply;

const VALUE_BYTES: usize = 500_000;

/// Doors of reactors 0 and 1, which have a shard each.
fn two() -> [Door; 2] {
    let wakers = [Waker::of_nobody(), Waker::of_nobody()];
    let mut posts = Post::among(&wakers).into_iter();
    let mut catalog = None;
    [0, 1].map(|shard| {
        let env = SimEnv::new(Config::default(), u64::from(shard) + 1);
        let mut broker = Broker::open_some([(shard, env)], 2, &options()).unwrap();
        broker.adopt(catalog.clone());
        catalog = Some(broker.catalog().clone());
        Door::before(broker, posts.next().unwrap())
    })
}

/// Turns of both, and time passes, until the first has replies.
fn answers([near, far]: &mut [Door; 2]) -> Vec<Vec<u8>> {
    for _ in 0..1_000 {
        for door in [&mut *far, &mut *near] {
            door.env().advance_to_next();
        }
        far.turn(&[]);
        let replies = near.turn(&[]);
        if !replies.is_empty() {
            return replies;
        }
    }
    panic!("nothing will ever be answered");
}

/// A topic with a queue on each shard; its number, and the queue on shard 1.
fn create(doors: &mut [Door; 2]) -> (u32, u16) {
    let create = wire::TopicCreate {
        name: "t",
        queues: 2,
        ack: Some(AckLevel::Memory),
        deep_validation: false,
        key_index: false,
        retention: Default::default(),
    };
    doors[0].turn(&[Request::TopicCreate(create)]);
    let replies = answers(doors);
    let Reply::TopicCreate(topic) = decode_reply(&replies[0]).unwrap().1 else { panic!() };
    let catalog = doors[0].native.desk.broker.catalog();
    let queue = (0..2).find(|queue| catalog.queue(topic, *queue).unwrap().1.shard == 1);
    (topic, queue.unwrap())
}

/// Stored, or refused with this code and time to wait.
fn outcome(frame: &[u8]) -> Result<u64, (ErrorCode, u32)> {
    match decode_reply(frame).unwrap().1 {
        Reply::Produce(offset) => Ok(offset),
        Reply::Error { error, .. } => Err((error.code, error.retry_after_ms)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_produce_that_must_go_elsewhere_is_told_when_to_come_again() {
    let mut doors = two();
    let (topic, queue) = create(&mut doors);
    let mut batch = Vec::new();
    let value = vec![7; VALUE_BYTES];
    let record = NewRecord { value: Some(&value), ..NewRecord::default() };
    append_single(&mut batch, &record, 1 << 20).unwrap();
    let produce = || Request::Produce(wire::Produce { topic, queue, ack: None, batch: &batch });
    // The other reactor does not take a turn meanwhile: it is busy with something else.
    let fit = ASKED_COST_MAX as usize / (batch.len() + 1_000);
    let mut refused = Vec::new();
    for _ in 0..fit + 10 {
        refused.extend(doors[0].turn(&[produce()]));
    }
    assert!((9..=10).contains(&refused.len()), "{} of {}", refused.len(), fit + 10);
    for frame in &refused {
        let (code, retry_after_ms) = outcome(frame).unwrap_err();
        assert_eq!(code, ErrorCode::Busy);
        assert!(retry_after_ms > 0, "waiting helps, and the answer says so");
    }
    // The other one gets to what had gone, all at once: it stores what it has room for, in order, and
    // says the same of the rest, which comes back the long way.
    let (mut stored, mut overloaded) = (Vec::new(), 0);
    while stored.len() + overloaded < fit + 10 - refused.len() {
        for frame in answers(&mut doors) {
            match outcome(&frame) {
                Ok(offset) => stored.push(offset),
                Err((code, retry_after_ms)) => {
                    assert!(code == ErrorCode::Busy && retry_after_ms > 0, "{code:?}");
                    overloaded += 1;
                }
            }
        }
    }
    assert_eq!(stored, (0..stored.len() as u64).collect::<Vec<_>>());
    assert!(!stored.is_empty() && overloaded > 0, "{} {overloaded}", stored.len());
    // Who comes again finds room.
    let again = (0..100).find_map(|_| {
        assert!(doors[0].turn(&[produce()]).is_empty(), "it goes the long way");
        outcome(&answers(&mut doors)[0]).ok()
    });
    assert_eq!(again, Some(stored.len() as u64));
}
