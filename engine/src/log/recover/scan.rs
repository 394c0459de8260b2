//! The walk over a log: group by group, to its end, and then a look beyond.

use std::collections::BTreeMap;

use super::{Found, OpenError, io};
use crate::batch::BatchRef;
use crate::io::block::Slice;
use crate::io::{BLOCK_BYTES, Disk, DiskOp, FileId, Output, run};
use crate::log::entry_format::EntryHeader;
use crate::log::group_format::{GROUP_HEADER_BYTES, GroupHeader};
use crate::log::position::{Handle, LogPos};
use crate::log::segments::Geometry;
use crate::log::window::next_block;

/// Bytes of one read: large enough for the device's full rate and for almost every group.
const READ_BYTES: u32 = 1 << 20;

/// Where the log ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    /// End of the last group; `None` for an empty directory.
    pub(super) end: Option<LogPos>,
    /// Sequence number of the last group; 0 when there is none.
    pub(super) sequence: u64,
    /// Everything below is known to be on stable media.
    pub(super) watermark: LogPos,
}

/// A window of bytes that were read from one segment.
struct Read {
    start: LogPos,
    bytes: Slice,
}

pub(super) struct Scan<'a> {
    geometry: Geometry,
    files: &'a BTreeMap<u64, FileId>,
    read: Option<Read>,
    sequence: u64,
    epoch: u32,
    watermark: LogPos,
    /// The last group that the newest life found when it began.
    found_before: u64,
}

impl<'a> Scan<'a> {
    pub(super) fn new(
        geometry: Geometry,
        found_before: u64,
        files: &'a BTreeMap<u64, FileId>,
    ) -> Self {
        let watermark = LogPos(0);
        Self { geometry, files, read: None, sequence: 0, epoch: 0, watermark, found_before }
    }

