//! A client's connections to its node: one for everything, or one for each shard, made when they
//! are first needed and made again when they are lost.
//!
//! A node with one shard needs one connection. With several, what concerns a queue goes over a
//! connection that asked for the queue's shard, so that no request crosses from core to core (unless
//! the configuration says that one connection is enough).
//!
//! Invariants: there is at most one living connection a slot, and one attempt at a time to make it;
//! a connection that has ended is never handed out.
//! Absent: waiting and trying again. Who asks knows how long it is worth it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::connection::{Connection, Node};
use super::{ClientConfig, ClientError};
use crate::wire::{Request, RequestHeader};

#[derive(Debug)]
pub(super) struct Links {
    addresses: Vec<SocketAddr>,
    config: ClientConfig,
    /// What the node said when the first connection was made.
    node: Node,
    /// By the shard that was wished for.
    slots: Mutex<HashMap<u16, Arc<Slot>>>,
}

#[derive(Debug, Default)]
struct Slot {
    current: Mutex<Option<Arc<Connection>>>,
    dialing: tokio::sync::Mutex<()>,
}

impl Links {
    /// Makes the first connection.
    pub(super) async fn open(
        addresses: Vec<SocketAddr>,
        config: ClientConfig,
    ) -> Result<Self, ClientError> {
        let first = Connection::open(&addresses, &config, config.shard_wish).await?;
        let node = first.node().clone();
        let slot = Slot { current: Mutex::new(Some(Arc::new(first))), ..Slot::default() };
        let slots = Mutex::new(HashMap::from([(config.shard_wish, Arc::new(slot))]));
        Ok(Self { addresses, config, node, slots })
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    pub(super) fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// The connection for what concerns no queue in particular.
    pub(super) async fn any(&self) -> Result<Arc<Connection>, ClientError> {
        self.wished(self.config.shard_wish).await
    }

    /// The connection for the queues of a shard.
    pub(super) async fn of_shard(&self, shard: u16) -> Result<Arc<Connection>, ClientError> {
        self.wished(self.wish(shard)).await
    }

    /// The same, if there is one already.
    pub(super) fn open_of_shard(&self, shard: u16) -> Option<Arc<Connection>> {
        self.slot(self.wish(shard)).living()
    }

    /// Sends a request that concerns no queue in particular, and waits for its reply.
    pub(super) async fn call(&self, request: &Request<'_>) -> Result<Bytes, ClientError> {
        call(&self.any().await?, request).await
    }

    /// Sends a request that concerns a queue of this shard, and waits for its reply.
    pub(super) async fn call_shard(
        &self,
        shard: u16,
        request: &Request<'_>,
    ) -> Result<Bytes, ClientError> {
        call(&self.of_shard(shard).await?, request).await
    }

    /// Waits until everything requested so far was handed to the operating system.
    pub(super) async fn flush(&self) -> Result<(), ClientError> {
        let slots: Vec<_> = lock(&self.slots).values().map(Arc::clone).collect();
        for slot in slots {
            let connection = lock(&slot.current).clone();
            if let Some(connection) = connection {
                connection.flush().await?;
            }
        }
        Ok(())
    }

    fn wish(&self, shard: u16) -> u16 {
        if self.config.connection_per_shard && self.node.shards > 1 {
            shard
        } else {
            self.config.shard_wish
        }
    }

    async fn wished(&self, wish: u16) -> Result<Arc<Connection>, ClientError> {
        let slot = self.slot(wish);
        if let Some(connection) = slot.living() {
            return Ok(connection);
        }
        let _dialing = slot.dialing.lock().await;
        // Somebody else may have been faster.
        if let Some(connection) = slot.living() {
            return Ok(connection);
        }
        let connection = Connection::open(&self.addresses, &self.config, wish).await?;
        let connection = Arc::new(connection);
        *lock(&slot.current) = Some(Arc::clone(&connection));
        Ok(connection)
    }

    fn slot(&self, wish: u16) -> Arc<Slot> {
        Arc::clone(lock(&self.slots).entry(wish).or_default())
    }
}

impl Slot {
    fn living(&self) -> Option<Arc<Connection>> {
        lock(&self.current).as_ref().filter(|connection| !connection.is_over()).map(Arc::clone)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn call(connection: &Arc<Connection>, request: &Request<'_>) -> Result<Bytes, ClientError> {
    let reply = async { connection.start(RequestHeader::default(), request).await?.await };
    connection.in_time(Duration::ZERO, reply).await?
}
