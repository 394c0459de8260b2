//! Lookups by key on the simulated disk: in recent and sealed segments, while an index is being made,
//! and after it was damaged.

use std::ops::Range;

use super::produce::Produce;
use super::retention::Retention;
use super::retention_tests::{open, rest};
use super::tests::QUEUE;
use super::*;
use crate::batch::{BatchBuilder, NewRecord, RecordHeader};
use crate::index::keys::hash_of;
use crate::io::FileName;
use crate::io::sim::{Config, CrashPolicy, SimEnv};

const KEYS: u64 = 7;

fn shard() -> Shard<SimEnv> {
    let mut shard = open(SimEnv::new(Config::default(), 1), Retention::default());
    shard.set_keyed(&[QUEUE], true);
    shard
}

fn key(at: u64) -> Vec<u8> {
    format!("key {}", at % KEYS).into_bytes()
}

/// A batch of two records of 10 KB: the first with a key, the second with a header of two more.
fn send(shard: &mut Shard<SimEnv>, at: u64, effects: &mut Vec<Effect>) {
    let mut builder = BatchBuilder::new(1 << 20);
    let (name, value) = (key(at), [0x5A; 10_000]);
    let first = NewRecord { key: Some(&name), value: Some(&value), ..NewRecord::default() };
    builder.append(&first).unwrap();
    let words = format!("word {at}");
    let headers = [RecordHeader { key: b"KEYS", value: Some(words.as_bytes()) }];
    let second = NewRecord { value: Some(&value), headers: &headers, ..NewRecord::default() };
    builder.append(&second).unwrap();
    let request = Produce {
        token: Token(at),
        queue: QUEUE,
        ack: AckLevel::Durable,
        batch: builder.finish().unwrap(),
        gathered: shard.env.now(),
    };
    shard.produce(&request, effects);
    rest(shard, effects);
    let Some(Effect::Produced { result: Ok(_), .. }) = effects.pop() else { panic!("{effects:?}") };
}

