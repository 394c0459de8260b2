//! Room on the device: above a watermark, or when two more segments would not fit, the oldest ones
//! go; when that does not help, producers are told that the disk is full before the file system has
//! to.
//!
//! What fills the device may be somebody else's: the segments go all the same, one at each look (in
//! every shard), until the device is below the mark or only the current segment is left. So a shard
//! that writes loses as fast as it grows, and one that does not loses a segment a second.
//! Crash story: none of its own; a segment goes as every other does (`retention`).
//!
//! Absent: whose bytes they are; room for other files than segments.

use super::Shard;
use super::keep::PAUSE_NANOS_MAX;
use crate::io::{Disk, Env, Errno, Nanos};
use crate::limits::DISK_FULL_PERCENT;

/// The device is asked no more often than this, and at every new segment.
const PAUSE_NANOS: u64 = 1_000_000_000;
pub(super) const ENOSPC: Errno = Errno(28);

/// How full the device is, as far as the shard knows.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Above this, in percent, segments go.
    mark: Option<u8>,
    looked_at: Option<Nanos>,
    /// The current segment at that time.
    segment: u64,
    used_percent: u8,
    above: bool,
    full: bool,
    /// A segment goes for the sake of the last look.
    answered: bool,
    refused: u64,
}

impl Room {
    pub(super) fn is_on(&self) -> bool {
        self.mark.is_some()
    }

    /// Whether the oldest segment is to make room.
    pub(super) fn wants_segment(&self) -> bool {
        self.above && !self.answered
    }

    /// A segment goes to make room.
    pub(super) fn note_answer(&mut self) {
        self.answered = true;
    }

    /// Whether a spare segment is better removed than kept.
    pub(super) fn is_short(&self) -> bool {
        self.above
    }

    /// Whether a producer is to be refused; he is counted.
    pub(super) fn refuses(&mut self) -> bool {
        self.refused += u64::from(self.full);
        self.full
    }

    /// How full the device was at the last look, in percent, and how many producers were refused.
    pub(super) fn counters(&self) -> (u64, u64) {
        (self.used_percent.into(), self.refused)
    }

    /// No room for the next segment is news that cannot wait: a checkpoint must still fit.
    fn is_due(&self, now: Nanos, segment: u64, no_room: bool) -> bool {
        self.segment != segment
            || (no_room && !self.above)
            || self.looked_at.is_none_or(|at| now >= at.plus(PAUSE_NANOS))
    }

    /// Takes note of a look, and tells the log's reader once per crossing.
    fn note(&mut self, mark: u8, used_percent: u8, (no_room, last): (bool, bool)) {
        let above = used_percent > mark || no_room;
        let full = used_percent >= DISK_FULL_PERCENT && last;
        if above && !self.above {
            let mark_percent = mark;
            tracing::warn!(used_percent, mark_percent, "disk almost full: oldest segments go");
        } else if self.above && !above {
            tracing::warn!(used_percent, "there is room on the disk again");
        }
        if full && !self.full {
            tracing::warn!(used_percent, "disk full and no segment left to go: produces refused");
        }
        (self.used_percent, self.above, self.full) = (used_percent, above, full);
        self.answered = false;
    }
}

impl<E: Env> Shard<E> {
    /// Above so many percent used of the device the oldest segments go; `None`: whatever is used.
    pub fn limit_disk(&mut self, used_percent_max: Option<u8>) {
        self.room = Room { mark: used_percent_max, ..Room::default() };
    }

    /// Asks the device how full it is, if that was a while ago.
    pub(super) fn look_at_room(&mut self, now: Nanos) {
        let segments = self.log.segments();
        let (oldest, current) = (segments.oldest(), segments.current());
        let segment_bytes = segments.geometry().segment_bytes;
        let no_room = segments.failure() == Some(ENOSPC);
        let Some(mark) = self.room.mark.filter(|_| self.room.is_due(now, current, no_room)) else {
            return;
        };
        (self.room.looked_at, self.room.segment) = (Some(now), current);
        // A device that does not say is taken for one with room. The next segment and one more must
        // fit: a checkpoint has to be written before anything goes, and needs room itself.
        let space = self.env.disk().space().ok();
        let used_percent = space.map_or(0, |space| space.used_percent());
        let no_room = no_room || space.is_some_and(|space| space.available < 2 * segment_bytes);
        self.room.note(mark, used_percent, (no_room, oldest >= current));
        if self.room.above {
            self.expiry.look_again();
        }
    }

    /// When `Shard::look_at_room` has something to do though nothing happens.
    pub(super) fn room_at(&self) -> Option<Nanos> {
        let room = &self.room;
        let can_go = self.log.segments().oldest() < self.log.segments().current();
        let pause = if room.above && can_go { PAUSE_NANOS } else { PAUSE_NANOS_MAX };
        let looked_at = room.looked_at.filter(|_| room.is_on());
        looked_at.map(|at| at.plus(pause))
    }
}
