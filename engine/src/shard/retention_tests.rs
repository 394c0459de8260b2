//! Retention on the simulated disk: what goes, what stays, and what a restart knows without it.

use super::offsets::{CommitOffsets, NewOffset};
use super::produce::Produce;
use super::retention::Retention;
use super::tests::{QUEUE, acks, fetch, options, produce, settle, turn};
use super::*;
use crate::batch::{BatchBuilder, NewRecord};
use crate::io::sim::{Config, CrashPolicy, Latency, SimEnv, Span};
use crate::io::{Disk, FileName};
use crate::limits::SPARES_MAX;
use crate::log::recover::{OpenError, OpenOptions};

pub(super) const SEGMENT_BYTES: u64 = 256 << 10;

pub(super) fn open(env: SimEnv, retention: Retention) -> Shard<SimEnv> {
    let options = OpenOptions { retention, ..options(SEGMENT_BYTES) };
    let mut shard = Shard::open(env, &options, |_| {}).unwrap();
    shard.add_queue(QUEUE, AckLevel::Durable, false);
    shard
}

fn keep_bytes(bytes: u64) -> Retention {
    Retention { age_ms: None, bytes: Some(bytes) }
}

/// Produces `count` durable messages of 20 KB, twelve of which fill a segment.
pub(super) fn fill(shard: &mut Shard<SimEnv>, count: u64, effects: &mut Vec<Effect>) {
    for n in 0..count {
        produce(shard, n, AckLevel::Durable, &[0x5A; 20_000], effects);
        rest(shard, effects);
    }
}

/// Turns, as the broker does, until nothing is left to do soon.
pub(super) fn rest(shard: &mut Shard<SimEnv>, effects: &mut Vec<Effect>) {
    for _ in 0..10_000 {
        if shard.wants_checkpoint() {
            let now = shard.env.now();
            shard.checkpoint(&[], (1, 2), now);
        }
        let end = turn(shard, effects);
        let now = shard.env.now();
        if shard.env.disk().in_flight() > 0 {
            shard.env.advance_to_next();
        } else if let Some(at) = end.wake_at.filter(|at| at.since(now) < 1_000_000_000) {
            shard.env.advance(at.since(now).max(1));
        } else {
            return;
        }
    }
    panic!("the shard does not settle");
}

fn segments(shard: &mut Shard<SimEnv>) -> Vec<FileName> {
    shard.env.disk().list().unwrap()
}

fn restarted(shard: &mut Shard<SimEnv>, retention: Retention) -> Shard<SimEnv> {
    let image = shard.env.disk().crash(CrashPolicy::LoseAll);
    open(SimEnv::from_image(&image, Config::default(), 9), retention)
}

