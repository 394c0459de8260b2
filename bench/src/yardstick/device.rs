//! D, W and R: what the device does through the same path as the engine (direct I/O, io_uring).
//!
//! D(b,q) keeps q durable writes of b bytes in flight, or starts one at each intended time of the
//! probe's pace, at most q in flight. Addresses are sequential and wrap at the end of the space; a
//! space that was not written ends there, and the measurement with it.
//!
//! Invariant: the bytes an operation moved are checked; a short one is an error, not a figure.

use std::fs::File;
use std::io;
use std::time::Instant;

use engine::log::writer::Flush;

use super::YardstickError;
use super::probe::{Measured, Probe, Start, Tally, Wait, on_measuring_thread};
use super::ring::{Done, Op, Ring, Turn};
use super::space::{BLOCK_BYTES, Space};
use crate::pace::Schedule;

/// Block of the sequential yardsticks W and R.
pub const SEQUENTIAL_BYTES: usize = 256 * 1024;
/// Depth of the sequential yardsticks W and R.
pub const SEQUENTIAL_DEPTH: usize = 8;
/// More operations in flight than any device queue takes.
const DEPTH_MAX: usize = 1024;

/// D(b,q): durable writes (O_DIRECT, O_DSYNC) of `block_bytes`, `depth` in flight.
///
/// # Errors
/// When the block is no multiple of 4 KiB or does not fit the space, when there is no io_uring, or
/// when a write fails.
pub fn durable_writes(
    space: &Space,
    block_bytes: usize,
    depth: usize,
    probe: &Probe,
) -> Result<Measured, YardstickError> {
    durable_writes_by(Flush::Dsync, space, (block_bytes, depth), probe)
}

/// D(b,q) by O_DSYNC, or by a plain write with an fdatasync after it. The space may be unwritten.
///
/// # Errors
/// As [`durable_writes`].
pub fn durable_writes_by(
    flush: Flush,
    space: &Space,
    (block_bytes, depth): (usize, usize),
    probe: &Probe,
) -> Result<Measured, YardstickError> {
    let sync = flush == Flush::Fdatasync;
    Workload { op: Op::Write, block_bytes, depth, sync }.run(space, !sync, probe)
}

/// W: direct sequential writes without a flush, 256 KiB, depth 8.
///
/// # Errors
/// As [`durable_writes`].
pub fn sequential_writes(space: &Space, probe: &Probe) -> Result<Measured, YardstickError> {
    Workload::sequential(Op::Write).run(space, false, probe)
}

/// R: direct sequential reads, 256 KiB, depth 8.
///
/// # Errors
/// As [`durable_writes`].
pub fn sequential_reads(space: &Space, probe: &Probe) -> Result<Measured, YardstickError> {
    Workload::sequential(Op::Read).run(space, false, probe)
}

struct Workload {
    op: Op,
    block_bytes: usize,
    depth: usize,
    /// An fdatasync after each operation belongs to it.
    sync: bool,
}

impl Workload {
    fn sequential(op: Op) -> Self {
        Self { op, block_bytes: SEQUENTIAL_BYTES, depth: SEQUENTIAL_DEPTH, sync: false }
    }

    fn run(self, space: &Space, dsync: bool, probe: &Probe) -> Result<Measured, YardstickError> {
        if self.block_bytes == 0 || !self.block_bytes.is_multiple_of(BLOCK_BYTES) {
            return Err(YardstickError::BadProbe("the block must be a multiple of 4096 bytes"));
        }
        if self.depth == 0 || self.depth > DEPTH_MAX {
            return Err(YardstickError::BadProbe("the depth must be 1 to 1024"));
        }
        // Two writes in flight to the same blocks would wait for each other.
        if (self.block_bytes * self.depth) as u64 > space.bytes() {
            return Err(YardstickError::BadProbe("depth blocks do not fit the space"));
        }
        let file = space.open(dsync)?;
        on_measuring_thread(probe.cpu, || self.drive(file, space, probe))
    }

    fn drive(&self, file: File, space: &Space, probe: &Probe) -> Result<Measured, YardstickError> {
        let mut ring = Ring::new(file, self.depth, self.block_bytes)?;
        let begin = Instant::now();
        let mut tally = Tally::new(begin, probe, self.block_bytes as u64);
        let mut schedule = probe.pace.map(|pace| Schedule::every(begin, pace));
        let mut starts = vec![Start { intended: begin, real: begin }; self.depth];
        let mut free: Vec<usize> = (0..self.depth).collect();
        let mut done: Vec<Done> = Vec::with_capacity(self.depth);
        let mut syncing = vec![false; self.depth];
        let mut address = Addresses::new(self.block_bytes as u64, space);
        let failed = |source| YardstickError::Device { action: self.action(), source };
        loop {
            let mut now = Instant::now();
            if tally.over(now) || (address.used_up() && free.len() == self.depth) {
                return Ok(tally.finish());
            }
            while let Some(&slot) = free.last() {
                let Some(intended) = due(schedule.as_mut(), now) else { break };
                let Some(at) = address.take() else { break };
                starts[slot] = Start { intended, real: now };
                ring.start(self.op, slot, at).map_err(failed)?;
                free.pop();
                now = Instant::now();
            }
            let next = schedule.as_ref().filter(|_| !free.is_empty()).map(Schedule::next);
            ring.turn(turn(probe, next), &mut done).map_err(failed)?;
            let now = Instant::now();
            for Done { slot, result } in done.drain(..) {
                let was_sync = std::mem::take(&mut syncing[slot]);
                self.check(result, was_sync).map_err(failed)?;
                if self.sync && !was_sync {
                    syncing[slot] = true;
                    ring.start(Op::Sync, slot, 0).map_err(failed)?;
                    continue;
                }
                tally.record(starts[slot], now);
                free.push(slot);
            }
        }
    }

