//! Goals and verdicts: the data, and the table made from it.

use serde::{Deserialize, Serialize};

use crate::report::Environment;
use crate::report::grid::{Align, Grid, number, rate};
use crate::report::html;
use crate::scenario::summary::median;

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
    /// Where it ran.
    pub environment: Environment,
    /// In the order of their cases.
    pub goals: Vec<Goal>,
    /// Messages that a verifying consumer did not get as they were sent.
    pub faults: u64,
    /// Remarks on the whole.
    pub notes: Vec<String>,
}

impl Goals {
    pub(in crate::scenario) fn new(command: &str, environment: Environment) -> Self {
        Self {
            command: command.to_owned(),
            environment,
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
        format!("{}{}", self.grid().text(), self.footer())
    }

    /// The table as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        format!("`{}`\n\n{}\n{}", self.command, self.grid().markdown(), self.footer())
    }

    /// The table as a page that opens offline.
    #[must_use]
    pub fn html(&self) -> String {
        let escape = html::escape;
        let notes: String =
            self.notes.iter().map(|note| format!("<li>{}</li>", escape(note))).collect();
        let body = format!(
            "<h1>Goals, measured</h1>\n<p class=sub>uringmq {}</p>\n<p>{}</p>\n<div \
             class=scroll>{}</div>\n<p class=how>Figures are the median round; the spread is \
             lowest to highest. Ours and yardstick: medians of the absolute figures, µs or per \
             second.</p>\n<h2>Notes of this run</h2>\n<ul>{notes}</ul>\n{}{}",
            env!("CARGO_PKG_VERSION"),
            escape(&self.verdict()),
            self.grid().html(escape),
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
        let met = self.goals.iter().filter(|goal| goal.is_met()).count();
        let faults = match self.faults {
            0 => String::new(),
            faults => format!(" VERIFICATION FAILED: {faults} messages."),
        };
        let notes: String = self.notes.iter().map(|note| format!(" - {note}\n")).collect();
        format!(
            " {met} of {} goals met. Figures are the median round; the spread is lowest to \
             highest.\n Ours and yardstick: medians of the absolute figures, us or per \
             second.{faults}\n{notes}",
            self.goals.len()
        )
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
        let mut goals = Goals::new("uringmq bench --goals", Environment::default());
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
    }
}
