//! Rules 1 to 5: what of the data is stable, and what a crash may choose.

use super::*;

#[test]
fn plain_write_is_visible_but_volatile() {
    let mut disk = with_fua();
    let file = durable_file(&mut disk, LOG, 2);
    plain(&mut disk, file, 1, 7);
    assert_eq!(read(&mut disk, file, 1), [7; BLOCK as usize]);
    assert_eq!(byte(&disk.crash(CrashPolicy::LoseAll), LOG, 1), 0);
    assert_eq!(byte(&disk.crash(CrashPolicy::KeepAll), LOG, 1), 7);
    assert_eq!(byte(&disk.crash(CrashPolicy::Kill(3)), LOG, 1), 7, "a kill loses no cache");
}

#[test]
fn durable_write_covers_earlier_plain_ones_only_without_fua() {
    for (mut disk, expected) in [(without_fua(), 7), (with_fua(), 0)] {
        let log = durable_file(&mut disk, LOG, 2);
        let other = durable_file(&mut disk, SPARE, 1);
        plain(&mut disk, log, 0, 7);
        plain(&mut disk, other, 0, 7);
        durable(&mut disk, log, 1, 8);
        let image = disk.crash(CrashPolicy::LoseAll);
        assert_eq!(byte(&image, LOG, 1), 8);
        assert_eq!(byte(&image, LOG, 0), expected);
        assert_eq!(byte(&image, SPARE, 0), expected);
    }
}

#[test]
fn durable_write_does_not_cover_what_completed_after_its_submit() {
    let mut disk = without_fua();
    let file = durable_file(&mut disk, LOG, 2);
    let op = write(&mut disk, file, 1, 8, true);
    let late = submit_late(&mut disk, op);
    let op = write(&mut disk, file, 0, 7, false);
    let early = disk.submit(op).unwrap();
    wait_for(&mut disk, early).unwrap();
    wait_for(&mut disk, late).unwrap();
    let image = disk.crash(CrashPolicy::LoseAll);
    assert_eq!((byte(&image, LOG, 0), byte(&image, LOG, 1)), (0, 8));
}

#[test]
fn sync_covers_what_completed_before_its_submit_on_its_file() {
    let mut disk = with_fua();
    let log = durable_file(&mut disk, LOG, 3);
    let other = durable_file(&mut disk, SPARE, 1);
    plain(&mut disk, log, 0, 1);
    plain(&mut disk, other, 0, 1);
    let op = write(&mut disk, log, 1, 2, false);
    let in_flight = disk.submit(op).unwrap();
    let sync = submit_late(&mut disk, DiskOp::Sync { file: log });
    wait_for(&mut disk, in_flight).unwrap();
    plain(&mut disk, log, 2, 3);
    assert!(matches!(wait_for(&mut disk, sync), Ok(Output::Synced)));
    let image = disk.crash(CrashPolicy::LoseAll);
    assert_eq!([0, 1, 2].map(|block| byte(&image, LOG, block)), [1, 0, 0]);
    assert_eq!(byte(&image, SPARE, 0), 0);
}

#[test]
fn write_in_flight_reaches_any_subset_of_its_sectors() {
    let mut disk = with_fua();
    let file = durable_file(&mut disk, LOG, 1);
    durable(&mut disk, file, 0, 1);
    let op = write(&mut disk, file, 0, 2, true);
    disk.submit(op).unwrap();
    let mut outcomes = Outcomes::new(Grain::Sector);
    let mut seen = std::collections::BTreeSet::new();
    loop {
        seen.insert(sectors(&disk.crash(CrashPolicy::Outcomes(&mut outcomes)), LOG, 0));
        if !outcomes.advance() {
            break;
        }
    }
    assert_eq!(seen.len(), 256);
    assert!(seen.iter().flatten().all(|byte| [1, 2].contains(byte)));
}

#[test]
fn any_unstable_version_or_the_stable_one_survives() {
    let mut disk = with_fua();
    let file = durable_file(&mut disk, LOG, 1);
    for fill in 1..=3 {
        plain(&mut disk, file, 0, fill);
    }
    for (answer, expected) in [(0, 0), (1, 1), (2, 2), (3, 3)] {
        let mut choose = |choice: Choice| answer.min(choice.max());
        assert_eq!(byte(&disk.crash(CrashPolicy::Choose(&mut choose)), LOG, 0), expected);
    }
    run(&mut disk, DiskOp::Sync { file }).unwrap();
    plain(&mut disk, file, 0, 4);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        seen.extend(sectors(&disk.crash(CrashPolicy::Seeded(seed)), LOG, 0));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [3, 4], "nothing older than the stable one");
}

