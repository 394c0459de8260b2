//! An idempotent producer's batch, sent again: one copy, one offset, and no answer too early.

use super::sequences::SequenceError;
use super::tests::{QUEUE, acks, options, settle, shard, turn};
use super::*;
use crate::batch::{BatchBuilder, NewRecord};
use crate::io::sim::{Config, CrashPolicy, SimEnv};
use produce::Produce;

fn send(
    shard: &mut Shard<SimEnv>,
    token: u64,
    ack: AckLevel,
    (epoch, sequence): (i16, i32),
    effects: &mut Vec<Effect>,
) {
    let mut builder = BatchBuilder::new(1 << 20);
    builder.set_producer(77, epoch, sequence);
    builder.append(&NewRecord { value: Some(b"v"), ..NewRecord::default() }).unwrap();
    let (batch, gathered) = (builder.finish().unwrap(), shard.env.now());
    let token = Token(token);
    shard.produce(&Produce { token, queue: QUEUE, ack, batch, gathered }, effects);
}

fn end(shard: &Shard<SimEnv>) -> u64 {
    shard.queue_range(QUEUE).unwrap().end_offset
}

#[test]
fn a_repetition_waits_for_the_original() {
    let mut shard = shard(1, 1 << 20, AckLevel::Durable);
    let mut effects = Vec::new();
    send(&mut shard, 1, AckLevel::Durable, (0, 0), &mut effects);
    turn(&mut shard, &mut effects);
    send(&mut shard, 2, AckLevel::Durable, (0, 0), &mut effects);
    turn(&mut shard, &mut effects);
    assert!(effects.is_empty(), "the original is still on its way");
    settle(&mut shard, &mut effects);
    assert_eq!(acks(&effects), [(1, 0), (2, 0)]);
    send(&mut shard, 3, AckLevel::Durable, (0, 0), &mut effects);
    turn(&mut shard, &mut effects);
    assert_eq!(acks(&effects), [(1, 0), (2, 0), (3, 0)], "it is there: answered at once");
    assert_eq!((end(&shard), shard.counters().repeated_batches), (1, 2));
}

#[test]
fn a_repetition_may_ask_for_more() {
    for first in [AckLevel::None, AckLevel::Memory, AckLevel::Written] {
        for turns in 0..3 {
            let mut shard = shard(2, 1 << 20, AckLevel::Memory);
            let mut effects = Vec::new();
            send(&mut shard, 1, first, (0, 0), &mut effects);
            for _ in 0..turns {
                turn(&mut shard, &mut effects);
                shard.env.advance(10_000_000);
            }
            effects.clear();
            send(&mut shard, 2, AckLevel::Durable, (0, 0), &mut effects);
            settle(&mut shard, &mut effects);
            assert_eq!(acks(&effects).last(), Some(&(2, 0)), "{first:?} {turns}");
            let image = shard.env.disk().crash(CrashPolicy::LoseAll);
            let env = SimEnv::from_image(&image, Config::default(), 4);
            let mut found = 0;
            Shard::open(env, &options(1 << 20), |_| found += 1).unwrap();
            assert_eq!(found, 1, "{first:?} {turns}");
        }
    }
}

#[test]
fn nobody_overtakes_in_the_queue_of_waiters() {
    let mut shard = shard(3, 1 << 20, AckLevel::Durable);
    let mut effects = Vec::new();
    send(&mut shard, 1, AckLevel::Written, (0, 0), &mut effects);
    turn(&mut shard, &mut effects);
    send(&mut shard, 2, AckLevel::Written, (0, 1), &mut effects);
    send(&mut shard, 3, AckLevel::Written, (0, 0), &mut effects);
    send(&mut shard, 4, AckLevel::Written, (0, 2), &mut effects);
    settle(&mut shard, &mut effects);
    assert_eq!(acks(&effects), [(1, 0), (2, 1), (3, 0), (4, 2)]);
}

#[test]
fn what_is_out_of_order_is_refused_also_after_a_restart() {
    let mut shard = shard(4, 1 << 20, AckLevel::Durable);
    let mut effects = Vec::new();
    for sequence in 0..3 {
        send(&mut shard, 1, AckLevel::Durable, (1, sequence), &mut effects);
    }
    settle(&mut shard, &mut effects);
    let image = shard.env.disk().crash(CrashPolicy::LoseAll);
    let env = SimEnv::from_image(&image, Config::default(), 4);
    let mut shard = Shard::open(env, &options(1 << 20), |_| {}).unwrap();
    shard.add_queue(QUEUE, AckLevel::Durable, false);
    effects.clear();
    send(&mut shard, 2, AckLevel::Durable, (1, 2), &mut effects);
    send(&mut shard, 3, AckLevel::Durable, (1, 4), &mut effects);
    send(&mut shard, 4, AckLevel::Durable, (0, 3), &mut effects);
    send(&mut shard, 5, AckLevel::Durable, (1, 3), &mut effects);
    settle(&mut shard, &mut effects);
    let mut refused = Vec::new();
    for effect in &effects {
        if let Effect::Produced { token, result: Err(ProduceError::Sequence(error)), .. } = effect {
            refused.push((token.0, *error));
        }
    }
    let gap = SequenceError::OutOfOrder { expected: 3, got: 4 };
    let fenced = SequenceError::Fenced { current: 1, got: 0 };
    assert_eq!(refused, [(3, gap), (4, fenced)]);
    assert_eq!((acks(&effects), end(&shard)), (vec![(2, 2), (5, 3)], 4));
}
