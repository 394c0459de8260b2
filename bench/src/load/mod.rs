//! The load generator: one thread, direct sockets, the native protocol spoken by hand.
//!
//! It shares the machine with the broker it measures, so it has no async runtime, allocates nothing
//! for a message while it runs, sends everything due on a connection with one call, and yields the
//! CPU whenever it would spin.
//!
//! Reading order: [`settings`] (what to do), `generator` (the loop), `producer` and
//! `consumer` (what happens on a connection), [`tally`] (what is counted), [`verify`] (what a
//! verifying consumer checks). Below them: [`intervals`] (the recorded time in pieces), [`messages`] and `batches` (what is sent), `slots` (requests in flight, and whose fault
//! it is if they are late), [`catch_up`] (a reader that is behind), `link` (a socket), `poller` (how to wait), [`control`] (topics and statistics, off the hot path).
//!
//! Invariants: an open loop's latency counts from the intended send time, and a request that was
//! due but never answered counts with the time it has waited so far; a producer has at most
//! `in_flight` requests outstanding.

mod batches;
pub mod catch_up;
mod consumer;
pub mod control;
mod error;
mod generator;
pub mod intervals;
mod link;
pub mod messages;
mod poller;
mod producer;
pub mod settings;
mod slots;
mod tag_format;
pub mod tally;
pub mod verify;

pub use error::LoadError;
pub use generator::run;
pub use messages::Messages;
pub use settings::{Dialect, Load};
pub use tally::Outcome;
pub use verify::Verifier;
