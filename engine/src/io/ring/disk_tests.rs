use std::fs;

use super::super::RingConfig;
use super::*;
use crate::io::run;

fn disk(dir: &Path) -> RingDisk {
    let ring = Ring::new(RingConfig { submission_entries: 8, completion_entries: 16 }).unwrap();
    RingDisk::open(&ring, dir, Budget::new(16 << 20), DiskLimits::default()).unwrap()
}

/// On a real file system: O_DIRECT is the point.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap()
}

fn open(disk: &mut RingDisk, name: FileName, create: Option<u64>) -> (FileId, u64) {
    match run(disk, DiskOp::Open { name, create }) {
        Ok(Output::Opened { file, len }) => (file, len),
        other => panic!("{name}: {other:?}"),
    }
}

fn filled(disk: &mut RingDisk, byte: u8, len: u32) -> Block {
    let mut block = disk.block(len).unwrap();
    block.append(&vec![byte; len as usize]);
    block
}

fn read(disk: &mut RingDisk, file: FileId, offset: u64, len: u32) -> Vec<u8> {
    match run(disk, DiskOp::Read { file, offset, len }) {
        Ok(Output::Read(block)) => block.slice(0..len).to_vec(),
        other => panic!("read: {other:?}"),
    }
}

#[test]
fn a_file_lives_from_creation_to_removal() {
    let dir = directory();
    let mut disk = disk(dir.path());
    let (spare, segment) = (FileName::Spare(1), FileName::Segment(7));
    let (file, len) = open(&mut disk, spare, Some(1 << 20));
    assert_eq!(len, 1 << 20);
    for (offset, byte, durable) in [(0, 1, true), (8192, 2, false)] {
        let data = filled(&mut disk, byte, 4096).slice(0..4096);
        let write = DiskOp::Write { file, offset, data, durable, unwritten: false };
        assert!(matches!(run(&mut disk, write), Ok(Output::Written)));
    }
    assert!(matches!(run(&mut disk, DiskOp::Sync { file }), Ok(Output::Synced)));
    assert_eq!(read(&mut disk, file, 0, 12288), [[1; 4096], [0; 4096], [2; 4096]].concat());
    let rename = DiskOp::Rename { from: spare, to: segment };
    assert!(matches!(run(&mut disk, rename), Ok(Output::Done)));
    assert!(matches!(run(&mut disk, DiskOp::SyncDir), Ok(Output::Done)));
    assert_eq!(disk.list().unwrap(), [segment]);
    assert!(matches!(run(&mut disk, DiskOp::Close { file }), Ok(Output::Done)));
    let (file, len) = open(&mut disk, segment, None);
    assert_eq!((len, read(&mut disk, file, 8192, 4096)[0]), (1 << 20, 2));
    assert!(matches!(run(&mut disk, DiskOp::Remove { name: segment }), Ok(Output::Done)));
    assert_eq!(disk.list().unwrap(), []);
    assert_eq!(read(&mut disk, file, 0, 4096)[0], 1, "open files outlive their name");
}

#[test]
fn errors_keep_their_errno() {
    let dir = directory();
    let mut disk = disk(dir.path());
    let (a, b) = (FileName::Spare(1), FileName::Spare(2));
    let missing = DiskOp::Open { name: a, create: None };
    assert_eq!(run(&mut disk, missing).unwrap_err(), Errno(libc::ENOENT));
    let (file, _) = open(&mut disk, a, Some(4096));
    open(&mut disk, b, Some(4096));
    let taken = DiskOp::Rename { from: a, to: b };
    assert_eq!(run(&mut disk, taken).unwrap_err(), Errno(libc::EEXIST));
    let past = DiskOp::Read { file, offset: 0, len: 8192 };
    assert_eq!(run(&mut disk, past).unwrap_err(), Errno(libc::EIO), "a short read");
    let huge = DiskOp::Read { file, offset: 0, len: 1 << 30 };
    assert_eq!(run(&mut disk, huge).unwrap_err(), Errno(libc::ENOMEM));
    run(&mut disk, DiskOp::Close { file }).unwrap();
    let closed = DiskOp::Sync { file };
    assert_eq!(run(&mut disk, closed).unwrap_err(), Errno(libc::EBADF));
}

