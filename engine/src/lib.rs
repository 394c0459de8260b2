//! The storage engine and the messaging semantics of uringmq: knows no socket and no protocol.
//!
//! Reading order, from the device up: [`io`] (the seam to the machine), [`log`] (one append-only
//! log per shard, group commit), [`index`] (where a queue's records lie), [`shard`] (the queues of
//! one log as a synchronous state machine), [`broker`] (topics, and requests to the shards that
//! own them). [`batch`] is the format everything carries; [`limits`] holds every maximum; [`audit`]
//! looks at a stopped shard's files; [`device`] is what was measured of the device beneath.
//!
//! A lower module never names a higher one.

pub mod audit;
pub mod batch;
pub mod broker;
pub mod data_dir;
pub mod device;
pub mod index;
pub mod io;
pub mod level;
pub mod limits;
pub mod log;
pub mod shard;
pub mod stage;
