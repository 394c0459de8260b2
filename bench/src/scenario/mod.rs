//! Scenarios: what `uringmq bench` runs, from an empty directory to a report.
//!
//! Reading order: [`options`] (what was asked for), [`site`] (directories and child processes),
//! [`yardsticks`] (what the machine can do), [`comparison`] (the flush-mode comparison),
//! [`summary`] (many rounds become one line), [`goals`] (the published targets, measured), [`cases`]
//! (those that take longer or need nodes of their own, by name), [`sweep`] (latency by rate),
//! [`omb`] (workload files of the OpenMessaging Benchmark).
//!
//! Invariants: the broker is a child process; what is compared is interleaved in rounds, forwards
//! and backwards in turn; while a yardstick is measured every broker is stopped (SIGSTOP), so that
//! none spins beside it; children and data are gone at the end, however it ends.

pub mod cases;
pub mod comparison;
mod error;
pub mod goals;
pub mod omb;
pub mod options;
pub mod progress;
pub mod site;
pub mod summary;
pub mod sweep;
pub mod tuning;
pub mod yardsticks;

pub use error::{BenchError, Fault};
pub use goals::Goals;
pub use options::Options;
