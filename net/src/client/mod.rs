//! The client library: one connection, many requests in flight, typed answers.
//!
//! Reading order: `connection` (the tasks), `in_flight` (correlation, bounds), `admin` (one method per operation),
//! `find`, `producer`, `idempotent`, `consumer`, `groups`, `message`.
//!
//! Invariants: what is in flight is bounded in requests and in bytes, and a request that would
//! pass the bound waits; dropping any future of this module leaves the connection usable (a
//! request already sent stays in flight until its reply comes, which is then dropped); when the
//! connection is lost, every future waiting on it ends with an error.
//!
//! Deliberately absent: reconnecting and retrying (whether a lost produce may be repeated is the
//! caller's to know, unless it is an [`IdempotentProducer`]'s), more than one connection per
//! [`Client`], sharing out queues among a group's consumers, compression.

mod admin;
mod config;
mod connection;
mod consumer;
mod error;
mod find;
mod groups;
mod idempotent;
mod in_flight;
mod message;
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
pub use config::ClientConfig;
pub use connection::Node;
pub use consumer::{Consumer, ConsumerBuilder, PollError, StartAt};
pub use error::ClientError;
pub use groups::{CommittedOffset, GroupInfo};
pub use idempotent::IdempotentProducer;
pub use message::{Header, Message};
pub use producer::{Ack, Partitioner, Producer, ProducerBuilder, Record, Sent};

pub use crate::wire::{AckLevel, ErrorCode, ListKind, NewOffset, Retention, Timings, TopicAlter};

use connection::Connection;

/// A connection to a node. Clones share it; it closes when the last clone, and the last future
/// that waits on it, is gone.
#[derive(Clone, Debug)]
pub struct Client {
    connection: Arc<Connection>,
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
        let connection = Connection::open(address, config).await?;
        Ok(Self { connection: Arc::new(connection) })
    }

    /// What the node said about itself.
    #[must_use]
    pub fn node(&self) -> &Node {
        self.connection.node()
    }

    /// Another connection to the same node, with the same configuration.
    async fn connect_again(&self) -> Result<Self, ClientError> {
        let (address, config) = self.connection.dialed();
        Self::connect_with(address, config).await
    }

    /// Waits until everything requested so far, one-way records among it, was handed to the
    /// operating system.
    pub async fn flush(&self) -> Result<(), ClientError> {
        self.connection.flush().await
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
