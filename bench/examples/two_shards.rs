//! Two shards on two CPUs against one on one: what each costs in CPU when the other runs beside it.
//!
//! `cargo run --release -p bench --example two_shards -- DIR [SECONDS [ROUNDS]]`
//!
//! No sockets and no threads but the pinned ones: each has a ring, a log below DIR and one shard, and
//! appends batches of one message of 1 KiB at level `memory` as fast as it can. The yardstick, in the
//! same round, is a pinned loop that computes checksums of what fits its cache: what two of them keep
//! of one's rate is what this machine's CPUs leave to anybody. Figures are per second of the
//! thread's own CPU time.

use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use bench::yardstick::process::thread_cpu;
use engine::batch::{NewRecord, append_single};
use engine::broker::{Answers, Broker, NewTopic};
use engine::io::block::Budget;
use engine::io::ring::env::monotonic;
use engine::io::ring::{DiskLimits, RealEnv, Ring, RingConfig, RingDisk};
use engine::level::AckLevel;
use engine::limits::{BATCH_BYTES_MAX, BLOCK_MEMORY_BYTES_MAX};
use engine::log::recover::OpenOptions;
use engine::log::writer::WriterOptions;
use engine::shard::Token;
use engine::shard::retention::Retention;
use engine::shard::turn::TurnClock;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Batches of a turn: as many as a busy reactor receives at once.
const TURN_BATCHES: usize = 64;
const VALUE_BYTES: usize = 1024;
/// While the device is behind.
const PAUSE: Duration = Duration::from_micros(100);

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| args.get(at).map_or(Ok(default), |text| text.parse());
    let Some(dir) = args.first().map(Path::new) else {
        return Err("usage: two_shards DIR [SECONDS [ROUNDS]]".into());
    };
    let (time, rounds) = (Duration::from_secs(number(1, 3)?), number(2, 5)?);
    let mut shares = Vec::new();
    println!("round   loop alone  loops beside   shard alone  shards beside   shard / loop");
    for round in 0..rounds {
        let loop_alone = run(&[0], time, &|_| Ok(Checksums))?;
        let shard = |cpu: usize| Appends::open(&dir.join(format!("two-shards-{cpu}")));
        let alone = run(&[0], time, &shard)?;
        let beside = run(&[0, 1], time, &shard)?;
        let loops_beside = run(&[0, 1], time, &|_| Ok(Checksums))?;
        for cpu in [0, 1] {
            let _ = std::fs::remove_dir_all(dir.join(format!("two-shards-{cpu}")));
        }
        let share = (beside / alone) / (loops_beside / loop_alone);
        println!(
            "{round:>5}  {loop_alone:>11.0} {loops_beside:>13.0}  {alone:>12.0}  {beside:>13.0}  \
             {share:>13.3}"
        );
        shares.push(share);
    }
    shares.sort_by(f64::total_cmp);
    let (Some(low), Some(median), Some(high)) =
        (shares.first(), shares.get(shares.len() / 2), shares.last())
    else {
        return Err("no rounds".into());
    };
    println!("median {median:.3} ({low:.3} to {high:.3}); goal: at least 0.9");
    Ok(())
}

/// Work that a thread does piece by piece.
trait Work {
    /// Does some; how much it was.
    fn step(&mut self) -> u64;
}

