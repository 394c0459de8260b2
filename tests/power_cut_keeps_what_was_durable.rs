//! The power of the device is cut, in the middle of a mixed load, while the node starts or while
//! the file system mends itself: what was acknowledged `durable` until then is there, once, in
//! order, byte for byte; topics, groups' offsets and idempotent producers; `verify` finds no damage,
//! and the node goes on taking durable writes.
//!
//! The binary, the kernel's block layer and file system are the real ones; the device is ours
//! (`harness::power`), so one run can be cut at as many moments as there is time for. Half of the
//! cuts come right behind an acknowledgement.
//!
//! Needs root, FUSE and loop devices. Where they are missing the test says so and passes; the
//! simulated disk has its own tests of this. A longer run, with nothing missing allowed:
//! `POWER_CUTS=1000 cargo test -p uringmq --test system power_cut -- --nocapture`. A seed decides
//! load and cuts, but not what the kernel makes of the load; so the image that failed is kept.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use net::client::AckLevel;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::LocalSet;

use crate::harness::directory::verify_clean;
use crate::harness::from_env;
use crate::harness::load::check::check;
use crate::harness::load::promises::Promises;
use crate::harness::load::{Load, Witness, create_topics};
use crate::harness::node::Node;
use crate::harness::power::{Record, Stand, Survivors, in_own_namespace};
use crate::harness::skip;

/// Cuts of an ordinary run, if there is time.
const CUTS: u64 = 24;
const TIME_MAX: Duration = Duration::from_secs(30);
/// Cuts of one life before there is another one.
const CUTS_OF_A_LIFE: u64 = 12;
/// Room for a second of whatever a machine can do, and for what comes after the cuts.
const IMAGE_BYTES: usize = 64 << 20;
/// The limit of the log, where it has one; and segments it leaves for sure, but for the one whose
/// leaving kept it, the one that is being written to and the one that a cut takes back.
const RETENTION_MIB: u64 = 5;
const SEGMENTS_LEFT: u64 = 2;

/// What a seed decides of a life.
struct Setup {
    seed: u64,
    block_bytes: u32,
    expires: bool,
    value_bytes_max: usize,
    load: Duration,
}

/// What has been tried.
#[derive(Debug, Default)]
struct Tally {
    lives: u64,
    cuts: u64,
    /// Cuts of nodes that had come back from one.
    second_cuts: u64,
    /// Writes that no flush covered when a cut came.
    uncovered: usize,
    promises: u64,
    events: usize,
}

#[test]
fn whenever_it_comes() {
    let asked = from_env("POWER_CUTS");
    let seed = from_env("POWER_SEED").unwrap_or_else(rand::random);
    let seen = in_own_namespace(move || {
        let deadline = asked.is_none().then(|| Instant::now() + TIME_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let cuts = asked.unwrap_or(CUTS);
        let lives = lives(seed, cuts, deadline);
        let tally = LocalSet::new().block_on(&runtime.expect("a runtime"), lives);
        println!("{tally:?}");
        assert!(tally.cuts > 0 && tally.promises > 100, "something was tried: {tally:?}");
    });
    if let Err(why) = seen {
        assert_eq!(asked, None, "POWER_CUTS is set, but {why}");
        skip(format_args!("a power cut needs root, FUSE and loop devices: {why}"));
    }
}

async fn lives(seed: u64, cuts: u64, deadline: Option<Instant>) -> Tally {
    let mut tally = Tally::default();
    let is_over = |tally: &Tally| {
        tally.cuts >= cuts || deadline.is_some_and(|deadline| Instant::now() >= deadline)
    };
    while !is_over(&tally) {
        let seed = seed.wrapping_add(tally.lives);
        // Says so when the test fails, in whatever way.
        let _replay = Replay(seed);
        let mut random = StdRng::seed_from_u64(seed);
        let expires = random.random();
        let setup = Setup {
            seed,
            block_bytes: if random.random() { 4096 } else { 1024 },
            expires,
            // What does not expire must not fill the disk.
            value_bytes_max: if expires { 6000 } else { 600 },
            load: Duration::from_millis(random.random_range(300..1000)),
        };
        let life = live(&setup, &mut random).await;
        println!("seed {seed}: {:?} in {} events", life.record.counts(), life.record.len());
        tally.lives += 1;
        tally.events += life.record.len();
        tally.promises += life.promises.count();
        for _ in 0..CUTS_OF_A_LIFE {
            if !is_over(&tally) {
                life.cut(&setup, &mut random, &mut tally).await;
            }
        }
    }
    tally
}

/// Prints how to see a failure again.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!(
                "replay: POWER_SEED={seed} POWER_CUTS={CUTS_OF_A_LIFE} \
                 cargo test -p uringmq --test system power_cut"
            );
        }
    }
}

/// What a node did, and what it promised.
struct Life {
    record: Record,
    promises: Promises,
    /// The file system is there.
    mounted: u64,
    /// The topics are there.
    begun: u64,
    end: u64,
}

