//! Logs that end in odd places, and leftovers of earlier lives.

use super::*;
use crate::batch::{BatchRef, NewRecord, append_single};
use crate::io::BLOCK_BYTES;
use crate::io::Output;
use crate::io::sim::{Config, CrashImage, CrashPolicy, SimDisk};
use crate::level::AckLevel;
use crate::log::entry_format::{ENTRY_HEADER_BYTES, Kind};
use crate::log::group_format::{GROUP_HEADER_BYTES, GroupHeader};
use crate::log::position::Handle;
use crate::log::writer::Log;
use crate::log::writer::{Append, AppendError, Appended};

const SEGMENT_BYTES: u64 = 32 << 10;
const SEGMENT: FileName = FileName::Segment(0);

fn options(segment_bytes: u64) -> OpenOptions {
    let writer = WriterOptions::default();
    OpenOptions { shard: 0, node: [3; 16], segment_bytes, writer, retention: Retention::default() }
}

/// The log and the offsets of what was found in it.
fn open_found(disk: &mut SimDisk, segment_bytes: u64) -> Result<(Log, Vec<u64>), OpenError> {
    let mut found = Vec::new();
    let opened = Opened::new(disk, &options(segment_bytes))?;
    let was_read = opened.read(disk, |entry| found.push(entry.header.base_offset))?;
    let (log, _) = was_read.begin(disk)?;
    Ok((log, found))
}

fn restart(disk: &SimDisk) -> SimDisk {
    SimDisk::from_image(&disk.crash(CrashPolicy::LoseAll), Config::default(), 2)
}

/// A batch of exactly `batch_bytes` bytes.
fn batch(batch_bytes: usize) -> Vec<u8> {
    for value_bytes in (0..batch_bytes).rev() {
        let (mut out, value) = (Vec::new(), vec![0x42; value_bytes]);
        let record = NewRecord { value: Some(&value), ..NewRecord::default() };
        if append_single(&mut out, &record, 2 << 20).unwrap() == batch_bytes {
            return out;
        }
    }
    panic!("no batch has {batch_bytes} bytes");
}

fn append(
    log: &mut Log,
    disk: &mut SimDisk,
    offset: u64,
    batch_bytes: usize,
    level: AckLevel,
) -> Result<Appended, AppendError> {
    let bytes = batch(batch_bytes);
    let batch = BatchRef::parse(&bytes, 2 << 20).unwrap();
    let head = batch.stamped(offset, log.epoch());
    let entry = Append {
        kind: Kind::Data,
        queue: 1,
        base_offset: offset,
        wall_ms: 0,
        records: 1,
        keyed: false,
        head: &head,
        rest: batch.after_stamp(),
        ack: level,
        flush: level,
        kept_back: false,
    };
    log.append(disk, disk.clock().now(), &entry)
}

/// Until the disk is idle.
fn pump(log: &mut Log, disk: &mut SimDisk) {
    let mut out = Vec::new();
    loop {
        let now = disk.clock().now();
        log.commit(disk, now);
        disk.complete(&mut out);
        for completion in out.drain(..) {
            // Nobody waits for the end of a close.
            let rest = log.on_completion(disk, completion, now);
            assert!(rest.is_none_or(|rest| matches!(rest.result, Ok(Output::Done))));
        }
        log.commit(disk, now);
        if !disk.advance_to_next() {
            return;
        }
    }
}

/// Bytes of the batch whose group, alone, is `group_bytes` long.
fn batch_for(group_bytes: u64) -> usize {
    (group_bytes - u64::from(GROUP_HEADER_BYTES)) as usize - ENTRY_HEADER_BYTES
}

