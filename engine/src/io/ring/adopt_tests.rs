//! Files that are in use without a descriptor: when they get one, when they lose it, and that a
//! handle stays with its file.

use std::fs;

use super::super::RingConfig;
use super::*;
use crate::io::run;

const SPARE: FileName = FileName::Spare(1);

/// A directory with segments, each of two blocks filled with its number, and a disk on it.
fn scene(segments: u8, descriptors_max: u32) -> (tempfile::TempDir, RingDisk) {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    for number in 0..segments {
        write(dir.path(), name(number), number);
    }
    let ring = Ring::new(RingConfig { submission_entries: 8, completion_entries: 16 }).unwrap();
    let limits = DiskLimits { descriptors_max, ..DiskLimits::default() };
    let disk = RingDisk::open(&ring, dir.path(), Budget::new(16 << 20), limits).unwrap();
    (dir, disk)
}

fn name(number: u8) -> FileName {
    FileName::Segment(number.into())
}

fn write(dir: &Path, name: FileName, byte: u8) {
    fs::write(dir.join(name.to_string()), [byte; 8192]).unwrap();
}

fn read_op(file: FileId) -> DiskOp {
    DiskOp::Read { file, offset: 4096, len: 4096 }
}

fn byte_of(result: Result<Output, Errno>) -> Result<u8, Errno> {
    match result? {
        Output::Read(block) => Ok(block.slice(0..4096)[17]),
        other => panic!("read: {other:?}"),
    }
}

fn read(disk: &mut RingDisk, file: FileId) -> Result<u8, Errno> {
    byte_of(run(disk, read_op(file)))
}

/// Submits all of it at once; the results in the order of submission.
fn together(disk: &mut RingDisk, ops: Vec<DiskOp>) -> Vec<Result<Output, Errno>> {
    let ids: Vec<OpId> = ops.into_iter().map(|op| disk.submit(op).unwrap()).collect();
    let mut done = Vec::new();
    while done.len() < ids.len() {
        disk.flush();
        disk.wait();
        disk.complete(&mut done);
    }
    done.sort_by_key(|completion| completion.op);
    assert!(done.iter().map(|completion| completion.op).eq(ids));
    done.into_iter().map(|completion| completion.result).collect()
}

/// Descriptors of this process that lead into the directory.
fn descriptors(dir: &Path) -> usize {
    let all = fs::read_dir("/proc/self/fd").unwrap();
    let targets = all.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    targets.filter(|target| target.parent() == Some(dir)).count()
}

#[test]
fn a_file_has_no_descriptor_before_it_is_read() {
    let (dir, mut disk) = scene(2, 8);
    let files = [0, 1].map(|number| disk.adopt(name(number)));
    assert_eq!((disk.files.located(), descriptors(dir.path())), (0, 0));
    assert_eq!(read(&mut disk, files[1]), Ok(1));
    assert_eq!((disk.files.located(), descriptors(dir.path())), (1, 1));
    assert_eq!(read(&mut disk, files[1]), Ok(1));
    assert!(matches!(run(&mut disk, DiskOp::Sync { file: files[0] }), Ok(Output::Synced)));
    assert_eq!(descriptors(dir.path()), 2);
    for file in files {
        assert!(matches!(run(&mut disk, DiskOp::Close { file }), Ok(Output::Done)));
        assert_eq!(read(&mut disk, file), Err(Errno(libc::EBADF)));
    }
    assert_eq!((disk.files.located(), descriptors(dir.path())), (0, 0));
}

#[test]
fn the_least_recently_used_descriptor_goes() {
    let (dir, mut disk) = scene(9, 3);
    let files: Vec<FileId> = (0..9).map(|number| disk.adopt(name(number))).collect();
    for round in 0..3 {
        for (number, &file) in (0..).zip(&files) {
            assert_eq!(read(&mut disk, file), Ok(number), "round {round}");
            // The first is used all the time, and stays.
            assert_eq!(read(&mut disk, files[0]), Ok(0));
        }
    }
    disk.flush();
    assert_eq!((disk.files.located(), descriptors(dir.path())), (3, 3));
    let target = dir.path().join(name(0).to_string());
    fs::remove_file(target).unwrap();
    assert_eq!(read(&mut disk, files[0]), Ok(0), "it kept its descriptor");
    assert_eq!(read(&mut disk, files[8]), Ok(8));
}

