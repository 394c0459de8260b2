//! What every measurement shares: how to wait, where to run, how long, at which pace.
//!
//! Invariants: [`Measured::latency`] counts from the intended start and [`Measured::service`] from
//! the real one; back to back the two are the same. Operations that start in the warm-up are not
//! recorded.

use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl;
use nix::unistd::Pid;

use super::YardstickError;

/// Three significant digits, as all figures here.
pub const SIGNIFICANT_DIGITS: u8 = 3;
/// Latencies saturate at a minute: nothing measured here may take longer.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// How a thread waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It sleeps in the kernel and pays for the wake-up.
    Sleeping,
    /// It polls and yields the CPU each turn.
    Spinning,
}

impl Wait {
    /// The word used in arguments and tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Sleeping => "sleeping",
            Self::Spinning => "spinning",
        }
    }
}

/// One measurement's settings.
#[derive(Clone, Debug)]
pub struct Probe {
    /// How the measuring thread waits.
    pub wait: Wait,
    /// Whether a spinner gives the CPU away between looks at a device.
    pub yields: bool,
    /// The CPU it is pinned to.
    pub cpu: Option<usize>,
    /// Time between intended starts (open loop). `None`: back to back.
    pub pace: Option<Duration>,
    /// Operations that start in this time are not recorded.
    pub warm_up: Duration,
    /// How long to record after the warm-up.
    pub measure: Duration,
    /// Stop after this many recorded operations even if there is time left.
    pub ops_max: u64,
}

impl Default for Probe {
    /// Sleeping (a spinner yields), not pinned, back to back, one second after a warm-up of 100 ms.
    fn default() -> Self {
        Self {
            wait: Wait::Sleeping,
            yields: true,
            cpu: None,
            pace: None,
            warm_up: Duration::from_millis(100),
            measure: Duration::from_secs(1),
            ops_max: u64::MAX,
        }
    }
}

/// What a probe saw.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Nanoseconds from the intended start to the end.
    pub latency: Histogram<u64>,
    /// Nanoseconds from the real start to the end.
    pub service: Histogram<u64>,
    /// From the first recorded start to the last recorded end.
    pub elapsed: Duration,
    /// Recorded operations.
    pub ops: u64,
    /// Bytes each operation moved.
    pub op_bytes: u64,
}

impl Measured {
    /// Operations a second.
    #[must_use]
    pub fn ops_per_s(&self) -> f64 {
        if self.elapsed.is_zero() { 0.0 } else { self.ops as f64 / self.elapsed.as_secs_f64() }
    }

    /// Bytes a second.
    #[must_use]
    pub fn bytes_per_s(&self) -> f64 {
        self.ops_per_s() * self.op_bytes as f64
    }

    /// The median from the intended start, in microseconds.
    #[must_use]
    pub fn p50_us(&self) -> f64 {
        self.latency.value_at_quantile(0.5) as f64 / 1e3
    }

    /// The 99th percentile from the intended start, in microseconds.
    #[must_use]
    pub fn p99_us(&self) -> f64 {
        self.latency.value_at_quantile(0.99) as f64 / 1e3
    }
}

/// An empty histogram of nanoseconds with the digits and bounds all figures share.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    let Ok(empty) = Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS) else {
        unreachable!("the bounds are constants that the crate accepts")
    };
    empty
}

/// When an operation should have started, and when it did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) intended: Instant,
    pub(super) real: Instant,
}

/// Counts operations of one probe.
pub(super) struct Tally {
    record_from: Instant,
    end: Instant,
    ops_max: u64,
    first: Option<Instant>,
    last: Instant,
    measured: Measured,
}

impl Tally {
    pub(super) fn new(begin: Instant, probe: &Probe, op_bytes: u64) -> Self {
        let record_from = begin + probe.warm_up;
        Self {
            record_from,
            end: record_from + probe.measure,
            ops_max: probe.ops_max,
            first: None,
            last: begin,
            measured: Measured {
                latency: histogram(),
                service: histogram(),
                elapsed: Duration::ZERO,
                ops: 0,
                op_bytes,
            },
        }
    }

    /// True when no further operation should start.
    pub(super) fn over(&self, now: Instant) -> bool {
        now >= self.end || self.measured.ops >= self.ops_max
    }

