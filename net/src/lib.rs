//! The network side of uringmq: the wire format, the node that serves it, and the client library.
//!
//! Reading order: [`wire`] (frames, pure) -> [`server`] (reactors, connections, the native door).

pub mod server;
pub mod wire;
