//! Every edge of the successor's preparation, and every way an edge can fail.

use super::super::scripted::{Asked, EIO, Scripted, geometry};
use super::super::segment_format::SegmentHeader;
use super::*;

const NUMBER: u64 = 7;
const SEQUENCE: u64 = 40;
const SEGMENT_BYTES: u64 = 1 << 20;
const FILE: FileId = FileId(5);

/// A successor, what it asks of the disk, and the time.
struct Scene {
    disk: Scripted,
    successor: Successor,
    now: Nanos,
}

impl Scene {
    fn new() -> Self {
        Self { disk: Scripted::new(), successor: Successor::absent(NUMBER), now: Nanos(1000) }
    }

    /// It is asked to go on, a little later.
    fn step(&mut self) {
        self.now = self.now.plus(10);
        self.successor.step(&mut self.disk, &geometry(SEGMENT_BYTES), self.now);
    }

    /// An operation ends, a little later.
    fn end(&mut self, op: OpId, result: Result<Output, Errno>) {
        assert!(self.successor.owns(op), "{op:?} is not awaited");
        self.now = self.now.plus(10);
        let geometry = geometry(SEGMENT_BYTES);
        self.successor.on_completion(&mut self.disk, &geometry, SEQUENCE, result, self.now);
        assert!(!self.successor.owns(op), "{op:?} ends once");
    }

    /// Brings the preparation to the operation that makes `step`, from the beginning.
    fn up_to(&mut self, step: Asked) -> OpId {
        self.step();
        self.go_on_to(step)
    }

    fn go_on_to(&mut self, step: Asked) -> OpId {
        for next in STEPS {
            let op = self.disk.expect(next);
            if next == step {
                return op;
            }
            self.end(op, Ok(done(next)));
        }
        panic!("{step:?} is no step")
    }

    fn rest(&mut self) {
        self.now = self.now.plus(RETRY_NANOS);
    }
}

const SPARE: FileName = FileName::Spare(NUMBER);
const SEGMENT: FileName = FileName::Segment(NUMBER);

const OPEN: Asked = Asked::Open { name: SPARE, create: Some(SEGMENT_BYTES) };
const HEAD: Asked = Asked::Head {
    file: FILE,
    header: SegmentHeader {
        number: NUMBER,
        segment_bytes: SEGMENT_BYTES,
        sequence: SEQUENCE,
        prefilled_bytes: BLOCK_BYTES as u64,
        epoch: 3,
        shard: 1,
        node: [9; 16],
    },
    unwritten: true,
};
const RENAME: Asked = Asked::Rename { from: SPARE, to: SEGMENT };
const STEPS: [Asked; 4] = [OPEN, HEAD, RENAME, Asked::SyncDir];

fn done(step: Asked) -> Output {
    match step {
        Asked::Open { .. } => Output::Opened { file: FILE, len: SEGMENT_BYTES },
        Asked::Head { .. } => Output::Written,
        _ => Output::Done,
    }
}

#[test]
fn it_is_in_place_after_the_last_step_only() {
    let mut scene = Scene::new();
    assert_eq!((scene.successor.busy_since(), scene.successor.wake_at()), (None, None));
    scene.step();
    for step in STEPS {
        let op = scene.disk.expect(step);
        assert_eq!(scene.successor.in_place(), None, "{step:?}");
        assert_eq!(scene.successor.busy_since(), Some(scene.now), "{step:?}");
        for other in [OpId(op.0 + 1), OpId(u64::MAX)] {
            assert!(!scene.successor.owns(other), "{step:?}");
        }
        scene.successor.step(&mut scene.disk, &geometry(SEGMENT_BYTES), Nanos(u64::MAX));
        scene.disk.expect_nothing();
        scene.end(op, Ok(done(step)));
    }
    assert_eq!(scene.successor.in_place(), Some((FILE, u64::from(BLOCK_BYTES))));
    assert_eq!((scene.successor.busy_since(), scene.successor.failure()), (None, None));
    assert_eq!(scene.successor.wake_at(), None);
    scene.step();
    scene.disk.expect_nothing();
}

#[test]
fn what_was_found_in_place_needs_nothing() {
    let mut scene = Scene::new();
    scene.successor = Successor::ready(NUMBER, FILE, 12_288);
    assert_eq!(scene.successor.in_place(), Some((FILE, 12_288)));
    scene.step();
    scene.disk.expect_nothing();
}

