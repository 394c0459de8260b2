//! Random lives: one seed decides the disk, the load, when the machine dies and what it keeps.

use engine::io::FileName;
use engine::io::sim::{Config, CrashImage, CrashPolicy, Latency, Random, Span};
use engine::limits::WINDOW_BYTES;
use engine::log::recover::OpenOptions;
use engine::log::writer::Flush;
use engine::shard::retention::Retention;

use crate::checks;
use crate::history::{Crash, History};
use crate::node::{Machines, Node, options};
use crate::workload::{self, Load, MIXED};

/// What a seed decides before anything happens.
struct Setup {
    config: Config,
    shards: usize,
    segment_bytes: u64,
    inflight_max: usize,
    window_bytes: u64,
    flush: Flush,
    prefill_step_bytes: u32,
    retention: Retention,
    /// The device is small, and above so many percent used segments go.
    disk_percent: Option<u8>,
    load: Load,
}

impl Setup {
    fn options(&self) -> OpenOptions {
        let mut options = options(self.segment_bytes, self.inflight_max);
        options.writer.flush = self.flush;
        options.writer.prefill_step_bytes = self.prefill_step_bytes;
        options.writer.window_bytes = self.window_bytes;
        OpenOptions { retention: self.retention, ..options }
    }

    /// Whole segments go though somebody holds what is in them.
    fn loses_segments(&self) -> bool {
        self.retention.bytes.is_some() || self.disk_percent.is_some()
    }

    /// Something goes.
    fn expires(&self) -> bool {
        self.loses_segments() || self.load.limited
    }
}

fn setup(random: &mut Random) -> Setup {
    let latency = match random.below(3) {
        0 => Config::default().latency,
        // Everything overtakes everything.
        1 => Latency {
            durable: Span::micros(20, 2000),
            write: Span::micros(5, 2000),
            ..Config::default().latency
        },
        // A disk that is often slow, but never slower than the deadline.
        _ => Latency { slow_one_in: 4, slow_factor: 50, ..Config::default().latency },
    };
    let mut config = Config { fua: random.below(2) == 0, latency, ..Config::default() };
    // A large segment is prefilled while it is written to; small ones roll.
    let (segment_bytes, value_bytes_max) = match random.below(12) {
        0 => (6 << 20, 900 << 10),
        1..=4 => (64 << 10, 40 << 10),
        5..=8 => (128 << 10, 60 << 10),
        _ => (256 << 10, 20 << 10),
    };
    // Some logs are kept short: two to four segments.
    let bytes = (random.below(4) == 0).then(|| random.between(2, 4) * segment_bytes);
    let retention = Retention { age_ms: None, bytes };
    // Some topics have limits, some devices are small.
    let limited = random.below(4) == 0;
    let disk_percent = (random.below(8) == 0).then(|| random.between(50, 95) as u8);
    if disk_percent.is_some() {
        config.capacity_bytes_max = random.between(5, 12) * segment_bytes;
    }
    let load = Load {
        steps: random.between(5, 150) as u32,
        requests_max: random.between(1, 6),
        value_bytes_max,
        topics_max: 3,
        levels: MIXED,
        numbered: retention.bytes.is_none() && disk_percent.is_none() && !limited,
        limited,
    };
    let shards = if random.below(4) == 0 { 2 } else { 1 };
    // With a small window most of the log is cold, and read by way of its indexes.
    let window_bytes = if random.below(3) > 0 { 0 } else { WINDOW_BYTES };
    Setup {
        config,
        shards,
        segment_bytes,
        inflight_max: random.between(1, 4) as usize,
        window_bytes,
        prefill_step_bytes: 4096 << random.below(9),
        flush: if random.below(3) == 0 { Flush::Fdatasync } else { Flush::Dsync },
        retention,
        disk_percent,
        load,
    }
}

