//! Where a fetch's time goes: answered at once, parked, read from the device, or waiting for a
//! read.

use super::tests::{QUEUE, fetch, options, produce, settle, shard, turn, values};
use super::turn::TurnClock;
use super::*;
use crate::io::sim::{Config, CrashPolicy, EIO, Fault, OpKind, SimEnv};
use crate::io::{Disk, Env};
use crate::stage::{Operation, Stage};

/// How long receive passes take in these tests.
const PASS_NANOS: u64 = 7_000;

const LONG: u64 = 1_000_000_000;

fn ask(shard: &mut Shard<SimEnv>, token: u64, fetch: Fetch, effects: &mut Vec<Effect>) -> Nanos {
    let gathered = shard.env.now();
    shard.fetch(&Fetch { token: Token(token), ..fetch }, gathered, effects);
    gathered
}

/// A turn that began at `gathered` and whose receive pass ends now, after a while.
fn long_turn(shard: &mut Shard<SimEnv>, gathered: Nanos, effects: &mut Vec<Effect>) -> Nanos {
    shard.env.advance(PASS_NANOS);
    let received = shard.env.now();
    shard.turn(TurnClock { gathered, received }, effects);
    shard.env.disk().flush();
    received
}

/// Parse, flush wait and device time of the answer to `token`, in nanoseconds.
fn times(effects: &[Effect], token: u64) -> (u64, u64, u64) {
    let mut answers = effects.iter().filter_map(|effect| match effect {
        Effect::Fetched { token: to, result: Ok(_), timings } if to.0 == token => Some(timings),
        _ => None,
    });
    let timings = answers.next().expect("an answer");
    assert!(answers.next().is_none(), "answered once");
    let at = |stage: Stage| u64::from(timings.nanos[stage as usize]);
    assert_eq!((at(Stage::Append), at(Stage::Replicate), at(Stage::Send)), (0, 0, 0));
    (at(Stage::Parse), at(Stage::FlushWait), at(Stage::Device))
}

/// How many fetches the histogram of a stage holds, and the longest time.
fn recorded(shard: &mut Shard<SimEnv>, stage: Stage) -> (u64, u64) {
    let found =
        shard.histograms().all().find(|(op, at, _)| (*op, *at) == (Operation::Fetch, stage));
    found.map_or((0, 0), |(.., histogram)| (histogram.len(), histogram.max()))
}

fn is_about(recorded: u64, nanos: u64) -> bool {
    recorded.abs_diff(nanos) <= nanos / 50 + 1
}

/// `count` durable records in groups of their own, all of them only on the device.
fn cold(count: u64) -> Shard<SimEnv> {
    let mut shard = shard(1, 1 << 20, AckLevel::Durable);
    let mut effects = Vec::new();
    for token in 0..count {
        produce(&mut shard, token, AckLevel::Durable, &[7; 3000], &mut effects);
        settle(&mut shard, &mut effects);
    }
    let image = shard.env.disk().crash(CrashPolicy::LoseAll);
    let env = SimEnv::from_image(&image, Config::default(), 2);
    let mut shard = Shard::open(env, &options(1 << 20), |_| {}).unwrap();
    shard.add_queue(QUEUE, AckLevel::Durable, false);
    shard
}

/// Turns until the next completion has been taken; when that turn began.
fn next_completion(shard: &mut Shard<SimEnv>, effects: &mut Vec<Effect>) -> Nanos {
    assert!(shard.env.advance_to_next());
    let gathered = shard.env.now();
    long_turn(shard, gathered, effects);
    gathered
}

#[test]
fn answered_at_once_it_was_parsed_for_as_long_as_the_receive_pass() {
    let mut shard = shard(1, 1 << 20, AckLevel::Durable);
    let mut effects = Vec::new();
    produce(&mut shard, 0, AckLevel::Durable, b"m", &mut effects);
    settle(&mut shard, &mut effects);
    shard.env.advance(1_000_000);
    let gathered = ask(&mut shard, 1, fetch(0, 0), &mut effects);
    shard.env.advance(2_000);
    shard.fetch(&Fetch { token: Token(2), ..fetch(0, 0) }, gathered, &mut effects);
    long_turn(&mut shard, gathered, &mut effects);
    for token in [1, 2] {
        assert_eq!(times(&effects, token), (PASS_NANOS + 2_000, 0, 0), "{token}");
    }
    if cfg!(feature = "histograms") {
        for stage in [Stage::Parse, Stage::Total] {
            let (count, nanos) = recorded(&mut shard, stage);
            assert!(count == 2 && is_about(nanos, PASS_NANOS + 2_000), "{stage:?}: {nanos}");
        }
        assert_eq!(recorded(&mut shard, Stage::Send).0, 0, "whoever sends records that");
    }
}

