//! Where a request's time went: the stages of its way through the node, and their histograms.
//!
//! The stages of a request follow each other without gap or overlap. A request that is answered in
//! the turn that received it (a fetch from memory, a produce of level `memory`) has only `Parse`
//! and `Send`.
//!
//! One clock read per turn and stage, shared by the entries of a group, or by the fetches of a
//! turn, and recorded with one `record_n`. Without the feature `histograms` recording compiles to
//! nothing; that build is the yardstick for what measuring costs.

use hdrhistogram::Histogram;

use crate::io::Nanos;

/// A stage of a request's way through the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// From the turn that found the socket readable to the end of its receive pass: decoding,
    /// validation, the copy into the open group, and other connections read in the same pass.
    Parse = 0,
    /// From the group's sealing to its hand-over to the device. Zero for a fetch.
    Append = 1,
    /// From the end of the receive pass to the group's sealing: the pipeline was full. For a
    /// fetch, to the turn that found what it was parked for, or to the hand-over of its cold read:
    /// it was parked, or as many reads as may be were in flight.
    FlushWait = 2,
    /// From hand-over to the turn that found the group written, or durable with all before it.
    /// For a fetch, from the hand-over of its cold read to the turn that found it ended; zero if
    /// the entries were in memory.
    Device = 3,
    /// Waiting for replicas; zero on a single node.
    Replicate = 4,
    /// From the turn that found the result (for a request of that very turn, from the end of its
    /// receive pass) to the reply's bytes being given to the socket.
    Send = 5,
    /// All that precedes `Send`.
    Total = 6,
}

impl Stage {
    /// How many there are.
    pub const COUNT: usize = 7;
    /// All of them, in order of their codes.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Parse,
        Self::Append,
        Self::FlushWait,
        Self::Device,
        Self::Replicate,
        Self::Send,
        Self::Total,
    ];

    /// The stage with this number in formats and protocols.
    #[must_use]
    pub fn from_u8(stage: u8) -> Option<Self> {
        Self::ALL.get(usize::from(stage)).copied()
    }

    /// Its number in formats and protocols.
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// Its name in reports and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Append => "append",
            Self::FlushWait => "flush_wait",
            Self::Device => "device",
            Self::Replicate => "replicate",
            Self::Send => "send",
            Self::Total => "total",
        }
    }
}

/// Nanoseconds a request spent in each stage, as a reply carries them; saturating.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Indexed by [`Stage`] up to `Send`.
    pub nanos: [u32; 6],
}

impl Timings {
    /// Sets one stage to the time between two instants.
    #[must_use]
    pub fn with(mut self, stage: Stage, from: Nanos, to: Nanos) -> Self {
        if let Some(slot) = self.nanos.get_mut(stage as usize) {
            *slot = u32::try_from(to.since(from)).unwrap_or(u32::MAX);
        }
        self
    }
}

/// What a histogram is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// Produce requests.
    Produce = 0,
    /// Fetch requests that were answered with entries.
    Fetch = 1,
}

/// Longest time a histogram tells apart: one minute.
const NANOS_MAX: u64 = 60_000_000_000;

/// Histograms of one shard, made when first used: two digits and 32-bit counters are at most
/// 20 KiB each.
#[derive(Debug, Default)]
pub struct Histograms {
    by_operation: [[Option<Box<Histogram<u32>>>; Stage::COUNT]; 2],
}

impl Histograms {
    /// Records that `count` requests spent these times.
    pub fn record(&mut self, operation: Operation, timings: &Timings, count: u32) {
        if !cfg!(feature = "histograms") {
            return;
        }
        let stages = [Stage::Parse, Stage::Append, Stage::FlushWait, Stage::Device];
        let mut total = 0;
        for stage in stages {
            let nanos = u64::from(timings.nanos[stage as usize]);
            total += nanos;
            self.record_one(operation, stage, nanos, count);
        }
        self.record_one(operation, Stage::Total, total, count);
    }

    /// Records one stage.
    pub fn record_one(&mut self, operation: Operation, stage: Stage, nanos: u64, count: u32) {
        if !cfg!(feature = "histograms") || count == 0 {
            return;
        }
        let slot = &mut self.by_operation[operation as usize][stage as usize];
        if slot.is_none() {
            *slot = Histogram::new_with_bounds(1, NANOS_MAX, 2).ok().map(Box::new);
        }
        if let Some(histogram) = slot {
            histogram.saturating_record_n(nanos.max(1), count);
        }
    }

    /// Every histogram that holds something.
    pub fn all(&self) -> impl Iterator<Item = (Operation, Stage, &Histogram<u32>)> {
        [Operation::Produce, Operation::Fetch].into_iter().flat_map(move |operation| {
            Stage::ALL.into_iter().filter_map(move |stage| {
                let slot = &self.by_operation[operation as usize][stage as usize];
                slot.as_deref().map(|histogram| (operation, stage, histogram))
            })
        })
    }

    /// Forgets everything recorded.
    pub fn reset(&mut self) {
        self.by_operation = Default::default();
    }
}

#[cfg(all(test, feature = "histograms"))]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_small_and_counts_in_bulk() {
        let mut histograms = Histograms::default();
        let timings = Timings::default().with(Stage::Device, Nanos(1000), Nanos(121_000));
        histograms.record(Operation::Produce, &timings, 256);
        let (_, _, device) =
            histograms.all().find(|(_, stage, _)| *stage == Stage::Device).unwrap();
        assert_eq!(device.len(), 256);
        assert!((119_000..=121_500).contains(&device.value_at_quantile(0.5)));
        assert!(device.distinct_values() * size_of::<u32>() <= 20 * 1024);
    }
}
