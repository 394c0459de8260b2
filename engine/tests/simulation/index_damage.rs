//! Damage to what is derived, and to what a restart begins with: an audit names it, and tells it
//! from what a crash leaves; the node makes indexes again.

use engine::audit::index_file::IndexFault;
use engine::audit::{Damage, PointerFault, Proof, ShardReport, What};
use engine::io::sim::{CrashImage, CrashPolicy};
use engine::io::{BLOCK_BYTES, FileName};
use engine::log::superblock_format::{Pointer, Superblock};

use crate::damage::{SEGMENT_BYTES, is_refused, report, start, stopped};
use crate::history::History;
use crate::node::{Node, options};

const BLOCK: u64 = BLOCK_BYTES as u64;

/// The numbers of the index files.
fn indexes(image: &CrashImage) -> Vec<u64> {
    let number = |name: FileName| match name {
        FileName::Index(number) => Some(number),
        _ => None,
    };
    image.names().into_iter().filter_map(number).collect()
}

fn copy(image: &mut CrashImage, from: u64, to: u64) {
    let len = image.len(FileName::Index(from)).unwrap();
    let bytes = image.read(FileName::Index(from), 0, len as usize).unwrap();
    image.create(FileName::Index(to), len);
    image.overwrite(FileName::Index(to), 0, &bytes);
}

/// The only damage, which is to an index.
fn fault(report: &ShardReport) -> (FileName, u64, IndexFault) {
    let [Damage { place, what: What::Index(fault), .. }] = report.damages[..] else {
        panic!("{:?}", report.damages)
    };
    assert_eq!((report.damages_total, report.derived_damages), (1, 1));
    (place.file, place.offset, fault)
}

/// A node starts on the image, and makes every index that it lacks.
fn mended(image: &CrashImage) -> CrashImage {
    let mut machines = start(image);
    let mut history = History::default();
    let mut node = Node::boot(&mut machines, &options(SEGMENT_BYTES, 3)).unwrap();
    for _ in 0..20 {
        assert!(node.settle(&mut history));
    }
    assert!(node.stop(&mut history));
    machines.images(|_| CrashPolicy::LoseAll).remove(0)
}

#[test]
fn every_flipped_bit_of_an_index_is_found() {
    let image = stopped();
    let numbers = indexes(&image);
    let sound = report(&image);
    assert!(numbers.len() >= 2, "{:?}", image.names());
    assert_eq!(sound.derived.intact, numbers.len() as u64);
    assert_eq!((&sound.derived.missing[..], &sound.derived.leftover[..]), (&[][..], &[][..]));
    for number in numbers {
        let name = FileName::Index(number);
        let len = image.len(name).unwrap();
        for (offset, bit) in (0..len).step_by(37).zip((0..8).cycle()) {
            let mut damaged = image.clone();
            damaged.flip_bit(name, offset, bit);
            let report = report(&damaged);
            let (file, at, _) = fault(&report);
            assert_eq!((file, at / BLOCK), (name, offset / BLOCK), "byte {offset}");
            assert!(report.derived.damaged.contains(&number));
            assert_eq!(report.entries, sound.entries, "nothing that is stored is missing");
        }
    }
}

#[test]
fn files_that_are_missing_or_of_no_use_are_no_damage() {
    let image = stopped();
    let numbers = indexes(&image);
    let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
    let mut gone = image.clone();
    gone.remove(FileName::Index(first));
    let len = gone.len(FileName::Index(last)).unwrap();
    gone.create(FileName::Index(last), len);
    copy(&mut gone, numbers[1], last + 1);
    copy(&mut gone, numbers[1], 1000);
    gone.create(FileName::Spare(77), SEGMENT_BYTES);
    let report = report(&gone);
    assert_eq!(report.damages, []);
    let derived = report.derived;
    assert_eq!((derived.missing, derived.unfinished), (vec![first], vec![last]));
    assert_eq!(derived.leftover, [last + 1, 1000]);
    assert!(derived.spares.contains(&77));
    assert_eq!(derived.intact, numbers.len() as u64 - 2);
    let mended = crate::damage::report(&mended(&gone));
    assert_eq!((mended.damages, mended.derived.missing), (vec![], vec![]));
    assert_eq!((mended.derived.leftover, mended.derived.spares), (vec![], vec![]));
}

