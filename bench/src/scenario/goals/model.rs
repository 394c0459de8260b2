//! Goals and verdicts: the data, and the table made from it.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::report::grid::{Align, Grid, number, rate};
use crate::report::html;
use crate::report::table::wrapped;
use crate::report::{Environment, caveats};
use crate::scenario::summary::median;
use crate::scenario::{Options, tuning};

/// What a goal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

/// One goal and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// The case it belongs to.
    pub case: u32,
    /// What is measured.
    pub what: String,
    /// The figure's unit: `x ED`, `ms`, ...
    pub unit: String,
    /// The goal.
    pub bound: Bound,
    /// The figure of each round.
    pub rounds: Vec<f64>,
    /// Our absolute figure of each round, if the goal is a ratio.
    pub ours: Vec<f64>,
    /// The yardstick's.
    pub theirs: Vec<f64>,
}

impl Goal {
    /// The median of the rounds.
    #[must_use]
    pub fn figure(&self) -> f64 {
        median(self.rounds.clone())
    }

    /// Whether the median round meets the goal.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.bound.holds(self.figure())
    }
}

/// All goals of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Goals {
    /// The command that measures them again.
    pub command: String,
    /// Start, in seconds since 1970.
    #[serde(default)]
    pub started_unix_s: u64,
    /// Where it ran.
    pub environment: Environment,
    /// What must be known before any figure is looked at.
    #[serde(default)]
    pub caveats: Vec<String>,
    /// In the order of their cases.
    pub goals: Vec<Goal>,
    /// Messages that a verifying consumer did not get as they were sent.
    pub faults: u64,
    /// Remarks on the whole.
    pub notes: Vec<String>,
}

impl Goals {
    pub(in crate::scenario) fn new(options: &Options, place: &Path) -> Self {
        let rounds = Some(options.rounds);
        Self {
            caveats: caveats::of_conditions(options.smoke, rounds),
            ..Self::empty(&options.command, tuning::environment(place, true))
        }
    }

