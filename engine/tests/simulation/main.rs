//! The broker on simulated machines: crashed, killed and run into defects, and checked.
//!
//! Reading order: `node` (one life of a broker) -> `workload` (what clients do), `groups` and
//! `idempotent` (what those with a memory do) -> `history` (what was asked and promised) ->
//! `survey` (what a restart finds) -> `checks` (one rule a file) -> `seeds` (random lives),
//! `enumerate` (every crash point), `faults` (failing devices), `stuck` (devices that do not
//! answer), `congestion` (devices that are outrun), `damage` (files that were changed behind its
//! back).
//!
//! One seed, or one crash point, replays a failure: the last line of a failed run says how
//! (`SIM_SEED`, `SIM_CASE`). Longer runs of the random lives, from `SIM_FIRST` on: so many
//! (`SIM_SEEDS`), or as many as there is time for (`SIM_SECONDS`); of more short lives, crashed
//! everywhere: `SIM_ENUMERATIONS`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod checks;
mod congestion;
mod damage;
mod enumerate;
mod faults;
mod groups;
mod history;
mod idempotent;
mod index_damage;
mod node;
mod payload;
mod seeds;
mod stuck;
mod survey;
mod workload;

use engine::log::writer::Flush;
use enumerate::{Case, Point, Visited};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Runs seeds `first..first + count`, those there is time for in `SIM_SECONDS` (of these, if
/// `SIM_SEEDS` says how many), or the one in `SIM_SEED`; says which one fails, and after how many.
fn each_seed(test: &str, count: u64, run: impl Fn(u64) -> Result<(), String>) {
    let asked = from_env("SIM_SEEDS");
    let count = asked.unwrap_or(count);
    let first = from_env("SIM_FIRST").unwrap_or(0);
    let until = from_env("SIM_SECONDS").map(|time| Instant::now() + Duration::from_secs(time));
    let is_open = until.is_some() && asked.is_none();
    let end = if is_open { u64::MAX } else { first + count };
    let seeds = from_env("SIM_SEED").map_or(first..end, |seed| seed..seed + 1);
    for seed in seeds.clone() {
        if until.is_some_and(|until| Instant::now() >= until) {
            println!("{test}: {} seeds, {first} to {}", seed - first, seed.saturating_sub(1));
            return;
        }
        let result = catch_unwind(AssertUnwindSafe(|| run(seed)));
        let what = match result {
            Ok(Ok(())) => continue,
            Ok(Err(what)) => what,
            Err(_) => "panicked (see above)".to_owned(),
        };
        let runs = seed - seeds.start + 1;
        panic!(
            "{what}\nfailed in run {runs}; replay: \
             SIM_SEED={seed} cargo test -p engine --test simulation {test}"
        );
    }
}

#[test]
fn every_crash_point_of_a_short_life() {
    if let Ok(point) = std::env::var("SIM_CASE") {
        let point: Point = point.parse().expect("a crash point");
        let mut visited = Visited::default();
        if let Err(what) = enumerate::at(point, &mut visited) {
            panic!("{what}\nfailed at event {} of {}", point.1, point.0);
        }
        println!("{point:?}: {visited:?}");
        return;
    }
    let count = from_env("SIM_ENUMERATIONS").unwrap_or(2);
    let dsync = (0..count).flat_map(|seed| [(seed, false), (seed, true)]);
    let dsync = dsync.map(|(seed, fua)| Case { seed, fua, flush: Flush::Dsync, retained: false });
    // The cache is the same with FUA or without for a plain write: once is enough.
    let fua = true;
    let fdatasync =
        (0..count).map(|seed| Case { seed, fua, flush: Flush::Fdatasync, retained: false });
    let retained =
        (0..count.div_ceil(2)).map(|seed| Case { seed, fua, flush: Flush::Dsync, retained: true });
    for case in dsync.chain(fdatasync).chain(retained) {
        let began = Instant::now();
        let visited = enumerate::every_crash_point(case).unwrap_or_else(|(event, what)| {
            panic!(
                "{what}\nfailed at event {event}; replay: SIM_CASE={case},{event} \
                 cargo test -p engine --test simulation every_crash_point"
            )
        });
        println!("{case}: {visited:?}, {:?}", began.elapsed());
        assert!(visited.events > 50 && visited.cut_starts > 20, "{case}: {visited:?}");
        assert!(visited.segments >= 2 && visited.indexes > 0, "{case} rolls: {visited:?}");
        if case.retained {
            let recycled = visited.checkpoints > 1 && visited.recycled > 1;
            assert!(recycled, "{case} uses segments again: {visited:?}");
        }
    }
}

/// Seeds that have found something, with what it was.
#[test]
fn lives_that_once_failed_do_not_fail_again() {
    const SEEDS: [u64; 4] = [
        // A start inside of what a restart had made one span.
        54_409, // A segment was sealed while a start in it was on its way.
        209_389,
        // A segment's way out was not taken up again while groups waited for the device, and the
        // shard asked to be called for it without end.
        1_008_239,
        // A flush of zeros failed, a later one of groups in the same file succeeded, and the groups
        // that both covered were taken for durable.
        788,
    ];
    for seed in SEEDS {
        seeds::run(seed).unwrap_or_else(|what| panic!("SIM_SEED={seed}: {what}"));
    }
}

#[test]
fn random_lives_keep_every_promise() {
    each_seed("random_lives_keep_every_promise", 800, seeds::run);
}
