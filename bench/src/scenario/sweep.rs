//! A rate sweep: from an idle node to one that cannot keep up, in open loop, and where the knee is.
//!
//! First the capacity is found in a closed loop. Then rates around it are offered, low to high and
//! back in turn; each counts latencies from when a request was due. The knee is the highest rate
//! that, like all below it, is *good*: the p99 stays within the bound, what was offered was
//! acknowledged, everything due was sent. A bisection between the last good rate and the first bad
//! one makes it sharper.
//!
//! Invariant: a rate at which the generator did not keep its own schedule is neither good nor the
//! broker's fault; the knee is then a lower bound, and said to be one.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::comparison::{run_on, topic_name};
use super::progress::Progress;
use super::site::Broker;
use super::summary::{merged, schedule};
use super::{BenchError, Options, tuning};
use crate::load::{Load, Messages, Outcome};
use crate::report::grid::{Align, Grid, number, number_or_empty, rate};
use crate::report::html::{self, sweep as page};
use crate::report::{Ack, Environment, Latency, Schedule, caveats, table};

/// Acknowledged of offered, at least.
const KEPT_SHARE: f64 = 0.98;
/// The highest rate that is offered, of the capacity.
const OFFERED_MAX: f64 = 1.1;

/// What is swept.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// When the broker acknowledges.
    pub ack: Ack,
    /// Connections that produce.
    pub producers: u32,
    /// The bound of the p99.
    pub bound: Duration,
    /// Rates between zero and a little above the capacity.
    pub steps: u32,
    /// Rates tried between the last good and the first bad one.
    pub refine: u32,
    /// The highest rate offered, in messages a second, instead of what a closed loop reaches.
    pub rate_max: Option<f64>,
}

/// One rate.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// Messages a second that were due.
    pub offered_per_s: f64,
    /// Messages a second that were acknowledged, in the median round.
    pub achieved_per_s: f64,
    /// From when requests were due.
    pub latency: Latency,
    /// Whether the generator sent when it meant to.
    pub schedule: Schedule,
    /// Why it is not good; `None`: it is.
    pub trouble: Option<Trouble>,
}

/// Why a rate is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// The generator was late itself.
    Generator,
    /// Less was acknowledged than offered.
    Rate,
    /// The p99 was above the bound.
    Latency,
}

