use super::*;
use crate::index::file_format::Sealed;
use crate::index::image::Builder;
use crate::index::span_format::SPANS_PER_BLOCK;
use crate::io::sim::{Config, CrashImage, SimDisk};
use crate::io::{BLOCK_BYTES, FileName};

const GEOMETRY: Geometry = Geometry { segment_bytes: 1 << 20, shard: 2, node: [7; 16], epoch: 9 };
const NUMBER: u64 = 3;
const START: u64 = NUMBER << 20;
const GROUPS: u64 = 200;
/// Entries of 100 bytes take 104 and what is before them.
const ENTRY: u32 = entry_bytes(60);

/// Queue 5 has two entries in every group, queue 8 one between them in every other: two records
/// each. Groups are one millisecond apart.
fn held() -> Held {
    let mut held = Held { number: NUMBER, groups: Some((11, 10 + GROUPS)), ..Held::default() };
    for group in 0..GROUPS as u32 {
        held.store_ms.push(7000 + u64::from(group));
        let mut offset = 4096 + group * 4096;
        let queues = if group % 2 == 0 { &[5, 8, 5][..] } else { &[5, 5] };
        for queue in queues {
            let entries = held.queues.entry(*queue).or_default();
            let base_offset = 100 + entries.len() as u64 * 2;
            entries.push(EntryAt { base_offset, offset, batch_bytes: 60, records: 2, group });
            offset += ENTRY;
        }
    }
    held
}

/// What an index of that says: queue, span, end offset.
type Said = Vec<(u32, Span, u64)>;

fn said(held: &Held) -> Said {
    let mut said = Said::new();
    for (&queue, entries) in &held.queues {
        for of_group in entries.chunk_by(|a, b| a.group == b.group) {
            let (first, last) = (of_group[0], of_group[of_group.len() - 1]);
            let span = Span {
                base_offset: first.base_offset,
                pos: LogPos(START + u64::from(first.offset)),
                store_timestamp_ms: held.store_ms[first.group as usize],
                len: last.end() as u32 - first.offset,
                batch_bytes: of_group.iter().map(|entry| entry.batch_bytes).sum(),
                alone: last.end() as u32 - first.offset == ENTRY * of_group.len() as u32,
            };
            said.push((queue, span, last.base_offset + 2));
        }
    }
    said
}

fn sealed() -> Sealed {
    Sealed { first_sequence: 11, last_sequence: 10 + GROUPS, newest_ms: 7000 + GROUPS }
}

/// A disk with an index that says this.
fn disk(said: &Said, sealed: Sealed) -> (CrashImage, u64) {
    disk_with_keys(said, &[], sealed)
}

fn disk_with_keys(said: &Said, keys: &[KeyRow], sealed: Sealed) -> (CrashImage, u64) {
    let mut builder = Builder::new(GEOMETRY, NUMBER);
    for (queue, span, end_offset) in said {
        builder.add(*queue, span, *end_offset);
    }
    keys.iter().for_each(|key| builder.add_key(key));
    let (index, ..) = builder.finish(sealed);
    let name = FileName::Index(NUMBER);
    let mut image = CrashImage::default();
    image.create(name, index.footer().file_bytes());
    let mut at = 0;
    index.body(0, index.body_bytes() as u32, |bytes| {
        image.overwrite(name, at, bytes);
        at += bytes.len() as u64;
    });
    image.overwrite(name, at, index.footer_block());
    (image, at)
}

fn verdict(image: &CrashImage, held: Option<&Held>) -> Verdict {
    let mut disk = SimDisk::from_image(image, Config::default(), 1);
    check(&mut disk, &GEOMETRY, NUMBER, held)
}

/// What is found of an index in which the span numbered `at` was changed; every checksum is right.
fn lie(at: usize, change: impl Fn(&mut Said, usize)) -> Verdict {
    let held = held();
    let mut said = said(&held);
    change(&mut said, at);
    verdict(&disk(&said, sealed()).0, Some(&held))
}

#[test]
fn an_index_that_says_what_is_there_is_true() {
    let held = held();
    let (image, footer_at) = disk(&said(&held), sealed());
    assert_eq!(verdict(&image, Some(&held)), Verdict::True(vec![]));
    assert_eq!(verdict(&image, None), Verdict::True(vec![]));
    assert!(footer_at > 3 * u64::from(BLOCK_BYTES), "several blocks");
    assert_eq!(verdict(&CrashImage::default(), Some(&held)), Verdict::Absent);
}

