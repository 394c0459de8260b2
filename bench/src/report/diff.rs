//! Two reports compared, line by line: what changed, and is it more than noise?
//!
//! A line's samples are the pieces of its recorded time: the rate, the median and the p99 of each.
//! A figure is the median of them; a change is the ratio of two medians. How far chance alone could
//! have moved it is found by resampling (bootstrap) in two levels, since pieces of one round
//! resemble each other more than pieces of different rounds do: rounds are drawn with replacement,
//! then pieces within each. If the interval that holds the asked share of 2,000 such ratios does not
//! contain 1, the change is significant.
//!
//! Invariants: the same reports give the same verdicts (the generator of the resampling is seeded);
//! with fewer than three rounds on a side there is no verdict.
//!
//! Absent: a correction for many comparisons. The text says how many there were, and how many of
//! them chance alone would call significant.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use super::caveats;
use super::grid::{Align, EMPTY, Grid, counted, number, rate};
use super::model::{Report, Run, Yardstick};
use super::timeline::{Piece, Round};

const RESAMPLES: usize = 2_000;
const ROUNDS_MIN: usize = caveats::ROUNDS_MIN as usize;
/// A yardstick that differs more than this is worth a remark.
const MACHINE_CHANGE: f64 = 1.1;
const SEED: u64 = 0x6469_6666;

/// What a change means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Faster, by more than chance explains.
    Better,
    /// Slower, by more than chance explains.
    Worse,
    /// Chance may explain it.
    NoDifference,
    /// Fewer than three rounds on a side: nobody can tell.
    TooFewRounds,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "WORSE",
            Self::NoDifference => "no significant difference",
            Self::TooFewRounds => "too few rounds",
        }
    }
}

/// One figure of one line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The line.
    pub line: String,
    /// `rate`, `p50` or `p99`.
    pub figure: &'static str,
    /// In the first report.
    pub before: f64,
    /// In the second.
    pub after: f64,
    /// After over before.
    pub ratio: f64,
    /// Lower end of what chance allows.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// What it means.
    pub verdict: Verdict,
}

impl Change {
    /// By how many percent it got slower; negative: faster.
    #[must_use]
    pub fn loss_percent(&self) -> f64 {
        let cost = if self.figure == "rate" { 1.0 / self.ratio } else { self.ratio };
        (cost - 1.0) * 100.0
    }
}

/// All changes, and what stands in their way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diff {
    /// Share of the resampled ratios that an interval holds.
    pub confidence: f64,
    /// Line by line.
    pub changes: Vec<Change>,
    /// Why there is no verdict on some line, or on none at all.
    pub no_verdict: Option<String>,
    /// Why the reports may not be comparable.
    pub notes: Vec<String>,
}

/// A figure of a piece; `None`: it has none.
type Figure = fn(&Piece) -> Option<f64>;

const FIGURES: [(&str, Figure); 3] = [
    ("rate", |piece| Some(piece.messages_per_s)),
    ("p50", |piece| (piece.samples > 0).then_some(piece.p50_us)),
    ("p99", |piece| (piece.samples > 0).then_some(piece.p99_us)),
];

/// Compares; `confidence` is a share, such as 0.99.
#[must_use]
pub fn diff(before: &Report, after: &Report, confidence: f64) -> Diff {
    let mut changes = Vec::new();
    let mut notes = environments(before, after);
    notes.extend(machines(before, after));
    for run in &before.runs {
        let Some(other) = after.runs.iter().find(|other| is_same(run, other)) else {
            notes.push(format!("only in the first report: {}", run.name));
            continue;
        };
        for (which, of) in [("first", run), ("second", other)] {
            if let Some(percent) = of.schedule.and_then(|schedule| schedule.spoilt_from_percent) {
                let name = &of.name;
                notes.push(format!(
                    "{name}: the {which} report's generator was late from p{percent} on"
                ));
            }
        }
        // At a fixed rate only the latencies can change.
        let figures = FIGURES.iter().skip(usize::from(run.target_per_s.is_some()));
        changes.extend(figures.filter_map(|(name, of)| change(run, other, name, *of, confidence)));
    }
    let new = after.runs.iter().filter(|run| !before.runs.iter().any(|old| is_same(old, run)));
    notes.extend(new.map(|run| format!("only in the second report: {}", run.name)));
    let no_verdict = no_verdict(before, after);
    Diff { confidence, changes, no_verdict, notes }
}

