//! Files of sealed segments that are gone when somebody wants to read them, or cannot be opened:
//! one error, with its place, and everything else is served.

use super::retention::Retention;
use super::retention_tests::rest;
use super::seal_tests::write;
use super::tests::{QUEUE, fetch, options, settle, turn, values};
use super::*;
use crate::io::sim::{Config, Fault, OpKind, SimEnv};
use crate::io::{Disk, DiskOp, Errno, FileName, run};
use crate::log::recover::OpenOptions;

const SEGMENT_BYTES: u64 = 256 << 10;
const RECORDS: u64 = 44;

/// A shard of whose segments the first three are sealed, and on the device only.
fn sealed() -> Shard<SimEnv> {
    sealed_with(Retention::default())
}

fn sealed_with(retention: Retention) -> Shard<SimEnv> {
    let mut options = OpenOptions { retention, ..options(SEGMENT_BYTES) };
    options.writer.window_bytes = 0;
    let mut shard = Shard::open(SimEnv::new(Config::default(), 7), &options, |_| {}).unwrap();
    shard.add_queue(QUEUE, AckLevel::Durable, false);
    let mut effects = Vec::new();
    for number in 0..RECORDS {
        write(&mut shard, &[number as u8; 20_000], &mut effects);
        settle(&mut shard, &mut effects);
    }
    pass(&mut shard);
    assert!(shard.log.segments().current() >= 3 && shard.sealing.saved() >= 3);
    run(shard.env.disk(), DiskOp::SyncDir).unwrap();
    shard
}

/// What a fetch at `offset` ends in: the first byte of its first record, or an error.
fn first(shard: &mut Shard<SimEnv>, offset: u64) -> Result<u8, FetchError> {
    let mut effects = Vec::new();
    let fetch = Fetch { bytes_max: 1, ..fetch(offset, 0) };
    shard.fetch(&fetch, shard.env.now(), &mut effects);
    turn(shard, &mut effects);
    settle(shard, &mut effects);
    let failed = effects.iter().find_map(|effect| match effect {
        Effect::Fetched { result: Err(error), .. } => Some(*error),
        _ => None,
    });
    failed.map_or_else(|| Ok(values(&effects)[0][0]), Err)
}

/// The first offset in segment `number`.
fn offset_in(shard: &Shard<SimEnv>, number: u64) -> u64 {
    let runs = &shard.queues.get(QUEUE).unwrap().runs;
    (0..RECORDS).find(|at| runs.holding(*at).is_some_and(|run| run.number == number)).unwrap()
}

/// Every record but those of segment `but` is served.
fn others_are_served(shard: &mut Shard<SimEnv>, but: u64) {
    for offset in 0..RECORDS {
        let runs = &shard.queues.get(QUEUE).unwrap().runs;
        if runs.holding(offset).is_none_or(|run| run.number != but) {
            assert_eq!(first(shard, offset), Ok(offset as u8));
        }
    }
}

#[test]
fn a_segment_that_vanished_is_an_error_with_its_position() {
    let mut shard = sealed();
    let offset = offset_in(&shard, 1);
    assert_eq!(first(&mut shard, offset), Ok(offset as u8));
    shard.env.disk().take_away(FileName::Segment(1));
    for _ in 0..2 {
        match first(&mut shard, offset) {
            Err(FetchError::Read { at, errno: Errno(2) }) => {
                assert_eq!(at.0 / SEGMENT_BYTES, 1);
            }
            other => panic!("{other:?}"),
        }
    }
    others_are_served(&mut shard, 1);
}

#[test]
fn an_index_that_vanished_is_made_again() {
    let mut shard = sealed();
    let offset = offset_in(&shard, 1);
    shard.env.disk().take_away(FileName::Index(1));
    assert_eq!(first(&mut shard, offset), Err(FetchError::Busy));
    others_are_served(&mut shard, 1);
    pass(&mut shard);
    assert_eq!(shard.counters().rebuilt_indexes, 1);
    assert!(shard.env.disk().list().unwrap().contains(&FileName::Index(1)), "and written");
    others_are_served(&mut shard, u64::MAX);
}

/// Time in which everything that waits is tried again.
fn pass(shard: &mut Shard<SimEnv>) {
    let mut effects = Vec::new();
    for _ in 0..200 {
        shard.env.advance(10_000_000);
        turn(shard, &mut effects);
        settle(shard, &mut effects);
    }
}

#[test]
fn an_index_that_cannot_be_read_is_made_again() {
    let mut shard = sealed();
    let offset = offset_in(&shard, 1);
    shard.env.disk().lose_block(FileName::Index(1), 0);
    assert_eq!(first(&mut shard, offset), Err(FetchError::Busy));
    pass(&mut shard);
    assert_eq!(shard.counters().rebuilt_indexes, 1);
    others_are_served(&mut shard, u64::MAX);
}

#[test]
fn an_index_is_made_again_however_often_memory_is_short_meanwhile() {
    let mut shard = sealed();
    let offset = offset_in(&shard, 1);
    shard.env.disk().take_away(FileName::Index(1));
    assert_eq!(first(&mut shard, offset), Err(FetchError::Busy));
    shard.env.disk().faults().always(OpKind::Read, Fault::Fail(Errno(12)));
    pass(&mut shard);
    assert_eq!(shard.counters().rebuilt_indexes, 0);
    shard.env.disk().faults().clear();
    pass(&mut shard);
    assert_eq!(shard.counters().rebuilt_indexes, 1);
    others_are_served(&mut shard, u64::MAX);
}

/// Story: 1. the file of the oldest segment is taken away 2. retention is to take it out of the log,
/// and finds nothing to rename 3. were that tried again for ever, nothing would leave the log any more,
/// and the segment that is to be made from it would never come.
#[test]
fn a_segment_that_vanished_leaves_the_log_all_the_same() {
    let mut shard = sealed_with(Retention { age_ms: None, bytes: Some(5 * SEGMENT_BYTES) });
    shard.env.disk().take_away(FileName::Segment(0));
    let mut effects = Vec::new();
    let before = shard.log.segments().current();
    for _ in 0..60 {
        write(&mut shard, &[1; 20_000], &mut effects);
        rest(&mut shard, &mut effects);
    }
    let current = shard.log.segments().current();
    assert!(current >= before + 4, "the log goes on");
    assert_eq!(shard.log.segments().vanished(), 1);
    assert!(shard.oldest_segment() + 5 >= current, "and so does retention");
}

#[test]
fn a_process_out_of_descriptors_asks_readers_to_come_again() {
    for errno in [23, 24].map(Errno) {
        let mut shard = sealed();
        let offset = offset_in(&shard, 1);
        // The read of the index, then the read of the segment.
        for _ in 0..2 {
            shard.env.disk().faults().next(OpKind::Read, Fault::Fail(errno));
            assert_eq!(first(&mut shard, offset), Err(FetchError::Busy));
            assert_eq!(shard.counters().rebuilt_indexes, 0);
            assert_eq!(first(&mut shard, offset), Ok(offset as u8));
        }
    }
}
