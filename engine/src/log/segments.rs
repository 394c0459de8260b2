//! Segment files: the current one, its successor, and the written space ahead of the append point.
//!
//! Reading order: [`Segments::step`] (background work) -> [`Segments::on_completion`] ->
//! [`Segments::roll`]; `successor` makes the next file, `fill` makes space written, `trim` takes the
//! oldest file out.
//!
//! Invariants: the successor is durable in the directory before a group is written to it; zeros
//! never meet a group; once halted, nothing is submitted; the files below `settled` are adopted
//! (they are only read, and need no descriptor of their own), the others open.
//! Absent: what is in groups; retention.

use std::collections::BTreeMap;

use super::fill::Fill;
pub use super::geometry::Geometry;
use super::position::LogPos;
use super::segment_format::SegmentHeader;
use super::successor::Successor;
use super::trim::Trim;
pub use super::trim::is_spare_for;
use crate::io::block::Block;
use crate::io::{BLOCK_BYTES, Completion, Disk, Errno, FileId, FileName, Nanos};
use crate::limits::PREFILL_STEP_BYTES;

/// The successor is made when this share of the current segment is used ...
const SUCCESSOR_FROM: f64 = 0.125;
/// ... and filled, in proportion, between these two.
const FILL_FROM: f64 = 0.25;
const FILL_TO: f64 = 0.75;

/// The files of one log.
#[derive(Debug)]
pub struct Segments {
    geometry: Geometry,
    files: BTreeMap<u64, FileId>,
    /// How much of a file, but the one that is being filled, is written space: by its header, by
    /// what was filled of it, by what was appended. Of sealed segments that a restart has not
    /// looked at it is not known.
    prefilled: BTreeMap<u64, u64>,
    current: u64,
    /// The first segment that may still be written, or be on its way to the device.
    settled: u64,
    fill: Fill,
    successor: Successor,
    trim: Trim,
    /// A group did not fit the current segment and waits for the successor.
    roll_waits: bool,
    /// Nothing is submitted any more.
    halted: bool,
    prefill_step_bytes: u32,
    unwritten_bytes: u64,
    prefilled_bytes: u64,
}

impl Segments {
    /// The files of a log whose append point lies in segment `current`; `prefilled` says how much
    /// of them is written space, as far as it is known. Those before `current` are adopted, the
    /// others open: they are successors already in place.
    #[must_use]
    pub fn new(
        geometry: Geometry,
        files: BTreeMap<u64, FileId>,
        prefilled: BTreeMap<u64, u64>,
        (current, current_file): (u64, FileId),
    ) -> Self {
        let filled = prefilled.get(&current).copied().unwrap_or(0);
        let mut segments = Self {
            geometry,
            files,
            prefilled,
            current,
            settled: current,
            fill: Fill::new(&geometry, current, current_file, filled),
            successor: Successor::absent(current + 1),
            trim: Trim::new(),
            roll_waits: false,
            halted: false,
            prefill_step_bytes: PREFILL_STEP_BYTES,
            unwritten_bytes: 0,
            prefilled_bytes: 0,
        };
        segments.successor = segments.find_successor();
        segments
    }

    /// From now on prefill writes so many bytes at a time, a multiple of the block.
    pub fn set_prefill_step(&mut self, bytes: u32) {
        debug_assert!(bytes > 0 && bytes.is_multiple_of(BLOCK_BYTES));
        self.prefill_step_bytes = bytes;
    }

    /// Spares among these files are what later segments are made from.
    pub fn keep_spares(&mut self, names: &[FileName]) {
        let spares = names.iter().filter_map(|name| match name {
            FileName::Spare(number) => Some(*number),
            _ => None,
        });
        self.trim.keep(self.current + 1, spares);
    }

    /// Segments behind the current one are there when a power loss took the end of the log but not
    /// the names of what came after it.
    fn find_successor(&self) -> Successor {
        let number = self.current + 1;
        match self.files.get(&number) {
            Some(&file) => {
                let filled = self.prefilled.get(&number).copied().unwrap_or(0);
                Successor::ready(number, file, filled)
            }
            None => Successor::absent(number),
        }
    }

    /// The log's geometry.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The file that holds `pos`, with the offset in it.
    #[must_use]
    pub fn locate(&self, pos: LogPos) -> Option<(FileId, u64)> {
        let file = self.files.get(&self.geometry.number(pos))?;
        Some((*file, self.geometry.offset(pos)))
    }

    /// The segment that is appended to.
    #[must_use]
    pub fn current(&self) -> u64 {
        self.current
    }

