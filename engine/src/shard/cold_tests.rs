//! Cold reads: what is on the device counts only where the log has written it.

use super::produce::Produce;
use super::tests::{QUEUE, fetch, options, settle, turn, values};
use super::*;
use crate::batch::{NewRecord, append_single};
use crate::io::Env;
use crate::io::sim::{Choice, Config, CrashPolicy, Latency, SimEnv, Span};
use crate::io::{BLOCK_BYTES, FileName};

/// Fixed times: a read is faster than a write, and what is submitted later lands later.
fn open(image: Option<&crate::io::sim::CrashImage>) -> Shard<SimEnv> {
    let fixed = |us| Span::micros(us, us);
    let latency = Latency {
        durable: fixed(100),
        read: fixed(10),
        slow_one_in: 0,
        ..Config::default().latency
    };
    let config = Config { latency, ..Config::default() };
    let env = match image {
        Some(image) => SimEnv::from_image(image, config, 2),
        None => SimEnv::new(config, 1),
    };
    let mut options = options(1 << 20);
    // So that groups of both lives begin at the same places.
    options.writer.tail_continuation = false;
    let mut shard = Shard::open(env, &options, |_| {}).unwrap();
    shard.add_queue(QUEUE, AckLevel::Memory, false);
    shard
}

/// One durable record in a group of its own, on its way.
fn send(shard: &mut Shard<SimEnv>, byte: u8, effects: &mut Vec<Effect>) {
    let mut batch = Vec::new();
    let record = NewRecord { value: Some(&[byte; 5000]), ..NewRecord::default() };
    append_single(&mut batch, &record, 1 << 20).unwrap();
    let (token, gathered) = (Token(0), shard.env.now());
    let ack = AckLevel::Durable;
    shard.produce(&Produce { token, queue: QUEUE, ack, batch: &batch, gathered }, effects);
    turn(shard, effects);
}

/// Story: 1. Two groups are on their way 2. power fails, the second is on the device, the first is
/// not: the log ends before both 3. the next life puts others in their places, and the second is on
/// its way when somebody reads. What is there on the device is whole, and at the right offset.
#[test]
fn what_is_on_its_way_is_not_read_from_the_device() {
    let mut shard = open(None);
    let mut effects = Vec::new();
    send(&mut shard, 0, &mut effects);
    settle(&mut shard, &mut effects);
    send(&mut shard, 1, &mut effects);
    send(&mut shard, 2, &mut effects);
    assert_eq!(shard.env.disk().in_flight(), 2, "nothing but the two groups");
    let places: Vec<LogPos> =
        shard.queues.get(QUEUE).unwrap().index.from(0).map(|s| s.pos).collect();
    let lost = places[1].0 / u64::from(BLOCK_BYTES) * u64::from(BLOCK_BYTES) / 512;
    let image = shard.env.disk().crash(CrashPolicy::Choose(&mut |choice| match choice {
        Choice::Sector { name: FileName::Segment(0), sector, .. } if sector == lost => 0,
        _ => choice.max(),
    }));
    let mut shard = open(Some(&image));
    assert_eq!(shard.queue_range(QUEUE).unwrap().end_offset, 1);
    effects.clear();
    send(&mut shard, 3, &mut effects);
    shard.env.advance(50_000);
    send(&mut shard, 4, &mut effects);
    let queue = shard.queues.get(QUEUE).unwrap();
    assert!(queue.index.from(0).map(|span| span.pos).eq(places), "in the same places");
    shard.env.advance(50_000);
    turn(&mut shard, &mut effects);
    let (end, written_end, _) = shard.log.ends();
    assert!(written_end < end, "one has landed, one is on its way");
    effects.clear();
    shard.fetch(&fetch(0, 0), shard.env.now(), &mut effects);
    turn(&mut shard, &mut effects);
    assert_eq!((shard.counters().cold_reads, effects.len()), (1, 0));
    shard.env.advance(10_000);
    turn(&mut shard, &mut effects);
    let first = |effects: &[Effect]| values(effects).iter().map(|v| v[0]).collect::<Vec<_>>();
    assert_eq!(first(&effects), [0, 3]);
    settle(&mut shard, &mut effects);
    effects.clear();
    shard.fetch(&fetch(2, 0), shard.env.now(), &mut effects);
    turn(&mut shard, &mut effects);
    assert_eq!(first(&effects), [4]);
}
