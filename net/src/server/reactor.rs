//! A reactor: one pinned thread that pumps one service.
//!
//! [`Reactor::spawn`] returns when the service was made and the port is being polled.

use std::error::Error;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::mpsc;

use engine::io::Errno;
use engine::io::ring::{Ring, RingError};

use super::executor;
use super::pump::Pump;
use super::waker::{Signal, Waker};
use super::{ReactorConfig, Service};

/// Why a reactor did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ReactorError {
    /// The ring could not be made; the text says what the operator can do.
    #[error(transparent)]
    Setup(#[from] RingError),
    /// The ring stopped working: the node must be restarted.
    #[error("io_uring failed: {0}")]
    Ring(Errno),
    /// No descriptor or thread for the reactor.
    #[error("cannot start the reactor: {0}")]
    Start(#[from] io::Error),
    /// glommio could not start or failed; its own words.
    #[error("executor: {0}")]
    Runtime(String),
    /// The service could not be made.
    #[error("service: {0}")]
    Service(Box<dyn Error + Send + Sync>),
    /// The reactor's thread ended without saying why.
    #[error("the reactor's thread is gone")]
    Gone,
}

/// Starts reactors.
#[derive(Debug)]
pub struct Reactor;

/// A running reactor. Dropping it leaves the reactor running.
#[derive(Debug)]
pub struct ReactorHandle {
    thread: executor::Thread,
    waker: Waker,
}

impl Reactor {
    /// Starts a thread that serves `listener` with what `make` builds on that thread.
    ///
    /// # Errors
    /// Whatever kept the reactor from becoming ready; nothing is left running then.
    pub fn spawn<S, F>(
        config: ReactorConfig,
        listener: TcpListener,
        make: F,
    ) -> Result<ReactorHandle, ReactorError>
    where
        S: Service + 'static,
        F: FnOnce(&Rc<Ring>) -> Result<S, Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        let signal = Signal::new()?;
        let waker = Waker(signal.clone());
        let (ready, is_ready) = mpsc::sync_channel(1);
        let name = config.name.clone();
        let thread = executor::spawn(&name, config.cpu, move || async move {
            let ring = Ring::new(config.ring)?;
            let service = make(&ring).map_err(ReactorError::Service)?;
            let mut pump = Pump::new(ring, listener, service, signal, config.limits);
            let _ = ready.send(());
            drop(ready);
            executor::drive(&mut pump, config.wait, config.yield_in_flight).await
        })?;
        let handle = ReactorHandle { thread, waker };
        // The sender is dropped without a word when the reactor could not be built.
        match is_ready.recv() {
            Ok(()) => Ok(handle),
            Err(_) => Err(handle.join().err().unwrap_or(ReactorError::Gone)),
        }
    }
}

impl ReactorHandle {
    /// Wakes or stops the reactor, from any thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Waits for the reactor's end (see [`Waker::stop`]).
    ///
    /// # Errors
    /// Why it ended, if it was not asked to.
    pub fn join(self) -> Result<(), ReactorError> {
        self.thread.join()
    }

    /// Stops the reactor and waits for its end.
    ///
    /// # Errors
    /// As [`ReactorHandle::join`].
    pub fn stop(self) -> Result<(), ReactorError> {
        self.waker.stop();
        self.join()
    }
}
