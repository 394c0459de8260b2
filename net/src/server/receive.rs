//! The receive phase: bytes into one shared buffer, frames parsed where they lie.
//!
//! Reads top-down: [`Receiver::read`] -> `feed` -> `frames`; [`Receiver::welcome`] does the same with what
//! came along from another reactor. When nobody else is to be read and enough answers are ready, the rest of
//! what was received stays in the shared buffer, and is what the next turn begins with.
//!
//! Invariants: a connection owns memory only while a frame is incomplete, exactly the frame's
//! size once that is known; all such memory is counted, and at the bound no new frame is begun
//! (frames already begun go on, so the bound cannot deadlock); readiness is edge-like, so a
//! connection is read until a short read, or stays in the queue; whose input lies in the shared buffer
//! is at the front of the queue.
//! Absent: replies, and anything that waits.

use std::collections::VecDeque;
use std::ops::Range;

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

/// What of the shared buffer has not been looked at.
#[derive(Debug)]
struct Rest {
    id: ConnId,
    range: Range<usize>,
    /// The turn that goes on with it ends after so many answers.
    answers_max: usize,
}

/// The receiving half of a pump.
#[derive(Debug)]
pub(super) struct Receiver {
    buffer: Vec<u8>,
    rest: Option<Rest>,
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
            rest: None,
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
        // Anybody else's is of a connection that has gone.
        let rest = self.rest.take().filter(|rest| rest.id == id);
        let outcome = match connection.state {
            State::Open => {
                let ended = rest.and_then(|rest| self.feed_rest(rest, connection, service, outbox));
                ended.unwrap_or_else(|| self.read_frames(id, connection, now, service, outbox))
            }
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
        let (flow, _) = feed(id, connection, input, service, outbox, usize::MAX);
        self.partial_bytes += connection.partial.capacity() as u64;
        // Readiness that was reported to the other reactor is not reported again.
        ended_by(flow).unwrap_or(Outcome::More)
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
            let ended = if direct {
                ended_by(finish(id, connection, service, outbox))
            } else {
                let all =
                    Rest { id, range: 0..received, answers_max: self.limits.answers_per_turn };
                self.feed_rest(all, connection, service, outbox)
            };
            if let Some(outcome) = ended {
                return outcome;
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

    /// Hands on what lies in the shared buffer; `None`: there may be more in the socket. If nobody else
    /// is to be read, and it is much, only the part whose answers are worth a turn's end. (With others the
    /// turn has answers for several, and is better not cut up.)
    fn feed_rest<S: Service>(
        &mut self,
        rest: Rest,
        connection: &mut Connection,
        service: &mut S,
        outbox: &mut Outbox,
    ) -> Option<Outcome> {
        let Rest { id, range, answers_max } = rest;
        let is_alone = self.queue.is_empty() && service.answerable() == 0;
        let input = self.buffer.get(range.clone()).unwrap_or_default();
        let limit = if is_alone { answers_max } else { usize::MAX };
        let (flow, left) = feed(id, connection, input, service, outbox, limit);
        if flow == Flow::Keep && left > 0 {
            let range = range.end - left..range.end;
            self.rest = Some(Rest { id, range, answers_max: answers_max.saturating_mul(2) });
            // The queue is empty: it will be the first in it.
            return Some(Outcome::More);
        }
        ended_by(flow)
    }

    fn discard(&mut self, connection: &Connection) -> Outcome {
        match receive(&connection.fd, &mut self.buffer) {
            Moved::Blocked => Outcome::Waiting,
            Moved::Bytes(0) | Moved::Failed(_) => Outcome::Broken,
            Moved::Bytes(_) => Outcome::More,
        }
    }
}

/// What a frame made of its connection, if that is not read any more.
fn ended_by(flow: Flow) -> Option<Outcome> {
    match flow {
        Flow::Keep => None,
        Flow::Close => Some(Outcome::Ended),
        Flow::HandOver(to) => Some(Outcome::Leaving(to)),
    }
}

/// Input behind a possibly incomplete frame: completes that one first, then parses in place. Also how
/// many bytes at its end are left because `answers_max` are ready.
fn feed<S: Service>(
    id: ConnId,
    connection: &mut Connection,
    mut input: &[u8],
    service: &mut S,
    outbox: &mut Outbox,
    answers_max: usize,
) -> (Flow, usize) {
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
                FrameLen::Bad(reply) => return (refuse(id, &reply, outbox), 0),
            }
        }
        let missing = connection.frame_bytes.saturating_sub(connection.partial.len());
        let (head, rest) = input.split_at(missing.min(input.len()));
        connection.partial.extend_from_slice(head);
        input = rest;
        match finish(id, connection, service, outbox) {
            Flow::Keep => {}
            Flow::Close => return (Flow::Close, 0),
            Flow::HandOver(to) => {
                connection.partial.extend_from_slice(input);
                return (Flow::HandOver(to), 0);
            }
        }
    }
    if !connection.partial.is_empty() {
        return (settle(id, connection, service, outbox), 0);
    }
    frames(id, connection, input, service, outbox, answers_max)
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

/// Parses whole frames where they lie; what is left over becomes the partial frame, unless
/// `answers_max` are ready before the end: then it is left, so many bytes.
fn frames<S: Service>(
    id: ConnId,
    connection: &mut Connection,
    mut input: &[u8],
    service: &mut S,
    outbox: &mut Outbox,
    answers_max: usize,
) -> (Flow, usize) {
    while !input.is_empty() {
        let bytes = match service.frame_len(input) {
            FrameLen::Need(_) => 0,
            FrameLen::Frame(bytes) => bytes.max(1),
            FrameLen::Bad(reply) => return (refuse(id, &reply, outbox), 0),
        };
        match input.split_at_checked(bytes) {
            Some((frame, rest)) if bytes > 0 => {
                match service.on_frame(id, frame, outbox) {
                    Flow::Keep => {}
                    Flow::Close => return (Flow::Close, 0),
                    Flow::HandOver(to) => {
                        connection.partial.extend_from_slice(input);
                        return (Flow::HandOver(to), 0);
                    }
                }
                input = rest;
                if service.answerable() >= answers_max {
                    return (Flow::Keep, input.len());
                }
            }
            _ => {
                if bytes > 0 {
                    reserve(connection, bytes);
                }
                connection.partial.extend_from_slice(input);
                return (Flow::Keep, 0);
            }
        }
    }
    (Flow::Keep, 0)
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
