//! The walk over the log: recovery's steps, gone on behind damage.
//!
//! `walk` -> `step` (the next group, and the gap before it) -> `broken_off` (the end, or damage?).
//!
//! After damage the walk goes on with the next group that belongs to the log by life and
//! sequence. Invariant: every step moves on; damage is shown before what comes behind it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::damage::{Damage, Place, Proof, What};
use super::{
    Expected, FaultAt, Group, LISTED_MAX, Leftovers, Opened, Tail, Torn, Unreadable, Visitor,
    Walked, files,
};
use crate::io::{BLOCK_BYTES, Disk, FileId};
use crate::log::entry_format::EntryHeader;
use crate::log::group_format::GroupHeader;
use crate::log::position::LogPos;
use crate::log::recover::OpenError;
use crate::log::recover::gap::Gap;
use crate::log::recover::scan::Scan;
use crate::log::segments::Geometry;
use crate::log::window::next_block;

/// Walks all groups of the segments in `opened`.
pub(super) fn walk<D: Disk, V: Visitor>(
    disk: &mut D,
    expected: &Expected,
    opened: &Opened,
    from: LogPos,
    visitor: &mut V,
    walked: &mut Walked,
) -> Result<(), Unreadable> {
    let geometry = files::geometry(expected, opened.superblock.as_ref());
    let known = opened.superblock.map(|superblock| superblock.sequence);
    let certain = opened.superblock.map_or(0, |superblock| superblock.certain());
    // Without a superblock every life counts.
    let scan = Scan::new(geometry, known.unwrap_or(u64::MAX), &opened.segments);
    let base = |number: u64| LogPos(number * expected.segment_bytes);
    let first = opened.segments.first_key_value().map_or(LogPos(0), |(&first, _)| base(first));
    let stop = opened.segments.last_key_value().map_or(first, |(&last, _)| base(last + 1));
    let mut walk = Walk {
        disk,
        scan,
        geometry,
        found_before: known.unwrap_or(0),
        certain,
        files: &opened.segments,
        number: geometry.number(from).max(geometry.number(first)),
        visitor,
        walked,
        epoch: 0,
        doubts: Vec::new(),
        passed: first,
        stop,
    };
    let result = walk.begin(from).and_then(|found| if found { walk.run() } else { Ok(()) });
    walk.walked.end = walk.scan.end();
    walk.walked.sequence = walk.scan.sequence();
    walk.walked.watermark = walk.scan.watermark();
    let at = walk.scan.reader().at();
    walk.scan.reader().finish(walk.disk);
    result.map_err(|error| match error {
        OpenError::Io { what, errno } => {
            Unreadable { what, at: Some(Place::of(at, expected.segment_bytes)), errno }
        }
        other => super::unreadable(other),
    })
}

struct Walk<'a, D, V> {
    disk: &'a mut D,
    scan: Scan<'a>,
    geometry: Geometry,
    /// The last group that the newest life found when it began.
    found_before: u64,
    /// The last group that was durable by the superblock.
    certain: u64,
    files: &'a BTreeMap<u64, FileId>,
    /// The segment of the last group.
    number: u64,
    visitor: &'a mut V,
    walked: &'a mut Walked,
    /// Life of the last group.
    epoch: u32,
    doubts: Vec<Doubt>,
    /// The visitor was told about everything up to here.
    passed: LogPos,
    /// End of the last segment.
    stop: LogPos,
}