fn start(data: &Path, setup: &Setup) -> Node {
    let limit = format!("{RETENTION_MIB}MiB");
    let mut options = vec!["--segment-size", "1MiB", "--groups-inflight", "4"];
    // The device is small, and nothing else may take what was promised.
    options.extend(["--retention-disk", "none"]);
    // A machine that is busy with other tests is no fault of the device.
    options.extend(["--flush-deadline", "15s"]);
    if setup.expires {
        options.extend(["--retention-size", &limit]);
    }
    Node::start(data, &options)
}

fn witness(setup: &Setup, held: Promises, stand: &Stand) -> Arc<Witness> {
    Witness::new(held, AckLevel::Durable, setup.value_bytes_max, stand.clock())
}

/// Runs a node on a new file system until it is killed.
async fn live(setup: &Setup, random: &mut StdRng) -> Life {
    let mut stand = Stand::new(vec![0; IMAGE_BYTES], setup.seed);
    stand.format(setup.block_bytes);
    let data = stand.mount().join("data");
    let mounted = stand.now();
    let witness = witness(setup, Promises::default(), &stand);
    let node = start(&data, setup);
    create_topics(&node).await;
    let begun = stand.now();
    let load = Load::start(&node, &witness, random).await;
    tokio::time::sleep(setup.load).await;
    let end = stand.now();
    node.kill();
    load.end().await;
    let promises = witness.promises().clone();
    Life { record: stand.into_record(), promises, mounted, begun, end }
}

impl Life {
    /// When the power is cut next.
    fn moment(&self, random: &mut StdRng) -> u64 {
        let stamps = self.promises.stamps();
        match random.random_range(0..8) {
            0 => random.random_range(self.mounted..=self.begun),
            1..=3 => random.random_range(self.begun..=self.end),
            // Right behind an acknowledgement.
            _ if stamps.is_empty() => self.end,
            _ => stamps[random.random_range(0..stamps.len())],
        }
    }

    /// Cuts the power, looks at what is left, goes on, and once more.
    async fn cut(&self, setup: &Setup, random: &mut StdRng, tally: &mut Tally) {
        let at = self.moment(random);
        let survivors = Survivors::any(random);
        let image = Image::new(self.record.cut(at as usize, survivors, random));
        let uncovered = self.record.uncovered(at as usize);
        println!("cut at {at} of {}: {uncovered} writes, {survivors:?}", self.record.len());
        tally.uncovered += uncovered;
        let held = self.promises.until(at);
        let is_new = at < self.begun;
        let second = image.come_back(setup, held, is_new, random).await;
        tally.cuts += 1;
        if let Some(life) = second {
            // Anywhere: while the file system is mended, while the node starts, later.
            let at = random.random_range(0..=life.end);
            let survivors = Survivors::any(random);
            let uncovered = life.record.uncovered(at as usize);
            println!("  and at {at} of {}: {uncovered} writes, {survivors:?}", life.record.len());
            tally.uncovered += uncovered;
            let image = Image::new(life.record.cut(at as usize, survivors, random));
            let held = life.promises.until(at);
            image.come_back(setup, held, is_new && at < life.begun, random).await;
            tally.second_cuts += 1;
        }
    }
}

/// What a cut has left; kept when a check fails.
struct Image(Vec<u8>);

impl Image {
    fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Starts a node on it, checks it, lets it go on, and stops or, now and then, kills it; that
    /// life's record, if it was killed. `is_new`: the topics may not be there yet.
    async fn come_back(
        &self,
        setup: &Setup,
        held: Promises,
        is_new: bool,
        random: &mut StdRng,
    ) -> Option<Life> {
        let mut stand = Stand::new(self.0.clone(), random.random());
        let data = stand.mount().join("data");
        let mut segments = None;
        if !is_new {
            let document = verify_clean(&data);
            segments = document["shards"][0]["segments"].as_u64();
        }
        let before = held.count();
        let witness = witness(setup, held, &stand);
        let node = start(&data, setup);
        if is_new {
            create_topics(&node).await;
        }
        let seen = check(&node, &witness, setup.expires).await;
        assert!(seen.expired == 0 || segments >= Some(SEGMENTS_LEFT), "{seen:?}, {segments:?}");
        let begun = stand.now();
        let load = Load::start(&node, &witness, random).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(20..200))).await;
        if witness.promises().count() == before {
            witness.next_promise().await;
        }
        let end = stand.now();
        node.kill();
        load.end().await;
        if random.random() {
            let promises = witness.promises().clone();
            let record = stand.into_record();
            return Some(Life { record, promises, mounted: 0, begun, end });
        }
        verify_clean(&data);
        let node = start(&data, setup);
        check(&node, &witness, setup.expires).await;
        node.stop();
        verify_clean(&data);
        None
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let file = tempfile::Builder::new()
            .prefix("power-cut-")
            .suffix(".img")
            .tempfile_in(env!("CARGO_TARGET_TMPDIR"))
            .and_then(|file| std::fs::write(file.path(), &self.0).map(|()| file))
            .and_then(|file| file.keep().map_err(|error| error.error));
        match file {
            Ok((_, path)) => eprintln!("what the cut left: {}", path.display()),
            Err(error) => eprintln!("what the cut left is lost: {error}"),
        }
    }
}
