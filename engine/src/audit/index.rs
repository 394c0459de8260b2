//! An index file against its segment: does it say exactly what is there?
//!
//! What a segment holds is gathered while the walk passes ([`Held`]), an entry in 24 bytes; then
//! the file is read once and every span looked up in that ([`check`]).
//!
//! A span is true when it begins and ends with entries of its queue in one group, none of which
//! another span has, and its bytes and time are theirs: a group may be cut into several. Entries
//! that are in no span are told ([`Unfound`]); whether they may be missing only the end of the log
//! can say (`derived`).
//!
//! Absent: the format's own soundness (`index_file`).

use std::collections::BTreeMap;

use super::index_file::{FaultAt, IndexFault, IndexFile, Item, KeyRow, Opening, Row, Span, open};
use super::{Found, Group};
use crate::index::keys::rows_of;
use crate::io::Disk;
use crate::log::entry_format::{Kind, entry_bytes};
use crate::log::position::LogPos;
use crate::log::segments::Geometry;

/// An entry of a queue.
#[derive(Clone, Copy, Debug)]
struct EntryAt {
    base_offset: u64,
    /// Of its header in the segment's file.
    offset: u32,
    batch_bytes: u32,
    records: u32,
    /// Its group, counted from the segment's first.
    group: u32,
}

impl EntryAt {
    fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(entry_bytes(self.batch_bytes))
    }
}

/// What one segment holds of queues.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) number: u64,
    /// First and last group.
    groups: Option<(u64, u64)>,
    /// Store time of each group.
    store_ms: Vec<u64>,
    queues: BTreeMap<u32, Vec<EntryAt>>,
    keys: Vec<KeyRow>,
    /// By group: how many keys there are up to its end.
    keys_by_group: Vec<usize>,
}

impl Held {
    /// Begins with another segment.
    pub(super) fn begin(&mut self, number: u64) {
        *self = Self { number, ..Self::default() };
    }

    /// Takes note of a group, and of its entries with [`Held::entry`].
    pub(super) fn group(&mut self, group: &Group) {
        let sequence = group.header().sequence;
        let first = self.groups.map_or(sequence, |(first, _)| first);
        self.groups = Some((first, sequence));
        let newest_ms = self.store_ms.last().copied().unwrap_or(0);
        let stored_ms = group.entries().next().map(|found| found.header.store_timestamp_ms);
        self.store_ms.push(stored_ms.unwrap_or(newest_ms));
        self.keys_by_group.push(self.keys.len());
    }

    pub(super) fn entry(&mut self, found: &Found<'_>, geometry: &Geometry) {
        if !matches!(found.header.kind, Kind::Data | Kind::Metadata) {
            return;
        }
        self.queues.entry(found.header.queue).or_default().push(EntryAt {
            base_offset: found.header.base_offset,
            offset: geometry.offset(found.pos) as u32,
            batch_bytes: found.header.batch_bytes,
            records: found.records,
            group: self.store_ms.len().saturating_sub(1) as u32,
        });
        if found.header.keyed {
            let (queue, base_offset) = (found.header.queue, found.header.base_offset);
            rows_of(found.batch, queue, base_offset, |key| self.keys.push(key));
            self.keys_by_group.last_mut().into_iter().for_each(|count| *count = self.keys.len());
        }
    }

    /// The keys of the first `groups` groups, as an index has them.
    fn keys(&self, groups: u32) -> Vec<KeyRow> {
        let count = (groups as usize).checked_sub(1).and_then(|last| self.keys_by_group.get(last));
        let mut keys = self.keys.get(..count.copied().unwrap_or(0)).unwrap_or_default().to_vec();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// The last entry of a queue that no span of a segment's index leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unfound {
    pub(super) number: u64,
    pub(super) queue: u32,
    /// The queue's first offset in the entry's group.
    pub(super) group_offset: u64,
    pub(super) pos: LogPos,
}

/// What was found of an index.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is none.
    Absent,
    /// A crash has left it half written.
    Unfinished,
    /// Its segment has grown since: the log went on in it after a crash.
    Outgrown,
    /// It says what is there, but for these.
    True(Vec<Unfound>),
    /// It is damaged or says what is not so.
    False { fault: IndexFault, at: u64, queue: Option<u32> },
}

