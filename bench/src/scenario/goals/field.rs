//! A node for each way to wait, on the same CPU; all but the one that is measured are stopped.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::load::{self, Dialect, Load, Messages, Outcome};
use crate::report::{Ack, Waiting};
use crate::scenario::comparison::{run_on, topic_name};
use crate::scenario::site::{Broker, Scratch, Stopped};
use crate::scenario::yardsticks::Yardsticks;
use crate::scenario::{BenchError, Options};
use crate::yardstick::{Child, ServerSpec, Wait};

/// A node that is stopped unless it is measured.
struct Resting {
    // Before the node: a stopped child is killed as well as any other, but not a missing one.
    stopped: Option<Stopped>,
    broker: Broker,
}

/// Where the goals are measured.
pub(super) struct Field<'a> {
    pub(super) options: &'a Options,
    pub(super) sleeping: Yardsticks,
    pub(super) spinning: Yardsticks,
    pub(super) place: PathBuf,
    nodes: Vec<(Waiting, Resting)>,
    bare: Child,
    stop: &'a AtomicBool,
    topics: u32,
    _scratch: Scratch,
}

impl<'a> Field<'a> {
    pub(super) fn start(
        options: &'a Options,
        place: &Path,
        stop: &'a AtomicBool,
    ) -> Result<Self, BenchError> {
        let scratch = Scratch::new(place, false)?;
        let sleeping = Yardsticks::start(options, scratch.path(), Wait::Sleeping)?;
        let spinning = Yardsticks::start(options, scratch.path(), Wait::Spinning)?;
        let mut args = vec!["yardstick".to_owned()];
        args.extend(ServerSpec::bare(Wait::Sleeping, options.broker_cpu()).to_args());
        let bare = Child::spawn(&options.exe, &args)?;
        let mut nodes = Vec::new();
        for waiting in [Waiting::Sleep, Waiting::Hybrid, Waiting::Poll] {
            let broker = Broker::start(options, waiting, place)?;
            broker.settle()?;
            nodes.push((waiting, Resting { stopped: Some(broker.stopped()), broker }));
        }
        let place = place.to_path_buf();
        let topics = 0;
        Ok(Self {
            options,
            sleeping,
            spinning,
            place,
            nodes,
            bare,
            stop,
            topics,
            _scratch: scratch,
        })
    }

    /// What its nodes have warned of, each thing once.
    pub(super) fn warnings(&self) -> BTreeSet<String> {
        self.nodes.iter().flat_map(|(_, node)| node.broker.warnings()).collect()
    }

    /// A load with one producer and one request in flight, closed loop, on 1 KiB messages.
    pub(super) fn load(&self, ack: Ack, producers: u32, messages: &Arc<Messages>) -> Load {
        let mut load = self.options.load(ack, producers, messages);
        (load.batch, load.in_flight, load.rate_per_s, load.consumers) = (1, 1, None, 0);
        load.verify = false;
        load
    }

    /// Runs a load on the node that waits like this, on a new topic, while all others are stopped.
    pub(super) fn run(&mut self, waiting: Waiting, load: Load) -> Result<Outcome, BenchError> {
        let topic = topic_name(self.topics);
        self.topics += 1;
        let stop = self.stop;
        let node = self.nodes.iter_mut().find(|(of, _)| *of == waiting);
        let Some((_, node)) = node else {
            return Err(BenchError::Failed(format!("no node waits like {waiting}")));
        };
        node.stopped = None;
        let outcome = run_on(&node.broker, &topic, Load { waiting, ..load }, stop, "goals");
        // A write in flight while it is stopped would look like one that took seconds.
        node.broker.settle()?;
        node.stopped = Some(node.broker.stopped());
        outcome
    }

    /// Runs a load on the bare server.
    pub(super) fn run_bare(&self, load: Load) -> Result<Outcome, BenchError> {
        let load = Load {
            addr: self.bare.addr(),
            dialect: Dialect::Bare,
            waiting: Waiting::Sleep,
            broker_pid: Some(self.bare.pid()),
            ..load
        };
        load::run(&load, self.stop).map_err(BenchError::load("the bare server"))
    }

    pub(super) fn time(&self) -> Duration {
        self.options.measure
    }
}
