//! The machine as the engine sees it: the ring's disk, the kernel's clocks, seeded randomness.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

use super::super::{Env, Nanos};
use super::RingDisk;

/// `CLOCK_MONOTONIC`: the clock the ring's timer uses.
#[must_use]
pub fn monotonic() -> Nanos {
    // The clock exists on every Linux; zero would only make timers fire early.
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(Nanos(0), |t| Nanos(t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64))
}

/// The real environment of one shard.
#[derive(Debug)]
pub struct RealEnv {
    disk: RingDisk,
    random: SmallRng,
}

impl RealEnv {
    /// An environment around `disk`; `seed` makes its randomness repeatable.
    #[must_use]
    pub fn new(disk: RingDisk, seed: u64) -> Self {
        Self { disk, random: SmallRng::seed_from_u64(seed) }
    }
}

impl Env for RealEnv {
    type Disk = RingDisk;

    fn disk(&mut self) -> &mut RingDisk {
        &mut self.disk
    }

    fn now(&self) -> Nanos {
        monotonic()
    }

    fn wall_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
    }

    fn random(&mut self) -> u64 {
        self.random.next_u64()
    }
}