/// O_DIRECT refuses what is not aligned: an error of the file system without a broken device.
#[test]
fn a_durable_write_that_fails_is_a_failed_flush() {
    let dir = directory();
    let mut disk = disk(dir.path());
    let (file, _) = open(&mut disk, FileName::Segment(0), Some(1 << 20));
    let mut unaligned = |durable| {
        let data = filled(&mut disk, 1, 4096).slice(0..4096);
        let write = DiskOp::Write { file, offset: 1, data, durable, unwritten: false };
        let errno = run(&mut disk, write).unwrap_err();
        assert_eq!(errno, Errno(libc::EINVAL));
        (disk.take_flush_failure(), disk.take_flush_failure())
    };
    assert_eq!(unaligned(false), (None, None));
    assert_eq!(unaligned(true), (Some(Errno(libc::EINVAL)), None));
    let missing = DiskOp::Sync { file: FileId(99) };
    assert!(run(&mut disk, missing).is_err());
    assert_eq!(disk.take_flush_failure(), None, "nothing was flushed");
}

#[test]
fn zeroed_space_reads_as_zeros_and_lengths_change() {
    let dir = directory();
    let mut disk = disk(dir.path());
    let name = FileName::Segment(0);
    let (file, _) = open(&mut disk, name, Some(8 << 20));
    let data = filled(&mut disk, 9, 1 << 20).slice(0..1 << 20);
    run(&mut disk, DiskOp::Write { file, offset: 2 << 20, data, durable: true, unwritten: false })
        .unwrap();
    // Longer than one chunk, so the state machine takes several steps.
    let len = (3 << 20) + 4096;
    run(&mut disk, DiskOp::Zero { file, offset: 4096, len }).unwrap();
    let back = read(&mut disk, file, 2 << 20, 1 << 20);
    assert!(back.iter().all(|&byte| byte == 0));
    let (_, len) = open(&mut disk, name, Some(4096));
    assert_eq!((len, fs::metadata(dir.path().join(name.to_string())).unwrap().len()), (4096, 4096));
}

#[test]
fn more_operations_than_the_rings_queues_hold() {
    let dir = directory();
    let mut disk = disk(dir.path());
    let (file, _) = open(&mut disk, FileName::Segment(0), Some(1 << 20));
    let block = filled(&mut disk, 5, 4096);
    let mut submitted = Vec::new();
    for n in 0u64.. {
        let data = block.slice(0..4096);
        let write =
            DiskOp::Write { file, offset: n * 4096, data, durable: false, unwritten: false };
        match disk.submit(write) {
            Ok(id) => submitted.push(id),
            Err(Full(DiskOp::Write { offset, .. })) => {
                assert_eq!(offset, n * 4096, "a refused operation comes back untouched");
                break;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(submitted.len(), 256);
    let mut done = Vec::new();
    while done.len() < submitted.len() {
        disk.flush();
        disk.wait();
        disk.complete(&mut done);
    }
    let mut ids: Vec<_> = done.iter().map(|c| c.op).collect();
    ids.sort_unstable();
    assert_eq!(ids, submitted, "each exactly once");
    assert!(done.iter().all(|c| c.result.is_ok()));
}

#[test]
fn dropping_a_disk_waits_for_its_operations() {
    let dir = directory();
    let mut disk = disk(dir.path());
    let budget = disk.budget.clone();
    let (file, _) = open(&mut disk, FileName::Segment(0), Some(1 << 20));
    let data = filled(&mut disk, 5, 4096).slice(0..4096);
    disk.submit(DiskOp::Write { file, offset: 0, data, durable: true, unwritten: false }).unwrap();
    disk.submit(DiskOp::Close { file }).unwrap();
    drop(disk);
    assert_eq!(budget.used(), 0, "blocks are given back");
    assert_eq!(fs::read(dir.path().join(FileName::Segment(0).to_string())).unwrap()[0], 5);
}
