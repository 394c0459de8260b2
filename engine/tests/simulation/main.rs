//! The broker on simulated machines: crashed, killed and run into defects, and checked.
//!
//! Reading order: `node` (one life of a broker) -> `workload` (what clients do), `groups` and
//! `idempotent` (what those with a memory do) -> `history` (what was asked and promised) ->
//! `survey` (what a restart finds) -> `checks` (one rule a file) -> `seeds` (random lives),
//! `enumerate` (every crash point), `faults` (failing devices), `stuck` (devices that do not
//! answer), `congestion` (devices that are outrun), `damage` (files that were changed behind its
//! back).
//!
//! One seed replays a failure: the last line of a failed run says how. A longer run:
//! `SIM_SEEDS=100000 cargo test --release -p engine --test simulation seeds`.
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
use enumerate::Case;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Runs seeds `first..first + count`, or the one in `SIM_SEED`; says which one fails, and after
/// how many.
fn each_seed(test: &str, count: u64, run: impl Fn(u64) -> Result<(), String>) {
    let count = from_env("SIM_SEEDS").unwrap_or(count);
    let first = from_env("SIM_FIRST").unwrap_or(0);
    let seeds = from_env("SIM_SEED").map_or(first..first + count, |seed| seed..seed + 1);
    for seed in seeds.clone() {
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
    let count = from_env("SIM_ENUMERATIONS").unwrap_or(2);
    let mut segments = 0;
    let dsync = (0..count).flat_map(|seed| [(seed, false), (seed, true)]);
    let dsync = dsync.map(|(seed, fua)| Case { seed, fua, flush: Flush::Dsync });
    // The cache is the same with FUA or without for a plain write: once is enough.
    let fdatasync = (0..count).map(|seed| Case { seed, fua: true, flush: Flush::Fdatasync });
    for case in dsync.chain(fdatasync) {
        let visited = match enumerate::every_crash_point(case) {
            Ok(visited) => visited,
            Err(what) => panic!("{what}\nenumeration of {case:?}"),
        };
        println!("{case:?}: {visited:?}");
        assert!(visited.events > 50, "{visited:?}");
        segments = segments.max(visited.segments);
    }
    assert!(segments >= 2, "some life rolls");
}

#[test]
fn random_lives_keep_every_promise() {
    each_seed("random_lives_keep_every_promise", 800, seeds::run);
}
