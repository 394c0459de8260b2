//! The native door: frames of protocol v1 in, requests to the broker, replies out.
//!
//! Reads top-down: [`Native::on_frame`](Service::on_frame) -> `dispatch` -> the broker ->
//! [`Native::on_turn`](Service::on_turn) -> `reply`. Questions that need no device are answered in
//! `describe`; consumer groups have `groups`.
//!
//! Invariants: a request gets one reply (none if one-way); a connection must say Hello first; a
//! malformed frame gets an error and a close.
//! Absent: other doors, sockets, what a request means.

mod calls;
mod describe;
mod groups;
mod refusal;
mod reply;
#[cfg(test)]
mod stage_tests;

use engine::broker::change_format::Alteration;
use engine::broker::{Answers, Broker, NewTopic};
use engine::index::keys::hash_of;
use engine::io::{Env, Nanos};
use engine::level::AckLevel;
use engine::limits::WAIT_MS_MAX;
use engine::shard::{Fetch, Lookup, Seek, Token};

use crate::server::{ConnId, Flow, FrameLen, Outbox, Service, Turn, TurnClock};
use crate::wire::limits::FRAME_BYTES_MAX;
use crate::wire::{
    self, ErrorCode, ListKind, Reply, ReplyHeader, Request, RequestHeader, Timings, decode_request,
    encode_reply, frame_length, peek_request,
};
use calls::{Call, Calls};
use refusal::Refusal;

/// What the node says of itself in a Hello.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Id of the data directory.
    pub node: [u8; 16],
    /// Name and version, for people.
    pub name: String,
}

/// A connection, as the door knows it.
#[derive(Clone, Copy, Debug, Default)]
struct Guest {
    generation: u32,
    greeted: bool,
}

/// The native protocol in front of one reactor's broker.
#[derive(Debug)]
pub struct Native<E: Env> {
    broker: Broker<E>,
    identity: Identity,
    calls: Calls,
    answers: Answers,
    guests: Vec<Guest>,
    gathered: Nanos,
    /// When this turn's answers were found, and how many of each operation there are.
    sending: reply::Sending,
    /// What holds the data directory for this process.
    _guard: Box<dyn std::any::Any>,
}

impl<E: Env> Native<E> {
    /// A door to `broker`; `guard` is kept for as long as the door lives.
    #[must_use]
    pub fn new(broker: Broker<E>, identity: Identity, guard: Box<dyn std::any::Any>) -> Self {
        Self {
            broker,
            identity,
            calls: Calls::default(),
            answers: Answers::default(),
            guests: Vec::new(),
            gathered: Nanos(0),
            sending: reply::Sending::default(),
            _guard: guard,
        }
    }

    /// Has this connection said Hello?
    fn guest(&mut self, conn: ConnId) -> Option<&mut Guest> {
        let guest = self.guests.get_mut(conn.slot as usize)?;
        (guest.generation == conn.generation).then_some(guest)
    }

    fn dispatch(
        &mut self,
        conn: ConnId,
        header: RequestHeader,
        request: &Request<'_>,
        out: &mut Outbox,
    ) -> Flow {
        match request {
            Request::Produce(produce) => self.produce(conn, header, produce),
            Request::Fetch(fetch) => self.fetch(conn, header, fetch),
            Request::TopicCreate(create) => self.create_topic(conn, header, create),
            Request::TopicDelete(name) => {
                let token = self.calls.insert(Call { conn, header });
                self.broker.delete_topic(name, token, self.gathered, &mut self.answers);
            }
            Request::TopicAlter(alter) => self.alter_topic(conn, header, alter),
            Request::OffsetCommit(commit) => self.commit_offsets(conn, header, commit),
            Request::ListOffsets(list) if list.kind == ListKind::ByTimestamp => {
                let token = self.calls.insert(Call { conn, header });
                let timestamp_ms = u64::try_from(list.timestamp_ms).unwrap_or(0);
                let seek = Seek { token, queue: 0, timestamp_ms };
                self.broker.seek((list.topic, list.queue), seek, &mut self.answers);
            }
            Request::Lookup(lookup) => self.look_up(conn, header, lookup),
            Request::Hello(hello) => return self.hello(conn, header, hello, out),
            question => self.describe(conn, header, question, out),
        }
        Flow::Keep
    }

