//! Measuring: every step of the plan, in rounds, within the time it was given.
//!
//! Invariants: a step that saw too few operations to say anything is given more time, or it is an
//! error; files have no names, so nothing is left behind however this ends.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::device::{Blocks, Choices, ColdFigure, Evidence, SpinFigure, WriteFigure};
use engine::log::writer::Flush;

use super::choose::choose;
use super::plan::{Step, steps};
use super::site;
use crate::scenario::progress::Progress;
use crate::yardstick::cold::{ColdReads, cold_reads};
use crate::yardstick::device::durable_writes_by;
use crate::yardstick::machine::busy_note;
use crate::yardstick::{Measured, Probe, Space, Wait, YardstickError};

/// Written space, overwritten and read again and again.
const SPACE_BYTES: u64 = 64 << 20;
/// Space that is used up by writes of 4 KiB.
const UNWRITTEN_BYTES: u64 = 64 << 20;
/// What has to be free: both, and room for whoever else writes meanwhile.
pub const FREE_BYTES_MIN: u64 = 256 << 20;
/// Fewer operations than these say nothing.
const OPS_MIN: u64 = 8;
/// How often a step that saw fewer is given four times the time.
const MORE_TIME_MAX: u32 = 4;
/// Whoever stops it waits no longer than about this.
const SLICE: Duration = Duration::from_millis(500);
const WARM_UP_SHARE: f64 = 0.15;

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Time for all of it.
    pub budget: Duration,
    /// Rounds in which everything is measured once.
    pub rounds: u32,
    /// No progress is shown.
    pub quiet: bool,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Findings {
    /// All rounds together.
    pub evidence: Evidence,
    /// The figures of each.
    pub rounds: Vec<Evidence>,
    /// What a node is to do.
    pub choices: Choices,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// It was asked to stop.
    #[error("stopped before everything was measured; nothing was changed")]
    Stopped,
    /// Choose a directory on a disk.
    #[error("{} is on {file_system}, which is memory: nothing there is durable; choose a directory \
             on a disk", dir.display())]
    Memory {
        /// The directory.
        dir: PathBuf,
        /// Type of its file system.
        file_system: String,
    },
    /// Make room.
    #[error("{} has {} MiB free and measuring needs {} MiB (it is given back)", dir.display(),
            free_bytes >> 20, FREE_BYTES_MIN >> 20)]
    NoRoom {
        /// The directory.
        dir: PathBuf,
        /// What is free.
        free_bytes: u64,
    },
    /// The device is so slow that nothing can be said in the time.
    #[error(
        "{step}: the device did {ops} operations in {seconds:.1} s: too few to judge it; is it \
             failing?"
    )]
    TooSlow {
        /// What was measured.
        step: String,
        /// Operations.
        ops: u64,
        /// Time it had.
        seconds: f64,
    },
    /// A measurement failed.
    #[error(transparent)]
    Yardstick(#[from] YardstickError),
}

/// Measures the device under `dir`, which must exist.
///
/// # Errors
/// [`TuneError`] says what to change.
pub fn measure(dir: &Path, settings: &Settings, stop: &AtomicBool) -> Result<Findings, TuneError> {
    site::check(dir)?;
    let busy = busy_note();
    let steps = steps(&site::cpus());
    let rounds = settings.rounds.max(1);
    let mut progress = Progress::new(steps.len() as u64 * u64::from(rounds), settings.quiet);
    let time = settings.budget / (steps.len() as u32 * rounds).max(1);
    let mut bench = Bench { dir, space: Space::written(dir, SPACE_BYTES)?, time };
    let mut seen = vec![vec![Seen::default(); steps.len()]; rounds as usize];
    for (round, seen) in seen.iter_mut().enumerate() {
        // Forwards and backwards in turn: what drifts does not fall on the last ones only.
        let forwards = round % 2 == 0;
        for n in 0..steps.len() {
            let at = if forwards { n } else { steps.len() - 1 - n };
            progress.step(&steps[at].title());
            bench.take(steps[at], &mut seen[at], stop)?;
        }
    }
    drop(progress);
    let mut evidence = site::facts(dir, settings);
    evidence.write_zeroes = Space::unwritten(dir, 1)?.takes_write_zeroes();
    let rounds: Vec<Evidence> = seen.iter().map(|seen| figures(&steps, seen)).collect();
    let all = together(seen);
    let notes = busy.into_iter().chain(pace_note(&all, &steps));
    let Evidence { writes, spins, cold_reads, .. } = figures(&steps, &all);
    evidence = Evidence { notes: notes.collect(), writes, spins, cold_reads, ..evidence };
    let (choices, doubts) = choose(&rounds);
    evidence.notes.extend(doubts);
    Ok(Findings { evidence, rounds, choices })
}

