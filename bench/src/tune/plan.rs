//! What is measured: a list of steps, none twice.

use engine::device::{Blocks, ColdWay};
use engine::log::writer::Flush;

/// Both ways to make a write durable.
pub(super) const FLUSHES: [Flush; 2] = [Flush::Dsync, Flush::Fdatasync];
/// Depths of the pipeline.
pub(super) const DEPTHS: [u32; 4] = [1, 2, 4, 8];
/// Sizes that are written at every depth: a lone message, a gathered group, the largest group.
pub(super) const PIPELINED_KIB: [u32; 3] = [4, 64, 256];
/// Further sizes, two in flight.
pub(super) const FURTHER_KIB: [u32; 2] = [16, 1024];
/// The pace of a quiet node: one write every 2 ms. Idle CPUs and devices wake slowly.
pub(super) const EVERY_US: u32 = 2000;
/// Sizes of cold extents.
pub(super) const EXTENTS_KIB: [u32; 4] = [4, 16, 64, 256];

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Durable writes.
    Write { flush: Flush, blocks: Blocks, block_kib: u32, depth: u32, every_us: Option<u32> },
    /// Durable writes of 4 KiB of a thread that polls on this CPU.
    Spin { cpu: u32, yields: bool },
    /// Cold reads that are sent.
    Cold { extent_kib: u32, way: ColdWay },
}

impl Step {
    /// What it is, for whoever waits.
    pub(super) fn title(self) -> String {
        match self {
            Self::Write { flush, blocks, block_kib, depth, every_us } => {
                let how = if flush == Flush::Dsync { "O_DSYNC" } else { "fdatasync" };
                let space = if blocks == Blocks::Written { "" } else { ", unwritten space" };
                let pace = if every_us.is_some() { ", paced" } else { "" };
                format!("write {block_kib} KiB x {depth}, {how}{space}{pace}")
            }
            Self::Spin { cpu, yields } => {
                format!("poll on CPU {cpu}, {}", if yields { "yielding" } else { "not yielding" })
            }
            Self::Cold { extent_kib, way: ColdWay::Direct } => {
                format!("read {extent_kib} KiB and send")
            }
            Self::Cold { extent_kib, way: ColdWay::Sendfile } => {
                format!("sendfile {extent_kib} KiB")
            }
        }
    }
}

/// Everything, with polling on these CPUs.
pub(super) fn steps(cpus: &[u32]) -> Vec<Step> {
    let mut steps = Vec::new();
    let write = |flush, blocks, (block_kib, depth), every_us| Step::Write {
        flush,
        blocks,
        block_kib,
        depth,
        every_us,
    };
    for every_us in [None, Some(EVERY_US)] {
        for blocks in [Blocks::Written, Blocks::Unwritten] {
            steps.extend(FLUSHES.map(|flush| write(flush, blocks, (4, 1), every_us)));
        }
    }
    let further = FURTHER_KIB.map(|kib| (kib, 2));
    let pipelined = PIPELINED_KIB.iter().flat_map(|kib| DEPTHS.map(|depth| (*kib, depth)));
    for shape in pipelined.chain(further).filter(|shape| *shape != (4, 1)) {
        steps.extend(FLUSHES.map(|flush| write(flush, Blocks::Written, shape, None)));
    }
    for &cpu in cpus {
        steps.extend([true, false].map(|yields| Step::Spin { cpu, yields }));
    }
    for extent_kib in EXTENTS_KIB {
        let ways = [ColdWay::Direct, ColdWay::Sendfile];
        steps.extend(ways.map(|way| Step::Cold { extent_kib, way }));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_measured_twice() {
        let steps = steps(&[0, 3]);
        for (at, step) in steps.iter().enumerate() {
            assert!(!steps[..at].contains(step), "{step:?}");
        }
        let titles: std::collections::BTreeSet<_> = steps.iter().map(|step| step.title()).collect();
        assert_eq!((titles.len(), steps.len()), (46, 46));
    }
}
