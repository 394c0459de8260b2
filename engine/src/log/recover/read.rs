//! The bytes of a log from its segment files, read in large pieces, two ahead.
//!
//! While one piece is looked at the next is on its way and another waits, so that a walk from the
//! front goes at the device's rate; what lies over the edge of two pieces is put together by copy.
//!
//! Invariants: at most [`AHEAD_MAX`] reads are in flight between calls, of pieces that follow each
//! other, and none after [`Reader::finish`]; no read leaves its segment.
//! Absent: what the bytes mean; any opinion on a segment that is not there (it has no bytes).

use std::collections::{BTreeMap, VecDeque};

use super::{OpenError, io};
use crate::io::block::Slice;
use crate::io::{BLOCK_BYTES, Completion, Disk, DiskOp, Errno, FileId, OpId, Output};
use crate::log::position::LogPos;

/// Bytes of one read: at 2 GB/s a millisecond, beside which a turn-around of 50 us is little.
const READ_BYTES: u32 = 2 << 20;
/// Pieces that are read before they are asked for.
const AHEAD_MAX: usize = 2;

const EBUSY: Errno = Errno(16);
const EIO: Errno = Errno(5);

/// Bytes that were read from one segment.
#[derive(Debug)]
struct Window {
    start: LogPos,
    bytes: Slice,
}

impl Window {
    fn end(&self) -> LogPos {
        self.start.plus(self.bytes.len() as u64)
    }

    fn holds(&self, pos: LogPos) -> bool {
        (self.start..self.end()).contains(&pos)
    }

    /// From `pos`, which it holds, up to `len` bytes.
    fn slice(&self, pos: LogPos, len: u64) -> Slice {
        let at = pos.0 - self.start.0;
        let end = (at + len).min(self.bytes.len() as u64);
        self.bytes.slice(at as u32..end as u32)
    }
}

/// A read in flight.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    start: LogPos,
    len: u32,
    op: OpId,
}

/// Reads a log's segments.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    segment_bytes: u64,
    files: &'a BTreeMap<u64, FileId>,
    window: Option<Window>,
    ahead: VecDeque<Ahead>,
    arrived: Arrived,
    /// Where the last read began.
    at: LogPos,
    read_bytes: u64,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(segment_bytes: u64, files: &'a BTreeMap<u64, FileId>) -> Self {
        Self {
            segment_bytes,
            files,
            window: None,
            ahead: VecDeque::new(),
            arrived: Arrived::default(),
            at: LogPos(0),
            read_bytes: 0,
        }
    }

    /// Where the last read began: after an error, the place that cannot be read.
    pub(crate) fn at(&self) -> LogPos {
        self.at
    }

    /// Bytes that were read.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// `len` bytes at `pos`, if they lie in one existing segment.
    pub(crate) fn bytes<D: Disk>(
        &mut self,
        disk: &mut D,
        pos: LogPos,
        len: u32,
    ) -> Result<Option<Slice>, OpenError> {
        if u64::from(len) > self.left(pos) {
            return Ok(None);
        }
        let Some(first) = self.some(disk, pos, u64::from(len))? else { return Ok(None) };
        if first.len() == len as usize {
            return Ok(Some(first));
        }
        let room = disk.block(len.next_multiple_of(BLOCK_BYTES));
        let mut whole = room.ok_or(io(READING)(Errno(12)))?;
        whole.append(&first);
        while whole.published() < len {
            let left = u64::from(len - whole.published());
            let next = self.some(disk, pos.plus(u64::from(whole.published())), left)?;
            let Some(next) = next else { return Ok(None) };
            whole.append(&next);
        }
        Ok(Some(whole.slice(0..len)))
    }

    /// As many bytes from `pos` on, at most `len_max`, as one read brought: at least one, unless
    /// there is no such segment.
    pub(crate) fn some<D: Disk>(
        &mut self,
        disk: &mut D,
        pos: LogPos,
        len_max: u64,
    ) -> Result<Option<Slice>, OpenError> {
        if !self.window.as_ref().is_some_and(|window| window.holds(pos)) && !self.load(disk, pos)? {
            return Ok(None);
        }
        Ok(self.window.as_ref().map(|window| window.slice(pos, len_max)))
    }

    /// Waits for what is still on its way.
    pub(crate) fn finish<D: Disk>(&mut self, disk: &mut D) {
        for ahead in self.ahead.drain(..) {
            // Nobody asked for it yet, so nobody cares whether it could be read.
            let _ = self.arrived.wait(disk, ahead.op);
        }
    }

    /// Bytes from `pos` to the end of its segment.
    fn left(&self, pos: LogPos) -> u64 {
        self.segment_bytes - pos.0 % self.segment_bytes
    }

    /// Reads a piece that holds `pos`; `false` without such a segment.
    fn load<D: Disk>(&mut self, disk: &mut D, pos: LogPos) -> Result<bool, OpenError> {
        let covers =
            |ahead: &Ahead| ahead.start <= pos && pos < ahead.start.plus(u64::from(ahead.len));
        if !self.ahead.front().is_some_and(covers) {
            self.finish(disk);
            let start = LogPos(pos.0 - pos.0 % u64::from(BLOCK_BYTES));
            if !self.ask(disk, start)? {
                return Ok(false);
            }
        }
        let Some(Ahead { start, len, op }) = self.ahead.pop_front() else { return Ok(false) };
        self.at = start;
        self.read_bytes += u64::from(len);
        // Given back before the next is asked for.
        self.window = None;
        let mut next = start.plus(u64::from(len));
        if let Some(last) = self.ahead.back() {
            next = last.start.plus(u64::from(last.len));
        }
        while self.ahead.len() < AHEAD_MAX && self.ask(disk, next)? {
            next = self.ahead.back().map_or(next, |last| last.start.plus(u64::from(last.len)));
        }
        let bytes = match self.arrived.wait(disk, op).map_err(io(READING))? {
            Output::Read(block) => block.slice(0..block.published()),
            _ => return Err(io(READING)(EIO)),
        };
        self.window = Some(Window { start, bytes });
        Ok(true)
    }

    /// Asks for the piece at `start`; `false` without such a segment.
    fn ask<D: Disk>(&mut self, disk: &mut D, start: LogPos) -> Result<bool, OpenError> {
        let Some(&file) = self.files.get(&(start.0 / self.segment_bytes)) else { return Ok(false) };
        let len = self.left(start).min(u64::from(READ_BYTES)) as u32;
        let read = DiskOp::Read { file, offset: start.0 % self.segment_bytes, len };
        let op = disk.submit(read).map_err(|_| io(READING)(EBUSY))?;
        disk.flush();
        self.ahead.push_back(Ahead { start, len, op });
        Ok(true)
    }
}

const READING: &str = "reading the log";

/// Reads that have come back before their turn.
#[derive(Debug, Default)]
struct Arrived(Vec<Completion>);

impl Arrived {
    /// The result of `op`, which is in flight or has come back.
    fn wait<D: Disk>(&mut self, disk: &mut D, op: OpId) -> Result<Output, Errno> {
        loop {
            disk.complete(&mut self.0);
            if let Some(at) = self.0.iter().position(|done| done.op == op) {
                return self.0.swap_remove(at).result;
            }
            disk.wait();
        }
    }
}