impl Trouble {
    fn words(self) -> &'static str {
        match self {
            Self::Generator => "the generator was late",
            Self::Rate => "did not keep up",
            Self::Latency => "p99 above the bound",
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    /// The command that does it again.
    pub command: String,
    /// Start, in seconds since 1970.
    pub started_unix_s: u64,
    /// Where it ran.
    pub environment: Environment,
    /// When the broker acknowledged.
    pub ack: Ack,
    /// Connections that produced.
    pub producers: u32,
    /// Bytes of a message.
    pub message_bytes: u32,
    /// Messages of a request.
    pub batch_messages: u32,
    /// What a closed loop reached; `None`: it was not asked.
    pub capacity_per_s: Option<f64>,
    /// The bound of the p99.
    pub bound_us: f64,
    /// By rate.
    pub points: Vec<Point>,
    /// The highest good rate below the first bad one.
    pub knee_per_s: Option<f64>,
    /// The knee was ended by the generator or by the highest rate offered: it may be higher.
    pub knee_is_lower_bound: bool,
    /// What must be known before any figure is looked at.
    pub caveats: Vec<String>,
    /// Remarks.
    pub notes: Vec<String>,
}

/// Sweeps. Stops soon after `stop` is set, with what was measured until then.
///
/// # Errors
/// When something cannot be started or measured.
pub fn sweep(
    options: &Options,
    plan: Plan,
    work: &Path,
    stop: &AtomicBool,
    quiet: bool,
) -> Result<Sweep, BenchError> {
    options.check()?;
    if plan.steps == 0 || plan.bound.is_zero() {
        return Err(BenchError::Options("a sweep needs a step, and a bound above zero".to_owned()));
    }
    Broker::check_running(options.connect)?;
    let mut progress = Progress::open(quiet);
    progress.step("starting");
    let place = options.data_dir.as_deref().unwrap_or(work);
    let environment = tuning::environment(place, options.connect.is_none());
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let caveats = caveats::of_conditions(false, None);
    let mut notes = Vec::new();
    let broker = match options.connect {
        Some(addr) => Broker::running(addr),
        None => Broker::start(options, options.waiting, place)?,
    };
    let messages = options.messages()?;
    let mut runner = Runner { options, plan, broker, messages, stop, progress, topics: 0 };
    let capacity_per_s = match plan.rate_max {
        Some(_) => None,
        None => Some(runner.capacity()?),
    };
    let highest = plan.rate_max.unwrap_or(capacity_per_s.unwrap_or(0.0) * OFFERED_MAX);
    let mut points = runner.steps(highest)?;
    for _ in 0..plan.refine {
        let Some(between) = between(&points) else { break };
        points.extend(runner.offer(&[between])?);
        points.sort_by(|a, b| a.offered_per_s.total_cmp(&b.offered_per_s));
    }
    if stop.load(Ordering::Relaxed) {
        notes.push("interrupted: what was not measured is missing".to_owned());
    }
    notes.extend(runner.broker.warnings());
    let (knee_per_s, knee_is_lower_bound) = knee(&points);
    Ok(Sweep {
        command: options.command.clone(),
        started_unix_s: started.as_secs(),
        environment,
        ack: plan.ack,
        producers: plan.producers,
        message_bytes: options.message_bytes,
        batch_messages: options.batch,
        capacity_per_s,
        bound_us: plan.bound.as_secs_f64() * 1e6,
        points,
        knee_per_s,
        knee_is_lower_bound,
        caveats,
        notes,
    })
}

struct Runner<'a> {
    options: &'a Options,
    plan: Plan,
    broker: Broker,
    messages: Arc<Messages>,
    stop: &'a AtomicBool,
    progress: Progress,
    topics: u32,
}

impl Runner<'_> {
    fn run(&mut self, rate_per_s: Option<f64>) -> Result<Outcome, BenchError> {
        self.broker.settle()?;
        let load = self.options.load(self.plan.ack, self.plan.producers, &self.messages);
        let load = Load { rate_per_s, timings: false, ..load };
        self.topics += 1;
        run_on(&self.broker, &topic_name(self.topics), load, self.stop, "the sweep")
    }

    fn capacity(&mut self) -> Result<f64, BenchError> {
        self.progress.step("as fast as it goes (closed loop)");
        Ok(self.run(None)?.messages_per_s())
    }

    /// Equal steps up to the highest rate.
    fn steps(&mut self, highest: f64) -> Result<Vec<Point>, BenchError> {
        let steps = self.plan.steps;
        let rates: Vec<f64> =
            (1..=steps).map(|step| highest * f64::from(step) / f64::from(steps)).collect();
        self.offer(&rates)
    }

    /// Offers each rate in every round; every other round backwards.
    fn offer(&mut self, rates: &[f64]) -> Result<Vec<Point>, BenchError> {
        let mut all: Vec<Vec<Outcome>> = rates.iter().map(|_| Vec::new()).collect();
        for round in 0..self.options.rounds {
            let mut order: Vec<usize> = (0..rates.len()).collect();
            if !round.is_multiple_of(2) {
                order.reverse();
            }
            for at in order {
                if self.stop.load(Ordering::Relaxed) {
                    break;
                }
                let offered = rates[at];
                let rounds = self.options.rounds;
                let what = format!("{} messages/s, round {} of {rounds}", rate(offered), round + 1);
                self.progress.step(&what);
                all[at].push(self.run(Some(offered))?);
            }
        }
        let measured = rates.iter().zip(&all).filter(|(_, rounds)| !rounds.is_empty());
        Ok(measured.map(|(offered, rounds)| point(*offered, rounds, self.plan.bound)).collect())
    }
}

