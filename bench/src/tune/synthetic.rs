//! For tests: the figures of a device that does not exist.

use engine::device::{Blocks, Evidence, SpinFigure, WriteFigure};
use engine::log::writer::Flush;

use super::plan::{DEPTHS, EVERY_US, FLUSHES, PIPELINED_KIB};

/// A device in a few numbers; the default is the reference machine's.
#[derive(Clone, Debug)]
pub(super) struct Device {
    /// Durable writes of 4 KiB a second at each depth, by O_DSYNC.
    pub(super) rates: [f64; 4],
    /// A lone durable write by O_DSYNC and by fdatasync; pipelined rates are in proportion.
    pub(super) lone_us: [f64; 2],
    /// Bandwidth of 256 KiB at each depth, by O_DSYNC.
    pub(super) full_gb: [f64; 4],
    /// A lone durable write of a thread that polls: yielding, not yielding.
    pub(super) spin_us: [f64; 2],
}

impl Default for Device {
    fn default() -> Self {
        Self {
            rates: [9e3, 15e3, 22e3, 24e3],
            lone_us: [110.0, 180.0],
            full_gb: [1.5, 2.2, 2.3, 2.3],
            spin_us: [100.0, 4000.0],
        }
    }
}

impl Device {
    /// What `tune` would measure of it.
    pub(super) fn evidence(&self) -> Evidence {
        let mut evidence = Evidence::default();
        let mut write = |flush, (block_kib, depth), every_us, (per_s, p50_us)| {
            evidence.writes.push(WriteFigure {
                flush,
                blocks: Blocks::Written,
                block_kib,
                depth,
                every_us,
                per_s,
                p50_us,
                p99_us: p50_us * 2.0,
            });
        };
        for (flush, lone) in FLUSHES.into_iter().zip(self.lone_us) {
            let slower = if flush == Flush::Dsync { 1.0 } else { lone / self.lone_us[0] };
            write(flush, (4, 1), Some(EVERY_US), (500.0, lone * 1.8));
            for (at, depth) in DEPTHS.into_iter().enumerate() {
                for kib in PIPELINED_KIB {
                    let bytes = f64::from(kib) * 1024.0;
                    let rate =
                        if kib == 4 { self.rates[at] } else { self.full_gb[at] * 1e9 / bytes };
                    let latency = if (kib, depth) == (4, 1) { lone } else { lone * 1.5 };
                    write(flush, (kib, depth), None, (rate / slower, latency));
                }
            }
        }
        for cpu in 0..2 {
            for (yields, us) in [true, false].into_iter().zip(self.spin_us) {
                let per_s = 1e6 / us;
                let figure = SpinFigure { cpu, yields, per_s, p50_us: us, p99_us: us * 1.2 };
                evidence.spins.push(figure);
            }
        }
        evidence
    }
}
