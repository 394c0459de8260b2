//! Where a queue's records lie in the log: one span per (queue, group), in memory.
//!
//! A span is the stretch of one group that holds a queue's entries; inside it the entries' own
//! headers are walked ([`walk`]). No file per queue: an idle queue costs its struct.
//!
//! Invariants: spans are in order of offset, position and store time alike; the visible ones are
//! a prefix.
//! Absent: entries of other queues inside a span (they are skipped by the walk); disk.

pub mod queue;
pub mod walk;
