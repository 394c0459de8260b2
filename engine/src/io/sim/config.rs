//! What kind of disk is simulated: its switches, sizes and speeds.
//!
//! Absent: defects, which are planned in `faults`.

use super::Random;

/// A range of virtual nanoseconds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Fastest.
    pub min_ns: u64,
    /// Slowest, tail aside.
    pub max_ns: u64,
}

impl Span {
    /// From `min_us` to `max_us` microseconds.
    #[must_use]
    pub const fn micros(min_us: u64, max_us: u64) -> Self {
        Self { min_ns: min_us * 1000, max_ns: max_us * 1000 }
    }
}

/// How long operations take.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// A plain write, and `Zero`.
    pub write: Span,
    /// A durable write.
    pub durable: Span,
    /// A read.
    pub read: Span,
    /// A sync of a file.
    pub sync: Span,
    /// Open, close, rename, remove and the sync of the directory.
    pub namespace: Span,
    /// One operation in this many is slow (0: none).
    pub slow_one_in: u32,
    /// How many times slower it is.
    pub slow_factor: u32,
}

impl Latency {
    /// Draws the duration of an operation whose usual range is `span`.
    pub(super) fn draw(&self, span: Span, random: &mut Random) -> u64 {
        let usual = random.between(span.min_ns, span.max_ns);
        let slow = self.slow_one_in > 0 && random.below(u64::from(self.slow_one_in)) == 0;
        if slow { usual.saturating_mul(u64::from(self.slow_factor)) } else { usual }
    }
}

/// What kind of disk it is.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Whether a durable write makes only its own sectors stable (FUA), or is a write followed by
    /// a flush of the whole cache.
    pub fua: bool,
    /// Operations in flight before `submit` answers `Full`.
    pub ops_inflight_max: u32,
    /// Memory for blocks.
    pub block_bytes_max: u64,
    /// Bytes that all files together may have; creating beyond is `ENOSPC`.
    pub capacity_bytes_max: u64,
    /// Speeds.
    pub latency: Latency,
}

impl Default for Config {
    /// The reference machine: no FUA, about 110 us for a durable write, one slow write in 64.
    fn default() -> Self {
        Self {
            fua: false,
            ops_inflight_max: 64,
            block_bytes_max: 64 << 20,
            capacity_bytes_max: 1 << 40,
            latency: Latency {
                write: Span::micros(10, 60),
                durable: Span::micros(90, 180),
                read: Span::micros(60, 120),
                sync: Span::micros(80, 200),
                namespace: Span::micros(5, 300),
                slow_one_in: 64,
                slow_factor: 20,
            },
        }
    }
}
