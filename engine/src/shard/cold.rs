//! Cold reads: entries that have left memory, read with O_DIRECT into a block that is then sent by
//! reference.
//!
//! Reads top-down: `read_cold` -> `next_step` (where the entries lie; for a sealed segment that may
//! take a read of its index first) -> `on_cold_read` -> `collect`.
//! Neighbouring spans are read together while the stretch stays short; what lies between them
//! (other queues' entries, padding) is skipped by the walk. Every entry's checksum is compared.

use std::collections::{BTreeMap, VecDeque};

use super::fetch::{Plan, Waiting, refused};
use super::salvage::Salvage;
use super::{Effect, Fetch, FetchError, Fetched, Shard};
use crate::index::queue::Span;
use crate::index::sealed::{Block, Place};
use crate::index::walk::{Extents, Origin, Wanted, take};
use crate::io::block::Slice;
use crate::io::{BLOCK_BYTES, Completion, Disk, DiskOp, Env, Errno, FileId, Nanos, OpId, Output};
use crate::limits::{COLD_READ_BYTES_MAX, PARKED_MAX};
use crate::log::position::LogPos;
use crate::stage::Stage;

/// Reads in flight for one shard: 16 x 512 KiB keep any device busy and memory bounded.
pub(super) const READS_INFLIGHT_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct ColdRead {
    pub(super) waiting: Waiting,
    /// When the first read for it was submitted.
    pub(super) submitted: Nanos,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Entries(Stretch),
    /// The next block of a stretch that cannot be read at once.
    Block(Salvage),
    /// A block of the index of a sealed segment, which begins at `start`.
    Index {
        place: Place,
        file: FileId,
        start: LogPos,
    },
}

/// Spans that are read together.
#[derive(Debug)]
pub(super) struct Stretch {
    /// Position of the first byte that is read.
    pub(super) start: LogPos,
    pub(super) len: u32,
    spans: Vec<Span>,
}

/// What is to be read next for a fetch.
enum Step {
    Entries(Stretch),
    Index(Place, FileId),
    /// The index of this segment is not what was written.
    Damaged(u64),
    /// Nothing is known of the offset.
    Nothing,
}

/// Reads in flight, and fetches that wait for one to end.
#[derive(Debug, Default)]
pub(super) struct ColdReads {
    inflight: BTreeMap<OpId, ColdRead>,
    waiting: VecDeque<Waiting>,
}

impl ColdReads {
    /// Whether a read in flight began below `pos`.
    pub(super) fn reads_below(&self, pos: LogPos) -> bool {
        self.inflight.values().any(|read| match &read.what {
            What::Entries(Stretch { start, .. }) | What::Index { start, .. } => *start < pos,
            What::Block(salvage) => salvage.start() < pos,
        })
    }

    pub(super) fn insert(&mut self, op: OpId, read: ColdRead) {
        self.inflight.insert(op, read);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inflight.is_empty() && self.waiting.is_empty()
    }
}

impl<E: Env> Shard<E> {
    /// Starts reading for a fetch whose entries are not in memory.
    pub(super) fn read_cold(&mut self, waiting: &Waiting, now: Nanos, effects: &mut Vec<Effect>) {
        let fetch = &waiting.fetch;
        if self.cold.inflight.len() >= READS_INFLIGHT_MAX {
            if self.cold.waiting.len() < PARKED_MAX {
                self.cold.waiting.push_back(*waiting);
            } else {
                effects.push(refused(fetch, FetchError::Busy));
            }
            return;
        }
        let (file, offset, len, what) = match self.next_step(fetch) {
            Step::Entries(stretch) => {
                let Some((file, offset)) = self.log.locate(stretch.start) else {
                    effects.push(refused(fetch, FetchError::Damaged { at: stretch.start }));
                    return;
                };
                (file, offset, stretch.len, What::Entries(stretch))
            }
            Step::Index(place, file) => {
                let start = self.start_of_segment(place.number);
                let offset = u64::from(place.block) * u64::from(BLOCK_BYTES);
                (file, offset, BLOCK_BYTES, What::Index { place, file, start })
            }
            Step::Damaged(number) => {
                let error = self.index_damaged(number);
                effects.push(refused(fetch, error));
                return;
            }
            Step::Nothing => {
                effects.push(refused(fetch, FetchError::Busy));
                return;
            }
        };
        match self.env.disk().submit(DiskOp::Read { file, offset, len }) {
            Ok(op) => {
                match what {
                    What::Entries(_) => {
                        self.counters.cold_reads += 1;
                        self.counters.cold_bytes += u64::from(len);
                    }
                    What::Index { .. } => self.counters.index_reads += 1,
                    What::Block(_) => {}
                }
                let read = ColdRead { waiting: *waiting, submitted: now, what };
                self.cold.inflight.insert(op, read);
            }
            Err(_) => effects.push(refused(fetch, FetchError::Busy)),
        }
    }

