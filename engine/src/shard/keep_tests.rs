//! Limits of topics on the simulated disk: what goes, when it is in force, what survives.

use super::produce::Produce;
use super::retention::Retention;
use super::retention_tests::{SEGMENT_BYTES, fill, open, rest};
use super::tests::{QUEUE, acks, fetch, options, produce, settle, turn, values};
use super::*;
use crate::batch::{NewRecord, append_single};
use crate::io::sim::{Config, CrashPolicy, Latency, SimEnv, Span};
use crate::io::{Disk, DiskOp, FileName, run};

const SECOND: u64 = 1_000_000_000;
const TOPIC: u32 = 1;

/// A shard in which only topics have limits.
fn shard(seed: u64) -> Shard<SimEnv> {
    open(SimEnv::new(Config::default(), seed), Retention::default())
}

fn restarted(shard: &mut Shard<SimEnv>, config: Config) -> Shard<SimEnv> {
    let image = shard.env.disk().crash(CrashPolicy::LoseAll);
    open(SimEnv::from_image(&image, config, 9), Retention::default())
}

fn keep(shard: &mut Shard<SimEnv>, queues: &[u32], age_ms: Option<u64>, bytes: Option<u64>) {
    shard.keep_topic(TOPIC, queues.to_vec(), Retention { age_ms, bytes });
}

/// Lets time pass, and what is due happen.
fn pass(shard: &mut Shard<SimEnv>, nanos: u64, effects: &mut Vec<Effect>) {
    shard.env.advance(nanos);
    rest(shard, effects);
}

fn range(shard: &Shard<SimEnv>, queue: u32) -> QueueRange {
    shard.queue_range(queue).unwrap()
}

fn out_of_range(effects: &[Effect]) -> (u64, u64) {
    match effects {
        [Effect::Fetched { result: Err(FetchError::OutOfRange { start, end }), .. }] => {
            (*start, *end)
        }
        _ => panic!("{effects:?}"),
    }
}

#[test]
fn a_topic_holds_its_newest_bytes() {
    let mut shard = shard(1);
    keep(&mut shard, &[QUEUE], None, Some(200_000));
    let mut effects = Vec::new();
    fill(&mut shard, 100, &mut effects);
    assert_eq!(acks(&effects).len(), 100);
    pass(&mut shard, SECOND, &mut effects);
    let held = range(&shard, QUEUE);
    assert_eq!((held.start_offset, held.end_offset), (90, 100), "{held:?}");
    assert!((200_000..220_000).contains(&held.bytes), "{held:?}");
    assert!(shard.oldest_segment() >= 6, "what nobody holds leaves the log early");
    effects.clear();
    shard.fetch(&fetch(89, 0), shard.env.now(), &mut effects);
    rest(&mut shard, &mut effects);
    assert_eq!(out_of_range(&effects), (90, 100));
    effects.clear();
    shard.fetch(&fetch(90, 0), shard.env.now(), &mut effects);
    rest(&mut shard, &mut effects);
    assert_eq!(values(&effects).len(), 10);
    let mut again = restarted(&mut shard, Config::default());
    assert_eq!(range(&again, QUEUE), held);
    // Without limits nothing goes, and nothing comes back.
    fill(&mut again, 20, &mut effects);
    pass(&mut again, SECOND, &mut effects);
    assert_eq!(range(&again, QUEUE).start_offset, 90);
}

#[test]
fn the_oldest_record_goes_first_whichever_queue_it_is_in() {
    let mut shard = shard(2);
    let other = QUEUE + 1;
    shard.add_queue(other, AckLevel::Durable, false);
    let mut effects = Vec::new();
    let mut batch = Vec::new();
    let record = NewRecord { value: Some(&[0x5A; 20_000]), ..NewRecord::default() };
    append_single(&mut batch, &record, 1 << 20).unwrap();
    // Ten to one queue, ten to the other, then in turn.
    for n in 0..40 {
        let queue = if n < 10 || (n >= 20 && n % 2 == 0) { QUEUE } else { other };
        let (gathered, ack) = (shard.env.now(), AckLevel::Durable);
        let request = Produce { token: Token(n), queue, ack, batch: &batch, gathered };
        shard.produce(&request, &mut effects);
        rest(&mut shard, &mut effects);
    }
    keep(&mut shard, &[QUEUE, other], None, Some(500_000));
    pass(&mut shard, SECOND, &mut effects);
    assert_eq!(range(&shard, QUEUE).start_offset, 10, "all of the first ten");
    assert_eq!(range(&shard, other).start_offset, 5, "and what came next");
    keep(&mut shard, &[QUEUE, other], None, Some(100_000));
    pass(&mut shard, SECOND, &mut effects);
    let (one, two) = (range(&shard, QUEUE), range(&shard, other));
    assert_eq!((one.start_offset, two.start_offset), (18, 17), "{one:?} {two:?}");
}

