//! Random lives: one seed decides the disk, the load, when the machine dies and what it keeps.

use engine::io::sim::{
    Config, CrashImage, CrashPolicy, EIO, ENOSPC, Fault, Latency, OpKind, Random, Span,
};
use engine::io::{Env, FileName};
use engine::limits::{GROUP_BYTES_MAX, WINDOW_BYTES};
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
    /// Groups are soon full: more of them are on their way at once.
    group_bytes_max: u32,
    window_bytes: u64,
    flush: Flush,
    prefill_step_bytes: u32,
    retention: Retention,
    /// The device is small, and above so many percent used segments go.
    disk_percent: Option<u8>,
    /// Reads of clients take so much longer: what they read may be about to go.
    reads_late_ns: Option<u64>,
    /// In some lives the device fails at something once.
    is_failing: bool,
    load: Load,
}

/// What becomes of a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Usual,
    /// Something that is written fails.
    Spoiled,
    /// It ends in order.
    Last,
}

impl Setup {
    fn options(&self) -> OpenOptions {
        let mut options = options(self.segment_bytes, self.inflight_max);
        options.writer.group_bytes_max = self.group_bytes_max;
        options.writer.flush = self.flush;
        options.writer.prefill_step_bytes = self.prefill_step_bytes;
        options.writer.window_bytes = self.window_bytes;
        OpenOptions { retention: self.retention, ..options }
    }

    /// Whole segments go though somebody holds what is in them.
    fn loses_segments(&self) -> bool {
        self.retention != Retention::default() || self.disk_percent.is_some()
    }

    /// The age of records, if nothing else makes them go.
    fn only_age_ms(&self) -> Option<u64> {
        let alone = self.retention.bytes.is_none() && self.disk_percent.is_none();
        self.retention.age_ms.filter(|_| alone && !self.load.limited)
    }

    fn kind(&self, last: bool, random: &mut Random) -> Life {
        match last {
            true => Life::Last,
            false if self.is_failing && random.below(2) == 0 => Life::Spoiled,
            false => Life::Usual,
        }
    }

    /// The next machines. Where records get too old their clocks go on; elsewhere they begin again.
    fn start_after(&self, before: &Machines, images: &[CrashImage], seed: u64) -> Machines {
        let mut machines = Machines::start(images, self.config, seed);
        if self.retention.age_ms.is_some() {
            machines.0[0].advance(before.0[0].now().0);
        }
        machines
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
    // In some records get too old.
    let age_ms = (random.below(6) == 0).then(|| random.between(1, 2000));
    let retention = Retention { age_ms, bytes };
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
        numbered: retention == Retention::default() && disk_percent.is_none() && !limited,
        limited,
        pauses: limited || age_ms.is_some(),
    };
    let shards = if random.below(4) == 0 { 2 } else { 1 };
    // With a small window most of the log is cold, and read by way of its indexes.
    let window_bytes = if random.below(3) > 0 { 0 } else { WINDOW_BYTES };
    let reads_late_ns = (random.below(3) == 0).then(|| random.below(30_000_000));
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
        reads_late_ns,
        is_failing: random.below(4) == 0,
        load,
        group_bytes_max: if random.below(2) == 0 {
            GROUP_BYTES_MAX
        } else {
            4096 << random.below(6)
        },
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
        machines.0.iter_mut().for_each(|machine| machine.disk().faults().clear());
        let kind = setup.kind(last, &mut random);
        if kind == Life::Spoiled {
            fail_soon(&mut machines, &mut random);
        }
        if !last && random.below(4) == 0 {
            // Somewhere in the boot, or a little later.
            crash_soon(&mut machines, &mut random, 12);
        }
        let alive = live(&mut machines, &setup, &mut history, &mut random, kind)
            .map_err(|what| format!("life {life}: {what}"))?;
        if last && !alive {
            return Err("the last life ended early".to_owned());
        }
        if last {
            history.crash(Crash::Stopped);
            break;
        }
        if random.below(4) == 0 && !machines.crashed() && kind != Life::Spoiled {
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
        machines = setup.start_after(&machines, &images, random.draw());
    }
    after_a_stop(&machines, &setup, &mut history, &harmed, random.draw())
        .map_err(|what| format!("after a stop: {what}"))
}