#[test]
fn an_index_of_another_segment_is_damaged_and_made_again() {
    let image = stopped();
    let numbers = indexes(&image);
    let mut swapped = image.clone();
    copy(&mut swapped, numbers[0], numbers[1]);
    let (file, _, found) = fault(&report(&swapped));
    assert_eq!((file, found), (FileName::Index(numbers[1]), IndexFault::Footer));
    assert!(!is_refused(&swapped));
    assert_eq!(report(&mended(&swapped)).damages, []);
}

/// What cannot be made again is left alone.
#[test]
fn a_damaged_index_of_a_damaged_segment_is_told_apart() {
    let image = stopped();
    let number = indexes(&image)[0];
    let mut damaged = image.clone();
    damaged.flip_bit(FileName::Segment(number), 4096 + 300, 1);
    let alone = report(&damaged);
    assert!(alone.damages_total > 0 && alone.derived_damages == 0, "{alone:?}");
    damaged.flip_bit(FileName::Index(number), 100, 1);
    let both = report(&damaged);
    assert_eq!(both.derived_damages, 1);
    assert!(both.derived.damaged.is_empty() && both.derived.kept.contains(&number));
}

/// Changes the slot that counts, with its checksum.
fn with_superblock(image: &CrashImage, change: impl Fn(&mut Superblock)) -> CrashImage {
    let slot = |at| Superblock::decode(&image.read(FileName::Superblock, at, 4096).unwrap());
    let slots = [slot(0), slot(BLOCK)];
    let mut newest = slots.into_iter().flatten().max_by_key(|slot| slot.generation).unwrap();
    change(&mut newest);
    let mut image = image.clone();
    image.overwrite(FileName::Superblock, newest.slot_offset(), &newest.encode());
    image
}

#[test]
fn the_superblock_names_a_checkpoint_that_is_there() {
    let image = stopped();
    let pointed = |change: &dyn Fn(&mut Pointer)| {
        let wrong = with_superblock(&image, |superblock| {
            change(superblock.checkpoint.as_mut().expect("a checkpoint was written"));
        });
        let report = report(&wrong);
        let [Damage { place, what: What::Checkpoint { fault, .. }, .. }] = report.damages[..]
        else {
            panic!("{:?}", report.damages)
        };
        assert_eq!(place.file, FileName::Superblock);
        assert!(!report.damages[0].is_derived());
        (fault, is_refused(&wrong))
    };
    let not_there = PointerFault::NotThere;
    // The checkpoint is found all the same.
    assert_eq!(pointed(&|pointer| pointer.begin.0 += 8), (not_there, false));
    assert_eq!(pointed(&|pointer| pointer.begin.0 = u64::MAX / 2), (not_there, false));
    let (before, refused) = pointed(&|pointer| pointer.before += 1);
    assert!(matches!(before, PointerFault::Before { says, holds } if says == holds + 1));
    assert!(refused, "no group follows that one");
}

#[test]
fn the_superblock_knows_groups_that_were_durable() {
    let image = stopped();
    let last = report(&image).walked.sequence;
    let wrong = with_superblock(&image, |superblock| superblock.durable = last + 5);
    assert!(is_refused(&wrong));
    let report = report(&wrong);
    let [Damage { what: What::GroupMissing { proof, next: None }, sequence, .. }] =
        report.damages[..]
    else {
        panic!("{:?}", report.damages)
    };
    assert_eq!((proof, sequence), (Proof::Durable { sequence: last + 5 }, Some(last + 1)));
}
