//! The open-loop schedule: when each operation *should* start, whatever the last one did.
//!
//! A closed loop that waits for a slow answer sends nothing meanwhile, and so leaves out exactly
//! the operations that would have been slow ("coordinated omission"). Here operation `n` is due at
//! `start + n * interval` and its latency counts from then, however late it was really sent.
//!
//! Invariants: intended times never depend on completions; none is skipped; the n-th time is
//! computed from `n`, not summed up, so rounding does not drift.
//!
//! Deliberately absent: waiting. The caller sleeps, polls or spins until [`Schedule::next`].

use std::time::{Duration, Instant};

/// The slowest pace: one operation every 1000 s. Anything slower is a mistake in the options.
const RATE_PER_S_MIN: f64 = 0.001;
/// The fastest pace: one operation every nanosecond.
const RATE_PER_S_MAX: f64 = 1e9;
const PICOS_PER_SECOND: f64 = 1e12;
const PICOS_PER_NANO: u128 = 1_000;

/// Intended start times at a fixed rate.
#[derive(Clone, Debug)]
pub struct Schedule {
    start: Instant,
    /// Picoseconds, so that a million a second for an hour drifts by less than a microsecond.
    interval_ps: u64,
    taken: u64,
}

impl Schedule {
    /// One operation every `interval`, the first at `start`. An interval of zero counts as 1 ns.
    #[must_use]
    pub fn every(start: Instant, interval: Duration) -> Self {
        let interval_ps = interval.as_nanos().max(1).saturating_mul(PICOS_PER_NANO);
        Self { start, interval_ps: u64::try_from(interval_ps).unwrap_or(u64::MAX), taken: 0 }
    }

    /// `rate_per_s` operations a second, the first at `start`. `None` unless the rate lies between
    /// one in 1000 s and one in a nanosecond.
    #[must_use]
    pub fn at_rate(start: Instant, rate_per_s: f64) -> Option<Self> {
        if !(RATE_PER_S_MIN..=RATE_PER_S_MAX).contains(&rate_per_s) {
            return None;
        }
        let interval_ps = (PICOS_PER_SECOND / rate_per_s).round() as u64;
        Some(Self { start, interval_ps, taken: 0 })
    }

    /// When the next operation should start.
    #[must_use]
    pub fn next(&self) -> Instant {
        self.intended(self.taken)
    }

    /// Takes the next operation if it is due: its intended start, or `None` if it is too early.
    pub fn take_due(&mut self, now: Instant) -> Option<Instant> {
        let intended = self.next();
        if intended > now {
            return None;
        }
        self.taken += 1;
        Some(intended)
    }

    /// How late the next operation already is. Zero when the schedule is kept.
    #[must_use]
    pub fn behind(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.next())
    }

    /// How many operations are due and not yet taken.
    #[must_use]
    pub fn backlog(&self, now: Instant) -> u64 {
        let Some(since_start) = now.checked_duration_since(self.start) else { return 0 };
        // The first operation is due at the start itself, hence the 1.
        let due = since_start.as_nanos() * PICOS_PER_NANO / u128::from(self.interval_ps) + 1;
        u64::try_from(due).unwrap_or(u64::MAX).saturating_sub(self.taken)
    }

    /// How many operations were taken so far.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    fn intended(&self, n: u64) -> Instant {
        let nanos = u128::from(n) * u128::from(self.interval_ps) / PICOS_PER_NANO;
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_due_at_multiples_of_the_interval() {
        let start = Instant::now();
        let mut schedule = Schedule::every(start, Duration::from_millis(2));
        assert_eq!(schedule.take_due(start), Some(start));
        assert_eq!(schedule.take_due(start + Duration::from_micros(1_999)), None);
        assert_eq!(
            schedule.take_due(start + Duration::from_millis(2)),
            Some(start + Duration::from_millis(2))
        );
        assert_eq!(schedule.taken(), 2);
    }

    #[test]
    fn a_stall_keeps_every_intended_time() {
        let start = Instant::now();
        let mut schedule = Schedule::every(start, Duration::from_millis(1));
        assert!(schedule.take_due(start).is_some());
        // Nothing was sent for 10 ms: operations 1..=10 are due, the next one 9 ms late.
        let late = start + Duration::from_millis(10);
        assert_eq!(schedule.backlog(late), 10);
        assert_eq!(schedule.behind(late), Duration::from_millis(9));
        for n in 1..=10 {
            assert_eq!(schedule.take_due(late), Some(start + Duration::from_millis(n)));
        }
        assert_eq!(schedule.take_due(late), None);
        assert_eq!(schedule.backlog(late), 0);
        assert_eq!(schedule.behind(late), Duration::ZERO);
    }

    #[test]
    fn a_rate_that_divides_badly_does_not_drift() {
        let start = Instant::now();
        let mut schedule = Schedule::at_rate(start, 300_000.0).unwrap();
        let second = start + Duration::from_secs(1);
        while schedule.take_due(second).is_some() {}
        // Operations 0..=300,000 fall into [0 s, 1 s]; the last one may round up past it.
        assert!((300_000..=300_001).contains(&schedule.taken()), "{}", schedule.taken());
        schedule.taken = 300_000 * 3_600;
        let hour = start + Duration::from_secs(3_600);
        let next = schedule.next();
        let drift = hour.max(next) - hour.min(next);
        assert!(drift < Duration::from_millis(1), "{drift:?} after an hour");
    }

    #[test]
    fn rates_without_meaning_are_refused() {
        let start = Instant::now();
        for rate in [0.0, -1.0, 1e-9, 1e10, f64::NAN, f64::INFINITY] {
            assert!(Schedule::at_rate(start, rate).is_none(), "{rate}");
        }
    }

    #[test]
    fn before_the_start_nothing_is_due() {
        let now = Instant::now();
        let mut schedule = Schedule::every(now + Duration::from_secs(1), Duration::from_millis(1));
        assert_eq!(schedule.backlog(now), 0);
        assert_eq!(schedule.take_due(now), None);
    }
}
