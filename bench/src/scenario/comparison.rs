//! The flush-mode comparison: what each ack level costs, for few and for many producers.
//!
//! One node serves all of it. Every round measures the yardsticks and then each cell (an ack level
//! with a number of producers, on a topic of its own); every other round runs backwards.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use net::wire::ErrorCode;

use super::progress::Progress;
use super::site::{Broker, Scratch};
use super::summary::{self, Cell};
use super::yardsticks::Yardsticks;
use super::{BenchError, Options, tuning};
use crate::load::{self, Load, LoadError, Messages, Outcome};
use crate::report::model::REPORT_VERSION;
use crate::report::{Ack, CanarySummary, Ratio, Report, Run, caveats, table};
use crate::yardstick::Measured;
use crate::yardstick::canary::Canary;

const D_BYTES: usize = 4096;
/// Yardsticks are paced only up to this: faster than this no disk sleeps between writes.
const PACE_PER_S_MAX: f64 = 5_000.0;
/// Nodes started again in a run whose device stalled for longer than the flush deadline.
const RESTARTS_MAX: usize = 2;

/// The rounds of everything measured so far.
struct Rounds {
    d: Vec<Measured>,
    e: Vec<Measured>,
    ed: Vec<Measured>,
    cells: Vec<Vec<Outcome>>,
}

/// Runs the comparison. Stops soon after `stop` is set, with what was measured until then.
///
/// # Errors
/// When something cannot be started or measured.
pub fn compare(
    options: &Options,
    work: &Path,
    stop: &AtomicBool,
    quiet: bool,
) -> Result<Report, BenchError> {
    options.check()?;
    Broker::check_running(options.connect)?;
    let messages = options.messages()?;
    let cells = cells(options, &messages);
    let steps = u64::from(options.rounds) * (3 + cells.len() as u64) + 1;
    let mut progress = Progress::new(steps, quiet);
    progress.step("starting");
    let place = options.data_dir.as_deref().unwrap_or(work);
    let scratch = Scratch::new(place, false)?;
    let environment = tuning::environment(scratch.path(), options.connect.is_none());
    let caveats = caveats::of_conditions(options.smoke, Some(options.rounds));
    let yardsticks = Yardsticks::start(options, scratch.path(), options.yardstick_wait())?;
    let broker = match options.connect {
        Some(addr) => Broker::running(addr),
        None => Broker::start(options, options.waiting, place)?,
    };
    broker.settle()?;
    let canary = options.canary.then(|| Canary::start(scratch.path())).transpose()?;
    let mut comparison = Comparison {
        options,
        messages,
        cells,
        yardsticks,
        broker,
        progress,
        stop,
        rounds: Rounds { d: Vec::new(), e: Vec::new(), ed: Vec::new(), cells: Vec::new() },
        topics: 0,
        place,
        restarts: Vec::new(),
    };
    comparison.rounds.cells.resize_with(comparison.cells.len(), Vec::new);
    for round in 0..options.rounds {
        comparison.round(round)?;
    }
    let said = comparison.broker.warnings();
    let mut report = comparison.report(environment);
    report.notes.extend(said);
    report.caveats = caveats;
    if let Some(canary) = canary {
        let saw = CanarySummary::of(&canary.stop()?);
        report.runs.iter_mut().for_each(|run| saw.mark(run));
        report.canary = Some(saw);
    }
    Ok(report)
}

fn cells(options: &Options, messages: &Messages) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &ack in &options.modes {
        for &producers in &options.producers {
            cells.push(Cell {
                name: format!("{ack}, {}", table::producers(producers)),
                ack,
                waiting: options.waiting,
                producers,
                message_bytes: if options.input.is_some() {
                    messages.bytes_mean()
                } else {
                    options.message_bytes
                },
            });
        }
    }
    cells
}

struct Comparison<'a> {
    options: &'a Options,
    messages: Arc<Messages>,
    cells: Vec<Cell>,
    yardsticks: Yardsticks,
    broker: Broker,
    progress: Progress,
    stop: &'a AtomicBool,
    rounds: Rounds,
    topics: u32,
    /// Where nodes have their data.
    place: &'a Path,
    /// Why a further node had to be started.
    restarts: Vec<String>,
}