/// Work per CPU-second on these CPUs at the same time, all together.
fn run<W: Work>(
    cpus: &[usize],
    time: Duration,
    make: &(impl Fn(usize) -> Result<W> + Sync),
) -> Result<f64> {
    let barrier = Arc::new(Barrier::new(cpus.len()));
    let done = std::thread::scope(|scope| {
        let one = |cpu: usize| {
            let barrier = Arc::clone(&barrier);
            scope.spawn(move || -> Result<(u64, Duration)> {
                let mut set = CpuSet::new();
                set.set(cpu)?;
                sched_setaffinity(Pid::from_raw(0), &set)?;
                let mut work = make(cpu)?;
                barrier.wait();
                let (begun, cpu_before) = (Instant::now(), thread_cpu());
                let mut done = 0;
                while begun.elapsed() < time {
                    done += work.step();
                }
                Ok((done, thread_cpu() - cpu_before))
            })
        };
        let threads: Vec<_> = cpus.iter().copied().map(one).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<_>>| {
            thread.join().unwrap_or_else(|_| Err("a thread has failed".into()))
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let (work, cpu) = done
        .iter()
        .fold((0, 0.0), |(work, cpu), (one, time)| (work + one, cpu + time.as_secs_f64()));
    Ok(work as f64 / cpu)
}

struct Checksums;

impl Work for Checksums {
    fn step(&mut self) -> u64 {
        let bytes = std::hint::black_box([7_u8; 16 << 10]);
        for _ in 0..64 {
            std::hint::black_box(crc32c::crc32c(std::hint::black_box(&bytes)));
        }
        64
    }
}

/// A shard that is appended to.
struct Appends {
    ring: std::rc::Rc<Ring>,
    broker: Broker<RealEnv>,
    answers: Answers,
    topic: u32,
    batch: Vec<u8>,
}

impl Appends {
    fn open(dir: &Path) -> Result<Self> {
        let _ = std::fs::remove_dir_all(dir);
        std::fs::create_dir_all(dir)?;
        let ring = Ring::new(RingConfig::default())?;
        let budget = Budget::new(BLOCK_MEMORY_BYTES_MAX);
        let disk = RingDisk::open(&ring, dir, budget, DiskLimits::default());
        let disk = disk.map_err(|errno| format!("{}: {errno}", dir.display()))?;
        let retention = Retention { age_ms: None, bytes: Some(1 << 30) };
        let (node, segment_bytes) = ([1; 16], 256 << 20);
        let writer = WriterOptions::default();
        let options = OpenOptions { shard: 0, node, segment_bytes, writer, retention };
        let broker = Broker::open([RealEnv::new(disk, 1)], &options)?;
        let mut batch = Vec::new();
        let value = [5; VALUE_BYTES];
        let record = NewRecord { value: Some(&value), ..NewRecord::default() };
        append_single(&mut batch, &record, BATCH_BYTES_MAX)?;
        let answers = Answers::default();
        let mut appends = Self { ring, broker, answers, topic: 0, batch };
        appends.create()?;
        Ok(appends)
    }

    fn create(&mut self) -> Result<()> {
        let new = NewTopic {
            name: "t",
            queues: 1,
            ack: AckLevel::Memory,
            deep: false,
            keyed: false,
            retention: Retention::default(),
        };
        self.broker.create_topic(&new, Token(0), monotonic(), &mut self.answers);
        while self.broker.catalog().by_name("t").is_none() {
            self.turn();
            std::thread::sleep(PAUSE);
        }
        self.topic = self.broker.catalog().by_name("t").ok_or("no topic")?.id;
        Ok(())
    }

    fn turn(&mut self) {
        let now = monotonic();
        let clock = TurnClock { gathered: now, received: now };
        self.broker.turn(clock, &mut self.answers);
        self.ring.submit();
        self.ring.reap();
    }
}

impl Work for Appends {
    fn step(&mut self) -> u64 {
        if self.broker.is_congested() {
            std::thread::sleep(PAUSE);
            self.turn();
            return 0;
        }
        let now = monotonic();
        for _ in 0..TURN_BATCHES {
            let place = (self.topic, 0);
            let asked = (Token(1), now);
            let level = Some(AckLevel::Memory);
            self.broker.produce(place, level, &self.batch, asked, &mut self.answers);
        }
        self.turn();
        let stored = |effect: &engine::shard::Effect| {
            matches!(effect, engine::shard::Effect::Produced { result: Ok(_), .. })
        };
        let stored = self.answers.effects.iter().filter(|effect| stored(effect)).count();
        self.answers.effects.clear();
        self.answers.topics.clear();
        stored as u64
    }
}
