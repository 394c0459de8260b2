//! The properties that the fuzz targets check (`fuzz/`), in every test run, for random bytes and for
//! their seeds.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../fuzz/properties/mod.rs"]
mod properties;

use std::fs;
use std::path::Path;

use properties::{allocation, batch, change, headers, image, sealed, state};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #[test]
    fn arbitrary_headers(bytes in vec(any::<u8>(), 0..120)) {
        headers::check(&bytes);
    }

    /// With the magics in place, so that the rest is looked at.
    #[test]
    fn arbitrary_fields(
        mut bytes in vec(any::<u8>(), 61..120),
        magic in prop::sample::select(vec![*b"USB1", *b"USG1", *b"UGR1"]),
        entry in any::<bool>(),
    ) {
        bytes[..4].copy_from_slice(&magic);
        // The superblock's version, or the entry's magic, version and kind.
        bytes[8..12].copy_from_slice(&[0, 0, 0, 1]);
        if entry {
            bytes[4..8].copy_from_slice(&[0xE7, 1, 1, 0]);
        }
        headers::check(&bytes);
    }

    /// Rows that nearly follow each other, spans that nearly lie in their segment.
    #[test]
    fn arbitrary_indexes(
        counts in (0_u8..3, 0_u8..3),
        rows in vec((0_u8..3, 0_u8..4, 0_u8..150, 0_u8..3), 0..3),
        spans in vec((any::<u64>(), 0_u32..1 << 21, 0_u32..1 << 21), 0..150),
    ) {
        let mut directory = vec![counts.0, counts.1];
        directory.extend(vec![0; 16 * usize::from(counts.0)]);
        for (queue, first, spans, end) in rows {
            directory.extend([0, 0, 0, queue, 0, 0, 0, first, 0, 0, 0, spans, 0, 0, 0, 0]);
            directory.extend([[0; 8], [0, 0, 0, 0, 0, 0, 0, end], [0; 8], [0; 8]].concat());
        }
        headers::index(&directory);
        let mut block = vec![0, 0, 0, 0, 0, spans.len() as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for (base_offset, offset, len) in spans {
            block.extend([base_offset.to_be_bytes(), [0; 8]].concat());
            block.extend([offset.to_be_bytes(), len.to_be_bytes(), [0; 4]].concat());
        }
        headers::index(&block);
    }

    #[test]
    fn arbitrary_changes(
        mut bytes in vec(any::<u8>(), 0..80),
        head in (0_u8..3, 0_u8..4, 0_u8..5, 0_u8..4, 0_u32..8, 0_u16..20),
    ) {
        change::check(&bytes);
        if bytes.len() >= 16 {
            let (version, what, ack, flags, queues, name) = head;
            bytes[..4].copy_from_slice(&[version, what, ack, flags]);
            bytes[8..12].copy_from_slice(&queues.to_be_bytes());
            bytes[12..16].copy_from_slice(&[(name >> 8) as u8, name as u8, 0, 0]);
            change::check(&bytes);
            // Exactly as long as it says.
            bytes.truncate(16 + usize::from(name) + 6 * queues as usize);
            bytes.iter_mut().skip(16).take(usize::from(name)).for_each(|byte| *byte &= 0x7F);
            change::check(&bytes);
        }
    }

    /// Lengths of keys that are nearly right, known versions and kinds, text and what is not.
    #[test]
    fn arbitrary_state(
        mut bytes in vec(any::<u8>(), 0..90),
        head in (0_u8..20, 0_u8..3, 0_u8..10),
        is_commit in any::<bool>(),
        is_text in any::<bool>(),
    ) {
        state::check(&bytes);
        if bytes.len() >= 38 {
            let (len, version, what) = head;
            bytes[..5].copy_from_slice(&[len, version, what, 0, 0]);
            if is_commit || what == 2 {
                // An offset commit's key, alone or behind a checkpoint's, and its value.
                let key = if is_commit { 1 } else { 5 };
                bytes[key..key + 4].copy_from_slice(&[version, 0, 0, 0]);
                let value = 1 + usize::from(len);
                bytes[value..value + 4].copy_from_slice(&[version, 0, 0, 0]);
            }
            if is_text {
                bytes.iter_mut().skip(5).for_each(|byte| *byte &= 0x7F);
            }
            state::check(&bytes);
        }
    }

    #[test]
    fn arbitrary_batches(bytes in vec(any::<u8>(), 0..300)) {
        batch::check(&bytes);
    }

    #[test]
    fn arbitrary_steps_over_a_log(steps in vec((0_u8..8, any::<[u8; 7]>()), 0..8)) {
        let bytes: Vec<u8> =
            steps.iter().flat_map(|(what, rest)| std::iter::once(what).chain(rest)).copied().collect();
        image::check(&bytes);
    }

    /// One field changed behind a checksum that is right: lengths, counts, positions, epochs.
    #[test]
    fn believable_lies(which in any::<u8>(), at in 0_u8..64, bytes in any::<[u8; 2]>(), more in any::<bool>()) {
        let [a, b] = bytes;
        let change = [u8::from(more), which, 0, 0, 0, at, a, b];
        let fix = [2, which, 0, 0, 0, 0, 0, 0];
        image::check(&[change, fix].concat());
    }
}

