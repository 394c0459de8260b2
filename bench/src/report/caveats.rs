//! What a reader must know before any figure of a report: it stands above all of them.

use super::model::Report;
use crate::yardstick::machine;

/// Fewer rounds show no spread, and allow no comparison (`bench diff`).
pub(super) const ROUNDS_MIN: u32 = 3;

/// What is known before anything was measured. `rounds`: `None` where there are none to compare.
#[must_use]
pub fn of_conditions(smoke: bool, rounds: Option<u32>) -> Vec<String> {
    let mut all = Vec::new();
    if smoke {
        all.push("smoke size: it shows that everything works; its figures mean nothing".to_owned());
    } else if let Some(rounds) = rounds.filter(|rounds| *rounds < ROUNDS_MIN) {
        let have = super::grid::counted(u64::from(rounds), "round");
        all.push(format!(
            "{have} only: nobody can tell what is chance ({ROUNDS_MIN} are needed to compare)"
        ));
    }
    if cfg!(debug_assertions) {
        all.push(
            "a development build (not --release): its code is slower than what is published".into(),
        );
    }
    all.extend(machine::busy_note());
    all
}

/// Everything, also what was found out on the way.
pub(super) fn caveats(report: &Report) -> Vec<String> {
    let mut all = report.caveats.clone();
    let spoilt = |run: &&super::Run| {
        run.schedule.is_some_and(|schedule| schedule.spoilt_from_percent.is_some())
    };
    let spoilt: Vec<&str> =
        report.runs.iter().filter(spoilt).map(|run| run.name.as_str()).collect();
    if !spoilt.is_empty() {
        all.push(format!(
            "the generator did not keep its own schedule in: {} (see the notes)",
            spoilt.join("; ")
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Schedule;
    use crate::report::model::sample::report;

    #[test]
    fn smoke_and_few_rounds_are_said() {
        let first = |smoke, rounds| of_conditions(smoke, rounds).into_iter().next().unwrap();
        assert!(first(true, Some(1)).starts_with("smoke size"));
        assert!(first(false, Some(1)).starts_with("1 round only"));
        let enough = of_conditions(false, Some(ROUNDS_MIN));
        assert!(enough.iter().all(|caveat| !caveat.contains("round")), "{enough:?}");
    }

    #[test]
    fn lines_that_the_generator_spoilt_are_named() {
        let mut report = report();
        assert!(caveats(&report).is_empty());
        report.runs[2].schedule = Some(Schedule {
            late_p50_us: 0.0,
            late_p99_us: 9_000.0,
            late_max_us: 9_000.0,
            unsent: 0,
            spoilt_from_percent: Some(99.0),
        });
        let all = caveats(&report);
        assert!(all[0].contains("durable, 1 producers") && all.len() == 1, "{all:?}");
    }
}