/// From memory (a span that nobody else's entries are in is not looked into) and from the device, from
/// the beginning and from within.
#[test]
fn records_that_were_given_are_counted() {
    let mut hot = shard(1, 1 << 20, AckLevel::Durable);
    let mut effects = Vec::new();
    for group in 0..3 {
        for token in 0..4 {
            produce(&mut hot, group * 4 + token, AckLevel::Durable, b"m", &mut effects);
        }
        settle(&mut hot, &mut effects);
    }
    for mut shard in [hot, cold(12)] {
        let mut all = 0;
        for offset in [0, 5, 11] {
            effects.clear();
            ask(&mut shard, 99, fetch(offset, 0), &mut effects);
            settle(&mut shard, &mut effects);
            let given = values(&effects).len() as u64;
            assert_eq!(given, 12 - offset);
            all += given;
            let counters = shard.counters();
            assert_eq!(counters.fetched_records, all, "from {offset}");
        }
    }
}

#[test]
fn parked_it_waited_from_the_end_of_the_receive_pass() {
    let mut shard = shard(1, 1 << 20, AckLevel::Written);
    let mut effects = Vec::new();
    let gathered = ask(&mut shard, 1, fetch(0, LONG), &mut effects);
    let received = long_turn(&mut shard, gathered, &mut effects);
    assert!(effects.is_empty() && shard.counters().parked == 1);
    shard.env.advance(300_000);
    produce(&mut shard, 2, AckLevel::Written, b"m", &mut effects);
    turn(&mut shard, &mut effects);
    assert!(effects.is_empty(), "it is not written yet");
    let found = next_completion(&mut shard, &mut effects);
    assert_eq!(values(&effects), [b"m"]);
    assert_eq!(times(&effects, 1), (PASS_NANOS, found.since(received), 0));
    if cfg!(feature = "histograms") {
        let (count, nanos) = recorded(&mut shard, Stage::FlushWait);
        assert!(count == 1 && is_about(nanos, found.since(received)));
        assert!(is_about(recorded(&mut shard, Stage::Total).1, found.since(gathered)));
    }
}

#[test]
fn parked_in_vain_it_waited_and_is_in_no_histogram() {
    let mut shard = shard(1, 1 << 20, AckLevel::Durable);
    let mut effects = Vec::new();
    let gathered = ask(&mut shard, 1, fetch(0, LONG), &mut effects);
    let received = long_turn(&mut shard, gathered, &mut effects);
    let now = shard.env.now();
    let ended = shard.parked.wake_at().expect("it is parked");
    shard.env.advance(ended.since(now));
    turn(&mut shard, &mut effects);
    assert_eq!(times(&effects, 1), (PASS_NANOS, ended.since(received), 0));
    assert!(values(&effects).is_empty());
    assert_eq!(recorded(&mut shard, Stage::Total), (0, 0));
}

/// Found in the turn that received both: no wait, and the parse stage only once.
#[test]
fn an_append_of_the_same_turn_is_found_at_once() {
    let mut shard = shard(1, 1 << 20, AckLevel::Memory);
    let mut effects = Vec::new();
    let gathered = ask(&mut shard, 1, fetch(0, LONG), &mut effects);
    produce(&mut shard, 2, AckLevel::None, b"m", &mut effects);
    long_turn(&mut shard, gathered, &mut effects);
    assert_eq!(times(&effects, 1), (PASS_NANOS, 0, 0));
}

#[test]
fn read_from_the_device_it_has_the_time_of_the_read() {
    let mut shard = cold(1);
    let mut effects = Vec::new();
    let gathered = ask(&mut shard, 1, fetch(0, 0), &mut effects);
    let received = long_turn(&mut shard, gathered, &mut effects);
    let found = next_completion(&mut shard, &mut effects);
    assert_eq!(times(&effects, 1), (PASS_NANOS, 0, found.since(received)));
    if cfg!(feature = "histograms") {
        assert!(is_about(recorded(&mut shard, Stage::Device).1, found.since(received)));
    }
}