#[test]
fn a_group_may_fill_its_segment_to_the_last_byte() {
    for segment_bytes in [SEGMENT_BYTES, 8 << 20] {
        let mut disk = SimDisk::new(Config::default(), 1);
        let (mut log, _) = open_found(&mut disk, segment_bytes).unwrap();
        let mut next = 0;
        // The large segment is filled while it is appended to.
        let largest = log.batch_bytes_max().min(600 << 10);
        while segment_bytes - log.ends().0.0 > u64::from(largest) {
            append(&mut log, &mut disk, next, largest as usize / 2, AckLevel::Durable).unwrap();
            pump(&mut log, &mut disk);
            next += 1;
        }
        let left = segment_bytes - log.ends().0.0;
        append(&mut log, &mut disk, next, batch_for(left), AckLevel::Durable).unwrap();
        pump(&mut log, &mut disk);
        assert_eq!(log.ends().2, LogPos(segment_bytes), "durable to the last byte");
        let mut disk = restart(&disk);
        let (mut log, found) = open_found(&mut disk, segment_bytes).unwrap();
        assert_eq!(found, (0..=next).collect::<Vec<_>>());
        pump(&mut log, &mut disk);
        let appended = append(&mut log, &mut disk, next + 1, 100, AckLevel::Durable).unwrap();
        assert!(appended.pos > LogPos(segment_bytes + u64::from(BLOCK_BYTES)), "{appended:?}");
        pump(&mut log, &mut disk);
        let mut disk = restart(&disk);
        let (_, found) = open_found(&mut disk, segment_bytes).unwrap();
        assert_eq!(found, (0..=next + 1).collect::<Vec<_>>());
    }
}

/// A batch that fits an empty segment but not this one, which is hardly used.
#[test]
fn a_large_batch_makes_the_successor_come() {
    let mut disk = SimDisk::new(Config::default(), 1);
    let (mut log, _) = open_found(&mut disk, 128 << 10).unwrap();
    append(&mut log, &mut disk, 0, 10_000, AckLevel::Durable).unwrap();
    pump(&mut log, &mut disk);
    let largest = log.batch_bytes_max() as usize;
    let refused = append(&mut log, &mut disk, 1, largest, AckLevel::Durable);
    assert_eq!(refused, Err(AppendError::Busy));
    for offset in 1..4 {
        pump(&mut log, &mut disk);
        append(&mut log, &mut disk, offset, largest, AckLevel::Durable).unwrap();
    }
}

/// Nothing was flushed for several segments, then the power went: their names are there, what
/// was in them is not. All of them are used again.
#[test]
fn segments_beyond_the_successor_are_used_again() {
    let mut disk = SimDisk::new(Config { fua: true, ..Config::default() }, 1);
    let (mut log, _) = open_found(&mut disk, SEGMENT_BYTES).unwrap();
    append(&mut log, &mut disk, 0, 100, AckLevel::Durable).unwrap();
    pump(&mut log, &mut disk);
    for offset in 1..20 {
        append(&mut log, &mut disk, offset, 6000, AckLevel::Written).unwrap();
        pump(&mut log, &mut disk);
    }
    let segments = log.segments().count();
    assert!(segments >= 4, "{segments}");
    let mut disk = restart(&disk);
    let (mut log, found) = open_found(&mut disk, SEGMENT_BYTES).unwrap();
    assert_eq!(found, [0]);
    for offset in 1..60 {
        append(&mut log, &mut disk, offset, 6000, AckLevel::Durable).unwrap();
        pump(&mut log, &mut disk);
    }
    let mut disk = restart(&disk);
    let (_, found) = open_found(&mut disk, SEGMENT_BYTES).unwrap();
    assert_eq!(found, (0..60).collect::<Vec<_>>());
}

/// An empty log that has been opened `lives` times.
fn lives(lives: u32) -> CrashImage {
    let mut disk = SimDisk::new(Config::default(), 1);
    for life in 1..=lives {
        let (log, found) = open_found(&mut disk, SEGMENT_BYTES).unwrap();
        assert_eq!((log.epoch(), found), (life, vec![]));
        disk = restart(&disk);
    }
    disk.crash(CrashPolicy::LoseAll)
}

