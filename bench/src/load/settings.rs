//! What one run of the generator does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use net::wire::AckLevel;

use super::{LoadError, Messages};
use crate::report::Waiting;

/// Most connections of either kind: one thread serves them all.
pub const LINKS_MAX: u32 = 4096;
/// Most requests outstanding on a connection.
pub const IN_FLIGHT_MAX: u32 = 65_536;

/// Who is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// A uringmq node.
    Native,
    /// The bare yardstick server: it takes the same produce frames, and answers each with 32 bytes
    /// that repeat the frame's head. No hello, no timings, no consumers.
    Bare,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Load {
    /// The broker.
    pub addr: SocketAddr,
    /// What it speaks.
    pub dialect: Dialect,
    /// The topics' ids. Producers and consumers are dealt out to them in turn.
    pub topics: Vec<u32>,
    /// How many queues each has; batches go to them in turn.
    pub queues: u16,
    /// When a request is acknowledged.
    pub ack: AckLevel,
    /// Connections that produce.
    pub producers: u32,
    /// Requests outstanding on each.
    pub in_flight: u32,
    /// Messages of a request.
    pub batch: u32,
    /// What is sent.
    pub messages: Arc<Messages>,
    /// Messages a second over all producers (open loop); `None`: as fast as answers come.
    pub rate_per_s: Option<f64>,
    /// Connections that consume meanwhile, of each topic and subscription; they share out its
    /// queues.
    pub consumers: u32,
    /// How many times each message is consumed.
    pub subscriptions: u32,
    /// Messages carry when they were due (as their key), and the time to their arrival at a
    /// consumer is recorded.
    pub stamps: bool,
    /// Check every message; without consumers, after the run.
    pub verify: bool,
    /// Ask the broker where each request's time went. Costs both sides a little per request.
    pub timings: bool,
    /// How the broker waits: decides how the generator does.
    pub waiting: Waiting,
    /// The CPU of the generator's thread.
    pub cpu: Option<usize>,
    /// Time before anything is recorded.
    pub warm_up: Duration,
    /// Time that is recorded.
    pub measure: Duration,
    /// The broker's process, if its CPU can be read here.
    pub broker_pid: Option<u32>,
}

impl Load {
    /// Are these settings possible?
    ///
    /// # Errors
    /// [`LoadError::Settings`] says what to change.
    pub fn check(&self) -> Result<(), LoadError> {
        let wrong = |text: &str| Err(LoadError::Settings(text.to_owned()));
        if self.producers == 0 || self.producers > LINKS_MAX {
            return wrong("there must be 1 to 4096 producers");
        }
        if self.in_flight == 0 || self.in_flight > IN_FLIGHT_MAX {
            return wrong("there must be 1 to 65536 requests in flight on a connection");
        }
        if self.batch == 0 || self.queues == 0 || self.topics.is_empty() {
            return wrong("a batch needs a message, a topic a queue, and a load a topic");
        }
        if self.consumer_links() > LINKS_MAX {
            return wrong("topics x subscriptions x consumers must be at most 4096 connections");
        }
        if self.verify && (self.topics.len() > 1 || self.subscriptions > 1 || self.stamps) {
            return wrong("what is verified has one topic, one subscription and no time stamps");
        }
        if self.dialect == Dialect::Bare && (self.consumers > 0 || self.verify) {
            return wrong("the bare server keeps nothing that could be consumed");
        }
        if self.rate_per_s.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return wrong("the rate must be above zero");
        }
        Ok(())
    }

    /// Connections that consume, over all topics and subscriptions.
    #[must_use]
    pub fn consumer_links(&self) -> u32 {
        let topics = u32::try_from(self.topics.len()).unwrap_or(u32::MAX);
        self.consumers.saturating_mul(self.subscriptions).saturating_mul(topics)
    }

    /// The topic of this producer.
    #[must_use]
    pub fn topic_of(&self, producer: u32) -> u32 {
        let at = producer as usize % self.topics.len().max(1);
        self.topics.get(at).copied().unwrap_or_default()
    }

    /// Requests a second over all producers, of an open loop.
    #[must_use]
    pub fn requests_per_s(&self) -> Option<f64> {
        self.rate_per_s.map(|rate| rate / f64::from(self.batch))
    }
}
