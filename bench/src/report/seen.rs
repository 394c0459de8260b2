//! What the canary saw, and the pieces of a run in which the machine was slow.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::model::{Latency, Run};

/// A time in which the machine was slow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slow {
    /// Start, from the canary's.
    pub from_s: f64,
    /// End, from the canary's start.
    pub to_s: f64,
    /// The slowest sample in it.
    pub worst_ms: f64,
}

/// What the canary saw: an echo and a durable write, 200 times a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CanarySummary {
    /// Its start, in seconds since 1970.
    #[serde(default)]
    pub began_unix_s: f64,
    /// From the intended start of both to the end.
    pub latency: Latency,
    /// When the machine was slow.
    pub slow: Vec<Slow>,
}

impl CanarySummary {
    /// From a series of samples.
    #[must_use]
    pub fn of(series: &crate::yardstick::canary::Series) -> Self {
        let slow = series.slow_windows().into_iter().map(|window| Slow {
            from_s: window.from.as_secs_f64(),
            to_s: window.to.as_secs_f64(),
            worst_ms: window.worst.as_secs_f64() * 1e3,
        });
        let began = SystemTime::now().checked_sub(series.started.elapsed());
        let began = began.and_then(|began| began.duration_since(UNIX_EPOCH).ok());
        Self {
            began_unix_s: began.unwrap_or_default().as_secs_f64(),
            latency: Latency::of(&series.latency()),
            slow: slow.collect(),
        }
    }

    /// Was the machine slow at some time between these, in seconds since 1970?
    #[must_use]
    pub fn was_slow(&self, from_unix_s: f64, to_unix_s: f64) -> bool {
        let (from, to) = (from_unix_s - self.began_unix_s, to_unix_s - self.began_unix_s);
        self.slow.iter().any(|slow| slow.from_s < to && from < slow.to_s)
    }

    /// Marks the pieces of a run in which the machine was slow, and says how many there were.
    pub fn mark(&self, run: &mut Run) {
        let (mut slow, mut all) = (0, 0);
        for round in &mut run.rounds {
            for piece in &mut round.pieces {
                let from = round.began_unix_s + piece.from_s;
                piece.machine_was_slow = self.was_slow(from, from + piece.length_s);
                slow += u32::from(piece.machine_was_slow);
                all += 1;
            }
        }
        if slow > 0 {
            run.notes.push(format!(
                "the machine itself was slow (canary) in {slow} of {all} pieces of the recorded time"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::report::model::sample;

    #[test]
    fn a_canary_marks_the_pieces_in_which_the_machine_was_slow() {
        // Its slow time is 12.1 s to 12.2 s: the second round begins 20 s after the canary.
        let report = sample::report();
        let mut run = report.runs[0].clone();
        let canary = report.canary.unwrap();
        run.rounds[1].began_unix_s = 1_767_225_602.0;
        canary.mark(&mut run);
        let slow = |round: usize| {
            let pieces = run.rounds[round].pieces.iter().enumerate();
            pieces.filter(|(_, piece)| piece.machine_was_slow).map(|(n, _)| n).collect::<Vec<_>>()
        };
        assert_eq!((slow(0), slow(1)), (vec![], vec![1]));
        assert!(run.notes[0].contains("in 1 of 20 pieces"), "{:?}", run.notes);
    }
}
