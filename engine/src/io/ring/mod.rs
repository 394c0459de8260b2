//! The real shell: one io_uring of our own per reactor, and the disk that runs on it.
//!
//! Reading order: `uring` (the ring: setup, reap, park protocol) -> `token` (whose completion
//! is this?) -> `disk` (the shard's directory) -> `plan` and `files` (its descriptors) -> `op` (its small state machines) -> `env`.
//!
//! Invariants: one thread; nothing but [`Ring::wait`] and dropping a disk ever blocks; memory
//! handed to the kernel is owned by the operation until its last completion was reaped.
//! Absent: sockets are only polled here, never read (that is net's business); no retry of a
//! failed write.

pub mod disk;
pub mod env;
mod files;
mod op;
mod plan;
mod token;
pub mod uring;

pub use disk::{DiskLimits, RingDisk};
pub use env::RealEnv;
pub use token::POLL_TOKEN_MAX;
pub use uring::{PollEvents, Ready, Ring, RingConfig, RingError};