#[test]
fn a_log_that_is_too_long_loses_its_oldest_segments() {
    let mut shard = open(SimEnv::new(Config::default(), 1), keep_bytes(3 * SEGMENT_BYTES));
    let mut effects = Vec::new();
    fill(&mut shard, 100, &mut effects);
    assert_eq!(acks(&effects).len(), 100);
    let counters = shard.counters();
    let gone = counters.recycled_segments + counters.removed_segments;
    assert_eq!((counters.segments, gone), (3, shard.oldest_segment()), "{counters:?}");
    assert!(counters.recycled_segments > 2 && counters.checkpoints > 0, "{counters:?}");
    assert_eq!(counters.removed_segments, 0, "every one is used again");
    let range = shard.queue_range(QUEUE).unwrap();
    assert!(range.start_offset > 50 && range.end_offset == 100, "{range:?}");
    effects.clear();
    shard.fetch(&fetch(0, 0), shard.env.now(), &mut effects);
    rest(&mut shard, &mut effects);
    let [Effect::Fetched { result: Err(error), .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(*error, FetchError::OutOfRange { start: range.start_offset, end: 100 });
    let mut again = restarted(&mut shard, keep_bytes(3 * SEGMENT_BYTES));
    assert_eq!(again.queue_range(QUEUE).unwrap(), range);
    fill(&mut again, 40, &mut effects);
    assert_eq!(again.queue_range(QUEUE).unwrap().end_offset, 140);
}

#[test]
fn records_go_when_they_are_too_old() {
    let retention = Retention { age_ms: Some(10_000), bytes: None };
    let mut shard = open(SimEnv::new(Config::default(), 2), retention);
    let mut effects = Vec::new();
    fill(&mut shard, 30, &mut effects);
    assert_eq!(shard.counters().segments, 3, "nothing is old enough");
    let end = turn(&mut shard, &mut effects);
    let due = end.wake_at.expect("it knows when");
    let now = shard.env.now();
    assert!((5_000_000_000..12_000_000_000).contains(&due.since(now)), "{due:?} {now:?}");
    shard.env.advance(15_000_000_000);
    rest(&mut shard, &mut effects);
    assert_eq!(shard.counters().segments, 1, "the current one stays");
}

/// What a segment held before a restart is older than what comes into it afterwards.
#[test]
fn a_segment_that_was_current_at_a_restart_is_as_old_as_its_newest_record() {
    let retention = Retention { age_ms: Some(10_000), bytes: None };
    let mut shard = open(SimEnv::new(Config::default(), 2), retention);
    let mut effects = Vec::new();
    fill(&mut shard, 3, &mut effects);
    let before = shard.env.now();
    let mut shard = restarted(&mut shard, retention);
    shard.env.advance(before.0 + 8_000_000_000);
    fill(&mut shard, 20, &mut effects);
    assert_eq!(shard.counters().segments, 2, "the first is full");
    shard.env.advance(5_000_000_000);
    rest(&mut shard, &mut effects);
    assert_eq!(shard.oldest_segment(), 0, "some of it was stored five seconds ago");
    shard.env.advance(15_000_000_000);
    rest(&mut shard, &mut effects);
    assert_eq!(shard.oldest_segment(), 1);
}

/// A queue, an offset and a producer whose entries have all expired.
#[test]
fn what_expired_is_still_known() {
    let retention = keep_bytes(2 * SEGMENT_BYTES);
    let mut shard = open(SimEnv::new(Config::default(), 3), retention);
    shard.add_queue(QUEUE + 1, AckLevel::Durable, false);
    let mut effects = Vec::new();
    let batch = numbered(0);
    let gathered = shard.env.now();
    let (token, ack) = (Token(1), AckLevel::Durable);
    let request = Produce { token, queue: QUEUE + 1, ack, batch: &batch, gathered };
    shard.produce(&request, &mut effects);
    rest(&mut shard, &mut effects);
    let offsets = [NewOffset { queue: QUEUE + 1, offset: Some(2), epoch: 1, metadata: "here" }];
    let commit = CommitOffsets { token: Token(2), group: "g", offsets: &offsets, ack, gathered };
    let at = shard.commit_offsets(&commit).unwrap();
    rest(&mut shard, &mut effects);
    shard.settle_offsets(at, true);
    effects.clear();
    fill(&mut shard, 60, &mut effects);
    assert!(shard.oldest_segment() > 1);
    let mut shard = restarted(&mut shard, retention);
    shard.add_queue(QUEUE + 1, AckLevel::Durable, false);
    let range = shard.queue_range(QUEUE + 1).unwrap();
    assert_eq!((range.start_offset, range.end_offset, range.bytes), (2, 2, 0));
    let committed = shard.committed("g", QUEUE + 1).unwrap();
    assert_eq!((committed.offset, &*committed.metadata), (2, "here"));
    effects.clear();
    let gathered = shard.env.now();
    let request = Produce { token: Token(7), batch: &batch, gathered, ..request };
    shard.produce(&request, &mut effects);
    rest(&mut shard, &mut effects);
    assert_eq!(acks(&effects), [(7, 0)], "it is the same batch");
    assert_eq!(shard.queue_range(QUEUE + 1).unwrap().end_offset, 2);
}

fn numbered(first: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(1 << 20);
    builder.set_producer(77, 0, first);
    for value in [b"a", b"b"] {
        builder.append(&NewRecord { value: Some(value), ..NewRecord::default() }).unwrap();
    }
    builder.finish().unwrap().to_vec()
}

#[test]
fn a_segment_that_is_being_read_stays() {
    let retention = keep_bytes(2 * SEGMENT_BYTES);
    let mut shard = open(SimEnv::new(Config::default(), 4), Retention::default());
    let mut effects = Vec::new();
    fill(&mut shard, 40, &mut effects);
    let image = shard.env.disk().crash(CrashPolicy::LoseAll);
    let slow = Span::micros(900_000, 900_000);
    let latency = Latency { read: slow, ..Config::default().latency };
    let config = Config { latency, ..Config::default() };
    let mut shard = open(SimEnv::from_image(&image, config, 9), Retention::default());
    effects.clear();
    // Everything is cold; the read is in flight when the segment may go.
    shard.fetch(&fetch(0, 0), shard.env.now(), &mut effects);
    turn(&mut shard, &mut effects);
    assert_eq!(shard.counters().cold_reads + shard.counters().index_reads, 1);
    shard.expiry = Expiry::new(retention, std::collections::BTreeMap::new());
    let mut could_have_gone = false;
    while effects.is_empty() {
        if shard.wants_checkpoint() {
            let now = shard.env.now();
            shard.checkpoint(&[], (1, 2), now);
        }
        assert_eq!(shard.oldest_segment(), 0);
        let newest = shard.checkpoints.newest();
        could_have_gone |= newest.is_some_and(|begin| begin.0 >= SEGMENT_BYTES);
        shard.env.advance(1_000_000);
        turn(&mut shard, &mut effects);
    }
    assert!(could_have_gone);
    assert!(matches!(effects[..], [Effect::Fetched { result: Ok(_), .. }]), "{effects:?}");
    rest(&mut shard, &mut effects);
    assert!(shard.oldest_segment() > 0, "and then it went");
}

/// Story: 1. A checkpoint is durable, and the superblock does not name it yet 2. were the segment
/// before it to go now, it could go in the very turn that learns that its last records are durable,
/// before consumers are shown them.
#[test]
fn a_segment_stays_until_the_superblock_names_a_checkpoint() {
    let mut shard = open(SimEnv::new(Config::default(), 8), keep_bytes(SEGMENT_BYTES));
    let mut effects = Vec::new();
    let mut waited = 0;
    for n in 0..40 {
        produce(&mut shard, n, AckLevel::Durable, &[0x5A; 20_000], &mut effects);
        for _ in 0..40 {
            if shard.wants_checkpoint() {
                let now = shard.env.now();
                shard.checkpoint(&[], (1, 2), now);
            }
            turn(&mut shard, &mut effects);
            let oldest = LogPos(shard.oldest_segment() * SEGMENT_BYTES);
            let named = shard.log.recorded().map_or(LogPos(0), |recorded| recorded.begin);
            assert!(named >= oldest, "{oldest:?} is the beginning, {named:?} is named");
            waited += u64::from(shard.checkpoints.is_running() && !shard.checkpoints.has_more());
            shard.env.advance(100_000);
        }
    }
    assert!(shard.oldest_segment() >= 2 && waited > 2, "{waited}");
    assert_eq!(acks(&effects).len(), 40);
}

#[test]
fn a_log_without_its_beginning_is_refused() {
    let mut shard = open(SimEnv::new(Config::default(), 5), Retention::default());
    let mut effects = Vec::new();
    fill(&mut shard, 40, &mut effects);
    settle(&mut shard, &mut effects);
    let image = shard.env.disk().crash(CrashPolicy::LoseAll);
    let mut env = SimEnv::from_image(&image, Config::default(), 6);
    let checkpoint = shard.checkpoints.newest().unwrap();
    for number in 0..=checkpoint.0 / SEGMENT_BYTES {
        let name = FileName::Segment(number);
        crate::io::run(env.disk(), crate::io::DiskOp::Remove { name }).unwrap();
    }
    let error = Shard::open(env, &options(SEGMENT_BYTES), |_| {}).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[test]
fn spares_do_not_pile_up() {
    let retention = keep_bytes(2 * SEGMENT_BYTES);
    let mut shard = open(SimEnv::new(Config::default(), 7), retention);
    let mut effects = Vec::new();
    for _ in 0..4 {
        fill(&mut shard, 50, &mut effects);
        shard = restarted(&mut shard, retention);
        let names = segments(&mut shard);
        let spares = names.iter().filter(|name| matches!(name, FileName::Spare(_))).count();
        assert!(spares <= SPARES_MAX + 1, "{names:?}");
    }
}
