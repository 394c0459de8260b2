//! What is damaged or cannot be read inside of a group hides the entries it is in, and no other.

use std::ops::Range;

use super::produce::Produce;
use super::tests::{QUEUE, fetch, options, settle, turn, values};
use super::*;
use crate::batch::{NewRecord, append_single};
use crate::io::block::Budget;
use crate::io::sim::{Config, CrashPolicy, EIO, SimEnv};
use crate::io::{BLOCK_BYTES, FileName};
use crate::log::entry_format::{ENTRY_ALIGN, ENTRY_HEADER_BYTES, EntryHeader};
use crate::log::group_format::GroupHeader;
use crate::log::recover::{EntryFault, Group};

const SEGMENT_BYTES: u64 = 1 << 20;
const OTHER: u32 = QUEUE + 1;
/// In turn to one queue and the other; the first queue has the last one, too.
const ENTRIES: u64 = 11;

/// An entry of the group: its queue, its offset and its bytes in segment 0.
struct Place {
    queue: u32,
    offset: u64,
    bytes: Range<u64>,
}

/// A shard with one group, which is on the device only, and where its entries are.
fn cold() -> (Shard<SimEnv>, Vec<u8>, Vec<Place>) {
    let open = |env| {
        let mut shard = Shard::open(env, &options(SEGMENT_BYTES), |_| {}).unwrap();
        shard.add_queue(QUEUE, AckLevel::Durable, false);
        shard.add_queue(OTHER, AckLevel::Durable, false);
        shard
    };
    let mut shard = open(SimEnv::new(Config::default(), 1));
    let mut effects = Vec::new();
    for n in 0..ENTRIES {
        let mut batch = Vec::new();
        let value = [n as u8; 1500];
        append_single(
            &mut batch,
            &NewRecord { value: Some(&value), ..Default::default() },
            1 << 20,
        )
        .unwrap();
        let (gathered, ack) = (shard.env.now(), AckLevel::Durable);
        let queue = if n % 2 == 0 { QUEUE } else { OTHER };
        let request = Produce { token: Token(n), queue, ack, batch: &batch, gathered };
        shard.produce(&request, &mut effects);
    }
    settle(&mut shard, &mut effects);
    let image = shard.env.disk().crash(CrashPolicy::LoseAll);
    let segment = image.read(FileName::Segment(0), 0, 64 << 10).unwrap();
    let headers = (0..segment.len()).step_by(ENTRY_ALIGN as usize).filter_map(|at| {
        let header = EntryHeader::decode(&segment[at..])?;
        Some((header, at as u64..at as u64 + u64::from(header.entry_bytes())))
    });
    let place = |(header, bytes): (EntryHeader, Range<u64>)| Place {
        queue: header.queue,
        offset: header.base_offset,
        bytes,
    };
    let places: Vec<Place> = headers.map(place).collect();
    assert_eq!(places.len() as u64, ENTRIES);
    assert!(places.windows(2).all(|two| two[0].bytes.end == two[1].bytes.start), "one group");
    (open(SimEnv::from_image(&image, Config::default(), 2)), segment, places)
}

/// The first bytes of what a fetch brings.
fn get(
    shard: &mut Shard<SimEnv>,
    queue: u32,
    offset: u64,
    bytes_max: u32,
) -> Result<Vec<u8>, FetchError> {
    let mut effects = Vec::new();
    let fetch = Fetch { queue, bytes_max, ..fetch(offset, 0) };
    shard.fetch(&fetch, shard.env.now(), &mut effects);
    turn(shard, &mut effects);
    settle(shard, &mut effects);
    match &effects[..] {
        [Effect::Fetched { result: Err(error), .. }] => Err(*error),
        _ => Ok(values(&effects).iter().map(|value| value[0]).collect()),
    }
}

/// Every entry is served but those for which `is_lost`, each alone; those are an error.
fn only_these_are_lost(
    shard: &mut Shard<SimEnv>,
    places: &[Place],
    is_lost: impl Fn(&Place) -> bool,
    is_error: impl Fn(FetchError, &Place) -> bool,
) {
    for (place, n) in places.iter().zip(0..) {
        match get(shard, place.queue, place.offset, 1) {
            Ok(got) => assert!(got == [n] && !is_lost(place), "{n}: {got:?}"),
            Err(error) => assert!(is_lost(place) && is_error(error, place), "{n}: {error:?}"),
        }
    }
}

#[test]
fn a_damaged_header_hides_its_entry_alone() {
    for at in 0..ENTRY_HEADER_BYTES as u64 {
        let (mut shard, _, places) = cold();
        // Entry 1 of the first queue.
        let damaged = &places[2];
        shard.env.disk().flip_bit(FileName::Segment(0), damaged.bytes.start + at, (at % 8) as u32);
        let is_error = |error, place: &Place| match error {
            FetchError::Damaged { at } => at.0 == place.bytes.start,
            _ => false,
        };
        only_these_are_lost(&mut shard, &places, |p| p.bytes == damaged.bytes, is_error);
        // What lies before the damage comes at once, and so does what lies behind it.
        assert_eq!(get(&mut shard, QUEUE, 0, 1 << 20), Ok(vec![0]));
        assert_eq!(get(&mut shard, QUEUE, 2, 1 << 20), Ok(vec![4, 6, 8, 10]));
        // Nothing of the other queue is lost.
        assert_eq!(get(&mut shard, OTHER, 0, 1 << 20), Ok(vec![1, 3, 5, 7, 9]));
    }
}

#[test]
fn a_block_that_cannot_be_read_hides_the_entries_it_is_in() {
    let end = cold().2.last().unwrap().bytes.end;
    for block in 1..end.div_ceil(u64::from(BLOCK_BYTES)) {
        let (mut shard, _, places) = cold();
        let lost = block * u64::from(BLOCK_BYTES)..(block + 1) * u64::from(BLOCK_BYTES);
        shard.env.disk().lose_block(FileName::Segment(0), lost.start);
        let is_lost = |place: &Place| place.bytes.start < lost.end && lost.start < place.bytes.end;
        assert!((1..=4).contains(&places.iter().filter(|place| is_lost(place)).count()));
        let is_error = |error, _: &Place| matches!(error, FetchError::Read { errno: EIO, .. });
        only_these_are_lost(&mut shard, &places, is_lost, is_error);
    }
}

/// What an audit and `uringmq dump` see of it.
#[test]
fn a_damaged_header_costs_a_group_one_entry() {
    let (_, segment, places) = cold();
    let at = u64::from(BLOCK_BYTES);
    let header = GroupHeader::decode(&segment[at as usize..]).unwrap();
    let group = |bytes: &[u8]| {
        let mut block = Budget::new(1 << 20).block(64 << 10).unwrap();
        block.append(bytes);
        let all = block.slice(at as u32..at as u32 + header.length_bytes);
        Group::new(header, all)
    };
    assert_eq!(group(&segment).checked().filter(Result::is_ok).count() as u64, ENTRIES);
    for (place, n) in places.iter().zip(0..) {
        let mut damaged = segment.clone();
        damaged[place.bytes.start as usize + 13] ^= 0x40;
        let group = group(&damaged);
        let checked: Vec<_> = group.checked().collect();
        assert_eq!(checked.iter().filter(|entry| entry.is_ok()).count() as u64, ENTRIES - 1);
        let fault = checked[n].as_ref().unwrap_err();
        assert_eq!((fault.pos.0, fault.fault), (place.bytes.start, EntryFault::Header));
    }
}