/// Of 600 records the first 300 of which are in the first group, each twice.
#[test]
fn keys_are_those_of_the_records() {
    let key = |at: u64| KeyRow { hash: (at * 7919 % 1000) as u32, queue: 1, offset: at };
    let mut held = held();
    let all: Vec<KeyRow> = (0..600).map(key).collect();
    held.keys = [&all[..300], &all[..300], &all[300..], &all[300..]].concat();
    held.keys_by_group = vec![1200; GROUPS as usize];
    held.keys_by_group[0] = 600;
    let said = said(&held);
    let found = |keys: &[KeyRow], held: &Held| {
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        verdict(&disk_with_keys(&said, &keys, sealed()).0, Some(held))
    };
    assert_eq!(found(&all, &held), Verdict::True(vec![]));
    let offset = |verdict| match verdict {
        Verdict::False { fault: IndexFault::Key { offset }, queue: None, .. } => offset,
        other => panic!("{other:?}"),
    };
    for left_out in [0, 299, 300, 599] {
        let rest: Vec<KeyRow> = all.iter().copied().filter(|key| key.offset != left_out).collect();
        assert_eq!(offset(found(&rest, &held)), left_out);
    }
    let more = KeyRow { hash: 5, queue: 2, offset: 77 };
    assert_eq!(offset(found(&[&all[..], &[more]].concat(), &held)), 77);
    assert_eq!(held.keys(1), {
        let mut first = all[..300].to_vec();
        first.sort_unstable();
        first
    });
}

#[test]
fn a_group_may_be_cut_between_entries() {
    let cut = |said: &mut Said, at: usize| {
        let (queue, span, end_offset) = said[at];
        let second = Span {
            base_offset: span.base_offset + 2,
            pos: span.pos.plus(u64::from(span.len - ENTRY)),
            len: ENTRY,
            batch_bytes: 60,
            alone: true,
            ..span
        };
        let first = Span { len: ENTRY, batch_bytes: 60, alone: true, ..span };
        said[at] = (queue, first, span.base_offset + 2);
        said.insert(at + 1, (queue, second, end_offset));
    };
    assert_eq!(lie(4, cut), Verdict::True(vec![]));
    assert_eq!(lie(5, cut), Verdict::True(vec![]));
}

#[test]
fn every_span_must_be_where_its_entries_are() {
    // One in the first block, one in the second.
    for at in [3, SPANS_PER_BLOCK as usize + 9] {
        let changed = |change: &dyn Fn(&mut Span)| {
            let verdict = lie(at, |said, at| change(&mut said[at].1));
            let Verdict::False { fault, at: place, queue } = verdict else { panic!("{verdict:?}") };
            assert!(matches!(fault, IndexFault::Span { .. }), "{fault}");
            assert_eq!(queue, Some(5));
            assert_eq!(place, at as u64 / u64::from(SPANS_PER_BLOCK) * u64::from(BLOCK_BYTES));
        };
        changed(&|span| span.base_offset += 1);
        changed(&|span| span.pos = span.pos.plus(8));
        changed(&|span| span.pos = span.pos.plus(8192));
        changed(&|span| span.store_timestamp_ms += 1);
        changed(&|span| span.len += 8);
        changed(&|span| span.len -= ENTRY);
        changed(&|span| span.batch_bytes += 1);
        changed(&|span| span.alone = !span.alone);
    }
}

#[test]
fn no_entry_has_two_spans_and_none_points_elsewhere() {
    let twice = lie(6, |said, at| said.insert(at, said[at]));
    assert!(matches!(twice, Verdict::False { fault: IndexFault::Span { .. }, .. }), "{twice:?}");
    let of_nobody = lie(0, |said, _| {
        let (_, span, end) = said[0];
        said.push((9, span, end));
    });
    let is_span = |fault| matches!(fault, IndexFault::Span { base_offset: 100 });
    assert!(
        matches!(of_nobody, Verdict::False { fault, queue: Some(9), .. } if is_span(fault)),
        "{of_nobody:?}"
    );
}

#[test]
fn rows_must_fit_their_spans() {
    let held = held();
    let all = said(&held);
    let row_of = |said: &Said, queue| {
        let verdict = verdict(&disk(said, sealed()).0, Some(&held));
        let is_row = matches!(&verdict, Verdict::False { fault: IndexFault::Row, queue: of, .. }
            if *of == Some(queue));
        assert!(is_row, "{verdict:?}");
    };
    let last = all.iter().rposition(|(queue, ..)| *queue == 5).unwrap();
    for wrong in [all[last].2 - 1, all[last].2 + 1] {
        let mut said = all.clone();
        said[last].2 = wrong;
        row_of(&said, 5);
    }
    let mut said = all;
    said.last_mut().unwrap().2 += 1;
    row_of(&said, 8);
}

