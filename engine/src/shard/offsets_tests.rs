//! Offsets committed, in force when their level is reached, and there again after a restart.

use super::tests::{QUEUE, options, produce, settle, shard, turn};
use super::*;
use crate::io::Env;
use crate::io::sim::{Config, CrashPolicy, SimEnv};
use crate::limits::OFFSET_METADATA_BYTES_MAX;
use offsets::{CommitOffsets, NewOffset, OffsetError, is_group_name};

fn new(offset: Option<u64>) -> NewOffset<'static> {
    NewOffset { queue: QUEUE, offset, epoch: 1, metadata: "note" }
}

fn commit(shard: &mut Shard<SimEnv>, group: &str, offset: Option<u64>, ack: AckLevel) -> LogPos {
    let (token, gathered) = (Token(500), shard.env.now());
    let offsets = [new(offset)];
    shard.check_offset(&offsets[0]).unwrap();
    let commit = CommitOffsets { token, group, offsets: &offsets, ack, gathered };
    shard.commit_offsets(&commit).unwrap()
}

fn offset_of(shard: &Shard<SimEnv>, group: &str) -> Option<u64> {
    shard.committed(group, QUEUE).map(|committed| committed.offset)
}

#[test]
fn a_commit_is_in_force_once_durable_and_survives() {
    let mut shard = shard(1, 1 << 20, AckLevel::Durable);
    let mut effects = Vec::new();
    for token in 0..3 {
        produce(&mut shard, token, AckLevel::Durable, b"m", &mut effects);
    }
    let first = commit(&mut shard, "g", Some(2), AckLevel::Durable);
    turn(&mut shard, &mut effects);
    assert_eq!(offset_of(&shard, "g"), None, "nothing is durable yet");
    settle(&mut shard, &mut effects);
    shard.settle_offsets(first, true);
    assert_eq!(offset_of(&shard, "g"), Some(2));
    let answered =
        |effect: &Effect| matches!(effect, Effect::Produced { token, .. } if token.0 == 500);
    assert_eq!(effects.iter().filter(|effect| answered(effect)).count(), 1);

    for (group, offset) in [("g", 3), ("h", 1), ("gone", 1)] {
        commit(&mut shard, group, Some(offset), AckLevel::Durable);
    }
    commit(&mut shard, "gone", None, AckLevel::Durable);
    settle(&mut shard, &mut effects);
    let image = shard.env.disk().crash(CrashPolicy::LoseAll);
    let env = SimEnv::from_image(&image, Config::default(), 4);
    let mut shard = Shard::open(env, &options(1 << 20), |_| {}).unwrap();
    assert_eq!(shard.queue_range(QUEUE), None, "no topic has it yet");
    shard.add_queue(QUEUE, AckLevel::Durable, false);
    shard.retain_known_queues();
    assert_eq!(shard.queue_range(QUEUE).unwrap().end_offset, 3, "commits are no records");
    let all: Vec<_> = shard.groups().collect();
    assert_eq!(all, [("g", 1), ("h", 1)]);
    let found = shard.committed("g", QUEUE).unwrap();
    assert_eq!((found.offset, found.epoch, &*found.metadata), (3, 1, "note"));
    assert!(found.commit_time_ms > 0);
    shard.drop_queue(QUEUE, &mut effects);
    assert_eq!(shard.groups().count(), 0);
}

#[test]
fn offsets_of_unknown_queues_are_not_kept() {
    let mut shard = shard(2, 1 << 20, AckLevel::Durable);
    let mut effects = Vec::new();
    commit(&mut shard, "g", Some(0), AckLevel::Durable);
    settle(&mut shard, &mut effects);
    let image = shard.env.disk().crash(CrashPolicy::LoseAll);
    let env = SimEnv::from_image(&image, Config::default(), 4);
    let mut shard = Shard::open(env, &options(1 << 20), |_| {}).unwrap();
    shard.retain_known_queues();
    assert_eq!((shard.groups().count(), shard.counters().offset_bytes), (0, 0));
}

#[test]
fn what_cannot_be_committed_is_told() {
    let mut shard = shard(3, 1 << 20, AckLevel::Durable);
    let beyond = OffsetError::BeyondEnd { start: 0, end: 0 };
    assert_eq!(shard.check_offset(&new(Some(1))), Err(beyond));
    let unknown = NewOffset { queue: 9, ..new(Some(0)) };
    assert_eq!(shard.check_offset(&unknown), Err(OffsetError::UnknownQueue));
    let long = "m".repeat(OFFSET_METADATA_BYTES_MAX + 1);
    let long = NewOffset { metadata: &long, ..new(Some(0)) };
    assert_eq!(shard.check_offset(&long), Err(OffsetError::MetadataTooLong));
    let fits = NewOffset { metadata: &long.metadata[1..], ..new(Some(0)) };
    assert_eq!(shard.check_offset(&fits), Ok(()));
    for (name, good) in [("a b:%/ü", true), ("", false), ("a\n", false)] {
        assert_eq!(is_group_name(name), good, "{name:?}");
    }
    assert!(is_group_name(&"x".repeat(249)) && !is_group_name(&"x".repeat(250)));
    let mut effects = Vec::new();
    shard.stop(&mut effects);
    let offsets = [new(Some(0))];
    let (token, ack, gathered) = (Token(1), AckLevel::Durable, shard.env.now());
    let commit = CommitOffsets { token, group: "g", offsets: &offsets, ack, gathered };
    let stopping = OffsetError::Store(ProduceError::Stopping);
    assert_eq!(shard.commit_offsets(&commit), Err(stopping));
}
