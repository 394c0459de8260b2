//! The files of a log as the writer sees them: when the successor is made, which segment is
//! filled, and rolling before and after the successor is in place.

use super::super::scripted::{Asked, EIO};
use super::scene::{BLOCK, FIRST, SECOND, SEGMENT_BYTES, SEQUENCE, STEP, Scene};
use super::*;
use crate::io::{FileName, OpId, Output};

/// Bytes of this share of a segment.
fn share(eighths: u64) -> u64 {
    SEGMENT_BYTES / 8 * eighths
}

#[test]
fn an_idle_log_writes_nothing() {
    let mut scene = Scene::new(BLOCK);
    scene.step(BLOCK);
    assert_eq!(scene.asked(), []);
    scene.step(BLOCK + 100);
    assert_eq!(scene.zeros(), Some((FIRST, 2 * BLOCK)), "from the first append on it is filled");
}

#[test]
fn the_successor_is_made_when_an_eighth_is_used() {
    let mut scene = Scene::new(SEGMENT_BYTES);
    scene.step(share(1) - 1);
    assert_eq!(scene.making(), None);
    scene.step(share(1));
    let (name, create) = (FileName::Spare(1), Some(SEGMENT_BYTES));
    assert_eq!(scene.making().unwrap().1, Asked::Open { name, create });
    scene.make();
    assert_eq!((scene.segments.count(), scene.at(1)), (1, None), "not before the log rolls");
    assert_eq!((scene.segments.failure(), scene.segments.wake_at()), (None, None));
}

#[test]
fn a_device_that_is_behind_still_makes_the_successor() {
    let mut scene = Scene::new(BLOCK);
    scene.append = LogPos(share(1));
    scene.segments.step_successor(&mut scene.disk, scene.append, scene.now);
    let name = FileName::Spare(1);
    scene.disk.expect(Asked::Open { name, create: Some(SEGMENT_BYTES) });
}

#[test]
fn the_current_segment_is_filled_before_the_successor() {
    let mut scene = Scene::new(SEGMENT_BYTES - 2 * STEP);
    scene.step(share(1));
    scene.make();
    for left in [2 * STEP, STEP] {
        assert_eq!(scene.zeros(), Some((FIRST, SEGMENT_BYTES - left)));
        scene.end_zeros();
        scene.step(share(1));
    }
    assert_eq!(scene.zeros(), None);
    let op = scene.op("the header", |asked| matches!(asked, Asked::Head { .. }));
    scene.end(op, Ok(Output::Written));
    scene.step(share(1));
    assert_eq!(scene.zeros(), Some((SECOND, BLOCK)), "now the successor");
}

/// Nothing of the successor is filled in a hurry, and all of it is when it is needed.
#[test]
fn the_successor_is_filled_at_the_pace_of_the_appends() {
    let mut scene = Scene::new(SEGMENT_BYTES);
    scene.step(share(1));
    scene.make();
    let mut filled = BLOCK;
    for (eighths, expected) in [(1, STEP), (2, STEP), (3, 5 * STEP), (4, 9 * STEP), (6, 16 * STEP)]
    {
        scene.step(share(eighths));
        while let Some((file, from)) = scene.zeros() {
            assert_eq!((file, from), (SECOND, filled));
            filled = (filled + STEP).min(SEGMENT_BYTES);
            scene.end_zeros();
            scene.step(share(eighths));
        }
        let target = expected.min(SEGMENT_BYTES);
        assert!((target..target + STEP).contains(&filled), "{eighths}/8 used: {filled} filled");
    }
    assert_eq!(filled, SEGMENT_BYTES);
    // Rolled into, it is written space to its end.
    let op = scene.op("the header", |asked| matches!(asked, Asked::Head { .. }));
    scene.end(op, Ok(Output::Written));
    assert!(scene.segments.roll());
    assert!(!scene.segments.is_unwritten(1, SEGMENT_BYTES));
    let prefilled = scene.segments.counters().1;
    assert_eq!(prefilled, SEGMENT_BYTES - BLOCK);
}