/// What all rounds saw of each step.
fn together(rounds: Vec<Vec<Seen>>) -> Vec<Seen> {
    let sum = |mut all: Vec<Seen>, round: Vec<Seen>| {
        for (all, seen) in all.iter_mut().zip(round) {
            all.cold = all.cold.with(&seen.cold);
            if let Some(measured) = seen.measured {
                all.add(measured);
            }
        }
        all
    };
    rounds.into_iter().reduce(sum).unwrap_or_default()
}

/// The figures of what was seen, and nothing else.
fn figures(steps: &[Step], seen: &[Seen]) -> Evidence {
    let mut evidence = Evidence::default();
    for (step, seen) in steps.iter().zip(seen) {
        seen.put_into(&mut evidence, *step);
    }
    evidence
}

/// A device that cannot do a write every 2 ms was not measured at the pace of a quiet node.
fn pace_note(seen: &[Seen], steps: &[Step]) -> Option<String> {
    let slow = steps.iter().zip(seen).any(|(step, seen)| match (step, &seen.measured) {
        (Step::Write { every_us: Some(every_us), .. }, Some(measured)) => {
            measured.ops_per_s() < 0.8e6 / f64::from(*every_us)
        }
        _ => false,
    });
    slow.then(|| {
        "paced writes did not keep their pace: their latencies are those of a queue".into()
    })
}

/// What a step saw in all its rounds.
#[derive(Clone, Debug, Default)]
struct Seen {
    measured: Option<Measured>,
    cold: ColdReads,
}

impl Seen {
    fn ops(&self) -> u64 {
        self.measured.as_ref().map_or(0, |measured| measured.ops)
    }

    fn is_enough(&self) -> bool {
        self.ops() >= OPS_MIN || self.cold.bytes > 0
    }

    fn add(&mut self, other: Measured) {
        let Some(all) = &mut self.measured else {
            self.measured = Some(other);
            return;
        };
        // Of the same bounds: they always fit.
        let _ = all.latency.add(&other.latency);
        let _ = all.service.add(&other.service);
        all.elapsed += other.elapsed;
        all.ops += other.ops;
    }

    fn put_into(&self, evidence: &mut Evidence, step: Step) {
        if let Step::Cold { extent_kib, way } = step {
            let (gb_per_s, cpu_s_per_gb) = (self.cold.gb_per_s(), self.cold.cpu_s_per_gb());
            let (gb_per_s, cpu_s_per_gb) = (rounded(gb_per_s, 3), rounded(cpu_s_per_gb, 3));
            evidence.cold_reads.push(ColdFigure { extent_kib, way, gb_per_s, cpu_s_per_gb });
            return;
        }
        let Some(measured) = &self.measured else { return };
        let per_s = rounded(measured.ops_per_s(), 1);
        let (p50_us, p99_us) = (rounded(measured.p50_us(), 1), rounded(measured.p99_us(), 1));
        match step {
            Step::Write { flush, blocks, block_kib, depth, every_us } => {
                evidence.writes.push(WriteFigure {
                    flush,
                    blocks,
                    block_kib,
                    depth,
                    every_us,
                    per_s,
                    p50_us,
                    p99_us,
                });
            }
            Step::Spin { cpu, yields } => {
                evidence.spins.push(SpinFigure { cpu, yields, per_s, p50_us, p99_us });
            }
            Step::Cold { .. } => {}
        }
    }
}

/// A file for people needs no fifteen digits.
fn rounded(value: f64, digits: i32) -> f64 {
    let unit = 10_f64.powi(digits);
    (value * unit).round() / unit
}

struct Bench<'a> {
    dir: &'a Path,
    space: Space,
    /// For one step in one round.
    time: Duration,
}

