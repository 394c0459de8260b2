//! What was asked for, and what it comes to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use net::wire::AckLevel;

use super::BenchError;
use crate::load::{Load, Messages};
use crate::report::{Ack, Waiting};
use crate::yardstick::Wait;

/// Bytes of the tag that a verifiable message carries as its key.
const TAG_BYTES: u32 = 16;

/// Message bytes of a request.
pub const REQUEST_BYTES_MAX: u32 = 1 << 20;

/// Options of a benchmark; what the command line says, without the command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// Ack levels to compare.
    pub modes: Vec<Ack>,
    /// Numbers of producers to compare.
    pub producers: Vec<u32>,
    /// Bytes of a message.
    pub message_bytes: u32,
    /// Messages of a request.
    pub batch: u32,
    /// Queues of the topic.
    pub queues: u16,
    /// Consumers that read meanwhile.
    pub consumers: u32,
    /// Requests outstanding on each connection.
    pub in_flight: u32,
    /// Messages a second over all producers; `None`: closed loop.
    pub rate_per_s: Option<f64>,
    /// Time recorded in each round.
    pub measure: Duration,
    /// Time before it.
    pub warm_up: Duration,
    /// Rounds.
    pub rounds: u32,
    /// File or directory whose lines are the messages.
    pub input: Option<PathBuf>,
    /// Check every message with a consumer.
    pub verify: bool,
    /// A few seconds, to see that it works: figures mean nothing.
    pub smoke: bool,
    /// Look meanwhile whether the machine itself is slow.
    pub canary: bool,
    /// A running node instead of a child.
    pub connect: Option<SocketAddr>,
    /// How the broker waits.
    pub waiting: Waiting,
    /// Where reports go, each into a directory of its own.
    pub out: PathBuf,
    /// Where the broker's data goes; `None`: beside the report.
    pub data_dir: Option<PathBuf>,
    /// Keep the data.
    pub keep: bool,
    /// Pin broker and generator to a CPU each.
    pub pin: bool,
    /// The executable with the subcommands `serve` and `yardstick`.
    pub exe: PathBuf,
    /// The command line, for the report.
    pub command: String,
}

impl Options {
    /// Are these possible, and do they make sense together?
    ///
    /// # Errors
    /// [`BenchError::Options`] says what to change.
    pub fn check(&self) -> Result<(), BenchError> {
        let wrong = |text: &str| Err(BenchError::Options(text.to_owned()));
        if self.modes.is_empty() || self.producers.is_empty() || self.rounds == 0 {
            return wrong("there must be a mode, a number of producers and a round");
        }
        if self.modes.contains(&Ack::None) {
            return wrong("nothing is acknowledged with `none`, so there is nothing to measure");
        }
        let request_bytes = u64::from(self.message_bytes) * u64::from(self.batch);
        if self.input.is_none() && request_bytes > u64::from(REQUEST_BYTES_MAX) {
            return Err(BenchError::Options(format!(
                "--size x --batch is {request_bytes} bytes, and a request takes up to \
                 {REQUEST_BYTES_MAX}"
            )));
        }
        if let Some(rate) = self.rate_per_s
            && rate * self.measure.as_secs_f64() < f64::from(self.batch)
        {
            return wrong(
                "with so low a --rate no request is due in the recorded time (--duration)",
            );
        }
        if self.verify && self.input.is_none() && self.message_bytes < TAG_BYTES {
            return wrong("a message that can be verified has at least 16 bytes (--size 16)");
        }
        if self.connect.is_some() && self.data_dir.is_some() {
            return wrong("--connect uses a running node: --data-dir means nothing to it");
        }
        Ok(())
    }

    /// The messages: lines of the input, or generated ones. What can be verified carries a tag,
    /// which counts as part of a generated message's size.
    ///
    /// # Errors
    /// When the input cannot be read.
    pub fn messages(&self) -> Result<Arc<Messages>, BenchError> {
        let messages = match &self.input {
            Some(path) => Messages::lines(path).map_err(BenchError::load("reading the input"))?,
            None if self.verify => {
                Messages::generated(self.message_bytes.max(TAG_BYTES) - TAG_BYTES)
            }
            None => Messages::generated(self.message_bytes),
        };
        Ok(Arc::new(messages))
    }

    /// One run of the generator.
    #[must_use]
    pub fn load(&self, ack: Ack, producers: u32, messages: &Arc<Messages>) -> Load {
        Load {
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            dialect: crate::load::Dialect::Native,
            topics: vec![0],
            queues: self.queues,
            ack: wire_ack(ack),
            producers,
            in_flight: self.in_flight,
            batch: self.batch,
            messages: Arc::clone(messages),
            rate_per_s: self.rate_per_s,
            consumers: self.consumers,
            subscriptions: 1,
            stamps: false,
            verify: self.verify,
            timings: true,
            waiting: self.waiting,
            cpu: self.generator_cpu(),
            warm_up: self.warm_up,
            measure: self.measure,
            broker_pid: None,
        }
    }

    /// The broker's CPU; `None`: any.
    #[must_use]
    pub fn broker_cpu(&self) -> Option<usize> {
        self.can_pin().then_some(0)
    }

    /// The generator's CPU; `None`: any.
    #[must_use]
    pub fn generator_cpu(&self) -> Option<usize> {
        self.can_pin().then_some(1)
    }

    fn can_pin(&self) -> bool {
        self.pin && thread::available_parallelism().map_or(1, usize::from) >= 2
    }

    /// The yardstick's way to wait that belongs to the broker's.
    #[must_use]
    pub fn yardstick_wait(&self) -> Wait {
        yardstick_wait(self.waiting)
    }
}

/// A hybrid sleeps for requests, as a sleeper does; only a poller never sleeps.
#[must_use]
pub fn yardstick_wait(waiting: Waiting) -> Wait {
    if waiting == Waiting::Poll { Wait::Spinning } else { Wait::Sleeping }
}

/// The wire's name of an ack level.
#[must_use]
pub fn wire_ack(ack: Ack) -> AckLevel {
    match ack {
        Ack::None => AckLevel::None,
        Ack::Memory => AckLevel::Memory,
        Ack::Written => AckLevel::Written,
        Ack::Durable => AckLevel::Durable,
    }
}