fn point(offered_per_s: f64, rounds: &[Outcome], bound: Duration) -> Point {
    let latency = merged(rounds.iter().map(|round| &round.latency));
    let schedule = schedule(rounds, &latency);
    let latency = Latency::of(&latency);
    let rates = rounds.iter().map(Outcome::messages_per_s).collect();
    let achieved_per_s = super::summary::median(rates);
    let is_late = schedule.spoilt_from_percent.is_some_and(|percent| percent <= 99.0);
    let trouble = if is_late {
        Some(Trouble::Generator)
    } else if achieved_per_s < offered_per_s * KEPT_SHARE || schedule.unsent > 0 {
        Some(Trouble::Rate)
    } else if latency.p99_us > bound.as_secs_f64() * 1e6 {
        Some(Trouble::Latency)
    } else {
        None
    };
    Point { offered_per_s, achieved_per_s, latency, schedule, trouble }
}

/// The highest rate below the first bad one, and whether the knee may lie higher.
fn knee(points: &[Point]) -> (Option<f64>, bool) {
    let bad = points.iter().position(|point| point.trouble.is_some());
    let good = points.get(..bad.unwrap_or(points.len())).unwrap_or_default();
    let ended = bad.and_then(|at| points.get(at)).and_then(|point| point.trouble);
    let open = matches!(ended, None | Some(Trouble::Generator));
    (good.last().map(|point| point.offered_per_s), open)
}

/// A rate between the last good and the first bad one.
fn between(points: &[Point]) -> Option<f64> {
    let bad = points.iter().find(|point| point.trouble.is_some())?;
    // Where the generator is late, other rates say nothing either.
    let is_broker = bad.trouble != Some(Trouble::Generator);
    is_broker.then(|| f64::midpoint(knee(points).0.unwrap_or(0.0), bad.offered_per_s))
}

impl Sweep {
    /// The knee in words.
    #[must_use]
    pub fn sentence(&self) -> String {
        let bound = number(self.bound_us / 1e3);
        let least = if self.knee_is_lower_bound { "at least " } else { "" };
        match self.knee_per_s {
            Some(knee) => format!(
                "The knee is at {least}{} messages/s: up to there the {} p99 stays within {bound} \
                 ms and everything offered is acknowledged.",
                rate(knee),
                self.ack
            ),
            None if self.knee_is_lower_bound => {
                "At the lowest rate the generator itself was late: other programs keep this machine \
                 too busy to say anything about the broker."
                    .to_owned()
            }
            None => format!(
                "No rate that was offered had a {} p99 within {bound} ms and all of it acknowledged: \
                 offer less (--max-rate), or allow more (--p99).",
                self.ack
            ),
        }
    }

    /// The table.
    #[must_use]
    pub fn grid(&self) -> Grid {
        use Align::{Left, Right};
        let mut grid = Grid::new(&[
            ("offered/s", Right),
            ("acknowledged/s", Right),
            ("p50", Right),
            ("p90", Right),
            ("p99", Right),
            ("p99.9", Right),
            ("max", Right),
            ("", Left),
        ]);
        for point in &self.points {
            let latency = &point.latency;
            let is_knee = Some(point.offered_per_s) == self.knee_per_s;
            let words = point.trouble.map_or(if is_knee { "<- knee" } else { "" }, Trouble::words);
            grid.row(vec![
                rate(point.offered_per_s),
                rate(point.achieved_per_s),
                number(latency.p50_us),
                number(latency.p90_us),
                number(latency.p99_us),
                number_or_empty(latency.p999_us),
                number(latency.max_us),
                words.to_owned(),
            ]);
        }
        grid
    }