    /// How many segments there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.files.len()
    }

    /// The oldest segment.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.files.first_key_value().map_or(self.current, |(number, _)| *number)
    }

    /// Takes the oldest segment out of the log. The caller knows that nobody needs it: see `trim`.
    /// With `keep` its file may become a spare. `false` while the one before is on its way out, or
    /// when there is only one.
    pub fn trim<D: Disk>(&mut self, disk: &mut D, keep: bool, now: Nanos) -> bool {
        let oldest = self.oldest();
        let filling = self.fill.number() <= oldest;
        if self.trim.is_busy() || filling || oldest >= self.current || self.halted {
            return false;
        }
        let Some(file) = self.files.remove(&oldest) else { return false };
        let filled = self.prefilled.remove(&oldest);
        // The successor may be in the making; the one after it is not.
        let spare = keep.then_some((self.current + 2, filled));
        self.trim.begin(disk, (oldest, file), spare, now);
        true
    }

    /// Segments recycled and segments removed so far.
    #[must_use]
    pub fn trimmed(&self) -> (u64, u64) {
        self.trim.counters()
    }

    /// Segments whose file was gone when they were to leave the log.
    #[must_use]
    pub fn vanished(&self) -> u64 {
        self.trim.vanished()
    }

    /// Bytes appended to space that was not written before, and bytes written by prefill.
    #[must_use]
    pub fn counters(&self) -> (u64, u64) {
        (self.unwritten_bytes, self.prefilled_bytes)
    }

    /// Why the successor is not in place, if preparing it failed; also while it is tried again.
    #[must_use]
    pub fn failure(&self) -> Option<Errno> {
        let spare = self.trim.failure().filter(|_| self.waits_for_spare());
        self.successor.failure().or(spare)
    }

    /// Since when an operation is in flight that a refused batch has to wait for.
    #[must_use]
    pub fn awaited_since(&self) -> Option<Nanos> {
        let spare = self.trim.busy_since().filter(|_| self.waits_for_spare());
        self.successor.busy_since().or(spare).filter(|_| self.roll_waits)
    }

    /// The successor's spare is just being taken out of the log.
    fn waits_for_spare(&self) -> bool {
        self.trim.is_making(self.successor.number())
    }

    /// From now on nothing is submitted, and what is in flight ends unheeded: the log takes no more
    /// writes.
    pub fn halt(&mut self) {
        self.halted = true;
    }

    /// Whether the log can go on behind the current segment.
    #[must_use]
    pub fn has_successor(&self) -> bool {
        self.successor.in_place().is_some()
    }

    /// Moves on to the successor; `false` while it is not in place. From then on it is prepared
    /// without pause: a batch that does not fit may come long before the segment is full.
    pub fn roll(&mut self) -> bool {
        let Some((file, filled)) = self.successor.in_place() else {
            self.roll_waits = true;
            return false;
        };
        self.roll_waits = false;
        self.current += 1;
        self.trim.made(self.current);
        self.files.insert(self.current, file);
        self.prefilled.insert(self.current, filled);
        self.retarget();
        self.successor = self.find_successor();
        true
    }

    /// Lets the fill go on in the current segment, unless something is on its way to the one before:
    /// zeros keep blocking the groups that are sealed there and not yet written, and a header must
    /// have landed before the segment can be used again.
    fn retarget(&mut self) {
        if self.fill.number() < self.current && !self.fill.is_busy() {
            self.fill_segment(self.current);
        }
    }

    fn fill_segment(&mut self, number: u64) {
        if let Some(&file) = self.files.get(&number) {
            let filled = self.prefilled.get(&number).copied().unwrap_or(0);
            self.fill(number, file, filled);
        }
    }

    fn fill(&mut self, number: u64, file: FileId, filled: u64) {
        let before =
            std::mem::replace(&mut self.fill, Fill::new(&self.geometry, number, file, filled));
        self.prefilled.insert(before.number(), before.filled());
    }

    /// Since when a fill is in flight that a group ending at `end` of segment `number` has to wait
    /// for.
    #[must_use]
    pub fn blocks(&self, number: u64, end: u64) -> Option<Nanos> {
        self.fill.blocks(number, end)
    }

    /// Whether a write up to `end` in segment `number` may meet space that was never written.
    #[must_use]
    pub fn is_unwritten(&self, number: u64, end: u64) -> bool {
        if number == self.fill.number() {
            return self.fill.is_unwritten(end);
        }
        self.prefilled.get(&number).is_none_or(|&filled| end > filled)
    }

    /// A group of `bytes` is about to be written up to `end` in segment `number`.
    pub fn note_append(&mut self, number: u64, end: u64, bytes: u64) {
        self.unwritten_bytes += if number == self.fill.number() {
            self.fill.note_append(end, bytes)
        } else {
            let filled = self.prefilled.entry(number).or_default();
            let unwritten = end.saturating_sub(*filled).min(bytes);
            *filled = end.max(*filled);
            unwritten
        };
    }

    /// Submits background work that is due; `append` is the append point. One operation at a time
    /// for filling and one for the successor.
    pub fn step<D: Disk>(&mut self, disk: &mut D, append: LogPos, now: Nanos) {
        // An idle node writes nothing: all of this starts with the first append.
        let idle = append <= self.geometry.first_group(self.current) && !self.roll_waits;
        if idle || self.halted {
            return;
        }
        self.step_successor(disk, append, now);
        let used = self.used_share(append);
        if self.fill.is_done() && self.fill.number() == self.current {
            self.fill_successor();
        }
        let in_current = self.fill.number() == self.current;
        let target = if in_current { self.geometry.segment_bytes } else { self.fill_target(used) };
        let append = in_current.then_some(append);
        let step_bytes = self.prefill_step_bytes;
        self.fill.step(disk, &self.geometry, append, target, step_bytes, now);
    }

    /// Takes up again what has failed of a segment's way out, when its rest is over.
    pub fn step_trim<D: Disk>(&mut self, disk: &mut D, now: Nanos) {
        if !self.halted {
            self.trim.step(disk, now);
        }
    }

    /// The part of [`Segments::step`] that the log cannot do without.
    pub fn step_successor<D: Disk>(&mut self, disk: &mut D, append: LogPos, now: Nanos) {
        let due = self.used_share(append) >= SUCCESSOR_FROM && !self.halted;
        if due && !self.waits_for_spare() {
            if let Some(filled) = self.trim.filled(self.successor.number()) {
                self.successor.make_from(filled);
            }
            self.successor.step(disk, &self.geometry, now);
        }
    }

    /// The current segment is filled: its successor is next.
    fn fill_successor(&mut self) {
        if let Some((file, filled)) = self.successor.in_place() {
            self.fill(self.current + 1, file, filled);
        }
    }

    /// Share of the current segment that has been appended to, all of it when no more fits.
    fn used_share(&self, append: LogPos) -> f64 {
        if self.roll_waits || self.geometry.number(append) > self.current {
            return 1.0;
        }
        self.geometry.offset(append) as f64 / self.geometry.segment_bytes as f64
    }

    /// How much of the successor should be filled by now.
    fn fill_target(&self, used: f64) -> u64 {
        let due = ((used - FILL_FROM) / (FILL_TO - FILL_FROM)).clamp(0.0, 1.0);
        let target = (due * self.geometry.segment_bytes as f64) as u64;
        (target + u64::from(self.prefill_step_bytes)).min(self.geometry.segment_bytes)
    }

    /// Takes a completion that belongs to background work; gives back any other.
    pub fn on_completion<D: Disk>(
        &mut self,
        disk: &mut D,
        completion: Completion,
        append: LogPos,
        sequence: u64,
        now: Nanos,
    ) -> Option<Completion> {
        let Completion { op, result } = completion;
        let mine = self.fill.owns(op) || self.successor.owns(op) || self.trim.owns(op);
        if self.halted && mine {
            return None;
        }
        if self.fill.owns(op) {
            self.prefilled_bytes += self.fill.on_completion(disk, &self.geometry, sequence, result);
            self.retarget();
        } else if self.successor.owns(op) {
            self.successor.on_completion(disk, &self.geometry, sequence, result, now);
        } else if self.trim.owns(op) {
            self.trim.on_completion(disk, result, now);
        } else {
            return Some(Completion { op, result });
        }
        self.step_successor(disk, append, now);
        None
    }

    /// When [`Segments::step`] should be called again though nothing happens.
    #[must_use]
    pub fn wake_at(&self) -> Option<Nanos> {
        self.successor.wake_at().into_iter().chain(self.trim.wake_at()).min()
    }
}

/// A block with a segment header in it.
pub fn header_block<D: Disk>(disk: &mut D, header: &SegmentHeader) -> Option<Block> {
    let mut block = disk.block(BLOCK_BYTES)?;
    block.append(&header.encode());
    block.append_zeros(block.room());
    Some(block)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod scene;
mod settle;
#[cfg(test)]
mod tests;
