//! Yardsticks: what the raw device and the raw socket do on this machine, in this hour.
//!
//! | name | what | where |
//! |---|---|---|
//! | D(b,q) | durable writes of block b at depth q into written space | [`device`] |
//! | W, R | direct sequential write and read, 256 KiB, depth 8 | [`device`] |
//! | cold reads | scattered extents that are not in the page cache, sent to a socket | [`cold`] |
//! | raw reads | direct reads of 4 KiB at random places of files | [`random_reads`] |
//! | plain reader | files read in order with direct reads and sent to a socket | [`read_and_send`] |
//! | T | TCP stream on loopback | [`stream`] |
//! | E | TCP echo on loopback | [`echo`] |
//! | ED | a server that answers one frame after one blocking durable 4 KiB write | [`echo_durable`] |
//! | canary | echo + durable write, 200 times a second beside a run | [`canary`] |
//!
//! Reading order: [`probe`] (what all measurements share), [`device`], [`cold`], [`echo`], [`echo_durable`],
//! [`server`], [`child`] and [`said`] (where the servers run, and what they say), [`canary`], [`machine`] and [`process`].
//!
//! Invariants: a waiter that spins yields the CPU each turn (on a device without FUA a durable
//! write finishes in a kernel worker, and a spinner without manners delays it by a scheduler
//! slice); a measurement runs on a thread of its own, so pinning and timer slack end with it.

pub mod canary;
pub mod child;
pub mod cold;
pub mod device;
pub mod echo;
pub mod echo_durable;
mod error;
pub mod machine;
pub mod probe;
pub mod process;
pub mod random_reads;
pub mod read_and_send;
mod ring;
pub mod said;
pub mod server;
mod space;
pub mod stream;

pub use child::Child;
pub use error::YardstickError;
pub use probe::{Measured, Probe, Wait};
pub use said::Said;
pub use server::{InThread, Kind, ServerSpec, serve};
pub use space::Space;
