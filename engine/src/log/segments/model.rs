//! Segments against a naive device, for any interleaving of appends, writes, background work and
//! failures: zeros never meet a group, nothing is rolled into before its name is durable, and what
//! goes to unwritten space is counted block by block.

use std::collections::{BTreeSet, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::scripted::{Asked, EIO, Scripted, geometry};
use super::*;
use crate::io::{FileName, OpId, Output};

const BLOCK: u64 = BLOCK_BYTES as u64;
const SEGMENT_BYTES: u64 = 6 * PREFILL_STEP_BYTES as u64;

/// Blocks `from..to` of segment `number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    number: u64,
    from: u64,
    to: u64,
}

impl Stretch {
    fn meets(&self, other: &Self) -> bool {
        self.number == other.number && self.from < other.to && other.from < self.to
    }

    fn blocks(&self) -> impl Iterator<Item = (u64, u64)> + use<> {
        let number = self.number;
        (self.from / BLOCK..self.to / BLOCK).map(move |block| (number, block))
    }
}

#[derive(Clone, Copy, Debug)]
enum Action {
    /// A group of so many blocks is sealed.
    Append(u64),
    /// The oldest sealed group is handed over, if nothing is in its way.
    Write,
    /// A group in flight lands.
    Land(usize),
    /// Background work is done, as the log does it.
    Step,
    /// An operation of the background ends, well or not.
    End(usize, bool),
    /// Time passes.
    Wait,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (1..180_u64).prop_map(Action::Append),
        4 => Just(Action::Write),
        3 => any::<usize>().prop_map(Action::Land),
        4 => Just(Action::Step),
        4 => (any::<usize>(), prop::bool::weighted(0.95)).prop_map(|(at, well)| Action::End(at, well)),
        1 => Just(Action::Wait),
    ]
}

struct World {
    disk: Scripted,
    segments: Segments,
    now: Nanos,
    append: LogPos,
    sealed: VecDeque<Stretch>,
    writing: Vec<Stretch>,
    background: Vec<(OpId, Asked)>,
    /// Blocks somebody has written, or is writing.
    written: BTreeSet<(u64, u64)>,
    files: BTreeMap<FileId, u64>,
    renamed: BTreeSet<u64>,
    /// What a sync of the directory that is in flight covers.
    covered: BTreeSet<u64>,
    durable: BTreeSet<u64>,
    unwritten_bytes: u64,
}

impl World {
    fn new() -> Self {
        let geometry = geometry(SEGMENT_BYTES);
        let file = FileId(0);
        let segments = Segments::new(geometry, [(0, file)].into(), [(0, BLOCK)].into(), (0, file));
        Self {
            disk: Scripted::new(),
            segments,
            now: Nanos(0),
            append: geometry.first_group(0),
            sealed: VecDeque::new(),
            writing: Vec::new(),
            background: Vec::new(),
            written: [(0, 0)].into(),
            files: [(file, 0)].into(),
            renamed: BTreeSet::new(),
            covered: BTreeSet::new(),
            durable: BTreeSet::new(),
            unwritten_bytes: 0,
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Append(blocks) => self.append(blocks * BLOCK),
            Action::Write => self.write(),
            Action::Land(at) if !self.writing.is_empty() => {
                self.writing.remove(at % self.writing.len());
            }
            Action::End(at, well) if !self.background.is_empty() => {
                let (op, asked) = self.background.remove(at % self.background.len());
                self.end(op, asked, well);
            }
            Action::Step if self.sealed.is_empty() => {
                self.segments.step_trim(&mut self.disk, self.now);
                self.segments.step(&mut self.disk, self.append, self.now);
            }
            Action::Step => {
                self.segments.step_trim(&mut self.disk, self.now);
                self.segments.step_successor(&mut self.disk, self.append, self.now);
            }
            Action::Wait => self.now = self.now.plus(300_000_000),
            Action::Land(_) | Action::End(..) => {}
        }
        self.look();
    }

    fn append(&mut self, bytes: u64) {
        let current = self.segments.current();
        let mut from = self.append.0 - current * SEGMENT_BYTES;
        let mut number = current;
        if from + bytes > SEGMENT_BYTES {
            if !self.segments.roll() {
                return;
            }
            number = current + 1;
            assert_eq!(self.segments.current(), number);
            assert!(self.durable.contains(&number), "rolled into {number}, {:?}", self.durable);
            from = BLOCK;
        }
        self.sealed.push_back(Stretch { number, from, to: from + bytes });
        self.append = LogPos(number * SEGMENT_BYTES + from + bytes);
    }

