//! What a caller must not do panics with the numbers.

use super::*;

fn disk_with_file() -> (SimDisk, FileId) {
    let mut disk = without_fua();
    let file = open(&mut disk, LOG, 2);
    (disk, file)
}

#[test]
#[should_panic(expected = "write to 0..4096 overlaps OpId(1) in flight to 0..8192")]
fn overlapping_writes_in_flight() {
    let (mut disk, file) = disk_with_file();
    disk.submit(DiskOp::Zero { file, offset: 0, len: 2 * BLOCK }).unwrap();
    let op = write(&mut disk, file, 0, 1, true);
    let _ = disk.submit(op);
}

#[test]
fn adjacent_writes_do_not_overlap() {
    let (mut disk, file) = disk_with_file();
    for block in 0..2 {
        let op = write(&mut disk, file, block, 1, true);
        disk.submit(op).unwrap();
    }
}

#[test]
#[should_panic(expected = "unaligned write of 4096 bytes at 512")]
fn unaligned_offset() {
    let (mut disk, file) = disk_with_file();
    let _ = disk.submit(DiskOp::Zero { file, offset: 512, len: BLOCK });
}

#[test]
#[should_panic(expected = "unaligned write of 512 bytes at 0")]
fn unaligned_length() {
    let (mut disk, file) = disk_with_file();
    let mut memory = disk.block(BLOCK).unwrap();
    let data = memory.append(&[1; 512]);
    let data = memory.slice(data);
    let _ = disk.submit(DiskOp::Write { file, offset: 0, data, durable: true, unwritten: false });
}

#[test]
#[should_panic(expected = "unaligned memory")]
fn unaligned_memory() {
    let (mut disk, file) = disk_with_file();
    let mut memory = disk.block(2 * BLOCK).unwrap();
    memory.append_zeros(2 * BLOCK);
    let data = memory.slice(512..512 + BLOCK);
    let _ = disk.submit(DiskOp::Write { file, offset: 0, data, durable: true, unwritten: false });
}

#[test]
#[should_panic(expected = "write of 4096 bytes at 8192 beyond the file's 8192")]
fn write_beyond_the_end() {
    let (mut disk, file) = disk_with_file();
    let op = write(&mut disk, file, 2, 1, true);
    let _ = disk.submit(op);
}

#[test]
#[should_panic(expected = "FileId(7) is not open")]
fn unknown_file() {
    let mut disk = without_fua();
    let _ = disk.submit(DiskOp::Sync { file: FileId(7) });
}

#[test]
#[should_panic(expected = "FileId(0) is not open")]
fn use_after_close() {
    let (mut disk, file) = disk_with_file();
    disk.submit(DiskOp::Close { file }).unwrap();
    let _ = disk.submit(DiskOp::Read { file, offset: 0, len: BLOCK });
}

#[test]
#[should_panic(expected = "write to FileId(1), which was adopted")]
fn write_to_an_adopted_file() {
    let (mut disk, _) = disk_with_file();
    let file = disk.adopt(LOG);
    let op = write(&mut disk, file, 0, 1, true);
    let _ = disk.submit(op);
}

#[test]
#[should_panic(expected = "memory of the write in flight to 0..4096 was changed")]
fn memory_changed_under_a_write() {
    let (mut disk, file) = disk_with_file();
    let mut memory = disk.block(BLOCK).unwrap();
    let data = memory.append(b"first");
    let data = memory.device_slice(data);
    let id = disk
        .submit(DiskOp::Write { file, offset: 0, data, durable: true, unwritten: false })
        .unwrap();
    memory.append(b"second");
    let _ = wait_for(&mut disk, id);
}

#[test]
#[should_panic(expected = "all operations are stuck")]
fn blocking_for_a_stuck_operation() {
    let (mut disk, file) = disk_with_file();
    disk.faults().next(OpKind::Sync, Fault::Stuck);
    let _ = run(&mut disk, DiskOp::Sync { file });
}