impl Comparison<'_> {
    fn round(&mut self, round: u32) -> Result<(), BenchError> {
        let name = format!("round {} of {}", round + 1, self.options.rounds);
        let mut order: Vec<usize> = (0..self.cells.len()).collect();
        if round.is_multiple_of(2) {
            self.measure_yardsticks(&name)?;
        } else {
            order.reverse();
        }
        for cell in order {
            if self.stopped() {
                return Ok(());
            }
            self.progress.step(&format!("{}, {name}", self.cells[cell].name));
            let outcome = self.measure_cell(cell)?;
            self.rounds.cells[cell].push(outcome);
        }
        if !round.is_multiple_of(2) {
            self.measure_yardsticks(&name)?;
        }
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn measure_yardsticks(&mut self, round: &str) -> Result<(), BenchError> {
        if self.stopped() {
            return Ok(());
        }
        self.broker.settle()?;
        let _stopped = self.broker.stopped();
        let (pace, time) = (pace(self.options), self.options.measure);
        let bytes = self.options.message_bytes.saturating_mul(self.options.batch);
        self.progress.step(&format!("D(4K,1), {round}"));
        self.rounds.d.push(self.yardsticks.durable((D_BYTES, 1), None, pace, time)?);
        self.progress.step(&format!("E, {round}"));
        self.rounds.e.push(self.yardsticks.echo(bytes, pace, time)?);
        self.progress.step(&format!("ED, {round}"));
        self.rounds.ed.push(self.yardsticks.echo_durable(bytes, pace, time)?);
        Ok(())
    }

    fn measure_cell(&mut self, cell: usize) -> Result<Outcome, BenchError> {
        loop {
            let Cell { ack, producers, ref name, .. } = self.cells[cell];
            let load = self.options.load(ack, producers, &self.messages);
            self.topics += 1;
            match run_on(&self.broker, &topic_name(self.topics), load, self.stop, name) {
                Err(error) if gave_up(&error) && self.may_restart() => {
                    self.restarts.push(format!(
                        "{name}: measured again on a fresh node, for the first one gave up: {error}"
                    ));
                    self.broker = Broker::start(self.options, self.options.waiting, self.place)?;
                    self.broker.settle()?;
                }
                Err(error) => return Err(self.broker.explained(error)),
                done => return done,
            }
        }
    }

    /// A disk that stalls again and again is a result, too.
    fn may_restart(&self) -> bool {
        self.broker.pid().is_some() && self.restarts.len() < RESTARTS_MAX
    }

    fn report(self, environment: crate::report::Environment) -> Report {
        let wait = self.options.yardstick_wait().word();
        let pace = pace(self.options).map(|pace| 1.0 / pace.as_secs_f64());
        let yardsticks =
            [("D(4K,1)", &self.rounds.d), ("E", &self.rounds.e), ("ED", &self.rounds.ed)]
                .into_iter()
                .filter_map(|(name, rounds)| summary::yardstick(name, wait, pace, rounds))
                .collect();
        let mut notes = vec![place_note(self.options)];
        notes.extend_from_slice(&self.restarts);
        if environment.file_system == "tmpfs" {
            notes.push("the data is in memory (tmpfs): nothing here says what a disk does".into());
        }
        if let Some((lines, left_out)) = self.messages.input() {
            notes.push(format!("messages are {lines} lines of real input, in turn"));
            if left_out > 0 {
                notes.push(format!("{left_out} bytes of files were left out: over 1 GiB of input"));
            }
        }
        if self.stopped() {
            notes.push("interrupted: what was not measured is missing".to_owned());
        }
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Report {
            version: REPORT_VERSION,
            command: self.options.command.clone(),
            started_unix_s: started.as_secs(),
            environment,
            yardsticks,
            runs: (0..self.cells.len()).filter_map(|cell| self.run(cell)).collect(),
            canary: None,
            caveats: Vec::new(),
            notes,
        }
    }

    fn run(&self, cell: usize) -> Option<Run> {
        let rounds = &self.rounds.cells[cell];
        rounds.first()?;
        Some(summary::run(&self.cells[cell], self.options, rounds, self.ratio(cell)))
    }

    /// One producer is compared with the machine's round trip, many with `memory`: what does the
    /// disk cost?
    fn ratio(&self, cell: usize) -> Option<Ratio> {
        let it = &self.cells[cell];
        let rounds = &self.rounds.cells[cell];
        if it.producers == 1 && self.options.in_flight == 1 {
            let (name, yardstick) = match it.ack {
                Ack::None | Ack::Memory => ("E", &self.rounds.e),
                Ack::Written | Ack::Durable => ("ED", &self.rounds.ed),
            };
            let ours = rounds.iter().map(Outcome::p50_us);
            return summary::ratio("p50", name, ours, yardstick.iter().map(Measured::p50_us));
        }
        let memory = self
            .cells
            .iter()
            .position(|other| other.ack == Ack::Memory && other.producers == it.producers)?;
        if memory == cell || self.options.rate_per_s.is_some() {
            return None;
        }
        let ours = rounds.iter().map(Outcome::messages_per_s);
        let theirs = self.rounds.cells[memory].iter().map(Outcome::messages_per_s);
        summary::ratio("rate", "memory", ours, theirs)
    }
}