#[test]
fn rolling_waits_for_every_step_of_the_successor() {
    let mut scene = Scene::new(SEGMENT_BYTES);
    // A batch that does not fit comes before an eighth is used: it is made at once.
    scene.step(2 * BLOCK);
    assert!(scene.making().is_none() && scene.segments.awaited_since().is_none());
    assert!(!scene.segments.roll());
    assert_eq!(scene.segments.awaited_since(), None, "nothing is in flight yet");
    scene.step(2 * BLOCK);
    for _ in 0..4 {
        assert_eq!(scene.segments.awaited_since(), Some(scene.now));
        assert!(!scene.segments.roll());
        assert_eq!((scene.segments.current(), scene.at(1)), (0, None));
        scene.now = scene.now.plus(10);
        scene.make_one();
    }
    assert_eq!(scene.segments.awaited_since(), None);
    assert!(scene.segments.roll());
    assert_eq!((scene.segments.current(), scene.segments.count()), (1, 2));
    assert_eq!(scene.at(1), Some((SECOND, 5 * BLOCK)));
    assert_eq!(scene.at(0), Some((FIRST, 5 * BLOCK)), "what was written stays where it is");
    assert!(!scene.segments.roll(), "there is no third segment");
}

#[test]
fn a_roll_that_waits_needs_no_append_to_go_on() {
    let mut scene = Scene::new(SEGMENT_BYTES);
    assert!(!scene.segments.roll());
    scene.step(BLOCK);
    scene.make();
    assert!(scene.segments.roll());
    // The new segment is as idle as a new log.
    scene.step(BLOCK);
    assert_eq!(scene.making(), None);
}

#[test]
fn why_the_successor_is_missing_is_told_until_it_is_there() {
    let mut scene = Scene::new(SEGMENT_BYTES);
    scene.step(share(1));
    let (op, _) = scene.making().unwrap();
    scene.end(op, Err(EIO));
    assert_eq!(scene.segments.failure(), Some(EIO));
    let wake_at = scene.segments.wake_at().expect("it is tried again");
    assert!(!scene.segments.roll());
    assert_eq!(scene.segments.awaited_since(), None, "resting is no stuck operation");
    scene.step(share(1));
    assert_eq!(scene.making(), None, "not yet");
    scene.now = wake_at;
    scene.step(share(1));
    assert_eq!(scene.segments.failure(), Some(EIO));
    scene.make();
    assert_eq!((scene.segments.failure(), scene.segments.wake_at()), (None, None));
    assert!(scene.segments.roll());
}

/// Zeros on their way to the segment that was left still block the groups sealed there.
#[test]
fn a_fill_behind_the_log_ends_before_it_follows() {
    let mut scene = Scene::new(share(5));
    scene.step(share(4));
    scene.make();
    assert_eq!(scene.zeros(), Some((FIRST, share(5))));
    let since = scene.now;
    assert!(scene.segments.roll());
    scene.step(BLOCK + 100);
    assert_eq!(scene.zeros(), Some((FIRST, share(5))), "one at a time");
    assert_eq!(scene.segments.blocks(0, share(6)), Some(since));
    assert_eq!(scene.segments.blocks(1, share(6)), None);
    assert!(scene.segments.is_unwritten(1, 2 * BLOCK));
    scene.segments.note_append(1, 3 * BLOCK, 2 * BLOCK);
    assert_eq!(scene.segments.counters().0, 2 * BLOCK, "the log is ahead of the fill");
    let op = scene.op("zeros", |asked| matches!(asked, Asked::Zero { .. }));
    scene.end(op, Ok(Output::Written));
    assert_eq!(scene.segments.blocks(0, share(6)), None);
    scene.step(3 * BLOCK);
    assert_eq!(scene.zeros(), None, "its flush is on its way");
    let op = scene.op("a flush", |asked| matches!(asked, Asked::Sync { .. }));
    scene.end(op, Ok(Output::Synced));
    scene.step(3 * BLOCK);
    assert_eq!(scene.zeros(), Some((SECOND, 3 * BLOCK)), "above what was appended meanwhile");
}

