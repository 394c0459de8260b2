//! The filling of one segment: where its steps lie, what they block, what is counted, and every
//! way it can end.

use super::super::scripted::{Asked, EIO, Scripted, geometry};
use super::super::segment_format::SegmentHeader;
use super::*;
use crate::limits::PREFILL_STEP_BYTES;

const NUMBER: u64 = 4;
const FILE: FileId = FileId(5);
const SEQUENCE: u64 = 40;
const STEP: u64 = PREFILL_STEP_BYTES as u64;
const BLOCK: u64 = BLOCK_BYTES as u64;
/// Three steps and a half.
const SEGMENT_BYTES: u64 = STEP * 7 / 2;
const T: Nanos = Nanos(77);

/// A fill and what it asks of the disk.
struct Scene {
    disk: Scripted,
    fill: Fill,
}

impl Scene {
    fn new(filled: u64) -> Self {
        let fill = Fill::new(&geometry(SEGMENT_BYTES), NUMBER, FILE, filled);
        Self { disk: Scripted::new(), fill }
    }

    /// The next step of the current segment, appended up to `appended` bytes of the file.
    fn step(&mut self, appended: u64) {
        let append = LogPos(NUMBER * SEGMENT_BYTES + appended);
        let geometry = geometry(SEGMENT_BYTES);
        self.fill.step(&mut self.disk, &geometry, Some(append), SEGMENT_BYTES, STEP as u32, T);
    }

    /// The next step of a successor that should be filled up to `target`.
    fn step_ahead(&mut self, target: u64) {
        self.fill.step(&mut self.disk, &geometry(SEGMENT_BYTES), None, target, STEP as u32, T);
    }

    fn zeroing(&mut self, offset: u64, len: u64) -> OpId {
        let op = self.disk.expect(Asked::Zero { file: FILE, offset, len: len as u32 });
        assert!(self.fill.is_writing() && self.fill.owns(op));
        op
    }

    fn end(&mut self, op: OpId, result: Result<Output, Errno>) -> u64 {
        assert!(self.fill.owns(op), "{op:?} is not awaited");
        let geometry = geometry(SEGMENT_BYTES);
        let filled = self.fill.on_completion(&mut self.disk, &geometry, SEQUENCE, result);
        assert!(!self.fill.owns(op), "{op:?} ends once");
        filled
    }

    /// A whole step: zeros and their flush.
    fn fill_one(&mut self, offset: u64, len: u64) {
        let op = self.zeroing(offset, len);
        assert_eq!(self.end(op, Ok(Output::Written)), len);
        let op = self.disk.expect(Asked::Sync { file: FILE });
        assert_eq!(self.end(op, Ok(Output::Synced)), 0);
    }
}

fn filled_header() -> Asked {
    let header = SegmentHeader {
        number: NUMBER,
        segment_bytes: SEGMENT_BYTES,
        sequence: SEQUENCE,
        prefilled_bytes: SEGMENT_BYTES,
        epoch: 3,
        shard: 1,
        node: [9; 16],
    };
    Asked::Head { file: FILE, header, unwritten: false }
}

/// A segment whose last step is flushed: the header is on its way.
fn headed() -> (Scene, OpId) {
    let mut scene = Scene::new(SEGMENT_BYTES - BLOCK);
    scene.step(BLOCK);
    scene.fill_one(SEGMENT_BYTES - BLOCK, BLOCK);
    let op = scene.disk.expect(filled_header());
    (scene, op)
}

#[test]
fn steps_cover_the_segment_and_the_header_says_so() {
    let mut scene = Scene::new(BLOCK);
    let mut from = BLOCK;
    while from < SEGMENT_BYTES {
        assert!(!scene.fill.is_done());
        scene.step(BLOCK);
        let len = STEP.min(SEGMENT_BYTES - from);
        scene.fill_one(from, len);
        from += len;
        if from < SEGMENT_BYTES {
            scene.disk.expect_nothing();
        }
    }
    let op = scene.disk.expect(filled_header());
    scene.step(BLOCK);
    scene.disk.expect_nothing();
    scene.end(op, Ok(Output::Written));
    assert!(scene.fill.is_done());
    scene.step(BLOCK);
    scene.disk.expect_nothing();
}

#[test]
fn one_operation_at_a_time() {
    let mut scene = Scene::new(BLOCK);
    scene.step(BLOCK);
    let op = scene.zeroing(BLOCK, STEP);
    scene.step(BLOCK);
    scene.disk.expect_nothing();
    scene.end(op, Ok(Output::Written));
    scene.disk.expect(Asked::Sync { file: FILE });
    assert!(!scene.fill.is_writing());
    scene.step(BLOCK);
    scene.disk.expect_nothing();
}

