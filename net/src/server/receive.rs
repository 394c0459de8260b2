//! The receive phase: bytes into one shared buffer, frames parsed where they lie.
//!
//! Reads top-down: [`Receiver::read`] -> `feed` -> `frames`; [`Receiver::welcome`] does the same with what
//! came along from another reactor.
//!
//! Invariants: a connection owns memory only while a frame is incomplete, exactly the frame's
//! size once that is known; all such memory is counted, and at the bound no new frame is begun
//! (frames already begun go on, so the bound cannot deadlock); readiness is edge-like, so a
//! connection is read until a short read, or stays in the queue.
//! Absent: replies, and anything that waits.

use std::collections::VecDeque;

use engine::io::Nanos;

use super::connections::{Connection, State};
use super::socket::{Moved, receive, receive_behind};
use super::{ConnId, Flow, FrameLen, Limits, Outbox, Service};

/// The rest of a frame from this size on is received straight into its buffer.
const DIRECT_BYTES_MIN: usize = 16 << 10;

/// What became of a connection's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Everything was read; readiness will tell.
    Waiting,
    /// Its share of the turn is used up, there may be more.
    More,
    /// Not read from for now.
    Paused,
    /// No more frames: send what is queued and close.
    Ended,
    /// It goes to another reactor.
    Leaving(usize),
    /// The connection is broken.
    Broken,
}

/// The receiving half of a pump.
#[derive(Debug)]
pub(super) struct Receiver {
    buffer: Vec<u8>,
    /// Connections to read, in order of readiness.
    pub(super) queue: VecDeque<ConnId>,
    /// Paused because partial frames use up the budget.
    pub(super) starved: Vec<ConnId>,
    partial_bytes: u64,
    /// Received since [`Receiver::take_received`] was last asked.
    received_bytes: u64,
    limits: Limits,
}

impl Receiver {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            buffer: vec![0; limits.receive_buffer_bytes.max(4096) as usize],
            queue: VecDeque::new(),
            starved: Vec::new(),
            partial_bytes: 0,
            received_bytes: 0,
            limits,
        }
    }

    /// Puts a connection in the queue, once.
    pub(super) fn enqueue(&mut self, id: ConnId, connection: &mut Connection) {
        if !connection.queued {
            connection.queued = true;
            self.queue.push_back(id);
        }
    }

    /// Whether starved connections may go on: well below the bound, so that they do not flap.
    pub(super) fn has_relief(&self) -> bool {
        !self.starved.is_empty() && self.partial_bytes <= self.limits.partial_bytes_max / 4 * 3
    }

    /// Reads one connection and hands its frames to the service.
    pub(super) fn read<S: Service>(
        &mut self,
        id: ConnId,
        connection: &mut Connection,
        now: Nanos,
        service: &mut S,
        outbox: &mut Outbox,
    ) -> Outcome {
        let before = connection.partial.capacity() as u64;
        let outcome = match connection.state {
            State::Open => self.read_frames(id, connection, now, service, outbox),
            State::Closing => Outcome::Waiting,
            State::Lingering => self.discard(connection),
        };
        self.partial_bytes = self.partial_bytes + connection.partial.capacity() as u64 - before;
        outcome
    }

    /// Hands what a connection brought along from another reactor to the service.
    pub(super) fn welcome<S: Service>(
        &mut self,
        (id, connection): (ConnId, &mut Connection),
        input: &[u8],
        now: Nanos,
        service: &mut S,
        outbox: &mut Outbox,
    ) -> Outcome {
        connection.progress_at = now;
        let flow = feed(id, connection, input, service, outbox);
        self.partial_bytes += connection.partial.capacity() as u64;
        match flow {
            // Readiness that was reported to the other reactor is not reported again.
            Flow::Keep => Outcome::More,
            Flow::Close => Outcome::Ended,
            Flow::HandOver(to) => Outcome::Leaving(to),
        }
    }

    /// Bytes received since the last call.
    pub(super) fn take_received(&mut self) -> u64 {
        std::mem::take(&mut self.received_bytes)
    }

    /// Gives back what a closed connection held.
    pub(super) fn forget(&mut self, connection: &Connection) {
        self.partial_bytes -= connection.partial.capacity() as u64;
    }

    fn read_frames<S: Service>(
        &mut self,
        id: ConnId,
        connection: &mut Connection,
        now: Nanos,
        service: &mut S,
        outbox: &mut Outbox,
    ) -> Outcome {
        let mut taken = 0;
        loop {
            if outbox.unsent(id) > self.limits.unsent_bytes_max || !service.may_read(id) {
                connection.paused = true;
                return Outcome::Paused;
            }
            let begun = !connection.partial.is_empty();
            if !begun && self.partial_bytes >= self.limits.partial_bytes_max {
                connection.paused = true;
                self.starved.push(id);
                return Outcome::Paused;
            }
            let missing = connection.frame_bytes.saturating_sub(connection.partial.len());
            let direct = missing >= DIRECT_BYTES_MIN;
            let (moved, asked) = if direct {
                (receive_behind(&connection.fd, &mut connection.partial, missing), missing)
            } else {
                (receive(&connection.fd, &mut self.buffer), self.buffer.len())
            };
            let received = match moved {
                Moved::Bytes(0) => {
                    connection.peer_gone = true;
                    return Outcome::Ended;
                }
                Moved::Bytes(received) => received,
                Moved::Blocked => return Outcome::Waiting,
                Moved::Failed(_) => return Outcome::Broken,
            };
            connection.progress_at = now;
            self.received_bytes += received as u64;
            let flow = if direct {
                finish(id, connection, service, outbox)
            } else {
                let input = self.buffer.get(..received).unwrap_or_default();
                feed(id, connection, input, service, outbox)
            };
            match flow {
                Flow::Keep => {}
                Flow::Close => return Outcome::Ended,
                Flow::HandOver(to) => return Outcome::Leaving(to),
            }
            taken += received;
            if received < asked && !connection.peer_gone {
                return Outcome::Waiting;
            }
            if taken >= self.limits.turn_bytes_max as usize {
                return Outcome::More;
            }
        }
    }

    fn discard(&mut self, connection: &Connection) -> Outcome {
        match receive(&connection.fd, &mut self.buffer) {
            Moved::Blocked => Outcome::Waiting,
            Moved::Bytes(0) | Moved::Failed(_) => Outcome::Broken,
            Moved::Bytes(_) => Outcome::More,
        }
    }
}

