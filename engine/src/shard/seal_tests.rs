//! Sealing on the simulated disk: when it may begin.

use super::tests::{QUEUE, options, produce, settle, turn};
use super::*;
use crate::io::sim::{Config, Latency, SimEnv, Span};
use crate::log::writer::Flush;

const SEGMENT_BYTES: u64 = 256 << 10;

/// Produces one durable record and lets its write land; its flush may take longer.
pub(super) fn write(shard: &mut Shard<SimEnv>, value: &[u8], effects: &mut Vec<Effect>) {
    let before = shard.queue_range(QUEUE).unwrap().end_offset;
    for _ in 0..100 {
        produce(shard, 0, AckLevel::Durable, value, effects);
        let taken = shard.queue_range(QUEUE).unwrap().end_offset > before;
        turn(shard, effects);
        shard.env.advance(1_000_000);
        turn(shard, effects);
        if taken {
            return;
        }
        // The next segment is still being made.
    }
    panic!("not taken: {effects:?}");
}

/// Story: 1. All of a segment is written, and has left the window, but its end is not durable 2.
/// were its index made and used now, the queue would forget what consumers have not been shown, and
/// show what comes next too early.
#[test]
fn what_is_not_durable_is_not_sealed() {
    let (sync, durable) = (Span::micros(900_000, 900_000), Span::micros(100, 100));
    let latency = Latency { sync, durable, slow_one_in: 0, ..Config::default().latency };
    let env = SimEnv::new(Config { latency, ..Config::default() }, 1);
    let mut options = options(SEGMENT_BYTES);
    options.writer.flush = Flush::Fdatasync;
    options.writer.window_bytes = 0;
    let mut shard = Shard::open(env, &options, |_| {}).unwrap();
    shard.add_queue(QUEUE, AckLevel::Durable, false);
    let mut effects = Vec::new();
    for _ in 0..11 {
        produce(&mut shard, 0, AckLevel::Durable, &[0x5A; 20_000], &mut effects);
        settle(&mut shard, &mut effects);
    }
    write(&mut shard, &[0x5A; 20_000], &mut effects);
    for segment in 1..=2 {
        write(&mut shard, &[0x5A; 200_000], &mut effects);
        assert_eq!(shard.log.segments().current(), segment);
    }
    let (_, written_end, durable_end) = shard.log.ends();
    assert!(written_end.0 >= SEGMENT_BYTES && durable_end.0 < SEGMENT_BYTES);
    assert!(!shard.log.is_hot_below(LogPos(SEGMENT_BYTES)), "it has left the window");
    for _ in 0..100 {
        assert_eq!(shard.queue_range(QUEUE).unwrap().visible_offset, 11);
        shard.env.advance(1_000_000);
        turn(&mut shard, &mut effects);
    }
    assert!(shard.log.ends().2.0 < SEGMENT_BYTES, "still not durable");
    settle(&mut shard, &mut effects);
    assert_eq!(shard.queue_range(QUEUE).unwrap().visible_offset, 14);
    for _ in 0..10 {
        shard.env.advance(10_000_000);
        turn(&mut shard, &mut effects);
    }
    assert!(shard.counters().sealed_segments > 0, "and now it is sealed");
}
