//! Damage done to the files of a stopped node: an audit names the place, goes on behind it, and
//! agrees with recovery about what is damage and what a crash may leave.

use std::ops::{ControlFlow, Range};

use engine::audit::topics::Topics;
use engine::audit::{
    Damage, EntryFault, Expected, Group, Proof, QueueReport, ShardReport, Visitor, What, verify,
    walk,
};
use engine::io::sim::{Config, CrashImage, CrashPolicy, EIO, Fault, OpKind, SimDisk};
use engine::io::{BLOCK_BYTES, Env, FileName};
use engine::level::AckLevel;
use engine::log::entry_format::{ENTRY_HEADER_BYTES, EntryHeader};
use engine::log::group_format::GROUP_HEADER_BYTES;
use engine::log::position::LogPos;
use engine::log::recover::OpenError;
use engine::log::superblock_format::Superblock;

use crate::checks::audit::{audit, clean};
use crate::history::History;
use crate::node::{Machines, Node, options};

pub(crate) const SEGMENT_BYTES: u64 = 64 << 10;
const BLOCK: u64 = BLOCK_BYTES as u64;

fn expected() -> Expected {
    Expected { shard: 0, node: options(SEGMENT_BYTES, 1).node, segment_bytes: SEGMENT_BYTES }
}

pub(crate) fn start(image: &CrashImage) -> Machines {
    Machines::start(std::slice::from_ref(image), Config::default(), 1)
}

/// Two lives that wrote over several segments, and a third that vouches for all of it.
pub(crate) fn stopped() -> CrashImage {
    let mut image = CrashImage::default();
    let mut history = History::default();
    for life in 0..3 {
        let mut machines = start(&image);
        let mut node = Node::boot(&mut machines, &options(SEGMENT_BYTES, 3)).unwrap();
        if life == 0 {
            node.create_topic(&mut history, "topic", 2, AckLevel::Durable);
            assert!(node.settle(&mut history));
        }
        for step in 0..[9, 9, 0][life] {
            // Several entries to a group, of lengths that need padding.
            for queue in [0, 1, 0] {
                node.produce(&mut history, (1, queue), AckLevel::Durable, (2, 300 + step * 301));
            }
            assert!(node.settle(&mut history));
        }
        // Time to seal what is full.
        assert!(node.settle(&mut history));
        assert!(node.stop(&mut history));
        image = machines.images(|_| CrashPolicy::LoseAll).remove(0);
    }
    image
}

/// Where groups and their entries lie.
#[derive(Default)]
struct Places {
    groups: Vec<(u64, Range<u64>)>,
    epochs: Vec<u32>,
    entries: Vec<(u32, Range<u64>)>,
    damages: Vec<Damage>,
}

impl Visitor for Places {
    fn group(&mut self, group: &Group) -> ControlFlow<()> {
        let header = group.header();
        self.groups.push((header.sequence, header.position.0..group.end().0));
        self.epochs.push(header.epoch);
        for found in group.entries() {
            let end = found.pos.0 + u64::from(found.header.entry_bytes());
            self.entries.push((found.header.queue, found.pos.0..end));
        }
        ControlFlow::Continue(())
    }

    fn broken_group(&mut self, _: &Group) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn damage(&mut self, damage: &Damage) {
        self.damages.push(*damage);
    }

    fn passed(&mut self, _: u64) {}
}

fn places(image: &CrashImage) -> Places {
    let mut places = Places::default();
    let mut disk = SimDisk::from_image(image, Config::default(), 1);
    assert!(walk(&mut disk, &expected(), &mut places).unwrap().complete);
    places
}

pub(crate) fn report(image: &CrashImage) -> ShardReport {
    audit(std::slice::from_ref(image), SEGMENT_BYTES).0.remove(0)
}

/// The damages that are not consequences for the offsets of queues.
fn causes(report: &ShardReport) -> Vec<Damage> {
    let damages = report.damages.iter();
    damages.filter(|damage| !matches!(damage.what, What::Missing { .. })).copied().collect()
}

fn file_of(pos: u64) -> (FileName, u64) {
    (FileName::Segment(pos / SEGMENT_BYTES), pos % SEGMENT_BYTES)
}

fn flip(image: &CrashImage, pos: u64, bit: u32) -> CrashImage {
    let mut image = image.clone();
    let (name, offset) = file_of(pos);
    image.flip_bit(name, offset, bit);
    image
}

/// Batches and records of queues; checkpoints come and go.
fn stored(report: &ShardReport) -> (u64, u64) {
    let of = |queue: &QueueReport| (queue.batches, queue.records);
    report.queues.iter().map(of).fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1))
}