impl<D: Disk, V: Visitor> Walk<'_, D, V> {
    /// Moves to the first group of the segment that holds `from`; `false` if there is none there
    /// or behind it.
    fn begin(&mut self, from: LogPos) -> Result<bool, OpenError> {
        let start = self.geometry.first_group(self.geometry.number(from));
        if start <= self.scan.end() {
            return Ok(true);
        }
        self.scan.seek(start);
        self.passed = LogPos(start.0 - u64::from(BLOCK_BYTES));
        let first = self.scan.find_next(self.disk)?;
        if let Some(first) = &first {
            self.scan.resume(first);
        }
        Ok(first.is_some())
    }

    fn run(&mut self) -> Result<(), OpenError> {
        loop {
            match self.step() {
                Ok(Step::On) => {}
                Ok(Step::Enough) => return Ok(()),
                Ok(Step::End(leftovers)) => {
                    self.settle_doubts(None);
                    self.walked.tail = Tail { leftovers, torn: self.torn()? };
                    self.walked.complete = true;
                    self.pass(self.stop);
                    return Ok(());
                }
                // The superblock is damaged; the groups speak for themselves.
                Err(OpenError::Damaged { at, .. }) => {
                    self.damage(at, None, What::LaterLife);
                    self.scan.doubt_superblock();
                    (self.found_before, self.certain) = (0, 0);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next group, or whatever is there instead.
    fn step(&mut self) -> Result<Step, OpenError> {
        let end = self.scan.end();
        // Before the walk moves on: these bytes are at hand now.
        let padding_bytes = (next_block(end).0 - end.0) as u32;
        let padding = match padding_bytes {
            0 => None,
            len => self.scan.reader().bytes(self.disk, end, len)?,
        };
        let Some(group) = self.scan.next(self.disk)? else { return self.broken_off() };
        let start = group.header().position;
        if start > end {
            let padding = padding.as_deref().unwrap_or_default();
            self.gap(padding, (end, start), group.header())?;
        }
        Ok(self.counted(&group, V::group))
    }

    /// A group that counts.
    fn counted(&mut self, group: &Group, show: impl Fn(&mut V, &Group) -> ControlFlow<()>) -> Step {
        self.leave(self.geometry.number(group.header().position));
        self.settle_doubts(Some(group.header()));
        self.epoch = group.header().epoch;
        self.walked.groups += 1;
        self.walked.group_bytes += u64::from(group.header().length_bytes);
        self.pass(group.end());
        match show(self.visitor, group) {
            ControlFlow::Continue(()) => Step::On,
            ControlFlow::Break(()) => Step::Enough,
        }
    }

    /// Tells the visitor which segments are sealed, now that the log goes on in `number`.
    fn leave(&mut self, number: u64) {
        if self.number >= number {
            return;
        }
        self.scan.reader().finish(self.disk);
        for (&sealed, _) in self.files.range(self.number..number) {
            self.visitor.sealed(self.disk, sealed);
        }
        self.number = number;
    }

    /// What lies between two groups: `padding` up to the block's end, and the rest of a segment
    /// that was left before it was full. A life writes whole blocks, so its padding is zero; where
    /// another life goes on, and in the rest, there may be what crashes have left of lives before.
    fn gap(
        &mut self,
        padding: &[u8],
        (end, start): (LogPos, LogPos),
        next: &GroupHeader,
    ) -> Result<(), OpenError> {
        let (mut padded, mut rest) = (Gap::default(), Gap::default());
        padded.add(end, padding);
        let number = self.geometry.number_before(end);
        if self.geometry.number(start) != number {
            let segment_end = LogPos((number + 1) * self.geometry.segment_bytes);
            let range = (next_block(end), segment_end);
            self.scan.survey(self.disk, range, Some(&mut rest), |_| Ok(false))?;
        }
        let sequence = next.sequence.saturating_sub(1);
        let goes_on = next.epoch == self.epoch;
        match padded.first.filter(|_| goes_on) {
            Some(pos) => {
                self.doubts.push(Doubt { pos, sequence, end, leftovers: padded.leftovers })
            }
            None => self.leftovers(padded.leftovers),
        }
        // Behind its groups the first life has written nothing but zeros, unless segments were used
        // again.
        let is_clean = goes_on && next.epoch <= 1 && !self.scan.is_trimmed();
        match rest.first.filter(|_| is_clean) {
            Some(pos) => self.damage(pos, Some(sequence), What::Padding),
            None => self.leftovers(rest.leftovers),
        }
        Ok(())
    }

    fn leftovers(&mut self, more: Leftovers) {
        self.walked.leftovers.bytes += more.bytes;
        self.walked.leftovers.groups += more.groups;
    }

    /// Padding that is not zero is damage once a group of the same life says that it was durable.
    /// Until then a crash may have lost it, though it kept the group itself and later ones.
    fn settle_doubts(&mut self, next: Option<&GroupHeader>) {
        let same_life = next.filter(|next| next.epoch == self.epoch);
        for doubt in std::mem::take(&mut self.doubts) {
            match same_life {
                Some(next) if next.watermark >= doubt.end => {
                    self.damage(doubt.pos, Some(doubt.sequence), What::Padding);
                }
                Some(_) if self.doubts.len() < LISTED_MAX => self.doubts.push(doubt),
                _ => self.leftovers(doubt.leftovers),
            }
        }
    }

    /// The next group is not intact: the end of the log, or damage?
    fn broken_off(&mut self) -> Result<Step, OpenError> {
        let mut gap = Gap::default();
        let later = self
            .scan
            .proof(self.disk, Some(&mut gap), LogPos(u64::MAX))?
            .map(|later| later.sequence);
        let beyond = |group: u64| Some(group).filter(|group| self.scan.sequence() < *group);
        let proof = match (later, beyond(self.found_before), beyond(self.certain)) {
            (Some(sequence), _, _) => Proof::Later { sequence },
            (None, Some(sequence), _) => Proof::Found { sequence },
            (None, None, Some(sequence)) => Proof::Durable { sequence },
            (None, None, None) => return Ok(Step::End(gap.leftovers)),
        };
        if let Some(group) = self.scan.suspect(self.disk)? {
            for FaultAt { pos, fault } in group.checked().filter_map(Result::err) {
                let queue = queue_at(&group, pos);
                let place = Place::of(pos, self.geometry.segment_bytes);
                let sequence = Some(group.header().sequence);
                let what = What::Entry { fault, proof };
                self.visitor.damage(&Damage { place, sequence, queue, what });
            }
            return Ok(self.counted(&group, V::broken_group));
        }
        let missing = Some(self.scan.sequence() + 1);
        let at = self.scan.likely_start(self.disk)?;
        let next = self.scan.find_next(self.disk)?;
        let going_on = next.map(|next| (next.sequence, next.position));
        self.damage(at, missing, What::GroupMissing { proof, next: going_on });
        match next {
            Some(next) => {
                self.scan.resume(&next);
                self.pass(next.position);
                Ok(Step::On)
            }
            None => Ok(Step::End(gap.leftovers)),
        }
    }

    /// A group that begins where the log ends and is not whole.
    fn torn(&mut self) -> Result<Option<Torn>, OpenError> {
        let Some(group) = self.scan.peek(self.disk)? else { return Ok(None) };
        let fault = group.checked().find_map(Result::err);
        Ok(fault.map(|at| Torn { sequence: group.header().sequence, at }))
    }

    fn damage(&mut self, pos: LogPos, sequence: Option<u64>, what: What) {
        let place = Place::of(pos, self.geometry.segment_bytes);
        self.visitor.damage(&Damage { place, sequence, queue: None, what });
    }

    /// Tells the visitor how far the walk has come.
    fn pass(&mut self, to: LogPos) {
        if let Some(bytes) = to.0.checked_sub(self.passed.0) {
            self.visitor.passed(bytes);
            self.passed = to;
        }
    }
}

/// Padding behind the group that ends at `end` is not zero.
struct Doubt {
    pos: LogPos,
    sequence: u64,
    end: LogPos,
    leftovers: Leftovers,
}

enum Step {
    On,
    /// The log ends here; this lies behind it.
    End(Leftovers),
    /// The visitor has seen enough.
    Enough,
}

/// The queue of a damaged entry, if its header can still be read.
fn queue_at(group: &Group, pos: LogPos) -> Option<u32> {
    let at = usize::try_from(pos.0.checked_sub(group.header().position.0)?).ok()?;
    EntryHeader::decode(group.bytes().get(at..)?).map(|header| header.queue)
}
