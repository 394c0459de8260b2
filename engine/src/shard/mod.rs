//! A shard: one log and the queues stored in it, as a synchronous state machine.
//!
//! Reading order: [`Shard::open`] (`open.rs`) -> [`Shard::produce`] (`produce.rs`) -> [`Shard::turn`] (`turn.rs`) -> the replies
//! of a group (`complete.rs`) -> [`Shard::fetch`] (`fetch.rs`), cold reads (`cold.rs`); consumer
//! groups' offsets (`offsets.rs`), by time and by key (`seek.rs`, `lookup.rs`), idempotent producers (`sequences.rs`, `repeat.rs`); what leaves
//! memory and the log (`upkeep.rs`, `checkpoint.rs`, `seal.rs`, `retention.rs`, `keep.rs`, `room.rs`).
//! The reactor calls `produce` and `fetch` for every request of a turn and then `turn` once.
//!
//! Invariants: a waiter is answered exactly once, and only when its level is reached; offsets are
//! given out without gaps; consumers see nothing beyond the watermark of the topic's level.
//! Absent: topic names (the broker's), sockets, awaiting.

mod age_clock;
mod alter;
#[cfg(test)]
mod alter_tests;
mod checkpoint;
pub mod checkpoint_format;
mod cold;
#[cfg(test)]
mod cold_tests;
mod complete;
mod counters;
mod fetch;
#[cfg(test)]
mod fetch_tests;
mod keep;
#[cfg(test)]
mod keep_tests;
mod lives;
mod lookup;
#[cfg(test)]
mod lookup_tests;
pub mod offset_format;
mod offset_table;
pub mod offsets;
#[cfg(test)]
mod offsets_tests;
mod open;
pub mod produce;
mod queues;
mod rebuild;
mod repeat;
#[cfg(test)]
mod repeat_tests;
mod request;
pub mod retention;
#[cfg(test)]
mod retention_tests;
mod room;
#[cfg(test)]
mod room_tests;
mod salvage;
#[cfg(test)]
mod salvage_tests;
mod seal;
#[cfg(test)]
mod seal_tests;
mod seek;
pub mod sequences;
#[cfg(test)]
mod tests;
pub mod turn;
mod upkeep;
#[cfg(test)]
mod vanish_tests;

use std::collections::{BTreeSet, VecDeque};

pub use counters::Counters;
pub use open::Opening;
pub use request::{
    Effect, Fetch, FetchError, Fetched, LookedUp, Lookup, ProduceError, Seek, Sought,
};

use crate::io::{Completion, Env, Errno, Nanos};
use crate::level::AckLevel;
use crate::limits::{UNWRITTEN_BYTES_MAX, WAITERS_CONGESTED};
use crate::log::position::LogPos;
use crate::log::writer::Log;
use crate::stage::Histograms;
use checkpoint::Checkpoints;
use keep::Keeps;
use lookup::Lookups;
use offset_table::OffsetTable;
use queues::Queues;
use rebuild::Rebuilds;
use retention::Expiry;
use seal::Sealing;
use seek::Seeks;
use sequences::Sequences;

/// The caller's name for a request, given back with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Somebody who waits for the device.
#[derive(Debug)]
struct Waiter {
    token: Token,
    sequence: u64,
    base_offset: u64,
    gathered: Nanos,
    received: Nanos,
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
    checkpoint_rests_until: Nanos,
    expiry: Expiry,
    sealing: Sealing,
    opening: Opening,
    rebuilds: Rebuilds,
    keep: Keeps,
    room: room::Room,
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
    seeks: Seeks,
    lookups: Lookups,
    /// Fetches answered in this turn that are not in the histograms yet.
    answered: fetch::Cohort,
    /// Queues whose parked fetches may have become answerable.
    woken: BTreeSet<u32>,
    histograms: Histograms,
    counters: Counters,
    completions: Vec<Completion>,
    stopping: bool,
    /// A queue whose records checkpoints hold, too: it keeps no segment in the log.
    internal: Option<u32>,
    /// The wall clock, as read in the turn that began at this time.
    wall: (Nanos, u64),
}

impl<E: Env> Shard<E> {
    /// The environment the shard runs in.
    pub fn env(&mut self) -> &mut E {
        &mut self.env
    }

    /// What opening it took.
    #[must_use]
    pub fn opening(&self) -> Opening {
        self.opening
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

    /// Whether the keys of what these queues get from now on are to be in the index.
    pub fn set_keyed(&mut self, queues: &[u32], keyed: bool) {
        for &id in queues {
            if let Some(queue) = self.queues.get_mut(id) {
                queue.keyed = keyed;
            }
        }
    }

    /// The records of this queue are in every checkpoint: no segment is kept for their sake.
    pub fn outlive(&mut self, queue: u32) {
        self.internal = Some(queue);
    }

    /// Forgets a queue and what was committed of it; its parked fetches are answered.
    pub fn drop_queue(&mut self, queue: u32, effects: &mut Vec<Effect>) {
        self.queues.drop(queue);
        self.offsets.drop_queue(queue);
        self.parked.drop_queue(queue, effects);
        self.expiry.look_again();
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

    /// Why the shard takes no writes any more.
    #[must_use]
    pub fn poison(&self) -> Option<(LogPos, Errno)> {
        self.log.poison()
    }

    /// Closes the shard for writing, as a failed device write does: whoever waits is refused now.
    pub fn condemn(&mut self, errno: Errno, effects: &mut Vec<Effect>) {
        self.log.condemn(errno);
        self.refuse_waiting(effects);
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

    /// Takes no new requests, answers parked fetches, and makes everything durable.
    pub fn stop(&mut self, effects: &mut Vec<Effect>) {
        self.stopping = true;
        self.parked.stop(effects);
        self.log.close();
    }

    /// Whether, after [`Shard::stop`], nothing is left to do.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.log.is_quiet()
            && self.arrived.is_empty()
            && self.cold.is_empty()
            && self.seeks.is_empty()
            && self.lookups.is_empty()
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
