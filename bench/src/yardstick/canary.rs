//! The canary: an echo and a durable 4 KiB write, 200 times a second, beside a run.
//!
//! It loads the machine with almost nothing, so a sample that is slow says that the *machine* was
//! (a stolen CPU, a stalled disk), and windows with such samples can be marked in the figures.
//!
//! Invariants: open loop: a stall makes the following samples late instead of leaving them out;
//! the series is bounded (an hour), and says how many samples it dropped.
//!
//! Deliberately absent: a spinning mode. The canary sleeps, whatever the run does.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::YardstickError;
use super::echo::Client;
use super::echo_durable::DurableWriter;
use super::probe::{Wait, histogram, on_measuring_thread, wait_until};
use super::server::{InThread, ServerSpec};
use crate::pace::Schedule;

/// Time between two samples: 200 a second.
pub const INTERVAL: Duration = Duration::from_millis(5);
const REQUEST_BYTES: usize = 64;
/// An hour of samples, about 17 MB.
const SAMPLES_MAX: usize = 720_000;

/// A sample is slow when it takes this many times the median of the run ...
const SLOW_FACTOR: u32 = 10;
/// ... and at least this long: half of a scheduler slice.
const SLOW_MIN: Duration = Duration::from_millis(2);

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it should have started, from the start of the series.
    pub at: Duration,
    /// How late it started.
    pub late: Duration,
    /// The echo's round trip.
    pub echo: Duration,
    /// The durable write after it.
    pub write: Duration,
}

impl Sample {
    /// From the intended start to the end.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.late + self.echo + self.write
    }
}

/// A time in which the machine was slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowWindow {
    /// Start, from the start of the series.
    pub from: Duration,
    /// End, from the start of the series.
    pub to: Duration,
    /// Its slowest sample.
    pub worst: Duration,
}

/// All samples of a run.
#[derive(Clone, Debug)]
pub struct Series {
    /// What the samples' times count from.
    pub started: Instant,
    /// The samples, oldest first.
    pub samples: Vec<Sample>,
    /// Samples that were taken but not kept.
    pub dropped: u64,
}

impl Series {
    /// Nanoseconds from the intended start to the end of echo and write.
    #[must_use]
    pub fn latency(&self) -> Histogram<u64> {
        let mut latency = histogram();
        for sample in &self.samples {
            latency.saturating_record(u64::try_from(sample.total().as_nanos()).unwrap_or(u64::MAX));
        }
        latency
    }

    /// The times in which samples took over 10 times the run's median, and over 2 ms. Slow samples
    /// less than two intervals apart belong to one window.
    #[must_use]
    pub fn slow_windows(&self) -> Vec<SlowWindow> {
        let median = Duration::from_nanos(self.latency().value_at_quantile(0.5));
        let limit = (median * SLOW_FACTOR).max(SLOW_MIN);
        let mut windows: Vec<SlowWindow> = Vec::new();
        for sample in self.samples.iter().filter(|sample| sample.total() > limit) {
            let end = sample.at + sample.total();
            match windows.last_mut() {
                Some(last) if sample.at <= last.to + 2 * INTERVAL => {
                    last.to = last.to.max(end);
                    last.worst = last.worst.max(sample.total());
                }
                _ => windows.push(SlowWindow { from: sample.at, to: end, worst: sample.total() }),
            }
        }
        windows
    }

    /// True when the machine was slow at some time in `from..to`.
    #[must_use]
    pub fn slow_within(&self, from: Instant, to: Instant) -> bool {
        let (from, to) = (
            from.saturating_duration_since(self.started),
            to.saturating_duration_since(self.started),
        );
        self.slow_windows().iter().any(|window| window.from < to && from < window.to)
    }
}

/// A running canary. [`Canary::stop`] returns what it saw; the drop discards it.
pub struct Canary {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Series, YardstickError>>>,
}