    pub(super) fn start_of_segment(&self, number: u64) -> LogPos {
        LogPos(number * self.log.segments().geometry().segment_bytes)
    }

    /// Where the entries from the fetch's offset on lie, as far as that is known.
    fn next_step(&self, fetch: &Fetch) -> Step {
        let Some(queue) = self.queues.get(fetch.queue) else { return Step::Nothing };
        let recent = queue.index.first_offset().is_some_and(|first| first <= fetch.offset);
        let sealed = queue.runs.holding(fetch.offset).filter(|_| !recent);
        let Some(run) = sealed else {
            let stretch = self.stretch(queue.index.from(fetch.offset), fetch);
            return stretch.map_or(Step::Nothing, Step::Entries);
        };
        let indexes = &self.sealing.indexes;
        let damaged = Step::Damaged(run.number);
        let Some(place) = indexes.place(run, fetch.offset) else { return damaged };
        match indexes.block(place.number, place.block) {
            None => damaged,
            Some(Block::OnFile(file)) => Step::Index(place, file),
            Some(Block::Bytes(bytes)) => {
                let Some(spans) = place.spans(bytes, self.log.segments().geometry()) else {
                    return damaged;
                };
                let mut spans = spans.peekable();
                // From the one on that holds the offset.
                let mut holding = None;
                while let Some(span) = spans.next_if(|span| span.base_offset <= fetch.offset) {
                    holding = Some(span);
                }
                let stretch = self.stretch(holding.into_iter().chain(spans), fetch);
                stretch.map_or(damaged, Step::Entries)
            }
        }
    }

    /// The spans to read together: within one segment, up to the limit (one span always).
    /// Only what is written: where a write is on its way the device may still hold entries of a
    /// life that lost them, whole ones, and even at the same offsets.
    fn stretch(&self, all: impl Iterator<Item = Span>, fetch: &Fetch) -> Option<Stretch> {
        let geometry = *self.log.segments().geometry();
        let (_, written_end, _) = self.log.ends();
        let align = u64::from(BLOCK_BYTES);
        let wanted = fetch.bytes_max.min(COLD_READ_BYTES_MAX);
        let mut spans = Vec::new();
        let (mut start, mut end) = (LogPos(0), LogPos(0));
        for span in all {
            let span_end = span.pos.plus(u64::from(span.len));
            if span_end > written_end {
                break;
            }
            if spans.is_empty() {
                start = LogPos(span.pos.0 - span.pos.0 % align);
            } else if geometry.number(span.pos) != geometry.number(start)
                || span_end.0 - start.0 > u64::from(wanted)
            {
                break;
            }
            end = span_end;
            spans.push(span);
        }
        let len = (end.0 - start.0).next_multiple_of(align) as u32;
        (!spans.is_empty()).then_some(Stretch { start, len, spans })
    }

    /// A read has ended (or some operation nobody waits for any more).
    pub(super) fn on_cold_read(
        &mut self,
        completion: Completion,
        now: Nanos,
        effects: &mut Vec<Effect>,
    ) {
        let Some(read) = self.cold.inflight.remove(&completion.op) else { return };
        let ColdRead { waiting, submitted, what } = read;
        match what {
            What::Entries(stretch) => {
                self.on_entries(&waiting, stretch, (submitted, now), completion.result, effects);
            }
            What::Block(salvage) => {
                self.on_block(&waiting, salvage, (submitted, now), completion.result, effects);
            }
            What::Index { place, file, .. } => match completion.result {
                Ok(Output::Read(block)) => {
                    let bytes = block.slice(0..block.published());
                    self.sealing.indexes.keep((place.number, place.block), file, &bytes);
                    self.read_cold(&waiting, submitted, effects);
                }
                Ok(_) => effects.push(refused(&waiting.fetch, FetchError::Busy)),
                Err(errno) => {
                    let error = self.index_unread(place.number, errno);
                    effects.push(refused(&waiting.fetch, error));
                }
            },
        }
        while self.cold.inflight.len() < READS_INFLIGHT_MAX {
            let Some(waiting) = self.cold.waiting.pop_front() else { break };
            self.retry_waiting(&waiting, now, effects);
        }
    }