#[test]
fn a_fill_ahead_of_the_log_goes_on_where_it_is() {
    let mut scene = Scene::new(SEGMENT_BYTES);
    scene.step(share(1));
    scene.make();
    scene.step(share(4));
    scene.end_zeros();
    scene.step(share(4));
    assert_eq!(scene.zeros(), Some((SECOND, BLOCK + STEP)));
    let since = scene.now;
    assert!(scene.segments.roll());
    assert_eq!(scene.segments.blocks(1, 2 * STEP), Some(since), "they block the new groups");
    assert!(!scene.segments.is_unwritten(1, STEP), "what is filled counts");
    scene.segments.note_append(1, 4 * BLOCK, 3 * BLOCK);
    assert_eq!(scene.segments.counters(), (0, STEP));
    scene.end_zeros();
    scene.step(4 * BLOCK);
    assert_eq!(scene.zeros(), Some((SECOND, BLOCK + 2 * STEP)));
}

#[test]
fn a_fill_that_failed_does_not_keep_the_next_segment_from_being_filled() {
    let mut scene = Scene::new(share(7));
    scene.step(share(1));
    scene.make();
    let op = scene.op("zeros", |asked| matches!(asked, Asked::Zero { .. }));
    scene.end(op, Err(EIO));
    scene.segments.note_append(0, share(7) + BLOCK, BLOCK);
    assert_eq!(scene.segments.counters(), (BLOCK, 0));
    scene.step(share(1));
    assert_eq!(scene.zeros(), Some((SECOND, BLOCK)));
    // What the fill has left is known to be unwritten, and counted.
    let end = share(7) + BLOCK;
    assert!(!scene.segments.is_unwritten(0, end) && scene.segments.is_unwritten(0, end + 1));
    scene.segments.note_append(0, end + 3 * BLOCK, 4 * BLOCK);
    scene.segments.note_append(0, end + 3 * BLOCK, BLOCK);
    assert_eq!(scene.segments.counters(), (4 * BLOCK, 0));
}

/// A power loss took the end of the log, but not the segments behind it.
#[test]
fn segments_that_were_found_behind_the_log_are_successors() {
    let found = [(6, FIRST, SEGMENT_BYTES), (7, SECOND, share(3)), (8, FileId(3), BLOCK)];
    let mut scene = Scene::with(found);
    scene.step(share(1));
    assert_eq!((scene.making(), scene.zeros()), (None, None), "nothing is to be made yet");
    scene.step(share(5));
    assert_eq!(scene.zeros(), Some((SECOND, share(3))), "its filling goes on where it was");
    scene.end_zeros();
    assert!(scene.segments.roll() && scene.segments.roll());
    assert_eq!((scene.segments.current(), scene.segments.count()), (8, 3));
    assert_eq!(scene.segments.locate(LogPos(8 * SEGMENT_BYTES + 9)), Some((FileId(3), 9)));
    assert!(!scene.segments.roll(), "the next one is to be made");
    scene.step(BLOCK);
    let name = FileName::Spare(9);
    assert_eq!(scene.making().unwrap().1, Asked::Open { name, create: Some(SEGMENT_BYTES) });
}

#[test]
fn completions_of_others_are_given_back() {
    let mut scene = Scene::new(BLOCK);
    scene.step(share(1));
    let foreign = Completion { op: OpId(999), result: Ok(Output::Written) };
    let (append, now) = (scene.append, scene.now);
    let back = scene.segments.on_completion(&mut scene.disk, foreign, append, SEQUENCE, now);
    assert_eq!(back.unwrap().op, OpId(999));
}

