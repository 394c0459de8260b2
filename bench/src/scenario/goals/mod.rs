//! The published goals, measured: each a ratio of two figures of the same round, or a plain limit.
//!
//! Reads top-down: [`measure`] -> `field` (one node for each way to wait, of which only one runs
//! at a time, and the yardsticks) -> `cases` and `end_to_end` (what each goal compares) -> [`model`] (the verdicts).
//!
//! Deliberately absent: what histograms cost. That compares two builds; see
//! `perf/histogram_cost.sh`.

mod cases;
mod end_to_end;
mod field;
pub mod model;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::progress::Progress;
use super::{BenchError, Options};
use cases::Case;
use field::Field;
pub use model::{Goal, Goals};

/// Measures the goals of every case, or of one; in rounds, all cases in each.
///
/// # Errors
/// When something cannot be started or measured, or there is no such case.
pub fn measure(
    options: &Options,
    only: Option<u32>,
    work: &Path,
    stop: &AtomicBool,
    quiet: bool,
) -> Result<Goals, BenchError> {
    options.check()?;
    let cases: Vec<Case> =
        Case::ALL.into_iter().filter(|case| only.is_none_or(|n| case.number() == n)).collect();
    if cases.is_empty() {
        return Err(BenchError::Options("the cases are 1, 2, 4, 5 and 15".to_owned()));
    }
    let steps = u64::from(options.rounds) * cases.len() as u64 + 1;
    let mut progress = Progress::new(steps, quiet);
    progress.step("starting a node for each way to wait");
    let place = options.data_dir.as_deref().unwrap_or(work);
    let mut field = Field::start(options, place, stop)?;
    let mut goals = Goals::new(options, place);
    for round in 0..options.rounds {
        let mut order = cases.clone();
        if !round.is_multiple_of(2) {
            order.reverse();
        }
        for case in order {
            let rounds = options.rounds;
            progress.step(&format!("case {}, round {} of {rounds}", case.number(), round + 1));
            // What was interrupted is no measurement: it is dropped.
            let before = goals.clone();
            case.measure(&mut field, round, &mut goals)?;
            if stop.load(Ordering::Relaxed) {
                return Ok(before);
            }
        }
    }
    goals.notes.extend(field.warnings());
    Ok(goals)
}
