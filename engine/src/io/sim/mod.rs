//! The simulated machine: a disk with a volatile cache, a virtual clock, one seed. No threads.
//!
//! # The fault model: what a crash may do
//! 1. A sector (512 bytes) is atomic: after a crash it holds one version that was written to it.
//! 2. A write in flight may have reached any subset of its sectors.
//! 3. A completed plain write is visible to reads, but volatile: every sector of it independently
//!    survives or not. Of several unstable versions any may survive, or the last stable one.
//! 4. `Sync` makes stable what had completed on *that file* when the sync was *submitted*.
//! 5. A durable write makes its own sectors stable when it completes. Without FUA it is a write
//!    and a cache flush: all writes to any file that had completed when it was submitted are
//!    stable too. With FUA it says nothing about them.
//! 6. Creations (with their length), renames and removals form one journal in the order of their
//!    completion. A crash keeps a prefix of it; never less than `SyncDir` covers, which is what had
//!    completed when it was submitted. A change in flight may have happened.
//! 7. Data belongs to the file, not the name: a lost creation takes it along, a lost rename shows
//!    it under the old name, a lost removal shows it again.
//! 8. A failed write leaves any subset of its sectors written (`ENOSPC`: none). A failed flush (a
//!    sync of a file or of the directory, or without FUA a durable write) leaves all that had
//!    completed when it was submitted, in *any* file, in doubt: a later sync does not make it
//!    stable, a rewrite does.
//! 9. A read that overlaps a write in flight sees old or new, sector by sector.
//! 10. "Completed" means drained by `complete`: nobody can rely on what he has not been told.
//!
//! A killed process ([`CrashPolicy::Kill`]) loses only what was in flight.
//!
//! Reading order: [`SimEnv`] -> `disk` and `effect` (life of an operation) -> `cache` (rules 1-5, 8, 9) ->
//! `namespace` (6, 7) -> `crash` (who chooses, and the surviving [`CrashImage`]) -> `faults`.
//! Invariant: the same configuration, seed and calls give the same [`SimDisk::trace_hash`].
//! Misuse that a real disk would punish silently panics: overlapping writes in flight, memory
//! changed under a write, unaligned or out-of-range writes, a handle used after its close.
//! Absent: file-system metadata beyond names and lengths; several shards sharing one cache.

mod cache;
mod config;
mod crash;
mod disk;
mod effect;
mod faults;
mod image;
mod namespace;
mod operation;
mod random;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::rc::Rc;

pub use config::{Config, Latency, Span};
pub use crash::{Choice, CrashPolicy, Grain, Outcomes};
pub use disk::SimDisk;
pub use faults::{EIO, ENODEV, ENOSPC, Fault, FaultPlan, OpKind};
pub use image::CrashImage;
pub use random::Random;

use super::{Env, Nanos};

/// Virtual time, shared by everything that was given a clone.
#[derive(Clone, Debug, Default)]
pub struct Clock(Rc<Cell<u64>>);

impl Clock {
    /// The time now.
    #[must_use]
    pub fn now(&self) -> Nanos {
        Nanos(self.0.get())
    }

    /// Moves time forward by `nanos`.
    pub fn advance(&self, nanos: u64) {
        self.0.set(self.now().plus(nanos).0);
    }

    /// Moves time forward to `to`; never back.
    pub fn advance_to(&self, to: Nanos) {
        self.0.set(self.0.get().max(to.0));
    }
}

/// A machine for one shard: a [`SimDisk`], its clock, and random numbers.
#[derive(Debug)]
pub struct SimEnv {
    disk: SimDisk,
    random: Random,
    wall_ms_origin: u64,
}

impl SimEnv {
    /// A machine with an empty disk.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self::from_image(&CrashImage::default(), config, seed)
    }

    /// The machine started again with what survived a crash.
    #[must_use]
    pub fn from_image(image: &CrashImage, config: Config, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let disk = SimDisk::from_image(image, config, random.draw());
        Self { disk, random, wall_ms_origin: 1_750_000_000_000 }
    }

    /// The disk, to look at.
    #[must_use]
    pub fn sim(&self) -> &SimDisk {
        &self.disk
    }

    /// Lets `nanos` pass.
    pub fn advance(&mut self, nanos: u64) {
        self.disk.clock().advance(nanos);
    }

    /// Lets time pass until the next completion is due; `false` if nothing will ever complete.
    pub fn advance_to_next(&mut self) -> bool {
        self.disk.advance_to_next()
    }

    /// Makes the wall clock jump: it now shows `wall_ms`.
    pub fn set_wall_ms(&mut self, wall_ms: u64) {
        self.wall_ms_origin = wall_ms.saturating_sub(self.now().0 / 1_000_000);
    }
}

impl Env for SimEnv {
    type Disk = SimDisk;

    fn disk(&mut self) -> &mut SimDisk {
        &mut self.disk
    }

    fn now(&self) -> Nanos {
        self.disk.clock().now()
    }

    fn wall_ms(&self) -> u64 {
        self.wall_ms_origin.saturating_add(self.now().0 / 1_000_000)
    }

    fn random(&mut self) -> u64 {
        self.random.draw()
    }
}
