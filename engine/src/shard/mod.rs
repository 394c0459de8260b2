//! A shard: one log and the queues stored in it, as a synchronous state machine.
//!
//! Reading order: [`Shard::produce`] (`produce.rs`) -> [`Shard::turn`] (`turn.rs`) -> the replies
//! of a group (`complete.rs`) -> [`Shard::fetch`] (`fetch.rs`), cold reads (`cold.rs`); consumer
//! groups' offsets (`offsets.rs`), idempotent producers (`sequences.rs`, `repeat.rs`).
//! The reactor calls `produce` and `fetch` for every request of a turn and then `turn` once.
//!
//! Invariants: a waiter is answered exactly once, and only when its level is reached; offsets are
//! given out without gaps; consumers see nothing beyond the watermark of the topic's level.
//! Absent: topic names (the broker's), sockets, awaiting.

mod checkpoint;
pub(crate) mod checkpoint_format;
mod cold;
mod complete;
mod fetch;
#[cfg(test)]
mod fetch_tests;
mod lives;
mod offset_format;
mod offset_table;
pub mod offsets;
#[cfg(test)]
mod offsets_tests;
pub mod produce;
mod queues;
mod repeat;
#[cfg(test)]
mod repeat_tests;
pub mod retention;
#[cfg(test)]
mod retention_tests;
pub mod sequences;
#[cfg(test)]
mod tests;
pub mod turn;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use thiserror::Error;

use crate::batch::BatchError;
use crate::index::walk::Extents;
use crate::io::{Completion, Env, Errno, Nanos};
use crate::level::AckLevel;
use crate::limits::{UNWRITTEN_BYTES_MAX, WAITERS_CONGESTED};
use crate::log::entry_format::Kind;
use crate::log::position::LogPos;
use crate::log::recover::{self, Found, OpenError, OpenOptions};
use crate::log::writer::{AppendError, Log};
use crate::stage::{Histograms, Timings};
use checkpoint::Checkpoints;
use checkpoint_format::Part;
use offset_table::OffsetTable;
use queues::Queues;
use retention::Expiry;
use sequences::{SequenceError, Sequences};

/// The caller's name for a request, given back with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Why a produce was not stored (or, for the last two, may have been).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProduceError {
    /// The batch is not valid; nothing was written.
    #[error(transparent)]
    Batch(BatchError),
    /// The topic does not exist; nothing was written.
    #[error("no such topic")]
    UnknownTopic,
    /// The queue does not exist here; nothing was written.
    #[error("no such queue")]
    UnknownQueue,
    /// Nothing was written, except for `Poisoned`: then what was in flight is unknown.
    #[error(transparent)]
    Append(AppendError),
    /// The batch is not the producer's next one; nothing was written.
    #[error(transparent)]
    Sequence(SequenceError),
    /// Too many requests wait for the device; nothing was written.
    #[error("too many requests wait for the device")]
    TooManyWaiting,
    /// The device did not finish in time; whether the batch is stored is unknown.
    #[error("the device did not finish the flush in time")]
    FlushTimeout,
    /// The node is stopping; nothing was written.
    #[error("the node is stopping")]
    Stopping,
}

/// Why a fetch was not answered with entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FetchError {
    /// The topic does not exist.
    #[error("no such topic")]
    UnknownTopic,
    /// The queue does not exist here.
    #[error("no such queue")]
    UnknownQueue,
    /// The offset is outside of what the queue holds.
    #[error("the offset is outside of {start}..{end}")]
    OutOfRange {
        /// First offset that can be read.
        start: u64,
        /// Offset of the next record to be written.
        end: u64,
    },
    /// What the reader saw of an earlier life of the log did not all survive: records from `end` on
    /// are gone, and their offsets may be others' by now.
    #[error("what was read beyond {end} did not survive a restart")]
    Truncated {
        /// First offset that can be read.
        start: u64,
        /// What the reader saw before this offset is still there.
        end: u64,
    },
    /// The device failed to read.
    #[error("reading position {at} failed: {errno}")]
    Read {
        /// Log position.
        at: LogPos,
        /// What the disk said.
        errno: Errno,
    },
    /// What was read is not what was written.
    #[error("the entry at position {at} is damaged")]
    Damaged {
        /// Log position of the entry.
        at: LogPos,
    },
    /// Too many fetches wait, or memory is used up; try again.
    #[error("the shard is at its limit")]
    Busy,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// Entries of one queue.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// First offset the queue holds.
    pub start_offset: u64,
    /// Consumers see below this offset.
    pub visible_offset: u64,
    /// The entries, by reference.
    pub extents: Extents,
}

