//! Reaching a reactor from another thread: a socket its ring polls.
//!
//! Not an eventfd. Whoever writes to one is marked as being inside eventfd code, so a ring that
//! polls it and has an eventfd of its own registered must leave the signal of that one to a
//! callback, and (Linux 6.18) the note that one is under way is never taken back: the first wake-up
//! works, the second leaves work behind that nothing will ever signal, and the sleeper is deaf.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Both ends of the signal.
#[derive(Debug)]
pub(super) struct Signal {
    polled: UnixStream,
    written: UnixStream,
    stopping: AtomicBool,
}

impl Signal {
    pub(super) fn new() -> io::Result<Arc<Self>> {
        let (polled, written) = UnixStream::pair()?;
        polled.set_nonblocking(true)?;
        written.set_nonblocking(true)?;
        Ok(Arc::new(Self { polled, written, stopping: AtomicBool::new(false) }))
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.polled.as_fd()
    }

    /// Makes room for further wake-ups; whoever asked for those so far is looked after now.
    pub(super) fn clear(&self) {
        let mut bytes = [0; 256];
        while matches!((&self.polled).read(&mut bytes), Ok(256)) {}
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
        // A full socket is a wake-up that has not been noticed yet.
        let _ = (&self.0.written).write(&[1]);
    }

    /// Asks the reactor to stop: it accepts nothing new, drains its service, sends what is
    /// queued, and ends.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Release);
        self.wake();
    }
}