#[test]
fn records_go_when_their_topic_says_they_are_too_old() {
    let mut shard = shard(3);
    let mut effects = Vec::new();
    fill(&mut shard, 20, &mut effects);
    pass(&mut shard, 6 * SECOND, &mut effects);
    fill(&mut shard, 5, &mut effects);
    keep(&mut shard, &[QUEUE], Some(10_000), None);
    pass(&mut shard, SECOND, &mut effects);
    assert_eq!(range(&shard, QUEUE).start_offset, 0, "nothing is old enough");
    let end = turn(&mut shard, &mut effects);
    let due = end.wake_at.expect("it knows when").since(shard.env.now());
    assert!((2 * SECOND..4 * SECOND).contains(&due), "{due}");
    pass(&mut shard, due, &mut effects);
    assert_eq!(range(&shard, QUEUE).start_offset, 20);
    pass(&mut shard, 20 * SECOND, &mut effects);
    let held = range(&shard, QUEUE);
    assert_eq!((held.start_offset, held.end_offset, held.bytes), (25, 25, 0));
    let again = restarted(&mut shard, Config::default());
    assert_eq!(range(&again, QUEUE), held);
}

#[test]
fn a_start_is_in_force_when_it_is_durable() {
    let slow = Span::micros(50_000, 50_000);
    let latency = Latency { durable: slow, slow_one_in: 0, ..Config::default().latency };
    let mut shard =
        open(SimEnv::new(Config { latency, ..Config::default() }, 4), Retention::default());
    let mut effects = Vec::new();
    fill(&mut shard, 20, &mut effects);
    keep(&mut shard, &[QUEUE], None, Some(100_000));
    shard.env.advance(SECOND);
    turn(&mut shard, &mut effects);
    // Up to 5 ms until it goes, 50 ms on its way.
    for _ in 0..50 {
        assert_eq!(range(&shard, QUEUE).start_offset, 0);
        // As long as it is, a power cut takes it, and the start was never told.
        let again = restarted(&mut shard, Config::default());
        assert_eq!(range(&again, QUEUE).start_offset, 0);
        shard.env.advance(1_000_000);
        turn(&mut shard, &mut effects);
    }
    assert!(shard.env.disk().in_flight() > 0, "it is on its way");
    rest(&mut shard, &mut effects);
    assert_eq!(range(&shard, QUEUE).start_offset, 15);
    let again = restarted(&mut shard, Config::default());
    assert_eq!(range(&again, QUEUE).start_offset, 15);
}

/// Story: 1. The last entry of a segment moves a start 2. a checkpoint is written in the next
/// segment while that entry is on its way 3. both become durable, and the start is told 4. a
/// restart reads from the checkpoint's segment on, and never meets the entry.
#[test]
fn a_checkpoint_knows_of_starts_on_their_way() {
    let mut shard = shard(9);
    let mut effects = Vec::new();
    // The records that go are in a segment before: its index is made by then, and has them.
    fill(&mut shard, 13, &mut effects);
    let left = |shard: &Shard<SimEnv>| SEGMENT_BYTES - shard.log.ends().0.0 % SEGMENT_BYTES;
    while left(&shard) > 25_000 {
        fill(&mut shard, 1, &mut effects);
    }
    let (records, checkpoints) = (range(&shard, QUEUE).end_offset, shard.counters().checkpoints);
    keep(&mut shard, &[QUEUE], None, Some((records - 7) * 20_000));
    shard.env.advance(SECOND);
    turn(&mut shard, &mut effects);
    // No second look: it would move the start again.
    keep(&mut shard, &[QUEUE], None, None);
    assert_eq!(shard.log.segments().current(), 1);
    produce(&mut shard, records, AckLevel::Durable, &[0x5A; 25_000], &mut effects);
    assert_eq!(shard.log.segments().current(), 2);
    let now = shard.env.now();
    shard.checkpoint(&[], (1, 2), now);
    turn(&mut shard, &mut effects);
    assert!(!shard.checkpoints.has_more(), "all of it is in the log");
    assert_eq!(range(&shard, QUEUE).start_offset, 0, "and the start is still on its way");
    rest(&mut shard, &mut effects);
    assert_eq!(range(&shard, QUEUE).start_offset, 7);
    assert_eq!(shard.counters().checkpoints, checkpoints + 1);
    let again = restarted(&mut shard, Config::default());
    assert_eq!(range(&again, QUEUE), range(&shard, QUEUE));
}

