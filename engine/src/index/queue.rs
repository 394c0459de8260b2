//! The spans of one queue.

use std::collections::VecDeque;
use std::ops::Range;

use crate::limits::{SPAN_BATCH_BYTES_MIN, SPAN_BYTES_LONG};
use crate::log::position::LogPos;
use crate::log::recover::Found;

/// Entries of one queue in one group: all of them, or a stretch of them where they are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first record.
    pub base_offset: u64,
    /// Position of the first entry's header.
    pub pos: LogPos,
    /// Store time of the group.
    pub store_timestamp_ms: u64,
    /// Bytes from `pos` to the end of the queue's last entry in the group.
    pub len: u32,
    /// Bytes of the queue's batches in the group.
    pub batch_bytes: u32,
    /// No entry of another queue lies between.
    pub alone: bool,
}

/// What leaves a queue at once when it is cut at its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Position of the first entry's header.
    pub pos: LogPos,
    /// No record in it was stored later.
    pub store_timestamp_ms: u64,
    /// Bytes of its batches.
    pub batch_bytes: u64,
    /// Offset behind its last record.
    pub end_offset: u64,
}

/// Where the records of one queue lie.
#[derive(Debug, Default)]
pub struct QueueIndex {
    spans: VecDeque<Span>,
    /// Number of spans that consumers may see.
    visible: usize,
    /// Group of the last span.
    last_sequence: u64,
    /// What the first span says begins inside of it: only its segment knows where.
    cut: bool,
}

impl QueueIndex {
    /// Adds an entry of group `sequence` at `pos`. `true` if a span begins with it: the queue's first
    /// in the group, or the last one was long enough.
    pub fn add(
        &mut self,
        sequence: u64,
        base_offset: u64,
        pos: LogPos,
        (entry_bytes, batch_bytes): (u32, u32),
        store_timestamp_ms: u64,
    ) -> bool {
        let goes_on = |last: &&mut Span| {
            let len = pos.0 - last.pos.0 + u64::from(entry_bytes);
            len <= SPAN_BYTES_LONG || last.batch_bytes < SPAN_BATCH_BYTES_MIN
        };
        let last = self.spans.back_mut().filter(|_| self.last_sequence == sequence);
        if let Some(last) = last.filter(goes_on) {
            let end = last.pos.plus(u64::from(last.len));
            last.alone &= end == pos;
            last.len = (pos.0 - last.pos.0) as u32 + entry_bytes;
            last.batch_bytes += batch_bytes;
            return false;
        }
        let len = entry_bytes;
        let alone = true;
        self.spans.push_back(Span {
            base_offset,
            pos,
            store_timestamp_ms,
            len,
            batch_bytes,
            alone,
        });
        self.last_sequence = sequence;
        true
    }

    /// Adds an entry that was found in the log.
    pub(crate) fn add_found(&mut self, found: &Found<'_>) {
        let bytes = (found.header.entry_bytes(), found.header.batch_bytes);
        let (base, stored_ms) = (found.header.base_offset, found.header.store_timestamp_ms);
        self.add(found.sequence, base, found.pos, bytes, stored_ms);
    }

    /// Forgets the spans below `pos`, which consumers have long been able to see; returns the bytes
    /// of their batches.
    pub fn drop_below(&mut self, pos: LogPos) -> u64 {
        let gone = self.spans.partition_point(|span| span.pos < pos);
        debug_assert!(gone <= self.visible, "consumers have seen what goes");
        self.visible = self.visible.saturating_sub(gone);
        self.cut &= gone == 0;
        let bytes = self.spans.drain(..gone).map(|span| u64::from(span.batch_bytes)).sum();
        if self.spans.capacity() > 4 * self.spans.len() {
            self.spans.shrink_to(2 * self.spans.len());
        }
        bytes
    }

    /// The spans that lie in `range` from `offset` on, each with the offset behind its last record;
    /// the queue ends at `next_offset`.
    pub fn within(
        &self,
        range: &Range<LogPos>,
        offset: u64,
        next_offset: u64,
    ) -> impl Iterator<Item = (Span, u64)> {
        let is_before = |span: &Span| span.base_offset < offset || span.pos < range.start;
        let first = self.spans.partition_point(is_before);
        let after = self.spans.partition_point(|span| span.pos < range.end);
        let ends = self.spans.range(first..).skip(1).map(|span| span.base_offset);
        self.spans.range(first.min(after)..after).copied().zip(ends.chain([next_offset]))
    }

    /// Position of the last span.
    #[must_use]
    pub fn last_pos(&self) -> Option<LogPos> {
        self.spans.back().map(|span| span.pos)
    }

