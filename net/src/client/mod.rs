//! The client library: producers, consumers and everything else one asks of a node.
//!
//! Reading order: `links` (the connections), `connection` (a connection's tasks), `in_flight`
//! (correlation, bounds), `admin` (one method per operation), `find`, `producer`, `consumer`, `groups`,
//! `message`, `compression`, `backoff`. Which options give which guarantee:
//! `net/docs/guarantees.md`.
//!
//! Invariants: what is in flight is bounded in requests and in bytes, and a request that would
//! pass the bound waits; dropping any future of this module leaves the client usable (a request
//! already sent stays in flight until its reply comes, which is then dropped); when a connection is
//! lost, every request waiting on it ends with an error, and the next one connects again.
//!
//! Producers and consumers try again by themselves, for as long as they were told; single
//! operations ([`Client::create_topic`] and the like) do not: their caller knows whether to.
//! Deliberately absent: sharing out queues among a group's consumers, TLS.

mod admin;
mod backoff;
mod compression;
mod config;
mod connection;
mod consumer;
mod error;
mod find;
mod groups;
mod in_flight;
mod links;
mod message;
mod produce;
mod producer;
mod progress;
mod queue_reader;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::net::ToSocketAddrs;

pub use admin::{
    NewTopic, NodeCounter, NodeHistogram, NodeStats, TopicDetails, TopicInfo, TopicLayout,
};
pub use backoff::RetryPolicy;
pub use compression::Compression;
pub use config::ClientConfig;
pub use connection::{HTTP_ANSWERED, Node};
pub use consumer::{Consumer, ConsumerBuilder, PollError, StartAt};
pub use error::ClientError;
pub use groups::{CommittedOffset, GroupInfo};
pub use message::{Header, Message};
pub use produce::BatchAck;
pub use producer::{
    Ack, BatchReport, IDEMPOTENT_IN_FLIGHT_MAX, Partitioner, Producer, ProducerBuilder,
    ProducerCounts, ProducerObserver, ProducerStats, Record, Sent,
};

pub use engine::batch::RecordHeader;

pub use crate::wire::{AckLevel, ErrorCode, ListKind, NewOffset, Retention, Timings, TopicAlter};

use links::Links;

/// A node, and the connections to it. Clones share them; they close when the last clone, and the
/// last future that waits on one, is gone.
#[derive(Clone, Debug)]
pub struct Client {
    links: Arc<Links>,
}

impl Client {
    /// Connects and says Hello, with the default configuration.
    pub async fn connect(address: impl ToSocketAddrs) -> Result<Self, ClientError> {
        Self::connect_with(address, ClientConfig::default()).await
    }

    /// Connects and says Hello.
    pub async fn connect_with(
        address: impl ToSocketAddrs,
        config: ClientConfig,
    ) -> Result<Self, ClientError> {
        let looked_up = tokio::net::lookup_host(address).await;
        let addresses = looked_up.map_err(|error| ClientError::Connect { source: error.into() })?;
        let links = Links::open(addresses.collect(), config).await?;
        Ok(Self { links: Arc::new(links) })
    }

    /// What the node said about itself when the first connection was made.
    #[must_use]
    pub fn node(&self) -> &Node {
        self.links.node()
    }

    /// Waits until everything requested so far, one-way records among it, was handed to the
    /// operating system.
    pub async fn flush(&self) -> Result<(), ClientError> {
        self.links.flush().await
    }

    /// Prepares to send records to a topic.
    pub fn producer(&self, topic: impl Into<String>) -> ProducerBuilder {
        ProducerBuilder::new(self.clone(), topic.into())
    }

    /// Prepares to read a topic.
    pub fn consumer(&self, topic: impl Into<String>) -> ConsumerBuilder {
        ConsumerBuilder::new(self.clone(), topic.into())
    }
}
