//! A device that fills up: what goes, what stays, who is refused.

use super::retention::Retention;
use super::retention_tests::{SEGMENT_BYTES, fill, open, rest};
use super::tests::{QUEUE, acks, fetch, produce, turn, values};
use super::*;
use crate::io::Disk;
use crate::io::sim::{Config, SimEnv};

const SECOND: u64 = 1_000_000_000;

/// A shard on a device for so many segments.
fn shard(segments: u64, used_percent_max: Option<u8>) -> Shard<SimEnv> {
    let capacity_bytes_max = segments * SEGMENT_BYTES;
    let config = Config { capacity_bytes_max, ..Config::default() };
    let mut shard = open(SimEnv::new(config, 1), Retention::default());
    shard.limit_disk(used_percent_max);
    shard
}

/// Produces for a while, at a pace that lets the shard look at its device.
fn produce_slowly(shard: &mut Shard<SimEnv>, count: u64, effects: &mut Vec<Effect>) {
    for _ in 0..count {
        fill(shard, 1, effects);
        shard.env.advance(SECOND / 4);
        rest(shard, effects);
    }
}

#[test]
fn above_the_mark_the_oldest_segments_go() {
    let mut shard = shard(10, Some(60));
    let mut effects = Vec::new();
    produce_slowly(&mut shard, 200, &mut effects);
    assert_eq!(acks(&effects).len(), 200, "nobody is refused");
    assert!(shard.oldest_segment() > 5);
    let space = shard.env.disk().space().unwrap();
    assert!(space.used_percent() <= 70, "{space:?}");
    let counters = shard.counters();
    assert!(counters.removed_segments > 0 && counters.disk_refused == 0, "{counters:?}");
    assert!((50..=70).contains(&counters.disk_used_percent), "{counters:?}");
    let range = shard.queue_range(QUEUE).unwrap();
    assert!(range.end_offset == 200 && range.start_offset > 100, "{range:?}");
}

#[test]
fn without_a_mark_the_log_takes_what_there_is() {
    let mut shard = shard(10, None);
    let mut effects = Vec::new();
    for n in 0..200 {
        produce(&mut shard, n, AckLevel::Durable, &[0x5A; 20_000], &mut effects);
        for _ in 0..20 {
            turn(&mut shard, &mut effects);
            shard.env.advance(1_000_000);
        }
    }
    assert_eq!(shard.oldest_segment(), 0);
    let full = |effect: &&Effect| {
        let errno = room::ENOSPC;
        let full = ProduceError::Append(crate::log::writer::AppendError::DiskFull { errno });
        matches!(effect, Effect::Produced { result: Err(error), .. } if *error == full)
    };
    assert!(effects.iter().filter(full).count() > 50, "the file system refuses");
}

#[test]
fn no_room_for_a_segment_is_above_every_mark() {
    // Two segments and a half: one is written to, the next one is made, and there is no third.
    let mut shard = shard(5, Some(94));
    let mut effects = Vec::new();
    produce_slowly(&mut shard, 200, &mut effects);
    assert!(acks(&effects).len() > 150, "{:?}", shard.counters());
    assert!(shard.oldest_segment() > 5, "{:?}", shard.counters());
}

#[test]
fn with_nothing_left_to_go_producers_are_refused_and_readers_are_not() {
    let config = Config { capacity_bytes_max: 10 * SEGMENT_BYTES, ..Config::default() };
    let mut shard = open(SimEnv::new(config, 2), Retention::default());
    let mut effects = Vec::new();
    fill(&mut shard, 5, &mut effects);
    // Somebody else has filled the device.
    shard.env.disk().limit_capacity(SEGMENT_BYTES + SEGMENT_BYTES / 50);
    shard.limit_disk(Some(80));
    turn(&mut shard, &mut effects);
    effects.clear();
    produce(&mut shard, 9, AckLevel::Durable, b"v", &mut effects);
    let errno = room::ENOSPC;
    let full = ProduceError::Append(crate::log::writer::AppendError::DiskFull { errno });
    assert!(
        matches!(&effects[..], [Effect::Produced { result: Err(error), .. }] if *error == full),
        "{effects:?}"
    );
    assert_eq!(shard.counters().disk_refused, 1);
    effects.clear();
    shard.fetch(&fetch(0, 0), shard.env.now(), &mut effects);
    rest(&mut shard, &mut effects);
    assert_eq!(values(&effects).len(), 5);
    // There is room again.
    shard.env.disk().limit_capacity(100 * SEGMENT_BYTES);
    shard.env.advance(61 * SECOND);
    turn(&mut shard, &mut effects);
    effects.clear();
    fill(&mut shard, 1, &mut effects);
    assert_eq!(acks(&effects).len(), 1);
}

/// Story: 1. the device has no room for a next segment 2. producers fill the last one to its end 3.
/// what lies before can go only when a checkpoint stands for it, and that has no room either: the log
/// would never take anything again.
#[test]
fn a_full_device_keeps_room_for_a_checkpoint() {
    // The segment that is written to, and not a whole second one.
    let config = Config { capacity_bytes_max: SEGMENT_BYTES * 3 / 2, ..Config::default() };
    let mut shard = open(SimEnv::new(config, 3), Retention::default());
    let mut effects = Vec::new();
    let mut refused = 0;
    for n in 0..1000 {
        produce(&mut shard, n, AckLevel::Durable, &[0x5A; 500], &mut effects);
        for _ in 0..4 {
            turn(&mut shard, &mut effects);
            shard.env.advance(1_000_000);
        }
        refused += effects.drain(..).filter(is_refused).count();
    }
    let (end, kept) = (shard.log.ends().0, shard.checkpoints.room_bytes());
    let left = SEGMENT_BYTES - end.0;
    assert!(refused > 300 && end.0 < SEGMENT_BYTES, "{refused} refused, ends at {end}");
    assert!(left >= kept, "{left} bytes are left, a checkpoint may need {kept}");
    assert!(left < kept + 2 * 4096, "and no more than that is kept back: {left}, {kept}");
    let now = shard.env.now();
    assert!(shard.begin_checkpoint(&[], (1, 2), now));
}

fn is_refused(effect: &Effect) -> bool {
    matches!(effect, Effect::Produced { result: Err(_), .. })
}
