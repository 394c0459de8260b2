//! Every crash point of a short life: the machine dies after each event in turn, keeps what each
//! of several policies lets it keep, and is then started a second time, where it also dies.
//!
//! Equal images are recovered once. The second life appends, durably, where the first one ended:
//! what the first left beyond holes must not come back. The third dies while it starts: at one
//! event, or, after one crash in several, at each in turn until a start gets through.
//!
//! `SIM_CASE` replays one crash point ([`Case`]): its event is the last word.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

use engine::io::Env;
use engine::io::sim::{Config, CrashImage, CrashPolicy, Grain, Latency, Outcomes, Random, Span};
use engine::level::AckLevel;
use engine::log::recover::OpenOptions;
use engine::log::writer::Flush;
use engine::shard::retention::Retention;

use crate::checks;
use crate::history::{Crash, History};
use crate::node::{Machines, Node, options};
use crate::workload::{self, Load, MIXED};

const SEGMENT_BYTES: u64 = 32 << 10;
/// Outcomes of one crash are all visited when there are no more than this.
const OUTCOMES_MAX: usize = 24;
/// After one crash in this many, all of the third life's start is enumerated.
const WHOLE_STARTS_ONE_IN: u64 = 6;

/// What an enumeration went through.
#[derive(Debug, Default)]
pub(crate) struct Visited {
    pub(crate) events: u64,
    pub(crate) images: usize,
    pub(crate) boots: u64,
    /// Starts that were cut, in those that were enumerated.
    pub(crate) cut_starts: u64,
    /// Of the first life, when it was not cut short: segments, complete checkpoints, indexes,
    /// segments used again.
    pub(crate) segments: u64,
    pub(crate) checkpoints: u64,
    pub(crate) indexes: u64,
    pub(crate) recycled: u64,
}

/// What is enumerated. In words: `0,fua,dsync,retained`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) fua: bool,
    pub(crate) flush: Flush,
    /// The log is kept to two segments, and topics have limits.
    pub(crate) retained: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fua = if self.fua { "fua" } else { "flush" };
        let flush = if self.flush == Flush::Dsync { "dsync" } else { "fdatasync" };
        let retained = if self.retained { "retained" } else { "kept" };
        write!(f, "{},{fua},{flush},{retained}", self.seed)
    }
}

/// One crash point: a case, and the event after which the first life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point(pub(crate) Case, pub(crate) u64);

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split(',').collect();
        let number = |word: &str| word.parse().map_err(|_| format!("{word} is not a number"));
        let [seed, fua @ ("fua" | "flush"), flush @ ("dsync" | "fdatasync"), kept, event] =
            words[..]
        else {
            return Err(format!("{text}: seed,fua|flush,dsync|fdatasync,kept|retained,event"));
        };
        let flush = if flush == "dsync" { Flush::Dsync } else { Flush::Fdatasync };
        let (fua, retained) = (fua == "fua", kept == "retained");
        Ok(Self(Case { seed: number(seed)?, fua, flush, retained }, number(event)?))
    }
}

impl Case {
    fn options(self) -> OpenOptions {
        let mut options = options(SEGMENT_BYTES, 3);
        options.writer.flush = self.flush;
        options.retention.bytes = self.retained.then_some(2 * SEGMENT_BYTES);
        options
    }

    fn load(self) -> Load {
        Load {
            // Long enough to use segments again.
            steps: if self.retained { 90 } else { 60 },
            requests_max: 3,
            value_bytes_max: 12 << 10,
            topics_max: 3,
            levels: MIXED,
            numbered: !self.retained,
            limited: self.retained,
            pauses: false,
        }
    }

    fn start(self, image: &CrashImage) -> Machines {
        // Wide ranges: the completions of writes in flight overtake each other.
        let latency = Latency {
            write: Span::micros(5, 400),
            durable: Span::micros(50, 600),
            ..Config::default().latency
        };
        let config = Config { fua: self.fua, latency, ..Config::default() };
        Machines::start(std::slice::from_ref(image), config, self.seed)
    }
}

impl Visited {
    fn first_life(&mut self, node: &mut Node<'_>) {
        let counters = node.broker.shards()[0].counters();
        self.segments = self.segments.max(counters.segments);
        self.checkpoints = self.checkpoints.max(counters.checkpoints);
        self.indexes = self.indexes.max(counters.sealed_segments);
        self.recycled = self.recycled.max(counters.recycled_segments);
    }
}

/// The first life, up to the event of `point`.
fn first_life(point: Point, visited: &mut Visited) -> Result<(Machines, History), String> {
    let Point(case, crash_at) = point;
    let mut machines = case.start(&CrashImage::default());
    machines.0[0].disk().crash_at(crash_at);
    let (mut history, mut random) = (History::default(), Random::new(case.seed));
    if let Ok(mut node) = Node::boot(&mut machines, &case.options()) {
        let limits = Retention { age_ms: None, bytes: case.retained.then_some(SEGMENT_BYTES) };
        node.create_limited(&mut history, "durable", 1, AckLevel::Durable, limits);
        node.create_topic(&mut history, "written", 1, AckLevel::Written);
        node.settle(&mut history);
        workload::run(&mut node, &mut history, &mut random, &case.load());
        // What is done in the background.
        node.settle(&mut history);
        checks::answered_once::check(&history)?;
        visited.first_life(&mut node);
    }
    Ok((machines, history))
}