#[test]
fn a_filled_segment_is_done_from_the_start() {
    for filled in [SEGMENT_BYTES, SEGMENT_BYTES + 1, u64::MAX] {
        let mut scene = Scene::new(filled);
        assert!(scene.fill.is_done());
        scene.step(BLOCK);
        scene.disk.expect_nothing();
        assert!(!scene.fill.owns(OpId(0)));
    }
}

#[test]
fn steps_begin_above_what_is_appended() {
    let (end, step) = (SEGMENT_BYTES, STEP);
    let cases = [
        // (filled, appended, first byte, bytes)
        (BLOCK, BLOCK, BLOCK, step),
        (BLOCK, BLOCK + 1, 2 * BLOCK, step),
        (BLOCK, 2 * BLOCK, 2 * BLOCK, step),
        (STEP, 2 * BLOCK, STEP, step),
        (BLOCK, end - BLOCK, end - BLOCK, BLOCK),
        (BLOCK, end - BLOCK - 1, end - BLOCK, BLOCK),
        (BLOCK, end - STEP - 1, end - STEP, step),
    ];
    for (filled, appended, offset, len) in cases {
        let mut scene = Scene::new(filled);
        scene.step(appended);
        scene.zeroing(offset, len);
    }
    // No whole block is left.
    for appended in [end - BLOCK + 1, end] {
        let mut scene = Scene::new(BLOCK);
        scene.step(appended);
        scene.disk.expect_nothing();
    }
}

#[test]
fn a_successor_is_filled_up_to_its_target_and_one_step_beyond_at_most() {
    let mut scene = Scene::new(BLOCK);
    scene.step_ahead(BLOCK);
    scene.disk.expect_nothing();
    scene.step_ahead(BLOCK + 1);
    scene.fill_one(BLOCK, STEP);
    scene.step_ahead(BLOCK + STEP);
    scene.disk.expect_nothing();
    scene.step_ahead(SEGMENT_BYTES);
    scene.zeroing(BLOCK + STEP, STEP);
}

#[test]
fn zeros_on_their_way_block_the_groups_they_would_meet() {
    let mut scene = Scene::new(2 * BLOCK);
    assert_eq!(scene.fill.blocks(NUMBER, SEGMENT_BYTES), None, "nothing is in flight");
    scene.step(BLOCK);
    let op = scene.zeroing(2 * BLOCK, STEP);
    for (number, end, since) in [
        (NUMBER, 2 * BLOCK, None),
        (NUMBER, 2 * BLOCK + 1, Some(T)),
        (NUMBER, SEGMENT_BYTES, Some(T)),
        (NUMBER - 1, SEGMENT_BYTES, None),
        (NUMBER + 1, SEGMENT_BYTES, None),
    ] {
        assert_eq!(scene.fill.blocks(number, end), since, "{number} {end}");
    }
    scene.end(op, Ok(Output::Written));
    assert_eq!(scene.fill.blocks(NUMBER, SEGMENT_BYTES), None, "a flush meets nobody");
}

#[test]
fn what_is_filled_is_written_space() {
    let mut scene = Scene::new(2 * BLOCK);
    let is_unwritten = |scene: &Scene, end| scene.fill.is_unwritten(end);
    assert!(!is_unwritten(&scene, 2 * BLOCK) && is_unwritten(&scene, 2 * BLOCK + 1));
    scene.step(BLOCK);
    let op = scene.zeroing(2 * BLOCK, STEP);
    assert!(is_unwritten(&scene, 3 * BLOCK), "not before the zeros have landed");
    scene.end(op, Ok(Output::Written));
    assert!(!is_unwritten(&scene, 2 * BLOCK + STEP) && is_unwritten(&scene, 3 * BLOCK + STEP));
}

#[test]
fn appends_to_unwritten_space_are_counted_once() {
    let mut scene = Scene::new(4 * BLOCK);
    let mut note = |blocks: u64, of: u64| scene.fill.note_append(blocks * BLOCK, of * BLOCK);
    assert_eq!(note(4, 3), 0, "into written space");
    assert_eq!(note(6, 3), 2 * BLOCK, "begins in written space");
    assert_eq!(note(9, 3), 3 * BLOCK);
    assert_eq!(note(9, 1), 0, "the tail block again");
    assert_eq!(note(12, 1), BLOCK, "never more than the group has");
    assert!(!scene.fill.is_unwritten(12 * BLOCK), "appending is writing");
    scene.step(12 * BLOCK);
    scene.zeroing(12 * BLOCK, STEP);
}