/// Story: 1. a start is on its way that takes four large records of a segment and leaves many small
/// ones 2. the segment's index is made: were it used now, its spans would be one run, and what goes of
/// it four records' share.
#[test]
fn what_goes_is_counted_exactly_when_its_segment_is_sealed_meanwhile() {
    let mut options = options(SEGMENT_BYTES);
    options.writer.window_bytes = 0;
    // Long enough for an index to be made.
    let slow = Span::micros(50_000, 50_000);
    let latency = Latency { durable: slow, slow_one_in: 0, ..Config::default().latency };
    let env = SimEnv::new(Config { latency, ..Config::default() }, 10);
    let mut shard = Shard::open(env, &options, |_| {}).unwrap();
    shard.add_queue(QUEUE, AckLevel::Durable, false);
    let mut effects = Vec::new();
    let mut large = 0;
    for n in 0..24 {
        let value = [0x5A; 50_000];
        let value = if n < 4 { &value[..] } else { &value[..100] };
        produce(&mut shard, n, AckLevel::Durable, value, &mut effects);
        settle(&mut shard, &mut effects);
        large += if n < 4 { range(&shard, QUEUE).bytes - large } else { 0 };
    }
    // The first of these leaves the segment, the second lets it leave the window.
    let mut held = range(&shard, QUEUE).bytes;
    for n in 24..26 {
        let current = shard.log.segments().current();
        held += 150_000 + large / 4;
        if n == 25 {
            keep(&mut shard, &[QUEUE], None, Some(held - large));
        }
        produce(&mut shard, n, AckLevel::Durable, &[0x5A; 200_000], &mut effects);
        assert_eq!(range(&shard, QUEUE).bytes, held);
        assert_eq!(shard.log.segments().current(), current + 1);
        for _ in 0..30 {
            turn(&mut shard, &mut effects);
            shard.env.advance(5_000_000);
        }
    }
    let after = range(&shard, QUEUE);
    assert_eq!((after.start_offset, after.bytes), (4, held - large));
}

#[test]
fn readers_below_the_new_start_are_told() {
    let mut shard = shard(5);
    let mut effects = Vec::new();
    fill(&mut shard, 20, &mut effects);
    settle(&mut shard, &mut effects);
    let slow = Span::micros(400_000, 400_000);
    let latency = Latency { read: slow, ..Config::default().latency };
    let mut shard = restarted(&mut shard, Config { latency, ..Config::default() });
    effects.clear();
    // One waits for more than there is, one for the device.
    let parked = Fetch { bytes_min: 1 << 20, offset: 20, ..fetch(20, 3600 * SECOND) };
    shard.fetch(&parked, shard.env.now(), &mut effects);
    shard.fetch(&fetch(0, 0), shard.env.now(), &mut effects);
    turn(&mut shard, &mut effects);
    let counters = shard.counters();
    assert_eq!((counters.cold_reads + counters.index_reads, effects.len()), (1, 0));
    keep(&mut shard, &[QUEUE], None, Some(100_000));
    while effects.is_empty() {
        shard.env.advance(1_000_000);
        turn(&mut shard, &mut effects);
    }
    assert_eq!(out_of_range(&effects), (15, 20));
    effects.clear();
    fill(&mut shard, 20, &mut effects);
    pass(&mut shard, SECOND, &mut effects);
    assert_eq!(acks(&effects).len(), 20);
    effects.retain(|effect| matches!(effect, Effect::Fetched { .. }));
    let (start, end) = out_of_range(&effects);
    assert!(start > 20 && end <= 40, "what it waited for has gone: {start} {end}");
}

