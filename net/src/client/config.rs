//! What a client may be told before it connects. Every bound of the client is here.

use std::time::Duration;

use crate::wire::SHARD_ANY;
use crate::wire::limits::BATCH_BYTES_MAX;

/// How a [`Client`](super::Client) behaves.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Who this client is, for people looking at the node.
    pub name: String,
    /// The shard on which requests that concern no queue should land; 0xFFFF: any. What concerns a
    /// queue goes to the queue's shard.
    pub shard_wish: u16,
    /// Whether what concerns a queue goes over a connection of its shard's own (with a node of one
    /// shard, there is one connection in any case). Without it the node passes such requests from
    /// thread to thread.
    pub connection_per_shard: bool,
    /// Most requests in flight; further ones wait.
    pub requests_in_flight_max: u32,
    /// Most request bytes in flight; further requests wait. At least one batch always may.
    pub bytes_in_flight_max: u32,
    /// How long connecting and the Hello may take.
    pub connect_timeout: Duration,
    /// How long a reply may take, for the methods that wait for one (a fetch's own waiting time
    /// comes on top). What became of the request is then unknown.
    pub request_timeout: Duration,
    /// Most that a consumer makes of one compressed batch; a larger one is an error. Uncompressed
    /// batches are bounded by the node.
    pub decompressed_bytes_max: u32,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            name: concat!("uringmq-rust/", env!("CARGO_PKG_VERSION")).to_owned(),
            shard_wish: SHARD_ANY,
            connection_per_shard: true,
            requests_in_flight_max: 1024,
            bytes_in_flight_max: 16 * BATCH_BYTES_MAX,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            decompressed_bytes_max: 32 * 1024 * 1024,
        }
    }
}
