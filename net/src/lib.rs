//! The network side of uringmq: the wire format, the node that serves it, and the client library.
//!
//! Reading order: [`wire`] (frames, pure) -> [`server`] (reactors, connections) -> [`native`] (the
//! native door) -> [`node`] (all of it behind one port); [`client`] is the other side, for any
//! tokio service.

pub mod client;
pub mod loopback;
pub mod native;
pub mod node;
pub mod server;
pub mod wire;