/// What is missing for a verdict on every line that both have.
fn no_verdict(before: &Report, after: &Report) -> Option<String> {
    let pairs: Vec<(&Run, &Run)> = before
        .runs
        .iter()
        .filter_map(|run| after.runs.iter().find(|other| is_same(run, other)).map(|o| (run, o)))
        .collect();
    if pairs.is_empty() {
        return Some("no verdict: the reports have no line in common".to_owned());
    }
    let fewest = |side: fn(&(&Run, &Run)) -> usize| pairs.iter().map(side).min().unwrap_or(0);
    let sides = [
        ("the first report", fewest(|pair| pair.0.rounds.len())),
        ("the second report", fewest(|pair| pair.1.rounds.len())),
    ];
    let few: Vec<String> = sides
        .into_iter()
        .filter(|(_, rounds)| *rounds < ROUNDS_MIN)
        .map(|(side, rounds)| format!("{side} has {}", counted(rounds as u64, "round")))
        .collect();
    (!few.is_empty()).then(|| format!("no verdict: {}, {ROUNDS_MIN} are needed", few.join(" and ")))
}

/// The same thing was measured.
fn is_same(a: &Run, b: &Run) -> bool {
    let what = |run: &Run| {
        let load = (run.producers, run.message_bytes, run.batch_messages);
        (run.name.clone(), run.ack, run.waiting, load, run.target_per_s.map(f64::to_bits))
    };
    what(a) == what(b)
}

fn environments(before: &Report, after: &Report) -> Vec<String> {
    let facts = |report: &Report| {
        let env = &report.environment;
        [
            ("kernel", env.kernel.clone()),
            ("CPU", env.cpu.clone()),
            ("number of CPUs", env.cpus.to_string()),
            ("file system", format!("{} {}", env.file_system, env.mount_options)),
            ("device", env.device.clone()),
        ]
    };
    let pairs = facts(before).into_iter().zip(facts(after));
    pairs
        .filter(|((_, a), (_, b))| a != b)
        .map(|((name, a), (_, b))| format!("the {name} differs: {a} and {b}"))
        .collect()
}

/// The bare machine in both reports: what it does differently, the broker cannot help.
fn machines(before: &Report, after: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    for old in &before.yardsticks {
        let same = |new: &&Yardstick| {
            new.name == old.name && new.wait == old.wait && new.pace_per_s == old.pace_per_s
        };
        let Some(new) = after.yardsticks.iter().find(same) else { continue };
        let (a, b) = (old.latency.p50_us, new.latency.p50_us);
        if b > a * MACHINE_CHANGE || a > b * MACHINE_CHANGE {
            notes.push(format!(
                "the bare machine itself was different: {} took {} us (p50) in the first report and {} \
                 us in the second",
                old.name,
                number(a),
                number(b)
            ));
        }
    }
    notes
}

fn change(
    before: &Run,
    after: &Run,
    figure: &'static str,
    of: Figure,
    confidence: f64,
) -> Option<Change> {
    let samples = |run: &Run| -> Vec<Vec<f64>> {
        let round = |round: &Round| round.pieces.iter().filter_map(of).collect::<Vec<f64>>();
        run.rounds.iter().map(round).filter(|round| !round.is_empty()).collect()
    };
    let (a, b) = (samples(before), samples(after));
    let (before_is, after_is) = (median(&mut a.concat())?, median(&mut b.concat())?);
    let ratio = after_is / before_is;
    if !ratio.is_finite() {
        return None;
    }
    let (low, high) = interval(&a, &b, confidence);
    let verdict = if a.len().min(b.len()) < ROUNDS_MIN {
        Verdict::TooFewRounds
    } else if low <= 1.0 && high >= 1.0 {
        Verdict::NoDifference
    } else if (ratio > 1.0) == (figure == "rate") {
        Verdict::Better
    } else {
        Verdict::Worse
    };
    let line = before.name.clone();
    Some(Change { line, figure, before: before_is, after: after_is, ratio, low, high, verdict })
}

