//! What cases share: nodes that are stopped while another is measured, loads, and the results.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Size;
use crate::load::control::Control;
use crate::load::{self, Load, Messages, Outcome};
use crate::report::{Ack, Waiting};
use crate::scenario::goals::Goals;
use crate::scenario::goals::model::Bound;
use crate::scenario::options::wire_ack;
use crate::scenario::progress::Progress;
use crate::scenario::site::{Broker, Stopped, warnings};
use crate::scenario::{BenchError, Options};
use crate::yardstick::Said;
use crate::yardstick::process::Usage;

/// A node that stands still unless it is measured.
pub(super) struct Resting {
    // Before the node: a stopped child is killed as well as any other, but not a missing one.
    stopped: Option<Stopped>,
    pub(super) broker: Broker,
}

impl Resting {
    pub(super) fn wake(&mut self) {
        self.stopped = None;
    }

    /// Stops it, once nothing is in flight: a write that waits meanwhile would look slow.
    pub(super) fn rest(&mut self) -> Result<(), BenchError> {
        self.broker.settle()?;
        self.stopped = Some(self.broker.stopped());
        Ok(())
    }
}

/// Where a case is measured.
pub(super) struct Stage<'a> {
    pub(super) options: &'a Options,
    pub(super) size: Size,
    pub(super) place: PathBuf,
    case: u32,
    stop: &'a AtomicBool,
    progress: Progress,
    goals: Goals,
    /// What its nodes say.
    said: RefCell<Vec<Said>>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(
        case: u32,
        options: &'a Options,
        size: Size,
        work: &Path,
        stop: &'a AtomicBool,
        quiet: bool,
    ) -> Self {
        let place = options.data_dir.clone().unwrap_or_else(|| work.to_path_buf());
        let goals = Goals::new(options, &place);
        let progress = Progress::open(quiet);
        Self { options, size, place, case, stop, progress, goals, said: RefCell::default() }
    }

    pub(super) fn step(&mut self, what: &str) {
        self.progress.step(what);
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn note(&mut self, note: String) {
        self.goals.notes.push(note);
    }

    /// A figure that is its own goal.
    pub(super) fn add(&mut self, what: &str, unit: &str, bound: Bound, figure: f64) {
        self.goals.add(self.case, what, unit, bound, figure);
    }

    /// A ratio with its two figures.
    pub(super) fn add_ratio(&mut self, what: (&str, &str), bound: Bound, figures: (f64, f64)) {
        self.goals.add_ratio(self.case, what, bound, figures);
    }

    pub(super) fn finish(mut self) -> Goals {
        if self.stopped() {
            self.goals.notes.push("interrupted: what was not measured is missing".to_owned());
        }
        let said = self.said.take().into_iter().flat_map(|said| warnings(&said));
        self.goals.notes.extend(said.collect::<BTreeSet<_>>());
        self.goals
    }

    /// A node on a fresh directory.
    pub(super) fn node(&self, waiting: Waiting, further: &[&str]) -> Result<Resting, BenchError> {
        let broker = Broker::start_with(self.options, waiting, &self.place, further)?;
        self.said.borrow_mut().extend(broker.said());
        broker.settle()?;
        Ok(Resting { stopped: None, broker })
    }

    /// One producer with one request in flight, closed loop.
    pub(super) fn load(&self, ack: Ack, producers: u32, messages: &Arc<Messages>) -> Load {
        let mut load = self.options.load(ack, producers, messages);
        (load.batch, load.in_flight, load.rate_per_s, load.consumers) = (1, 1, None, 0);
        (load.verify, load.queues) = (false, 1);
        load
    }

    /// Runs a load on topics that are there.
    pub(super) fn run(&self, broker: &Broker, load: Load) -> Result<Outcome, BenchError> {
        let load = Load { addr: broker.addr(), broker_pid: broker.pid(), ..load };
        load::run(&load, self.stop).map_err(BenchError::load("the load"))
    }

    /// The time recorded in each round.
    pub(super) fn time(&self) -> Duration {
        self.options.measure
    }
}

/// Makes a topic.
pub(super) fn topic(
    control: &mut Control,
    name: &str,
    queues: u16,
    ack: Ack,
) -> Result<u32, BenchError> {
    let topic = control.create_topic(name, queues, wire_ack(ack));
    topic.map_err(BenchError::load("making a topic"))
}

/// What a node uses now.
pub(super) fn usage(broker: &Broker) -> Result<Usage, BenchError> {
    let pid = broker.pid().unwrap_or_default();
    Usage::of(pid).map_err(BenchError::dir("reading", "/proc".as_ref()))
}

/// A counter of a node.
pub(super) fn counter(control: &mut Control, name: &str) -> Result<u64, BenchError> {
    let all = control.counters().map_err(BenchError::load("asking the node"))?;
    Ok(all.get(name).copied().unwrap_or(0))
}