/// An answer to a request.
#[derive(Debug)]
pub enum Effect {
    /// A produce was acknowledged at its level, or refused.
    Produced {
        /// The request.
        token: Token,
        /// Offset of the batch's first record.
        result: Result<u64, ProduceError>,
        /// Where its time went.
        timings: Timings,
    },
    /// A fetch is answered.
    Fetched {
        /// The request.
        token: Token,
        /// The entries.
        result: Result<Fetched, FetchError>,
        /// Where its time went.
        timings: Timings,
    },
}

/// A fetch request.
#[derive(Clone, Copy, Debug)]
pub struct Fetch {
    /// The caller's name for it.
    pub token: Token,
    /// Queue id.
    pub queue: u32,
    /// First offset wanted.
    pub offset: u64,
    /// Life of the log that wrote the last record the reader saw; 0: it saw none.
    pub epoch: u32,
    /// Answer at once when this many bytes are there (or `wait_nanos` have passed).
    pub bytes_min: u32,
    /// Stop after this many bytes.
    pub bytes_max: u32,
    /// Longest to wait for `bytes_min`.
    pub wait_nanos: u64,
}

/// Somebody who waits for the device.
#[derive(Debug)]
struct Waiter {
    token: Token,
    sequence: u64,
    base_offset: u64,
    gathered: Nanos,
    received: Nanos,
}

/// What a shard has counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Batches and records appended, and their bytes.
    pub batches: u64,
    /// Records in those batches.
    pub records: u64,
    /// Bytes of those batches.
    pub batch_bytes: u64,
    /// Fetches answered with entries, and the bytes of the entries.
    pub fetches: u64,
    /// Bytes of entries given to fetches.
    pub fetched_bytes: u64,
    /// Cold reads submitted and their bytes.
    pub cold_reads: u64,
    /// Bytes read from the device for fetches.
    pub cold_bytes: u64,
    /// Batches of idempotent producers that came again and were not stored again.
    pub repeated_batches: u64,
    /// Idempotent producers remembered now, once per queue.
    pub producers: u64,
    /// Offset commits appended (each of any number of offsets).
    pub offset_commits: u64,
    /// Consumer groups with offsets here now.
    pub consumer_groups: u64,
    /// Memory that committed offsets take now, in bytes.
    pub offset_bytes: u64,
    /// Groups written to the device.
    pub groups: u64,
    /// Bytes of those writes.
    pub group_bytes: u64,
    /// Bytes of padding at the ends of groups.
    pub padding_bytes: u64,
    /// Bytes written to make space written, ahead of the append point.
    pub prefilled_bytes: u64,
    /// Bytes appended to space that was not written before.
    pub unwritten_bytes: u64,
    /// Fetches parked now.
    pub parked: u64,
    /// Requests waiting for the device now.
    pub waiting: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Segments that retention took out of the log and used again.
    pub recycled_segments: u64,
    /// Segments that retention took out of the log and removed.
    pub removed_segments: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
}

