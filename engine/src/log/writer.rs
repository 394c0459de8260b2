//! The log's writer: append into the open group, and cut it.
//!
//! Reads top-down: [`Log::append`] -> `open_group` (and `roll`) -> `seal`; then `pipeline`: the group is
//! written, and it is learnt that it landed.
//!
//! Group commit has no timer: when the pipeline has room, whatever has arrived goes now; while
//! writes are in flight, arrivals gather into the next group. Only entries that nobody waits for
//! gather up to a limit of bytes and time.
//!
//! Tail block: a group may continue in the block where its predecessor ended, if that one's write
//! has completed. The rewrite carries identical bytes before the new ones, so a tear at a sector
//! cannot hurt what was acknowledged.
//!
//! Absent: queues and offsets; who waits (the shard knows); retry after a failed write.

mod pipeline;

use std::collections::VecDeque;
use std::ops::Range;

pub use super::append::{Append, AppendError, Appended, Flush, GroupTimes, WriterOptions};
use super::commit::Commit;
use super::entry_format::{BATCH_UNCOVERED_BYTES, ENTRY_ALIGN, EntryHeader};
use super::group_format::{GROUP_HEADER_BYTES, GroupHeader};
use super::position::{Handle, LogPos};
use super::recover::Groups;
use super::segments::Segments;
use super::superblock::SuperblockFile;
use super::superblock_format::Pointer;
use super::window::{Window, next_block};
use crate::io::block::Slice;
use crate::io::{BLOCK_BYTES, Disk, Errno, FileId, Nanos};
use crate::level::AckLevel;

#[derive(Debug)]
struct OpenGroup {
    store_timestamp_ms: u64,
    start: LogPos,
    /// Offset of the header in the window's last chunk.
    offset: u32,
    entries: u32,
    records: u64,
    opened: Nanos,
    /// Somebody waits for its write.
    urgent: bool,
    durable: bool,
}

#[derive(Debug)]
struct Sealed {
    sequence: u64,
    start: LogPos,
    end: LogPos,
    data: Slice,
}

/// Groups whose times are remembered: more than ever wait at once.
const TIMES_MAX: usize = 4096;

/// One shard's log.
#[derive(Debug)]
pub struct Log {
    options: WriterOptions,
    segments: Segments,
    superblock: SuperblockFile,
    window: Window,
    commit: Commit,
    open: Option<OpenGroup>,
    sealed: VecDeque<Sealed>,
    /// The group that was or will be opened next.
    sequence_next: u64,
    /// The last group before the current segment.
    before: u64,
    /// What the last segment keeps back at its end.
    kept_back_bytes: u64,
    /// Segments that were left since somebody asked.
    rolled: Vec<Groups>,
    /// End of the last entry.
    end: LogPos,
    /// End of each group in flight and of the newest written one, by sequence.
    ends: VecDeque<(u64, LogPos)>,
    written_end: LogPos,
    durable_end: LogPos,
    /// The superblock was told that the log is durable up to here.
    recorded_end: LogPos,
    times: VecDeque<GroupTimes>,
    times_first: u64,
    poison: Option<(LogPos, Errno)>,
    groups: u64,
    group_bytes: u64,
    padding_bytes: u64,
    closing: bool,
    /// Newest store time.
    store_ms: u64,
}

/// Where a log goes on.
#[derive(Debug)]
pub struct Begin {
    /// In the block behind this position, where its last group ends.
    pub end: LogPos,
    /// The last group; all are durable.
    pub sequence: u64,
    /// The last group before the current segment.
    pub before: u64,
    /// No store time will be earlier, in milliseconds since the Unix epoch.
    pub store_ms: u64,
    /// What says so.
    pub superblock: SuperblockFile,
}

impl Log {
    /// A log that goes on at `begin`.
    #[must_use]
    pub fn new(options: WriterOptions, mut segments: Segments, begin: Begin) -> Self {
        let Begin { end, sequence, before, store_ms, superblock } = begin;
        segments.set_prefill_step(options.prefill_step_bytes);
        Self {
            options,
            segments,
            superblock,
            window: Window::new(options.window_bytes),
            commit: Commit::new(sequence, options.groups_inflight_max, options.flush),
            open: None,
            sealed: VecDeque::new(),
            sequence_next: sequence + 1,
            before,
            kept_back_bytes: 0,
            rolled: Vec::new(),
            end: next_block(end),
            ends: VecDeque::new(),
            written_end: end,
            durable_end: end,
            recorded_end: end,
            times: VecDeque::new(),
            times_first: sequence + 1,
            poison: None,
            groups: 0,
            group_bytes: 0,
            padding_bytes: 0,
            closing: false,
            store_ms,
        }
    }

