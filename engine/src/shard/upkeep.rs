//! What a shard does for itself beside serving: checkpoints, retention, sealing.
//!
//! Reads top-down: `Shard::upkeep` (once per turn, before groups are cut) -> [`Shard::checkpoint`] ->
//! `expire` (`retention`); sealing has its own place at the end of the turn (`seal`).
//! Absent: who has the topics (the broker calls [`Shard::checkpoint`] when one is wanted).

use super::Shard;
use super::checkpoint::PACE_NANOS;
use crate::io::{Env, Nanos};
use crate::log::position::LogPos;

/// A checkpoint is written when the log has grown by this many times its size.
const GROWTH: u64 = 16;
/// How long checkpoints rest when one could not be begun.
const RETRY_NANOS: u64 = 50_000_000;

/// How often it is tried while the log has no next segment, because the disk is full.
const FULL_PACE_NANOS: u64 = 20_000_000;

impl<E: Env> Shard<E> {
    /// Whether the shard wants to write a checkpoint: [`Shard::checkpoint`] begins it.
    #[must_use]
    pub fn wants_checkpoint(&self) -> bool {
        (self.has_grown() || self.expiry_wants_checkpoint())
            && !self.checkpoints.is_running()
            && self.env.now() >= self.checkpoint_rests_until
            && !self.stopping
            && self.log.poison().is_none()
    }

    /// Whether a restart would have to read more than the current segment, and the log is so much
    /// longer that a checkpoint costs little beside it.
    fn has_grown(&self) -> bool {
        let segments = self.log.segments();
        let begin = self.checkpoints.newest().unwrap_or(LogPos(0));
        let grown = self.log.ends().0.0.saturating_sub(begin.0);
        segments.geometry().number(begin) < segments.current()
            && grown >= GROWTH * self.checkpoints.bytes()
    }

    /// Begins to write the shard's state into its log. `topics` are the changes that make all
    /// topics there are, and `ids` the ids that topics and queues get next; only the first shard
    /// has them.
    pub fn checkpoint(&mut self, topics: &[Vec<u8>], ids: (u32, u32), now: Nanos) {
        if !self.begin_checkpoint(topics, ids, now) {
            // The log is at its limit, or the disk is full: a turn after a rest tries again.
            self.checkpoint_rests_until = now.plus(RETRY_NANOS);
        }
    }

    /// Goes on with all of it.
    pub(super) fn upkeep(&mut self, now: Nanos) {
        if self.stopping || self.log.poison().is_some() {
            return;
        }
        self.step_checkpoint(now);
        self.expire(now);
    }

    /// When [`Shard::upkeep`] or sealing has something to do though nothing happens.
    pub(super) fn upkeep_at(&self, now: Nanos) -> Option<Nanos> {
        if self.stopping || self.log.poison().is_some() {
            return None;
        }
        // Where there is no room for it, it is not tried every millisecond.
        let has_room = self.log.segments().failure().is_none();
        let pace = if has_room { PACE_NANOS } else { FULL_PACE_NANOS };
        let more = self.checkpoints.has_more() || self.wants_checkpoint();
        let more = more.then(|| now.plus(pace));
        more.into_iter().chain(self.expire_at(now)).chain(self.seal_at()).min()
    }
}
