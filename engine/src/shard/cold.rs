//! Cold reads: entries that have left memory, read with O_DIRECT into a block that is then sent by
//! reference.
//!
//! Neighbouring spans are read together while the stretch stays short; what lies between them
//! (other queues' entries, padding) is skipped by the walk. Every entry's checksum is compared.

use std::collections::{BTreeMap, VecDeque};

use super::fetch::{Plan, Waiting, refused};
use super::{Effect, Fetch, FetchError, Fetched, Shard};
use crate::index::queue::Span;
use crate::index::walk::{Extents, Wanted, take};
use crate::io::block::Slice;
use crate::io::{BLOCK_BYTES, Completion, Disk, DiskOp, Env, Errno, Nanos, OpId, Output};
use crate::limits::{COLD_READ_BYTES_MAX, PARKED_MAX};
use crate::log::position::LogPos;
use crate::stage::Stage;

/// Reads in flight for one shard: 16 x 512 KiB keep any device busy and memory bounded.
pub(super) const READS_INFLIGHT_MAX: usize = 16;

const ENOMEM: Errno = Errno(12);

#[derive(Debug)]
struct ColdRead {
    waiting: Waiting,
    /// Position of the first byte that was read.
    start: LogPos,
    spans: Vec<Span>,
    /// When it was first submitted.
    submitted: Nanos,
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
        self.inflight.values().any(|read| read.start < pos)
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
        let Some((start, len, spans)) = self.stretch(fetch) else {
            effects.push(refused(fetch, FetchError::Busy));
            return;
        };
        let Some((file, offset)) = self.log.locate(start) else {
            effects.push(refused(fetch, FetchError::Damaged { at: start }));
            return;
        };
        match self.env.disk().submit(DiskOp::Read { file, offset, len }) {
            Ok(op) => {
                self.counters.cold_reads += 1;
                self.counters.cold_bytes += u64::from(len);
                let read = ColdRead { waiting: *waiting, start, spans, submitted: now };
                self.cold.inflight.insert(op, read);
            }
            Err(_) => effects.push(refused(fetch, FetchError::Busy)),
        }
    }

    /// The spans to read together: within one segment, up to the limit (one span always).
    fn stretch(&self, fetch: &Fetch) -> Option<(LogPos, u32, Vec<Span>)> {
        let queue = self.queues.get(fetch.queue)?;
        let geometry = *self.log.segments().geometry();
        let align = u64::from(BLOCK_BYTES);
        let wanted = fetch.bytes_max.min(COLD_READ_BYTES_MAX);
        let mut spans = Vec::new();
        let (mut start, mut end) = (LogPos(0), LogPos(0));
        for span in queue.index.from(fetch.offset) {
            let span_end = span.pos.plus(u64::from(span.len));
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
        let len = (end.0 - start.0).next_multiple_of(align);
        (!spans.is_empty()).then_some((start, len as u32, spans))
    }

    /// A read has ended (or some operation nobody waits for any more).
    pub(super) fn on_cold_read(
        &mut self,
        completion: Completion,
        now: Nanos,
        effects: &mut Vec<Effect>,
    ) {
        let Some(read) = self.cold.inflight.remove(&completion.op) else { return };
        let fetch = &read.waiting.fetch;
        match completion.result {
            // Its topic's limits may have let go of it meanwhile.
            _ if self.queue_range(fetch.queue).is_some_and(|r| fetch.offset < r.start_offset) => {
                self.retry_waiting(&read.waiting, now, effects);
            }
            Ok(Output::Read(block)) => {
                let bytes = block.slice(0..block.published());
                match collect(&read, &bytes) {
                    Ok(extents) => self.answer_cold(&read, extents, now, effects),
                    Err(error) => effects.push(refused(fetch, error)),
                }
            }
            Ok(_) | Err(ENOMEM) => effects.push(refused(fetch, FetchError::Busy)),
            // One bad sector hides only the entry it is in.
            Err(_) if read.spans.len() > 1 => {
                let fetch = Fetch { bytes_max: 1, ..*fetch };
                let first_entry = Waiting { fetch, ..read.waiting };
                self.read_cold(&first_entry, read.submitted, effects);
            }
            Err(errno) => {
                let at = read.spans.first().map_or(read.start, |span| span.pos);
                effects.push(refused(fetch, FetchError::Read { at, errno }));
            }
        }
        while self.cold.inflight.len() < READS_INFLIGHT_MAX {
            let Some(waiting) = self.cold.waiting.pop_front() else { break };
            self.retry_waiting(&waiting, now, effects);
        }
    }

    fn answer_cold(
        &mut self,
        read: &ColdRead,
        extents: Extents,
        now: Nanos,
        effects: &mut Vec<Effect>,
    ) {
        let fetch = &read.waiting.fetch;
        let Some(range) = self.queue_range(fetch.queue) else {
            effects.push(refused(fetch, FetchError::UnknownQueue));
            return;
        };
        let timings = read.waiting.timings(read.submitted);
        let timings = timings.with(Stage::Device, read.submitted, now);
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
fn collect(read: &ColdRead, bytes: &Slice) -> Result<Extents, FetchError> {
    let fetch = &read.waiting.fetch;
    let wanted = Wanted { queue: fetch.queue, offset: fetch.offset, bytes_max: fetch.bytes_max };
    let mut extents = Extents::default();
    for span in &read.spans {
        let at = (span.pos.0 - read.start.0) as u32;
        if u64::from(at) + u64::from(span.len) > bytes.len() as u64 {
            return Err(FetchError::Read { at: span.pos, errno: Errno(5) });
        }
        let span_bytes = bytes.slice(at..at + span.len);
        match take(span, &span_bytes, &wanted, true, &mut extents) {
            Ok(true) if extents.bytes < fetch.bytes_max => {}
            Ok(_) => break,
            // What lies before the damage is served; the next fetch starts at it and is told.
            Err(_) if extents.bytes > 0 => break,
            Err(damaged) => return Err(FetchError::Damaged { at: damaged.at }),
        }
    }
    Ok(extents)
}
