//! For tests: the segments of a log on a disk that does nothing by itself.

use super::super::scripted::{Asked, Scripted, geometry};
use super::*;
use crate::io::{OpId, Output};

pub(super) const STEP: u64 = PREFILL_STEP_BYTES as u64;
pub(super) const BLOCK: u64 = BLOCK_BYTES as u64;
pub(super) const SEGMENT_BYTES: u64 = 16 * STEP;
pub(super) const FIRST: FileId = FileId(1);
pub(super) const SECOND: FileId = FileId(2);
pub(super) const SEQUENCE: u64 = 40;
const T: Nanos = Nanos(77);

/// A log in segment 0, what its segments ask of the disk, and its append point.
pub(super) struct Scene {
    pub(super) disk: Scripted,
    pub(super) segments: Segments,
    pub(super) append: LogPos,
    pub(super) now: Nanos,
    pub(super) inflight: Vec<(OpId, Asked)>,
}

impl Scene {
    /// With so many bytes of segment 0 filled.
    pub(super) fn new(filled: u64) -> Self {
        Self::with([(0, FIRST, filled)])
    }

    /// With these segments (number, file, bytes filled), the log in the first of them.
    pub(super) fn with<const N: usize>(found: [(u64, FileId, u64); N]) -> Self {
        let files = found.iter().map(|&(number, file, _)| (number, file)).collect();
        let prefilled = found.iter().map(|&(number, _, filled)| (number, filled)).collect();
        let geometry = geometry(SEGMENT_BYTES);
        let current = (found[0].0, found[0].1);
        let segments = Segments::new(geometry, files, prefilled, current);
        let append = geometry.first_group(current.0);
        Self { disk: Scripted::new(), segments, append, now: T, inflight: Vec::new() }
    }

    /// A turn in which the append point is at `offset` of the current segment.
    pub(super) fn step(&mut self, offset: u64) {
        self.append = LogPos(self.segments.current() * SEGMENT_BYTES + offset);
        self.now = self.now.plus(10);
        self.segments.step_trim(&mut self.disk, self.now);
        self.segments.step(&mut self.disk, self.append, self.now);
        self.inflight.extend(self.disk.take());
    }

    /// What has been asked and has not ended, in order.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.inflight.iter().map(|(_, asked)| *asked).collect()
    }

    pub(super) fn op(&self, what: &str, is_it: impl Fn(&Asked) -> bool) -> OpId {
        let found: Vec<_> = self.inflight.iter().filter(|(_, asked)| is_it(asked)).collect();
        let [(op, _)] = found[..] else { panic!("{what}: {:?}", self.inflight) };
        *op
    }

    pub(super) fn end(&mut self, op: OpId, result: Result<Output, Errno>) {
        self.inflight.retain(|(other, _)| *other != op);
        let completion = Completion { op, result };
        let (append, now) = (self.append, self.now);
        let rest = self.segments.on_completion(&mut self.disk, completion, append, SEQUENCE, now);
        assert!(rest.is_none(), "{op:?} is theirs");
        self.inflight.extend(self.disk.take());
    }

    /// The zeros in flight land, and are flushed.
    pub(super) fn end_zeros(&mut self) {
        let op = self.op("zeros", |asked| matches!(asked, Asked::Zero { .. }));
        self.end(op, Ok(Output::Written));
        let op = self.op("a flush", |asked| matches!(asked, Asked::Sync { .. }));
        self.end(op, Ok(Output::Synced));
    }

    /// The zeros on their way: file and first byte.
    pub(super) fn zeros(&self) -> Option<(FileId, u64)> {
        self.inflight.iter().find_map(|(_, asked)| match asked {
            Asked::Zero { file, offset, .. } => Some((*file, *offset)),
            _ => None,
        })
    }

    /// The successor's next operation, if one is in flight.
    pub(super) fn making(&self) -> Option<(OpId, Asked)> {
        let is_its = |asked: &Asked| match asked {
            Asked::Head { unwritten, .. } => *unwritten,
            Asked::Open { .. } | Asked::Rename { .. } | Asked::SyncDir => true,
            _ => false,
        };
        self.inflight.iter().find(|(_, asked)| is_its(asked)).copied()
    }

    /// The next step of the successor ends well.
    pub(super) fn make_one(&mut self) {
        let (op, asked) = self.making().expect("the successor is being made");
        let output = match asked {
            Asked::Open { .. } => Output::Opened { file: SECOND, len: SEGMENT_BYTES },
            _ => Output::Done,
        };
        self.end(op, Ok(output));
    }

    /// All steps of the successor end well.
    pub(super) fn make(&mut self) {
        for _ in 0..4 {
            self.make_one();
        }
        assert!(self.making().is_none());
    }

    pub(super) fn at(&self, number: u64) -> Option<(FileId, u64)> {
        self.segments.locate(LogPos(number * SEGMENT_BYTES + 5 * BLOCK))
    }
}
