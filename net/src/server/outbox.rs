//! Output of all connections: copied bytes and slices sent by reference, in order.
//!
//! Reads top-down: a service calls [`Outbox::bytes`] and [`Outbox::slice`]; the pump calls
//! `flush` once per turn for every connection that has something new and is not blocked.
//!
//! Invariants: bytes leave in the order they were queued; a slice is held until its last byte was
//! taken by the socket; a connection with nothing to send holds no buffer.
//! Absent: limits (the pump stops *reading* from a connection whose output piles up).

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::OwnedFd;

use engine::io::Errno;
use engine::io::block::Slice;

use super::ConnId;
use super::socket::{Moved, send_bytes, send_pieces};

/// Pieces of one `sendmsg`.
const PIECES_MAX: usize = 64;
/// Buffers kept for reuse, and the largest one worth keeping.
const POOL_BUFFERS_MAX: usize = 256;
const POOL_BUFFER_BYTES_MAX: usize = 64 << 10;

/// A slice that goes out before byte `at` of the copied bytes.
#[derive(Debug)]
struct Cut {
    at: usize,
    slice: Slice,
}

#[derive(Debug, Default)]
struct Output {
    generation: u32,
    open: bool,
    dirty: bool,
    blocked: bool,
    bytes: Vec<u8>,
    bytes_sent: usize,
    cuts: VecDeque<Cut>,
    /// Sent bytes of the first slice.
    slice_sent: usize,
    slice_bytes: u64,
    /// What of it is in [`Outbox::unsent_total`].
    counted: u64,
    /// Taken by the socket so far.
    sent_bytes: u64,
}

/// What became of a connection's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    Empty,
    /// The socket is full; try again when it is writable.
    Blocked,
    Failed(Errno),
}

/// Output queues of one reactor's connections.
#[derive(Debug, Default)]
pub struct Outbox {
    outputs: Vec<Output>,
    dirty: Vec<ConnId>,
    pool: Vec<Vec<u8>>,
    unsent_total: u64,
}

impl Outbox {
    /// The buffer to append a reply to; it leaves with this turn. `None`: the connection is gone.
    /// What lies in it already must stay as it is.
    pub fn bytes(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        let output = Self::mark(&mut self.outputs, &mut self.dirty, conn)?;
        if output.bytes.capacity() == 0 {
            output.bytes = self.pool.pop().unwrap_or_default();
        }
        Some(&mut output.bytes)
    }

    /// Queues bytes by reference. False: the connection is gone.
    pub fn slice(&mut self, conn: ConnId, slice: Slice) -> bool {
        let Some(output) = Self::mark(&mut self.outputs, &mut self.dirty, conn) else {
            return false;
        };
        if !slice.is_empty() {
            output.slice_bytes += slice.len() as u64;
            output.cuts.push_back(Cut { at: output.bytes.len(), slice });
        }
        true
    }

    /// Bytes queued for a connection and not yet taken by its socket.
    #[must_use]
    pub fn unsent(&self, conn: ConnId) -> u64 {
        match self.outputs.get(conn.slot as usize) {
            Some(output) if output.generation == conn.generation => output.unsent(),
            _ => 0,
        }
    }

    /// Bytes that a connection's socket has taken so far.
    pub(super) fn sent_bytes(&self, conn: ConnId) -> u64 {
        match self.outputs.get(conn.slot as usize) {
            Some(output) if output.generation == conn.generation => output.sent_bytes,
            _ => 0,
        }
    }

    /// Bytes of all connections that their sockets had no room for when they were last tried.
    #[must_use]
    pub fn unsent_total(&self) -> u64 {
        self.unsent_total
    }

