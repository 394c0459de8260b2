//! What a reactor serves: a synchronous state machine behind framed connections.
//!
//! Order of calls within one turn: [`Service::on_gathered`], then any number of [`Service::on_open`], [`Service::on_frame`] and
//! [`Service::on_close`], then one [`Service::on_turn`], then (after the writes it submitted went
//! to the device and the replies to the sockets) one [`Service::after_send`].
//! Absent: async, threads, sockets, knowledge of any protocol.

use engine::io::Nanos;

use super::{Outbox, Refused};

/// A connection of this reactor. Never reused ambiguously: a slot's next guest has another
/// generation, and whatever is sent to a guest who left goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// Index into the reactor's tables.
    pub slot: u32,
    /// Counts the guests of the slot.
    pub generation: u32,
}

/// What the bytes at the front of a connection's input are.
#[derive(Debug, PartialEq, Eq)]
pub enum FrameLen {
    /// Not enough to tell: ask again with at least so many bytes.
    Need(usize),
    /// A frame of so many bytes, of which some may still be missing. The service must have
    /// checked it against its limit: this much memory is reserved.
    Frame(usize),
    /// No frame: send these bytes and close.
    Bad(Vec<u8>),
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on reading.
    Keep,
    /// Read no more, send what is queued, close.
    Close,
    /// The connection belongs to this other reactor: it goes there with the frame just lent, which
    /// its service gets again, and everything behind it. Nothing may be queued for it here.
    HandOver(usize),
}

/// The clock reads of a turn: one per stage, shared by everything in the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnClock {
    /// Readiness and completions were gathered.
    pub gathered: Nanos,
    /// All frames of the turn were received and handed to the service.
    pub received: Nanos,
}

/// What a service wants after its turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Call again without waiting.
    pub more_work: bool,
    /// A client waits for a write on the device: do not pay a wake-up for its completion.
    pub durable_in_flight: bool,
    /// Call again at this time, even if nothing happens.
    pub wake_at: Option<Nanos>,
}

/// How a connection stands with the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not said who it is.
    New,
    /// It waits for nothing.
    Idle,
    /// It waits for an answer.
    Busy,
}

/// Connections of a reactor, counted, and the time of its pump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Visits {
    /// Here now.
    pub open: u64,
    /// Accepted so far, by the reactor that accepts.
    pub accepted: u64,
    /// Refused for a limit of connections, or because the process was out of descriptors.
    pub refused: u64,
    /// Closed because a deadline has passed.
    pub cut: u64,
    /// Turns of the pump so far.
    pub turns: u64,
    /// Nanoseconds in these turns: working, not looking for work or sleeping.
    pub busy_nanos: u64,
}

/// The synchronous heart of a reactor.
pub trait Service {
    /// Looks at the front of a connection's input, without keeping anything.
    fn frame_len(&self, buffered: &[u8]) -> FrameLen;

    /// A turn begins: readiness and completions were gathered at `now`.
    fn on_gathered(&mut self, _now: Nanos, _visits: &Visits) {}

    /// What a connection that is refused is told.
    fn refusal(&self, _why: Refused) -> Vec<u8> {
        Vec::new()
    }

    /// How a connection stands: deadlines depend on it.
    fn standing(&self, _conn: ConnId) -> Standing {
        Standing::Idle
    }

    /// A connection was accepted.
    fn on_open(&mut self, conn: ConnId);

    /// A whole frame; the bytes are only lent.
    fn on_frame(&mut self, conn: ConnId, frame: &[u8], out: &mut Outbox) -> Flow;

    /// The connection is gone; replies to it go nowhere.
    fn on_close(&mut self, conn: ConnId);

    /// Everything that arrived was handed over: drain disk completions, cut groups, submit
    /// writes, queue replies.
    fn on_turn(&mut self, clock: TurnClock, out: &mut Outbox) -> Turn;

    /// The turn's replies were handed to the sockets.
    fn after_send(&mut self, sent: Nanos);

    /// Whether to read from this connection now. If not, it is asked again when something was
    /// queued for it, or its output was looked at ([`Outbox::bytes`]).
    fn may_read(&self, _conn: ConnId) -> bool {
        true
    }

    /// Requests of this turn that will be answered at its end. When they are many, and of the only
    /// connection that is to be read, the turn ends before the rest of its input is looked at: its peer
    /// is awake, and at work on the next requests, while this reactor works on the rest.
    fn answerable(&self) -> usize {
        0
    }

    /// Whether to leave input in the sockets until a completion makes room.
    fn is_congested(&self) -> bool {
        false
    }

    /// The reactor stops: accept nothing new, finish what was begun.
    fn drain(&mut self);

    /// Whether everything begun is finished (asked after every turn once draining).
    fn is_drained(&self) -> bool;
}
