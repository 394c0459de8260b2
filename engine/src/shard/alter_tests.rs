//! Levels of topics that change: what consumers see, and when.

use super::retention::Retention;
use super::retention_tests::{SEGMENT_BYTES, open};
use super::tests::{QUEUE, produce, settle, turn};
use super::*;
use crate::io::sim::{Config, CrashPolicy, Latency, SimEnv, Span};

fn shard(config: Config) -> Shard<SimEnv> {
    open(SimEnv::new(config, 8), Retention::default())
}

fn restarted(shard: &mut Shard<SimEnv>) -> Shard<SimEnv> {
    let image = shard.env.disk().crash(CrashPolicy::LoseAll);
    open(SimEnv::from_image(&image, Config::default(), 9), Retention::default())
}

fn range(shard: &Shard<SimEnv>) -> QueueRange {
    shard.queue_range(QUEUE).unwrap()
}

fn visible(shard: &Shard<SimEnv>) -> u64 {
    range(shard).visible_offset
}

#[test]
fn another_level_counts_from_now_on() {
    let mut shard = shard(Config::default());
    let mut effects = Vec::new();
    produce(&mut shard, 0, AckLevel::Memory, b"v", &mut effects);
    turn(&mut shard, &mut effects);
    assert_eq!(visible(&shard), 0, "durable");
    shard.set_visibility(&[QUEUE], AckLevel::Memory);
    assert_eq!(visible(&shard), 1, "what is in memory is seen at once");
    produce(&mut shard, 1, AckLevel::Memory, b"v", &mut effects);
    assert_eq!(visible(&shard), 2);
    shard.set_visibility(&[QUEUE], AckLevel::Durable);
    produce(&mut shard, 2, AckLevel::Memory, b"v", &mut effects);
    assert_eq!(visible(&shard), 2, "what was seen stays, what comes has to wait");
    turn(&mut shard, &mut effects);
    shard.set_visibility(&[QUEUE], AckLevel::Written);
    produce(&mut shard, 3, AckLevel::Memory, b"v", &mut effects);
    assert!(visible(&shard) <= 2);
    settle(&mut shard, &mut effects);
    assert_eq!(visible(&shard), 4);
    let held = range(&shard);
    let again = restarted(&mut shard);
    assert_eq!(range(&again), held);
    assert!(SEGMENT_BYTES > held.bytes);
}

/// What is on its way when a weaker level shows it is not shown a second time when it lands: that
/// would show what came after the level was stronger again.
#[test]
fn what_a_weaker_level_has_shown_is_not_shown_again() {
    let durable = Span::micros(100, 100);
    let latency = Latency { durable, slow_one_in: 0, ..Config::default().latency };
    let mut shard = shard(Config { latency, ..Config::default() });
    let mut effects = Vec::new();
    produce(&mut shard, 0, AckLevel::Durable, b"v", &mut effects);
    turn(&mut shard, &mut effects);
    shard.set_visibility(&[QUEUE], AckLevel::Memory);
    shard.set_visibility(&[QUEUE], AckLevel::Durable);
    assert_eq!(visible(&shard), 1);
    shard.env.advance(50_000);
    produce(&mut shard, 1, AckLevel::Durable, b"v", &mut effects);
    turn(&mut shard, &mut effects);
    shard.env.advance(50_000);
    turn(&mut shard, &mut effects);
    assert_eq!((shard.log.durable(), visible(&shard)), (1, 1), "the second is on its way");
    settle(&mut shard, &mut effects);
    assert_eq!(visible(&shard), 2);
}