    /// What consumers may see from offset `from` on, where a piece begins, of a queue that ends at
    /// `next_offset`: piece by piece, oldest first.
    pub fn pieces(&self, from: u64, next_offset: u64) -> impl Iterator<Item = Piece> {
        let first = self.spans.partition_point(|span| span.base_offset < from);
        let spans = self.spans.range(first.min(self.visible)..self.visible);
        let behind = self.spans.range((first + 1).min(self.spans.len())..);
        let ends = behind.map(|span| span.base_offset).chain(std::iter::once(next_offset));
        spans.zip(ends).map(|(span, end_offset)| Piece {
            pos: span.pos,
            store_timestamp_ms: span.store_timestamp_ms,
            batch_bytes: u64::from(span.batch_bytes),
            end_offset,
        })
    }

    /// Forgets what lies before `offset`, which consumers have been able to see, of a queue that ends
    /// at `next_offset`; returns the bytes of those batches. Of a span that holds the offset (what
    /// were two spans of a group can be one after a restart) they are estimated by the number of
    /// records.
    pub fn drop_before(&mut self, offset: u64, next_offset: u64) -> u64 {
        let after = self.spans.partition_point(|span| span.base_offset <= offset);
        let end = self.spans.get(after).map_or(next_offset, |span| span.base_offset);
        let gone = if end > offset { after.saturating_sub(1) } else { after };
        debug_assert!(gone <= self.visible, "consumers have seen what goes");
        self.visible = self.visible.saturating_sub(gone);
        self.cut &= gone == 0;
        let mut bytes = self.spans.drain(..gone).map(|span| u64::from(span.batch_bytes)).sum();
        if let Some(span) = self.spans.front_mut().filter(|span| span.base_offset < offset) {
            let (before, all) = (offset - span.base_offset, end - span.base_offset);
            let share =
                (u128::from(span.batch_bytes) * u128::from(before) / u128::from(all)) as u32;
            span.base_offset = offset;
            span.batch_bytes -= share;
            span.alone = false;
            self.cut = true;
            bytes += u64::from(share);
        }
        bytes
    }

    /// Whether this is the first span, and what it says begins inside of it.
    #[must_use]
    pub fn is_cut(&self, span: &Span) -> bool {
        self.cut && self.first_offset() == Some(span.base_offset)
    }

    /// Position of the first record that is indexed.
    #[must_use]
    pub fn first_pos(&self) -> Option<LogPos> {
        self.spans.front().map(|span| span.pos)
    }

    /// Lets the next entry begin a span of its own, also in the group of the last one.
    pub fn end_span(&mut self) {
        self.last_sequence = 0;
    }

    /// Offset of the first record that is indexed.
    #[must_use]
    pub fn first_offset(&self) -> Option<u64> {
        self.spans.front().map(|span| span.base_offset)
    }

    /// Lets consumers see one more span.
    pub fn show_next(&mut self) {
        self.visible = (self.visible + 1).min(self.spans.len());
    }

    /// Lets consumers see everything.
    pub fn show_all(&mut self) {
        self.visible = self.spans.len();
    }

    /// Offset of the first record consumers may not see yet.
    #[must_use]
    pub fn visible_offset(&self, next_offset: u64) -> u64 {
        self.spans.get(self.visible).map_or(next_offset, |span| span.base_offset)
    }

    /// The visible spans from the one that holds `offset` on, with the offset each ends at.
    pub fn from(&self, offset: u64) -> impl Iterator<Item = Span> {
        let after = self.spans.partition_point(|span| span.base_offset <= offset);
        let first = after.saturating_sub(1);
        self.spans.range(first.min(self.visible)..self.visible).copied()
    }

    /// The first visible span stored at or after `timestamp_ms`.
    #[must_use]
    pub fn at_time(&self, timestamp_ms: u64) -> Option<Span> {
        let at = self.spans.partition_point(|span| span.store_timestamp_ms < timestamp_ms);
        self.spans.get(at).filter(|_| at < self.visible).copied()
    }

