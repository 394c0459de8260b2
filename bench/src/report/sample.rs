//! A report that is the same in every run, for tests.

use super::*;
use crate::report::Slow;
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
        verified: Some(Verified { acknowledged: 50_000, consumed: 50_000, ..Default::default() }),
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
            build: "uringmq 0.1.0, release".into(),
            node: Some("not tuned: flush by dsync, 4 groups in flight".into()),
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
        caveats: Vec::new(),
        notes: vec!["a note on the whole".into()],
    }
}
