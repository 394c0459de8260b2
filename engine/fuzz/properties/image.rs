//! A shard's files with anything done to them: recovery and an audit end, with an answer, within
//! their memory, and agree.
//!
//! The input is a list of steps (`steps`), done to the files of a small log that two lives wrote.

use std::cell::LazyCell;

use engine::audit::topics::Topics;
use engine::audit::{Expected, verify};
use engine::batch::{BatchRef, NewRecord, append_single};
use engine::io::sim::{Config, CrashImage, CrashPolicy, SimDisk};
use engine::io::{Disk, FileName};
use engine::level::AckLevel;
use engine::log::entry_format::{BATCH_UNCOVERED_BYTES, ENTRY_HEADER_BYTES, Kind};
use engine::log::recover::{Found, OpenError, OpenOptions, Opened, Walked};
use engine::log::writer::{Append, AppendError, Log, WriterOptions};
use engine::shard::retention::Retention;

use super::allocation::limited;
use super::steps::{Base, Sum, changed};

const SEGMENT_BYTES: u64 = 32 << 10;
const ENOMEM: i32 = 12;
/// What recovery and an audit may hold at once: a group is 2 MiB at most, the files are smaller.
const HELD_BYTES_MAX: usize = 4 << 20;

thread_local! {
    static BASE: LazyCell<Base> = LazyCell::new(base);
}

fn options() -> OpenOptions {
    let writer = WriterOptions::default();
    let retention = Retention::default();
    OpenOptions { shard: 0, node: [3; 16], segment_bytes: SEGMENT_BYTES, writer, retention }
}

/// Two lives over two segments.
fn base() -> Base {
    let mut image = CrashImage::default();
    let (mut offset, mut entries) = (0, Vec::new());
    for _life in 0..2 {
        let mut disk = SimDisk::from_image(&image, Config::default(), 1);
        let (mut log, _) = open(&mut disk, |_| {}).expect("a sound log");
        for group in 0..7 {
            for entry in 0..2 {
                entries.push(append(&mut log, &mut disk, offset, 500 + group * 300 + entry));
                offset += 1;
            }
            settle(&mut log, &mut disk);
        }
        image = disk.crash(CrashPolicy::LoseAll);
    }
    let mut sums = vec![
        Sum::new(FileName::Superblock, 0, 4, 8..88),
        Sum::new(FileName::Superblock, 4096, 4, 8..88),
        Sum::new(FileName::Segment(0), 0, 4, 8..64),
        Sum::new(FileName::Segment(1), 0, 4, 8..64),
    ];
    let mut used = vec![0; 2];
    for (pos, entry_bytes, batch_bytes) in entries {
        let (segment, at) = ((pos / SEGMENT_BYTES) as usize, pos % SEGMENT_BYTES);
        let name = FileName::Segment(segment as u64);
        used[segment] = at + u64::from(entry_bytes);
        let header = ENTRY_HEADER_BYTES as u64;
        let covered = header + BATCH_UNCOVERED_BYTES as u64;
        sums.push(Sum::new(name, at, 0, 4..covered));
        sums.push(Sum::new(name, at + header, 17, BATCH_UNCOVERED_BYTES as u64..batch_bytes));
        // The first entry of a group is behind the group's header.
        if image.read(name, at - 64, 4).as_deref() == Some(b"UGR1") {
            sums.push(Sum::new(name, at - 64, 4, 8..64));
        }
    }
    assert!(used.iter().all(|used| *used > 0), "two segments are used");
    Base { image, sums, used, segment_bytes: SEGMENT_BYTES }
}

fn open(disk: &mut SimDisk, visit: impl FnMut(&Found<'_>)) -> Result<(Log, Walked), OpenError> {
    Opened::new(disk, &options())?.read(disk, visit)?.begin(disk)
}

/// Position of the entry, its bytes, its batch's bytes.
fn append(log: &mut Log, disk: &mut SimDisk, offset: u64, value_bytes: usize) -> (u64, u32, u64) {
    let (mut bytes, value) = (Vec::new(), vec![0x42; value_bytes]);
    let record = NewRecord { value: Some(&value), ..NewRecord::default() };
    append_single(&mut bytes, &record, 1 << 20).expect("a batch");
    let batch = BatchRef::parse(&bytes, 1 << 20).expect("a batch");
    let head = batch.stamped(offset, log.epoch());
    loop {
        let entry = Append {
            keyed: false,
            kind: Kind::Data,
            queue: 1,
            base_offset: offset,
            wall_ms: 0,
            records: 1,
            head: &head,
            rest: batch.after_stamp(),
            ack: AckLevel::Durable,
            flush: AckLevel::Durable,
            kept_back: false,
        };
        match log.append(disk, disk.clock().now(), &entry) {
            Ok(appended) => return (appended.pos.0, appended.entry_bytes, bytes.len() as u64),
            Err(AppendError::Busy) => settle(log, disk),
            Err(error) => panic!("{error}"),
        }
    }
}

fn settle(log: &mut Log, disk: &mut SimDisk) {
    let mut out = Vec::new();
    loop {
        let now = disk.clock().now();
        log.commit(disk, now);
        disk.complete(&mut out);
        for completion in out.drain(..) {
            log.on_completion(disk, completion, now);
        }
        log.commit(disk, now);
        if !disk.advance_to_next() {
            return;
        }
    }
}

/// Recovers and audits the log after `steps`.
pub(crate) fn check(steps: &[u8]) {
    BASE.with(|base| {
        let base = LazyCell::force(base);
        limited(HELD_BYTES_MAX, || recover_and_audit(&changed(base, steps)));
    });
}

fn recover_and_audit(image: &CrashImage) {
    // A group is 2 MiB at most; whoever believes a length asks for more than this.
    let config = Config { block_bytes_max: 12 << 20, ..Config::default() };
    let expected = Expected { shard: 0, node: options().node, segment_bytes: SEGMENT_BYTES };
    let mut disk = SimDisk::from_image(image, config, 1);
    let (report, read) = verify(&mut disk, &expected, &mut Topics::default(), &mut |_| {});
    assert!(read.is_ok(), "a disk without faults: {read:?}");
    let mut found = 0;
    let mut disk = SimDisk::from_image(image, config, 1);
    let opened = open(&mut disk, |_| found += 1).map(drop);
    // The queue of the base belongs to no topic, and nothing else is ever made up.
    let damages = || report.damages.iter().map(ToString::to_string).collect::<Vec<_>>();
    let unknown = "no topic has this queue in this shard";
    let is_clean = damages().iter().all(|damage| damage.ends_with(unknown));
    match opened {
        Ok(()) if is_clean => assert_eq!(found, report.entries, "{report:?}"),
        // Padding, reserved bytes, the other slot: an audit sees more.
        Ok(()) => {}
        Err(OpenError::Io { errno, what }) => {
            assert!(errno.0 != ENOMEM, "{what}: more memory than there can be");
            assert!(!is_clean, "{what}: {errno}, and an audit finds nothing");
        }
        Err(error) => assert!(!is_clean, "{error}, and an audit finds nothing"),
    }
}