impl Canary {
    /// Starts sampling, with a file of its own in `dir`; returns when the first sample is near.
    ///
    /// # Errors
    /// When the file or the echo cannot be set up.
    pub fn start(dir: &Path) -> Result<Self, YardstickError> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let dir = dir.to_path_buf();
        let (ready, is_ready) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("canary".to_owned())
            .spawn(move || {
                on_measuring_thread(None, || {
                    let mut writer = DurableWriter::new(&dir)?;
                    let server = InThread::start(&ServerSpec::echo(Wait::Sleeping, None))?;
                    let mut client = Client::connect(server.addr(), REQUEST_BYTES, Wait::Sleeping)?;
                    // Nobody listens any more when the canary was dropped at once.
                    let _ = ready.send(());
                    sample(&mut client, &mut writer, &seen)
                })
            })
            .map_err(YardstickError::socket("starting the canary's thread"))?;
        let mut canary = Self { stop, thread: Some(thread) };
        canary.wait_ready(&is_ready)?;
        Ok(canary)
    }

    /// The sender is dropped without a word when the set-up failed; the thread says why.
    fn wait_ready(&mut self, is_ready: &Receiver<()>) -> Result<(), YardstickError> {
        if is_ready.recv().is_err() {
            self.join()?;
        }
        Ok(())
    }

    /// Ends the sampling.
    ///
    /// # Errors
    /// When a sample failed: the disk or the echo is gone.
    pub fn stop(mut self) -> Result<Series, YardstickError> {
        self.join()
    }

    fn join(&mut self) -> Result<Series, YardstickError> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().ok_or(YardstickError::Panicked)?;
        thread.join().map_err(|_| YardstickError::Panicked)?
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let _ = self.join();
        }
    }
}

fn sample(
    client: &mut Client,
    writer: &mut DurableWriter,
    stop: &AtomicBool,
) -> Result<Series, YardstickError> {
    let started = Instant::now();
    let mut schedule = Schedule::every(started, INTERVAL);
    let mut series = Series { started, samples: Vec::new(), dropped: 0 };
    while !stop.load(Ordering::Acquire) {
        wait_until(schedule.next(), Wait::Sleeping);
        let begin = Instant::now();
        let Some(intended) = schedule.take_due(begin) else { continue };
        client.round_trip().map_err(YardstickError::socket("the canary's echo"))?;
        let echoed = Instant::now();
        writer.write(&[])?;
        let sample = Sample {
            at: intended - started,
            late: begin - intended,
            echo: echoed - begin,
            write: echoed.elapsed(),
        };
        if series.samples.len() < SAMPLES_MAX {
            series.samples.push(sample);
        } else {
            series.dropped += 1;
        }
    }
    Ok(series)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn series(totals_us: &[u64]) -> Series {
        let sample = |(n, total_us): (usize, &u64)| Sample {
            at: INTERVAL * u32::try_from(n).unwrap(),
            late: Duration::ZERO,
            echo: Duration::ZERO,
            write: Duration::from_micros(*total_us),
        };
        let samples = totals_us.iter().enumerate().map(sample).collect();
        Series { started: Instant::now(), samples, dropped: 0 }
    }

    #[test]
    fn slow_samples_near_each_other_are_one_window() {
        let mut totals = [200; 100];
        (totals[10], totals[12], totals[50]) = (9_000, 4_000, 30_000);
        let series = series(&totals);
        assert_eq!(
            series.slow_windows(),
            [
                SlowWindow { from: 50 * MS, to: 64 * MS, worst: 9 * MS },
                SlowWindow { from: 250 * MS, to: 280 * MS, worst: 30 * MS },
            ]
        );
        assert!(series.slow_within(series.started + 60 * MS, series.started + 70 * MS));
        assert!(!series.slow_within(series.started + 70 * MS, series.started + 240 * MS));
    }

    #[test]
    fn a_machine_that_is_slow_throughout_has_no_slow_window() {
        assert_eq!(series(&[5_000; 50]).slow_windows(), []);
        assert_eq!(series(&[]).slow_windows(), []);
    }

    #[test]
    fn a_canary_samples_in_order_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let canary = Canary::start(dir.path()).unwrap();
        std::thread::sleep(20 * INTERVAL);
        let series = canary.stop().unwrap();
        assert!(series.samples.len() >= 10, "{}", series.samples.len());
        assert!(
            series
                .samples
                .iter()
                .zip(series.samples.iter().skip(1))
                .all(|(a, b)| { b.at == a.at + INTERVAL })
        );
        assert!(series.samples.iter().all(|s| !s.echo.is_zero() && !s.write.is_zero()));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_canary_that_cannot_write_says_so_at_once() {
        let started = Canary::start(Path::new("/nonexistent"));
        assert!(matches!(started, Err(YardstickError::File { .. })));
    }
}
