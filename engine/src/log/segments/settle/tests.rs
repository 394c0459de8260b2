//! When a segment's file gives its descriptor back: not while anything may still be written to it.

use super::super::super::scripted::{ADOPTED, Asked};
use super::super::scene::{BLOCK, FIRST, SECOND, SEGMENT_BYTES, Scene};
use super::*;

/// In segment 1, with segment 0 filled to `filled` bytes when it was left.
fn rolled(filled: u64) -> Scene {
    let mut scene = Scene::new(filled);
    scene.step(SEGMENT_BYTES / 8);
    scene.make();
    assert!(scene.segments.roll());
    scene
}

fn settle(scene: &mut Scene, durable: u64) {
    scene.segments.settle(&mut scene.disk, LogPos(durable));
}

#[test]
fn a_segment_is_read_by_name_once_the_log_is_durable_behind_it() {
    let mut scene = rolled(SEGMENT_BYTES);
    for durable in [BLOCK, SEGMENT_BYTES - 1, SEGMENT_BYTES] {
        settle(&mut scene, durable);
        scene.disk.expect_nothing();
        assert_eq!(scene.at(0), Some((FIRST, 5 * BLOCK)));
    }
    settle(&mut scene, SEGMENT_BYTES + BLOCK + 64);
    scene.disk.expect(Asked::Close { file: FIRST });
    assert_eq!(scene.disk.adopted(), [FileName::Segment(0)]);
    assert_eq!(scene.at(0), Some((ADOPTED, 5 * BLOCK)));
    settle(&mut scene, u64::MAX / 2);
    scene.disk.expect_nothing();
    assert_eq!(scene.at(1), Some((SECOND, 5 * BLOCK)), "not the one that is appended to");
}

#[test]
fn zeros_on_their_way_are_waited_for() {
    let mut scene = rolled(SEGMENT_BYTES / 2);
    let (file, _) = scene.zeros().expect("segment 0 is being filled");
    assert_eq!(file, FIRST);
    settle(&mut scene, SEGMENT_BYTES + BLOCK + 64);
    scene.disk.expect_nothing();
    scene.end_zeros();
    settle(&mut scene, SEGMENT_BYTES + BLOCK + 64);
    scene.disk.expect(Asked::Close { file: FIRST });
}

#[test]
fn what_cannot_be_closed_now_is_closed_later() {
    let mut scene = rolled(SEGMENT_BYTES);
    scene.disk.is_full = true;
    settle(&mut scene, SEGMENT_BYTES + BLOCK + 64);
    assert_eq!(scene.at(0), Some((FIRST, 5 * BLOCK)));
    scene.disk.is_full = false;
    settle(&mut scene, SEGMENT_BYTES + BLOCK + 64);
    scene.disk.expect(Asked::Close { file: FIRST });
    let mut halted = rolled(SEGMENT_BYTES);
    halted.segments.halt();
    settle(&mut halted, SEGMENT_BYTES + BLOCK + 64);
    halted.disk.expect_nothing();
}
