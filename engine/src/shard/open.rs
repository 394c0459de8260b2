//! Boot: a shard's state from its log, entry by entry.
//!
//! Reads top-down: [`Shard::open`] -> `State::take` (one entry) -> `State::restore` (one part of a
//! checkpoint). Absent: the walk itself (the log's), topics (the broker's).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::checkpoint::Checkpoints;
use super::checkpoint_format::{self, Part};
use super::counters::Counters;
use super::keep::Keeps;
use super::offset_table::OffsetTable;
use super::queues::Queues;
use super::retention::Expiry;
use super::room::Room;
use super::sequences::Sequences;
use super::{Shard, cold, fetch};
use crate::io::{Env, Nanos};
use crate::log::entry_format::Kind;
use crate::log::recover::{self, Found, OpenError, OpenOptions};
use crate::stage::Histograms;

/// What the entries so far have made of it.
#[derive(Debug, Default)]
struct State {
    queues: Queues,
    offsets: OffsetTable,
    sequences: Sequences,
    checkpoints: Checkpoints,
    /// By segment: when its newest entry was stored.
    newest_ms: BTreeMap<u64, u64>,
}

impl State {
    /// Takes an entry; `None` when it cannot be read.
    fn take(&mut self, found: &Found<'_>) -> Option<()> {
        match found.header.kind {
            Kind::Data => {
                self.queues.recovered(found);
                self.sequences.recovered(found);
                Some(())
            }
            Kind::Metadata => {
                self.queues.recovered(found);
                Some(())
            }
            Kind::OffsetCommit => self.offsets.recovered(found),
            Kind::Checkpoint => checkpoint_format::parts(found.batch, |part| self.restore(part)),
        }
    }

    fn restore(&mut self, part: Part<'_>) {
        match part {
            Part::Queue { queue, next_offset, lives } => {
                self.queues.restore(queue, next_offset, &lives);
            }
            Part::Offset { group, queue, committed } => {
                self.offsets.apply(group, queue, Some(committed));
            }
            Part::Producer { queue, producer, epoch, next, batches } => {
                self.sequences.restore((queue, producer), epoch, next, &batches);
            }
            Part::Start { queue, start_offset } => self.queues.restore_start(queue, start_offset),
            Part::Shard { forgot_producers: true } => self.sequences.note_forgotten(),
            Part::End { begin } => self.checkpoints.found(begin),
            Part::Shard { .. } | Part::Topic(_) | Part::Ids { .. } => {}
        }
    }
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
        let mut state = State::default();
        let mut damaged = None;
        let log = recover::open(env.disk(), options, |found| {
            if state.take(found).is_none() {
                damaged = damaged.or(Some(found.pos));
            }
            let segment = found.pos.0 / options.segment_bytes;
            state.newest_ms.insert(segment, found.header.store_timestamp_ms);
            visit(found);
        })?;
        let oldest = log.segments().geometry().first_group(log.segments().oldest());
        let is_whole = log.segments().oldest() == 0
            || state.checkpoints.newest().is_some_and(|begin| begin >= oldest);
        let what = match (damaged, is_whole) {
            (Some(at), _) => Some((at, "an offset commit or checkpoint cannot be read")),
            (None, false) => {
                Some((oldest, "the log's beginning is missing, and no checkpoint stands for it"))
            }
            (None, true) => None,
        };
        if let Some((at, what)) = what {
            return Err(OpenError::Damaged { at, what });
        }
        let State { queues, offsets, sequences, checkpoints, newest_ms } = state;
        Ok(Self {
            env,
            log,
            queues,
            offsets,
            sequences,
            checkpoints,
            expiry: Expiry::new(options.retention, newest_ms),
            keep: Keeps::default(),
            room: Room::default(),
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
            internal: None,
            wall: (Nanos(0), 0),
        })
    }
}
