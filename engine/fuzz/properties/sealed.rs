//! A broker's files with sealed segments, their indexes, and a checkpoint that the superblock
//! names, with anything done to them: a start and an audit end, within their memory, and agree;
//! and what an audit calls derived can be taken away, and nothing is lost.

use std::cell::LazyCell;
use std::ops::ControlFlow;

use engine::audit::topics::Topics;
use engine::audit::{Damage, Expected, Group, ShardReport, Visitor, verify, walk};
use engine::batch::{BatchRef, NewRecord, append_single};
use engine::broker::{Answers, Broker, NewTopic};
use engine::index::file_format::Footer;
use engine::index::keys::hash_of;
use engine::io::sim::{Config, CrashImage, CrashPolicy, SimEnv};
use engine::io::{Disk, Env, FileName};
use engine::level::AckLevel;
use engine::log::entry_format::{BATCH_UNCOVERED_BYTES, ENTRY_HEADER_BYTES, EntryHeader, Kind};
use engine::log::group_format::GROUP_HEADER_BYTES;
use engine::log::recover::{OpenError, OpenOptions};
use engine::log::segments::Geometry;
use engine::log::superblock_format::Superblock;
use engine::log::writer::WriterOptions;
use engine::shard::retention::Retention;
use engine::shard::turn::TurnClock;
use engine::shard::{Effect, Fetch, Lookup, Seek, Token};

use super::allocation::limited;
use super::headers::block_seed;
use super::steps::{Base, Sum, changed};

const SEGMENT_BYTES: u64 = 64 << 10;
const BLOCK: u64 = 4096;
const QUEUES: u16 = 2;
const BATCHES: u64 = 48;
const TOPIC: u32 = 1;
const ENOMEM: i32 = 12;
/// What a start and an audit may hold at once: a group is 2 MiB at most, the files are smaller.
const HELD_BYTES_MAX: usize = 4 << 20;
/// Of every record.
const KEY: &[u8] = b"key";
/// What comes later than this is retention, which never ends.
const SOON_NANOS: u64 = 5_000_000_000;

thread_local! {
    static BASE: LazyCell<Base> = LazyCell::new(base);
}

fn options() -> OpenOptions {
    let writer = WriterOptions::default();
    let retention = Retention::default();
    OpenOptions { shard: 0, node: [3; 16], segment_bytes: SEGMENT_BYTES, writer, retention }
}

/// A broker on one simulated machine.
struct Node {
    broker: Broker<SimEnv>,
    answers: Answers,
}

impl Node {
    fn start(image: &CrashImage) -> Result<Self, OpenError> {
        // A group is 2 MiB at most; whoever believes a length asks for more than this.
        let config = Config { block_bytes_max: 12 << 20, ..Config::default() };
        let broker = Broker::open([SimEnv::from_image(image, config, 1)], &options())?;
        Ok(Self { broker, answers: Answers::default() })
    }

    fn disk(&mut self) -> &mut engine::io::sim::SimDisk {
        self.broker.shards()[0].env().disk()
    }

    /// Turns until there is an answer, or nothing to do.
    fn settle(&mut self) -> Option<Effect> {
        for _ in 0..20_000 {
            let now = self.disk().clock().now();
            let end =
                self.broker.turn(TurnClock { gathered: now, received: now }, &mut self.answers);
            self.disk().flush();
            if let Some(effect) = self.answers.effects.pop() {
                return Some(effect);
            }
            let soon = end.wake_at.filter(|at| at.since(now) < SOON_NANOS);
            let at = self.disk().next_due().into_iter().chain(soon).min()?;
            self.disk().clock().advance_to(at);
        }
        panic!("it never settles");
    }

    fn produce(&mut self, queue: u16, value_bytes: usize) {
        let (mut bytes, value) = (Vec::new(), vec![0x42; value_bytes]);
        let (key, value) = (Some(KEY), Some(&value[..]));
        let record = NewRecord { key, value, ..NewRecord::default() };
        append_single(&mut bytes, &record, 1 << 20).expect("a batch");
        let asked = (Token(1), self.disk().clock().now());
        let ack = Some(AckLevel::Durable);
        self.broker.produce((TOPIC, queue), ack, &bytes, asked, &mut self.answers);
    }

    /// Reads everything of a queue, each answer from the device or memory; the records that came.
    fn read(&mut self, queue: u16) -> Result<u64, String> {
        let Ok(range) = self.broker.range(TOPIC, queue) else { return Err("no queue".to_owned()) };
        let (mut offset, mut records) = (range.start_offset, 0);
        while offset < range.visible_offset {
            let (token, wait_nanos) = (Token(2), 0);
            let (bytes_min, bytes_max, epoch) = (1, 64 << 10, 0);
            let fetch = Fetch { token, queue: 0, offset, epoch, bytes_min, bytes_max, wait_nanos };
            let now = self.disk().clock().now();
            self.broker.fetch((TOPIC, queue), fetch, now, &mut self.answers);
            let answer = self.answers.effects.pop().or_else(|| self.settle());
            let fetched = match answer {
                Some(Effect::Fetched { result: Ok(fetched), .. }) => fetched,
                Some(Effect::Fetched { result: Err(error), .. }) => return Err(error.to_string()),
                other => panic!("offset {offset} of queue {queue}: {other:?}"),
            };
            let slices = fetched.extents.slices.iter();
            let bytes = slices.flat_map(|slice| slice.iter().copied()).collect::<Vec<u8>>();
            let (next, more) = entries(&bytes);
            if next <= offset {
                return Err(format!("nothing at {offset}"));
            }
            (offset, records) = (next, records + more);
        }
        Ok(records)
    }