#[test]
fn a_descriptor_in_use_is_not_taken() {
    let (dir, mut disk) = scene(60, 1);
    let files: Vec<FileId> = (0..60).map(|number| disk.adopt(name(number))).collect();
    for _ in 0..3 {
        let ops = files.iter().chain(&files).map(|file| read_op(*file)).collect();
        let bytes: Vec<u8> =
            together(&mut disk, ops).into_iter().map(|read| byte_of(read).unwrap()).collect();
        assert!(bytes.iter().copied().eq((0..60).chain(0..60)));
    }
    // None is in use now: the next to be opened is one too many, and all others go.
    let write = DiskOp::Open { name: SPARE, create: Some(4096) };
    run(&mut disk, write).unwrap();
    let spare = disk.adopt(SPARE);
    run(&mut disk, DiskOp::Sync { file: spare }).unwrap();
    disk.flush();
    assert_eq!(disk.files.located(), 1);
    assert_eq!(descriptors(dir.path()), 2, "and the one that was opened to be written");
}

#[test]
fn operations_that_meet_while_it_is_opened_share_a_descriptor() {
    let (dir, mut disk) = scene(1, 8);
    let file = disk.adopt(name(0));
    let results = together(&mut disk, (0..100).map(|_| read_op(file)).collect());
    assert!(results.into_iter().all(|read| byte_of(read) == Ok(0)));
    disk.flush();
    assert_eq!((disk.files.located(), descriptors(dir.path())), (1, 1));
}

#[test]
fn a_handle_follows_its_file() {
    for (read_before, max) in [(false, 8), (true, 8), (false, 0), (true, 0)] {
        let (dir, mut disk) = scene(3, max);
        let (file, other) = (disk.adopt(name(1)), disk.adopt(name(2)));
        if read_before {
            assert_eq!(read(&mut disk, file), Ok(1));
            assert_eq!(read(&mut disk, other), Ok(2));
        }
        run(&mut disk, DiskOp::Rename { from: name(1), to: SPARE }).unwrap();
        // Another file gets the old name, and the handle's descriptor, if it has one, goes.
        write(dir.path(), name(1), 77);
        for _ in 0..3 {
            assert_eq!(read(&mut disk, file), Ok(1), "before {read_before}, max {max}");
            assert_eq!(read(&mut disk, other), Ok(2));
        }
        let new = disk.adopt(name(1));
        assert_eq!(read(&mut disk, new), Ok(77));
        run(&mut disk, DiskOp::Rename { from: SPARE, to: FileName::Segment(9) }).unwrap();
        assert_eq!((read(&mut disk, file), read(&mut disk, new)), (Ok(1), Ok(77)));
    }
}

/// Whatever the kernel's workers do first: reads before and behind a change of the name find the
/// file.
#[test]
fn names_change_while_files_are_opened() {
    for round in 0..50 {
        let (_dir, mut disk) = scene(4, 0);
        let files: Vec<FileId> = (0..4).map(|number| disk.adopt(name(number))).collect();
        let twin = disk.adopt(name(1));
        let reads = |file: FileId| (0..3).map(move |_| read_op(file));
        let mut ops: Vec<DiskOp> = files.iter().flat_map(|file| reads(*file)).collect();
        ops.push(DiskOp::Rename { from: name(1), to: SPARE });
        ops.push(DiskOp::Remove { name: name(2) });
        ops.extend(files.iter().flat_map(|file| reads(*file)).chain(reads(twin)));
        for (at, result) in together(&mut disk, ops).into_iter().enumerate() {
            let number = match at {
                12 | 13 => {
                    assert!(matches!(result, Ok(Output::Done)), "round {round}: {result:?}");
                    continue;
                }
                0..12 => at / 3,
                14..26 => (at - 14) / 3,
                _ => 1,
            };
            assert_eq!(byte_of(result), Ok(number as u8), "round {round}, operation {at}");
        }
        assert_eq!(disk.list().unwrap(), [name(0), name(3), SPARE]);
        assert_eq!((read(&mut disk, files[1]), read(&mut disk, twin)), (Ok(1), Ok(1)));
    }
}

