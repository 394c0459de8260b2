//! Transfers that the kernel does only in part: what is submitted next goes on where the last one
//! ended, in the file and in memory.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use io_uring::IoUring;

use super::super::super::block::Budget;
use super::*;

const BLOCK: usize = BLOCK_BYTES as usize;

struct Scene {
    dir: tempfile::TempDir,
    ring: IoUring,
    shared: Shared,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let shared = Shared { dir: File::open(&dir).unwrap().into(), write_zeroes: false.into() };
        Self { dir, ring: IoUring::new(4).unwrap(), shared }
    }

    /// A file that holds `bytes`, and a transfer of its first `len` bytes behind the first block.
    fn file(&self, bytes: &[u8], len: usize) -> (File, Transfer) {
        let path = self.dir.path().join("file");
        fs::write(&path, bytes).unwrap();
        let file = File::options().read(true).write(true).open(path).unwrap();
        let shared = Rc::new(file.try_clone().unwrap().into());
        (file, Transfer::new(shared, BLOCK as u64, len as u32))
    }

    fn contents(&self) -> Vec<u8> {
        fs::read(self.dir.path().join("file")).unwrap()
    }

    /// The next entry does `moved` bytes of what it asks for, as far as the operation can tell.
    fn pretend(&mut self, op: &mut Op, moved: usize) -> Step {
        let _never_submitted = op.entry(&self.shared);
        op.step(moved as i32, &self.shared)
    }

    /// The kernel does the next entry: its result.
    fn submit(&mut self, op: &mut Op) -> i32 {
        let entry = op.entry(&self.shared);
        // SAFETY: `op` owns what the entry points to, and is there until this has completed.
        unsafe { self.ring.submission().push(&entry).unwrap() };
        self.ring.submit_and_wait(1).unwrap();
        self.ring.completion().next().unwrap().result()
    }
}

/// Four blocks that differ.
fn pattern() -> Vec<u8> {
    (1..=4).flat_map(|byte| vec![byte; BLOCK]).collect()
}

fn is_again(step: &Step) -> bool {
    matches!(step, Step::Again)
}

#[test]
fn a_short_write_goes_on_where_it_ended() {
    for durable in [false, true] {
        let mut scene = Scene::new();
        let (_, transfer) = scene.file(&[0; 5 * BLOCK], 4 * BLOCK);
        let mut block = Budget::new(1 << 20).block(4 * BLOCK_BYTES).unwrap();
        block.append(&pattern());
        let data = block.slice(0..4 * BLOCK_BYTES);
        let mut op = Op::Write { transfer, data, durable, unwritten: false };
        assert!(is_again(&scene.pretend(&mut op, BLOCK)));
        // Interrupted: the same again.
        assert!(is_again(&op.step(-libc::EINTR, &scene.shared)));
        assert!(is_again(&scene.pretend(&mut op, 2 * BLOCK)));
        let result = scene.submit(&mut op);
        assert_eq!(result, BLOCK as i32, "what is left, and no more");
        assert!(matches!(op.step(result, &scene.shared), Step::Done(Ok(Product::Written))));
        // What was only pretended is not there; the rest is, in its place.
        assert_eq!(scene.contents(), [vec![0; 4 * BLOCK], vec![4; BLOCK]].concat());
    }
}

#[test]
fn a_short_write_that_stops_or_leaves_the_grid_fails() {
    for (moved, why) in [(0, "it stops"), (100, "off the grid"), (5 * BLOCK, "too much")] {
        let mut scene = Scene::new();
        let (_, transfer) = scene.file(&[0; 5 * BLOCK], 4 * BLOCK);
        let mut block = Budget::new(1 << 20).block(4 * BLOCK_BYTES).unwrap();
        block.append(&pattern());
        let data = block.slice(0..4 * BLOCK_BYTES);
        let mut op = Op::Write { transfer, data, durable: true, unwritten: false };
        assert!(is_again(&scene.pretend(&mut op, BLOCK)));
        let step = scene.pretend(&mut op, moved);
        assert!(matches!(step, Step::Done(Err(Errno(libc::EIO)))), "{why}");
    }
}

/// The kernel itself reads short: the file ends there, and is longer when the rest is asked for.
#[test]
fn a_short_read_goes_on_where_it_ended() {
    let mut scene = Scene::new();
    let all = [vec![9; BLOCK], pattern()].concat();
    let (file, transfer) = scene.file(&all[..2 * BLOCK], 4 * BLOCK);
    let block = Budget::new(1 << 20).block(4 * BLOCK_BYTES).unwrap();
    let mut op = Op::Read { transfer, block };
    for blocks in [2, 4, 5] {
        let result = scene.submit(&mut op);
        let step = op.step(result, &scene.shared);
        if blocks < 5 {
            assert!(result > 0 && is_again(&step), "{result}");
            file.write_all_at(&all[..(blocks + 1) * BLOCK], 0).unwrap();
            continue;
        }
        let Step::Done(Ok(Product::Read(block))) = step else { panic!("{result}") };
        assert_eq!(block.slice(0..block.published())[..], pattern());
        return;
    }
}

#[test]
fn a_read_behind_the_end_fails() {
    let mut scene = Scene::new();
    let (_, transfer) = scene.file(&[9; 2 * BLOCK], 2 * BLOCK);
    let block = Budget::new(1 << 20).block(2 * BLOCK_BYTES).unwrap();
    let mut op = Op::Read { transfer, block };
    let result = scene.submit(&mut op);
    assert!(is_again(&op.step(result, &scene.shared)), "{result}");
    let result = scene.submit(&mut op);
    assert!(matches!(op.step(result, &scene.shared), Step::Done(Err(Errno(libc::EIO)))));
}

#[test]
fn short_zeros_go_on_where_they_ended() {
    let mut scene = Scene::new();
    let chunk = ZERO_CHUNK_BYTES as usize;
    let (_, transfer) = scene.file(&vec![9; chunk + 4 * BLOCK], chunk + 2 * BLOCK);
    let mut op = Op::Zero { transfer, by_device: false };
    assert!(is_again(&scene.pretend(&mut op, BLOCK)));
    let result = scene.submit(&mut op);
    assert_eq!(result, chunk as i32, "a chunk at a time");
    assert!(is_again(&op.step(result, &scene.shared)));
    let result = scene.submit(&mut op);
    assert_eq!(result, BLOCK as i32, "what is left");
    assert!(matches!(op.step(result, &scene.shared), Step::Done(Ok(Product::Written))));
    let expected = [vec![9; 2 * BLOCK], vec![0; chunk + BLOCK], vec![9; BLOCK]].concat();
    assert!(scene.contents() == expected);
}