    /// Walks to the end of the log and makes sure that it is one.
    pub(super) fn run<D: Disk>(
        &mut self,
        disk: &mut D,
        visit: &mut impl FnMut(&Found<'_>),
    ) -> Result<Tail, OpenError> {
        let Some((&first, _)) = self.files.first_key_value() else {
            if self.found_before > 0 {
                return Err(OpenError::Damaged { at: LogPos(0), what: "all segments are gone" });
            }
            return Ok(Tail { end: None, sequence: 0, watermark: self.watermark });
        };
        let mut end = self.geometry.first_group(first);
        loop {
            let rolled = self.geometry.first_group(self.geometry.number_before(end) + 1);
            let mut next = None;
            for candidate in [end, next_block(end), rolled] {
                next = self.group_at(disk, candidate, visit)?;
                if next.is_some() {
                    break;
                }
            }
            match next {
                Some(after) => end = after,
                None => break,
            }
        }
        if self.sequence < self.found_before {
            let what = "a group is missing that was found when the log was last opened";
            return Err(OpenError::Damaged { at: end, what });
        }
        self.look_beyond(disk, end)?;
        Ok(Tail { end: Some(end), sequence: self.sequence, watermark: self.watermark })
    }

    /// Reads the group at `pos` if it is the next one and intact; returns its end.
    fn group_at<D: Disk>(
        &mut self,
        disk: &mut D,
        pos: LogPos,
        visit: &mut impl FnMut(&Found<'_>),
    ) -> Result<Option<LogPos>, OpenError> {
        let Some(head) = self.bytes(disk, pos, GROUP_HEADER_BYTES)? else { return Ok(None) };
        let Some(header) = GroupHeader::decode(&head) else { return Ok(None) };
        // Where the log's beginning has left it, any number is the first.
        let begins = self.sequence == 0 && header.sequence > 0 && self.is_trimmed();
        let expected = (header.sequence == self.sequence + 1 || begins)
            && header.position == pos
            && header.shard == self.geometry.shard
            && header.epoch >= self.epoch
            && !self.is_leftover(&header);
        if !expected {
            return Ok(None);
        }
        self.check_life(&header)?;
        let Some(bytes) = self.bytes(disk, pos, header.length_bytes)? else { return Ok(None) };
        if !is_intact(&bytes, &header) {
            return Ok(None);
        }
        for found in entries(&bytes, &header) {
            visit(&found);
        }
        self.sequence = header.sequence;
        self.epoch = header.epoch;
        self.watermark = self.watermark.max(header.watermark);
        Ok(Some(pos.plus(u64::from(header.length_bytes))))
    }

    /// Whether the oldest segment is not the first there ever was.
    fn is_trimmed(&self) -> bool {
        self.files.first_key_value().is_some_and(|(&first, _)| first > 0)
    }

    /// Bytes of the log, if they lie in one existing segment.
    fn bytes<D: Disk>(
        &mut self,
        disk: &mut D,
        pos: LogPos,
        len: u32,
    ) -> Result<Option<Slice>, OpenError> {
        if let Some(read) = &self.read
            && pos >= read.start
            && pos.plus(u64::from(len)).0 <= read.start.0 + read.bytes.len() as u64
        {
            let at = (pos.0 - read.start.0) as u32;
            return Ok(Some(read.bytes.slice(at..at + len)));
        }
        let Some(&file) = self.files.get(&self.geometry.number(pos)) else { return Ok(None) };
        let offset = self.geometry.offset(pos);
        let left = self.geometry.segment_bytes - offset;
        if u64::from(len) > left {
            return Ok(None);
        }
        let skip = (offset % u64::from(BLOCK_BYTES)) as u32;
        let wanted = (skip + len).next_multiple_of(BLOCK_BYTES).max(READ_BYTES);
        let wanted = u64::from(wanted).min(left + u64::from(skip)) as u32;
        self.read = None;
        let op = DiskOp::Read { file, offset: offset - u64::from(skip), len: wanted };
        let Output::Read(block) = run(disk, op).map_err(io("reading the log"))? else {
            return Ok(None);
        };
        let bytes = block.slice(0..block.published());
        if u64::from(skip) + u64::from(len) > bytes.len() as u64 {
            return Ok(None);
        }
        let slice = bytes.slice(skip..skip + len);
        self.read = Some(Read { start: LogPos(pos.0 - u64::from(skip)), bytes });
        Ok(Some(slice))
    }

    /// Whether the newest life began without this group of an earlier one.
    fn is_leftover(&self, header: &GroupHeader) -> bool {
        header.epoch < self.geometry.epoch && header.sequence > self.found_before
    }

    /// A life is in the superblock before its first group: a group of a later one proves that the
    /// newest slot is damaged.
    fn check_life(&self, header: &GroupHeader) -> Result<(), OpenError> {
        if header.epoch > self.geometry.epoch {
            let what = "a group is of a later life than the superblock";
            return Err(OpenError::Damaged { at: header.position, what });
        }
        Ok(())
    }

    /// A group beyond the end that was cut when the end was already durable proves damage.
    fn look_beyond<D: Disk>(&mut self, disk: &mut D, end: LogPos) -> Result<(), OpenError> {
        let mut pos = LogPos(end.0.next_multiple_of(8));
        let Some((&last, _)) = self.files.last_key_value() else { return Ok(()) };
        let stop = LogPos((last + 1) * self.geometry.segment_bytes);
        while pos < stop {
            let left = self.geometry.segment_bytes - self.geometry.offset(pos);
            let len = left.min(u64::from(READ_BYTES)) as u32;
            let Some(bytes) = self.bytes(disk, pos, len)? else { break };
            // Group headers start at multiples of 8.
            for (at, word) in bytes.chunks_exact(8).enumerate() {
                if word.first_chunk() != Some(b"UGR1") {
                    continue;
                }
                let Some(header) = bytes.get(at * 8..).and_then(GroupHeader::decode) else {
                    continue;
                };
                let here = pos.plus(at as u64 * 8);
                let ours = header.position == here && header.shard == self.geometry.shard;
                if !ours || header.sequence <= self.sequence {
                    continue;
                }
                self.check_life(&header)?;
                if header.epoch >= self.epoch && header.watermark > end {
                    return Err(OpenError::Damaged {
                        at: end,
                        what: "a group is missing that was durable when a later one was written",
                    });
                }
            }
            // A header may lie over the edge of two reads.
            let overlap = if u64::from(len) < left { GROUP_HEADER_BYTES - 8 } else { 0 };
            pos = pos.plus(u64::from(len - overlap));
        }
        Ok(())
    }
}

/// Whether the entries verify, are of the header's life (sectors of two lives can make up a group
/// that nobody wrote), and fill the group exactly.
fn is_intact(bytes: &[u8], header: &GroupHeader) -> bool {
    let mut at = GROUP_HEADER_BYTES as usize;
    for _ in 0..header.entries {
        let Some(rest) = bytes.get(at..) else { return false };
        let Some(entry) = EntryHeader::decode(rest) else { return false };
        let here = Handle::new(header.shard as u8, header.position.plus(at as u64));
        let Some(batch) = entry.batch_of(rest) else { return false };
        let same_life = |batch: BatchRef<'_>| batch.leader_epoch() == header.epoch;
        if entry.handle != here || !BatchRef::parse(batch, u32::MAX).is_ok_and(same_life) {
            return false;
        }
        at += entry.entry_bytes() as usize;
    }
    at == header.length_bytes as usize
}

/// The entries of a group that [`is_intact`].
fn entries<'b>(bytes: &'b [u8], group: &GroupHeader) -> impl Iterator<Item = Found<'b>> {
    let GroupHeader { position, sequence, epoch, .. } = *group;
    let mut at = GROUP_HEADER_BYTES as usize;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..)?;
        let header = EntryHeader::decode(rest)?;
        let batch = header.batch_of(rest)?;
        let records = BatchRef::parse_unverified(batch).ok()?.record_count();
        let pos = position.plus(at as u64);
        at += header.entry_bytes() as usize;
        Some(Found { header, batch, records, pos, sequence, epoch })
    })
}