    fn on_entries(
        &mut self,
        waiting: &Waiting,
        stretch: Stretch,
        times: (Nanos, Nanos),
        result: Result<Output, Errno>,
        effects: &mut Vec<Effect>,
    ) {
        let fetch = &waiting.fetch;
        match result {
            // Its topic's limits may have let go of it meanwhile.
            _ if self.queue_range(fetch.queue).is_some_and(|r| fetch.offset < r.start_offset) => {
                self.retry_waiting(waiting, times.1, effects);
            }
            Ok(Output::Read(block)) => {
                let bytes = block.slice(0..block.published());
                match collect(fetch, &stretch, &bytes) {
                    Ok(extents) => self.answer_cold(waiting, times, extents, effects),
                    Err(error) => effects.push(refused(fetch, error)),
                }
            }
            Ok(_) => effects.push(refused(fetch, FetchError::Busy)),
            Err(errno) if FetchError::unread(stretch.start, errno) == FetchError::Busy => {
                effects.push(refused(fetch, FetchError::Busy));
            }
            // One bad sector hides only the entry it is in: first the first span alone, then its blocks.
            Err(_) if stretch.spans.len() > 1 => {
                let fetch = Fetch { bytes_max: 1, ..*fetch };
                let first_entry = Waiting { fetch, ..*waiting };
                self.read_cold(&first_entry, times.0, effects);
            }
            Err(errno) if stretch.len > BLOCK_BYTES => {
                self.salvage(waiting, stretch, errno, times.0, effects);
            }
            Err(errno) => {
                let at = stretch.spans.first().map_or(stretch.start, |span| span.pos);
                effects.push(refused(fetch, FetchError::Read { at, errno }));
            }
        }
    }

    pub(super) fn answer_cold(
        &mut self,
        waiting: &Waiting,
        (submitted, now): (Nanos, Nanos),
        extents: Extents,
        effects: &mut Vec<Effect>,
    ) {
        let fetch = &waiting.fetch;
        let Some(range) = self.queue_range(fetch.queue) else {
            effects.push(refused(fetch, FetchError::UnknownQueue));
            return;
        };
        let timings = waiting.timings(submitted).with(Stage::Device, submitted, now);
        let (start_offset, visible_offset) = (range.start_offset, range.visible_offset);
        let fetched = Fetched { start_offset, visible_offset, extents };
        self.finish_fetch(fetch, fetched, timings, effects);
    }

    fn retry_waiting(&mut self, waiting: &Waiting, now: Nanos, effects: &mut Vec<Effect>) {
        let fetch = &waiting.fetch;
        match self.plan(fetch) {
            Ok(Plan::Ready(fetched)) => {
                self.finish_fetch(fetch, fetched, waiting.timings(now), effects);
            }
            Ok(Plan::Cold) => self.read_cold(waiting, now, effects),
            Err(error) => effects.push(refused(fetch, error)),
        }
    }
}

/// The wanted entries of what was read.
pub(super) fn collect(
    fetch: &Fetch,
    stretch: &Stretch,
    bytes: &Slice,
) -> Result<Extents, FetchError> {
    let wanted = Wanted { queue: fetch.queue, offset: fetch.offset, bytes_max: fetch.bytes_max };
    let mut extents = Extents::default();
    for span in &stretch.spans {
        let at = (span.pos.0 - stretch.start.0) as u32;
        if u64::from(at) + u64::from(span.len) > bytes.len() as u64 {
            return Err(FetchError::Read { at: span.pos, errno: Errno(5) });
        }
        let span_bytes = bytes.slice(at..at + span.len);
        match take(span, &span_bytes, &wanted, Origin::Device, &mut extents) {
            Ok(true) if extents.bytes < fetch.bytes_max => {}
            Ok(_) => break,
            // What lies before the damage is served; the next fetch starts at it and is told.
            Err(_) if extents.bytes > 0 => break,
            Err(damaged) => return Err(FetchError::Damaged { at: damaged.at }),
        }
    }
    Ok(extents)
}