/// The segment that recovery begins to read with.
fn read_from(image: &CrashImage) -> u64 {
    let slot =
        |at| Superblock::decode(&image.read(FileName::Superblock, at, BLOCK as usize).unwrap());
    let newest = [slot(0), slot(BLOCK)].into_iter().flatten().max_by_key(|slot| slot.generation);
    let checkpoint = newest.and_then(|slot| slot.checkpoint);
    checkpoint.map_or(0, |checkpoint| checkpoint.begin.0 / SEGMENT_BYTES)
}

/// Whether recovery refuses the image.
pub(crate) fn is_refused(image: &CrashImage) -> bool {
    let mut machines = start(image);
    let opened = Node::boot(&mut machines, &options(SEGMENT_BYTES, 3));
    match opened.map(drop) {
        Ok(()) => false,
        Err(OpenError::Damaged { .. }) => true,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn an_undamaged_directory_is_clean_and_counted() {
    let image = stopped();
    clean(std::slice::from_ref(&image), SEGMENT_BYTES).unwrap();
    let report = report(&image);
    assert!(report.walked.segments >= 3, "{report:?}");
    assert_eq!((report.walked.epoch, report.walked.tail.torn), (Some(3), None));
    assert_eq!(report.walked.groups, report.walked.sequence);
    // The topic, and 18 times three batches of two records.
    assert_eq!(stored(&report), (1 + 54, 1 + 108));
    let ranges: Vec<_> = report.queues.iter().map(|queue| (queue.id, queue.end_offset)).collect();
    assert_eq!(ranges, [(0, 1), (1, 72), (2, 36)]);
}

/// Every part of every group, and the padding behind it.
#[test]
fn every_flipped_bit_is_found_where_it_is() {
    let image = stopped();
    let places = places(&image);
    let read_from = read_from(&image);
    assert!(read_from > 0, "some segments are sealed");
    for (at, (sequence, range)) in places.groups.iter().enumerate() {
        // Padding up to the next group; where another life went on there may be anything.
        let next = places.groups.get(at + 1).filter(|_| places.epochs[at] == places.epochs[at + 1]);
        let block_end = range.end.next_multiple_of(BLOCK);
        let padded = next.map_or(range.end, |(_, next)| next.start.min(block_end));
        // Another stride for each: all offsets in a header are hit sooner or later.
        for (pos, bit) in
            (range.start..padded).step_by(29 + *sequence as usize % 7).zip((0..8).cycle())
        {
            let damaged = flip(&image, pos, bit);
            let report = report(&damaged);
            let causes = causes(&report);
            let [damage] = causes[..] else { panic!("position {pos}: {causes:?}") };
            let found = damage.place.pos.unwrap().0;
            assert_eq!(file_of(found), (damage.place.file, damage.place.offset));
            if pos >= range.end {
                assert_eq!((found, damage.what), (pos, What::Padding));
            } else if pos < range.start + u64::from(GROUP_HEADER_BYTES) {
                assert_eq!(found, range.start, "{damage}");
                let What::GroupMissing { next, .. } = damage.what else {
                    panic!("{pos}: {damage}")
                };
                let last = at + 1 == places.groups.len();
                let goes_on = Some(sequence + 1).filter(|_| !last);
                assert_eq!(next.map(|(next, _)| next), goes_on, "{damage}");
                assert_eq!(damage.sequence, Some(*sequence));
            } else {
                let hit = places.entries.iter().find(|(_, entry)| entry.contains(&pos)).unwrap();
                assert_eq!((found, damage.sequence), (hit.1.start, Some(*sequence)), "{damage}");
            }
            let padding = matches!(damage.what, What::Padding | What::EntryPadding);
            let is_read = pos / SEGMENT_BYTES >= read_from;
            let refused = is_read && !padding;
            assert_eq!(is_refused(&damaged), refused, "recovery looks at no padding: {damage}");
        }
    }
}

#[test]
fn a_damaged_batch_hides_one_entry_and_says_which_queue() {
    let image = stopped();
    let places = places(&image);
    let (queue, entry) = places.entries[20].clone();
    let damaged = flip(&image, entry.start + ENTRY_HEADER_BYTES as u64 + 100, 2);
    let report = report(&damaged);
    let [damage] = causes(&report)[..] else { panic!("{report:?}") };
    assert_eq!((damage.queue, damage.place.pos), (Some(queue), Some(LogPos(entry.start))));
    assert!(matches!(damage.what, What::Entry { fault: EntryFault::Batch(_), .. }), "{damage}");
    assert_eq!(stored(&report).0, 1 + 54 - 1);
    let consequences: Vec<_> = report.damages.iter().filter(|d| d.what != damage.what).collect();
    let [Damage { what: What::Missing { expected, found }, .. }] = consequences[..] else {
        panic!("{consequences:?}")
    };
    assert_eq!(found - expected, 2, "the records of one batch");
}

/// Bytes of the log that are no group any more, and everything behind them is still looked at.
#[test]
fn holes_are_found_and_walked_over() {
    let image = stopped();
    let places = places(&image);
    let mut damaged = image.clone();
    let mut lost = Vec::new();
    for at in [3, 4, 9] {
        let (sequence, range) = &places.groups[at];
        let (name, offset) = file_of(range.start);
        damaged.overwrite(name, offset, &vec![0; (range.end - range.start) as usize]);
        lost.push(*sequence);
    }
    let report = report(&damaged);
    let causes = causes(&report);
    let [first, second] = causes[..] else { panic!("{causes:?}") };
    assert_eq!((first.sequence, second.sequence), (Some(lost[0]), Some(lost[2])));
    let What::GroupMissing { proof: Proof::Later { sequence }, next: Some((next, pos)) } =
        first.what
    else {
        panic!("{first}")
    };
    assert_eq!((next, pos.0), (lost[1] + 1, places.groups[5].1.start));
    assert!(sequence > lost[1], "groups that are there prove it: {first}");
    assert_eq!(report.walked.groups as usize, places.groups.len() - 3);
    assert!(report.walked.complete);
}

/// The last group of a life that nobody vouches for yet: it may have been torn by a crash.
#[test]
fn a_torn_tail_is_no_damage() {
    let image = {
        let mut machines = start(&stopped());
        let mut history = History::default();
        let mut node = Node::boot(&mut machines, &options(SEGMENT_BYTES, 3)).unwrap();
        node.produce(&mut history, (1, 0), AckLevel::Durable, (1, 3000));
        assert!(node.settle(&mut history));
        machines.images(|_| CrashPolicy::LoseAll).remove(0)
    };
    let (sequence, range) = places(&image).groups.pop().unwrap();
    let torn = flip(&image, range.start + 2000, 0);
    assert!(!is_refused(&torn));
    let report = report(&torn);
    assert_eq!(report.damages, []);
    let tail = report.walked.tail;
    assert_eq!(tail.torn.unwrap().sequence, sequence);
    assert_eq!(tail.torn.unwrap().at.pos.0, range.start + u64::from(GROUP_HEADER_BYTES));
    assert_eq!(report.walked.sequence, sequence - 1);
    assert!(tail.leftovers.groups == 1 && tail.leftovers.bytes > 2000, "{tail:?}");
}

#[test]
fn superblocks_are_checked_slot_by_slot() {
    let image = stopped();
    for (offset, bit) in (0..2 * BLOCK).step_by(13).zip((0..8).cycle()) {
        let mut damaged = image.clone();
        damaged.flip_bit(FileName::Superblock, offset, bit);
        let report = report(&damaged);
        let slots: Vec<_> = report.damages.iter().filter(|d| d.place.pos.is_none()).collect();
        let [damage] = slots[..] else { panic!("byte {offset}: {:?}", report.damages) };
        assert_eq!(damage.place.offset, offset - offset % BLOCK);
        assert_eq!(report.walked.groups, report.walked.sequence, "all groups count");
    }
    let mut damaged = image.clone();
    damaged.overwrite(FileName::Superblock, 0, &[0xAA; 2 * BLOCK as usize]);
    let without = report(&damaged);
    assert_eq!((without.walked.epoch, without.damages_total), (None, 2));
    assert_eq!(without.entries, report(&image).entries, "the groups speak for themselves");
    let mut gone = image.clone();
    gone.remove(FileName::Superblock);
    assert_eq!(report(&gone).damages[0].what, What::SuperblockMissing);
}

#[test]
fn segments_are_checked_file_by_file() {
    let image = stopped();
    for (offset, bit) in (0..BLOCK).step_by(11).zip((0..8).cycle()) {
        let mut damaged = image.clone();
        damaged.flip_bit(FileName::Segment(1), offset, bit);
        let report = report(&damaged);
        let [damage] = report.damages[..] else { panic!("byte {offset}: {:?}", report.damages) };
        assert_eq!((damage.place.file, damage.place.offset), (FileName::Segment(1), 0));
        assert_eq!(stored(&report).0, 1 + 54, "its groups are there all the same");
        // A start looks at the header only if it has to read the segment.
        assert!(!is_refused(&damaged), "its index is there");
        damaged.remove(FileName::Index(1));
        assert_eq!(is_refused(&damaged), damage.what != What::Reserved);
    }
    let mut newest = image.names().into_iter().filter(|name| matches!(name, FileName::Segment(_)));
    let mut headless = image.clone();
    headless.flip_bit(newest.next_back().unwrap(), 9, 0);
    assert!(is_refused(&headless), "the log goes on in it");
    let mut gone = image.clone();
    gone.remove(FileName::Segment(1));
    assert!(is_refused(&gone), "though its index is there");
    let missing = report(&gone);
    assert_eq!(missing.damages[0].what, What::SegmentsMissing(1));
    assert_eq!(missing.damages[0].place.pos, Some(LogPos(SEGMENT_BYTES)));
    assert!(missing.walked.complete && stored(&missing).0 < 54);
    let mut none = gone.clone();
    none.names().iter().filter(|name| matches!(name, FileName::Segment(_))).for_each(|name| {
        none.remove(*name);
    });
    assert_eq!(report(&none).damages[0].what, What::AllSegmentsMissing);
    let mut short = image.clone();
    short.create(FileName::Segment(1), SEGMENT_BYTES - BLOCK);
    let What::Segment(what) = report(&short).damages[0].what else {
        panic!("{:?}", report(&short))
    };
    assert!(what.contains("length"), "{what}");
    let mut far = image;
    far.create(FileName::Segment(u64::MAX), SEGMENT_BYTES);
    assert!(is_refused(&far));
    assert_eq!(stored(&report(&far)).0, 1 + 54);
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    let image = stopped();
    let mut machines = start(&image);
    let disk = machines.0[0].disk();
    // Two slots and every segment's header; then the log, a segment at a time.
    let names = image.names();
    let headers = names.iter().filter(|name| matches!(name, FileName::Segment(_))).count() as u64;
    disk.faults().nth(OpKind::Read, 2 + headers + 2, Fault::Fail(EIO));
    let (report, read) = verify(disk, &expected(), &mut Topics::default(), &mut |_| {});
    let error = read.unwrap_err();
    assert_eq!(error.errno, EIO);
    let place = error.at.unwrap();
    assert_eq!((place.file, place.pos), (FileName::Segment(1), Some(LogPos(SEGMENT_BYTES))));
    assert!(report.entries > 10 && report.damages.is_empty(), "{report:?}");
    assert!(!report.walked.complete);
}

/// An entry that belongs elsewhere, though its own checksums are right.
#[test]
fn a_write_that_went_astray_is_found() {
    let image = stopped();
    let places = places(&image);
    let (from, to) = (&places.entries[1].1, &places.entries[4].1);
    let len = (from.end - from.start) as usize;
    let (name, offset) = file_of(from.start);
    let bytes = image.read(name, offset, len).unwrap();
    assert!(EntryHeader::decode(&bytes).is_some());
    let mut damaged = image.clone();
    let (name, offset) = file_of(to.start);
    damaged.overwrite(name, offset, &bytes[..len.min((to.end - to.start) as usize)]);
    let report = report(&damaged);
    let What::Entry { fault: EntryFault::Misplaced(handle), .. } = causes(&report)[0].what else {
        panic!("{report:?}")
    };
    assert_eq!(handle.pos().0, from.start);
}

/// Nobody asked for `durable`, so no group was cut when another was known to be durable: only the
/// word that an orderly stop leaves vouches for them.
#[test]
fn after_an_orderly_stop_nothing_is_a_torn_tail() {
    let mut machines = start(&CrashImage::default());
    let mut node = Node::boot(&mut machines, &options(SEGMENT_BYTES, 3)).unwrap();
    let mut history = History::default();
    node.create_topic(&mut history, "topic", 1, AckLevel::Written);
    assert!(node.settle(&mut history));
    for step in 0..6 {
        node.produce(&mut history, (1, 0), AckLevel::Written, (1, 300 + step * 301));
        assert!(node.settle(&mut history));
    }
    assert!(node.stop(&mut history));
    let image = machines.images(|_| CrashPolicy::LoseAll).remove(0);
    let places = places(&image);
    let groups = places.groups.iter().map(|(_, group)| group.start + 5);
    let entries = places
        .entries
        .iter()
        .flat_map(|(_, entry)| [entry.start + 10, (entry.start + entry.end) / 2].into_iter());
    let flips: Vec<u64> = groups.chain(entries).collect();
    assert!(flips.len() >= 7 * 3 && !is_refused(&image));
    for (pos, bit) in flips.into_iter().zip((0..8).cycle()) {
        assert!(is_refused(&flip(&image, pos, bit)), "bit {bit} at {pos} cuts the log");
    }
}
