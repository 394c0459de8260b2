//! The data of a report. Names of fields are part of the interface: scripts read the JSON.
//!
//! Units stand last in names; a figure that was not measured is `None`, never zero.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::json;
use super::timeline::{Round, Schedule};
use crate::yardstick::Measured;

/// The version of the JSON. Raised when a field changes its meaning or goes away.
pub const REPORT_VERSION: u32 = 1;
/// p99.99 of fewer samples than this is an anecdote.
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
    /// Remarks on the whole.
    pub notes: Vec<String>,
}

/// The machine, as far as it tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
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
    /// 99.9th percentile.
    pub p999_us: f64,
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
            p999_us: us(0.999),
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

/// When the broker acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// Never: one-way.
    None,
    /// When appended in memory.
    Memory,
    /// When its device write completed.
    Written,
    /// When it was on stable media.
    Durable,
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Memory => "memory",
            Self::Written => "written",
            Self::Durable => "durable",
        })
    }
}

/// How the broker waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Waiting {
    /// Asleep in the kernel.
    Sleep,
    /// Polling only while a durable write is in flight.
    Hybrid,
    /// Polling always.
    Poll,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sleep => "sleep",
            Self::Hybrid => "hybrid",
            Self::Poll => "poll",
        })
    }
}

/// A station on a message's way. Their order is the order of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// From the bytes' arrival to a checked batch.
    Parse,
    /// Into the open group.
    Append,
    /// Waiting until the group's write starts.
    FlushWait,
    /// The device's write.
    Device,
    /// Waiting for other nodes.
    Replicate,
    /// Until the reply was handed to the socket.
    Send,
    /// What is left of the client's latency: network, the client's wake-up, waiting to be sent.
    Rest,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Self; 7] = [
        Self::Parse,
        Self::Append,
        Self::FlushWait,
        Self::Device,
        Self::Replicate,
        Self::Send,
        Self::Rest,
    ];

    /// Its name in a table.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Append => "append",
            Self::FlushWait => "flush wait",
            Self::Device => "device",
            Self::Replicate => "replicate",
            Self::Send => "send",
            Self::Rest => "net+client",
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

/// A time in which the machine was slow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slow {
    /// Start, from the canary's.
    pub from_s: f64,
    /// End, from the canary's start.
    pub to_s: f64,
    /// The slowest sample in it.
    pub worst_ms: f64,
}

/// What the canary saw: an echo and a durable write, 200 times a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CanarySummary {
    /// Its start, in seconds since 1970.
    #[serde(default)]
    pub began_unix_s: f64,
    /// From the intended start of both to the end.
    pub latency: Latency,
    /// When the machine was slow.
    pub slow: Vec<Slow>,
}

impl CanarySummary {
    /// From a series of samples.
    #[must_use]
    pub fn of(series: &crate::yardstick::canary::Series) -> Self {
        let slow = series.slow_windows().into_iter().map(|window| Slow {
            from_s: window.from.as_secs_f64(),
            to_s: window.to.as_secs_f64(),
            worst_ms: window.worst.as_secs_f64() * 1e3,
        });
        let began = SystemTime::now().checked_sub(series.started.elapsed());
        let began = began.and_then(|began| began.duration_since(UNIX_EPOCH).ok());
        Self {
            began_unix_s: began.unwrap_or_default().as_secs_f64(),
            latency: Latency::of(&series.latency()),
            slow: slow.collect(),
        }
    }

    /// Was the machine slow at some time between these, in seconds since 1970?
    #[must_use]
    pub fn was_slow(&self, from_unix_s: f64, to_unix_s: f64) -> bool {
        let (from, to) = (from_unix_s - self.began_unix_s, to_unix_s - self.began_unix_s);
        self.slow.iter().any(|slow| slow.from_s < to && from < slow.to_s)
    }

    /// Marks the pieces of a run in which the machine was slow, and says how many there were.
    pub fn mark(&self, run: &mut Run) {
        let (mut slow, mut all) = (0, 0);
        for round in &mut run.rounds {
            for piece in &mut round.pieces {
                let from = round.began_unix_s + piece.from_s;
                piece.machine_was_slow = self.was_slow(from, from + piece.length_s);
                slow += u32::from(piece.machine_was_slow);
                all += 1;
            }
        }
        if slow > 0 {
            run.notes.push(format!(
                "the machine itself was slow (canary) in {slow} of {all} pieces of the recorded time"
            ));
        }
    }
}

#[cfg(test)]
pub(crate) mod sample {
    use super::*;
    use crate::report::timeline::Piece;
    use crate::yardstick::probe::histogram;

    /// A thousand samples between `us` and about ten times that, the same in every run.
    pub(crate) fn latency(us: u64) -> Latency {
        let mut values = histogram();
        for n in 1..=1_000_u64 {
            let tail = if n > 990 { us * (n - 990) } else { 0 };
            values.saturating_record((us + us * n / 1_000 + tail) * 1_000);
        }
        Latency::of(&values)
    }

