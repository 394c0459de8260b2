//! The benchmark harness: what durability costs on this disk, and where the time goes.
//!
//! Reading order: [`pace`] (when each operation should start), [`yardstick`] (what the raw device
//! and the raw socket do on this machine), [`load`] (the generator), [`scenario`]
//! (what is run, in which order), [`report`] (the data of a run, and the table, plot and
//! JSON made from it). [`tune`] measures a device and chooses what a node does on it.
//!
//! Invariants: a latency of an open-loop run counts from the *intended* start; percentiles are
//! never averaged; a figure of the broker is quoted beside its yardstick from the same run.
//!
//! Deliberately absent: an async runtime. The generator shares the machine with what it measures.

pub mod load;
pub mod pace;
pub mod report;
pub mod scenario;
pub mod tune;
pub mod yardstick;
