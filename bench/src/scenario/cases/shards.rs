//! Case 14: two shards on two CPUs against one on one: what each costs in CPU when the other runs
//! beside it.
//!
//! No sockets and no threads but the pinned ones: each has a ring, a log and one shard, and appends
//! batches of one message at level `memory`, at a rate that one device takes from two of them without
//! making them wait: as fast as they can they would wait for it, and be compared by how they wait. The
//! yardstick, in the same round, is a
//! pinned loop that computes checksums of what fits its cache: what two of them keep of one's rate is
//! what this machine's CPUs leave to anybody. Figures are per second of the threads' own CPU time.

use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

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

use super::stage::Stage;
use crate::scenario::BenchError;
use crate::scenario::goals::model::Bound::AtLeast;
use crate::scenario::site::Scratch;
use crate::yardstick::YardstickError;
use crate::yardstick::probe::on_measuring_thread;
use crate::yardstick::process::thread_cpu;

/// Batches of a turn: as many as a busy reactor receives at once.
const TURN_BATCHES: usize = 64;
const VALUE_BYTES: [usize; 2] = [100, 1024];
/// What one shard's messages amount to, in bytes a second.
const BYTES_PER_S: f64 = 150e6;
/// What a short message takes of the log beside its bytes.
const OVERHEAD_BYTES: usize = 120;
/// Turns between two looks at the clock.
const BURST_TURNS: u32 = 16;
/// While the device is behind.
const PAUSE: Duration = Duration::from_micros(100);
/// What each log may take of the disk.
const LOG_BYTES_MAX: u64 = 1 << 30;

pub(super) fn measure(stage: &mut Stage<'_>) -> Result<(), BenchError> {
    let time = stage.time();
    let both = [stage.options.broker_cpu(), stage.options.generator_cpu()];
    let one = &both[..1];
    if both.contains(&None) {
        stage.note("nothing is pinned: two threads may have shared a CPU".to_owned());
    }
    for round in 0..stage.options.rounds {
        stage.step(&format!("busy loops, round {}", round + 1));
        let loop_alone = run(one, time, &|| Ok(Checksums))?;
        let loops = run(&both, time, &|| Ok(Checksums))? / loop_alone;
        for value_bytes in VALUE_BYTES {
            stage.step(&format!("shards, messages of {value_bytes} B, round {}", round + 1));
            let place = stage.place.as_path();
            let shard = || Appends::open(place, value_bytes);
            let alone = run(one, time, &shard)?;
            let beside = run(&both, time, &shard)?;
            if stage.stopped() {
                return Ok(());
            }
            let what = format!("two shards, {value_bytes} B, per CPU second of one");
            stage.add_ratio((&what, "x two busy loops"), AtLeast(0.9), (beside / alone, loops));
        }
    }
    Ok(())
}

/// Work that a thread does piece by piece.
trait Work {
    /// Does some; how much it was.
    fn step(&mut self) -> u64;
}

/// Work per CPU-second on these CPUs at the same time, all together.
fn run<W: Work>(
    cpus: &[Option<usize>],
    time: Duration,
    make: &(impl Fn() -> Result<W, BenchError> + Sync),
) -> Result<f64, BenchError> {
    let barrier = Arc::new(Barrier::new(cpus.len()));
    let done = std::thread::scope(|scope| {
        let one = |cpu: Option<usize>| {
            let barrier = Arc::clone(&barrier);
            scope.spawn(move || {
                on_measuring_thread(cpu, || {
                    let work = make();
                    // The others wait for this one, also when it could not be made.
                    barrier.wait();
                    let mut work = work?;
                    let (begun, cpu_before) = (Instant::now(), thread_cpu());
                    let mut done = 0;
                    while begun.elapsed() < time {
                        done += work.step();
                    }
                    Ok::<_, BenchError>((done, thread_cpu().saturating_sub(cpu_before)))
                })
            })
        };
        let threads: Vec<_> = cpus.iter().copied().map(one).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<_, BenchError>>| {
            thread.join().unwrap_or_else(|_| Err(YardstickError::Panicked.into()))
        };
        threads.into_iter().map(join).collect::<Result<Vec<(u64, Duration)>, BenchError>>()
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
    /// A message is due so often.
    interval: Duration,
    begun: Option<Instant>,
    appended: u32,
    /// Removed when the shard has gone.
    _dir: Scratch,
}

impl Appends {
    fn open(place: &Path, value_bytes: usize) -> Result<Self, BenchError> {
        let dir = Scratch::new(place, false)?;
        let ring = Ring::new(RingConfig::default())
            .map_err(|error| BenchError::Failed(format!("no ring for a shard: {error}")))?;
        let budget = Budget::new(BLOCK_MEMORY_BYTES_MAX);
        let disk = RingDisk::open(&ring, dir.path(), budget, DiskLimits::default());
        let disk = disk.map_err(|errno| {
            let source = std::io::Error::from_raw_os_error(errno.0);
            BenchError::dir("opening", dir.path())(source)
        })?;
        let retention = Retention { age_ms: None, bytes: Some(LOG_BYTES_MAX) };
        let (node, segment_bytes) = ([1; 16], 256 << 20);
        let writer = WriterOptions::default();
        let options = OpenOptions { shard: 0, node, segment_bytes, writer, retention };
        let broker = Broker::open([RealEnv::new(disk, 1)], &options)
            .map_err(|error| BenchError::Failed(format!("the shard cannot be opened: {error}")))?;
        let mut batch = Vec::new();
        let value = vec![5; value_bytes];
        let record = NewRecord { value: Some(&value), ..NewRecord::default() };
        append_single(&mut batch, &record, BATCH_BYTES_MAX)
            .map_err(|error| BenchError::load("a batch")(error.into()))?;
        let answers = Answers::default();
        let per_s = BYTES_PER_S / (value_bytes + OVERHEAD_BYTES) as f64;
        let interval = Duration::from_secs_f64(1.0 / per_s);
        let (begun, appended) = (None, 0);
        let mut appends =
            Self { ring, broker, answers, topic: 0, batch, interval, begun, appended, _dir: dir };
        appends.create();
        Ok(appends)
    }

    fn create(&mut self) {
        let new = NewTopic {
            name: "t",
            queues: 1,
            ack: AckLevel::Memory,
            deep: false,
            keyed: false,
            retention: Retention::default(),
        };
        self.broker.create_topic(&new, Token(0), monotonic(), &mut self.answers);
        loop {
            if let Some(topic) = self.broker.catalog().by_name("t") {
                self.topic = topic.id;
                return;
            }
            self.turn();
            std::thread::sleep(PAUSE);
        }
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
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let ahead = (self.interval * self.appended).saturating_sub(begun.elapsed());
        if !ahead.is_zero() {
            std::thread::sleep(ahead);
        }
        (0..BURST_TURNS).map(|_| self.burst()).sum()
    }
}

impl Appends {
    fn burst(&mut self) -> u64 {
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
        self.appended += stored as u32;
        stored as u64
    }
}
