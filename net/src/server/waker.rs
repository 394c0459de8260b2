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
    /// A wake-up was written that the reactor has not noticed: no need for another.
    pending: AtomicBool,
    stopping: AtomicBool,
}

impl Signal {
    pub(super) fn new() -> io::Result<Arc<Self>> {
        let (polled, written) = UnixStream::pair()?;
        polled.set_nonblocking(true)?;
        written.set_nonblocking(true)?;
        let (pending, stopping) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Arc::new(Self { polled, written, pending, stopping }))
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.polled.as_fd()
    }

    /// Makes the reactor take a turn soon. What was left for it before is seen in that turn.
    pub(super) fn wake(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            // A full socket is a wake-up that has not been noticed yet.
            let _ = (&self.written).write(&[1]);
        }
    }

    /// Makes room for further wake-ups; whoever asked for those so far is looked after in the rest
    /// of this turn. The flag goes last: the other way round a wake-up could be written between
    /// the two and read here, and the flag would keep all later ones from being written.
    pub(super) fn clear(&self) {
        let mut bytes = [0; 256];
        while matches!((&self.polled).read(&mut bytes), Ok(256)) {}
        self.pending.swap(false, Ordering::AcqRel);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake();
    }
}

/// Wakes or stops reactors; cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<[Arc<Signal>]>);

impl Waker {
    pub(super) fn of(signals: impl IntoIterator<Item = Arc<Signal>>) -> Self {
        Self(signals.into_iter().collect())
    }

    /// Wakes nobody, for tests without reactors.
    #[cfg(test)]
    pub(crate) fn of_nobody() -> Self {
        Self::of(Signal::new())
    }

    pub(super) fn signals(&self) -> impl Iterator<Item = &Arc<Signal>> {
        self.0.iter()
    }

    /// Makes the reactors take a turn soon, so that their services look at what other threads left
    /// for them.
    pub fn wake(&self) {
        for signal in &*self.0 {
            signal.wake();
        }
    }

    /// Asks the reactors to stop: they accept nothing new, drain their services, send what is
    /// queued, and end.
    pub fn stop(&self) {
        for signal in &*self.0 {
            signal.stop();
        }
    }
}