/// Group 1 of a log, with one entry, whose header and batch say which life they are of.
fn forge(image: &mut CrashImage, epoch: u32, batch_epoch: u32, watermark: u64, sequence: u64) {
    let position = LogPos(u64::from(BLOCK_BYTES));
    let bytes = batch(100);
    let batch = BatchRef::parse(&bytes, 2 << 20).unwrap();
    let head = batch.stamped(0, batch_epoch);
    let entry = EntryHeader {
        kind: Kind::Data,
        queue: 1,
        batch_bytes: 100,
        base_offset: 0,
        store_timestamp_ms: 0,
        handle: Handle::new(0, position.plus(u64::from(GROUP_HEADER_BYTES))),
        keyed: false,
    };
    let group = GroupHeader {
        length_bytes: GROUP_HEADER_BYTES + entry.entry_bytes(),
        entries: 1,
        epoch,
        shard: 0,
        sequence,
        position,
        watermark: LogPos(watermark),
        records: 1,
    };
    let bytes = [&group.encode()[..], &entry.encode(&head), &head, batch.after_stamp()].concat();
    image.overwrite(SEGMENT, position.0, &bytes);
}

fn found_in(image: &CrashImage) -> Result<Vec<u64>, OpenError> {
    let mut disk = SimDisk::from_image(image, Config::default(), 1);
    open_found(&mut disk, SEGMENT_BYTES).map(|(_, found)| found)
}

#[test]
fn a_group_is_of_one_life_and_not_of_one_that_ended_without_it() {
    let mut image = lives(2);
    forge(&mut image, 2, 2, 0, 1);
    assert_eq!(found_in(&image).unwrap(), [0], "a group of the newest life");
    forge(&mut image, 2, 1, 0, 1);
    assert!(found_in(&image).unwrap().is_empty(), "sectors of two lives");
    forge(&mut image, 1, 1, 0, 1);
    assert!(found_in(&image).unwrap().is_empty(), "the second life began without it");
}

#[test]
fn a_life_the_superblock_does_not_know_is_damage() {
    for sequence in [1, 2] {
        let mut image = lives(2);
        forge(&mut image, 3, 3, 0, sequence);
        let damaged = found_in(&image).unwrap_err();
        assert!(matches!(damaged, OpenError::Damaged { .. }), "{damaged}");
    }
}

#[test]
fn a_later_watermark_is_damage_and_an_equal_one_a_torn_tail() {
    let end = u64::from(BLOCK_BYTES);
    let mut image = lives(1);
    forge(&mut image, 1, 1, end, 2);
    assert!(found_in(&image).unwrap().is_empty());
    forge(&mut image, 1, 1, end + 8, 2);
    let damaged = found_in(&image).unwrap_err();
    assert!(matches!(damaged, OpenError::Damaged { at: LogPos(4096), .. }), "{damaged}");
}

#[test]
fn what_a_life_found_cannot_go_missing_later() {
    let mut image = lives(1);
    forge(&mut image, 1, 1, 0, 1);
    let mut disk = SimDisk::from_image(&image, Config::default(), 1);
    assert_eq!(open_found(&mut disk, SEGMENT_BYTES).unwrap().1, [0]);
    let whole = disk.crash(CrashPolicy::LoseAll);
    assert_eq!(found_in(&whole).unwrap(), [0]);
    let mut cut = whole.clone();
    cut.flip_bit(SEGMENT, u64::from(BLOCK_BYTES) + 130, 0);
    assert!(matches!(found_in(&cut), Err(OpenError::Damaged { at: LogPos(4096), .. })));
    let mut gone = whole;
    gone.remove(SEGMENT);
    assert!(matches!(found_in(&gone), Err(OpenError::Damaged { .. })));
}

#[test]
fn lives_take_turns_in_the_superblock() {
    let image = lives(3);
    let slot = |slot: u64| {
        let bytes = image.read(FileName::Superblock, slot * u64::from(BLOCK_BYTES), 4096);
        Superblock::decode(&bytes.unwrap()).map(|slot| slot.epoch)
    };
    assert_eq!((slot(0), slot(1)), (Some(2), Some(3)));
}

#[test]
fn foreign_files_are_refused() {
    let image = lives(1);
    for changed in [
        OpenOptions { node: [4; 16], ..options(SEGMENT_BYTES) },
        OpenOptions { shard: 1, ..options(SEGMENT_BYTES) },
        options(2 * SEGMENT_BYTES),
    ] {
        let mut disk = SimDisk::from_image(&image, Config::default(), 1);
        let refused = Opened::new(&mut disk, &changed).unwrap_err();
        assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
    }
}