    /// As text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.grid().text();
        if let Some(capacity) = self.capacity_per_s {
            text += &format!(" A closed loop reached {} messages/s. ", rate(capacity));
        }
        text += "Latencies in us, from when requests were due.\n";
        text += &format!(" {}\n", self.sentence());
        for caveat in &self.caveats {
            text += &format!(" ! {caveat}\n");
        }
        for note in &self.notes {
            text += &format!(" - {note}\n");
        }
        text
    }

    /// As a page that opens offline.
    #[must_use]
    pub fn html(&self) -> String {
        let lines: Vec<page::Point> = self
            .points
            .iter()
            .map(|point| page::Point {
                offered_per_s: point.offered_per_s,
                p50_us: point.latency.p50_us,
                p99_us: point.latency.p99_us,
                p999_us: point.latency.p999_us,
                is_good: point.trouble.is_none(),
            })
            .collect();
        let figure = page::figure(&lines, self.bound_us, self.knee_per_s);
        let notes: String = self
            .notes
            .iter()
            .map(|note| format!("<li>{}</li>", html::escape(&html::micro(note))))
            .collect();
        let body = format!(
            "<h1>Latency by rate</h1>\n<p class=sub>{}: {} acknowledgements, {}, {} B \
             messages, {} in a request</p>\n{}<p>{}</p>\n<figure>{figure}</figure>\n<div \
             class=scroll>{}</div>\n<p class=how>Open loop: latencies in µs from when requests were \
             due. Hollow points are rates that are not good.</p>\n<ul>{notes}</ul>\n{}{}",
            html::when(&self.environment, self.started_unix_s),
            self.ack,
            table::producers(self.producers),
            self.message_bytes,
            self.batch_messages,
            html::banner(&self.caveats),
            html::escape(&self.sentence()),
            self.grid().html(html::escape),
            html::machine(&self.environment),
            html::command(&self.command)
        );
        html::page("uringmq: latency by rate", page::COLOURS, &body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::sample::latency;

    fn at(offered_per_s: f64, trouble: Option<Trouble>) -> Point {
        let schedule = Schedule {
            late_p50_us: 0.0,
            late_p99_us: 0.0,
            late_max_us: 0.0,
            unsent: 0,
            spoilt_from_percent: None,
        };
        let latency = latency(100);
        Point { offered_per_s, achieved_per_s: offered_per_s, latency, schedule, trouble }
    }

    #[test]
    fn the_knee_is_the_last_good_rate_before_the_first_bad_one() {
        let points = [at(1e3, None), at(2e3, None), at(3e3, Some(Trouble::Latency)), at(4e3, None)];
        assert_eq!(knee(&points), (Some(2e3), false));
        assert_eq!(between(&points), Some(2.5e3));
    }

    #[test]
    fn a_generator_that_is_late_or_rates_that_end_leave_the_knee_open() {
        let points = [at(1e3, None), at(2e3, Some(Trouble::Generator))];
        assert_eq!((knee(&points), between(&points)), ((Some(1e3), true), None));
        assert_eq!(knee(&points[..1]), (Some(1e3), true));
        assert_eq!(between(&points[..1]), None);
        assert_eq!(knee(&[at(1e3, Some(Trouble::Rate))]), (None, false));
    }

    #[test]
    fn page_and_text_say_where_the_knee_is() {
        let sweep = Sweep {
            command: "uringmq bench sweep".into(),
            started_unix_s: 1_767_225_600,
            environment: Environment::default(),
            ack: Ack::Durable,
            producers: 16,
            message_bytes: 1024,
            batch_messages: 1,
            capacity_per_s: Some(3e3),
            bound_us: 10_000.0,
            points: vec![at(1e3, None), at(2e3, Some(Trouble::Rate))],
            knee_per_s: Some(1e3),
            knee_is_lower_bound: false,
            caveats: vec!["a <caveat>".into()],
            notes: vec!["a <note>".into()],
        };
        let text = sweep.text();
        assert!(text.contains("The knee is at 1,000 messages/s"), "{text}");
        assert!(text.contains("<- knee") && text.contains("did not keep up"), "{text}");
        let page = sweep.html();
        assert!(page.contains("<svg") && page.contains("a &lt;note&gt;"), "{page}");
        assert!(
            page.contains("2026-01-01T00:00:00Z") && page.contains("a &lt;caveat&gt;"),
            "{page}"
        );
    }
}
