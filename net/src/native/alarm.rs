//! What somebody outside the reactors has found out about the data directory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by all reactors of a node and whoever watches its directory.
#[derive(Clone, Debug, Default)]
pub struct Alarm(Arc<Facts>);

#[derive(Debug, Default)]
struct Facts {
    is_lost: AtomicBool,
    is_read_only: AtomicBool,
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
}