/// Checks the index of segment `number`, against what the segment holds if that is known.
pub(super) fn check<D: Disk>(
    disk: &mut D,
    geometry: &Geometry,
    number: u64,
    held: Option<&Held>,
) -> Verdict {
    let file = match open(disk, geometry, number) {
        Opening::Absent => return Verdict::Absent,
        Opening::Unfinished => return Verdict::Unfinished,
        Opening::Faulty(fault, at) => return Verdict::False { fault, at, queue: None },
        Opening::Whole(file) => file,
    };
    let mut compare = Compare {
        geometry,
        file: &file,
        number,
        held,
        groups: u32::MAX,
        row: None,
        keys: None,
        unfound: Vec::new(),
    };
    let outgrown = compare.footer();
    // Also when the footer is wrong: the file is closed then.
    let read = file.items(disk, |item, at| match item {
        Item::Span(row, span) => compare.span(row, span, at),
        Item::Key(key) => compare.key(key, at),
    });
    match outgrown.and_then(|outgrown| read.and_then(|()| compare.end()).map(|()| outgrown)) {
        Ok(true) => Verdict::Outgrown,
        Ok(false) => Verdict::True(compare.unfound),
        Err((fault, at)) => {
            let queue = compare.row.map(|row| row.row.queue);
            Verdict::False { fault, at, queue: queue.filter(|_| is_of_queue(&fault)) }
        }
    }
}

fn is_of_queue(fault: &IndexFault) -> bool {
    matches!(fault, IndexFault::Row | IndexFault::Span { .. })
}

/// A row whose spans are being compared.
#[derive(Clone, Copy, Debug)]
struct InRow {
    row: Row,
    /// The first entry that no span had yet.
    next: usize,
    batch_bytes: u64,
    spans: u32,
    end_offset: u64,
    newest_ms: u64,
}

struct Compare<'a> {
    geometry: &'a Geometry,
    file: &'a IndexFile,
    number: u64,
    held: Option<&'a Held>,
    /// The index knows so many of the segment's groups.
    groups: u32,
    row: Option<InRow>,
    /// The keys that are to come.
    keys: Option<std::vec::IntoIter<KeyRow>>,
    unfound: Vec<Unfound>,
}

