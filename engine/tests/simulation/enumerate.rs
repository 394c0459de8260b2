//! Every crash point of a short life: the machine dies after each event in turn, keeps what each
//! of several policies lets it keep, and is then started a second time, where it also dies.
//!
//! Equal images are recovered once. The second life appends, durably, where the first one ended:
//! what the first left beyond holes must not come back.

use std::collections::BTreeSet;

use engine::io::sim::{Config, CrashImage, CrashPolicy, Grain, Latency, Outcomes, Random, Span};
use engine::level::AckLevel;
use engine::log::recover::OpenOptions;
use engine::log::writer::Flush;

use crate::checks;
use crate::history::{Crash, History};
use crate::node::{Machines, Node, options};
use crate::workload::{self, Load, MIXED};

const SEGMENT_BYTES: u64 = 32 << 10;
/// Outcomes of one crash are all visited when there are no more than this.
const OUTCOMES_MAX: usize = 24;

/// What an enumeration went through.
#[derive(Debug, Default)]
pub(crate) struct Visited {
    pub(crate) events: u64,
    pub(crate) images: usize,
    pub(crate) segments: u64,
    pub(crate) boots: u64,
}

/// What is enumerated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) fua: bool,
    pub(crate) flush: Flush,
}

impl Case {
    fn options(self) -> OpenOptions {
        let mut options = options(SEGMENT_BYTES, 3);
        options.writer.flush = self.flush;
        options
    }
}

fn config(fua: bool) -> Config {
    // Wide ranges: the completions of writes in flight overtake each other.
    let latency = Latency {
        write: Span::micros(5, 400),
        durable: Span::micros(50, 600),
        ..Config::default().latency
    };
    Config { fua, latency, ..Config::default() }
}

/// The first life, up to event `crash_at`.
fn first_life(case: Case, crash_at: u64) -> Result<(Machines, History, u64), String> {
    let mut machines = Machines::start(&[CrashImage::default()], config(case.fua), case.seed);
    engine::io::Env::disk(&mut machines.0[0]).crash_at(crash_at);
    let (mut history, mut random) = (History::default(), Random::new(case.seed));
    let mut segments = 0;
    if let Ok(mut node) = Node::boot(&mut machines, &case.options()) {
        node.create_topic(&mut history, "durable", 1, AckLevel::Durable);
        node.create_topic(&mut history, "written", 1, AckLevel::Written);
        node.settle(&mut history);
        let load = Load {
            steps: 60,
            requests_max: 3,
            value_bytes_max: 12 << 10,
            topics_max: 3,
            levels: MIXED,
            numbered: true,
            limited: false,
            pauses: false,
        };
        workload::run(&mut node, &mut history, &mut random, &load);
        checks::answered_once::check(&history)?;
        segments = node.broker.shards()[0].counters().segments;
    }
    Ok((machines, history, segments))
}

/// Crashes a short life at every event in every way; `Err` says what was broken.
pub(crate) fn every_crash_point(case: Case) -> Result<Visited, String> {
    let mut visited = Visited::default();
    for event in 0.. {
        let mut seen = BTreeSet::new();
        let ended = at(case, event, &mut seen, &mut visited)
            .map_err(|what| format!("event {event}: {what}"))?;
        visited.images += seen.len();
        if ended {
            visited.events = event;
            break;
        }
    }
    Ok(visited)
}

fn at(
    case: Case,
    event: u64,
    seen: &mut BTreeSet<u64>,
    visited: &mut Visited,
) -> Result<bool, String> {
    let (machines, history, segments) = first_life(case, event)?;
    visited.segments = visited.segments.max(segments);
    let crash = |policy: CrashPolicy<'_>| machines.0[0].sim().crash(policy);
    let power = [
        crash(CrashPolicy::LoseAll),
        crash(CrashPolicy::KeepAll),
        crash(CrashPolicy::Seeded(event)),
        crash(CrashPolicy::Seeded(event + 1_000_000)),
        crash(CrashPolicy::Seeded(event + 2_000_000)),
    ];
    for image in power.into_iter().chain(few_outcomes(&machines)) {
        if seen.insert(image.digest()) {
            second_life(case, &history, image, Crash::Power, visited)?;
        }
    }
    let killed = crash(CrashPolicy::Kill(event));
    second_life(case, &history, killed, Crash::Kill, visited)?;
    Ok(!machines.crashed())
}