#[test]
fn seeded_crashes_tear_blocks_at_sectors() {
    let mut disk = with_fua();
    let file = durable_file(&mut disk, LOG, 1);
    plain(&mut disk, file, 0, 1);
    let crashes = (0..100).map(|seed| sectors(&disk.crash(CrashPolicy::Seeded(seed)), LOG, 0));
    let (mut whole, mut torn, mut lost) = (0, 0, 0);
    for sectors in crashes {
        match sectors.iter().filter(|byte| **byte == 1).count() {
            0 => lost += 1,
            8 => whole += 1,
            _ => torn += 1,
        }
    }
    assert!(whole > 0 && torn > 0 && lost > 0, "{whole} {torn} {lost}");
}

#[test]
fn later_durable_write_completes_first_and_leaves_a_hole() {
    let mut disk = without_fua();
    let file = durable_file(&mut disk, LOG, 2);
    let op = write(&mut disk, file, 0, 1, true);
    submit_late(&mut disk, op);
    let op = write(&mut disk, file, 1, 2, true);
    let second = disk.submit(op).unwrap();
    wait_for(&mut disk, second).unwrap();
    let image = disk.crash(CrashPolicy::LoseAll);
    assert_eq!((byte(&image, LOG, 0), byte(&image, LOG, 1)), (0, 2));
    let killed = (0..50).map(|seed| sectors(&disk.crash(CrashPolicy::Kill(seed)), LOG, 0));
    let distinct: std::collections::BTreeSet<_> = killed.collect();
    assert!(distinct.len() > 2, "a kill may tear what is in flight");
}

#[test]
fn zeros_are_a_plain_write() {
    let mut disk = with_fua();
    let file = durable_file(&mut disk, LOG, 4);
    durable(&mut disk, file, 3, 9);
    run(&mut disk, DiskOp::Zero { file, offset: 0, len: 4 * BLOCK }).unwrap();
    assert_eq!(read(&mut disk, file, 3), [0; BLOCK as usize]);
    assert_eq!(byte(&disk.crash(CrashPolicy::LoseAll), LOG, 3), 9);
    run(&mut disk, DiskOp::Sync { file }).unwrap();
    assert_eq!(byte(&disk.crash(CrashPolicy::LoseAll), LOG, 3), 0);
}

#[test]
fn read_beside_a_write_in_flight_mixes_old_and_new() {
    let mut disk = with_fua();
    let file = durable_file(&mut disk, LOG, 1);
    durable(&mut disk, file, 0, 1);
    let op = write(&mut disk, file, 0, 2, true);
    let id = submit_late(&mut disk, op);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let op = DiskOp::Read { file, offset: 0, len: BLOCK };
        let read = disk.submit(op).unwrap();
        let Ok(Output::Read(block)) = wait_for(&mut disk, read) else { panic!("read failed") };
        seen.extend(block.slice(0..BLOCK).iter().copied());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1, 2]);
    wait_for(&mut disk, id).unwrap();
    assert_eq!(read(&mut disk, file, 0), [2; BLOCK as usize]);
}

#[test]
fn restart_finds_what_survived_and_it_is_stable() {
    let mut disk = with_fua();
    let file = durable_file(&mut disk, LOG, 1);
    plain(&mut disk, file, 0, 5);
    let image = disk.crash(CrashPolicy::KeepAll);
    let mut disk = SimDisk::from_image(&image, Config::default(), 2);
    assert_eq!(disk.list().unwrap(), [LOG]);
    assert_eq!(disk.crash(CrashPolicy::LoseAll).digest(), image.digest());
    let file = open(&mut disk, LOG, 1);
    assert_eq!(read(&mut disk, file, 0), [5; BLOCK as usize]);
    plain(&mut disk, file, 0, 6);
    assert_eq!(byte(&image, LOG, 0), 5, "an image does not change under a running disk");
}