/// What is in flight ends, well or not, and nothing follows it; no group is let past it either.
#[test]
fn once_halted_nothing_is_submitted() {
    for result in [true, false] {
        let mut scene = Scene::new(BLOCK);
        scene.step(share(1));
        assert_eq!(scene.asked().len(), 2, "zeros, and a successor");
        scene.segments.halt();
        for (op, asked) in scene.inflight.clone() {
            let output = match asked {
                Asked::Open { .. } => Output::Opened { file: SECOND, len: SEGMENT_BYTES },
                _ => Output::Written,
            };
            scene.end(op, if result { Ok(output) } else { Err(EIO) });
        }
        assert!(!scene.segments.roll());
        scene.now = scene.now.plus(10_000_000_000);
        scene.step(share(2));
        scene.segments.step_successor(&mut scene.disk, scene.append, scene.now);
        scene.disk.expect_nothing();
        assert_eq!(scene.asked(), [], "{result}");
        assert_eq!(scene.segments.wake_at(), None, "{result}");
    }
}

/// The oldest of two segments is on its way out, and the log has come to need its spare.
fn waiting_for_a_spare() -> (Scene, OpId) {
    let mut scene = Scene::with([(6, FIRST, SEGMENT_BYTES), (7, SECOND, SEGMENT_BYTES)]);
    assert!(scene.segments.roll());
    assert!(scene.segments.trim(&mut scene.disk, true, scene.now), "segment 6 goes");
    let submitted = scene.now;
    let (from, to) = (FileName::Segment(6), FileName::Spare(9));
    let op = scene.disk.expect(Asked::Rename { from, to });
    scene.step(share(1));
    scene.make();
    assert_eq!(scene.segments.awaited_since(), None, "segment 8 is made without it");
    assert!(scene.segments.roll());
    assert_eq!(scene.segments.awaited_since(), None, "nobody was refused");
    assert!(!scene.segments.roll());
    scene.step(share(1));
    assert_eq!(scene.making(), None, "not before the spare is there");
    assert_eq!(scene.segments.awaited_since(), Some(submitted));
    (scene, op)
}

#[test]
fn a_spare_on_its_way_is_awaited_when_it_is_needed() {
    let (mut scene, op) = waiting_for_a_spare();
    scene.end(op, Ok(Output::Done));
    assert_eq!(scene.segments.awaited_since(), Some(scene.now));
    let op = scene.op("the directory", |asked| *asked == Asked::SyncDir);
    scene.end(op, Ok(Output::Done));
    let (name, create) = (FileName::Spare(9), Some(SEGMENT_BYTES));
    assert_eq!(scene.making().unwrap().1, Asked::Open { name, create });
    assert_eq!(scene.segments.awaited_since(), Some(scene.now));
    assert_eq!((scene.segments.oldest(), scene.segments.trimmed()), (7, (1, 0)));
}

#[test]
fn why_a_spare_is_missing_is_told_when_it_is_needed() {
    let (mut scene, op) = waiting_for_a_spare();
    scene.end(op, Ok(Output::Done));
    let op = scene.op("the directory", |asked| *asked == Asked::SyncDir);
    scene.end(op, Err(EIO));
    assert_eq!(scene.segments.failure(), Some(EIO));
    assert_eq!(scene.segments.awaited_since(), None, "resting is no stuck operation");
    scene.now = scene.segments.wake_at().expect("it is tried again");
    scene.step(share(1));
    assert_eq!((scene.segments.failure(), scene.segments.awaited_since()), (None, Some(scene.now)));
}

#[test]
fn a_segment_that_cannot_be_renamed_is_not_waited_for() {
    let (mut scene, op) = waiting_for_a_spare();
    scene.end(op, Err(EIO));
    let (name, create) = (FileName::Spare(9), Some(SEGMENT_BYTES));
    assert_eq!(scene.making().unwrap().1, Asked::Open { name, create });
    assert_eq!(scene.segments.failure(), None);
}
