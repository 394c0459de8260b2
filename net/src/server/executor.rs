//! The marriage with glommio: the pump as one task of a pinned executor, and how it waits.
//!
//! The only file of the server that names glommio. Numbers and reasons: `engine/docs/pump.md`.
//!
//! glommio 0.9 parks with runnable tasks when its preempt timer fires between arming it and the
//! first task queue (`run_task_queues` then says "nothing ran"). With a timer of 500 us this
//! stalled a reactor within seconds on a busy machine: that was the lost wake-up. Therefore the
//! timer is long ([`PREEMPT`]), the pump never relies on it, and a heartbeat ends such a park.
//!
//! Invariants: between `arm_sleep` and the read of the ring's eventfd nothing is reaped, so no
//! wake-up can be consumed unseen; a pump that does not sleep gives glommio a turn every
//! [`TURN_NANOS`]; a sleeping reactor wakes for nothing but its heartbeat.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use engine::io::Nanos;
use engine::io::ring::Ring;
use engine::io::ring::env::monotonic;
use glommio::io::BufferedFile;
use glommio::{
    CpuSet, ExecutorJoinHandle, LocalExecutorBuilder, Placement, PoolPlacement, spawn_local,
};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::look::Look;
use super::pump::{Next, Pump};
use super::{ReactorError, Service, WaitMode};

/// Long enough that it never fires before the first task queue has run, short of a pause of the
/// whole machine. Queues of background work say `Latency::Matters` for a shorter one.
const PREEMPT: Duration = Duration::from_millis(100);
/// The end of a park that should not have been.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// How often glommio has its turn while the pump does not sleep.
const TURN_NANOS: u64 = 1_000_000;
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
    yields: bool,
) -> Result<(), ReactorError> {
    let heartbeat = spawn_local(heartbeat(timer()?));
    let mut waits = Waits::new(&pump.ring, yields)?;
    let result = loop {
        if let Some(errno) = pump.ring.failure() {
            break Err(ReactorError::Ring(errno));
        }
        let next = pump.turn();
        if yields && pump.durable_in_flight() {
            // The kernel worker that ends the write on a device without FUA may need this very
            // CPU; a busy reactor would make it wait for a whole scheduler slice, 3-4 ms.
            let _ = nix::sched::sched_yield();
        }
        let turned = match next {
            Next::Stopped => break Ok(()),
            Next::Again => waits.turn_if_due().await,
            Next::Wait { durable, heavy, until } => match mode {
                WaitMode::Hybrid if !durable => {
                    waits.sleep(&pump.ring, (durable, heavy), until).await
                }
                WaitMode::Sleep => waits.sleep(&pump.ring, (durable, heavy), until).await,
                WaitMode::Hybrid | WaitMode::Poll => waits.spin(&pump.ring, durable, until).await,
            },
        };
        if let Err(error) = turned {
            break Err(error);
        }
    };
    heartbeat.cancel().await;
    waits.close().await;
    result
}

fn timer() -> Result<BufferedFile, ReactorError> {
    let start = |e: nix::Error| ReactorError::Start(e.into());
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC).map_err(start)?;
    let period = Expiration::Interval(HEARTBEAT.into());
    timer.set(period, TimerSetTimeFlags::empty()).map_err(start)?;
    Ok(glommio_file(timer.into()))
}

/// Each beat makes glommio look at its task queues again.
async fn heartbeat(timer: BufferedFile) {
    while timer.read_at(0, 8).await.is_ok() {}
}

/// A descriptor glommio may read; it closes it.
fn glommio_file(fd: OwnedFd) -> BufferedFile {
    // SAFETY: a descriptor of our own, given away here.
    unsafe { BufferedFile::from_raw_fd(fd.into_raw_fd()) }
}

/// The three ways to wait for the ring.
struct Waits {
    /// The ring's eventfd: a read of it on glommio's ring is how the reactor sleeps.
    eventfd: BufferedFile,
    /// A read of it ends at once: glommio's turn.
    null: BufferedFile,
    turn_at: Nanos,
    /// The look before a sleep with nothing in flight, and with a durable write in flight.
    looks: [Look; 2],
    /// Whether a look while a durable write is in flight gives the CPU away.
    yields: bool,
}

impl Waits {
    fn new(ring: &Ring, yields: bool) -> Result<Self, ReactorError> {
        let eventfd = glommio_file(ring.eventfd().try_clone_to_owned()?);
        let null = glommio_file(File::open("/dev/null")?.into());
        let turn_at = monotonic().plus(TURN_NANOS);
        Ok(Self { eventfd, null, turn_at, looks: [Look::new(), Look::new()], yields })
    }

    /// Sleeps until something completes on the ring, or `until`; first looks for a while, unless
    /// the work was heavy.
    async fn sleep(
        &mut self,
        ring: &Ring,
        (durable, heavy): (bool, bool),
        until: Option<Nanos>,
    ) -> Result<(), ReactorError> {
        let begun = monotonic();
        if !heavy && self.look_first(ring, durable, begun) {
            return self.turn_if_due().await;
        }
        if let Some(at) = until {
            ring.wake_at(at);
        }
        if !ring.arm_sleep() {
            return self.turn_if_due().await;
        }
        let read = self.eventfd.read_at(0, 8).await;
        ring.disarm_sleep();
        read.map_err(|e| ReactorError::Runtime(e.to_string()))?;
        if !heavy {
            self.look(durable).slept(monotonic().since(begun));
        }
        Ok(())
    }

    fn look(&mut self, durable: bool) -> &mut Look {
        let [idle, writing] = &mut self.looks;
        if durable { writing } else { idle }
    }

    /// Looks before going to sleep: a peer that answers at once is met awake. Whether something
    /// came.
    fn look_first(&mut self, ring: &Ring, durable: bool, begun: Nanos) -> bool {
        let stop = begun.plus(self.look(durable).nanos());
        loop {
            for _ in 0..SPINS_PER_CLOCK {
                if ring.has_completions() {
                    return true;
                }
                if durable && self.yields {
                    let _ = nix::sched::sched_yield();
                } else {
                    std::hint::spin_loop();
                }
            }
            if monotonic() >= stop {
                return false;
            }
        }
    }

    /// Looks until something happens. User space only, unless a durable write is in flight: then
    /// the CPU is yielded between looks, because the kernel worker that ends the write on a
    /// device without FUA may need it.
    async fn spin(
        &mut self,
        ring: &Ring,
        durable: bool,
        until: Option<Nanos>,
    ) -> Result<(), ReactorError> {
        let mut spins = 0u32;
        while !ring.has_completions() {
            if durable && self.yields {
                let _ = nix::sched::sched_yield();
            } else {
                std::hint::spin_loop();
            }
            spins = spins.wrapping_add(1);
            if spins.is_multiple_of(SPINS_PER_CLOCK) {
                if until.is_some_and(|at| at <= monotonic()) {
                    break;
                }
                self.turn_if_due().await?;
            }
        }
        Ok(())
    }

    /// Lets glommio look at its rings and run its other tasks, once per [`TURN_NANOS`]. Only a
    /// task that waits makes it do so: yielding alone does not.
    async fn turn_if_due(&mut self) -> Result<(), ReactorError> {
        if monotonic() < self.turn_at {
            return Ok(());
        }
        let read = self.null.read_at(0, 1).await;
        self.turn_at = monotonic().plus(TURN_NANOS);
        read.map(drop).map_err(|e| ReactorError::Runtime(e.to_string()))
    }

    async fn close(self) {
        let _ = self.eventfd.close().await;
        let _ = self.null.close().await;
    }
}