    fn write(&mut self) {
        let Some(group) = self.sealed.front().copied() else { return };
        if self.segments.blocks(group.number, group.to).is_some() {
            assert!(self.zeros().is_some(), "blocked by nothing");
            return;
        }
        self.sealed.pop_front();
        assert!(self.zeros().is_none_or(|zeros| !zeros.meets(&group)), "{group:?} meets zeros");
        let fresh = group.blocks().filter(|block| !self.written.contains(block)).count() as u64;
        let is_unwritten = self.segments.is_unwritten(group.number, group.to);
        assert!(is_unwritten || fresh == 0, "{group:?} goes to space that was never written");
        self.unwritten_bytes += fresh * BLOCK;
        self.segments.note_append(group.number, group.to, group.to - group.from);
        self.written.extend(group.blocks());
        self.writing.push(group);
        assert_eq!(self.segments.counters().0, self.unwritten_bytes, "after {group:?}");
    }

    fn zeros(&self) -> Option<Stretch> {
        let zeros: Vec<_> = self.background.iter().filter_map(|(_, a)| self.stretch(a)).collect();
        assert!(zeros.len() <= 1, "one step at a time: {zeros:?}");
        zeros.first().copied()
    }

    fn stretch(&self, asked: &Asked) -> Option<Stretch> {
        let Asked::Zero { file, offset, len } = asked else { return None };
        Some(Stretch { number: self.files[file], from: *offset, to: offset + u64::from(*len) })
    }

    /// Checks what was asked of the disk.
    fn look(&mut self) {
        for (op, asked) in self.disk.take() {
            match asked {
                Asked::Zero { .. } => {
                    let zeros = self.stretch(&asked).unwrap();
                    let end = self.append.0.saturating_sub(zeros.number * SEGMENT_BYTES);
                    assert!(zeros.from >= end, "{zeros:?} begin below the append point {end}");
                    assert!(zeros.to <= SEGMENT_BYTES && zeros.from >= BLOCK, "{zeros:?}");
                    let groups = self.sealed.iter().chain(&self.writing);
                    assert!(groups.clone().all(|group| !group.meets(&zeros)), "{zeros:?}");
                }
                Asked::SyncDir => self.covered.clone_from(&self.renamed),
                Asked::Rename { to, .. } => {
                    let is_free = matches!(to, FileName::Segment(n) if !self.renamed.contains(&n));
                    assert!(is_free, "{to} exists");
                }
                _ => {}
            }
            if !matches!(asked, Asked::Close { .. }) {
                self.background.push((op, asked));
            }
        }
    }

    fn end(&mut self, op: OpId, asked: Asked, well: bool) {
        let result = if well { Ok(self.effect(asked)) } else { Err(EIO) };
        let completion = Completion { op, result };
        let (append, now) = (self.append, self.now);
        let rest = self.segments.on_completion(&mut self.disk, completion, append, 1, now);
        // A fill that was left behind is not waited for once its zeros have landed.
        let is_left = matches!(asked, Asked::Sync { .. } | Asked::Head { unwritten: false, .. });
        assert!(rest.is_none() || is_left, "{asked:?} is nobody's");
    }

    fn effect(&mut self, asked: Asked) -> Output {
        match asked {
            Asked::Open { name: FileName::Spare(number), .. } => {
                let file = FileId(self.files.len() as u32);
                self.files.insert(file, number);
                Output::Opened { file, len: SEGMENT_BYTES }
            }
            Asked::Head { file, .. } => {
                self.written.insert((self.files[&file], 0));
                Output::Written
            }
            Asked::Zero { .. } => {
                let zeros = self.stretch(&asked).unwrap();
                self.written.extend(zeros.blocks());
                Output::Written
            }
            Asked::Rename { to: FileName::Segment(number), .. } => {
                self.renamed.insert(number);
                Output::Done
            }
            Asked::SyncDir => {
                self.durable.extend(&self.covered);
                Output::Done
            }
            Asked::Sync { .. } => Output::Synced,
            other => panic!("{other:?} is not asked here"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn zeros_never_meet_a_group(actions in vec(action(), 1..400)) {
        let mut world = World::new();
        for action in actions {
            world.act(action);
        }
    }
}
