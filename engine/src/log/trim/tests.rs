//! Every edge of a segment's way out of the log, and every way an edge can fail.

use super::super::scripted::{Asked, EIO, Scripted};
use super::*;

const FILE: FileId = FileId(5);
const FILLED: u64 = 1 << 20;

/// Segment 4 may become spare 9.
const MOVE: Asked = Asked::Rename { from: FileName::Segment(4), to: FileName::Spare(9) };
const REMOVE: Asked = Asked::Remove { name: FileName::Segment(4) };

struct Scene {
    disk: Scripted,
    trim: Trim,
    now: Nanos,
}

impl Scene {
    fn new() -> Self {
        Self { disk: Scripted::new(), trim: Trim::new(), now: Nanos(1000) }
    }

    fn begin(&mut self) {
        assert!(!self.trim.is_busy());
        self.trim.begin(&mut self.disk, (4, FILE), Some((9, Some(FILLED))), self.now);
        assert!(self.trim.is_busy());
    }

    fn end(&mut self, op: OpId, result: Result<Output, Errno>) {
        assert!(self.trim.owns(op));
        self.now = self.now.plus(10);
        self.trim.on_completion(&mut self.disk, result, self.now);
        assert!(!self.trim.owns(op));
    }

    fn step(&mut self) {
        self.trim.step(&mut self.disk, self.now);
    }

    /// From the first operation, which is in flight, to the end.
    fn finish(&mut self, moving: OpId) {
        self.end(moving, Ok(Output::Done));
        assert_eq!(self.trim.filled(9), None, "not before its name is durable");
        let op = self.disk.expect(Asked::SyncDir);
        self.end(op, Ok(Output::Done));
        self.disk.expect(Asked::Close { file: FILE });
        assert!(!self.trim.is_busy() && self.trim.busy_since().is_none());
        assert_eq!((self.trim.wake_at(), self.trim.failure()), (None, None));
    }
}

#[test]
fn a_segment_becomes_a_spare_once_its_name_is_durable() {
    let mut scene = Scene::new();
    scene.begin();
    let op = scene.disk.expect(MOVE);
    assert_eq!(scene.trim.busy_since(), Some(scene.now));
    assert!(scene.trim.is_making(9) && !scene.trim.is_making(8));
    scene.finish(op);
    assert!(!scene.trim.is_making(9));
    assert_eq!((scene.trim.filled(9), scene.trim.filled(8)), (Some(FILLED), None));
    assert_eq!(scene.trim.counters(), (1, 0));
    scene.trim.made(8);
    assert_eq!(scene.trim.filled(9), Some(FILLED), "it waits for its turn");
    scene.trim.made(9);
    assert_eq!(scene.trim.filled(9), None);
}

/// A block with the header of segment `number`.
fn header_of(number: u64) -> Output {
    let geometry = super::super::scripted::geometry(2 * FILLED);
    let mut disk = Scripted::new();
    let header = geometry.header(number, 1, FILLED);
    Output::Read(super::super::segments::header_block(&mut disk, &header).unwrap())
}

#[test]
fn what_is_not_known_of_a_segment_its_header_tells() {
    let answers =
        [(Ok(header_of(4)), FILLED), (Ok(header_of(5)), 0), (Ok(Output::Done), 0), (Err(EIO), 0)];
    for (answer, filled) in answers {
        let mut scene = Scene::new();
        scene.trim.begin(&mut scene.disk, (4, FILE), Some((9, None)), scene.now);
        let op = scene.disk.expect(Asked::Read { file: FILE });
        assert_eq!(scene.trim.busy_since(), Some(scene.now));
        assert!(scene.trim.is_busy() && scene.trim.is_making(9));
        scene.end(op, answer);
        let op = scene.disk.expect(MOVE);
        scene.finish(op);
        assert_eq!(scene.trim.filled(9), Some(filled));
    }
    // Of one that goes nobody wants to know.
    let mut scene = Scene::new();
    scene.trim.begin(&mut scene.disk, (4, FILE), None, scene.now);
    scene.disk.expect(REMOVE);
}