    fn mark<'a>(
        outputs: &'a mut [Output],
        dirty: &mut Vec<ConnId>,
        conn: ConnId,
    ) -> Option<&'a mut Output> {
        let output = outputs.get_mut(conn.slot as usize)?;
        if !output.open || output.generation != conn.generation {
            return None;
        }
        if !output.dirty {
            output.dirty = true;
            dirty.push(conn);
        }
        Some(output)
    }

    pub(crate) fn open(&mut self, conn: ConnId) {
        let slot = conn.slot as usize;
        if slot >= self.outputs.len() {
            self.outputs.resize_with(slot + 1, Output::default);
        }
        if let Some(output) = self.outputs.get_mut(slot) {
            *output = Output { generation: conn.generation, open: true, ..Output::default() };
        }
    }

    pub(super) fn close(&mut self, conn: ConnId) {
        if let Some(output) = self.outputs.get_mut(conn.slot as usize)
            && output.generation == conn.generation
        {
            self.unsent_total -= output.counted;
            *output = Output { generation: conn.generation, ..Output::default() };
        }
    }

    /// The socket has room again, or the connection wants to be looked at: flush it this turn.
    pub(super) fn writable(&mut self, conn: ConnId) {
        let waits = self.outputs.get(conn.slot as usize).is_some_and(|output| output.blocked);
        if waits && let Some(output) = Self::mark(&mut self.outputs, &mut self.dirty, conn) {
            output.blocked = false;
        }
    }

    /// Puts the connection on this turn's list even if it has nothing to send.
    pub(super) fn touch(&mut self, conn: ConnId) {
        let _ = Self::mark(&mut self.outputs, &mut self.dirty, conn);
    }

    /// Moves the connections with new output to `out`.
    pub(super) fn take_dirty(&mut self, out: &mut Vec<ConnId>) {
        out.append(&mut self.dirty);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.dirty.is_empty()
    }

    /// Sends as much as the socket takes.
    pub(crate) fn flush(&mut self, conn: ConnId, fd: &OwnedFd) -> Flushed {
        let flushed = self.try_flush(conn, fd);
        if let Some(output) = self.outputs.get_mut(conn.slot as usize)
            && output.generation == conn.generation
        {
            let left = output.unsent();
            let before = std::mem::replace(&mut output.counted, left);
            self.unsent_total = self.unsent_total - before + left;
        }
        flushed
    }

    fn try_flush(&mut self, conn: ConnId, fd: &OwnedFd) -> Flushed {
        let Some(output) = self.outputs.get_mut(conn.slot as usize) else { return Flushed::Empty };
        if output.generation != conn.generation {
            return Flushed::Empty;
        }
        output.dirty = false;
        if output.blocked {
            return Flushed::Blocked;
        }
        while output.unsent() > 0 {
            match output.send(fd) {
                Moved::Bytes(sent) => {
                    output.sent_bytes += sent as u64;
                    output.advance(sent);
                }
                Moved::Blocked => {
                    output.blocked = true;
                    output.forget_sent();
                    return Flushed::Blocked;
                }
                Moved::Failed(errno) => return Flushed::Failed(errno),
            }
        }
        output.bytes_sent = 0;
        let mut buffer = std::mem::take(&mut output.bytes);
        let worth = (1..=POOL_BUFFER_BYTES_MAX).contains(&buffer.capacity());
        if worth && self.pool.len() < POOL_BUFFERS_MAX {
            buffer.clear();
            self.pool.push(buffer);
        }
        Flushed::Empty
    }
}

impl Output {
    fn unsent(&self) -> u64 {
        (self.bytes.len() - self.bytes_sent) as u64 + self.slice_bytes
    }

    fn send(&self, fd: &OwnedFd) -> Moved {
        if self.cuts.is_empty() {
            return send_bytes(fd, self.bytes.get(self.bytes_sent..).unwrap_or_default());
        }
        let mut pieces = Vec::with_capacity(PIECES_MAX.min(2 * self.cuts.len() + 1));
        let mut from = self.bytes_sent;
        let mut skip = self.slice_sent;
        for cut in &self.cuts {
            if pieces.len() + 2 > PIECES_MAX {
                return send_pieces(fd, &pieces);
            }
            push(&mut pieces, self.bytes.get(from..cut.at));
            push(&mut pieces, cut.slice.get(skip..));
            from = cut.at;
            skip = 0;
        }
        if pieces.len() < PIECES_MAX {
            push(&mut pieces, self.bytes.get(from..));
        }
        send_pieces(fd, &pieces)
    }

    fn advance(&mut self, mut sent: usize) {
        while sent > 0 {
            let until = self.cuts.front().map_or(self.bytes.len(), |cut| cut.at);
            let step = sent.min(until - self.bytes_sent);
            self.bytes_sent += step;
            sent -= step;
            let Some(cut) = self.cuts.front() else { return };
            if self.bytes_sent < cut.at {
                return;
            }
            let step = sent.min(cut.slice.len() - self.slice_sent);
            self.slice_sent += step;
            self.slice_bytes -= step as u64;
            sent -= step;
            if self.slice_sent == cut.slice.len() {
                self.slice_sent = 0;
                self.cuts.pop_front();
            }
        }
    }

    /// Drops the sent prefix of a buffer that is kept, so that it does not grow for ever.
    fn forget_sent(&mut self) {
        if self.bytes_sent < self.bytes.len() / 2 {
            return;
        }
        self.bytes.drain(..self.bytes_sent);
        for cut in &mut self.cuts {
            cut.at -= self.bytes_sent;
        }
        self.bytes_sent = 0;
    }
}

fn push<'a>(pieces: &mut Vec<IoSlice<'a>>, bytes: Option<&'a [u8]>) {
    if let Some(bytes) = bytes
        && !bytes.is_empty()
    {
        pieces.push(IoSlice::new(bytes));
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
