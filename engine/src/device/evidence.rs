//! The figures of a device: what `uringmq tune` saw. Nothing is derived from them here.

use serde::{Deserialize, Serialize};

use crate::log::commit::Flush;

/// Everything that was measured of a device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// When, in UTC.
    pub measured: String,
    /// Seconds it was given.
    pub seconds: f64,
    /// Kernel release.
    pub kernel: String,
    /// Mount options of the file system.
    pub mount_options: String,
    /// The device's cache, as it says itself: `write back` or `write through`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_cache: Option<String>,
    /// Whether the device says that it has FUA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fua: Option<bool>,
    /// Whether the file system and device make zeros by themselves (`FALLOC_FL_WRITE_ZEROES`).
    pub write_zeroes: bool,
    /// What may have spoilt the figures.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
    /// Durable writes.
    pub writes: Vec<WriteFigure>,
    /// Durable writes of a thread that polls.
    pub spins: Vec<SpinFigure>,
    /// Cold reads that are sent to a socket.
    pub cold_reads: Vec<ColdFigure>,
}

/// What the blocks that are written to were before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Blocks {
    /// Written.
    Written,
    /// Allocated, and never written.
    Unwritten,
}

/// Durable writes of one size, so many in flight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteFigure {
    /// How they became durable.
    pub flush: Flush,
    /// Where to.
    pub blocks: Blocks,
    /// Size of a write.
    pub block_kib: u32,
    /// Writes in flight.
    pub depth: u32,
    /// Time between intended starts; absent: back to back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_us: Option<u32>,
    /// Writes a second.
    pub per_s: f64,
    /// Median latency.
    pub p50_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
}

/// Durable writes of 4 KiB, one in flight, of a thread that polls for their ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpinFigure {
    /// Where it ran.
    pub cpu: u32,
    /// Whether it gave the CPU away between looks.
    pub yields: bool,
    /// Writes a second.
    pub per_s: f64,
    /// Median latency.
    pub p50_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
}

/// How a cold extent goes from the file to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColdWay {
    /// Read past the page cache into a block of memory, which is sent.
    Direct,
    /// `sendfile`, through the page cache.
    Sendfile,
}

/// Extents, scattered over a file that is not in the page cache, sent to a socket one by one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColdFigure {
    /// Size of an extent.
    pub extent_kib: u32,
    /// How.
    pub way: ColdWay,
    /// Bytes a second, in units of 1e9.
    pub gb_per_s: f64,
    /// CPU time of the sending thread per 1e9 bytes.
    pub cpu_s_per_gb: f64,
}