fn look_up(shard: &mut Shard<SimEnv>, key: &[u8], offsets: Range<u64>, max: u32) -> LookedUp {
    for _ in 0..1000 {
        let lookup = Lookup {
            token: Token(1),
            queue: QUEUE,
            hash: hash_of(key),
            offsets: offsets.clone(),
            max,
        };
        let mut effects = Vec::new();
        shard.look_up(lookup, &mut effects);
        rest(shard, &mut effects);
        match effects.pop() {
            Some(Effect::LookedUp { result: Ok(found), .. }) => return found,
            // An index is being made again.
            Some(Effect::LookedUp { result: Err(FetchError::Busy), .. }) => {
                shard.env.advance(1_000_000);
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("never answered")
}

/// Every key is found in every way, of batches `first..end`.
fn check(shard: &mut Shard<SimEnv>, batches: Range<u64>) {
    for number in 0..KEYS {
        let of = batches.clone().rev().filter(|at| at % KEYS == number);
        let expected: Vec<u64> = of.map(|at| 2 * at).collect();
        let found = look_up(shard, &key(number), 0..u64::MAX, 1000);
        assert_eq!(found.offsets, expected);
        assert_eq!(found.reached, 2 * batches.start);
        // In parts, each going on where the one before ended.
        let (mut all, mut below) = (Vec::new(), u64::MAX);
        while below > 2 * batches.start {
            let part = look_up(shard, &key(number), 0..below, 3);
            assert!(part.offsets.len() <= 3 && part.reached < below);
            below = part.reached;
            all.extend(part.offsets);
        }
        assert_eq!(all, expected);
    }
    for at in batches.clone() {
        let found = look_up(shard, at.to_string().as_bytes(), 0..u64::MAX, 10);
        assert_eq!(found.offsets, [2 * at + 1]);
    }
    let words: Vec<u64> = batches.clone().rev().map(|at| 2 * at + 1).collect();
    assert_eq!(look_up(shard, b"word", 0..u64::MAX, 1000).offsets, words);
    let (first, last) = (2 * batches.start + 4, (2 * batches.end).saturating_sub(4));
    let inside: Vec<u64> = words.into_iter().filter(|o| (first..last).contains(o)).collect();
    assert_eq!(look_up(shard, b"word", first..last, 1000).offsets, inside);
    assert!(look_up(shard, b"nothing", 0..u64::MAX, 1000).offsets.is_empty());
}

fn seal(shard: &mut Shard<SimEnv>, indexes: u64) {
    let mut effects = Vec::new();
    for _ in 0..1000 {
        if shard.counters().sealed_segments >= indexes {
            return;
        }
        shard.env.advance(1_000_000);
        rest(shard, &mut effects);
    }
    panic!("no index is written");
}

#[test]
fn records_are_found_by_key_wherever_they_are() {
    let mut shard = shard();
    let mut effects = Vec::new();
    for at in 0..40 {
        send(&mut shard, at, &mut effects);
        if at % 5 == 0 {
            check(&mut shard, 0..at + 1);
        }
    }
    assert!(shard.log.segments().current() >= 3);
    seal(&mut shard, 2);
    check(&mut shard, 0..40);
}

#[test]
fn a_restart_finds_the_same() {
    let mut shard = shard();
    let mut effects = Vec::new();
    (0..40).for_each(|at| send(&mut shard, at, &mut effects));
    seal(&mut shard, 2);
    let image = shard.env.disk().crash(CrashPolicy::LoseAll);
    let again = |image| {
        let mut shard = open(SimEnv::from_image(image, Config::default(), 9), Retention::default());
        shard.set_keyed(&[QUEUE], true);
        shard
    };
    check(&mut again(&image), 0..40);
    let mut gone = image.clone();
    for name in image.names() {
        if matches!(name, FileName::Index(_)) {
            gone.remove(name);
        }
    }
    let mut shard = again(&gone);
    assert!(shard.opening().rebuilt_indexes > 0);
    check(&mut shard, 0..40);
}

#[test]
fn a_damaged_block_of_keys_is_made_again() {
    let mut shard = shard();
    let mut effects = Vec::new();
    (0..40).for_each(|at| send(&mut shard, at, &mut effects));
    seal(&mut shard, 2);
    let mut image = shard.env.disk().crash(CrashPolicy::LoseAll);
    // The second block: spans come first.
    image.flip_bit(FileName::Index(0), 4096 + 20, 3);
    let mut shard = open(SimEnv::from_image(&image, Config::default(), 9), Retention::default());
    assert_eq!(shard.opening().rebuilt_indexes, 0, "blocks are not read at boot");
    check(&mut shard, 0..40);
    assert_eq!(shard.counters().rebuilt_indexes, 1);
}

#[test]
fn what_has_gone_or_is_compressed_or_was_not_to_be_indexed_is_not_found() {
    let mut shard = shard();
    let mut effects = Vec::new();
    (0..4).for_each(|at| send(&mut shard, at, &mut effects));
    shard.set_keyed(&[QUEUE], false);
    (4..6).for_each(|at| send(&mut shard, at, &mut effects));
    check(&mut shard, 0..4);
    shard.set_keyed(&[QUEUE], true);
    let mut builder = BatchBuilder::new(1 << 20);
    builder.append(&NewRecord::default()).unwrap();
    let mut batch = builder.finish().unwrap().to_vec();
    // Attributes: gzip.
    batch[22] = 1;
    let crc = crc32c::crc32c(&batch[21..]).to_be_bytes();
    batch[17..21].copy_from_slice(&crc);
    let (token, ack, gathered) = (Token(9), AckLevel::Durable, shard.env.now());
    shard.produce(&Produce { token, queue: QUEUE, ack, batch: &batch, gathered }, &mut effects);
    let Some(Effect::Produced { result: Err(error), .. }) = effects.pop() else { panic!() };
    assert_eq!(error, ProduceError::Compressed);
    assert!(matches!(
        {
            shard
                .look_up(Lookup { token, queue: 99, hash: 0, offsets: 0..1, max: 1 }, &mut effects);
            effects.pop()
        },
        Some(Effect::LookedUp { result: Err(FetchError::UnknownQueue), .. })
    ));
}

/// More rows than a block holds have one key.
#[test]
fn a_key_of_very_many_records_is_found_in_several_blocks() {
    const RECORDS: u64 = 700;
    let mut shard = shard();
    let mut effects = Vec::new();
    for _ in 0..2 {
        let mut builder = BatchBuilder::new(1 << 20);
        for at in 0..RECORDS {
            let name = if at % 7 == 0 { &b"other"[..] } else { &b"same"[..] };
            builder.append(&NewRecord { key: Some(name), ..NewRecord::default() }).unwrap();
        }
        let (token, ack, gathered) = (Token(0), AckLevel::Durable, shard.env.now());
        let batch = builder.finish().unwrap();
        shard.produce(&Produce { token, queue: QUEUE, ack, batch, gathered }, &mut effects);
        rest(&mut shard, &mut effects);
    }
    super::retention_tests::fill(&mut shard, 30, &mut effects);
    seal(&mut shard, 1);
    let expected: Vec<u64> =
        (0..2 * RECORDS).rev().filter(|at| !(at % RECORDS).is_multiple_of(7)).collect();
    assert!(expected.len() > 4 * 255);
    let found = look_up(&mut shard, b"same", 0..u64::MAX, 4000);
    assert_eq!((found.offsets, found.reached), (expected.clone(), 0));
    let found = look_up(&mut shard, b"same", 100..900, 4000);
    let inside = expected.into_iter().filter(|offset| (100..900).contains(offset));
    assert_eq!(found.offsets, inside.collect::<Vec<_>>());
}

#[test]
fn what_consumers_do_not_see_yet_is_not_found() {
    let mut shard = shard();
    let mut builder = BatchBuilder::new(1 << 20);
    builder.append(&NewRecord { key: Some(b"key"), ..NewRecord::default() }).unwrap();
    let (token, ack, gathered) = (Token(0), AckLevel::Durable, shard.env.now());
    let batch = builder.finish().unwrap();
    let mut effects = Vec::new();
    shard.produce(&Produce { token, queue: QUEUE, ack, batch, gathered }, &mut effects);
    let hash = hash_of(b"key");
    shard.look_up(Lookup { token, queue: QUEUE, hash, offsets: 0..9, max: 9 }, &mut effects);
    let Some(Effect::LookedUp { result: Ok(found), .. }) = effects.pop() else { panic!() };
    assert_eq!((found.offsets, found.visible_offset), (vec![], 0));
    rest(&mut shard, &mut effects);
    assert_eq!(look_up(&mut shard, b"key", 0..9, 9).offsets, [0]);
}