proptest! {
    #[test]
    fn arbitrary_steps_over_sealed_segments(steps in vec((0_u8..8, any::<[u8; 7]>()), 0..6)) {
        let bytes: Vec<u8> =
            steps.iter().flat_map(|(what, rest)| std::iter::once(what).chain(rest)).copied().collect();
        sealed::check(&bytes);
    }

    /// One field of an index, an entry or the superblock, behind checksums that are right: the
    /// footer's is the one after the directory's, an entry's the one before its batch's.
    #[test]
    fn believable_lies_of_sealed_segments(
        which in any::<u8>(), at in 0_u16..160, bytes in any::<[u8; 2]>(), more in any::<bool>(),
    ) {
        let ([high, low], [a, b]) = (at.to_be_bytes(), bytes);
        let change = [u8::from(more), which, 0, 0, high, low, a, b];
        let fix = [2, which, 0, 0, 0, 0, 0, 0];
        let fix_footer = [2, which.saturating_add(1), 0, 0, 0, 0, 0, 0];
        let fix_entry = [2, which.saturating_sub(1), 0, 0, 0, 0, 0, 0];
        sealed::check(&[change, fix, fix_footer, fix_entry].concat());
    }
}

/// The limit is one: also for what is never touched, and for what is given back.
#[test]
fn memory_beyond_the_limit_is_noticed() {
    let take = |bytes: usize| {
        let taken = Vec::<u8>::with_capacity(bytes);
        assert_eq!(std::hint::black_box(&taken).len(), 0);
    };
    let noticed = |bytes: usize| {
        std::panic::catch_unwind(|| allocation::limited(100 << 10, || take(bytes))).is_err()
    };
    assert!(!noticed(90 << 10));
    assert!(noticed(110 << 10));
    // A record whose length is believed: 16 MiB for a few bytes of input.
    let (_, most) = allocation::measured(|| take(16 << 20));
    assert!(most > allocation::held_bytes_max(&[0; 100]));
}

#[test]
fn an_untouched_log_is_found_whole() {
    image::check(&[]);
    assert_eq!(sealed::check(&[]), 0);
}

/// Every seed reaches what it is meant for.
#[test]
fn seeds_are_survived_and_mean_something() {
    let seeds = |target: &str| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let mut files: Vec<_> =
            fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{target} has seeds");
        files.into_iter().map(|file| fs::read(file).unwrap()).collect::<Vec<_>>()
    };
    for bytes in seeds("batch") {
        assert!(batch::check(&bytes) > 0);
        assert!(engine::batch::BatchRef::parse(&bytes, 1 << 20).is_ok());
    }
    for bytes in seeds("change") {
        change::check(&bytes);
        assert!(engine::broker::change_format::Change::decode(&bytes).is_some());
    }
    for bytes in seeds("headers") {
        headers::check(&bytes);
        let known = engine::log::superblock_format::Superblock::decode(&bytes).is_some()
            || engine::log::segment_format::SegmentHeader::decode(&bytes).is_some()
            || engine::log::group_format::GroupHeader::decode(&bytes).is_some()
            || engine::log::entry_format::EntryHeader::decode(&bytes).is_some()
            || headers::index(&bytes) > 0;
        assert!(known);
    }
    let kinds: Vec<u32> = seeds("state").iter().map(|bytes| state::check(bytes)).collect();
    assert_eq!(kinds, [1; 9], "eight parts of a checkpoint, and an offset commit");
    seeds("image").iter().for_each(|bytes| image::check(bytes));
    let derived = seeds("sealed").iter().filter(|bytes| sealed::check(bytes) > 0).count();
    assert_eq!(derived, 6, "a block, a span, a key, a row, a footer, a length");
}