/// One log and its queues.
#[derive(Debug)]
pub struct Shard<E: Env> {
    env: E,
    log: Log,
    queues: Queues,
    offsets: OffsetTable,
    sequences: Sequences,
    checkpoints: Checkpoints,
    expiry: Expiry,
    /// Answered in the next turn: level `memory`.
    memory_waiters: Vec<Waiter>,
    written_waiters: VecDeque<Waiter>,
    durable_waiters: VecDeque<Waiter>,
    /// Queues with a span in a group, by the level their consumers wait for.
    written_touched: VecDeque<(u64, u32)>,
    durable_touched: VecDeque<(u64, u32)>,
    /// Fetches of this turn.
    arrived: Vec<fetch::Arrived>,
    parked: fetch::Parked,
    cold: cold::ColdReads,
    /// Fetches answered in this turn that are not in the histograms yet.
    answered: fetch::Cohort,
    /// Queues whose parked fetches may have become answerable.
    woken: BTreeSet<u32>,
    histograms: Histograms,
    counters: Counters,
    completions: Vec<Completion>,
    stopping: bool,
    /// The wall clock, as read in the turn that began at this time.
    wall: (Nanos, u64),
}

impl<E: Env> Shard<E> {
    /// Opens the shard's log and builds its queues from every entry that is found; `visit` sees
    /// them too, in log order.
    ///
    /// # Errors
    /// [`OpenError`] when the log cannot be opened.
    pub fn open(
        mut env: E,
        options: &OpenOptions,
        mut visit: impl FnMut(&Found<'_>),
    ) -> Result<Self, OpenError> {
        let mut queues = Queues::default();
        let mut offsets = OffsetTable::default();
        let mut sequences = Sequences::default();
        let mut checkpoints = Checkpoints::default();
        let mut newest_ms = BTreeMap::new();
        let mut damaged = None;
        let log = recover::open(env.disk(), options, |found| {
            match found.header.kind {
                Kind::Data => {
                    queues.recovered(found);
                    sequences.recovered(found);
                }
                Kind::Metadata => queues.recovered(found),
                Kind::OffsetCommit if offsets.recovered(found).is_some() => {}
                Kind::OffsetCommit => damaged = damaged.or(Some(found.pos)),
                Kind::Checkpoint => {
                    let restored = checkpoint_format::parts(found.batch, |part| match part {
                        Part::Queue { queue, next_offset, lives } => {
                            queues.restore(queue, next_offset, &lives);
                        }
                        Part::Offset { group, queue, committed } => {
                            offsets.apply(group, queue, Some(committed));
                        }
                        Part::Producer { queue, producer, epoch, next, batches } => {
                            sequences.restore((queue, producer), epoch, next, &batches);
                        }
                        Part::Shard { forgot_producers: true } => sequences.note_forgotten(),
                        Part::End { begin } => checkpoints.found(begin),
                        Part::Shard { .. } | Part::Topic(_) | Part::Ids { .. } => {}
                    });
                    if restored.is_none() {
                        damaged = damaged.or(Some(found.pos));
                    }
                }
            }
            newest_ms.insert(found.pos.0 / options.segment_bytes, found.header.store_timestamp_ms);
            visit(found);
        })?;
        if let Some(at) = damaged {
            return Err(OpenError::Damaged {
                at,
                what: "an offset commit or checkpoint cannot be read",
            });
        }
        let oldest = log.segments().geometry().first_group(log.segments().oldest());
        let is_whole = checkpoints.newest().is_some_and(|begin| begin >= oldest);
        if log.segments().oldest() > 0 && !is_whole {
            let what = "the log's beginning is missing, and no checkpoint stands for it";
            return Err(OpenError::Damaged { at: oldest, what });
        }
        Ok(Self {
            env,
            log,
            queues,
            offsets,
            sequences,
            checkpoints,
            expiry: Expiry::new(options.retention, newest_ms),
            memory_waiters: Vec::new(),
            written_waiters: VecDeque::new(),
            durable_waiters: VecDeque::new(),
            written_touched: VecDeque::new(),
            durable_touched: VecDeque::new(),
            arrived: Vec::new(),
            parked: fetch::Parked::default(),
            cold: cold::ColdReads::default(),
            answered: fetch::Cohort::default(),
            woken: BTreeSet::new(),
            histograms: Histograms::default(),
            counters: Counters::default(),
            completions: Vec::new(),
            stopping: false,
            wall: (Nanos(0), 0),
        })
    }

    /// The environment the shard runs in.
    pub fn env(&mut self) -> &mut E {
        &mut self.env
    }

    /// Life of the log.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.log.epoch()
    }

