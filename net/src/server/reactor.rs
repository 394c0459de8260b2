//! Reactors: pinned threads that pump one service each.
//!
//! [`Reactor::spawn_many`] returns when all services were made and the port is being polled. A node
//! is all of its reactors or none: when one ends, by an error or a panic, the others stop, too (a
//! release build aborts at a panic anyway).

use std::error::Error;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::{Arc, mpsc};

use engine::io::Errno;
use engine::io::ring::{Ring, RingError};

use super::executor;
use super::mesh::Mesh;
use super::passage::{Parcel, Passages};
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

/// A service could not be made because that of another reactor was not.
#[derive(Debug, thiserror::Error)]
#[error("another reactor did not start")]
pub struct OtherFailed;

impl ReactorError {
    /// Whether another reactor's failure is the cause.
    fn is_consequence(&self) -> bool {
        matches!(self, Self::Service(error) if error.is::<OtherFailed>())
    }
}

/// Starts reactors.
#[derive(Debug)]
pub struct Reactor;

/// A running node's reactors. Dropping it leaves them running.
#[derive(Debug)]
pub struct ReactorHandle {
    threads: Vec<executor::Thread>,
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
        Self::spawn_many(vec![config], listener, |_| vec![make])
    }

    /// Starts several reactors, a thread each. `makes` is given the waker of each and returns what
    /// builds their services, each on its own thread. The first reactor accepts connections. When
    /// one ends, for whatever reason, all are asked to stop.
    ///
    /// # Errors
    /// Whatever kept the first of those that failed from becoming ready; nothing is left running
    /// then.
    pub fn spawn_many<S, F>(
        configs: Vec<ReactorConfig>,
        listener: TcpListener,
        makes: impl FnOnce(&[Waker]) -> Vec<F>,
    ) -> Result<ReactorHandle, ReactorError>
    where
        S: Service + 'static,
        F: FnOnce(&Rc<Ring>) -> Result<S, Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        let signals = configs.iter().map(|_| Signal::new()).collect::<Result<Vec<_>, _>>()?;
        let wakers: Vec<_> = signals.iter().map(|signal| Waker::of([signal.clone()])).collect();
        let waker = Waker::of(signals.iter().cloned());
        let mut handle = ReactorHandle { threads: Vec::new(), waker: waker.clone() };
        let (ready, is_ready) = mpsc::channel();
        let mut listener = Some(listener);
        let seats = configs.into_iter().zip(signals.iter().cloned()).zip(Mesh::among(&signals));
        for (((config, signal), mesh), make) in seats.zip(makes(&wakers)) {
            let seat = Seat { config, listener: listener.take(), signal, mesh };
            let (ready, all) = (ready.clone(), waker.clone());
            match seat.start(make, ready, all) {
                Ok(thread) => handle.threads.push(thread),
                Err(error) => {
                    handle.waker.stop();
                    let _ = handle.join();
                    return Err(error);
                }
            }
        }
        drop(ready);
        // Every sender is dropped without a word when its reactor could not be built.
        if is_ready.iter().count() == handle.threads.len() {
            return Ok(handle);
        }
        handle.waker.stop();
        Err(handle.join().err().unwrap_or(ReactorError::Gone))
    }
}

/// What one reactor is started with.
struct Seat {
    config: ReactorConfig,
    listener: Option<TcpListener>,
    signal: Arc<Signal>,
    mesh: Mesh<Parcel>,
}

/// Asks all reactors to stop when one ends.
struct StopAll(Waker);

impl Drop for StopAll {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Seat {
    fn start<S, F>(
        self,
        make: F,
        ready: mpsc::Sender<()>,
        all: Waker,
    ) -> Result<executor::Thread, ReactorError>
    where
        S: Service + 'static,
        F: FnOnce(&Rc<Ring>) -> Result<S, Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        let Self { config, listener, signal, mesh } = self;
        let (name, cpu) = (config.name.clone(), config.cpu);
        executor::spawn(&name, cpu, move || async move {
            let _end = StopAll(all);
            let ring = Ring::new(config.ring)?;
            let service = make(&ring).map_err(ReactorError::Service)?;
            let ways = (signal, Passages::new(mesh));
            let mut limits = config.limits;
            if config.wait == super::WaitMode::Poll {
                // The first answers need not leave early to wake somebody while this thread goes on:
                // who has cores for polling does not sleep in turn with its clients.
                limits.answers_per_turn = usize::MAX;
            }
            let mut pump = Pump::new(ring, listener, service, ways, limits);
            let _ = ready.send(());
            drop(ready);
            executor::drive(&mut pump, config.wait, config.yield_in_flight).await
        })
    }
}

impl ReactorHandle {
    /// Wakes or stops the reactors, from any thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Waits for the end of all (see [`Waker::stop`]).
    ///
    /// # Errors
    /// Why the first that failed has ended, if it was not asked to.
    pub fn join(self) -> Result<(), ReactorError> {
        let ends = self.threads.into_iter().map(executor::Thread::join);
        let failures: Vec<_> = ends.filter_map(Result::err).collect();
        let cause = failures.iter().position(|error| !error.is_consequence()).unwrap_or(0);
        failures.into_iter().nth(cause).map_or(Ok(()), Err)
    }

    /// Stops the reactors and waits for their end.
    ///
    /// # Errors
    /// As [`ReactorHandle::join`].
    pub fn stop(self) -> Result<(), ReactorError> {
        self.waker.stop();
        self.join()
    }
}
