//! What concerns the whole node: what was found out about the data directory, and how its end went.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Shared by all reactors of a node and whoever watches its directory.
#[derive(Clone, Debug, Default)]
pub struct Alarm(Arc<Facts>);

#[derive(Debug, Default)]
struct Facts {
    is_lost: AtomicBool,
    is_read_only: AtomicBool,
    is_poisoned: AtomicBool,
    /// Reactors that drain and have not made everything durable.
    flushing: AtomicUsize,
}

impl Alarm {
    /// The directory is not where it was: nothing that is written now could be found again. Cannot
    /// be taken back.
    pub fn raise_lost(&self) {
        self.0.is_lost.store(true, Ordering::Release);
    }

    /// Whether it was lost.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.0.is_lost.load(Ordering::Acquire)
    }

    /// No files can be made in the directory, or they can again.
    pub fn set_read_only(&self, is_read_only: bool) {
        self.0.is_read_only.store(is_read_only, Ordering::Release);
    }

    /// Whether no files can be made in it.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.0.is_read_only.load(Ordering::Acquire)
    }

    /// A shard was closed for writing before the node's end.
    pub(super) fn raise_poisoned(&self) {
        self.0.is_poisoned.store(true, Ordering::Release);
    }

    /// Whether one was. Only says so of a node that was asked to stop.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.0.is_poisoned.load(Ordering::Acquire)
    }

    /// A reactor was asked to stop.
    pub(super) fn flushing(&self) {
        self.0.flushing.fetch_add(1, Ordering::AcqRel);
    }

    /// Everything in that reactor's shards is on stable media, as far as they take writes.
    pub(super) fn flushed(&self) {
        self.0.flushing.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether the stop deadline came before everything was on stable media.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.0.flushing.load(Ordering::Acquire) > 0
    }
}