/// Until its name is durable the file is a spare: it is closed and opened again.
#[test]
fn a_failure_rests_and_starts_over() {
    for failing in STEPS {
        let mut scene = Scene::new();
        let op = scene.up_to(failing);
        scene.end(op, Err(EIO));
        let failed_at = scene.now;
        match failing {
            HEAD | RENAME => drop(scene.disk.expect(Asked::Close { file: FILE })),
            _ => scene.disk.expect_nothing(),
        }
        assert_eq!(scene.successor.failure(), Some(EIO), "{failing:?}");
        assert_eq!(scene.successor.in_place(), None);
        assert_eq!(scene.successor.busy_since(), None, "{failing:?}: nothing is in flight");
        assert_eq!(scene.successor.wake_at(), Some(failed_at.plus(RETRY_NANOS)));

        let early = Nanos(failed_at.0 + RETRY_NANOS - 1);
        scene.successor.step(&mut scene.disk, &geometry(SEGMENT_BYTES), early);
        scene.disk.expect_nothing();
        scene.rest();
        scene.step();
        // Renamed once, only the name's durability is left to do.
        let last = if failing == Asked::SyncDir {
            scene.disk.expect(Asked::SyncDir)
        } else {
            scene.go_on_to(Asked::SyncDir)
        };
        assert_eq!(scene.successor.busy_since(), Some(scene.now), "{failing:?}");
        assert_eq!(scene.successor.failure(), Some(EIO), "{failing:?}: until it is in place");
        scene.end(last, Ok(Output::Done));
        assert_eq!(scene.successor.in_place(), Some((FILE, u64::from(BLOCK_BYTES))));
        assert_eq!((scene.successor.failure(), scene.successor.wake_at()), (None, None));
    }
}

#[test]
fn it_may_fail_any_number_of_times() {
    for failing in [OPEN, Asked::SyncDir] {
        let mut scene = Scene::new();
        let mut op = scene.up_to(failing);
        for _ in 0..5 {
            scene.end(op, Err(EIO));
            scene.step();
            scene.disk.expect_nothing();
            scene.rest();
            scene.step();
            op = scene.disk.expect(failing);
        }
        assert_eq!((scene.successor.in_place(), scene.successor.failure()), (None, Some(EIO)));
    }
}

/// A full queue at the first step is no failure: nothing was begun, and the next turn tries again.
#[test]
fn a_full_queue_puts_the_beginning_off() {
    let mut scene = Scene::new();
    scene.disk.is_full = true;
    scene.step();
    assert_eq!((scene.successor.failure(), scene.successor.wake_at()), (None, None));
    assert_eq!(scene.successor.busy_since(), None);
    scene.disk.is_full = false;
    scene.step();
    scene.disk.expect(OPEN);
}

#[test]
fn a_full_queue_later_is_a_failure() {
    for (done_before, renamed) in [(OPEN, false), (HEAD, false), (RENAME, true)] {
        let mut scene = Scene::new();
        let op = scene.up_to(done_before);
        scene.disk.is_full = true;
        scene.end(op, Ok(done(done_before)));
        scene.disk.expect_nothing();
        assert_eq!(scene.successor.busy_since(), None, "{done_before:?}");
        assert_eq!(scene.successor.wake_at(), Some(scene.now.plus(RETRY_NANOS)));
        scene.disk.is_full = false;
        scene.rest();
        scene.step();
        let last = if renamed {
            scene.disk.expect(Asked::SyncDir)
        } else {
            scene.go_on_to(Asked::SyncDir)
        };
        scene.end(last, Ok(Output::Done));
        assert!(scene.successor.in_place().is_some(), "{done_before:?}");
    }
}

#[test]
fn without_memory_for_the_header_it_is_tried_again() {
    let mut scene = Scene::new();
    let op = scene.up_to(OPEN);
    scene.disk.use_up_memory();
    scene.end(op, Ok(done(OPEN)));
    scene.disk.expect(Asked::Close { file: FILE });
    assert_eq!(scene.successor.failure(), Some(ENOMEM));
    assert_eq!(scene.successor.wake_at(), Some(scene.now.plus(RETRY_NANOS)));
}