#[test]
fn a_topic_of_many_queues_is_cut_in_many_small_moves() {
    let mut shard = shard(6);
    let queues: Vec<u32> = (1..=1500).collect();
    let mut batch = Vec::new();
    append_single(&mut batch, &NewRecord { value: Some(b"v"), ..NewRecord::default() }, 1 << 20)
        .unwrap();
    let mut effects = Vec::new();
    for &queue in &queues {
        shard.add_queue(queue, AckLevel::Durable, false);
        let (gathered, ack) = (shard.env.now(), AckLevel::Durable);
        let request = Produce { token: Token(0), queue, ack, batch: &batch, gathered };
        shard.produce(&request, &mut effects);
    }
    rest(&mut shard, &mut effects);
    let held: u64 = queues.iter().map(|&queue| range(&shard, queue).bytes).sum();
    keep(&mut shard, &queues, None, Some(held / 10));
    let written = shard.counters().moved_starts;
    pass(&mut shard, SECOND, &mut effects);
    assert_eq!(shard.counters().moved_starts - written, 1350);
    let left: Vec<u32> =
        queues.iter().copied().filter(|&queue| range(&shard, queue).bytes > 0).collect();
    assert_eq!(left, queues[1350..], "the newest tenth");
}

#[test]
fn a_clock_that_jumps_takes_nothing_along() {
    let mut shard = shard(7);
    keep(&mut shard, &[QUEUE], Some(86_400_000), None);
    let mut effects = Vec::new();
    fill(&mut shard, 5, &mut effects);
    pass(&mut shard, SECOND, &mut effects);
    let wall_ms = shard.env.wall_ms();
    shard.env.set_wall_ms(wall_ms + 30 * 86_400_000);
    for _ in 0..59 {
        pass(&mut shard, 60 * SECOND, &mut effects);
        assert_eq!(range(&shard, QUEUE).start_offset, 0, "not believed yet");
    }
    for _ in 0..3 {
        pass(&mut shard, 60 * SECOND, &mut effects);
    }
    assert_eq!(range(&shard, QUEUE).start_offset, 5, "it has lasted for an hour");
}

/// A change of level in the middle of a group makes two pieces of it; to a restart it is one.
#[test]
fn a_start_inside_a_group_outlives_restarts() {
    let mut shard = shard(11);
    shard.set_visibility(&[QUEUE], AckLevel::Memory);
    let mut effects = Vec::new();
    produce(&mut shard, 0, AckLevel::Durable, &[0x5A; 20_000], &mut effects);
    shard.set_visibility(&[QUEUE], AckLevel::Durable);
    produce(&mut shard, 1, AckLevel::Durable, &[0x5A; 20_000], &mut effects);
    shard.env.advance(5_000_000);
    rest(&mut shard, &mut effects);
    let stored_ms = shard.log.store_ms();
    shard.env.advance(5_000_000);
    fill(&mut shard, 2, &mut effects);
    keep(&mut shard, &[QUEUE], None, Some(50_000));
    pass(&mut shard, SECOND, &mut effects);
    let held = range(&shard, QUEUE);
    assert_eq!((held.start_offset, held.end_offset), (1, 4));
    let sought = |shard: &mut Shard<SimEnv>| {
        let mut effects = Vec::new();
        let (token, queue) = (Token(0), QUEUE);
        shard.seek(&Seek { token, queue, timestamp_ms: stored_ms }, &mut effects);
        rest(shard, &mut effects);
        match effects[..] {
            [Effect::Sought { result: Ok(Sought { batch, .. }), .. }] => batch,
            _ => panic!("{effects:?}"),
        }
    };
    let read = |shard: &mut Shard<SimEnv>| {
        let mut effects = Vec::new();
        shard.fetch(&fetch(1, 0), shard.env.now(), &mut effects);
        rest(shard, &mut effects);
        values(&effects).len()
    };
    let mut again = restarted(&mut shard, Config::default());
    assert_eq!((range(&again, QUEUE).start_offset, read(&mut again)), (1, 3));
    assert_eq!(sought(&mut again), Some((1, stored_ms)));
    assert!(range(&again, QUEUE).bytes.abs_diff(held.bytes) < 2, "estimated");
    // Sealed, from what a restart has made of it: that index is not written, because it has a cut
    // span. Then from the index that is made again.
    fill(&mut again, 40, &mut effects);
    let first = FileName::Index(0);
    assert!(!again.env.disk().list().unwrap().contains(&first));
    assert!(again.counters().sealed_segments > 0 && again.counters().checkpoints > 0);
    for lost in [false, true] {
        if lost {
            assert!(again.env.disk().list().unwrap().contains(&first), "it was made again");
            run(again.env.disk(), DiskOp::Remove { name: first }).unwrap();
            run(again.env.disk(), DiskOp::SyncDir).unwrap();
        }
        again = restarted(&mut again, Config::default());
        assert_eq!(
            (range(&again, QUEUE).start_offset, sought(&mut again)),
            (1, Some((1, stored_ms)))
        );
        assert!(read(&mut again) > 3);
    }
}