impl Compare<'_> {
    /// Whether the segment has grown since.
    fn footer(&mut self) -> Result<bool, FaultAt> {
        let Some(held) = self.held else { return Ok(false) };
        let at = self.file.footer_offset();
        let sealed = self.file.sealed();
        let says = (sealed.first_sequence, sealed.last_sequence);
        let holds = held.groups.unwrap_or((0, 0));
        if says.0 != holds.0 || !(holds.0..=holds.1).contains(&says.1) {
            return Err((IndexFault::Groups { says, holds }, at));
        }
        self.groups = (says.1 - says.0 + 1) as u32;
        self.keys = Some(held.keys(self.groups).into_iter());
        let newest = held.store_ms.get(self.groups as usize - 1).copied();
        match newest.filter(|newest| *newest > sealed.newest_ms) {
            Some(holds_ms) => Err((IndexFault::Newest { says_ms: sealed.newest_ms, holds_ms }, at)),
            None => Ok(says.1 < holds.1),
        }
    }

    fn span(&mut self, row: &Row, span: &Span, at: u64) -> Result<(), FaultAt> {
        if self.row.is_none_or(|current| current.row.queue != row.queue) {
            self.end_row()?;
            let (batch_bytes, spans, newest_ms) = (0, 0, 0);
            let end_offset = row.base_offset;
            let next = 0;
            self.row = Some(InRow { row: *row, next, batch_bytes, spans, end_offset, newest_ms });
        }
        let Some(mut current) = self.row else { return Ok(()) };
        let wrong = (IndexFault::Span { base_offset: span.base_offset }, at);
        if current.spans == 0 && span.base_offset != row.base_offset {
            return Err((IndexFault::Row, self.file.row_offset(row.queue)));
        }
        if current.spans > 0 && span.base_offset < current.end_offset {
            return Err(wrong);
        }
        current.spans += 1;
        current.batch_bytes += u64::from(span.batch_bytes);
        current.newest_ms = span.store_timestamp_ms;
        current.end_offset = span.base_offset + 1;
        if let Some(held) = self.held {
            let entries = held.queues.get(&row.queue).map_or(&[][..], |entries| &entries[..]);
            let found = self.entries(held, entries, current.next, span).ok_or(wrong)?;
            self.skipped(row.queue, entries, current.next..found.start);
            current.next = found.end;
            if let Some(last) = entries.get(found.end - 1) {
                current.end_offset = last.base_offset + u64::from(last.records);
            }
        }
        self.row = Some(current);
        Ok(())
    }

    fn key(&mut self, key: &KeyRow, at: u64) -> Result<(), FaultAt> {
        let Some(keys) = &mut self.keys else { return Ok(()) };
        let expected = keys.next();
        if expected == Some(*key) {
            return Ok(());
        }
        let first = expected.map_or(*key, |expected| expected.min(*key));
        Err((IndexFault::Key { offset: first.offset }, at))
    }

    /// The entries that a span is of, from the one numbered `next` on.
    fn entries(
        &self,
        held: &Held,
        entries: &[EntryAt],
        next: usize,
        span: &Span,
    ) -> Option<std::ops::Range<usize>> {
        let rest = entries.get(next..)?;
        let start = rest.partition_point(|entry| entry.base_offset < span.base_offset);
        let rest = rest.get(start..)?;
        let first = rest.first().filter(|entry| entry.base_offset == span.base_offset)?;
        let begin = self.geometry.offset(span.pos);
        let stored_ms = held.store_ms.get(first.group as usize).copied();
        let fits = u64::from(first.offset) == begin
            && first.group < self.groups
            && stored_ms == Some(span.store_timestamp_ms);
        let end = begin + u64::from(span.len);
        let of_span =
            rest.iter().take_while(|entry| entry.group == first.group && entry.end() <= end);
        let (mut count, mut batch_bytes, mut reached, mut alone) = (0, 0, begin, true);
        for entry in of_span {
            count += 1;
            batch_bytes += u64::from(entry.batch_bytes);
            alone &= u64::from(entry.offset) == reached;
            reached = entry.end();
        }
        let is_true = fits
            && reached == end
            && batch_bytes == u64::from(span.batch_bytes)
            && alone == span.alone;
        (is_true && count > 0).then_some(next + start..next + start + count)
    }

    /// No span has these entries.
    fn skipped(&mut self, queue: u32, entries: &[EntryAt], range: std::ops::Range<usize>) {
        let known = entries.get(range).unwrap_or_default();
        let Some(last) = known.iter().rposition(|entry| entry.group < self.groups) else { return };
        let Some(last) = known.get(last) else { return };
        let first = entries.partition_point(|entry| entry.group < last.group);
        let first = entries.get(first).unwrap_or(last);
        let start = LogPos(self.number * self.geometry.segment_bytes);
        self.unfound.push(Unfound {
            number: self.number,
            queue,
            group_offset: first.base_offset,
            pos: start.plus(last.offset.into()),
        });
    }

    fn end_row(&mut self) -> Result<(), FaultAt> {
        let Some(InRow { row, next, batch_bytes, end_offset, newest_ms, .. }) = self.row else {
            return Ok(());
        };
        let same = batch_bytes == row.batch_bytes
            && newest_ms == row.newest_ms
            && (self.held.is_none() || end_offset == row.end_offset);
        if !same || row.end_offset < end_offset {
            return Err((IndexFault::Row, self.file.row_offset(row.queue)));
        }
        let held = self.held.and_then(|held| held.queues.get(&row.queue));
        if let Some(entries) = held {
            self.skipped(row.queue, entries, next..entries.len());
        }
        Ok(())
    }

    /// Of the last row, and of queues that have none.
    fn end(&mut self) -> Result<(), FaultAt> {
        self.end_row()?;
        if let Some(key) = self.keys.as_mut().and_then(Iterator::next) {
            let at = self.file.directory_offset();
            return Err((IndexFault::Key { offset: key.offset }, at));
        }
        let held = self.held;
        for (queue, entries) in held.iter().flat_map(|held| &held.queues) {
            if self.file.rows().binary_search_by_key(queue, |row| row.queue).is_err() {
                self.skipped(*queue, entries, 0..entries.len());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
