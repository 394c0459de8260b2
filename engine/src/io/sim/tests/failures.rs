//! Rule 8 and planned faults.

use super::*;

#[test]
fn failed_write_leaves_some_sectors_written_and_no_sync_helps() {
    let mut written = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let mut disk = SimDisk::new(Config::default(), seed);
        let file = durable_file(&mut disk, LOG, 1);
        durable(&mut disk, file, 0, 1);
        disk.faults().next(OpKind::Write, Fault::Fail(EIO));
        let op = write(&mut disk, file, 0, 2, true);
        assert_eq!(run(&mut disk, op).unwrap_err(), EIO);
        written.extend(read(&mut disk, file, 0));
        run(&mut disk, DiskOp::Sync { file }).unwrap();
        assert_eq!(byte(&disk.crash(CrashPolicy::LoseAll), LOG, 0), 1);
        durable(&mut disk, file, 0, 3);
        assert_eq!(byte(&disk.crash(CrashPolicy::LoseAll), LOG, 0), 3, "a rewrite does help");
        assert_eq!(disk.files_held().1, 0);
    }
    assert_eq!(written.into_iter().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn nth_write_without_space_writes_nothing() {
    let mut disk = without_fua();
    let file = durable_file(&mut disk, LOG, 1);
    disk.faults().nth(OpKind::Write, 2, Fault::Fail(ENOSPC));
    plain(&mut disk, file, 0, 1);
    let op = write(&mut disk, file, 0, 2, false);
    assert_eq!(run(&mut disk, op).unwrap_err(), ENOSPC);
    assert_eq!(byte(&disk.crash(CrashPolicy::KeepAll), LOG, 0), 1);
    plain(&mut disk, file, 0, 3);
    assert_eq!(read(&mut disk, file, 0), [3; BLOCK as usize]);
}

#[test]
fn failed_sync_is_not_made_good_by_a_later_one() {
    let mut disk = with_fua();
    let file = durable_file(&mut disk, LOG, 2);
    plain(&mut disk, file, 0, 1);
    disk.faults().next(OpKind::Sync, Fault::Fail(EIO));
    assert_eq!(run(&mut disk, DiskOp::Sync { file }).unwrap_err(), EIO);
    plain(&mut disk, file, 1, 2);
    run(&mut disk, DiskOp::Sync { file }).unwrap();
    let image = disk.crash(CrashPolicy::LoseAll);
    assert_eq!((byte(&image, LOG, 0), byte(&image, LOG, 1)), (0, 2));
}

/// A flush is the device's: whose it was does not matter.
#[test]
fn failed_flush_puts_everything_that_was_written_in_doubt() {
    for (kind, fua) in [
        (OpKind::Sync, true),
        (OpKind::SyncDir, true),
        (OpKind::Write, false),
        (OpKind::Write, true),
    ] {
        let mut disk = if fua { with_fua() } else { without_fua() };
        let file = durable_file(&mut disk, LOG, 2);
        let other = durable_file(&mut disk, SPARE, 2);
        plain(&mut disk, file, 0, 1);
        disk.faults().next(kind, Fault::Fail(EIO));
        let op = match kind {
            OpKind::Sync => DiskOp::Sync { file: other },
            OpKind::SyncDir => DiskOp::SyncDir,
            _ => write(&mut disk, other, 0, 1, true),
        };
        assert_eq!(disk.take_flush_failure(), None);
        assert_eq!(run(&mut disk, op).unwrap_err(), EIO);
        assert_eq!(disk.take_flush_failure(), Some(EIO));
        assert_eq!(disk.take_flush_failure(), None, "it is told once");
        plain(&mut disk, file, 1, 2);
        run(&mut disk, DiskOp::Sync { file }).unwrap();
        let image = disk.crash(CrashPolicy::LoseAll);
        // With FUA a durable write flushes nothing.
        let kept = u8::from(kind == OpKind::Write && fua);
        assert_eq!((byte(&image, LOG, 0), byte(&image, LOG, 1)), (kept, 2), "{kind:?} {fua}");
    }
}

#[test]
fn writes_that_fail_without_a_flush_put_nothing_else_in_doubt() {
    for (durable, errno) in [(false, EIO), (true, ENOSPC)] {
        let mut disk = without_fua();
        let file = durable_file(&mut disk, LOG, 2);
        plain(&mut disk, file, 0, 1);
        disk.faults().next(OpKind::Write, Fault::Fail(errno));
        let op = write(&mut disk, file, 1, 1, durable);
        assert_eq!(run(&mut disk, op).unwrap_err(), errno);
        assert_eq!(disk.take_flush_failure(), None);
        run(&mut disk, DiskOp::Sync { file }).unwrap();
        assert_eq!(byte(&disk.crash(CrashPolicy::LoseAll), LOG, 0), 1);
    }
}

#[test]
fn capacity_bounds_all_files_and_comes_back_with_removal_and_close() {
    let two_blocks = Config { capacity_bytes_max: u64::from(2 * BLOCK), ..Config::default() };
    let mut disk = SimDisk::new(two_blocks, 1);
    let file = open(&mut disk, LOG, 2);
    let create = DiskOp::Open { name: SPARE, create: Some(u64::from(BLOCK)) };
    assert_eq!(run(&mut disk, create).unwrap_err(), ENOSPC);
    let grow = DiskOp::Open { name: LOG, create: Some(u64::from(3 * BLOCK)) };
    assert_eq!(run(&mut disk, grow).unwrap_err(), ENOSPC);
    assert_eq!(disk.list().unwrap(), [LOG]);
    run(&mut disk, DiskOp::Remove { name: LOG }).unwrap();
    let create = DiskOp::Open { name: SPARE, create: Some(u64::from(BLOCK)) };
    assert_eq!(run(&mut disk, create).unwrap_err(), ENOSPC, "an open file keeps its space");
    run(&mut disk, DiskOp::Close { file }).unwrap();
    open(&mut disk, SPARE, 2);
}

#[test]
fn full_disk_at_creation_and_prefill() {
    let mut disk = without_fua();
    disk.faults().next(OpKind::Create, Fault::Fail(ENOSPC));
    let create = DiskOp::Open { name: LOG, create: Some(u64::from(BLOCK)) };
    assert_eq!(run(&mut disk, create).unwrap_err(), ENOSPC);
    assert!(disk.crash(CrashPolicy::KeepAll).is_empty());
    let file = open(&mut disk, LOG, 1);
    disk.faults().always(OpKind::Zero, Fault::Fail(ENOSPC));
    for _ in 0..2 {
        let zero = DiskOp::Zero { file, offset: 0, len: BLOCK };
        assert_eq!(run(&mut disk, zero).unwrap_err(), ENOSPC);
    }
}

#[test]
fn reads_fail_by_plan_beyond_the_end_and_without_memory() {
    let config = Config { block_bytes_max: u64::from(BLOCK), ..Config::default() };
    let mut disk = SimDisk::new(config, 1);
    let file = open(&mut disk, LOG, 1);
    let read = || DiskOp::Read { file, offset: 0, len: BLOCK };
    disk.faults().next(OpKind::Read, Fault::Fail(EIO));
    assert_eq!(run(&mut disk, read()).unwrap_err(), EIO);
    let beyond = DiskOp::Read { file, offset: u64::from(BLOCK), len: BLOCK };
    assert_eq!(run(&mut disk, beyond).unwrap_err(), EIO);
    let held = run(&mut disk, read()).unwrap();
    assert_eq!(run(&mut disk, read()).unwrap_err(), Errno(12));
    drop(held);
    assert!(run(&mut disk, read()).is_ok());
    let missing = DiskOp::Open { name: SPARE, create: None };
    assert_eq!(run(&mut disk, missing).unwrap_err(), Errno(2));
}

#[test]
fn stuck_operation_never_completes_and_counts_as_in_flight() {
    let config = Config { ops_inflight_max: 2, ..Config::default() };
    let mut disk = SimDisk::new(config, 1);
    let file = durable_file(&mut disk, LOG, 2);
    disk.faults().next(OpKind::Write, Fault::Stuck);
    let op = write(&mut disk, file, 0, 1, true);
    disk.submit(op).unwrap();
    let op = write(&mut disk, file, 1, 2, true);
    let other = disk.submit(op).unwrap();
    let full = disk.submit(DiskOp::SyncDir).unwrap_err();
    assert!(matches!(full.0, DiskOp::SyncDir), "it comes back untouched");
    wait_for(&mut disk, other).unwrap();
    assert!(!disk.advance_to_next());
    assert_eq!(disk.in_flight(), 1);
    assert_eq!(byte(&disk.crash(CrashPolicy::LoseAll), LOG, 0), 0);
    assert_eq!(byte(&disk.crash(CrashPolicy::KeepAll), LOG, 0), 1);
}

#[test]
fn latency_spike_delays_only_its_operation() {
    let mut disk = without_fua();
    let file = durable_file(&mut disk, LOG, 2);
    let op = write(&mut disk, file, 0, 1, true);
    let late = submit_late(&mut disk, op);
    let start = disk.clock().now();
    let op = write(&mut disk, file, 1, 2, true);
    let other = disk.submit(op).unwrap();
    wait_for(&mut disk, other).unwrap();
    assert!(disk.clock().now().since(start) < 1_000_000_000);
    wait_for(&mut disk, late).unwrap();
    assert!(disk.clock().now().since(start) >= 1_000_000_000);
}

#[test]
fn flipped_bit_is_read_and_survives() {
    let mut disk = without_fua();
    let file = durable_file(&mut disk, LOG, 1);
    durable(&mut disk, file, 0, 0x10);
    plain(&mut disk, file, 0, 0x20);
    disk.flip_bit(LOG, 100, 0);
    assert_eq!(read(&mut disk, file, 0)[99..102], [0x20, 0x21, 0x20]);
    let image = disk.crash(CrashPolicy::LoseAll);
    assert_eq!(image.read(LOG, 99, 3).unwrap(), [0x10, 0x11, 0x10]);
}