    /// Asks where times and keys lie.
    fn seek(&mut self, queue: u16) {
        for timestamp_ms in [0, 1, u64::MAX / 2] {
            let seek = Seek { token: Token(3), queue: 0, timestamp_ms };
            self.broker.seek((TOPIC, queue), seek, &mut self.answers);
            assert!(self.answers.effects.pop().or_else(|| self.settle()).is_some());
        }
        for (hash, below) in [(hash_of(KEY), u64::MAX), (hash_of(KEY), 3), (0, 7)] {
            let (token, offsets) = (Token(4), 0..below);
            let lookup = Lookup { token, queue: 0, hash, offsets, max: 20 };
            self.broker.look_up((TOPIC, queue), lookup, &mut self.answers);
            assert!(self.answers.effects.pop().or_else(|| self.settle()).is_some());
        }
    }
}

/// The offset behind the last record of some entries, and how many records they have.
fn entries(bytes: &[u8]) -> (u64, u64) {
    let (mut rest, mut next, mut records) = (bytes, 0, 0);
    while let Some(header) = EntryHeader::decode(rest) {
        let Some(batch) = header.batch_of(rest) else { break };
        let count = BatchRef::parse(batch, u32::MAX).map_or(0, |batch| batch.record_count());
        records += u64::from(count);
        next = header.base_offset.saturating_add(count.into());
        rest = rest.get(header.entry_bytes() as usize..).unwrap_or_default();
    }
    (next, records)
}

/// Three lives, the last of which only seals and vouches.
fn base() -> Base {
    let mut image = CrashImage::default();
    for life in 0..3 {
        let mut node = Node::start(&image).expect("sound files");
        if life == 0 {
            let (ack, retention) = (AckLevel::Durable, Retention::default());
            let topic =
                NewTopic { name: "t", queues: QUEUES, ack, deep: false, keyed: true, retention };
            let now = node.disk().clock().now();
            node.broker.create_topic(&topic, Token(1), now, &mut node.answers);
            assert!(node.settle().is_none());
        }
        for number in 0..if life < 2 { BATCHES } else { 0 } {
            node.produce((number % u64::from(QUEUES)) as u16, 2000 + number as usize * 50);
            while node.settle().is_some() {}
        }
        for _ in 0..20 {
            while node.settle().is_some() {}
        }
        node.broker.stop(&mut node.answers);
        while node.settle().is_some() {}
        assert!(node.broker.is_quiet());
        image = node.disk().crash(CrashPolicy::LoseAll);
    }
    let slots = [0, BLOCK].map(|at| {
        let slot = image.read(FileName::Superblock, at, 88).expect("two slots");
        Superblock::decode(&slot).expect("written").checkpoint
    });
    assert!(slots.iter().any(Option::is_some), "a checkpoint is named");
    let sums = sums(&image);
    assert!(sums.iter().filter(|sum| matches!(sum.name, FileName::Index(_))).count() >= 6);
    Base { image, sums, used: vec![SEGMENT_BYTES; 4], segment_bytes: SEGMENT_BYTES }
}

fn sums(image: &CrashImage) -> Vec<Sum> {
    let geometry = Geometry { segment_bytes: SEGMENT_BYTES, shard: 0, node: [3; 16], epoch: 0 };
    let mut sums = Vec::new();
    let mut names = image.names();
    // Seeds go by this order: the superblock, indexes, the rest.
    names.sort_by_key(|name| (!matches!(name, FileName::Superblock | FileName::Index(_)), *name));
    for name in names {
        let len = image.len(name).expect("it is there");
        match name {
            FileName::Superblock => {
                sums.extend([0, BLOCK].map(|slot| Sum::new(name, slot, 4, 8..88)));
            }
            FileName::Index(number) => {
                let at = len - BLOCK;
                let footer = image.read(name, at, BLOCK as usize).expect("a footer");
                let footer = Footer::decode(&footer, &geometry, number, len).expect("intact");
                for block in 0..footer.blocks + footer.key_blocks {
                    let first = u64::from(block) * BLOCK;
                    let sum = Sum::new(name, first, 0, 4..BLOCK);
                    sums.push(sum.seeded(block_seed(number, block)));
                }
                let first = footer.directory_offset();
                sums.push(Sum::new(name, first, at + 84 - first, 0..footer.directory_bytes()));
                sums.push(Sum::new(name, at, 4, 8..BLOCK));
            }
            FileName::Segment(_) => sums.push(Sum::new(name, 0, 4, 8..64)),
            FileName::Spare(_) => {}
        }
    }
    let mut stored = Stored::default();
    let mut env = SimEnv::from_image(image, Config::default(), 1);
    let walked = walk(env.disk(), &expected(), &mut stored).expect("a disk without faults");
    assert!(walked.complete && stored.checkpoints > 0, "checkpoints are among them");
    sums.extend(stored.sums);
    // A step has a byte to say which.
    assert!(sums.len() <= 256, "{} sums", sums.len());
    sums
}