    pub(super) fn record(&mut self, start: Start, done: Instant) {
        if start.intended < self.record_from || self.measured.ops >= self.ops_max {
            return;
        }
        self.first.get_or_insert(start.intended);
        self.last = self.last.max(done);
        self.measured.ops += 1;
        self.measured.latency.saturating_record(nanos(done - start.intended));
        self.measured.service.saturating_record(nanos(done - start.real));
    }

    pub(super) fn finish(mut self) -> Measured {
        if let Some(first) = self.first {
            self.measured.elapsed = self.last.saturating_duration_since(first);
        }
        self.measured
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Pins the calling thread.
///
/// # Errors
/// [`YardstickError::Pin`] when there is no such CPU or this process may not use it.
pub fn pin(cpu: usize) -> Result<(), YardstickError> {
    let mut set = CpuSet::new();
    set.set(cpu).map_err(|errno| YardstickError::Pin { cpu, errno })?;
    sched_setaffinity(Pid::from_raw(0), &set).map_err(|errno| YardstickError::Pin { cpu, errno })
}

/// Gives the CPU to whoever else wants it.
pub fn yield_now() {
    thread::yield_now();
}

/// Waits until `due` as `wait` says. A sleeper is woken by the timer and so pays a wake-up, as
/// every sleeping client does.
pub(super) fn wait_until(due: Instant, wait: Wait) {
    match wait {
        Wait::Sleeping => {
            let left = due.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                thread::sleep(left);
            }
        }
        Wait::Spinning => {
            while Instant::now() < due {
                yield_now();
            }
        }
    }
}

/// Runs a measurement on a thread of its own, pinned, with the timer's slack (50 us by default,
/// half of what is measured here) taken away. Both end with the thread.
pub(crate) fn on_measuring_thread<T: Send, E: From<YardstickError> + Send>(
    cpu: Option<usize>,
    work: impl FnOnce() -> Result<T, E> + Send,
) -> Result<T, E> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Some(cpu) = cpu {
                pin(cpu)?;
            }
            // Without it the paced figures are a little worse, not wrong.
            let _ = prctl::set_timerslack(1);
            work()
        });
        thread.join().map_err(|_| E::from(YardstickError::Panicked))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(base: Instant, us: u64) -> Instant {
        base + Duration::from_micros(us)
    }

    #[test]
    fn latency_counts_from_the_intended_start_and_service_from_the_real_one() {
        let base = Instant::now();
        let probe = Probe { warm_up: Duration::from_micros(10), ..Probe::default() };
        let mut tally = Tally::new(base, &probe, 4096);
        tally.record(Start { intended: at(base, 9), real: at(base, 9) }, at(base, 12)); // warm-up
        tally.record(Start { intended: at(base, 20), real: at(base, 50) }, at(base, 70));
        let measured = tally.finish();
        assert_eq!((measured.ops, measured.latency.len()), (1, 1));
        assert!(measured.latency.equivalent(measured.latency.max(), 50_000));
        assert!(measured.service.equivalent(measured.service.max(), 20_000));
        assert_eq!(measured.elapsed, Duration::from_micros(50));
        assert_eq!(measured.bytes_per_s().round(), 4096.0 / 50e-6);
    }

    #[test]
    fn a_tally_stops_at_its_count_and_at_its_time() {
        let base = Instant::now();
        let probe = Probe {
            warm_up: Duration::ZERO,
            measure: Duration::from_micros(100),
            ops_max: 1,
            ..Probe::default()
        };
        let mut tally = Tally::new(base, &probe, 1);
        assert!(!tally.over(at(base, 99)));
        assert!(tally.over(at(base, 100)));
        tally.record(Start { intended: base, real: base }, at(base, 1));
        assert!(tally.over(at(base, 2)));
        tally.record(Start { intended: base, real: base }, at(base, 3));
        assert_eq!(tally.finish().ops, 1);
    }

    #[test]
    fn a_cpu_that_does_not_exist_is_an_error() {
        assert!(matches!(pin(1_000_000), Err(YardstickError::Pin { cpu: 1_000_000, .. })));
        let refused = on_measuring_thread(Some(1_000_000), || Ok::<_, YardstickError>(()));
        assert!(matches!(refused, Err(YardstickError::Pin { .. })));
    }
}
