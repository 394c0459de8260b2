//! The walk over a log: group by group, to its end, and then a look beyond.
//!
//! Reads top-down: [`Scan::run`] (recovery: to the end, damage is an error) -> [`Scan::next`] ->
//! [`Scan::proof`]. An audit takes the same steps itself and goes on behind damage:
//! [`Scan::suspect`], [`Scan::find_next`], [`Scan::resume`].

use std::collections::BTreeMap;

use super::gap::Gap;
use super::group::{Group, is_intact};
use super::read::Reader;
use super::{Found, OpenError};
use crate::io::block::Slice;
use crate::io::{BLOCK_BYTES, Disk, FileId};
use crate::limits::{CHUNK_BYTES, SURVEY_BYTES};
use crate::log::entry_format::ENTRY_ALIGN;
use crate::log::group_format::{GROUP_HEADER_BYTES, GroupHeader};
use crate::log::position::LogPos;
use crate::log::segments::Geometry;
use crate::log::window::next_block;

/// Where a walk begins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Start {
    /// With the first group of this segment.
    pub(crate) number: u64,
    /// The group before it; 0: not known, or there is none.
    pub(crate) before: u64,
    /// Everything below is known to be on stable media.
    pub(crate) watermark: LogPos,
}

/// The groups of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// The segment.
    pub number: u64,
    /// Sequence number of its first group ...
    pub first: u64,
    /// ... and of its last.
    pub last: u64,
}

/// Where the log ends.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    /// End of the last group; `None` for an empty directory.
    pub(super) end: Option<LogPos>,
    /// Sequence number of the last group; 0 when there is none.
    pub(super) sequence: u64,
    /// Everything below is known to be on stable media.
    pub(super) watermark: LogPos,
    /// The segments that were walked through.
    pub(super) segments: Vec<Groups>,
    /// Bytes that were read.
    pub(super) read_bytes: u64,
}

/// A walk in progress.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    geometry: Geometry,
    files: &'a BTreeMap<u64, FileId>,
    reader: Reader<'a>,
    /// End of the last group.
    end: LogPos,
    sequence: u64,
    epoch: u32,
    watermark: LogPos,
    /// The last group that the newest life found when it began.
    found_before: u64,
    segments: Vec<Groups>,
}

impl<'a> Scan<'a> {
    /// A walk from the first segment on.
    pub(crate) fn new(
        geometry: Geometry,
        found_before: u64,
        files: &'a BTreeMap<u64, FileId>,
    ) -> Self {
        let number = files.first_key_value().map_or(0, |(&first, _)| first);
        let start = Start { number, ..Start::default() };
        Self::from(geometry, found_before, files, start)
    }

    /// A walk from `start` on.
    pub(crate) fn from(
        geometry: Geometry,
        found_before: u64,
        files: &'a BTreeMap<u64, FileId>,
        start: Start,
    ) -> Self {
        Self {
            geometry,
            files,
            reader: Reader::new(geometry.segment_bytes, files),
            end: geometry.first_group(start.number),
            sequence: start.before,
            epoch: 0,
            watermark: start.watermark,
            found_before,
            segments: Vec::new(),
        }
    }

    /// Walks to the end of the log and makes sure that it is one: group `certain` was durable.
    pub(super) fn run<D: Disk>(
        mut self,
        disk: &mut D,
        certain: u64,
        visit: &mut impl FnMut(&Found<'_>),
    ) -> Result<Tail, OpenError> {
        if self.files.is_empty() {
            if certain > 0 {
                return Err(OpenError::Damaged { at: LogPos(0), what: "all segments are gone" });
            }
            let (sequence, watermark, segments) = (0, self.watermark, Vec::new());
            return Ok(Tail { end: None, sequence, watermark, segments, read_bytes: 0 });
        }
        while let Some(group) = self.next(disk)? {
            for found in group.entries() {
                visit(&found);
            }
        }
        let end = self.end;
        if self.sequence < certain {
            let what = "a group is missing that was durable by the superblock";
            return Err(OpenError::Damaged { at: end, what });
        }
        // Further on nothing can be: the superblock would know of it.
        let until = end.plus(SURVEY_BYTES);
        if self.proof(disk, None, until)?.is_some() {
            let what = "a group is missing that was durable when a later one was written";
            return Err(OpenError::Damaged { at: end, what });
        }
        self.reader.finish(disk);
        let (sequence, watermark) = (self.sequence, self.watermark);
        let (segments, read_bytes) = (self.segments, self.reader.read_bytes());
        Ok(Tail { end: Some(end), sequence, watermark, segments, read_bytes })
    }

    /// The segments that were walked through.
    pub(super) fn segments(&self) -> &[Groups] {
        &self.segments
    }

    /// End of the last group.
    pub(crate) fn end(&self) -> LogPos {
        self.end
    }

    /// Sequence number of the last group; 0 before the first.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Everything below is known to be on stable media.
    pub(crate) fn watermark(&self) -> LogPos {
        self.watermark
    }

    /// The log's bytes.
    pub(crate) fn reader(&mut self) -> &mut Reader<'a> {
        &mut self.reader
    }

