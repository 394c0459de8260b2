//! The data of a report. Names of fields are part of the interface: scripts read the JSON.
//!
//! Units stand last in names; a figure that was not measured is `None`, never zero.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::json;
use super::timeline::{Round, Schedule};
use super::{Ack, CanarySummary, Stage, Waiting};
use crate::yardstick::Measured;

#[cfg(test)]
#[path = "sample.rs"]
pub(crate) mod sample;

/// The version of the JSON. Raised when a field changes its meaning or goes away.
pub const REPORT_VERSION: u32 = 2;
/// p99.9 of fewer samples than this is an anecdote: fewer than ten are slower.
const SAMPLES_FOR_P999: u64 = 10_000;
/// p99.99 likewise.
const SAMPLES_FOR_P9999: u64 = 1_000_000;

/// One invocation of the benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// The command that makes this report again.
    pub command: String,
    /// Start, in seconds since 1970.
    pub started_unix_s: u64,
    /// Where it ran.
    pub environment: Environment,
    /// What the machine can do, measured in the same run.
    pub yardsticks: Vec<Yardstick>,
    /// What the broker did.
    pub runs: Vec<Run>,
    /// What the canary saw, if one ran.
    pub canary: Option<CanarySummary>,
    /// What must be known before any figure is looked at.
    #[serde(default)]
    pub caveats: Vec<String>,
    /// Remarks on the whole.
    pub notes: Vec<String>,
}

/// The machine, as far as it tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// What was measured: version, commit if the build knew it, profile.
    #[serde(default)]
    pub build: String,
    /// What the node does with its device, as far as it is known.
    #[serde(default)]
    pub node: Option<String>,
    /// Kernel release.
    pub kernel: String,
    /// CPU model.
    pub cpu: String,
    /// CPUs this process may use.
    pub cpus: usize,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// CPU frequency governor.
    pub governor: Option<String>,
    /// Where the data is.
    pub data_dir: String,
    /// File system of the data.
    pub file_system: String,
    /// Its mount options.
    pub mount_options: String,
    /// Its device.
    pub device: String,
    /// The device's cache: `write back` (a flush is needed) or `write through`.
    pub write_cache: Option<String>,
    /// Whether the device has FUA (a single write can be made durable without a flush).
    pub fua: Option<bool>,
    /// I/O scheduler in use.
    pub scheduler: Option<String>,
    /// Whether the device says that it turns.
    pub rotational: Option<bool>,
}

/// A latency distribution. Percentiles are in microseconds, rounded to the histogram's 3 digits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Number of samples.
    pub samples: u64,
    /// Median.
    pub p50_us: f64,
    /// 90th percentile.
    pub p90_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// 99.9th percentile; only from ten thousand samples on.
    pub p999_us: Option<f64>,
    /// 99.99th percentile; only above a million samples.
    pub p9999_us: Option<f64>,
    /// The slowest.
    pub max_us: f64,
    /// All samples, in nanoseconds.
    #[serde(with = "json::hdr_v2_base64")]
    pub histogram_ns: Histogram<u64>,
}

impl Latency {
    /// From a histogram of nanoseconds.
    #[must_use]
    pub fn of(histogram_ns: &Histogram<u64>) -> Self {
        let us = |quantile| histogram_ns.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            samples: histogram_ns.len(),
            p50_us: us(0.5),
            p90_us: us(0.9),
            p99_us: us(0.99),
            p999_us: (histogram_ns.len() >= SAMPLES_FOR_P999).then(|| us(0.999)),
            p9999_us: (histogram_ns.len() > SAMPLES_FOR_P9999).then(|| us(0.9999)),
            max_us: histogram_ns.max() as f64 / 1e3,
            histogram_ns: histogram_ns.clone(),
        }
    }
}

/// What the raw device or the raw socket did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Yardstick {
    /// `D(4K,1)`, `E`, `ED`, `W`, `R`, ...
    pub name: String,
    /// `sleeping` or `spinning`.
    pub wait: String,
    /// Starts a second; `None`: back to back.
    pub pace_per_s: Option<f64>,
    /// Operations a second.
    pub ops_per_s: f64,
    /// Bytes a second.
    pub bytes_per_s: f64,
    /// From the intended start.
    pub latency: Latency,
}