impl Bench<'_> {
    /// One step of one round, until it has seen enough.
    fn take(&mut self, step: Step, seen: &mut Seen, stop: &AtomicBool) -> Result<(), TuneError> {
        let mut time = self.time;
        for _ in 0..=MORE_TIME_MAX {
            let slices = time.div_duration_f64(SLICE).ceil().max(1.0);
            for _ in 0..slices as u32 {
                if stop.load(Ordering::Relaxed) {
                    return Err(TuneError::Stopped);
                }
                match self.once(step, time.div_f64(slices))? {
                    Once::Cold(cold) => seen.cold = seen.cold.with(&cold),
                    Once::Writes(measured) => seen.add(measured),
                }
            }
            if seen.is_enough() {
                return Ok(());
            }
            time *= 4;
        }
        let (ops, seconds) = (seen.ops(), time.as_secs_f64() / 4.0);
        Err(TuneError::TooSlow { step: step.title(), ops, seconds })
    }

    fn once(&self, step: Step, time: Duration) -> Result<Once, YardstickError> {
        let warm_up = time.mul_f64(WARM_UP_SHARE);
        let probe = Probe { warm_up, measure: time - warm_up, ..Probe::default() };
        let shape = |block_kib: u32, depth: u32| ((block_kib as usize) << 10, depth as usize);
        match step {
            Step::Write { flush, blocks, block_kib, depth, every_us } => {
                let pace = every_us.map(|us| Duration::from_micros(u64::from(us)));
                let probe = Probe { pace, ..probe };
                let shape = shape(block_kib, depth);
                match blocks {
                    Blocks::Written => durable_writes_by(flush, &self.space, shape, &probe),
                    Blocks::Unwritten => {
                        let space = Space::unwritten(self.dir, UNWRITTEN_BYTES)?;
                        durable_writes_by(flush, &space, shape, &probe)
                    }
                }
                .map(Once::Writes)
            }
            Step::Spin { cpu, yields } => {
                let probe =
                    Probe { wait: Wait::Spinning, yields, cpu: Some(cpu as usize), ..probe };
                durable_writes_by(Flush::Dsync, &self.space, shape(4, 1), &probe).map(Once::Writes)
            }
            Step::Cold { extent_kib, way } => {
                cold_reads(&self.space, way, shape(extent_kib, 1).0, time).map(Once::Cold)
            }
        }
    }
}

enum Once {
    Writes(Measured),
    Cold(ColdReads),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(budget_ms: u64) -> Settings {
        Settings { budget: Duration::from_millis(budget_ms), rounds: 1, quiet: true }
    }

    #[test]
    fn everything_is_measured_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let stop = AtomicBool::new(false);
        let settings = Settings { rounds: 2, ..settings(500) };
        let Findings { evidence, rounds, .. } = measure(dir.path(), &settings, &stop).unwrap();
        let planned = steps(&site::cpus());
        let figures = evidence.writes.len() + evidence.spins.len() + evidence.cold_reads.len();
        assert_eq!(figures, planned.len());
        for figure in &evidence.writes {
            assert!(figure.per_s > 0.0 && figure.p50_us > 1.0, "{figure:?}");
        }
        for (at, all) in evidence.writes.iter().enumerate() {
            let each: Vec<f64> = rounds.iter().map(|round| round.writes[at].p50_us).collect();
            let (low, high) = (each[0].min(each[1]), each[0].max(each[1]));
            assert!(low * 0.99 <= all.p50_us && all.p50_us <= high * 1.01, "{all:?} {each:?}");
        }
        assert!(evidence.cold_reads.iter().all(|cold| cold.gb_per_s > 0.0));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_stop_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let stop = AtomicBool::new(true);
        let stopped = measure(dir.path(), &settings(60_000), &stop);
        assert!(matches!(stopped, Err(TuneError::Stopped)));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn memory_is_no_device() {
        let shm = Path::new("/dev/shm");
        if crate::yardstick::machine::environment(shm).file_system != "tmpfs" {
            return println!("skipped: no tmpfs here");
        }
        let refused = measure(shm, &settings(1), &AtomicBool::new(false)).unwrap_err();
        assert!(matches!(refused, TuneError::Memory { .. }));
        assert!(refused.to_string().contains("is memory"), "{refused}");
    }
}