    pub(crate) fn run(ack: Ack, producers: u32, us: u64) -> Run {
        let messages_per_s = f64::from(producers) * 1e6 / us as f64;
        let stage = |stage, p50_us: f64| StageTime { stage, p50_us, p99_us: p50_us * 3.0 };
        Run {
            name: format!("{ack}, {producers} producers"),
            ack,
            waiting: Waiting::Sleep,
            producers,
            message_bytes: 1024,
            batch_messages: 1,
            target_per_s: None,
            messages_per_s,
            bytes_per_s: messages_per_s * 1024.0,
            latency: latency(us),
            stages: vec![
                stage(Stage::Parse, 0.61),
                stage(Stage::Append, 0.92),
                stage(Stage::FlushWait, 4.1),
                stage(Stage::Device, us as f64 * 0.6),
                stage(Stage::Send, 7.25),
                stage(Stage::Rest, us as f64 * 0.3),
            ],
            ratio: Some(Ratio {
                yardstick: "ED".into(),
                figure: "p50".into(),
                value: 0.812,
                low: 0.79,
                high: 0.83,
            }),
            broker_cpu_s: Some(1.25),
            messages_per_broker_cpu_s: Some(messages_per_s / 0.25),
            kernel_cpu_s: Some(0.5),
            generator_cpu_s: Some(0.75),
            verified: Some(Verified {
                acknowledged: 50_000,
                consumed: 50_000,
                ..Default::default()
            }),
            schedule: None,
            rounds: vec![round(1_767_225_600.0, us), round(1_767_225_610.0, us + us / 10)],
            notes: Vec::new(),
        }
    }

    /// Ten pieces of a tenth of a second.
    pub(crate) fn round(began_unix_s: f64, us: u64) -> Round {
        let piece = |n: u64| {
            let latency = latency(us + n * us / 50);
            Piece {
                from_s: n as f64 / 10.0,
                length_s: 0.1,
                messages_per_s: 1e6 / (us + n) as f64,
                samples: latency.samples,
                p50_us: latency.p50_us,
                p99_us: latency.p99_us,
                max_us: latency.max_us,
                histogram_ns: latency.histogram_ns,
                machine_was_slow: false,
            }
        };
        let pieces = (0..10).map(piece).collect();
        Round { began_unix_s, messages_per_s: 1e6 / us as f64, pieces }
    }

    pub(crate) fn report() -> Report {
        Report {
            version: REPORT_VERSION,
            command: "uringmq bench --verify".into(),
            started_unix_s: 1_767_225_600,
            environment: Environment {
                kernel: "6.18.0".into(),
                cpu: "AMD EPYC".into(),
                cpus: 2,
                memory_bytes: 24 << 30,
                governor: None,
                data_dir: "/data".into(),
                file_system: "ext4".into(),
                mount_options: "rw,relatime,discard".into(),
                device: "/dev/vda".into(),
                write_cache: Some("write back".into()),
                fua: Some(false),
                scheduler: Some("mq-deadline".into()),
                rotational: Some(false),
            },
            yardsticks: vec![
                Yardstick {
                    name: "D(4K,1)".into(),
                    wait: "sleeping".into(),
                    pace_per_s: None,
                    ops_per_s: 8_400.0,
                    bytes_per_s: 8_400.0 * 4096.0,
                    latency: latency(80),
                },
                Yardstick {
                    name: "ED".into(),
                    wait: "sleeping".into(),
                    pace_per_s: Some(500.0),
                    ops_per_s: 500.0,
                    bytes_per_s: 500.0 * 1024.0,
                    latency: latency(270),
                },
            ],
            runs: vec![
                run(Ack::Memory, 1, 50),
                run(Ack::Memory, 256, 900),
                run(Ack::Durable, 1, 210),
                run(Ack::Durable, 256, 1_500),
            ],
            canary: Some(CanarySummary {
                began_unix_s: 1_767_225_590.0,
                latency: latency(300),
                slow: vec![Slow { from_s: 12.1, to_s: 12.2, worst_ms: 14.0 }],
            }),
            notes: vec!["a note on the whole".into()],
        }
    }
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
    fn a_canary_marks_the_pieces_in_which_the_machine_was_slow() {
        // Its slow time is 12.1 s to 12.2 s: the second round begins 20 s after the canary.
        let report = sample::report();
        let mut run = report.runs[0].clone();
        let canary = report.canary.unwrap();
        run.rounds[1].began_unix_s = 1_767_225_602.0;
        canary.mark(&mut run);
        let slow = |round: usize| {
            let pieces = run.rounds[round].pieces.iter().enumerate();
            pieces.filter(|(_, piece)| piece.machine_was_slow).map(|(n, _)| n).collect::<Vec<_>>()
        };
        assert_eq!((slow(0), slow(1)), (vec![], vec![1]));
        assert!(run.notes[0].contains("in 1 of 20 pieces"), "{:?}", run.notes);
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