    /// The segment files.
    #[must_use]
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// Life of the log: the leader epoch stamped on batches.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.segments.geometry().epoch
    }

    /// Largest batch this log takes, in bytes.
    #[must_use]
    pub fn batch_bytes_max(&self) -> u32 {
        // A segment's first block is its header, and a group may start inside a block.
        let room = self.segments.geometry().segment_bytes - 3 * u64::from(BLOCK_BYTES);
        (room.min(u64::from(crate::limits::BATCH_BYTES_MAX))) as u32
    }

    /// The newest group that has been written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.commit.written()
    }

    /// The newest group that is durable, and all before it.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.commit.durable()
    }

    /// Positions up to which the log is appended, written and durable.
    #[must_use]
    pub fn ends(&self) -> (LogPos, LogPos, LogPos) {
        (self.end, self.written_end, self.durable_end)
    }

    /// Why the log takes no writes, and from where on its contents are unknown.
    #[must_use]
    pub fn poison(&self) -> Option<(LogPos, Errno)> {
        self.poison
    }

    /// Whether a client waits for the device.
    #[must_use]
    pub fn durable_in_flight(&self) -> bool {
        self.poison.is_none() && self.commit.durable_in_flight()
    }

    /// Groups written, their bytes, and the bytes of padding among them.
    #[must_use]
    pub fn counters(&self) -> (u64, u64, u64) {
        (self.groups, self.group_bytes, self.padding_bytes)
    }

    /// When group `sequence` was sealed and submitted; zeros when that is long ago.
    #[must_use]
    pub fn times(&self, sequence: u64) -> GroupTimes {
        let at = sequence.checked_sub(self.times_first).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.times.get(at)).copied().unwrap_or_default()
    }

    /// Bytes of the log that are in memory, shared by reference.
    #[must_use]
    pub fn hot(&self, pos: LogPos, len: u32) -> Option<Slice> {
        self.window.slice(pos, len)
    }

    /// Appends one entry to the open group. It is visible to [`Log::hot`] at once; it reaches the
    /// device with one of the next calls of [`Log::commit`].
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was appended.
    pub fn append<D: Disk>(
        &mut self,
        disk: &mut D,
        now: Nanos,
        entry: &Append<'_>,
    ) -> Result<Appended, AppendError> {
        if let Some((at, errno)) = self.poison {
            return Err(AppendError::Poisoned { at, errno });
        }
        let batch_bytes = (BATCH_UNCOVERED_BYTES + entry.rest.len()) as u32;
        if batch_bytes > self.batch_bytes_max() {
            let batch_bytes_max = self.batch_bytes_max();
            return Err(AppendError::TooLarge { batch_bytes, batch_bytes_max });
        }
        let entry_bytes = super::entry_format::entry_bytes(batch_bytes);
        let is_free = entry.kept_back || self.segments.has_successor();
        let kept_back = if is_free { 0 } else { self.kept_back_bytes };
        self.make_room(disk, now, entry.wall_ms, (entry_bytes, kept_back))?;
        let sequence = self.sequence_next;
        let (Some(open), Some((base, block))) = (&mut self.open, self.window.last()) else {
            return Err(AppendError::Busy);
        };
        let pos = base.plus(u64::from(block.published()));
        let header = EntryHeader {
            kind: entry.kind,
            queue: entry.queue,
            batch_bytes,
            base_offset: entry.base_offset,
            store_timestamp_ms: open.store_timestamp_ms,
            handle: Handle::new(self.segments.geometry().shard as u8, pos),
            keyed: entry.keyed,
        };
        block.append(&header.encode(entry.head));
        block.append(entry.head);
        block.append(entry.rest);
        block.append_zeros(block.published().next_multiple_of(ENTRY_ALIGN) - block.published());
        // The next is likely to be as long.
        block.prefetch(entry_bytes);
        open.entries += 1;
        open.records += u64::from(entry.records);
        open.urgent |= entry.ack >= AckLevel::Written;
        open.durable |= entry.flush == AckLevel::Durable;
        self.end = base.plus(u64::from(block.published()));
        debug_assert!(self.end == pos.plus(u64::from(entry_bytes)));
        let store_timestamp_ms = open.store_timestamp_ms;
        Ok(Appended { pos, entry_bytes, sequence, store_timestamp_ms })
    }

    /// As long as no next segment is in place, so much of the current one, but no more than a quarter,
    /// is for entries that may use it: where the disk is full no segment goes before a checkpoint is
    /// written, and the next one comes only when one has gone.
    pub fn keep_back(&mut self, bytes: u64) {
        self.kept_back_bytes = bytes.min(self.segments.geometry().segment_bytes / 4);
    }

    /// Group `sequence` must get as far as `ack`, which somebody asks for only now.
    pub fn want(&mut self, sequence: u64, ack: AckLevel) {
        match self.open.as_mut().filter(|_| sequence == self.sequence_next) {
            Some(open) => {
                open.urgent |= ack >= AckLevel::Written;
                open.durable |= ack == AckLevel::Durable;
            }
            None if ack == AckLevel::Durable => self.commit.want_durable(sequence),
            None => {}
        }
    }

    /// Sees to it that a group is open with room for `entry_bytes`, and `kept_back` bytes behind
    /// them in the segment.
    fn make_room<D: Disk>(
        &mut self,
        disk: &mut D,
        now: Nanos,
        wall_ms: u64,
        (entry_bytes, kept_back): (u32, u64),
    ) -> Result<(), AppendError> {
        let room = self.window.last().map_or(0, |(_, block)| block.room());
        if let Some(open) = &self.open {
            let grown = (self.end.0 - open.start.0) as u32 + entry_bytes;
            let fits_segment = self.fits_segment(open.start, u64::from(grown) + kept_back);
            if entry_bytes <= room && fits_segment && grown <= self.options.group_bytes_max {
                return Ok(());
            }
            self.seal(now);
        }
        let mut start = self.end;
        if !self.may_continue_block() {
            start = next_block(start);
        }
        let group_bytes = GROUP_HEADER_BYTES + entry_bytes;
        if !self.fits_segment(start, u64::from(group_bytes) + kept_back) {
            start = self.roll(group_bytes)?;
        }
        self.open_group(disk, now, start, group_bytes)?;
        // One store time for a group: the time index needs no look inside it.
        self.store_ms = self.store_ms.max(wall_ms);
        if let Some(open) = &mut self.open {
            open.store_timestamp_ms = self.store_ms;
        }
        Ok(())
    }

    /// Opens a group at `start`, in the last chunk if it goes on there and has room.
    fn open_group<D: Disk>(
        &mut self,
        disk: &mut D,
        now: Nanos,
        mut start: LogPos,
        group_bytes: u32,
    ) -> Result<(), AppendError> {
        let written = self.written_end;
        let follows = self.window.last().is_some_and(|(base, block)| {
            let at = start.0.checked_sub(base.0);
            at.is_some_and(|at| {
                at <= u64::from(block.published().next_multiple_of(BLOCK_BYTES))
                    && at + u64::from(group_bytes) <= u64::from(block.len())
            })
        });
        if !follows {
            start = next_block(start);
            if !self.fits_segment(start, group_bytes.into()) {
                start = self.roll(group_bytes)?;
            }
            if !self.window.start_chunk(start, written, |len| disk.block(len)) {
                return Err(AppendError::Busy);
            }
        }
        let Some((base, block)) = self.window.last() else { return Err(AppendError::Busy) };
        if base.plus(u64::from(block.published())) < start {
            block.skip_to_boundary();
        }
        debug_assert!(base.plus(u64::from(block.published())) == start);
        let offset = block.open_hole(GROUP_HEADER_BYTES).start;
        self.open = Some(OpenGroup {
            store_timestamp_ms: self.store_ms,
            start,
            offset,
            entries: 0,
            records: 0,
            opened: now,
            urgent: false,
            durable: false,
        });
        self.end = start.plus(u64::from(GROUP_HEADER_BYTES));
        Ok(())
    }

    /// Whether the next group may start in the block where the last one ended: nothing that
    /// touches the block is in flight or waits to be.
    fn may_continue_block(&self) -> bool {
        self.options.tail_continuation
            && self.sealed.is_empty()
            && self.commit.written() + 1 == self.sequence_next
    }

    fn fits_segment(&self, start: LogPos, bytes: u64) -> bool {
        let geometry = self.segments.geometry();
        geometry.number(start) == self.segments.current()
            && geometry.offset(start) + bytes <= geometry.segment_bytes
    }

    fn roll(&mut self, group_bytes: u32) -> Result<LogPos, AppendError> {
        let number = self.segments.current();
        if !self.segments.roll() {
            return Err(match self.segments.failure() {
                Some(errno) => AppendError::DiskFull { errno },
                None => AppendError::Busy,
            });
        }
        let (first, last) = (self.before + 1, self.sequence_next - 1);
        if first <= last {
            self.rolled.push(Groups { number, first, last });
        }
        self.before = last;
        let start = self.segments.geometry().first_group(self.segments.current());
        debug_assert!(self.fits_segment(start, group_bytes.into()));
        // Even if no group can be opened now, the log goes on in the new segment.
        self.end = start;
        Ok(start)
    }

    /// Closes the open group: header, padding.
    fn seal(&mut self, now: Nanos) {
        let Some(open) = self.open.take() else { return };
        let Some((base, block)) = self.window.last() else { return };
        if open.entries == 0 {
            block.abandon_hole();
            self.end = open.start;
            return;
        }
        let geometry = self.segments.geometry();
        let header = GroupHeader {
            length_bytes: (self.end.0 - open.start.0) as u32,
            entries: open.entries,
            epoch: geometry.epoch,
            shard: geometry.shard,
            sequence: self.sequence_next,
            position: open.start,
            watermark: self.durable_end,
            records: open.records,
        };
        block.fill_hole(&header.encode());
        block.zero_to_boundary();
        let data: Range<u32> = open.offset..block.published();
        debug_assert!(base.plus(u64::from(open.offset)) == open.start);
        let data = block.device_slice(data);
        self.padding_bytes += next_block(self.end).0 - self.end.0;
        if open.durable {
            self.commit.want_durable(self.sequence_next);
        }
        self.sealed.push_back(Sealed {
            sequence: self.sequence_next,
            start: open.start,
            end: self.end,
            data,
        });
        self.sequence_next += 1;
        self.times.push_back(GroupTimes { sealed: now, submitted: Nanos::default() });
        if self.times.len() > TIMES_MAX {
            self.times.pop_front();
            self.times_first += 1;
        }
    }

    /// Bytes appended and not yet written.
    #[must_use]
    pub fn unwritten_bytes(&self) -> u64 {
        self.end.0.saturating_sub(self.written_end.0)
    }

    /// Nothing that is written would be found again: as after a failed write.
    pub fn condemn(&mut self, errno: Errno) {
        self.fail(errno);
    }

    /// Takes the oldest segment out of the log: see [`Segments::trim`].
    pub fn trim<D: Disk>(&mut self, disk: &mut D, keep: bool, now: Nanos) -> bool {
        self.segments.trim(disk, keep, now)
    }

    /// Newest store time given out, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn store_ms(&self) -> u64 {
        self.store_ms
    }

    /// From now on everything goes to the device at once, and all of it is made durable.
    pub fn close(&mut self) {
        self.closing = true;
        let newest = if self.open.is_some() { self.sequence_next } else { self.sequence_next - 1 };
        self.commit.want_durable(newest);
    }

    /// Whether everything appended is durable, and the superblock says so (or never will).
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let recorded = self.superblock.current().durable >= self.commit.durable();
        let settled = recorded || !self.closing || self.superblock.has_failed();
        self.poison.is_some() || (self.is_durable() && settled)
    }

    fn is_durable(&self) -> bool {
        let empty = self.open.as_ref().is_none_or(|open| open.entries == 0);
        empty && self.sealed.is_empty() && self.commit.durable() + 1 == self.sequence_next
    }

    /// The segments that were left since the last call, with their groups.
    pub fn take_rolled(&mut self) -> Vec<Groups> {
        std::mem::take(&mut self.rolled)
    }

    /// Whether anything below `pos` is still in memory.
    #[must_use]
    pub fn is_hot_below(&self, pos: LogPos) -> bool {
        self.window.start().is_some_and(|start| start < pos)
    }

    /// The last group before the current segment.
    #[must_use]
    pub fn before(&self) -> u64 {
        self.before
    }

    /// A checkpoint has become durable: the superblock is to name it.
    pub fn record_checkpoint(&mut self, checkpoint: Pointer) {
        self.superblock.want(Some(checkpoint), self.commit.durable());
    }

    /// The checkpoint that is in the superblock for certain.
    #[must_use]
    pub fn recorded(&self) -> Option<Pointer> {
        self.superblock.current().checkpoint
    }

    /// The file and offset of `pos`, for a read from the device.
    #[must_use]
    pub fn locate(&self, pos: LogPos) -> Option<(FileId, u64)> {
        self.segments.locate(pos)
    }
}