    /// Spans in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether the queue holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_grow_and_show_by_group() {
        let mut index = QueueIndex::default();
        assert!(index.add(1, 0, LogPos(4096), (104, 60), 10));
        assert!(!index.add(1, 1, LogPos(4200), (104, 60), 10));
        assert!(
            !index.add(1, 2, LogPos(4408), (104, 60), 10),
            "another queue's entry lies between"
        );
        assert!(index.add(2, 3, LogPos(8192), (104, 60), 20));
        assert_eq!(index.visible_offset(4), 0);
        index.show_next();
        assert_eq!(index.visible_offset(4), 3);
        let spans: Vec<_> = index.from(1).collect();
        assert_eq!(spans.len(), 1);
        assert_eq!((spans[0].len, spans[0].alone), (416, false));
        assert_eq!(index.from(3).count(), 0, "not visible");
        index.show_next();
        assert_eq!(index.visible_offset(4), 4);
        assert_eq!(index.from(3).next().unwrap().pos, LogPos(8192));
        assert_eq!(index.at_time(11).unwrap().base_offset, 3);
        assert!(index.at_time(21).is_none());
        let ends = |from, to, offset| {
            let range = LogPos(from)..LogPos(to);
            index.within(&range, offset, 4).map(|(_, end)| end).collect::<Vec<_>>()
        };
        assert_eq!((ends(0, 8192, 0), ends(0, 8192, 1)), (vec![3], vec![]));
        assert_eq!((ends(0, 9000, 0), ends(4097, 9000, 0)), (vec![3, 4], vec![4]));
        assert_eq!(index.drop_below(LogPos(8192)), 180);
        assert_eq!((index.first_offset(), index.visible_offset(4)), (Some(3), 4));
        assert_eq!(index.from(3).count(), 1);
    }

    #[test]
    fn a_long_span_ends_within_its_group_if_it_holds_enough_of_its_queue() {
        let spans = |step: u64, batch_bytes: u32| {
            let mut index = QueueIndex::default();
            let entries = 0..256 * 1024 / step;
            let first: Vec<bool> = entries
                .map(|n| {
                    let bytes = (batch_bytes + 44, batch_bytes);
                    index.add(7, n, LogPos(4096 + n * step), bytes, 10)
                })
                .collect();
            index.show_all();
            let spans: Vec<Span> = index.from(0).collect();
            assert_eq!(first.iter().filter(|first| **first).count(), spans.len());
            spans
        };
        // Alone in the group.
        let alone = spans(4096, 4052);
        assert_eq!((alone.len(), alone[1].base_offset), (4, 16));
        assert!(alone.iter().all(|span| span.alone && span.len == 64 << 10));
        // Sixteen take turns.
        let turns = spans(56 << 10, 3400);
        let lens: Vec<u32> = turns.iter().map(|span| span.len).collect();
        assert_eq!(lens, [(56 << 10) + 3444, (56 << 10) + 3444]);
        // So many that each has a few bytes only.
        assert_eq!(spans(16 << 10, 100).len(), 1);
    }

    #[test]
    fn a_span_that_holds_the_new_start_is_cut() {
        let mut index = QueueIndex::default();
        index.add(1, 0, LogPos(4096), (144, 100), 10);
        index.add(2, 10, LogPos(8192), (144, 100), 20);
        index.show_all();
        assert_eq!(index.drop_before(4, 15), 40);
        let first = index.from(4).next().unwrap();
        assert_eq!((first.base_offset, first.pos, first.alone), (4, LogPos(4096), false));
        assert_eq!((first.batch_bytes, first.len), (60, 144));
        assert!(index.is_cut(&first));
        assert_eq!(index.drop_before(4, 15), 0);
        assert_eq!(index.drop_before(12, 15), 60 + 40);
        assert_eq!(
            (index.first_offset(), index.len(), index.visible_offset(15)),
            (Some(12), 1, 15)
        );
        assert_eq!(index.drop_before(15, 15), 60);
        assert!(index.is_empty() && !index.cut);
    }

    #[test]
    fn pieces_are_what_consumers_may_see() {
        let mut index = QueueIndex::default();
        for (sequence, offset) in [(1, 0), (2, 3), (3, 5)] {
            index.add(sequence, offset, LogPos(4096 * sequence), (104, 60), sequence * 10);
        }
        index.show_next();
        index.show_next();
        let ends: Vec<_> = index.pieces(0, 9).map(|piece| piece.end_offset).collect();
        assert_eq!(ends, [3, 5], "the third is not visible");
        assert_eq!(index.pieces(3, 9).next().unwrap().end_offset, 5);
        assert_eq!(index.pieces(5, 9).count(), 0);
        assert_eq!(index.drop_before(3, 9), 60);
        assert_eq!(index.first_pos(), Some(LogPos(8192)));
        index.show_next();
        let last = index.pieces(3, 9).last().unwrap();
        assert_eq!((last.pos, last.end_offset, last.store_timestamp_ms), (LogPos(12288), 9, 30));
        assert_eq!(index.drop_before(9, 9), 120);
        assert_eq!((index.first_pos(), index.visible_offset(9)), (None, 9));
        assert!(index.add(4, 9, LogPos(16384), (104, 60), 40));
        assert!(!index.add(4, 10, LogPos(16488), (104, 60), 40));
        index.end_span();
        assert!(index.add(4, 11, LogPos(16592), (104, 60), 40), "a span of its own");
        assert_eq!(index.len(), 2);
    }
}