/// Crashes a short life at every event in every way; `Err` says what was broken, and where.
pub(crate) fn every_crash_point(case: Case) -> Result<Visited, (u64, String)> {
    let mut visited = Visited::default();
    for event in 0.. {
        let ended = at(Point(case, event), &mut visited).map_err(|what| (event, what))?;
        if ended {
            visited.events = event;
            break;
        }
    }
    Ok(visited)
}

/// Crashes at one event, in every way; whether the life was over before.
pub(crate) fn at(point: Point, visited: &mut Visited) -> Result<bool, String> {
    let result = catch_unwind(AssertUnwindSafe(|| every_image(point, visited)));
    result.unwrap_or_else(|_| Err("panicked (see above)".to_owned()))
}

fn every_image(point: Point, visited: &mut Visited) -> Result<bool, String> {
    let (machines, history) = first_life(point, visited)?;
    let event = point.1;
    let crash = |policy: CrashPolicy<'_>| machines.0[0].sim().crash(policy);
    let power = [
        crash(CrashPolicy::LoseAll),
        crash(CrashPolicy::KeepAll),
        crash(CrashPolicy::Seeded(event)),
        crash(CrashPolicy::Seeded(event + 1_000_000)),
        crash(CrashPolicy::Seeded(event + 2_000_000)),
    ];
    let killed = (crash(CrashPolicy::Kill(event)), Crash::Kill);
    let power = power.into_iter().chain(few_outcomes(&machines)).map(|image| (image, Crash::Power));
    let mut seen = BTreeSet::new();
    // What a start depends on, beside its image.
    for (salt, (image, crash)) in (event * 100..).zip(power.chain([killed])) {
        if seen.insert((image.digest(), crash == Crash::Kill)) {
            second_life(point, salt, (&history, crash), image, visited)?;
        }
    }
    visited.images += seen.len();
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
    Point(case, event): Point,
    salt: u64,
    (first, crash): (&History, Crash),
    image: CrashImage,
    visited: &mut Visited,
) -> Result<(), String> {
    let mut history = first.clone();
    history.crash(crash);
    checks::audit::clean(std::slice::from_ref(&image), SEGMENT_BYTES)?;
    let mut machines = case.start(&image);
    visited.boots += 1;
    let appended = {
        let mut node = Node::boot(&mut machines, &case.options())
            .map_err(|error| format!("second boot: {error}"))?;
        let survey = found(case, &mut node, &mut history)?;
        if !case.retained {
            let harmed = checks::audit::Harmed::default();
            checks::audit::check(std::slice::from_ref(&image), SEGMENT_BYTES, &harmed, &survey)?;
        }
        history.found(&survey);
        append(&mut node, &mut history, case.seed)
    };
    checks::answered_once::check(&history)?;
    if !appended {
        return Err("the second life never comes to rest".to_owned());
    }
    checks::liveness::check(&history, false)?;
    history.crash(Crash::Power);
    let policy =
        if case.seed.is_multiple_of(2) { CrashPolicy::LoseAll } else { CrashPolicy::Seeded(salt) };
    let image = machines.0[0].sim().crash(policy);
    // The first image of some events.
    let is_whole = (event + case.seed).is_multiple_of(WHOLE_STARTS_ONE_IN);
    if !is_whole || !salt.is_multiple_of(100) {
        return third_life(case, &history, &image, (salt % 6, salt)).map(drop);
    }
    for cut_at in 0.. {
        if !third_life(case, &history, &image, (cut_at, salt))? {
            break;
        }
        visited.cut_starts += 1;
    }
    Ok(())
}

/// Dies somewhere in the boot, then boots. Whether it was cut before it was up.
fn third_life(
    case: Case,
    history: &History,
    image: &CrashImage,
    (cut_at, salt): (u64, u64),
) -> Result<bool, String> {
    let mut machines = case.start(image);
    machines.0[0].disk().crash_at(cut_at);
    let was_cut = Node::boot(&mut machines, &case.options()).is_err();
    let image = machines.0[0].sim().crash(CrashPolicy::Seeded(salt + cut_at));
    let third = |what: String| format!("third life, cut at event {cut_at}: {what}");
    checks::audit::clean(std::slice::from_ref(&image), SEGMENT_BYTES).map_err(third)?;
    let mut machines = case.start(&image);
    let mut node =
        Node::boot(&mut machines, &case.options()).map_err(|error| third(error.to_string()))?;
    found(case, &mut node, &mut history.clone()).map_err(third)?;
    Ok(was_cut)
}

/// What a node holds: all that it owes, but for what has expired.
fn found(
    case: Case,
    node: &mut Node<'_>,
    history: &mut History,
) -> Result<crate::survey::Survey, String> {
    let survey = node.survey()?;
    if case.retained {
        history.expire(&survey);
    }
    checks::after_restart(history, &survey)?;
    Ok(survey)
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