#[test]
fn a_fetch_that_waits_for_a_read_counts_that_wait() {
    let mut shard = cold(1);
    let mut effects = Vec::new();
    let gathered = shard.env.now();
    for token in 0..=cold::READS_INFLIGHT_MAX as u64 {
        ask(&mut shard, token, fetch(0, 0), &mut effects);
    }
    let received = long_turn(&mut shard, gathered, &mut effects);
    assert_eq!(shard.counters().cold_reads, cold::READS_INFLIGHT_MAX as u64);
    let last = cold::READS_INFLIGHT_MAX as u64;
    shard.env.disk().faults().always(OpKind::Read, Fault::LateNs(10_000_000));
    let freed = next_completion(&mut shard, &mut effects);
    assert_eq!(shard.counters().cold_reads, last + 1, "its turn has come");
    let mut found = freed;
    while effects.len() <= last as usize {
        found = next_completion(&mut shard, &mut effects);
    }
    assert_eq!(times(&effects, last), (PASS_NANOS, freed.since(received), found.since(freed)));
}

/// The read of several spans fails, the first of them is read again: both were the device.
#[test]
fn a_read_that_is_made_twice_counts_twice() {
    let mut shard = cold(2);
    let mut effects = Vec::new();
    shard.env.disk().faults().next(OpKind::Read, Fault::Fail(EIO));
    let gathered = ask(&mut shard, 1, fetch(0, 0), &mut effects);
    let received = long_turn(&mut shard, gathered, &mut effects);
    next_completion(&mut shard, &mut effects);
    assert!(effects.is_empty() && shard.counters().cold_reads == 2);
    let found = next_completion(&mut shard, &mut effects);
    assert_eq!(times(&effects, 1), (PASS_NANOS, 0, found.since(received)));
}

#[test]
fn a_stop_answers_the_fetches_of_its_turn() {
    let mut shard = shard(1, 1 << 20, AckLevel::Durable);
    let mut effects = Vec::new();
    ask(&mut shard, 1, fetch(0, LONG), &mut effects);
    shard.stop(&mut effects);
    assert!(!shard.is_quiet(), "somebody has not been answered");
    ask(&mut shard, 2, fetch(0, LONG), &mut effects);
    turn(&mut shard, &mut effects);
    let stopping = |effect: &Effect| {
        matches!(effect, Effect::Fetched { result: Err(FetchError::Stopping), .. })
    };
    assert!(effects.len() == 2 && effects.iter().all(stopping), "{effects:?}");
    assert!(shard.is_quiet());
}

#[test]
fn fetches_of_one_turn_are_bounded() {
    let mut shard = shard(1, 1 << 20, AckLevel::Durable);
    let mut effects = Vec::new();
    for token in 0..=crate::limits::PARKED_MAX as u64 {
        ask(&mut shard, token, fetch(0, 0), &mut effects);
    }
    let [Effect::Fetched { result: Err(FetchError::Busy), .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    turn(&mut shard, &mut effects);
    assert_eq!(effects.len(), crate::limits::PARKED_MAX + 1);
}

#[test]
fn waits_that_end_at_about_the_same_time_end_together() {
    let mut shard = shard(1, 1 << 20, AckLevel::Durable);
    let mut effects = Vec::new();
    const WAIT: u64 = 15_000_000_000;
    let begun = shard.env.now();
    for _ in 0..1000 {
        shard.env.advance(200_000);
        shard.fetch(&fetch(0, WAIT), shard.env.now(), &mut effects);
        turn(&mut shard, &mut effects);
    }
    assert_eq!((effects.len(), shard.counters().parked), (0, 1000));
    let mut wake_ups = 0;
    while let Some(at) = shard.parked.wake_at() {
        let waited = at.since(begun);
        assert!((WAIT..WAIT + WAIT / 32 + 200_000_000).contains(&waited), "{waited}");
        let now = shard.env.now();
        shard.env.advance(at.since(now));
        turn(&mut shard, &mut effects);
        wake_ups += 1;
    }
    assert_eq!(effects.len(), 1000);
    assert!(wake_ups <= 4, "{wake_ups} for fetches of 200 ms");
    // Who waits for a moment only is not kept much longer.
    for wait in [1, 63, 1_000, 5_000_000, 60_000_000_000, u64::MAX] {
        let end = super::fetch::end_of_wait(Nanos(12_345_678_901), wait);
        let late = end.0 - Nanos(12_345_678_901).plus(wait).0;
        assert!(late <= wait / 32, "{late} of {wait}");
    }
}
