//! The marriage with glommio: the pump as one task of a pinned executor, and how it waits.
//!
//! The only file of the server that names glommio. Numbers and reasons: `engine/docs/pump.md`.
//!
//! Invariants: between `arm_sleep` and the read of the ring's eventfd nothing is reaped, so no
//! wake-up can be consumed unseen; a spinning pump gives glommio a turn whenever its preempt
//! timer has fired (at most `PREEMPT` apart); nothing ticks while the reactor sleeps.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, IntoRawFd};
use std::time::Duration;

use engine::io::ring::Ring;
use engine::io::ring::env::monotonic;
use engine::io::{Errno, Nanos};
use glommio::io::BufferedFile;
use glommio::{
    CpuSet, ExecutorJoinHandle, LocalExecutorBuilder, Placement, PoolPlacement, executor,
};

use super::pump::{Next, Pump};
use super::{ReactorError, Service, WaitMode};

/// glommio looks at its own rings this often while the pump is busy (its default of 100 ms
/// starves every timer and file of the executor).
const PREEMPT: Duration = Duration::from_micros(500);
/// Registered three times over against RLIMIT_MEMLOCK; the hot path does not use it.
const IO_MEMORY_BYTES: usize = 256 << 10;
const RING_DEPTH: usize = 1024;
/// Looks at the clock every so many spins.
const SPINS_PER_CLOCK: u32 = 32;

/// A reactor's thread.
#[derive(Debug)]
pub(super) struct Thread(ExecutorJoinHandle<Result<(), ReactorError>>);

impl Thread {
    /// Waits for its end.
    pub(super) fn join(self) -> Result<(), ReactorError> {
        self.0.join().map_err(|e| ReactorError::Runtime(e.to_string()))?
    }
}

/// Starts a pinned executor and runs `main` on it.
pub(super) fn spawn<F, Fut>(name: &str, cpu: Option<usize>, main: F) -> Result<Thread, ReactorError>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), ReactorError>> + 'static,
{
    let placement = cpu.map_or(Placement::Unbound, Placement::Fixed);
    LocalExecutorBuilder::new(placement)
        .name(name)
        .preempt_timer(PREEMPT)
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .blocking_thread_pool_placement(pool_placement(cpu))
        .spawn(main)
        .map(Thread)
        .map_err(|e| ReactorError::Runtime(e.to_string()))
}

/// Blocking calls do not belong on the reactor's own core (glommio's default).
fn pool_placement(cpu: Option<usize>) -> PoolPlacement {
    let Some(cpu) = cpu else { return PoolPlacement::Unbound(1) };
    match CpuSet::online() {
        Ok(all) if all.len() > 1 => {
            PoolPlacement::Fenced(1, all.filter(move |place| place.cpu != cpu))
        }
        _ => PoolPlacement::Unbound(1),
    }
}

/// Turns the pump until it stops.
pub(super) async fn drive<S: Service>(
    pump: &mut Pump<S>,
    mode: WaitMode,
) -> Result<(), ReactorError> {
    let sleeper = Sleeper::new(&pump.ring)?;
    let result = loop {
        if let Some(errno) = pump.ring.failure() {
            break Err(ReactorError::Ring(errno));
        }
        match pump.turn() {
            Next::Stopped => break Ok(()),
            Next::Again => executor().yield_if_needed().await,
            Next::Wait { durable, until } => match mode {
                WaitMode::Poll => spin(&pump.ring, durable, until).await,
                WaitMode::Hybrid if durable => spin(&pump.ring, durable, until).await,
                WaitMode::Sleep | WaitMode::Hybrid => {
                    if let Err(error) = sleeper.sleep(&pump.ring, until).await {
                        break Err(error);
                    }
                    executor().yield_if_needed().await;
                }
            },
        }
    };
    sleeper.close().await;
    result
}

/// Looks until something happens. User space only, unless a durable write is in flight: then the
/// CPU is yielded between looks, because the kernel worker that ends the write may need it.
async fn spin(ring: &Ring, durable: bool, until: Option<Nanos>) {
    let mut spins = 0u32;
    while !ring.has_completions() {
        if durable {
            let _ = nix::sched::sched_yield();
        } else {
            std::hint::spin_loop();
        }
        spins = spins.wrapping_add(1);
        if spins.is_multiple_of(SPINS_PER_CLOCK) && until.is_some_and(|at| at <= monotonic()) {
            return;
        }
        executor().yield_if_needed().await;
    }
}

/// Sleeping through glommio: a read of our ring's eventfd on glommio's ring.
struct Sleeper {
    eventfd: BufferedFile,
}

impl Sleeper {
    fn new(ring: &Ring) -> Result<Self, ReactorError> {
        let fd = ring
            .eventfd()
            .try_clone_to_owned()
            .map_err(|e| ReactorError::Ring(Errno(e.raw_os_error().unwrap_or(0))))?;
        // SAFETY: a descriptor of our own, given away here; the file closes it.
        let eventfd = unsafe { BufferedFile::from_raw_fd(fd.into_raw_fd()) };
        Ok(Self { eventfd })
    }

    async fn sleep(&self, ring: &Ring, until: Option<Nanos>) -> Result<(), ReactorError> {
        if let Some(at) = until {
            ring.wake_at(at);
        }
        if ring.arm_sleep() {
            let read = self.eventfd.read_at(0, 8).await;
            ring.disarm_sleep();
            read.map_err(|e| ReactorError::Runtime(e.to_string()))?;
        }
        Ok(())
    }

    async fn close(self) {
        let _ = self.eventfd.close().await;
    }
}