/// The ends of what holds `confidence` of the resampled ratios.
fn interval(a: &[Vec<f64>], b: &[Vec<f64>], confidence: f64) -> (f64, f64) {
    let mut random = SmallRng::seed_from_u64(SEED);
    let mut ratios = Vec::new();
    let mut drawn = Vec::new();
    for _ in 0..RESAMPLES {
        let (after, before) = (draw(b, &mut random, &mut drawn), draw(a, &mut random, &mut drawn));
        ratios.extend(after.zip(before).map(|(after, before)| after / before));
    }
    ratios.retain(|ratio| ratio.is_finite());
    ratios.sort_by(f64::total_cmp);
    let tail = ((1.0 - confidence) / 2.0 * ratios.len() as f64) as usize;
    let low = ratios.get(tail).copied().unwrap_or(0.0);
    let high = ratios.get(ratios.len().saturating_sub(tail + 1)).copied();
    (low, high.unwrap_or(f64::INFINITY))
}

/// The median of rounds drawn with replacement, and pieces drawn from each.
fn draw(rounds: &[Vec<f64>], random: &mut SmallRng, drawn: &mut Vec<f64>) -> Option<f64> {
    drawn.clear();
    for _ in 0..rounds.len() {
        let round = rounds.get(random.random_range(0..rounds.len()))?;
        for _ in 0..round.len() {
            drawn.extend(round.get(random.random_range(0..round.len())));
        }
    }
    median(drawn)
}

fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len().checked_sub(1)? / 2;
    Some(*values.select_nth_unstable_by(middle, f64::total_cmp).1)
}

impl Diff {
    /// The worst significant loss in percent, and whose it is.
    #[must_use]
    pub fn worst(&self) -> Option<&Change> {
        let worse = self.changes.iter().filter(|change| change.verdict == Verdict::Worse);
        worse.max_by(|a, b| a.loss_percent().total_cmp(&b.loss_percent()))
    }

    /// As text.
    #[must_use]
    pub fn text(&self) -> String {
        use Align::{Left, Right};
        let interval = format!("{} % interval", self.confidence * 100.0);
        let mut grid = Grid::new(&[
            ("line", Left),
            ("figure", Left),
            ("before", Right),
            ("after", Right),
            ("ratio", Right),
            ("interval", Left),
            ("", Left),
        ]);
        for change in &self.changes {
            let unknown = change.verdict == Verdict::TooFewRounds;
            let range = format!("{:.3} - {:.3}", change.low, change.high);
            let value = if change.figure == "rate" { rate } else { number };
            grid.row(vec![
                change.line.clone(),
                if change.figure == "rate" { "msg/s" } else { change.figure }.to_owned(),
                value(change.before),
                value(change.after),
                format!("{:.3}", change.ratio),
                if unknown { EMPTY.to_owned() } else { range },
                change.verdict.word().to_owned(),
            ]);
        }
        let judged = self.changes.iter().filter(|c| c.verdict != Verdict::TooFewRounds).count();
        let by_chance = judged as f64 * (1.0 - self.confidence);
        let different =
            |change: &&Change| matches!(change.verdict, Verdict::Better | Verdict::Worse);
        let found = self.changes.iter().filter(different).count();
        let mut text = grid.text();
        if let Some(why) = &self.no_verdict {
            text += &format!(" {why}\n");
        }
        if judged == 0 {
            return text + &self.remarks();
        }
        text += &format!(
            " {found} of {judged} figures differ significantly; {by_chance:.1} would by chance. Ratio: \
             after over before, of medians\n over pieces of the recorded time; {interval} from \
             resampled rounds and pieces. Latencies in us.\n"
        );
        text + &self.remarks()
    }