    /// The next group, if it is intact.
    pub(crate) fn next<D: Disk>(&mut self, disk: &mut D) -> Result<Option<Group>, OpenError> {
        for pos in self.candidates() {
            if let Some(group) = self.group_at(disk, pos)?
                && is_intact(&group)
            {
                self.accept(&group);
                return Ok(Some(group));
            }
        }
        Ok(None)
    }

    /// Where the next group may start: behind the last one, at the next block, in the next segment;
    /// never in the first block of a segment.
    fn candidates(&self) -> impl Iterator<Item = LogPos> + use<> {
        let (end, geometry) = (self.end, self.geometry);
        let rolled = geometry.first_group(geometry.number_before(end) + 1);
        let places = [end, next_block(end), rolled].into_iter();
        places.filter(move |pos| geometry.offset(*pos) >= u64::from(BLOCK_BYTES))
    }

    fn accept(&mut self, group: &Group) {
        let header = group.header();
        self.sequence = header.sequence;
        self.epoch = header.epoch;
        self.watermark = self.watermark.max(header.watermark);
        self.end = group.end();
        let number = self.geometry.number(header.position);
        match self.segments.last_mut().filter(|groups| groups.number == number) {
            Some(groups) => groups.last = header.sequence,
            None => {
                self.segments.push(Groups { number, first: header.sequence, last: header.sequence })
            }
        }
    }

    /// The group at `pos` if it is the next one by its header, whatever its entries are.
    fn group_at<D: Disk>(&mut self, disk: &mut D, pos: LogPos) -> Result<Option<Group>, OpenError> {
        let Some(header) = self.header_at(disk, pos)? else { return Ok(None) };
        // Where the log's beginning has left it, any number is the first.
        let begins = self.sequence == 0 && header.sequence > 0 && self.is_trimmed();
        let expected = (header.sequence == self.sequence + 1 || begins)
            && header.epoch >= self.epoch
            && !self.is_leftover(&header);
        if !expected {
            return Ok(None);
        }
        check_life(&self.geometry, &header)?;
        let bytes = self.reader.bytes(disk, pos, header.length_bytes)?;
        Ok(bytes.map(|bytes| Group::new(header, bytes)))
    }

    /// Whether the oldest segment is not the first there ever was.
    pub(crate) fn is_trimmed(&self) -> bool {
        self.files.first_key_value().is_some_and(|(&first, _)| first > 0)
    }

    /// Whether the newest life began without this group of an earlier one.
    fn is_leftover(&self, header: &GroupHeader) -> bool {
        header.epoch < self.geometry.epoch && header.sequence > self.found_before
    }

    /// A group beyond the end, and before `until`, that was cut when the end was already durable: it
    /// proves damage. Without one, all there is up to there is added to `gap`, if that is asked for.
    pub(crate) fn proof<D: Disk>(
        &mut self,
        disk: &mut D,
        gap: Option<&mut Gap>,
        until: LogPos,
    ) -> Result<Option<GroupHeader>, OpenError> {
        let (epoch, end) = (self.epoch, self.end);
        self.find(disk, gap, until, |header| header.epoch >= epoch && header.watermark > end)
    }

