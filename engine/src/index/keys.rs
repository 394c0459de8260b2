//! The keys of recent records, in memory until their segment has an index.
//!
//! A record has the key that it was sent with, and every word of its header `KEYS` (RocketMQ's name
//! and form: words parted by spaces). Only entries that say so are looked into.
//!
//! Reads top-down: `rows_of` -> `Pile::add` -> `Pile::newest`, and once, when its segment is
//! sealed, `Merge`.
//! Invariant: every row but those of `open` is in a run, each of which is in order.
//! Absent: which records consumers may see, and which have gone (the queue says that).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;

use super::key_format::KeyRow;
use crate::batch::{BatchRef, Record};

/// Header of a record with more keys.
pub const KEYS_HEADER: &[u8] = b"KEYS";

/// Rows that are put in order at once: some 50 us, and each of the runs that a lookup asks is as
/// long.
const RUN_ROWS: usize = 2048;

/// What stands for a key in the index.
#[must_use]
pub fn hash_of(key: &[u8]) -> u32 {
    crc32c::crc32c(key)
}

/// The keys of a record.
pub fn keys_of<'a>(record: &Record<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let words = record.headers.get(KEYS_HEADER).flatten().unwrap_or_default();
    let words = words.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    record.key.into_iter().filter(|key| !key.is_empty()).chain(words)
}

/// Shows a row for every key of every record of a batch, which begins at `base_offset` of its queue.
/// A key that a record has twice is shown twice.
pub(crate) fn rows_of(batch: &[u8], queue: u32, base_offset: u64, mut visit: impl FnMut(KeyRow)) {
    let Ok(batch) = BatchRef::parse_unverified(batch) else { return };
    // What is marked as keyed was looked into when it was taken.
    for record in batch.records().map_while(Result::ok) {
        let offset = base_offset + u64::from(record.offset_delta);
        for key in keys_of(&record) {
            visit(KeyRow { hash: hash_of(key), queue, offset });
        }
    }
}

/// The keys of one segment's records.
#[derive(Debug, Default)]
pub(crate) struct Pile {
    open: Vec<KeyRow>,
    runs: Vec<Box<[KeyRow]>>,
}

impl Pile {
    /// Adds a record that was just appended, or found.
    pub(crate) fn add(&mut self, row: KeyRow) {
        self.open.push(row);
        if self.open.len() >= RUN_ROWS {
            self.close();
        }
    }

    /// Adds the keys of a batch.
    pub(crate) fn add_batch(&mut self, batch: &[u8], queue: u32, base_offset: u64) {
        rows_of(batch, queue, base_offset, |row| self.add(row));
    }

    fn close(&mut self) {
        let mut run = std::mem::take(&mut self.open);
        run.sort_unstable();
        run.dedup();
        self.runs.extend((!run.is_empty()).then(|| run.into_boxed_slice()));
    }

    /// Adds to `out` the last `max` offsets in `range` of records of a queue with a key of this
    /// hash, the last first.
    pub(crate) fn newest(
        &self,
        (hash, queue): (u32, u32),
        range: &Range<u64>,
        max: usize,
        out: &mut Vec<u64>,
    ) {
        let before = out.len();
        let row = |offset| KeyRow { hash, queue, offset };
        let wanted = row(range.start)..row(range.end);
        out.extend(self.open.iter().filter(|row| wanted.contains(row)).map(|row| row.offset));
        for run in &self.runs {
            let below = |row| run.partition_point(|other| *other < row);
            let (first, end) = (below(wanted.start), below(wanted.end));
            let found = run.get(first..end).unwrap_or_default();
            out.extend(found.iter().rev().take(max).map(|row| row.offset));
        }
        let mut found = out.split_off(before);
        found.sort_unstable_by_key(|offset| Reverse(*offset));
        found.dedup();
        found.truncate(max);
        out.append(&mut found);
    }

    /// Memory that it takes, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let runs: usize = self.runs.iter().map(|run| size_of_val(&run[..])).sum();
        (size_of_val(&self.open[..]) + runs) as u64
    }
}

/// The keys of the records of all segments that have no index yet.
#[derive(Debug, Default)]
pub(crate) struct Recent(BTreeMap<u64, Pile>);

impl Recent {
    /// Adds the keys of a batch in segment `number`.
    pub(crate) fn add_batch(&mut self, number: u64, batch: &[u8], queue: u32, base_offset: u64) {
        self.0.entry(number).or_default().add_batch(batch, queue, base_offset);
    }