    /// Largest batch the shard takes, in bytes.
    #[must_use]
    pub fn batch_bytes_max(&self) -> u32 {
        self.log.batch_bytes_max()
    }

    /// Makes a queue known, with the level its consumers wait for. What recovery found of it is
    /// kept.
    pub fn add_queue(&mut self, queue: u32, visibility: AckLevel, deep: bool) {
        self.queues.add(queue, visibility, deep);
    }

    /// Forgets a queue and what was committed of it; its parked fetches are answered.
    pub fn drop_queue(&mut self, queue: u32, effects: &mut Vec<Effect>) {
        self.queues.drop(queue);
        self.offsets.drop_queue(queue);
        self.parked.drop_queue(queue, effects);
    }

    /// Forgets what recovery found of queues that no topic has any more.
    pub fn retain_known_queues(&mut self) {
        self.queues.retain_known();
        self.offsets.retain(|queue| self.queues.get(queue).is_some());
    }

    /// First offset, next offset and visible offset of a queue, and the bytes of its batches.
    #[must_use]
    pub fn queue_range(&self, queue: u32) -> Option<QueueRange> {
        self.queues.get(queue).map(queues::Queue::range)
    }

    /// The offset of the first visible record stored at or after `timestamp_ms`, with its store
    /// time.
    #[must_use]
    pub fn offset_at_time(&self, queue: u32, timestamp_ms: u64) -> Option<(u64, u64)> {
        let span = self.queues.get(queue)?.index.at_time(timestamp_ms)?;
        Some((span.base_offset, span.store_timestamp_ms))
    }

    /// Why the shard takes no writes any more.
    #[must_use]
    pub fn poison(&self) -> Option<(LogPos, Errno)> {
        self.log.poison()
    }

    /// Whether the pump should poll instead of sleeping: a flush that somebody waits for is in
    /// progress.
    #[must_use]
    pub fn durable_in_flight(&self) -> bool {
        self.log.durable_in_flight()
    }

    /// Whether so much waits to be written that no more should be taken in until some of it is.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        let too_much = self.log.unwritten_bytes() > UNWRITTEN_BYTES_MAX
            || self.written_waiters.len() + self.durable_waiters.len() >= WAITERS_CONGESTED;
        too_much && self.log.poison().is_none()
    }

    /// Number of the oldest segment of the log.
    #[must_use]
    pub fn oldest_segment(&self) -> u64 {
        self.log.segments().oldest()
    }

    /// Stage histograms.
    pub fn histograms(&mut self) -> &mut Histograms {
        &mut self.histograms
    }

    /// Counters, as of now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let (groups, group_bytes, padding_bytes) = self.log.counters();
        let (unwritten_bytes, prefilled_bytes) = self.log.segments().counters();
        let (recycled_segments, removed_segments) = self.log.segments().trimmed();
        Counters {
            producers: self.sequences.len() as u64,
            consumer_groups: self.offsets.group_count() as u64,
            offset_bytes: self.offsets.bytes() as u64,
            groups,
            group_bytes,
            padding_bytes,
            unwritten_bytes,
            prefilled_bytes,
            parked: self.parked.len() as u64,
            waiting: (self.written_waiters.len() + self.durable_waiters.len()) as u64,
            segments: self.log.segments().count() as u64,
            recycled_segments,
            removed_segments,
            checkpoints: self.checkpoints.written(),
            ..self.counters
        }
    }

    /// Takes no new requests, answers parked fetches, and makes everything durable.
    pub fn stop(&mut self, effects: &mut Vec<Effect>) {
        self.stopping = true;
        self.parked.stop(effects);
        self.log.close();
    }

    /// Whether, after [`Shard::stop`], nothing is left to do.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.log.is_quiet() && self.arrived.is_empty() && self.cold.is_empty()
    }
}

/// What a queue holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueRange {
    /// First offset that can be read.
    pub start_offset: u64,
    /// Offset of the next record to be appended.
    pub end_offset: u64,
    /// Consumers see below this offset.
    pub visible_offset: u64,
    /// Bytes of its batches.
    pub bytes: u64,
}