    fn check(&self, result: io::Result<u32>, sync: bool) -> io::Result<()> {
        if result? as usize == if sync { 0 } else { self.block_bytes } {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "fewer bytes than asked"))
    }

    fn action(&self) -> &'static str {
        match self.op {
            Op::Read => "read",
            Op::Write => "write",
            Op::Sync => "sync",
        }
    }
}

/// The intended start of the next operation, if it may start now.
fn due(schedule: Option<&mut Schedule>, now: Instant) -> Option<Instant> {
    match schedule {
        Some(schedule) => schedule.take_due(now),
        None => Some(now),
    }
}

fn turn(probe: &Probe, next: Option<Instant>) -> Turn {
    match (probe.wait, next) {
        (Wait::Spinning, _) => Turn::Poll { yields: probe.yields },
        (Wait::Sleeping, None) => Turn::Enter,
        (Wait::Sleeping, Some(due)) => Turn::EnterUntil(due),
    }
}

/// Sequential, wrapping where the next block would pass the end, unless each block counts once.
struct Addresses {
    block_bytes: u64,
    space_bytes: u64,
    wraps: bool,
    at: u64,
}

impl Addresses {
    fn new(block_bytes: u64, space: &Space) -> Self {
        Self { block_bytes, space_bytes: space.bytes(), wraps: space.is_written(), at: 0 }
    }

    fn used_up(&self) -> bool {
        !self.wraps && self.at + self.block_bytes > self.space_bytes
    }

    fn take(&mut self) -> Option<u64> {
        if self.used_up() {
            return None;
        }
        if self.at + self.block_bytes > self.space_bytes {
            self.at = 0;
        }
        let at = self.at;
        self.at += self.block_bytes;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn short(ops_max: u64) -> Probe {
        Probe {
            warm_up: Duration::ZERO,
            measure: Duration::from_secs(10),
            ops_max,
            ..Probe::default()
        }
    }

    #[test]
    fn addresses_are_sequential_and_never_pass_the_end() {
        let seen = |wraps| {
            let mut addresses = Addresses { block_bytes: 3, space_bytes: 8, wraps, at: 0 };
            (0..4).map_while(|_| addresses.take()).collect::<Vec<_>>()
        };
        assert_eq!(seen(true), [0, 3, 0, 3]);
        assert_eq!(seen(false), [0, 3]);
    }

    #[test]
    fn an_fdatasync_belongs_to_its_write() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::written(dir.path(), MIB).unwrap();
        for depth in [1, 3] {
            let probe = short(20);
            let flush = Flush::Fdatasync;
            let measured = durable_writes_by(flush, &space, (4096, depth), &probe).unwrap();
            assert_eq!((measured.ops, measured.latency.len()), (20, 20));
        }
    }

    #[test]
    fn unwritten_space_is_used_up() {
        let dir = tempfile::tempdir().unwrap();
        for flush in [Flush::Dsync, Flush::Fdatasync] {
            let space = Space::unwritten(dir.path(), MIB).unwrap();
            let probe = short(u64::MAX);
            let measured = durable_writes_by(flush, &space, (64 << 10, 1), &probe).unwrap();
            assert_eq!(measured.ops, 16);
        }
    }

    #[test]
    fn durable_writes_are_measured_in_both_ways_to_wait() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::written(dir.path(), MIB).unwrap();
        for wait in [Wait::Sleeping, Wait::Spinning] {
            let probe = Probe { wait, ..short(20) };
            let measured = durable_writes(&space, 4096, 4, &probe).unwrap();
            assert_eq!((measured.ops, measured.latency.len()), (20, 20), "{wait:?}");
            assert!(measured.latency.min() > 1_000, "a durable write within a microsecond");
            assert!(measured.ops_per_s() > 0.0);
        }
    }

    #[test]
    fn a_paced_probe_keeps_its_pace() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::written(dir.path(), MIB).unwrap();
        for wait in [Wait::Sleeping, Wait::Spinning] {
            let probe = Probe { wait, pace: Some(Duration::from_millis(2)), ..short(10) };
            let measured = durable_writes(&space, 4096, 1, &probe).unwrap();
            // Ten intended starts span 18 ms; a back-to-back probe would need about 1 ms.
            assert_eq!(measured.ops, 10);
            assert!(measured.elapsed >= Duration::from_millis(18), "{:?}", measured.elapsed);
        }
    }

    #[test]
    fn sequential_writes_and_reads_move_their_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::written(dir.path(), 4 * MIB).unwrap();
        for measure in [sequential_writes, sequential_reads] {
            let measured = measure(&space, &short(32)).unwrap();
            assert_eq!((measured.ops, measured.op_bytes), (32, 256 * 1024));
        }
    }

    #[test]
    fn impossible_probes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::written(dir.path(), MIB).unwrap();
        for (block_bytes, depth) in [(0, 1), (100, 1), (4096, 0), (4096, 2000), (MIB as usize, 2)] {
            let refused = durable_writes(&space, block_bytes, depth, &short(1));
            assert!(matches!(refused, Err(YardstickError::BadProbe(_))), "{block_bytes} {depth}");
        }
    }
}