#[test]
fn what_no_span_leads_to_is_told() {
    let pos =
        |held: &Held, queue, at: usize| LogPos(START + u64::from(held.queues[&queue][at].offset));
    let held = held();
    let unfound = |queue, group_offset, pos| Unfound { number: NUMBER, queue, group_offset, pos };
    // At the beginning, in the middle, at the end: the last entry of each stretch.
    let first = lie(0, |said, _| drop(said.drain(..3)));
    assert_eq!(first, Verdict::True(vec![unfound(5, 108, pos(&held, 5, 5))]));
    let middle = lie(0, |said, _| drop(said.drain(4..6)));
    assert_eq!(middle, Verdict::True(vec![unfound(5, 120, pos(&held, 5, 11))]));
    let last = GROUPS as usize - 1;
    let end = lie(last, |said, at| drop(said.drain(at..=at)));
    let offset = 100 + last as u64 * 4;
    assert_eq!(end, Verdict::True(vec![unfound(5, offset, pos(&held, 5, 2 * last + 1))]));
    let queue = lie(0, |said, _| said.retain(|(queue, ..)| *queue != 8));
    let [only] = [held.queues[&8].len() - 1];
    let offset = held.queues[&8][only].base_offset;
    assert_eq!(queue, Verdict::True(vec![unfound(8, offset, pos(&held, 8, only))]));
}

#[test]
fn the_footer_must_know_its_groups() {
    let held = held();
    let footer = |change: &dyn Fn(&mut Sealed)| {
        let mut sealed = sealed();
        change(&mut sealed);
        let (image, at) = disk(&said(&held), sealed);
        match verdict(&image, Some(&held)) {
            Verdict::False { fault, at: place, queue: None } if place == at => fault,
            other => panic!("{other:?}"),
        }
    };
    let holds = (11, 10 + GROUPS);
    let groups = |says| IndexFault::Groups { says, holds };
    assert_eq!(footer(&|sealed| sealed.first_sequence -= 1), groups((10, holds.1)));
    assert_eq!(footer(&|sealed| sealed.first_sequence += 1), groups((12, holds.1)));
    assert_eq!(footer(&|sealed| sealed.last_sequence += 1), groups((11, holds.1 + 1)));
    assert_eq!(footer(&|sealed| sealed.last_sequence = 3), groups((11, 3)));
    let newest = IndexFault::Newest { says_ms: 7000, holds_ms: 6999 + GROUPS };
    assert_eq!(footer(&|sealed| sealed.newest_ms = 7000), newest);
}

#[test]
fn a_segment_may_have_grown_since() {
    let held = held();
    let early: Said =
        said(&held).into_iter().filter(|(_, span, _)| span.store_timestamp_ms < 7150).collect();
    let known = Sealed { last_sequence: 160, newest_ms: 7149, ..sealed() };
    assert_eq!(verdict(&disk(&early, known).0, Some(&held)), Verdict::Outgrown);
    let late = verdict(&disk(&said(&held), known).0, Some(&held));
    assert!(matches!(late, Verdict::False { fault: IndexFault::Span { .. }, .. }), "{late:?}");
}

#[test]
fn every_byte_of_the_file_counts() {
    let held = held();
    let (image, footer_at) = disk(&said(&held), sealed());
    let name = FileName::Index(NUMBER);
    let block = u64::from(BLOCK_BYTES);
    let blocks = said(&held).len().div_ceil(SPANS_PER_BLOCK as usize);
    let directory_at = blocks as u64 * block;
    for (offset, bit) in (0..footer_at + block).step_by(3).zip((0..8).cycle()) {
        let mut damaged = image.clone();
        damaged.flip_bit(name, offset, bit);
        let verdict = verdict(&damaged, None);
        let Verdict::False { fault, at, queue: None } = verdict else {
            panic!("byte {offset}: {verdict:?}")
        };
        assert_eq!(at / block, offset / block, "byte {offset}: {fault} at {at}");
        match fault {
            IndexFault::Block => assert!(offset < directory_at),
            IndexFault::Directory | IndexFault::Reserved => {
                assert!((directory_at..footer_at).contains(&offset));
            }
            IndexFault::Footer => assert!(offset >= footer_at),
            other => panic!("byte {offset}: {other}"),
        }
    }
}

/// What a crash leaves of a file that was being written is no damage; what it cannot leave is.
#[test]
fn unfinished_and_cut_files() {
    let held = held();
    let (image, footer_at) = disk(&said(&held), sealed());
    let name = FileName::Index(NUMBER);
    let mut unfinished = image.clone();
    unfinished.overwrite(name, footer_at, &[0; BLOCK_BYTES as usize]);
    assert_eq!(verdict(&unfinished, Some(&held)), Verdict::Unfinished);
    for (len, is_cut) in [(0, false), (100, true), (4096, false), (4097, true)] {
        let mut cut = image.clone();
        cut.create(name, len);
        let found = verdict(&cut, Some(&held));
        let fault = matches!(found, Verdict::False { fault: IndexFault::Footer, .. });
        assert_eq!((fault, found == Verdict::Unfinished), (is_cut, !is_cut), "{len}: {found:?}");
    }
}