    fn produce(&mut self, conn: ConnId, header: RequestHeader, produce: &wire::Produce<'_>) {
        // A one-way produce is acknowledged to nobody, whatever level it names; it still goes as
        // far as its topic's consumers wait for. All others are, also where the topic says `none`.
        let topic = || self.broker.catalog().topic(produce.topic).map(|topic| topic.ack);
        let ack = match (header.one_way, produce.ack.or_else(topic)) {
            (true, _) => Some(AckLevel::None),
            (false, Some(AckLevel::None)) => Some(AckLevel::Memory),
            (false, ack) => ack,
        };
        let token = if header.one_way {
            Token(u64::from(u32::MAX))
        } else {
            self.calls.insert(Call { conn, header })
        };
        let place = (produce.topic, produce.queue);
        let asked = (token, self.gathered);
        self.broker.produce(place, ack, produce.batch, asked, &mut self.answers);
    }

    fn fetch(&mut self, conn: ConnId, header: RequestHeader, fetch: &wire::Fetch) {
        let token = self.calls.insert(Call { conn, header });
        let request = Fetch {
            token,
            queue: 0,
            offset: fetch.offset,
            epoch: fetch.epoch,
            bytes_min: fetch.bytes_min,
            bytes_max: fetch.bytes_max,
            wait_nanos: u64::from(fetch.wait_max_ms.min(WAIT_MS_MAX)) * 1_000_000,
        };
        let place = (fetch.topic, fetch.queue);
        self.broker.fetch(place, request, self.gathered, &mut self.answers);
    }

    fn look_up(&mut self, conn: ConnId, header: RequestHeader, lookup: &wire::Lookup<'_>) {
        let token = self.calls.insert(Call { conn, header });
        let wire::Lookup { topic, queue, first, end, max, key } = *lookup;
        let hash = hash_of(key);
        let lookup = Lookup { token, queue: 0, hash, offsets: first..end, max };
        self.broker.look_up((topic, queue), lookup, &mut self.answers);
    }

    fn create_topic(
        &mut self,
        conn: ConnId,
        header: RequestHeader,
        create: &wire::TopicCreate<'_>,
    ) {
        let token = self.calls.insert(Call { conn, header });
        let topic = NewTopic {
            name: create.name,
            queues: create.queues,
            ack: create.ack.unwrap_or(AckLevel::Durable),
            deep: create.deep_validation,
            keyed: create.key_index,
            retention: create.retention,
        };
        self.broker.create_topic(&topic, token, self.gathered, &mut self.answers);
    }

    fn alter_topic(&mut self, conn: ConnId, header: RequestHeader, alter: &wire::TopicAlter<'_>) {
        let token = self.calls.insert(Call { conn, header });
        let wire::TopicAlter { name, ack, age_ms, bytes, key_index: keyed } = *alter;
        let alteration = Alteration { id: 0, ack, age_ms, bytes, keyed };
        let asked = (token, self.gathered);
        self.broker.alter_topic(name, alteration, asked, &mut self.answers);
    }

    fn hello(
        &mut self,
        conn: ConnId,
        header: RequestHeader,
        hello: &wire::Hello<'_>,
        out: &mut Outbox,
    ) -> Flow {
        let reply_header = header.reply(Timings::default());
        let Some(version) = wire::negotiate(hello.version_min, hello.version_max) else {
            let message = format!(
                "this node speaks version {}, the client {} to {}",
                wire::VERSION,
                hello.version_min,
                hello.version_max
            );
            let refusal = Refusal::new(ErrorCode::UnsupportedVersion, message);
            refuse(conn, wire::Operation::Hello.as_u8(), &reply_header, &refusal, out);
            return Flow::Close;
        };
        if let Some(guest) = self.guest(conn) {
            guest.greeted = true;
        }
        let shards = self.broker.shards().len() as u16;
        let shard = if hello.shard_wish < shards { hello.shard_wish } else { 0 };
        let reply = wire::HelloReply {
            version,
            shard,
            shards,
            frame_bytes_max: FRAME_BYTES_MAX,
            batch_bytes_max: self.broker.batch_bytes_max().min(wire::limits::BATCH_BYTES_MAX),
            fetch_bytes_max: engine::limits::FETCH_BYTES_MAX,
            node_id: self.identity.node,
            node: &self.identity.name,
        };
        if let Some(bytes) = out.bytes(conn) {
            encode_reply(bytes, &reply_header, &Reply::Hello(reply));
        }
        Flow::Keep
    }
}