fn expected() -> Expected {
    Expected { shard: 0, node: options().node, segment_bytes: SEGMENT_BYTES }
}

/// Groups and their entries: one in eight of the records', all others.
#[derive(Default)]
struct Stored {
    sums: Vec<Sum>,
    data: u32,
    checkpoints: u32,
}

impl Visitor for Stored {
    fn group(&mut self, group: &Group) -> ControlFlow<()> {
        for found in group.entries() {
            let is_data = found.header.kind == Kind::Data;
            self.data += u32::from(is_data);
            self.checkpoints += u32::from(found.header.kind == Kind::Checkpoint);
            if is_data && self.data % 8 != 1 {
                continue;
            }
            let place = |pos: u64| (FileName::Segment(pos / SEGMENT_BYTES), pos % SEGMENT_BYTES);
            let (name, at) = place(found.pos.0);
            let (header, uncovered) = (ENTRY_HEADER_BYTES as u64, BATCH_UNCOVERED_BYTES as u64);
            self.sums.push(Sum::new(name, at, 0, 4..header + uncovered));
            let batch_bytes = u64::from(found.header.batch_bytes);
            self.sums.push(Sum::new(name, at + header, 17, uncovered..batch_bytes));
            let (name, at) = place(group.header().position.0);
            self.sums.push(Sum::new(name, at, 4, 8..u64::from(GROUP_HEADER_BYTES)));
        }
        ControlFlow::Continue(())
    }

    fn broken_group(&mut self, _: &Group) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn damage(&mut self, damage: &Damage) {
        panic!("{damage} before anything was done");
    }

    fn passed(&mut self, _: u64) {}
}

fn audit(image: &CrashImage) -> ShardReport {
    let config = Config { block_bytes_max: 12 << 20, ..Config::default() };
    let mut env = SimEnv::from_image(image, config, 1);
    let (report, read) = verify(env.disk(), &expected(), &mut Topics::default(), &mut |_| {});
    assert!(read.is_ok(), "a disk without faults: {read:?}");
    report
}

/// Starts and audits the files after `steps`; how many damages to derived data there are.
pub(crate) fn check(steps: &[u8]) -> u64 {
    BASE.with(|base| {
        let base = LazyCell::force(base);
        limited(HELD_BYTES_MAX, || audit_and_start(base, changed(base, steps)))
    })
}

fn audit_and_start(base: &Base, mut image: CrashImage) -> u64 {
    let is_forged = is_forged(base, &image);
    let report = audit(&image);
    let is_stored_whole = report.damages_total == report.derived_damages;
    let broken = start(&image, (report.damages_total == 0, is_forged), &report);
    if is_stored_whole {
        report.derived.damaged.iter().for_each(|number| image.remove(FileName::Index(*number)));
        let mended = audit(&image);
        assert_eq!(mended.damages, [], "after {:?}", report.damages);
        start(&image, (true, is_forged), &mended);
    } else if let Some(error) = broken {
        assert!(report.damages_total > 0, "{error}, and an audit finds nothing");
    }
    report.derived_damages
}

/// Whether anything in a segment is not what was written. If no checksum tells, it is another log:
/// another topic may have its queues, or they may begin elsewhere.
fn is_forged(base: &Base, image: &CrashImage) -> bool {
    let mut names = base.image.names().into_iter();
    let bytes = |image: &CrashImage, name| image.read(name, 0, SEGMENT_BYTES as usize);
    names.any(|name| {
        matches!(name, FileName::Segment(_)) && bytes(&base.image, name) != bytes(image, name)
    })
}

/// Starts a node and reads everything: all of it, if the files are sound and not forged. Why it
/// does not start.
fn start(
    image: &CrashImage,
    (is_sound, is_forged): (bool, bool),
    report: &ShardReport,
) -> Option<OpenError> {
    let mut node = match Node::start(image) {
        Ok(node) => node,
        Err(error) => {
            let no_memory = matches!(error, OpenError::Io { errno, .. } if errno.0 == ENOMEM);
            assert!(!no_memory, "{error}: more memory than there can be");
            assert!(!is_sound, "{error}, and an audit finds nothing");
            return Some(error);
        }
    };
    for queue in 0..QUEUES {
        node.seek(queue);
        let read = node.read(queue);
        if is_sound && !is_forged {
            let id = u32::from(queue) + 1;
            let stored = report.queues.iter().find(|stored| stored.id == id);
            assert_eq!(read, Ok(stored.map_or(0, |stored| stored.records)), "{report:?}");
        }
    }
    None
}