/// Runs one seed.
pub(crate) fn run(seed: u64) -> Result<(), String> {
    let mut random = Random::new(seed);
    let setup = setup(&mut random);
    let mut history = History::default();
    let mut images = vec![CrashImage::default(); setup.shards];
    let mut machines = Machines::start(&images, setup.config, random.draw());
    let mut harmed = checks::audit::Harmed::default();
    let lives = random.between(2, 4);
    for life in 0..=lives {
        let last = life == lives;
        if !last && random.below(4) == 0 {
            // Somewhere in the boot, or a little later.
            crash_soon(&mut machines, &mut random, 12);
        }
        let alive = live(&mut machines, &setup, &mut history, &mut random, last)
            .map_err(|what| format!("life {life}: {what}"))?;
        if last && !alive {
            return Err("the last life ended early".to_owned());
        }
        if last {
            history.crash(Crash::Stopped);
            break;
        }
        if random.below(4) == 0 && !machines.crashed() {
            // The process is killed, and the device goes on with what its cache holds.
            history.crash(Crash::Kill);
            machines.drain();
            continue;
        }
        let draw = random.draw();
        let (crash, policy): (_, fn(u64) -> CrashPolicy<'static>) = match random.below(8) {
            0 => (Crash::Power, |_| CrashPolicy::LoseAll),
            1 => (Crash::Power, |_| CrashPolicy::KeepAll),
            2 => (Crash::Kill, CrashPolicy::Kill),
            _ => (Crash::Power, CrashPolicy::Seeded),
        };
        history.crash(crash);
        images = machines.images(|shard| policy(draw.wrapping_add(shard)));
        checks::audit::clean_but(&images, setup.segment_bytes, &harmed)
            .map_err(|what| format!("after life {life}: {what}"))?;
        if random.below(3) == 0 {
            harmed.extend(images.iter().flat_map(CrashImage::names));
            images.iter_mut().for_each(|image| harm_indexes(image, &mut random));
        }
        machines = Machines::start(&images, setup.config, random.draw());
    }
    images = machines.images(|_| CrashPolicy::LoseAll);
    machines = Machines::start(&images, setup.config, random.draw());
    let mut node = Node::boot(&mut machines, &setup.options())
        .map_err(|error| format!("cannot open after a stop: {error}"))?;
    let survey = node.survey()?;
    history.expire(&survey);
    // What expires after the restart is still in the image.
    let audit = if setup.expires() {
        checks::audit::clean_but(&images, setup.segment_bytes, &harmed)
    } else {
        checks::audit::check(&images, setup.segment_bytes, &harmed, &survey)
    };
    if !setup.loses_segments() {
        checks::limits::after_restart(&history, &survey)?;
    }
    audit
        .and_then(|()| checks::after_restart(&history, &survey))
        .map_err(|what| format!("after a stop: {what}"))
}

/// Indexes are derived: whatever happens to their files, nobody may notice.
fn harm_indexes(image: &mut CrashImage, random: &mut Random) {
    let names = image.names().into_iter().filter(|name| matches!(name, FileName::Index(_)));
    for name in names.collect::<Vec<_>>() {
        let len = image.len(name).unwrap_or(0);
        match random.below(6) {
            0 => image.remove(name),
            1 => image.create(name, 4096 * random.below(3)),
            // The first block holds spans, the last is the footer.
            2 if len > 0 => image.flip_bit(name, random.below(len.min(4096)), 3),
            3 | 4 if len > 0 => image.flip_bit(name, random.below(len), 5),
            _ => {}
        }
    }
}

fn crash_soon(machines: &mut Machines, random: &mut Random, events_max: u64) {
    let shard = random.below(machines.0.len() as u64) as usize;
    let disk = &mut machines.0[shard];
    let at = disk.sim().events() + random.between(1, events_max);
    engine::io::Env::disk(disk).crash_at(at);
}

/// One life; `false` if the machine crashed in it.
fn live(
    machines: &mut Machines,
    setup: &Setup,
    history: &mut History,
    random: &mut Random,
    last: bool,
) -> Result<bool, String> {
    if !last && random.below(2) == 0 && !machines.crashed() {
        crash_soon(machines, random, 300);
    }
    let opened = Node::boot(machines, &setup.options());
    let mut node = match opened {
        Ok(node) => node,
        Err(error) => {
            let crashed = machines.crashed();
            return if crashed { Ok(false) } else { Err(format!("cannot open: {error}")) };
        }
    };
    node.broker.limit_disk(setup.disk_percent);
    if node.crashed() {
        return Ok(false);
    }
    let survey = node.survey();
    if node.crashed() {
        return Ok(false);
    }
    let survey = survey?;
    if setup.retention.bytes.is_some() && setup.disk_percent.is_none() && !setup.load.limited {
        let (shards, retention) = (setup.shards, setup.retention);
        checks::retention::check(&mut node, history, shards, retention, setup.segment_bytes)?;
    }
    if setup.expires() {
        history.expire(&survey);
    }
    if !setup.loses_segments() {
        checks::limits::after_restart(history, &survey)?;
    }
    checks::after_restart(history, &survey)?;
    checks::readers::check(&mut node, history, &survey)?;
    if node.crashed() {
        return Ok(false);
    }
    history.found(&survey);
    workload::run(&mut node, history, random, &setup.load);
    checks::answered_once::check(history)?;
    if node.crashed() {
        return Ok(false);
    }
    if !setup.loses_segments() {
        checks::limits::in_life(&node, history)?;
    }
    if last || random.below(2) == 0 {
        if !node.settle(history) {
            return Err("the node never comes to rest".to_owned());
        }
        checks::answered_once::check(history)?;
        if node.crashed() {
            return Ok(false);
        }
        checks::liveness::check(history, setup.disk_percent.is_some())?;
    }
    if last && !node.stop(history) {
        return Err("the node does not come to a stop".to_owned());
    }
    Ok(true)
}
