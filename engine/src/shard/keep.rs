//! Limits of single topics: a queue begins later when its topic holds more, or older, than it may.
//!
//! Reads top-down: [`Shard::keep_topic`] -> `Shard::step_keep` (once per turn) -> `Look` (a few
//! pieces per turn) -> an entry that says where the queues begin -> `Shard::begin_later`, once it is durable.
//!
//! Bytes count over all queues of the topic in this shard; the oldest piece (what one group, or one
//! sealed segment, holds of one queue) goes first, whichever queue it is in, as long as the limit is still held without
//! it. So a topic holds its newest `bytes`, at most a piece and a second's worth more.
//! Crash story: 1. a reader is told that a queue begins at 50 2. crash 3. it must not begin at 40
//! again. Therefore a start is in force only once the entry that says so is durable, and every
//! checkpoint repeats it.
//!
//! Invariants: no start moves back; nothing goes that consumers have not been able to see; what is
//! counted keeps its shape until it has gone.
//! Absent: the segments (they go when they must, or when nothing in them is left: `retention`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::Shard;
use super::checkpoint::PACE_NANOS;
use super::checkpoint_format::Part;
use super::queues::Queues;
use super::retention::Retention;
use crate::index::queue::Piece;
use crate::io::{Env, Nanos};
use crate::level::AckLevel;
use crate::log::position::LogPos;
use crate::log::segments::Geometry;

/// Pieces and queues looked at in one turn: about 100 us.
const STEPS_PER_TURN: u32 = 512;
/// Queues that one entry moves; it stays below a checkpoint entry's size.
const QUEUES_PER_MOVE: usize = 512;
/// Pieces that go with one entry, so that forgetting them is short, too.
const PIECES_PER_MOVE: u32 = 8192;
/// The topics are looked at no more often than this ...
const PAUSE_NANOS: u64 = 1_000_000_000;
/// ... and, where there is a limit of age, no less often than this: clocks jump.
pub(super) const PAUSE_NANOS_MAX: u64 = 60_000_000_000;

/// A topic with limits of its own.
#[derive(Debug)]
struct Kept {
    retention: Retention,
    /// Its queues in this shard.
    queues: Vec<u32>,
}

/// Queues whose new start is in the log, in group `sequence`, and not in force yet.
#[derive(Debug)]
struct Move {
    sequence: u64,
    queues: Vec<u32>,
}

/// The limits of topics in one shard.
#[derive(Debug, Default)]
pub(super) struct Keeps {
    topics: BTreeMap<u32, Kept>,
    look: Option<Look>,
    moving: Option<Move>,
    next_at: Nanos,
    /// The end of the log when the last look began; `None`: something else has changed.
    looked_at_end: Option<LogPos>,
    /// When the oldest record will be too old.
    due_at: Option<Nanos>,
    moved: u64,
}

impl Keeps {
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Whether pieces were counted and have not gone yet. Until then they must stay what they are: a
    /// queue's spans in a segment become one run when its index is published, and what a start inside
    /// of a run takes could only be estimated.
    pub(super) fn is_counting(&self) -> bool {
        self.look.is_some() || self.moving.is_some()
    }

    /// A segment has left the log: what was counted of it is not held any more.
    pub(super) fn count_again(&mut self) {
        if self.look.take().is_some() {
            self.looked_at_end = None;
        }
    }

    /// How often a queue's start was moved.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }
}

/// A look at all topics, one after the other.
#[derive(Debug, Default)]
struct Look {
    /// The topic.
    topic: u32,
    /// Number of the next of its queues.
    next: usize,
    /// Bytes of the queues so far, and what goes of them.
    held: u64,
    gone: u64,
    /// Where the oldest piece that stays of each queue lies.
    oldest: BinaryHeap<Reverse<(LogPos, u32)>>,
    /// Where queues will begin.
    starts: BTreeMap<u32, u64>,
    pieces: u32,
    /// How long until some record is too old, in milliseconds.
    due_ms: Option<u64>,
}

impl Look {
    /// Turns to a topic.
    fn turn_to(&mut self, topic: u32) {
        (self.topic, self.next, self.held, self.gone) = (topic, 0, 0, 0);
        self.oldest.clear();
    }

    fn is_full(&self) -> bool {
        self.starts.len() >= QUEUES_PER_MOVE || self.pieces >= PIECES_PER_MOVE
    }

    /// One step; `true` when the topic is done. First queue by queue, for what is too old; then the
    /// oldest piece of all, for as long as there are too many bytes.
    fn step(
        &mut self,
        kept: &Kept,
        queues: &Queues,
        geometry: &Geometry,
        age_clock_ms: u64,
    ) -> bool {
        if let Some(&id) = kept.queues.get(self.next) {
            let piece = self.oldest_of(queues, geometry, id);
            let left = |piece: &Piece| {
                let age_ms = kept.retention.age_ms?;
                Some(piece.store_timestamp_ms.saturating_add(age_ms).checked_sub(age_clock_ms))
            };
            match (piece, piece.as_ref().and_then(left)) {
                (Some(piece), Some(None)) => self.let_go(id, &piece),
                (piece, left) => {
                    self.due_ms = self.due_ms.into_iter().chain(left.flatten()).min();
                    self.held += queues.get(id).map_or(0, |queue| queue.bytes);
                    self.oldest.extend(piece.map(|piece| Reverse((piece.pos, id))));
                    self.next += 1;
                }
            }
            return false;
        }
        let Some(bytes) = kept.retention.bytes else { return true };
        let Some(Reverse((_, id))) = self.oldest.pop() else { return true };
        let Some(piece) = self.oldest_of(queues, geometry, id) else { return false };
        let rest = self.held.saturating_sub(self.gone).saturating_sub(piece.batch_bytes);
        if rest < bytes {
            return true;
        }
        self.let_go(id, &piece);
        let next = self.oldest_of(queues, geometry, id);
        self.oldest.extend(next.map(|piece| Reverse((piece.pos, id))));
        false
    }

