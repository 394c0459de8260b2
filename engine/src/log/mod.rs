//! One append-only log per shard: group commit on O_DIRECT writes, segments in written space.
//!
//! Reading order: [`position`] -> the formats -> [`window`] (where groups are built and kept) ->
//! [`commit`] (what is written, what is durable) -> [`segments`] (files, prefill, rolling) ->
//! [`writer`] (the three together: append, cut, submit, complete) -> [`recover`] (boot).
//!
//! Invariants: durable <= written <= appended, and none moves back; positions only grow; a group
//! lies in one segment and in one chunk of the window.
//! Absent: queues, topics and offsets (an entry's queue and offset are the caller's), timers
//! other than the gather limit of entries nobody waits for, any retry of a failed write.

mod append;
pub mod commit;
pub mod entry_format;
mod fill;
mod geometry;
pub mod group_format;
pub mod position;
pub mod recover;
pub(crate) mod resync;
#[cfg(test)]
mod scripted;
pub mod segment_format;
pub mod segments;
mod successor;
pub mod superblock;
pub mod superblock_format;
mod trim;
pub mod window;
pub mod writer;