    fn remarks(&self) -> String {
        self.notes.iter().map(|note| format!(" - {note}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Ack;
    use crate::report::model::sample::{report, round, run};

    /// Rounds whose pieces lie around `us`, each round a little off as real ones are.
    fn rounds(us: u64, spread: &[f64]) -> Vec<Round> {
        let of = |(n, off): (usize, &f64)| round(n as f64, (us as f64 * off) as u64);
        spread.iter().enumerate().map(of).collect()
    }

    fn reports(before_us: u64, after_us: u64, spread: &[f64]) -> (Report, Report) {
        let with = |us| {
            let mut report = report();
            report.runs = vec![run(Ack::Durable, 1, us)];
            report.runs[0].rounds = rounds(us, spread);
            report.runs[0].name = "durable, 1 producer".into();
            report
        };
        (with(before_us), with(after_us))
    }

    const QUIET: [f64; 5] = [1.0, 1.02, 0.98, 1.01, 0.99];
    const NOISY: [f64; 5] = [1.0, 2.0, 0.6, 1.4, 0.8];

    #[test]
    fn a_report_does_not_differ_from_itself() {
        let (report, same) = reports(200, 200, &NOISY);
        let diff = diff(&report, &same, 0.99);
        assert_eq!(diff.changes.len(), 3);
        for change in &diff.changes {
            assert_eq!((change.ratio, change.verdict), (1.0, Verdict::NoDifference), "{change:?}");
        }
        assert!(diff.worst().is_none() && diff.notes.is_empty());
    }

    #[test]
    fn a_clear_change_is_found_in_the_right_direction() {
        let (before, after) = reports(200, 300, &QUIET);
        let slower = diff(&before, &after, 0.99);
        assert!(slower.changes.iter().all(|c| c.verdict == Verdict::Worse), "{:?}", slower.changes);
        let worst = slower.worst().unwrap();
        assert!((40.0..60.0).contains(&worst.loss_percent()), "{worst:?}");
        let faster = diff(&after, &before, 0.99);
        assert!(faster.changes.iter().all(|c| c.verdict == Verdict::Better));
        assert!(faster.text().contains("3 of 3 figures differ significantly"), "{}", faster.text());
    }

    #[test]
    fn the_same_change_drowns_in_rounds_that_differ_more() {
        let (before, after) = reports(200, 230, &NOISY);
        let diff = diff(&before, &after, 0.99);
        assert!(diff.changes.iter().all(|change| change.verdict == Verdict::NoDifference));
        assert!(diff.changes.iter().all(|change| change.ratio != 1.0));
    }

    #[test]
    fn two_rounds_allow_no_verdict() {
        let (before, after) = reports(200, 2_000, &QUIET[..2]);
        let diff = diff(&before, &after, 0.99);
        assert!(diff.changes.iter().all(|change| change.verdict == Verdict::TooFewRounds));
        assert!(diff.worst().is_none());
        let text = diff.text();
        let why = "no verdict: the first report has 2 rounds and the second report has 2 rounds, 3";
        assert!(text.contains(why) && !text.contains("differ significantly"), "{text}");
    }

    #[test]
    fn what_cannot_be_compared_is_said() {
        let (before, mut after) = reports(200, 200, &QUIET);
        after.environment.kernel = "9.9".into();
        after.runs[0].batch_messages = 7;
        after.yardsticks[0].latency.p50_us *= 1.5;
        let diff = diff(&before, &after, 0.99);
        assert!(diff.changes.is_empty());
        assert!(diff.no_verdict.as_ref().unwrap().contains("no line in common"));
        let notes = diff.notes.join("\n");
        for part in [
            "kernel differs: 6.18.0 and 9.9",
            "only in the first",
            "only in the second",
            "itself was",
        ] {
            assert!(notes.contains(part), "{notes}");
        }
    }
}