/// All outcomes at block grain, or as many as there is time for.
fn few_outcomes(machines: &Machines) -> Vec<CrashImage> {
    let mut outcomes = Outcomes::new(Grain::Block);
    let mut images = Vec::new();
    loop {
        images.push(machines.0[0].sim().crash(CrashPolicy::Outcomes(&mut outcomes)));
        if images.len() >= OUTCOMES_MAX || !outcomes.advance() {
            return images;
        }
    }
}

/// Checks what survived, appends behind it, dies again, and checks once more. A third machine
/// dies while it boots.
fn second_life(
    case: Case,
    first: &History,
    image: CrashImage,
    crash: Crash,
    visited: &mut Visited,
) -> Result<(), String> {
    let mut history = first.clone();
    history.crash(crash);
    checks::audit::clean(std::slice::from_ref(&image), SEGMENT_BYTES)?;
    let mut machines = Machines::start(std::slice::from_ref(&image), config(case.fua), case.seed);
    visited.boots += 1;
    let appended = {
        let mut node = Node::boot(&mut machines, &case.options())
            .map_err(|error| format!("second boot: {error}"))?;
        let survey = node.survey()?;
        checks::after_restart(&history, &survey)?;
        let harmed = checks::audit::Harmed::default();
        checks::audit::check(std::slice::from_ref(&image), SEGMENT_BYTES, &harmed, &survey)?;
        history.found(&survey);
        append(&mut node, &mut history, case.seed)
    };
    checks::answered_once::check(&history)?;
    if !appended {
        return Err("the second life never comes to rest".to_owned());
    }
    checks::liveness::check(&history, false)?;
    history.crash(Crash::Power);
    let policy = if case.seed.is_multiple_of(2) {
        CrashPolicy::LoseAll
    } else {
        CrashPolicy::Seeded(visited.boots)
    };
    let image = machines.0[0].sim().crash(policy);
    // Dies somewhere in the boot, then boots.
    let mut machines = Machines::start(&[image], config(case.fua), case.seed);
    engine::io::Env::disk(&mut machines.0[0]).crash_at(visited.boots % 6);
    drop(Node::boot(&mut machines, &case.options()));
    let image = machines.0[0].sim().crash(CrashPolicy::Seeded(visited.boots));
    checks::audit::clean(std::slice::from_ref(&image), SEGMENT_BYTES)
        .map_err(|what| format!("third life: {what}"))?;
    let mut machines = Machines::start(&[image], config(case.fua), case.seed);
    let mut node = Node::boot(&mut machines, &case.options())
        .map_err(|error| format!("third boot: {error}"))?;
    checks::after_restart(&history, &node.survey()?)
}

/// A few batches of the sizes of the first life, one durable, two in flight at the end.
fn append(node: &mut Node<'_>, history: &mut History, seed: u64) -> bool {
    let Some(topic) = history.topics.iter().find_map(|t| t.id.filter(|_| !t.deleted)) else {
        return true;
    };
    node.produce(history, (topic, 0), AckLevel::Written, (1, 300));
    node.produce(history, (topic, 0), AckLevel::Durable, (1, 3000));
    let rests = node.settle(history);
    for ack in [AckLevel::Written, AckLevel::Durable] {
        node.produce(history, (topic, 0), ack, (1 + (seed % 3) as u32, 200));
        node.turn(history);
    }
    rests && node.settle(history)
}