/// The node starts once more, and all is there.
fn after_a_stop(
    stopped: &Machines,
    setup: &Setup,
    history: &mut History,
    harmed: &checks::audit::Harmed,
    seed: u64,
) -> Result<(), String> {
    let images = stopped.images(|_| CrashPolicy::LoseAll);
    let mut machines = setup.start_after(stopped, &images, seed);
    let mut node = Node::boot(&mut machines, &setup.options())
        .map_err(|error| format!("cannot open: {error}"))?;
    let survey = node.survey()?;
    history.expire(&survey);
    // What expires after the restart is still in the image.
    let audit = if setup.expires() {
        checks::audit::clean_but(&images, setup.segment_bytes, harmed)
    } else {
        checks::audit::check(&images, setup.segment_bytes, harmed, &survey)
    };
    if !setup.loses_segments() {
        checks::limits::after_restart(history, &survey)?;
    }
    audit.and_then(|()| checks::after_restart(history, &survey))
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

/// Somewhere in the boot, or later, something that is written fails, once.
fn fail_soon(machines: &mut Machines, random: &mut Random) {
    const KINDS: [OpKind; 8] = [
        OpKind::Write,
        OpKind::Write,
        OpKind::Write,
        OpKind::Sync,
        OpKind::Zero,
        OpKind::Create,
        OpKind::Rename,
        OpKind::SyncDir,
    ];
    let shard = random.below(machines.0.len() as u64) as usize;
    let plan = machines.0[shard].disk().faults();
    let kind = KINDS[random.below(KINDS.len() as u64) as usize];
    let soon = if kind == OpKind::Write { 80 } else { 6 };
    let errno = if random.below(2) == 0 { EIO } else { ENOSPC };
    plan.nth(kind, plan.seen(kind) + random.between(1, soon), Fault::Fail(errno));
}

fn crash_soon(machines: &mut Machines, random: &mut Random, events_max: u64) {
    let shard = random.below(machines.0.len() as u64) as usize;
    let disk = &mut machines.0[shard];
    let at = disk.sim().events() + random.between(1, events_max);
    disk.disk().crash_at(at);
}

/// One life; `false` if the machine crashed in it.
fn live(
    machines: &mut Machines,
    setup: &Setup,
    history: &mut History,
    random: &mut Random,
    kind: Life,
) -> Result<bool, String> {
    let last = kind == Life::Last;
    if !last && random.below(2) == 0 && !machines.crashed() {
        crash_soon(machines, random, 300);
    }
    let opened = Node::boot(machines, &setup.options());
    let mut node = match opened {
        Ok(node) => node,
        Err(error) => {
            let cut = machines.crashed() || kind == Life::Spoiled;
            return if cut { Ok(false) } else { Err(format!("cannot open: {error}")) };
        }
    };
    node.broker.limit_disk(setup.disk_percent);
    if node.crashed() {
        return Ok(false);
    }
    if !restarted(&mut node, setup, history)? {
        return Ok(false);
    }
    if let Some(late) = setup.reads_late_ns {
        (0..setup.shards).for_each(|shard| {
            node.disk(shard).faults().always(OpKind::Read, Fault::LateNs(late));
        });
    }
    workload::run(&mut node, history, random, &setup.load);
    checks::answered_once::check(history)?;
    checks::readers::undamaged(history)?;
    if node.crashed() {
        return Ok(false);
    }
    if !setup.loses_segments() {
        checks::limits::in_life(&node, history)?;
    }
    if let Some(age_ms) = setup.only_age_ms() {
        checks::retention::young(&mut node, history, age_ms)?;
    }
    if last || random.below(2) == 0 {
        rest(&mut node, setup, history, kind)?;
        if node.crashed() {
            return Ok(false);
        }
    }
    if last && !node.stop(history) {
        return Err("the node does not come to a stop".to_owned());
    }
    Ok(true)
}

/// What a start has found is what it owes; `false` if the machine crashed meanwhile.
fn restarted(node: &mut Node<'_>, setup: &Setup, history: &mut History) -> Result<bool, String> {
    let survey = node.survey();
    if node.crashed() {
        return Ok(false);
    }
    let survey = survey?;
    let only_bytes = setup.retention.age_ms.is_none() && setup.disk_percent.is_none();
    if only_bytes && !setup.load.limited {
        let (shards, retention) = (setup.shards, setup.retention);
        checks::retention::check(node, history, shards, retention, setup.segment_bytes)?;
    }
    if setup.expires() {
        history.expire(&survey);
    }
    if !setup.loses_segments() {
        checks::limits::after_restart(history, &survey)?;
    }
    checks::after_restart(history, &survey)?;
    checks::readers::check(node, history, &survey)?;
    if node.crashed() {
        return Ok(false);
    }
    history.found(&survey);
    Ok(true)
}

/// Everybody is answered, and what is to go has gone.
fn rest(
    node: &mut Node<'_>,
    setup: &Setup,
    history: &mut History,
    kind: Life,
) -> Result<(), String> {
    if !node.settle(history) {
        return Err("the node never comes to rest".to_owned());
    }
    checks::answered_once::check(history)?;
    checks::readers::undamaged(history)?;
    if node.crashed() || kind == Life::Spoiled {
        return Ok(());
    }
    checks::liveness::check(history, setup.disk_percent.is_some())?;
    match setup.only_age_ms() {
        Some(_) => checks::retention::old(node, setup.segment_bytes),
        None => Ok(()),
    }
}