impl Yardstick {
    /// From a measurement.
    #[must_use]
    pub fn of(name: &str, wait: &str, pace_per_s: Option<f64>, measured: &Measured) -> Self {
        Self {
            name: name.to_owned(),
            wait: wait.to_owned(),
            pace_per_s,
            ops_per_s: measured.ops_per_s(),
            bytes_per_s: measured.bytes_per_s(),
            latency: Latency::of(&measured.latency),
        }
    }
}

/// How long one stage took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageTime {
    /// Which stage.
    pub stage: Stage,
    /// Median.
    pub p50_us: f64,
    /// 99th percentile. Those of several stages do not add up.
    pub p99_us: f64,
}

/// A figure beside its yardstick from the same run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// The yardstick's name.
    pub yardstick: String,
    /// Which figure was compared: `p50`, `ops/s`, ...
    pub figure: String,
    /// Ours divided by the yardstick's: the median of the rounds.
    pub value: f64,
    /// Lowest round.
    pub low: f64,
    /// Highest round.
    pub high: f64,
}

/// What the verifying consumer found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Messages acknowledged to the producers.
    pub acknowledged: u64,
    /// Messages the consumer got, each byte for byte as sent.
    pub consumed: u64,
    /// Acknowledged, but never delivered.
    pub missing: u64,
    /// Delivered more than once.
    pub duplicated: u64,
    /// Delivered out of order.
    pub reordered: u64,
    /// Delivered with other bytes.
    pub corrupt: u64,
}

impl Verified {
    /// True when everything acknowledged arrived as it should.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.missing + self.duplicated + self.reordered + self.corrupt == 0
    }
}

/// One run of the load generator against the broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// What it is called in the plot and in notes.
    pub name: String,
    /// When the broker acknowledged.
    pub ack: Ack,
    /// How the broker waited.
    pub waiting: Waiting,
    /// Connections that produced.
    pub producers: u32,
    /// Bytes of a message.
    pub message_bytes: u32,
    /// Messages of a request.
    pub batch_messages: u32,
    /// Intended messages a second over all producers; `None`: closed loop.
    pub target_per_s: Option<f64>,
    /// Acknowledged messages a second.
    pub messages_per_s: f64,
    /// Acknowledged payload bytes a second.
    pub bytes_per_s: f64,
    /// Time from intended send to acknowledgement, of each request.
    pub latency: Latency,
    /// Where the time went, in order.
    pub stages: Vec<StageTime>,
    /// Beside the yardstick.
    pub ratio: Option<Ratio>,
    /// CPU the broker used.
    pub broker_cpu_s: Option<f64>,
    /// Messages for each second of it.
    pub messages_per_broker_cpu_s: Option<f64>,
    /// CPU of kernel workers of the whole machine meanwhile.
    pub kernel_cpu_s: Option<f64>,
    /// CPU the generator used.
    pub generator_cpu_s: Option<f64>,
    /// What the verifying consumer found, if there was one.
    pub verified: Option<Verified>,
    /// Whether the generator kept its own schedule, if it had one (open loop).
    #[serde(default)]
    pub schedule: Option<Schedule>,
    /// The run over time.
    #[serde(default)]
    pub rounds: Vec<Round>,
    /// Remarks, such as that the machine was slow meanwhile.
    pub notes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yardstick::probe::histogram;

    #[test]
    fn p9999_needs_more_than_a_million_samples() {
        let mut values = histogram();
        values.saturating_record_n(1_000, SAMPLES_FOR_P9999);
        assert_eq!(Latency::of(&values).p9999_us, None);
        values.saturating_record(1_000);
        assert_eq!(Latency::of(&values).p9999_us, Some(1.0));
    }

    #[test]
    fn p999_needs_ten_thousand_samples() {
        let mut values = histogram();
        values.saturating_record_n(1_000, SAMPLES_FOR_P999 - 1);
        assert_eq!(Latency::of(&values).p999_us, None);
        values.saturating_record(1_000);
        assert_eq!(Latency::of(&values).p999_us, Some(1.0));
    }

    #[test]
    fn one_fault_is_not_clean() {
        assert!(Verified { acknowledged: 5, consumed: 5, ..Default::default() }.is_clean());
        for fault in [
            Verified { missing: 1, ..Default::default() },
            Verified { duplicated: 1, ..Default::default() },
            Verified { reordered: 1, ..Default::default() },
            Verified { corrupt: 1, ..Default::default() },
        ] {
            assert!(!fault.is_clean(), "{fault:?}");
        }
    }
}
