//! One seed replays a run, and a short run can be crashed at every event and in every way.

use std::collections::BTreeSet;

use super::*;

/// A small writer: four durable blocks, two in flight at a time, each acknowledged only when all
/// before it are. Returns how many were acknowledged. `bug` acknowledges out of order.
fn append_four(env: &mut SimEnv, bug: bool) -> u32 {
    let disk = env.disk();
    let create = Some(u64::from(4 * BLOCK));
    let Ok(Output::Opened { file, .. }) = run(disk, DiskOp::Open { name: LOG, create }) else {
        return 0;
    };
    if run(disk, DiskOp::SyncDir).is_err() {
        return 0;
    }
    let (mut issued, mut done, mut out) = (Vec::new(), BTreeSet::new(), Vec::new());
    let acked = |issued: &Vec<OpId>, done: &BTreeSet<OpId>| {
        let last = issued.iter().rposition(|id| done.contains(id)).map_or(0, |at| at + 1);
        let first_hole = issued.iter().take_while(|id| done.contains(id)).count();
        if bug { last as u32 } else { first_hole as u32 }
    };
    while done.len() < 4 {
        while issued.len() < 4 && issued.len() - done.len() < 2 {
            let block = issued.len() as u32;
            let op = write(env.disk(), file, block, block as u8 + 1, true);
            issued.push(env.disk().submit(op).unwrap());
        }
        if !env.advance_to_next() {
            break;
        }
        env.disk().complete(&mut out);
        done.extend(out.drain(..).filter(|done| done.result.is_ok()).map(|done| done.op));
    }
    acked(&issued, &done)
}

/// Whether the acknowledged blocks are all there.
fn holds(image: &CrashImage, acked: u32) -> bool {
    (0..acked).all(|block| {
        let bytes = image.read(LOG, u64::from(block * BLOCK), BLOCK as usize);
        bytes.is_some_and(|bytes| bytes.iter().all(|byte| *byte == block as u8 + 1))
    })
}

#[test]
fn same_seed_same_trace() {
    let trace = |seed| {
        let mut env = SimEnv::new(Config::default(), seed);
        append_four(&mut env, false);
        (env.sim().trace_hash(), env.now(), env.random())
    };
    assert_eq!(trace(1), trace(1));
    let traces: BTreeSet<_> = (0..100).map(|seed| trace(seed).0).collect();
    assert_eq!(traces.len(), 100);
}

#[test]
fn completions_are_reordered_by_some_seed_and_never_early() {
    let mut orders = BTreeSet::new();
    for seed in 0..50 {
        let mut disk = SimDisk::new(Config::default(), seed);
        let file = open(&mut disk, LOG, 2);
        for block in 0..2 {
            let op = write(&mut disk, file, block, 1, true);
            disk.submit(op).unwrap();
        }
        let mut out = Vec::new();
        assert_eq!(disk.complete(&mut out), 0, "no time has passed");
        while disk.advance_to_next() {
            disk.complete(&mut out);
        }
        orders.insert(out.iter().map(|done| done.op).collect::<Vec<_>>());
    }
    assert_eq!(orders.len(), 2);
}

/// Crashes the writer at every event, in every way at block grain; returns events, images, and
/// whether an acknowledged block was ever missing.
fn enumerate(config: Config, seed: u64, bug: bool) -> (u64, usize, bool) {
    let (mut images, mut lost) = (BTreeSet::new(), false);
    for event in 0.. {
        let mut env = SimEnv::new(config, seed);
        env.disk().crash_at(event);
        let acked = append_four(&mut env, bug);
        let mut outcomes = Outcomes::new(Grain::Block);
        loop {
            let image = env.sim().crash(CrashPolicy::Outcomes(&mut outcomes));
            lost |= !holds(&image, acked);
            images.insert(image.digest());
            if !outcomes.advance() {
                break;
            }
        }
        if !env.sim().crashed() {
            return (env.sim().events(), images.len(), lost);
        }
    }
    unreachable!("a short run has an end")
}

#[test]
fn every_crash_point_is_visited_and_the_enumeration_ends() {
    let (events, images, lost) = enumerate(Config::default(), 1, false);
    // Creation, directory sync, four submits, four completions.
    assert_eq!(events, 10);
    // No file; blocks a prefix of 1 2 3 4; a hole before the second of two in flight.
    assert!((6..=10).contains(&images), "{images}");
    assert!(!lost);
}

#[test]
fn enumeration_finds_an_early_acknowledgement() {
    assert!((0..20).any(|seed| enumerate(Config::default(), seed, true).2));
    assert!((0..20).all(|seed| !enumerate(Config::default(), seed, false).2));
}

#[test]
fn nothing_completes_after_the_crash_and_blocked_callers_are_released() {
    let mut disk = without_fua();
    let file = durable_file(&mut disk, LOG, 2);
    let op = write(&mut disk, file, 0, 1, true);
    let before = disk.submit(op).unwrap();
    disk.crash_at(0);
    assert!(disk.crashed() && !disk.advance_to_next());
    disk.clock().advance(u64::MAX / 2);
    let op = write(&mut disk, file, 1, 2, true);
    let after = disk.submit(op).unwrap();
    let mut out = Vec::new();
    assert_eq!(disk.complete(&mut out), 0);
    let image = disk.crash(CrashPolicy::KeepAll);
    assert_eq!((byte(&image, LOG, 0), byte(&image, LOG, 1)), (1, 0), "too late for the second");
    disk.wait();
    assert_eq!(disk.complete(&mut out), 2);
    assert_eq!([out[0].op, out[1].op], [before, after]);
    assert!(out.iter().all(|done| matches!(done.result, Err(ENODEV))));
    assert_eq!(run(&mut disk, DiskOp::SyncDir).unwrap_err(), ENODEV);
    assert_eq!(disk.list().unwrap_err(), ENODEV);
}

#[test]
fn clocks() {
    let mut env = SimEnv::new(Config::default(), 1);
    let (start, wall) = (env.now(), env.wall_ms());
    env.advance(5_000_000);
    assert_eq!((env.now().since(start), env.wall_ms() - wall), (5_000_000, 5));
    env.set_wall_ms(42);
    env.advance(1_000_000);
    assert_eq!((env.now().since(start), env.wall_ms()), (6_000_000, 43));
}