    /// The oldest piece of a queue that is to stay so far.
    fn oldest_of(&self, queues: &Queues, geometry: &Geometry, id: u32) -> Option<Piece> {
        let queue = queues.get(id)?;
        let from = self.starts.get(&id).copied().unwrap_or(queue.start_offset);
        queue.oldest_piece(from, geometry)
    }

    fn let_go(&mut self, id: u32, piece: &Piece) {
        self.starts.insert(id, piece.end_offset);
        self.gone += piece.batch_bytes;
        self.pieces += 1;
    }
}

impl<E: Env> Shard<E> {
    /// Sets the limits of a topic, for its queues in this shard: of the bytes it may hold, the share
    /// that belongs to these queues.
    pub fn keep_topic(&mut self, topic: u32, queues: Vec<u32>, retention: Retention) {
        self.keep.looked_at_end = None;
        // It may be looking at this very topic.
        self.keep.look = None;
        if queues.is_empty() || retention == Retention::default() {
            self.keep.topics.remove(&topic);
        } else {
            self.keep.topics.insert(topic, Kept { retention, queues });
        }
    }

    /// Looks for what topics hold beyond their limits, step by step.
    pub(super) fn step_keep(&mut self, now: Nanos) {
        if self.keep.is_empty() || self.keep.moving.is_some() {
            return;
        }
        let end = self.log.ends().0;
        let Some(mut look) = self.keep.look.take().or_else(|| self.keep.begin_look(end, now))
        else {
            return;
        };
        let age_clock_ms = self.age_clock_ms(now);
        for _ in 0..STEPS_PER_TURN {
            let Some(kept) = self.keep.topics.get(&look.topic) else { break };
            let geometry = self.log.segments().geometry();
            let done = look.step(kept, &self.queues, geometry, age_clock_ms);
            if look.is_full() {
                break;
            }
            if done {
                let next = look.topic.checked_add(1).map(|after| self.keep.topics.range(after..));
                let next = next.and_then(|mut rest| rest.next()).map(|(topic, _)| *topic);
                // No topic has the highest id: the look ends with it.
                look.turn_to(next.unwrap_or(u32::MAX));
            }
        }
        if look.is_full() {
            // The rest of this topic comes after what is full has moved.
            let (starts, topic) = (std::mem::take(&mut look.starts), look.topic);
            look.pieces = 0;
            look.turn_to(topic);
            if self.move_starts(&starts, now) {
                self.keep.look = Some(look);
            }
        } else if self.keep.topics.contains_key(&look.topic) {
            self.keep.look = Some(look);
        } else {
            self.keep.next_at = now.plus(PAUSE_NANOS);
            let due = look.due_ms.map(|ms| (ms + 1).saturating_mul(1_000_000));
            self.keep.due_at = due.map(|nanos| now.plus(nanos.min(PAUSE_NANOS_MAX)));
            self.move_starts(&look.starts, now);
        }
    }

    /// When `Shard::step_keep` has something to do though nothing happens.
    pub(super) fn keep_at(&self, now: Nanos) -> Option<Nanos> {
        let keep = &self.keep;
        if keep.is_empty() || keep.moving.is_some() {
            return None;
        }
        let more = keep.look.is_some().then(|| now.plus(PACE_NANOS));
        let changed = keep.looked_at_end != Some(self.log.ends().0);
        more.or(changed.then_some(keep.next_at)).or(keep.due_at)
    }

    /// Writes where queues are to begin; `false` if the log did not take it: a later look tries
    /// again.
    fn move_starts(&mut self, starts: &BTreeMap<u32, u64>, now: Nanos) -> bool {
        if starts.is_empty() {
            return true;
        }
        let part = |(&queue, &start_offset)| Part::Start { queue, start_offset };
        let mut parts = starts.iter().map(part).peekable();
        let Ok(appended) = self.append_parts(&mut parts, (AckLevel::Durable, false), now) else {
            self.keep.looked_at_end = None;
            self.keep.next_at = now.plus(PAUSE_NANOS);
            return false;
        };
        debug_assert!(parts.peek().is_none(), "one entry holds them all");
        for (&id, &start_offset) in starts {
            if let Some(queue) = self.queues.get_mut(id) {
                queue.floor = start_offset;
            }
        }
        let queues = starts.keys().copied().collect();
        self.keep.moving = Some(Move { sequence: appended.sequence, queues });
        true
    }

    /// Brings into force what has become durable. Whoever waits below is told.
    pub(super) fn begin_later(&mut self) {
        let durable = self.log.durable();
        let Some(moved) = self.keep.moving.take_if(|moving| moving.sequence <= durable) else {
            return;
        };
        self.keep.moved += moved.queues.len() as u64;
        for id in moved.queues {
            let Some(queue) = self.queues.get_mut(id) else { continue };
            queue.begin_at_floor();
            if self.parked.waits_for(id) {
                self.woken.insert(id);
            }
        }
        self.expiry.look_again();
    }
}

impl Keeps {
    /// Begins a look if one is due, at the log's end `end`.
    fn begin_look(&mut self, end: LogPos, now: Nanos) -> Option<Look> {
        let changed = self.looked_at_end != Some(end) && now >= self.next_at;
        let due = self.due_at.is_some_and(|at| now >= at);
        if !changed && !due {
            return None;
        }
        (self.looked_at_end, self.due_at) = (Some(end), None);
        let mut look = Look::default();
        look.turn_to(*self.topics.first_key_value()?.0);
        Some(look)
    }
}