/// Runs a load on a topic of its own, which is removed again from a node that is not ours.
pub(super) fn run_on(
    broker: &Broker,
    topic: &str,
    load: Load,
    stop: &AtomicBool,
    name: &str,
) -> Result<Outcome, BenchError> {
    let mut control = broker.control()?;
    let created = control.create_topic(topic, load.queues, load.ack);
    let id = created.map_err(BenchError::load(name))?;
    let load = Load { addr: broker.addr(), topics: vec![id], broker_pid: broker.pid(), ..load };
    let outcome = load::run(&load, stop).map_err(BenchError::load(name));
    if broker.pid().is_none() {
        control.delete_topic(topic).map_err(BenchError::load(name))?;
    }
    outcome
}

/// Whether the node stopped writing because its device did not answer in time.
fn gave_up(error: &BenchError) -> bool {
    let BenchError::Load { source: LoadError::Refused { code, .. }, .. } = error else {
        return false;
    };
    matches!(code, ErrorCode::FlushDiskTimeout | ErrorCode::ShardPoisoned)
}

/// A name nobody else uses, even on a node that others use as well.
pub(super) fn topic_name(number: u32) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("bench-{}-{}-{number}", std::process::id(), now.as_millis())
}

/// The time between two operations of a yardstick: that between two requests of the run.
fn pace(options: &Options) -> Option<Duration> {
    let requests_per_s = options.rate_per_s? / f64::from(options.batch);
    (requests_per_s <= PACE_PER_S_MAX).then(|| Duration::from_secs_f64(1.0 / requests_per_s))
}

fn place_note(options: &Options) -> String {
    let rounds = options.rounds;
    let (s, what) = (options.measure.as_secs_f64(), if rounds == 1 { "round" } else { "rounds" });
    if let Some(addr) = options.connect {
        let generator = options.generator_cpu();
        let generator =
            generator.map_or_else(|| "not pinned".into(), |cpu| format!("on CPU {cpu}"));
        return format!(
            "{rounds} {what} of {s:.1} s, interleaved; a node that ran already at {addr}, wherever \
             whoever started it put it; generator {generator}; D and ED were measured on the disk \
             of the reports"
        );
    }
    match (options.broker_cpu(), options.generator_cpu()) {
        (Some(broker), Some(generator)) => format!(
            "{rounds} {what} of {s:.1} s, interleaved; broker on CPU {broker}, generator on CPU \
             {generator}"
        ),
        _ => format!("{rounds} {what} of {s:.1} s, interleaved; nothing is pinned"),
    }
}