/// A roll may trim before the next segment has taken the spare that waits for it: with one place
/// every second segment would be removed.
#[test]
fn while_one_waits_the_next_waits_behind_it_and_further_ones_are_removed() {
    let mut scene = Scene::new();
    for number in [9, 10] {
        scene.begin();
        let to = FileName::Spare(number);
        let op = scene.disk.expect(Asked::Rename { from: FileName::Segment(4), to });
        assert!(scene.trim.is_making(number));
        scene.end(op, Ok(Output::Done));
        let op = scene.disk.expect(Asked::SyncDir);
        scene.end(op, Ok(Output::Done));
        scene.disk.expect(Asked::Close { file: FILE });
    }
    scene.begin();
    let op = scene.disk.expect(REMOVE);
    assert!(!scene.trim.is_making(11), "nobody needs to wait for it");
    scene.end(op, Ok(Output::Done));
    let op = scene.disk.expect(Asked::SyncDir);
    scene.end(op, Ok(Output::Done));
    scene.disk.expect(Asked::Close { file: FILE });
    assert_eq!(scene.trim.counters(), (2, 1));
    assert_eq!([9, 10, 11].map(|n| scene.trim.filled(n)), [Some(FILLED), Some(FILLED), None]);
    scene.trim.made(9);
    assert_eq!([9, 10].map(|n| scene.trim.filled(n)), [None, Some(FILLED)]);
    scene.trim.begin(&mut scene.disk, (4, FILE), Some((10, Some(FILLED))), scene.now);
    assert!(scene.trim.is_making(11), "behind the one that waits");
}

#[test]
fn a_failure_rests_and_starts_over_where_it_was() {
    for moved in [false, true] {
        let mut scene = Scene::new();
        scene.begin();
        let mut op = scene.disk.expect(MOVE);
        if moved {
            scene.end(op, Ok(Output::Done));
            op = scene.disk.expect(Asked::SyncDir);
        }
        for _ in 0..3 {
            scene.end(op, Err(EIO));
            assert_eq!((scene.trim.failure(), scene.trim.busy_since()), (Some(EIO), None));
            assert!(scene.trim.is_busy(), "names get no gap");
            assert_eq!(scene.trim.is_making(9), moved, "what has no name yet is not awaited");
            let again = scene.now.plus(RETRY_NANOS);
            assert_eq!(scene.trim.wake_at(), Some(again));
            scene.now = Nanos(again.0 - 1);
            scene.step();
            scene.disk.expect_nothing();
            scene.now = again;
            scene.step();
            op = scene.disk.expect(if moved { Asked::SyncDir } else { REMOVE });
            assert_eq!((scene.trim.failure(), scene.trim.busy_since()), (None, Some(again)));
        }
        scene.end(op, Ok(Output::Done));
        if !moved {
            op = scene.disk.expect(Asked::SyncDir);
            scene.end(op, Ok(Output::Done));
        }
        scene.disk.expect(Asked::Close { file: FILE });
        assert_eq!(scene.trim.counters(), if moved { (1, 0) } else { (0, 1) });
        assert!(!scene.trim.is_busy());
    }
}

#[test]
fn a_segment_that_is_not_there_has_gone() {
    let mut scene = Scene::new();
    scene.begin();
    let op = scene.disk.expect(MOVE);
    scene.end(op, Err(Errno(2)));
    assert_eq!((scene.trim.failure(), scene.trim.is_making(9)), (None, false));
    let op = scene.disk.expect(Asked::SyncDir);
    scene.end(op, Ok(Output::Done));
    scene.disk.expect(Asked::Close { file: FILE });
    assert_eq!((scene.trim.counters(), scene.trim.vanished()), ((0, 1), 1));
    assert!(!scene.trim.is_busy() && scene.trim.filled(9).is_none());
}

#[test]
fn a_full_queue_is_a_failure() {
    for moved in [false, true] {
        let mut scene = Scene::new();
        scene.disk.is_full = !moved;
        scene.begin();
        if moved {
            let op = scene.disk.expect(MOVE);
            scene.disk.is_full = true;
            scene.end(op, Ok(Output::Done));
        }
        assert_eq!(scene.trim.failure(), Some(EBUSY));
        scene.disk.expect_nothing();
        scene.disk.is_full = false;
        scene.now = scene.now.plus(RETRY_NANOS);
        scene.step();
        scene.disk.expect(if moved { Asked::SyncDir } else { MOVE });
    }
}