#[test]
fn a_removed_file_is_read_until_it_is_closed() {
    let (dir, mut disk) = scene(3, 0);
    let (file, other) = (disk.adopt(name(1)), disk.adopt(name(2)));
    run(&mut disk, DiskOp::Remove { name: name(1) }).unwrap();
    write(dir.path(), name(1), 77);
    for _ in 0..3 {
        assert_eq!((read(&mut disk, other), read(&mut disk, file)), (Ok(2), Ok(1)));
    }
    run(&mut disk, DiskOp::Close { file }).unwrap();
    let file = disk.adopt(name(1));
    assert_eq!(read(&mut disk, file), Ok(77));
}

#[test]
fn a_missing_file_is_the_error_of_who_needs_it() {
    let (dir, mut disk) = scene(2, 0);
    let (missing, there) = (disk.adopt(name(7)), disk.adopt(name(1)));
    let results = together(&mut disk, [missing, there, missing].map(read_op).into());
    let bytes: Vec<_> = results.into_iter().map(byte_of).collect();
    assert_eq!(bytes, [Err(Errno(libc::ENOENT)), Ok(1), Err(Errno(libc::ENOENT))]);
    let rename = DiskOp::Rename { from: name(7), to: SPARE };
    assert_eq!(run(&mut disk, rename).unwrap_err(), Errno(libc::ENOENT));
    let remove = DiskOp::Remove { name: name(7) };
    assert_eq!(run(&mut disk, remove).unwrap_err(), Errno(libc::ENOENT));
    // The next one tries again.
    write(dir.path(), name(7), 7);
    assert_eq!(read(&mut disk, missing), Ok(7));
    // A rename that fails leaves the handle where it was.
    let taken = DiskOp::Rename { from: name(7), to: name(1) };
    assert_eq!(run(&mut disk, taken).unwrap_err(), Errno(libc::EEXIST));
    assert_eq!((read(&mut disk, there), read(&mut disk, missing)), (Ok(1), Ok(7)));
}

#[test]
fn what_was_adopted_cannot_be_written() {
    let (_dir, mut disk) = scene(1, 8);
    let file = disk.adopt(name(0));
    let data = {
        let mut block = disk.block(4096).unwrap();
        block.append(&[9; 4096]);
        block.device_slice(0..4096)
    };
    let write = DiskOp::Write { file, offset: 4096, data, durable: false, unwritten: false };
    assert_eq!(run(&mut disk, write).unwrap_err(), Errno(libc::EBADF));
    let zero = DiskOp::Zero { file, offset: 4096, len: 4096 };
    assert_eq!(run(&mut disk, zero).unwrap_err(), Errno(libc::EBADF));
    assert_eq!(read(&mut disk, file), Ok(0));
}

#[test]
fn a_file_may_be_closed_or_its_disk_dropped_while_it_is_opened() {
    let (dir, mut disk) = scene(1, 8);
    let file = disk.adopt(name(0));
    let results = together(&mut disk, vec![read_op(file), DiskOp::Close { file }, read_op(file)]);
    let [first, _, last] = <[_; 3]>::try_from(results).unwrap();
    assert_eq!((byte_of(first), byte_of(last)), (Ok(0), Err(Errno(libc::EBADF))));
    assert_eq!((disk.files.located(), descriptors(dir.path())), (0, 0));
    let budget = disk.budget.clone();
    let file = disk.adopt(name(0));
    disk.submit(read_op(file)).unwrap();
    drop(disk);
    assert_eq!((budget.used(), descriptors(dir.path())), (0, 0));
}