    fn empty(command: &str, environment: Environment) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            command: command.to_owned(),
            started_unix_s: started.as_secs(),
            environment,
            caveats: Vec::new(),
            goals: Vec::new(),
            faults: 0,
            notes: Vec::new(),
        }
    }

    /// A round's figure.
    pub(in crate::scenario) fn add(
        &mut self,
        case: u32,
        what: &str,
        unit: &str,
        bound: Bound,
        figure: f64,
    ) {
        self.place(case, what, unit, bound).rounds.push(figure);
    }

    /// A round's ratio.
    pub(in crate::scenario) fn add_ratio(
        &mut self,
        case: u32,
        (what, unit): (&str, &str),
        bound: Bound,
        (ours, theirs): (f64, f64),
    ) {
        let goal = self.place(case, what, unit, bound);
        goal.rounds.push(ours / theirs);
        goal.ours.push(ours);
        goal.theirs.push(theirs);
    }

    fn place(&mut self, case: u32, what: &str, unit: &str, bound: Bound) -> &mut Goal {
        let known = self.goals.iter().position(|goal| goal.case == case && goal.what == what);
        let at = known.unwrap_or_else(|| {
            let at = self.goals.partition_point(|goal| goal.case <= case);
            let new = Goal {
                case,
                what: what.to_owned(),
                unit: unit.to_owned(),
                bound,
                rounds: Vec::new(),
                ours: Vec::new(),
                theirs: Vec::new(),
            };
            self.goals.insert(at, new);
            at
        });
        &mut self.goals[at]
    }

    /// The table.
    #[must_use]
    pub fn text(&self) -> String {
        let caveats: String = self.caveats.iter().map(|caveat| wrapped(" ! ", caveat)).collect();
        format!("{caveats}{}{}", self.grid().text(), self.footer())
    }

    /// The table as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let caveats: String = self.caveats.iter().map(|caveat| format!("> {caveat}\n\n")).collect();
        let (grid, footer) = (self.grid().markdown(), self.footer());
        format!("`{}`\n\n{caveats}{grid}\n{footer}", self.command)
    }

    /// The table as a page that opens offline.
    #[must_use]
    pub fn html(&self) -> String {
        let escape = html::escape;
        let notes: String = self
            .notes
            .iter()
            .map(|note| format!("<li>{}</li>", escape(&html::micro(note))))
            .collect();
        let body = format!(
            "<h1>Goals, measured</h1>\n<p class=sub>{}</p>\n{}<p>{}</p>\n<div \
             class=scroll>{}</div>\n<p class=how>{}</p>\n<h2>Notes of this run</h2>\n<ul>{notes}</ul>\n{}{}",
            html::when(&self.environment, self.started_unix_s),
            html::banner(&self.caveats),
            escape(&self.verdict()),
            self.grid().html(escape),
            escape(&html::micro(self.how_to_read())),
            html::machine(&self.environment),
            html::command(&self.command)
        );
        html::page("uringmq: goals, measured", "", &body)
    }

    fn verdict(&self) -> String {
        let met = self.goals.iter().filter(|goal| goal.is_met()).count();
        let faults = match self.faults {
            0 => String::new(),
            faults => format!(" VERIFICATION FAILED: {faults} messages."),
        };
        format!("{met} of {} goals met.{faults}", self.goals.len())
    }

    fn footer(&self) -> String {
        let notes: String = self.notes.iter().map(|note| format!(" - {note}\n")).collect();
        let text = format!("{} {}", self.verdict(), self.how_to_read());
        format!("{}{notes}", wrapped(" ", &text))
    }

    /// Only columns that are there are explained.
    fn how_to_read(&self) -> &'static str {
        if self.goals.iter().any(|goal| !goal.ours.is_empty()) {
            "Figures are the median round; the spread is lowest to highest. Ours and yardstick: \
             medians of the absolute figures, us or per second."
        } else {
            "Figures are the median round; the spread is lowest to highest."
        }
    }

    fn grid(&self) -> Grid {
        use Align::{Left, Right};
        let mut grid = Grid::new(&[
            ("case", Right),
            ("what", Left),
            ("ours", Right),
            ("yardstick", Right),
            ("figure", Right),
            ("spread", Left),
            ("goal", Left),
            ("", Left),
        ]);
        for goal in &self.goals {
            let (low, high) = spread(&goal.rounds);
            let absolute = |values: &[f64]| match values {
                [] => "-".to_owned(),
                some => rate(median(some.to_vec())),
            };
            let bound = match goal.bound {
                Bound::AtMost(limit) => format!("<= {}", plain(limit)),
                Bound::AtLeast(limit) => format!(">= {}", plain(limit)),
            };
            grid.row(vec![
                goal.case.to_string(),
                goal.what.clone(),
                absolute(&goal.ours),
                absolute(&goal.theirs),
                rate(goal.figure()),
                format!("{} - {}", rate(low), rate(high)),
                format!("{bound} {}", goal.unit),
                if goal.is_met() { "met" } else { "NOT MET" }.to_owned(),
            ]);
        }
        grid
    }
}

fn plain(limit: f64) -> String {
    if limit >= 1e6 { rate(limit) } else { number(limit) }
}

fn spread(rounds: &[f64]) -> (f64, f64) {
    rounds.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), r| (l.min(*r), h.max(*r)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_round_decides() {
        let mut goals = Goals::empty("uringmq bench --goals", Environment::default());
        for (ours, theirs) in [(80.0, 100.0), (90.0, 100.0), (300.0, 100.0)] {
            goals.add_ratio(1, ("p50", "x ED"), Bound::AtMost(0.9), (ours, theirs));
        }
        goals.add(15, "RSS", "MiB", Bound::AtMost(32.0), 33.0);
        goals.add_ratio(2, ("rate", "x memory"), Bound::AtLeast(0.9), (1.0, 2.0));
        let cases: Vec<u32> = goals.goals.iter().map(|goal| goal.case).collect();
        assert_eq!(cases, [1, 2, 15]);
        let met: Vec<bool> = goals.goals.iter().map(Goal::is_met).collect();
        assert_eq!(met, [true, false, false]);
        let text = goals.text();
        assert!(text.contains("0.90  0.80 - 3.00  <= 0.90 x ED"), "{text}");
        assert!(text.contains("1 of 3 goals met"), "{text}");
        assert!(text.contains("Ours and yardstick"), "{text}");
    }

    #[test]
    fn the_page_says_when_how_well_and_nothing_of_columns_that_are_not_there() {
        let mut goals = Goals::empty("uringmq bench run 15", Environment::default());
        goals.add(15, "RSS", "MiB", Bound::AtMost(32.0), 33.0);
        goals.started_unix_s = 1_767_225_600;
        goals.caveats = vec!["smoke size".into()];
        let page = goals.html();
        assert!(page.contains("2026-01-01T00:00:00Z") && page.contains("smoke size"), "{page}");
        assert!(!page.contains("yardstick"), "{page}");
    }
}