/// Queues an error reply.
fn refuse(conn: ConnId, op: u8, header: &ReplyHeader, refusal: &Refusal, out: &mut Outbox) {
    let error = wire::ErrorReply {
        code: refusal.code,
        retry_after_ms: refusal.retry_after_ms,
        range_start: refusal.range.0,
        range_end: refusal.range.1,
        message: &refusal.message,
    };
    if let Some(bytes) = out.bytes(conn) {
        wire::encode_error(bytes, op, header, &error);
    }
}

impl<E: Env> Service for Native<E> {
    fn frame_len(&self, buffered: &[u8]) -> FrameLen {
        match frame_length(buffered, FRAME_BYTES_MAX) {
            Ok(Some(length)) => FrameLen::Frame(length),
            Ok(None) => FrameLen::Need(size_of::<u32>()),
            Err(error) => {
                // The stream cannot be followed any further, but who sent it can be told.
                let (op, correlation) = peek_request(buffered).unwrap_or((0, 0));
                let header = ReplyHeader { correlation, ..ReplyHeader::default() };
                let message = error.to_string();
                let reply = wire::ErrorReply::new(error.code(), &message);
                let mut bytes = Vec::new();
                wire::encode_error(&mut bytes, op, &header, &reply);
                FrameLen::Bad(bytes)
            }
        }
    }

    fn on_gathered(&mut self, now: Nanos) {
        self.gathered = now;
        self.calls.begin_turn(now);
    }

    fn on_open(&mut self, conn: ConnId) {
        let slot = conn.slot as usize;
        if slot >= self.guests.len() {
            self.guests.resize(slot + 1, Guest::default());
        }
        if let Some(guest) = self.guests.get_mut(slot) {
            *guest = Guest { generation: conn.generation, greeted: false };
        }
    }

    fn on_frame(&mut self, conn: ConnId, frame: &[u8], out: &mut Outbox) -> Flow {
        let (header, request) = match decode_request(frame) {
            Ok(decoded) => decoded,
            Err(error) => {
                let (op, correlation) = peek_request(frame).unwrap_or((0, 0));
                let header = ReplyHeader { correlation, ..ReplyHeader::default() };
                refuse(conn, op, &header, &Refusal::from(&error), out);
                // What is only unknown here leaves the stream intact.
                return if error.closes() { Flow::Close } else { Flow::Keep };
            }
        };
        let greeted = self.guest(conn).is_some_and(|guest| guest.greeted);
        if !greeted && !matches!(request, Request::Hello(_)) {
            let refusal = Refusal::new(ErrorCode::HelloRequired, "the first frame must be a Hello");
            let op = request.operation().as_u8();
            refuse(conn, op, &header.reply(Timings::default()), &refusal, out);
            return Flow::Close;
        }
        self.dispatch(conn, header, &request, out)
    }

    fn on_close(&mut self, _conn: ConnId) {}

    fn on_turn(&mut self, clock: TurnClock, out: &mut Outbox) -> Turn {
        let TurnClock { gathered, received } = clock;
        let clock = engine::shard::turn::TurnClock { gathered, received };
        let end = self.broker.turn(clock, &mut self.answers);
        self.sending.received = received;
        self.reply_all(gathered, out);
        Turn { more_work: false, durable_in_flight: end.durable_in_flight, wake_at: end.wake_at }
    }

    fn after_send(&mut self, sent: Nanos) {
        self.record_sent(sent);
    }

    fn is_congested(&self) -> bool {
        self.broker.is_congested()
    }

    fn drain(&mut self) {
        self.broker.stop(&mut self.answers);
    }

    fn is_drained(&self) -> bool {
        self.broker.is_quiet() && self.calls.is_empty()
    }
}
