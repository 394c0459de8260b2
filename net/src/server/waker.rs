//! Reaching a reactor from another thread: an eventfd its ring polls.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// Both ends of the signal.
#[derive(Debug)]
pub(super) struct Signal {
    eventfd: EventFd,
    stopping: AtomicBool,
}

impl Signal {
    pub(super) fn new() -> io::Result<Arc<Self>> {
        // Never read: each write is a wake-up of its own, and 2^64 of them are far away.
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let eventfd = EventFd::from_value_and_flags(0, flags)?;
        Ok(Arc::new(Self { eventfd, stopping: AtomicBool::new(false) }))
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// Wakes or stops a reactor; cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Waker(pub(super) Arc<Signal>);

impl Waker {
    /// Makes the reactor take a turn soon, so that its service looks at what other threads left
    /// for it.
    pub fn wake(&self) {
        let _ = self.0.eventfd.write(1);
    }

    /// Asks the reactor to stop: it accepts nothing new, drains its service, sends what is
    /// queued, and ends.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Release);
        self.wake();
    }
}
