//! Rules 6 and 7: names, and whose the data is.

use super::super::faults::ENOENT;
use super::*;

#[test]
fn creation_is_lost_with_its_data_until_the_directory_is_synced() {
    let mut disk = without_fua();
    let file = open(&mut disk, LOG, 1);
    durable(&mut disk, file, 0, 1);
    assert!(disk.crash(CrashPolicy::LoseAll).is_empty());
    assert_eq!(byte(&disk.crash(CrashPolicy::KeepAll), LOG, 0), 1);
    run(&mut disk, DiskOp::SyncDir).unwrap();
    let image = disk.crash(CrashPolicy::LoseAll);
    assert_eq!((image.len(LOG), byte(&image, LOG, 0)), (Some(u64::from(BLOCK)), 1));
}

#[test]
fn lost_rename_shows_the_data_under_the_old_name() {
    let mut disk = with_fua();
    let file = durable_file(&mut disk, SPARE, 1);
    run(&mut disk, DiskOp::Rename { from: SPARE, to: LOG }).unwrap();
    durable(&mut disk, file, 0, 1);
    assert_eq!(disk.list().unwrap(), [LOG]);
    let lost = disk.crash(CrashPolicy::LoseAll);
    assert_eq!((lost.names(), byte(&lost, SPARE, 0)), (vec![SPARE], 1));
    assert_eq!(disk.crash(CrashPolicy::KeepAll).names(), [LOG]);
    assert_eq!(disk.crash(CrashPolicy::Kill(0)).names(), [LOG]);
    run(&mut disk, DiskOp::SyncDir).unwrap();
    assert_eq!(disk.crash(CrashPolicy::LoseAll).names(), [LOG]);
}

#[test]
fn lost_removal_shows_the_file_again() {
    let mut disk = with_fua();
    let file = durable_file(&mut disk, LOG, 1);
    durable(&mut disk, file, 0, 1);
    run(&mut disk, DiskOp::Remove { name: LOG }).unwrap();
    assert_eq!(read(&mut disk, file, 0), [1; BLOCK as usize], "readable until closed");
    run(&mut disk, DiskOp::Close { file }).unwrap();
    assert_eq!(byte(&disk.crash(CrashPolicy::LoseAll), LOG, 0), 1);
    assert!(disk.crash(CrashPolicy::KeepAll).is_empty());
    assert_eq!(disk.files_held().0, 1);
    run(&mut disk, DiskOp::SyncDir).unwrap();
    assert!(disk.crash(CrashPolicy::LoseAll).is_empty());
    assert_eq!(disk.files_held(), (0, 0), "unreachable files are forgotten");
}

#[test]
fn changes_survive_as_a_prefix_in_order() {
    let mut disk = with_fua();
    for number in 0..3 {
        open(&mut disk, FileName::Segment(number), 1);
    }
    let names = |kept: usize| {
        let mut choose = |_: Choice| kept;
        disk.crash(CrashPolicy::Choose(&mut choose)).names()
    };
    assert_eq!(names(0), []);
    assert_eq!(names(1), [FileName::Segment(0)]);
    assert_eq!(names(2), [FileName::Segment(0), FileName::Segment(1)]);
    let seeded = (0..100).map(|seed| disk.crash(CrashPolicy::Seeded(seed)).names().len());
    let counts: std::collections::BTreeSet<_> = seeded.collect();
    assert_eq!(counts.len(), 4, "every prefix is drawn by some seed");
}

#[test]
fn directory_sync_covers_what_completed_before_its_submit() {
    let mut disk = with_fua();
    open(&mut disk, FileName::Segment(0), 1);
    let sync = submit_late(&mut disk, DiskOp::SyncDir);
    let op = DiskOp::Open { name: FileName::Segment(1), create: Some(u64::from(BLOCK)) };
    let second = disk.submit(op).unwrap();
    wait_for(&mut disk, second).unwrap();
    wait_for(&mut disk, sync).unwrap();
    assert_eq!(disk.crash(CrashPolicy::LoseAll).names(), [FileName::Segment(0)]);
}

#[test]
fn change_in_flight_may_have_happened() {
    let mut disk = with_fua();
    durable_file(&mut disk, SPARE, 1);
    disk.submit(DiskOp::Rename { from: SPARE, to: LOG }).unwrap();
    assert_eq!(disk.crash(CrashPolicy::LoseAll).names(), [SPARE]);
    assert_eq!(disk.crash(CrashPolicy::KeepAll).names(), [LOG]);
}

#[test]
fn lost_growth_takes_along_what_was_written_beyond_the_old_end() {
    let mut disk = with_fua();
    durable_file(&mut disk, LOG, 1);
    let file = open(&mut disk, LOG, 2);
    durable(&mut disk, file, 1, 1);
    assert_eq!(disk.crash(CrashPolicy::LoseAll).len(LOG), Some(u64::from(BLOCK)));
    run(&mut disk, DiskOp::SyncDir).unwrap();
    assert_eq!(byte(&disk.crash(CrashPolicy::LoseAll), LOG, 1), 1);
}

#[test]
fn an_adopted_handle_follows_its_file() {
    let mut disk = with_fua();
    let file = durable_file(&mut disk, SPARE, 1);
    durable(&mut disk, file, 0, 1);
    let adopted = disk.adopt(SPARE);
    run(&mut disk, DiskOp::Close { file }).unwrap();
    run(&mut disk, DiskOp::Rename { from: SPARE, to: LOG }).unwrap();
    let other = open(&mut disk, SPARE, 1);
    durable(&mut disk, other, 0, 2);
    assert_eq!(read(&mut disk, adopted, 0), [1; BLOCK as usize], "under another name");
    run(&mut disk, DiskOp::Remove { name: LOG }).unwrap();
    run(&mut disk, DiskOp::SyncDir).unwrap();
    assert_eq!(read(&mut disk, adopted, 0), [1; BLOCK as usize], "readable until closed");
    assert!(matches!(run(&mut disk, DiskOp::Sync { file: adopted }), Ok(Output::Synced)));
    run(&mut disk, DiskOp::Close { file: adopted }).unwrap();
    assert_eq!(disk.files_held().0, 1);
}

#[test]
fn an_adopted_file_that_is_not_there_is_missed_when_it_is_read() {
    let mut disk = with_fua();
    let missing = disk.adopt(LOG);
    let op = |file| DiskOp::Read { file, offset: 0, len: BLOCK };
    assert_eq!(run(&mut disk, op(missing)).unwrap_err(), ENOENT);
    assert_eq!(run(&mut disk, DiskOp::Sync { file: missing }).unwrap_err(), ENOENT);
    let file = durable_file(&mut disk, SPARE, 1);
    durable(&mut disk, file, 0, 1);
    let adopted = disk.adopt(SPARE);
    assert_eq!(read(&mut disk, adopted, 0), [1; BLOCK as usize]);
    disk.take_away(SPARE);
    assert_eq!(run(&mut disk, op(adopted)).unwrap_err(), ENOENT);
    assert_eq!(read(&mut disk, file, 0), [1; BLOCK as usize], "who had opened it has it");
    assert_eq!(disk.list().unwrap(), []);
    durable_file(&mut disk, LOG, 1);
    assert_eq!(read(&mut disk, missing, 0), [0; BLOCK as usize], "the next one tries again");
}