    /// The first group beyond the end that is newer than the last one and `wanted`.
    fn find<D: Disk>(
        &mut self,
        disk: &mut D,
        mut gap: Option<&mut Gap>,
        until: LogPos,
        wanted: impl Fn(&GroupHeader) -> bool,
    ) -> Result<Option<GroupHeader>, OpenError> {
        let from = LogPos(self.end.0.next_multiple_of(u64::from(ENTRY_ALIGN)));
        let (files, last, geometry) = (self.files, self.sequence, self.geometry);
        let wanted = |header: &GroupHeader| {
            if header.sequence <= last {
                return Ok(false);
            }
            check_life(&geometry, header)?;
            Ok(wanted(header))
        };
        for &number in files.range(self.geometry.number_before(self.end)..).map(|(key, _)| key) {
            let start = from.max(self.geometry.first_group(number));
            let stop = LogPos(number * self.geometry.segment_bytes + self.geometry.segment_bytes);
            let found = self.survey(disk, (start, stop.min(until)), gap.as_deref_mut(), wanted)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Looks at every byte of a stretch of one segment, up to the first group that is `wanted`.
    pub(crate) fn survey<D: Disk>(
        &mut self,
        disk: &mut D,
        (from, to): (LogPos, LogPos),
        mut gap: Option<&mut Gap>,
        wanted: impl Fn(&GroupHeader) -> Result<bool, OpenError>,
    ) -> Result<Option<GroupHeader>, OpenError> {
        let mut pos = from;
        while pos < to {
            let piece = self.reader.some(disk, pos, to.0 - pos.0)?;
            // No such segment: nothing can be there.
            let Some(piece) = piece.filter(|piece| !piece.is_empty()) else { break };
            if let Some(gap) = &mut gap {
                gap.add(pos, &piece);
            }
            for at in headers_in(&piece) {
                let Some(header) = self.header_at(disk, pos.plus(at))? else { continue };
                if let Some(gap) = &mut gap {
                    gap.leftovers.groups += 1;
                }
                if wanted(&header)? {
                    return Ok(Some(header));
                }
            }
            pos = pos.plus(piece.len() as u64);
        }
        Ok(None)
    }

    /// An intact header, at `pos`, of a group that may lie there in this log.
    fn header_at<D: Disk>(
        &mut self,
        disk: &mut D,
        pos: LogPos,
    ) -> Result<Option<GroupHeader>, OpenError> {
        let head = self.reader.bytes(disk, pos, GROUP_HEADER_BYTES)?;
        let header = head.and_then(|head| GroupHeader::decode(&head));
        let left = self.geometry.segment_bytes - self.geometry.offset(pos);
        Ok(header.filter(|header| {
            header.position == pos
                && header.shard == self.geometry.shard
                // A group is built in one chunk of memory and lies in one segment.
                && header.length_bytes <= CHUNK_BYTES
                && u64::from(header.length_bytes) <= left
        }))
    }

    /// The next group by its header, though its entries are not intact.
    pub(crate) fn peek<D: Disk>(&mut self, disk: &mut D) -> Result<Option<Group>, OpenError> {
        for pos in self.candidates() {
            if let Some(group) = self.group_at(disk, pos)? {
                return Ok(Some(group));
            }
        }
        Ok(None)
    }

    /// Where the next group, whose header is not intact, begins as far as can be told: where
    /// something is.
    pub(crate) fn likely_start<D: Disk>(&mut self, disk: &mut D) -> Result<LogPos, OpenError> {
        for pos in self.candidates() {
            let head = self.reader.bytes(disk, pos, GROUP_HEADER_BYTES)?;
            if head.is_some_and(|head| head.iter().any(|byte| *byte != 0)) {
                return Ok(pos);
            }
        }
        Ok(self.end)
    }

    /// [`Scan::peek`], and the walk moves behind the group.
    pub(crate) fn suspect<D: Disk>(&mut self, disk: &mut D) -> Result<Option<Group>, OpenError> {
        let group = self.peek(disk)?;
        if let Some(group) = &group {
            self.accept(group);
        }
        Ok(group)
    }

    /// The first group beyond the end that belongs to the log, be there a gap before it or not.
    pub(crate) fn find_next<D: Disk>(
        &mut self,
        disk: &mut D,
    ) -> Result<Option<GroupHeader>, OpenError> {
        let (epoch, newest, found_before) = (self.epoch, self.geometry.epoch, self.found_before);
        self.find(disk, None, LogPos(u64::MAX), |header| {
            header.epoch >= epoch && (header.epoch >= newest || header.sequence <= found_before)
        })
    }

    /// Moves to `pos` as if the log ended there and nothing were known of what is before.
    pub(crate) fn seek(&mut self, pos: LogPos) {
        self.end = pos;
    }

    /// Goes on at `header` as if the groups before it had been there.
    pub(crate) fn resume(&mut self, header: &GroupHeader) {
        self.end = header.position;
        self.sequence = header.sequence.saturating_sub(1);
        self.epoch = header.epoch;
    }

    /// Takes groups of all lives from now on: the superblock does not say which count.
    pub(crate) fn doubt_superblock(&mut self) {
        self.geometry.epoch = u32::MAX;
        self.found_before = u64::MAX;
    }
}

/// A life is in the superblock before its first group: a group of a later one proves that the
/// newest slot is damaged.
fn check_life(geometry: &Geometry, header: &GroupHeader) -> Result<(), OpenError> {
    if header.epoch > geometry.epoch {
        let what = "a group is of a later life than the superblock";
        return Err(OpenError::Damaged { at: header.position, what });
    }
    Ok(())
}

/// Where group headers may start in `piece`, which starts where one may: at multiples of 8.
fn headers_in(piece: &Slice) -> impl Iterator<Item = u64> {
    let words = piece.chunks_exact(ENTRY_ALIGN as usize).enumerate();
    let hits = words.filter(|(_, word)| word.first_chunk() == Some(b"UGR1"));
    hits.map(|(at, _)| at as u64 * u64::from(ENTRY_ALIGN))
}
