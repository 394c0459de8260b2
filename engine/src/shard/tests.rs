//! A shard on the simulated disk: levels, watermarks, fetches, rolls.

use super::produce::Produce;
use super::retention::Retention;
use super::turn::TurnClock;
use super::*;
use crate::batch::{NewRecord, append_single};
use crate::io::sim::{Config, SimEnv};
use crate::io::{Disk, Env, FileName};
use crate::log::recover::OpenOptions;
use crate::log::writer::WriterOptions;

pub(super) const QUEUE: u32 = 1;

pub(super) fn options(segment_bytes: u64) -> OpenOptions {
    OpenOptions {
        shard: 0,
        node: [1; 16],
        segment_bytes,
        writer: WriterOptions { groups_inflight_max: 4, ..WriterOptions::default() },
        retention: Retention::default(),
    }
}

pub(super) fn shard(seed: u64, segment_bytes: u64, visibility: AckLevel) -> Shard<SimEnv> {
    let env = SimEnv::new(Config::default(), seed);
    let mut shard = Shard::open(env, &options(segment_bytes), |_| {}).unwrap();
    shard.add_queue(QUEUE, visibility, false);
    shard
}

fn batch(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let record = NewRecord { value: Some(value), ..NewRecord::default() };
    append_single(&mut out, &record, 1 << 20).unwrap();
    out
}

pub(super) fn produce(
    shard: &mut Shard<SimEnv>,
    token: u64,
    ack: AckLevel,
    value: &[u8],
    effects: &mut Vec<Effect>,
) {
    let batch = batch(value);
    let gathered = shard.env.now();
    let token = Token(token);
    shard.produce(&Produce { token, queue: QUEUE, ack, batch: &batch, gathered }, effects);
}

pub(super) fn turn(shard: &mut Shard<SimEnv>, effects: &mut Vec<Effect>) -> turn::TurnEnd {
    let now = shard.env.now();
    let end = shard.turn(TurnClock { gathered: now, received: now }, effects);
    shard.env.disk().flush();
    end
}

/// Turns until nothing is left to happen soon.
pub(super) fn settle(shard: &mut Shard<SimEnv>, effects: &mut Vec<Effect>) {
    for _ in 0..10_000 {
        let end = turn(shard, effects);
        if shard.env.disk().in_flight() > 0 {
            shard.env.advance_to_next();
        } else if shard.log.is_quiet() {
            return;
        } else if let Some(at) = end.wake_at {
            let now = shard.env.now();
            shard.env.advance(at.since(now));
        }
    }
    panic!("the shard does not settle");
}

pub(super) fn acks(effects: &[Effect]) -> Vec<(u64, u64)> {
    let produced = effects.iter().filter_map(|effect| match effect {
        Effect::Produced { token, result: Ok(offset), .. } => Some((token.0, *offset)),
        _ => None,
    });
    produced.collect()
}

pub(super) fn fetch(offset: u64, wait_nanos: u64) -> Fetch {
    let (token, queue, epoch, bytes_max) = (Token(99), QUEUE, 0, 1 << 20);
    Fetch { token, queue, offset, epoch, bytes_min: 1, bytes_max, wait_nanos }
}

pub(super) fn values(effects: &[Effect]) -> Vec<Vec<u8>> {
    let mut values = Vec::new();
    for effect in effects {
        let Effect::Fetched { result: Ok(fetched), .. } = effect else { continue };
        let bytes: Vec<u8> = fetched.extents.slices.iter().flat_map(|s| s.to_vec()).collect();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let header = crate::log::entry_format::EntryHeader::decode(rest).unwrap();
            let batch = crate::batch::BatchRef::parse(header.batch_of(rest).unwrap(), 1 << 20);
            for record in batch.unwrap().records() {
                values.push(record.unwrap().value.unwrap().to_vec());
            }
            rest = &rest[header.entry_bytes() as usize..];
        }
    }
    values
}

#[test]
fn a_durable_message_is_acknowledged_once_and_read_back() {
    let mut shard = shard(1, 1 << 20, AckLevel::Durable);
    let mut effects = Vec::new();
    shard.fetch(&fetch(0, 1_000_000_000_000), shard.env.now(), &mut effects);
    produce(&mut shard, 7, AckLevel::Durable, b"hello", &mut effects);
    turn(&mut shard, &mut effects);
    assert!(effects.is_empty(), "nothing is durable yet, and the fetch waits");
    settle(&mut shard, &mut effects);
    assert_eq!(acks(&effects), [(7, 0)]);
    assert_eq!(values(&effects), [b"hello"]);
}

