//! The clock that ages records: the wall clock, as far as it can be believed.
//!
//! What was stored under one time must not expire because the wall clock jumped to another, say to
//! the next year because a time server was wrong. So while the node runs, this clock follows the
//! wall clock only where the monotonic one confirms it: a jump ahead of more than an hour is not
//! believed until it has lasted for an hour, and meanwhile time goes on as if it had not happened.
//! Absent: doubt about the time at boot (there is nothing to compare it with), and about jumps back
//! (they only make records younger) or smaller ones.

use crate::io::Nanos;

/// A jump ahead by more than this, in milliseconds, is in doubt for as long.
const DOUBT_MS: u64 = 3_600_000;

/// The wall clock as seen at one moment.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Nanos,
    wall_ms: u64,
}

/// Milliseconds since the Unix epoch, for the age of records.
#[derive(Debug, Default)]
pub(super) struct AgeClock {
    believed: Option<Seen>,
    /// Since when the wall clock shows what is not believed.
    doubt_since: Option<Nanos>,
}

impl AgeClock {
    /// The time that counts, when the wall clock shows `wall_ms`.
    pub(super) fn read(&mut self, now: Nanos, wall_ms: u64) -> u64 {
        let seen = Seen { at: now, wall_ms };
        let believed = *self.believed.get_or_insert(seen);
        let expected_ms = believed.wall_ms.saturating_add(now.since(believed.at) / 1_000_000);
        if wall_ms > expected_ms.saturating_add(DOUBT_MS) {
            let ahead_ms = wall_ms - expected_ms;
            let since = *self.doubt_since.get_or_insert_with(|| {
                tracing::warn!(ahead_ms, "the wall clock jumped ahead: no record ages by it yet");
                now
            });
            if now.since(since) < DOUBT_MS * 1_000_000 {
                return expected_ms;
            }
            tracing::warn!(ahead_ms, "the wall clock stayed ahead: records age by it from now on");
        }
        self.doubt_since = None;
        self.believed = Some(seen);
        wall_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const HOUR: u64 = 3600 * SECOND;

    #[test]
    fn a_jump_counts_once_it_has_lasted() {
        let mut clock = AgeClock::default();
        let mut read = |nanos, wall_ms| clock.read(Nanos(nanos), wall_ms);
        assert_eq!(read(0, 5_000), 5_000, "what is seen at boot is believed");
        assert_eq!(read(SECOND, 6_500), 6_500, "half a second ahead");
        let year = 31_536_000_000;
        assert_eq!(read(2 * SECOND, year), 7_500);
        assert_eq!(read(HOUR, year + HOUR / 1_000_000), 5_500 + HOUR / 1_000_000);
        assert_eq!(read(HOUR + 2 * SECOND, year), year, "an hour later");
        assert_eq!(read(HOUR + 3 * SECOND, 9_000), 9_000, "back is believed at once");
    }

    #[test]
    fn a_jump_that_is_taken_back_never_counts() {
        let mut clock = AgeClock::default();
        let mut read = |nanos, wall_ms| clock.read(Nanos(nanos), wall_ms);
        assert_eq!(read(0, 5_000), 5_000);
        assert_eq!(read(SECOND, 1 << 40), 6_000);
        assert_eq!(read(2 * SECOND, 7_000), 7_000);
        assert_eq!(read(HOUR + 2 * SECOND, 1 << 40), 7_000 + 3_600_000, "a doubt of its own");
    }
}
