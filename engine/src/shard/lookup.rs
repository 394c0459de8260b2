//! Lookup: the records of a queue with a key, the last first.
//!
//! Reads top-down: `look_up` -> `search` (recent segments in memory; then the index of one sealed
//! segment after the other, of which only the blocks of keys with the right hash are looked at) ->
//! `on_looked_up`, when a block was read. A segment costs one read, unless a key has hundreds of
//! records in it.
//! Absent: the records themselves (a fetch gets them), and whether their key only has the same hash
//! (who asks compares).

use std::collections::BTreeMap;

use super::cold::READS_INFLIGHT_MAX;
use super::{Effect, FetchError, LookedUp, Lookup, Shard};
use crate::index::key_format::{KeyRow, Keys};
use crate::index::sealed::Block;
use crate::io::{BLOCK_BYTES, Completion, Disk, DiskOp, Env, FileId, OpId, Output};
use crate::limits::LOOKUP_OFFSETS_MAX;

/// Blocks that are read for one answer: some milliseconds of the device's time.
const READS_MAX: u32 = 64;
/// Blocks looked at in one turn, half a microsecond each.
const STEPS_MAX: u32 = 256;

/// A lookup on its way.
#[derive(Debug)]
struct Progress {
    lookup: Lookup,
    /// Found so far.
    offsets: Vec<u64>,
    /// What lies at or above was looked at.
    below: u64,
    reads: u32,
}

/// A lookup whose block is being read.
#[derive(Debug)]
struct Reading {
    progress: Progress,
    /// Segment and block.
    place: (u64, u32),
    file: FileId,
}

/// The lookups that wait for the device.
#[derive(Debug, Default)]
pub(super) struct Lookups(BTreeMap<OpId, Reading>);

impl Lookups {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How far a lookup came.
enum Step {
    Answer(LookedUp),
    Read((u64, u32), FileId),
    Damaged(u64),
}

impl<E: Env> Shard<E> {
    /// Looks for visible records by key; answered in this turn or a later one.
    pub fn look_up(&mut self, lookup: Lookup, effects: &mut Vec<Effect>) {
        let (offsets, below) = (Vec::new(), lookup.offsets.end);
        let max = lookup.max.clamp(1, LOOKUP_OFFSETS_MAX);
        let lookup = Lookup { max, ..lookup };
        self.go_on(Progress { lookup, offsets, below, reads: 0 }, effects);
    }

    fn go_on(&mut self, mut progress: Progress, effects: &mut Vec<Effect>) {
        let token = progress.lookup.token;
        let result = match self.search(&mut progress) {
            _ if self.stopping => Err(FetchError::Stopping),
            None => Err(FetchError::UnknownQueue),
            Some(Step::Answer(found)) => Ok(found),
            Some(Step::Damaged(number)) => Err(self.index_damaged(number)),
            Some(Step::Read(place, file)) => {
                let offset = u64::from(place.1) * u64::from(BLOCK_BYTES);
                let read = DiskOp::Read { file, offset, len: BLOCK_BYTES };
                let has_room = self.lookups.0.len() < READS_INFLIGHT_MAX;
                match has_room.then(|| self.env.disk().submit(read)) {
                    Some(Ok(op)) => {
                        progress.reads += 1;
                        self.counters.index_reads += 1;
                        self.lookups.0.insert(op, Reading { progress, place, file });
                        return;
                    }
                    Some(Err(_)) | None => Err(FetchError::Busy),
                }
            }
        };
        effects.push(Effect::LookedUp { token, result });
    }

    /// Goes on until a block must be read, or enough was found or looked at; `None` if there is no
    /// such queue.
    fn search(&self, progress: &mut Progress) -> Option<Step> {
        let Progress { lookup, offsets, below, reads } = progress;
        let queue = self.queues.get(lookup.queue)?;
        let (start, visible) = (queue.start_offset, queue.visible_offset());
        let start = start.max(lookup.offsets.start);
        let max = lookup.max as usize;
        *below = (*below).min(visible);
        // Of what a sealed segment's index tells, nothing is looked for in memory.
        let recent = queue.runs.last().map_or(start, |run| run.end_offset.max(start));
        if *below > recent && offsets.len() < max {
            let (key, range) = ((lookup.hash, lookup.queue), recent..*below);
            self.sealing.keys.newest(key, &range, max - offsets.len(), offsets);
            *below = offsets.last().copied().filter(|_| offsets.len() == max).unwrap_or(recent);
        }
        let mut steps = 0;
        while offsets.len() < max && *below > start && steps < STEPS_MAX {
            steps += 1;
            let Some(run) = queue.runs.holding(*below - 1) else {
                *below = start;
                break;
            };
            let first = run.base_offset.max(start);
            let end = (*below).min(run.end_offset);
            let (hash, id) = (lookup.hash, lookup.queue);
            let row = KeyRow { hash, queue: id, offset: end };
            let indexes = &self.sealing.indexes;
            let Some(block) = indexes.key_block(run.number, &row) else {
                return Some(Step::Damaged(run.number));
            };
            // No key in the segment is less.
            let Some(block) = block else {
                *below = first;
                continue;
            };
            let place = (run.number, block);
            let bytes = match indexes.block(place.0, place.1) {
                None => return Some(Step::Damaged(run.number)),
                Some(Block::OnFile(_)) if *reads >= READS_MAX => break,
                Some(Block::OnFile(file)) => return Some(Step::Read(place, file)),
                Some(Block::Bytes(bytes)) => bytes,
            };
            let Some(keys) = Keys::decode(bytes, place.0, place.1) else {
                return Some(Step::Damaged(run.number));
            };
            let before = offsets.len();
            offsets.extend(keys.newest(hash, id, &(first..end)).take(max - before));
            // There may be more in the block before.
            *below = offsets.get(before..).and_then(<[u64]>::last).copied().unwrap_or(first);
        }
        Some(Step::Answer(LookedUp {
            offsets: std::mem::take(offsets),
            reached: (*below).max(start),
            start_offset: queue.start_offset,
            visible_offset: visible,
        }))
    }

    /// Takes the end of a lookup's read; gives back any other.
    pub(super) fn on_looked_up(
        &mut self,
        completion: Completion,
        effects: &mut Vec<Effect>,
    ) -> Option<Completion> {
        let Some(reading) = self.lookups.0.remove(&completion.op) else { return Some(completion) };
        let Reading { progress, place, file } = reading;
        let error = match completion.result {
            Ok(Output::Read(block)) => {
                let bytes = block.slice(0..block.published());
                self.sealing.indexes.keep(place, file, &bytes);
                self.go_on(progress, effects);
                return None;
            }
            Ok(_) => FetchError::Busy,
            Err(errno) => self.index_unread(place.0, errno),
        };
        effects.push(Effect::LookedUp { token: progress.lookup.token, result: Err(error) });
        None
    }
}