    /// Those of segment `number`.
    pub(crate) fn of_segment(&mut self, number: u64) -> Option<&mut Pile> {
        self.0.get_mut(&number)
    }

    /// The segment has an index that queues know, or has left the log.
    pub(crate) fn forget(&mut self, number: u64) {
        self.0.remove(&number);
    }

    /// Adds to `out` the last `max` offsets in `range` of records of a queue with a key of this
    /// hash, the last first.
    pub(crate) fn newest(
        &self,
        key: (u32, u32),
        range: &Range<u64>,
        max: usize,
        out: &mut Vec<u64>,
    ) {
        let end = out.len() + max;
        // Offsets grow from segment to segment.
        for pile in self.0.values().rev() {
            pile.newest(key, range, end.saturating_sub(out.len()), out);
        }
    }

    /// Memory that they take, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.values().map(Pile::bytes).sum()
    }
}

/// The rows of a pile, one after the other in order.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    /// The next row of each run, with the run's number and the row's in it.
    heads: BinaryHeap<Reverse<(KeyRow, usize, usize)>>,
    last: Option<KeyRow>,
}

impl Merge {
    /// Of a pile to which nothing is added any more.
    pub(crate) fn new(pile: &mut Pile) -> Self {
        pile.close();
        let firsts = pile.runs.iter().enumerate();
        let heads = firsts.filter_map(|(number, run)| Some(Reverse((*run.first()?, number, 0))));
        Self { heads: heads.collect(), last: None }
    }

    /// The next row.
    pub(crate) fn next(&mut self, pile: &Pile) -> Option<KeyRow> {
        loop {
            let Reverse((row, number, at)) = self.heads.pop()?;
            if let Some(next) = pile.runs.get(number).and_then(|run| run.get(at + 1)) {
                self.heads.push(Reverse((*next, number, at + 1)));
            }
            if self.last.replace(row) != Some(row) {
                return Some(row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, NewRecord, RecordHeader};

    fn pile(rows: u64) -> Pile {
        let mut pile = Pile::default();
        for at in 0..rows {
            pile.add(KeyRow { hash: (at % 7) as u32, queue: (at % 3) as u32, offset: at / 2 });
        }
        pile
    }

    #[test]
    fn a_record_has_its_key_and_the_words_of_a_header() {
        let mut builder = BatchBuilder::new(1 << 20);
        let headers = [RecordHeader { key: b"KEYS", value: Some(b"order-7  paid") }];
        let both = NewRecord { key: Some(b"k"), headers: &headers, ..NewRecord::default() };
        builder.append(&NewRecord::default()).unwrap();
        builder.append(&both).unwrap();
        builder.append(&NewRecord { key: Some(b""), ..NewRecord::default() }).unwrap();
        let mut rows = Vec::new();
        rows_of(builder.finish().unwrap(), 9, 100, |row| rows.push(row));
        let expected = [&b"k"[..], b"order-7", b"paid"].map(|key| KeyRow {
            hash: hash_of(key),
            queue: 9,
            offset: 101,
        });
        assert_eq!(rows, expected);
    }

    #[test]
    fn lookups_see_every_row_and_the_newest_first() {
        for rows in [0, 1, 100, 2048, 10_000] {
            let pile = pile(rows);
            for (hash, queue, range, max) in [(1, 1, 0..9000, 9000), (3, 0, 10..4000, 5)] {
                let of = |at: &u64| (at % 7, at % 3) == (u64::from(hash), u64::from(queue));
                let mut expected: Vec<u64> =
                    (0..rows).filter(of).map(|at| at / 2).filter(|o| range.contains(o)).collect();
                expected.reverse();
                expected.dedup();
                expected.truncate(max);
                let mut found = Vec::new();
                pile.newest((hash, queue), &range, max, &mut found);
                assert_eq!(found, expected, "{rows} rows");
            }
        }
    }

    #[test]
    fn merging_puts_all_in_order_once() {
        for rows in [0, 1, 2048, 5000] {
            let mut pile = pile(rows);
            pile.add(KeyRow { hash: 0, queue: 0, offset: 0 });
            let mut merge = Merge::new(&mut pile);
            let merged: Vec<KeyRow> = std::iter::from_fn(|| merge.next(&pile)).collect();
            let mut expected: Vec<KeyRow> = (0..rows.max(1))
                .map(|at| KeyRow { hash: (at % 7) as u32, queue: (at % 3) as u32, offset: at / 2 })
                .collect();
            expected.sort_unstable();
            expected.dedup();
            assert_eq!(merged, expected);
        }
    }
}