/// The fill began above an open group, which is then written below it: to unwritten space.
#[test]
fn an_append_below_zeros_on_their_way_is_counted() {
    let mut scene = Scene::new(2 * BLOCK);
    scene.step(5 * BLOCK);
    let op = scene.zeroing(5 * BLOCK, STEP);
    assert_eq!(scene.fill.blocks(NUMBER, 5 * BLOCK), None);
    assert!(scene.fill.is_unwritten(5 * BLOCK));
    assert_eq!(scene.fill.note_append(3 * BLOCK, BLOCK), BLOCK);
    assert_eq!(scene.fill.note_append(5 * BLOCK, 2 * BLOCK), 2 * BLOCK);
    assert_eq!(scene.end(op, Ok(Output::Written)), STEP);
    assert!(!scene.fill.is_unwritten(5 * BLOCK + STEP));
}

/// Space that cannot be filled is appended to as it is.
#[test]
fn any_failure_ends_the_filling() {
    for failing in 0..3 {
        let (mut scene, op) = match failing {
            0 => {
                let mut scene = Scene::new(BLOCK);
                scene.step(BLOCK);
                let op = scene.zeroing(BLOCK, STEP);
                (scene, op)
            }
            1 => {
                let mut scene = Scene::new(BLOCK);
                scene.step(BLOCK);
                let op = scene.zeroing(BLOCK, STEP);
                scene.end(op, Ok(Output::Written));
                let op = scene.disk.expect(Asked::Sync { file: FILE });
                (scene, op)
            }
            _ => headed(),
        };
        assert_eq!(scene.end(op, Err(EIO)), 0);
        assert!(scene.fill.is_done(), "{failing}");
        assert_eq!(scene.fill.blocks(NUMBER, SEGMENT_BYTES), None, "{failing}");
        let zeros_failed = failing == 0;
        assert_eq!(scene.fill.is_unwritten(2 * BLOCK), zeros_failed, "{failing}");
        scene.step(BLOCK);
        scene.disk.expect_nothing();
    }
}

#[test]
fn a_full_queue_puts_a_step_off() {
    let mut scene = Scene::new(BLOCK);
    scene.disk.is_full = true;
    scene.step(BLOCK);
    assert!(!scene.fill.is_writing() && !scene.fill.is_done());
    scene.disk.is_full = false;
    scene.step(2 * BLOCK);
    scene.zeroing(2 * BLOCK, STEP);
}

/// No step is left unflushed, least of all the last: the header vouches for all of them.
#[test]
fn a_full_queue_puts_the_flush_off() {
    for filled in [BLOCK, SEGMENT_BYTES - BLOCK] {
        let mut scene = Scene::new(filled);
        scene.step(BLOCK);
        let len = STEP.min(SEGMENT_BYTES - filled);
        let op = scene.zeroing(filled, len);
        scene.disk.is_full = true;
        assert_eq!(scene.end(op, Ok(Output::Written)), len, "the zeros are there");
        scene.step(BLOCK);
        assert!(!scene.fill.is_done() && !scene.fill.owns(op));
        scene.disk.is_full = false;
        scene.step(BLOCK);
        let op = scene.disk.expect(Asked::Sync { file: FILE });
        scene.end(op, Ok(Output::Synced));
        if filled == BLOCK {
            scene.step(BLOCK);
            scene.zeroing(BLOCK + STEP, STEP);
        } else {
            scene.disk.expect(filled_header());
        }
    }
}

/// A restart fills such a segment again: nothing else is lost.
#[test]
fn a_header_that_cannot_be_written_ends_the_filling_too() {
    for out_of_memory in [false, true] {
        let mut scene = Scene::new(SEGMENT_BYTES - BLOCK);
        scene.step(BLOCK);
        let op = scene.zeroing(SEGMENT_BYTES - BLOCK, BLOCK);
        scene.end(op, Ok(Output::Written));
        let op = scene.disk.expect(Asked::Sync { file: FILE });
        if out_of_memory {
            scene.disk.use_up_memory();
        } else {
            scene.disk.is_full = true;
        }
        scene.end(op, Ok(Output::Synced));
        scene.disk.expect_nothing();
        assert!(scene.fill.is_done() && !scene.fill.is_unwritten(SEGMENT_BYTES));
    }
}