#[test]
fn every_level_is_acknowledged_and_offsets_have_no_gap() {
    let mut shard = shard(2, 1 << 20, AckLevel::Written);
    let mut effects = Vec::new();
    for n in 0..200_u64 {
        let ack = AckLevel::from_u8((n % 4) as u8).unwrap();
        produce(&mut shard, n, ack, format!("message {n}").as_bytes(), &mut effects);
        if n % 3 == 0 {
            turn(&mut shard, &mut effects);
        }
        if n % 7 == 0 {
            shard.env.advance_to_next();
        }
    }
    settle(&mut shard, &mut effects);
    let mut acked = acks(&effects);
    acked.sort_unstable();
    let expected: Vec<_> = (0..200).filter(|n| n % 4 != 0).map(|n| (n, n)).collect();
    assert_eq!(acked, expected);
    effects.clear();
    shard.fetch(&fetch(0, 0), shard.env.now(), &mut effects);
    turn(&mut shard, &mut effects);
    assert_eq!(values(&effects).len(), 200);
}

#[test]
fn full_groups_go_where_one_that_can_grow_waits() {
    let mut options = options(64 << 20);
    options.writer.groups_inflight_max = 2;
    let env = SimEnv::new(Config::default(), 7);
    let mut shard = Shard::open(env, &options, |_| {}).unwrap();
    shard.add_queue(QUEUE, AckLevel::Durable, false);
    let mut effects = Vec::new();
    let before = shard.counters().groups;
    // Two of these fill a group; the last one is alone in its group.
    for token in 0..7 {
        produce(&mut shard, token, AckLevel::Durable, &[7; 120 << 10], &mut effects);
    }
    turn(&mut shard, &mut effects);
    assert_eq!(shard.counters().groups - before, 3, "three are full, the fourth may grow");
    settle(&mut shard, &mut effects);
    assert_eq!(acks(&effects).len(), 7);
    let before = shard.counters().groups;
    for token in 7..12 {
        produce(&mut shard, token, AckLevel::Durable, b"short", &mut effects);
        turn(&mut shard, &mut effects);
    }
    assert_eq!(shard.counters().groups - before, 2, "the third gathers");
    settle(&mut shard, &mut effects);
    assert_eq!(acks(&effects).len(), 12);
}

#[test]
fn the_log_rolls_and_restarts() {
    let segment_bytes = 256 << 10;
    let mut shard = shard(3, segment_bytes, AckLevel::Durable);
    let mut effects = Vec::new();
    let value = vec![0x5A; 20_000];
    for n in 0..60 {
        produce(&mut shard, n, AckLevel::Durable, &value, &mut effects);
        settle(&mut shard, &mut effects);
    }
    assert_eq!(acks(&effects).len(), 60, "{effects:?}");
    let names = shard.env.disk().list().unwrap();
    assert!(names.contains(&FileName::Segment(4)), "{names:?}");
    let image = shard.env.disk().crash(crate::io::sim::CrashPolicy::LoseAll);
    let env = SimEnv::from_image(&image, Config::default(), 4);
    let mut found = 0;
    let mut shard = Shard::open(env, &options(segment_bytes), |_| found += 1).unwrap();
    shard.add_queue(QUEUE, AckLevel::Durable, false);
    assert_eq!(found, 60);
    assert_eq!(shard.epoch(), 2);
    let mut effects = Vec::new();
    // Everything is cold now.
    let mut offset = 0;
    while offset < 60 {
        effects.clear();
        shard.fetch(&fetch(offset, 0), shard.env.now(), &mut effects);
        settle(&mut shard, &mut effects);
        while effects.is_empty() {
            shard.env.advance_to_next();
            turn(&mut shard, &mut effects);
        }
        let got = values(&effects);
        assert!(!got.is_empty() && got.iter().all(|v| v == &value), "at {offset}: {effects:?}");
        offset += got.len() as u64;
    }
    effects.clear();
    produce(&mut shard, 1, AckLevel::Durable, b"after", &mut effects);
    settle(&mut shard, &mut effects);
    assert_eq!(acks(&effects), [(1, 60)]);
}
