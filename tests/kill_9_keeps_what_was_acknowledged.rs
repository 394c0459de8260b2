//! Killed again and again under a mixed load, a node, of one reactor or of two, has everything it acknowledged with `written`
//! or `durable`: once, in order, byte for byte; every topic whose making it acknowledged and none
//! whose deletion it did; groups' offsets with their metadata; idempotent producers; and what readers
//! had seen by then. Half of the kills come within a millisecond of an acknowledgement.
//!
//! More of it: `KILL_CYCLES=100 cargo test -p uringmq --test system kill_9 -- --nocapture`.

use std::time::Duration;

use net::client::AckLevel;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::LocalSet;

use crate::harness::directory::verify_clean;
use crate::harness::from_env;
use crate::harness::load::check::check;
use crate::harness::load::promises::Promises;
use crate::harness::load::{Load, Witness, create_topics};
use crate::harness::node::{Node, fresh_dir, has_two_cpus};

const CYCLES: u64 = 6;
/// Small segments and a short log, so that kills meet rolls, checkpoints and recycled segments.
/// The deadline is the device's: a machine that is busy with other tests is no fault of it.
const OPTIONS: [&str; 6] =
    ["--segment-size", "1MiB", "--retention-size", "6MiB", "--flush-deadline", "15s"];

/// What expired is older than this many segments: those the limit leaves, but for the one whose
/// leaving kept it and the one that is being written to.
const SEGMENTS_LEFT: u64 = 4;

#[test]
fn round_after_round() {
    run_rounds(&[]);
}

/// Half of the requests cross from one reactor to the other.
#[test]
fn round_after_round_with_two_reactors() {
    if has_two_cpus() {
        run_rounds(&["--reactors", "2"]);
    }
}

fn run_rounds(options: &[&str]) {
    let seed = from_env("KILL_SEED").unwrap_or_else(rand::random);
    let cycles = from_env("KILL_CYCLES").unwrap_or(CYCLES);
    // What a failure needs to be looked into; a kill is never quite the same twice, though.
    println!("KILL_SEED={seed} KILL_CYCLES={cycles}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(
        &runtime.expect("a runtime"),
        rounds(seed, cycles, &[&OPTIONS, options].concat()),
    );
}

async fn rounds(seed: u64, cycles: u64, options: &[&str]) {
    let mut random = StdRng::seed_from_u64(seed);
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let witness = Witness::new(Promises::default(), AckLevel::Written, 6000, || 0);
    let mut node = Node::start(&data, options);
    create_topics(&node).await;
    let (mut expired, mut found) = (0, 0);
    for cycle in 0..cycles {
        let load = Load::start(&node, &witness, &mut random).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(50..500))).await;
        if random.random() {
            witness.next_promise().await;
            std::thread::sleep(Duration::from_micros(random.random_range(0..1000)));
        }
        node.kill();
        load.end().await;
        let document = verify_clean(&data);
        node = Node::start(&data, options);
        let seen = check(&node, &witness, true).await;
        let segments = document["shards"][0]["segments"].as_u64().expect("a number");
        assert!(seen.expired == 0 || segments >= SEGMENTS_LEFT, "too much has expired: {document}");
        expired += seen.expired;
        found += seen.seen;
        println!("cycle {cycle}: {seen:?}");
    }
    let count = witness.promises().count();
    println!(
        "{cycles} kills: {count} promises kept, {expired} messages among them until they expired"
    );
    assert!(count > 100 * cycles, "the load did load: {count}");
    assert!(found > 20 * cycles, "readers did read: {found}");
    node.stop();
    verify_clean(&data);
}
