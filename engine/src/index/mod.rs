//! Where a queue's records lie in the log: a span per queue and group, or several where a group
//! holds much of the queue.
//!
//! Spans of recent segments are in memory (`queue`). Those of a sealed segment are in an index
//! file beside it (`file_format`; `image` while it is not written), sorted by queue; memory keeps
//! which segments hold which queue (`runs`) and the first span of every block (`sealed`), so that
//! it does not grow with the number of records. A lookup reads one block.
//!
//! Records can be found by their keys too, if their topic wants that: `keys` while they are recent,
//! then blocks of the same file.
//!
//! A span is the stretch of one group that holds a queue's entries; inside it the entries' own
//! headers are walked ([`walk`]). No file per queue: an idle queue costs its struct.
//!
//! Invariants: spans are in order of offset, position and store time alike; the visible ones are
//! a prefix.
//! Absent: entries of other queues inside a span (they are skipped by the walk); disk.

pub mod file_format;
pub(crate) mod image;
pub mod key_format;
pub mod keys;
pub(crate) mod load;
pub mod queue;
pub(crate) mod runs;
pub(crate) mod save;
pub(crate) mod sealed;
pub mod span_format;
pub mod walk;
