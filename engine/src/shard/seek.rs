//! Seek: the first offset stored at or after a time.
//!
//! Recent segments are answered from memory; a sealed one takes one read of its index.

use std::collections::BTreeMap;

use super::cold::READS_INFLIGHT_MAX;
use super::{Effect, FetchError, Seek, Shard, Sought};
use crate::index::queue::Span;
use crate::index::sealed::{Block, Place};
use crate::io::{BLOCK_BYTES, Completion, Disk, DiskOp, Env, FileId, OpId, Output};

/// A seek whose block is being read.
#[derive(Clone, Copy, Debug)]
struct Reading {
    seek: Seek,
    place: Place,
    file: FileId,
}

/// The seeks that wait for the device.
#[derive(Debug, Default)]
pub(super) struct Seeks(BTreeMap<OpId, Reading>);

impl Seeks {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How far a seek came.
enum Step {
    Answer(Sought),
    Read(Place, FileId),
    Damaged(u64),
}

impl<E: Env> Shard<E> {
    /// Looks for the first visible batch stored at or after a time; answered in this turn or a
    /// later one.
    pub fn seek(&mut self, seek: &Seek, effects: &mut Vec<Effect>) {
        let token = seek.token;
        let result = match self.step_seek(seek) {
            _ if self.stopping => Err(FetchError::Stopping),
            None => Err(FetchError::UnknownQueue),
            Some(Step::Answer(found)) => Ok(found),
            Some(Step::Damaged(number)) => Err(self.index_damaged(number)),
            Some(Step::Read(place, file)) => {
                let offset = u64::from(place.block) * u64::from(BLOCK_BYTES);
                let read = DiskOp::Read { file, offset, len: BLOCK_BYTES };
                let has_room = self.seeks.0.len() < READS_INFLIGHT_MAX;
                match has_room.then(|| self.env.disk().submit(read)) {
                    Some(Ok(op)) => {
                        self.seeks.0.insert(op, Reading { seek: *seek, place, file });
                        return;
                    }
                    Some(Err(_)) | None => Err(FetchError::Busy),
                }
            }
        };
        effects.push(Effect::Sought { token, result });
    }

    fn step_seek(&self, seek: &Seek) -> Option<Step> {
        let queue = self.queues.get(seek.queue)?;
        let visible_offset = queue.visible_offset();
        let answer = |batch| Step::Answer(Sought { batch, visible_offset });
        let of = |span: Span| (span.base_offset, span.store_timestamp_ms);
        let Some(run) = queue.runs.at_time(seek.timestamp_ms) else {
            return Some(answer(queue.index.at_time(seek.timestamp_ms).map(of)));
        };
        let indexes = &self.sealing.indexes;
        let damaged = Step::Damaged(run.number);
        let Some((place, next)) = indexes.place_in_time(run, seek.timestamp_ms) else {
            return Some(damaged);
        };
        Some(match indexes.block(place.number, place.block) {
            None => damaged,
            Some(Block::OnFile(file)) => Step::Read(place, file),
            Some(Block::Bytes(bytes)) => match place.spans(bytes, self.log.segments().geometry()) {
                None => damaged,
                Some(spans) => {
                    let mut here = None;
                    for span in spans.filter(|s| s.store_timestamp_ms >= seek.timestamp_ms) {
                        if span.base_offset > run.base_offset {
                            here = here.or(Some(span));
                            break;
                        }
                        // What lies before the queue's beginning has gone, and the last of it may
                        // hold the beginning.
                        here = Some(Span { base_offset: run.base_offset, ..span });
                    }
                    answer(here.map(of).or(next))
                }
            },
        })
    }

    /// Takes the end of a seek's read; gives back any other.
    pub(super) fn on_sought(
        &mut self,
        completion: Completion,
        effects: &mut Vec<Effect>,
    ) -> Option<Completion> {
        let Some(Reading { seek, place, file }) = self.seeks.0.remove(&completion.op) else {
            return Some(completion);
        };
        let error = match completion.result {
            Ok(Output::Read(block)) => {
                let bytes = block.slice(0..block.published());
                self.sealing.indexes.keep((place.number, place.block), file, &bytes);
                self.seek(&seek, effects);
                return None;
            }
            Ok(_) => FetchError::Busy,
            Err(errno) => self.index_unread(place.number, errno),
        };
        effects.push(Effect::Sought { token: seek.token, result: Err(error) });
        None
    }
}
