//! The rules of the fault model, one test each, grouped as the model is.

mod durability;
mod failures;
mod misuse;
mod names;
mod replay;

use super::*;
use crate::io::{Completion, Disk, DiskOp, Errno, FileId, FileName, OpId, Output, run};

const LOG: FileName = FileName::Segment(0);
const SPARE: FileName = FileName::Spare(0);
const BLOCK: u32 = crate::io::BLOCK_BYTES;

fn without_fua() -> SimDisk {
    SimDisk::new(Config::default(), 1)
}

fn with_fua() -> SimDisk {
    SimDisk::new(Config { fua: true, ..Config::default() }, 1)
}

/// Opens or creates a file of `blocks` blocks.
fn open(disk: &mut SimDisk, name: FileName, blocks: u32) -> FileId {
    let create = Some(u64::from(blocks * BLOCK));
    match run(disk, DiskOp::Open { name, create }).unwrap() {
        Output::Opened { file, .. } => file,
        other => panic!("{other:?}"),
    }
}

/// A file of `blocks` blocks whose name is durable.
fn durable_file(disk: &mut SimDisk, name: FileName, blocks: u32) -> FileId {
    let file = open(disk, name, blocks);
    run(disk, DiskOp::SyncDir).unwrap();
    file
}

/// A write of one block full of `fill`.
fn write(disk: &mut SimDisk, file: FileId, block: u32, fill: u8, durable: bool) -> DiskOp {
    let mut memory = disk.block(BLOCK).unwrap();
    let data = memory.append(&[fill; BLOCK as usize]);
    let offset = u64::from(block * BLOCK);
    DiskOp::Write { file, offset, data: memory.slice(data), durable, unwritten: false }
}

fn plain(disk: &mut SimDisk, file: FileId, block: u32, fill: u8) {
    let op = write(disk, file, block, fill, false);
    run(disk, op).unwrap();
}

fn durable(disk: &mut SimDisk, file: FileId, block: u32, fill: u8) {
    let op = write(disk, file, block, fill, true);
    run(disk, op).unwrap();
}

/// Submits an operation that is late enough to be in flight while others complete.
fn submit_late(disk: &mut SimDisk, op: DiskOp) -> OpId {
    disk.faults().next(OpKind::of(&op), Fault::LateNs(1_000_000_000));
    disk.submit(op).unwrap()
}

/// Waits for one operation among others.
fn wait_for(disk: &mut SimDisk, id: OpId) -> Result<Output, Errno> {
    let mut out: Vec<Completion> = Vec::new();
    loop {
        disk.complete(&mut out);
        if let Some(at) = out.iter().position(|done| done.op == id) {
            return out.swap_remove(at).result;
        }
        assert!(disk.advance_to_next(), "{id:?} never completes");
    }
}

fn read(disk: &mut SimDisk, file: FileId, block: u32) -> Vec<u8> {
    let offset = u64::from(block * BLOCK);
    match run(disk, DiskOp::Read { file, offset, len: BLOCK }).unwrap() {
        Output::Read(block) => block.slice(0..BLOCK).to_vec(),
        other => panic!("{other:?}"),
    }
}

/// The first byte of each sector of a block.
fn sectors(image: &CrashImage, name: FileName, block: u32) -> Vec<u8> {
    let bytes = image.read(name, u64::from(block * BLOCK), BLOCK as usize).unwrap();
    bytes
        .chunks(512)
        .inspect(|sector| assert!(sector.iter().all(|byte| *byte == sector[0]), "torn sector"))
        .map(|sector| sector[0])
        .collect()
}

/// The first byte of a block that holds one value.
fn byte(image: &CrashImage, name: FileName, block: u32) -> u8 {
    let sectors = sectors(image, name, block);
    assert_eq!(sectors, vec![sectors[0]; 8]);
    sectors[0]
}