/// Input behind a possibly incomplete frame: completes that one first, then parses in place.
fn feed<S: Service>(
    id: ConnId,
    connection: &mut Connection,
    mut input: &[u8],
    service: &mut S,
    outbox: &mut Outbox,
) -> Flow {
    while !connection.partial.is_empty() && !input.is_empty() {
        if connection.frame_bytes == 0 {
            match service.frame_len(&connection.partial) {
                FrameLen::Need(at_least) => {
                    let missing = at_least.saturating_sub(connection.partial.len()).max(1);
                    let (head, rest) = input.split_at(missing.min(input.len()));
                    connection.partial.extend_from_slice(head);
                    input = rest;
                    continue;
                }
                FrameLen::Frame(bytes) => reserve(connection, bytes),
                FrameLen::Bad(reply) => return refuse(id, &reply, outbox),
            }
        }
        let missing = connection.frame_bytes.saturating_sub(connection.partial.len());
        let (head, rest) = input.split_at(missing.min(input.len()));
        connection.partial.extend_from_slice(head);
        input = rest;
        match finish(id, connection, service, outbox) {
            Flow::Keep => {}
            Flow::Close => return Flow::Close,
            Flow::HandOver(to) => {
                connection.partial.extend_from_slice(input);
                return Flow::HandOver(to);
            }
        }
    }
    if !connection.partial.is_empty() {
        return settle(id, connection, service, outbox);
    }
    frames(id, connection, input, service, outbox)
}

/// A header may just have become complete: learn the frame's length now, so that the rest is
/// received straight into place.
fn settle<S: Service>(
    id: ConnId,
    connection: &mut Connection,
    service: &mut S,
    outbox: &mut Outbox,
) -> Flow {
    if connection.frame_bytes == 0 {
        match service.frame_len(&connection.partial) {
            FrameLen::Need(_) => return Flow::Keep,
            FrameLen::Frame(bytes) => reserve(connection, bytes),
            FrameLen::Bad(reply) => return refuse(id, &reply, outbox),
        }
    }
    finish(id, connection, service, outbox)
}

/// Parses whole frames where they lie; what is left over becomes the partial frame.
fn frames<S: Service>(
    id: ConnId,
    connection: &mut Connection,
    mut input: &[u8],
    service: &mut S,
    outbox: &mut Outbox,
) -> Flow {
    while !input.is_empty() {
        let bytes = match service.frame_len(input) {
            FrameLen::Need(_) => 0,
            FrameLen::Frame(bytes) => bytes.max(1),
            FrameLen::Bad(reply) => return refuse(id, &reply, outbox),
        };
        match input.split_at_checked(bytes) {
            Some((frame, rest)) if bytes > 0 => {
                match service.on_frame(id, frame, outbox) {
                    Flow::Keep => {}
                    Flow::Close => return Flow::Close,
                    Flow::HandOver(to) => {
                        connection.partial.extend_from_slice(input);
                        return Flow::HandOver(to);
                    }
                }
                input = rest;
            }
            _ => {
                if bytes > 0 {
                    reserve(connection, bytes);
                }
                connection.partial.extend_from_slice(input);
                return Flow::Keep;
            }
        }
    }
    Flow::Keep
}

/// Hands over the partial frame if it is whole.
fn finish<S: Service>(
    id: ConnId,
    connection: &mut Connection,
    service: &mut S,
    outbox: &mut Outbox,
) -> Flow {
    if connection.frame_bytes == 0 || connection.partial.len() < connection.frame_bytes {
        return Flow::Keep;
    }
    connection.frame_bytes = 0;
    let frame = std::mem::take(&mut connection.partial);
    let flow = service.on_frame(id, &frame, outbox);
    if let Flow::HandOver(_) = flow {
        connection.partial = frame;
    }
    flow
}

fn reserve(connection: &mut Connection, bytes: usize) {
    connection.frame_bytes = bytes.max(1);
    connection.partial.reserve_exact(bytes.saturating_sub(connection.partial.len()));
}

fn refuse(id: ConnId, reply: &[u8], outbox: &mut Outbox) -> Flow {
    if let Some(buffer) = outbox.bytes(id) {
        buffer.extend_from_slice(reply);
    }
    Flow::Close
}
