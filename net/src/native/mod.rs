//! The native door: frames of protocol v1 in, requests to the broker, replies out.
//!
//! Reads top-down: [`Native::on_frame`](Service::on_frame) -> `dispatch` -> the broker ->
//! [`Native::on_turn`](Service::on_turn) -> `reply`. Questions that need no device are answered in
//! `describe`; consumer groups have `groups`. With several reactors: `route` (who answers), `post`
//! (between them), `gather` and `merge` (questions that all answer).
//!
//! Invariants: a request gets one reply (none if one-way); a connection must say Hello first; a
//! malformed frame gets an error and a close.
//! Absent: other doors, sockets, what a request means.

mod alarm;
mod caller;
mod calls;
mod describe;
#[cfg(test)]
mod detour_tests;
mod end;
mod gather;
mod given;
mod groups;
mod leavers;
mod merge;
mod meter;
mod post;
mod refusal;
mod reply;
mod route;
#[cfg(test)]
mod stage_tests;

use std::collections::VecDeque;

use engine::broker::change_format::Alteration;
use engine::broker::{Answers, Broker, NewTopic, TopicAnswer};
use engine::index::keys::hash_of;
use engine::io::{Env, Errno, Nanos};
use engine::level::AckLevel;
use engine::limits::WAIT_MS_MAX;
use engine::shard::{Fetch, Lookup, Seek, Token};

use crate::server::{
    ACCEPTOR, ConnId, Flow, FrameLen, Outbox, Refused, Service, Standing, Turn, TurnClock, Visits,
};
use crate::wire::limits::FRAME_BYTES_MAX;
use crate::wire::{
    self, ErrorCode, Hello, HelloReply, ListKind, Reply, ReplyHeader, Request, RequestHeader,
    Timings, decode_request, encode_reply, frame_length, peek_request,
};
pub use alarm::Alarm;
use caller::{Caller, Out};
use calls::{Call, Calls};
pub use meter::{Meter, Metered};
pub use post::Post;
use refusal::Refusal;

/// What a shard says that was closed because its directory is gone.
const ENOENT: Errno = Errno(2);

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
    /// Its requests that are not answered.
    calls: u32,
    /// What those to other reactors cost.
    asked_cost: u32,
}

/// The native protocol in front of one reactor's broker.
#[derive(Debug)]
pub struct Native<E: Env> {
    desk: Desk<E>,
    post: Post,
}

/// All of it but the ways out.
#[derive(Debug)]
struct Desk<E: Env> {
    broker: Broker<E>,
    identity: Identity,
    calls: Calls,
    answers: Answers,
    guests: Vec<Guest>,
    gathered: Nanos,
    visits: Visits,
    /// When this turn's answers were found, and how many of each operation there are.
    sending: reply::Sending,
    /// What went out of each topic.
    given: given::Given,
    /// Questions that several reactors answer.
    gathers: gather::Gathers,
    /// Connections that have closed while they waited.
    leavers: leavers::Leavers,
    /// Requests of other reactors that are not looked at yet.
    bundles: VecDeque<post::Bundle>,
    /// Answers to topic requests that wait until so many changes are known everywhere.
    topics: VecDeque<(u64, TopicAnswer)>,
    /// The reactor that the next connection without a wish goes to.
    next_any: usize,
    draining: bool,
    /// Requests of this turn that are answered at its end.
    answerable: usize,
    alarm: Alarm,
    /// One for each shard, in their order.
    meters: Vec<Meter>,
    /// Its loss was noticed here.
    condemned: bool,
    /// It drains, and not all of it is on stable media yet.
    flushing: bool,
    /// What holds the data directory for this process.
    _guard: Box<dyn std::any::Any>,
}

impl<E: Env> Native<E> {
    /// A door to `broker`, whose shards' devices the meters measure; `guard` is kept for as long as
    /// the door lives.
    #[must_use]
    pub fn new(
        broker: Broker<E>,
        identity: Identity,
        (post, alarm, meters): (Post, Alarm, Vec<Meter>),
        guard: Box<dyn std::any::Any>,
    ) -> Self {
        let desk = Desk {
            broker,
            identity,
            calls: Calls::default(),
            answers: Answers::default(),
            guests: Vec::new(),
            gathered: Nanos(0),
            visits: Visits::default(),
            sending: reply::Sending::default(),
            given: given::Given::default(),
            gathers: gather::Gathers::default(),
            leavers: leavers::Leavers::default(),
            bundles: VecDeque::new(),
            topics: VecDeque::new(),
            next_any: 0,
            draining: false,
            answerable: 0,
            alarm,
            meters,
            condemned: false,
            flushing: false,
            _guard: guard,
        };
        Self { desk, post }
    }
}

impl<E: Env> Desk<E> {
    /// Has this connection said Hello?
    fn guest(&mut self, conn: ConnId) -> Option<&mut Guest> {
        let guest = self.guests.get_mut(conn.slot as usize)?;
        (guest.generation == conn.generation).then_some(guest)
    }

    /// A request begins to wait for the engine.
    fn wait(&mut self, caller: Caller, header: RequestHeader) -> Token {
        self.wait_for(caller, header, 0)
    }

    /// A request about a topic begins to wait for the engine.
    fn wait_for(&mut self, caller: Caller, header: RequestHeader, topic: u32) -> Token {
        if let Caller::Guest(conn) = caller
            && let Some(guest) = self.guest(conn)
        {
            guest.calls += 1;
        }
        self.calls.insert(Call { caller, header, topic })
    }

    /// The engine has answered.
    fn answered(&mut self, token: Token) -> Option<Call> {
        let call = self.calls.take(token)?;
        if let Caller::Guest(conn) = call.caller
            && let Some(guest) = self.guest(conn)
        {
            guest.calls = guest.calls.saturating_sub(1);
        }
        Some(call)
    }

    /// Answers a request for what is owned here.
    fn dispatch(
        &mut self,
        caller: Caller,
        header: RequestHeader,
        request: &Request<'_>,
        out: &mut Out<'_>,
    ) {
        match request {
            Request::Produce(produce) => self.produce(caller, header, produce),
            Request::Fetch(fetch) => self.fetch(caller, header, fetch),
            Request::TopicCreate(create) => self.create_topic(caller, header, create),
            Request::TopicDelete(name) => {
                let token = self.wait(caller, header);
                self.broker.delete_topic(name, token, self.gathered, &mut self.answers);
            }
            Request::TopicAlter(alter) => self.alter_topic(caller, header, alter),
            Request::OffsetCommit(commit) => self.commit_offsets(caller, header, commit),
            Request::ListOffsets(list) if list.kind == ListKind::ByTimestamp => {
                let token = self.wait(caller, header);
                let timestamp_ms = u64::try_from(list.timestamp_ms).unwrap_or(0);
                let seek = Seek { token, queue: 0, timestamp_ms };
                self.broker.seek((list.topic, list.queue), seek, &mut self.answers);
            }
            Request::Lookup(lookup) => self.look_up(caller, header, lookup),
            question => self.describe(caller, header, question, out),
        }
    }

    fn produce(&mut self, caller: Caller, header: RequestHeader, produce: &wire::Produce<'_>) {
        // A one-way produce is acknowledged to nobody, whatever level it names; it still goes as
        // far as its topic's consumers wait for. All others are, also where the topic says `none`.
        let topic = || self.broker.catalog().topic(produce.topic).map(|topic| topic.ack);
        let ack = match (header.one_way, produce.ack.or_else(topic)) {
            (true, _) => Some(AckLevel::None),
            (false, Some(AckLevel::None)) => Some(AckLevel::Memory),
            (false, ack) => ack,
        };
        let token =
            if header.one_way { Token(u64::from(u32::MAX)) } else { self.wait(caller, header) };
        let place = (produce.topic, produce.queue);
        let asked = (token, self.gathered);
        self.broker.produce(place, ack, produce.batch, asked, &mut self.answers);
        self.answerable += usize::from(ack == Some(AckLevel::Memory));
    }

    fn fetch(&mut self, caller: Caller, header: RequestHeader, fetch: &wire::Fetch) {
        let token = self.wait_for(caller, header, fetch.topic);
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

    fn look_up(&mut self, caller: Caller, header: RequestHeader, lookup: &wire::Lookup<'_>) {
        let token = self.wait(caller, header);
        let wire::Lookup { topic, queue, first, end, max, key } = *lookup;
        let hash = hash_of(key);
        let lookup = Lookup { token, queue: 0, hash, offsets: first..end, max };
        self.broker.look_up((topic, queue), lookup, &mut self.answers);
    }

    fn create_topic(
        &mut self,
        caller: Caller,
        header: RequestHeader,
        create: &wire::TopicCreate<'_>,
    ) {
        let token = self.wait(caller, header);
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

    fn alter_topic(&mut self, caller: Caller, header: RequestHeader, alter: &wire::TopicAlter<'_>) {
        let token = self.wait(caller, header);
        let wire::TopicAlter { name, ack, age_ms, bytes, key_index: keyed } = *alter;
        let alteration = Alteration { id: 0, ack, age_ms, bytes, keyed };
        let asked = (token, self.gathered);
        self.broker.alter_topic(name, alteration, asked, &mut self.answers);
    }

    fn hello(
        &mut self,
        conn: ConnId,
        header: RequestHeader,
        hello: &Hello<'_>,
        out: &mut Out<'_>,
    ) -> Flow {
        let caller = Caller::Guest(conn);
        let reply_header = header.reply(Timings::default());
        let Some(version) = wire::negotiate(hello.version_min, hello.version_max) else {
            let message = format!(
                "this node speaks version {}, the client {} to {}",
                wire::VERSION,
                hello.version_min,
                hello.version_max
            );
            let refusal = Refusal::new(ErrorCode::UnsupportedVersion, message);
            out.refuse(caller, wire::Operation::Hello.as_u8(), &reply_header, &refusal);
            return Flow::Close;
        };
        let shards = self.broker.shards_total();
        if let Some(to) = self.home_of(conn, hello.shard_wish, out.post) {
            return Flow::HandOver(to);
        }
        if let Some(guest) = self.guest(conn) {
            guest.greeted = true;
        }
        let own = self.broker.shard_numbers();
        let wished = own.contains(&hello.shard_wish).then_some(hello.shard_wish);
        let shard = wished.or(own.first().copied()).unwrap_or(0);
        let reply = HelloReply {
            version,
            shard,
            shards,
            frame_bytes_max: FRAME_BYTES_MAX,
            batch_bytes_max: self.broker.batch_bytes_max().min(wire::limits::BATCH_BYTES_MAX),
            fetch_bytes_max: engine::limits::FETCH_BYTES_MAX,
            node_id: self.identity.node,
            node: &self.identity.name,
        };
        out.reply(caller, |bytes| encode_reply(bytes, &reply_header, &Reply::Hello(reply)));
        Flow::Keep
    }

    /// The reactor a new connection belongs to, if it is another one: the one of the shard it
    /// wishes for, or, without a wish, each in turn. Only the reactor that accepts decides.
    fn home_of(&mut self, conn: ConnId, wish: u16, post: &Post) -> Option<usize> {
        let is_new = self.guest(conn).is_some_and(|guest| !guest.greeted);
        if !is_new || post.is_alone() || post.me() != ACCEPTOR {
            return None;
        }
        let home = if wish < self.broker.shards_total() {
            post.owner(wish)
        } else {
            self.next_any = (self.next_any + 1) % post.reactors();
            self.next_any
        };
        (home != post.me()).then_some(home)
    }

    fn on_frame(&mut self, conn: ConnId, frame: &[u8], out: &mut Out<'_>) -> Flow {
        let caller = Caller::Guest(conn);
        let (header, request) = match decode_request(frame) {
            Ok(decoded) => decoded,
            Err(error) => {
                let (op, correlation) = peek_request(frame).unwrap_or((0, 0));
                let header = ReplyHeader { correlation, ..ReplyHeader::default() };
                out.refuse(caller, op, &header, &Refusal::from(&error));
                // What is only unknown here leaves the stream intact.
                return if error.closes() { Flow::Close } else { Flow::Keep };
            }
        };
        if let Request::Hello(hello) = request {
            return self.hello(conn, header, &hello, out);
        }
        if !self.guest(conn).is_some_and(|guest| guest.greeted) {
            let refusal = Refusal::new(ErrorCode::HelloRequired, "the first frame must be a Hello");
            let op = request.operation().as_u8();
            out.refuse(caller, op, &header.reply(Timings::default()), &refusal);
            return Flow::Close;
        }
        if !self.pass_on(conn, header, (&request, frame), out) {
            self.dispatch(caller, header, &request, out);
        }
        Flow::Keep
    }

    fn on_turn(&mut self, clock: TurnClock, out: &mut Out<'_>) -> Turn {
        if self.alarm.is_lost() && !std::mem::replace(&mut self.condemned, true) {
            self.broker.condemn(ENOENT, &mut self.answers);
        }
        self.open_post(out);
        let TurnClock { gathered, received } = clock;
        let turn = engine::shard::turn::TurnClock { gathered, received };
        let end = self.broker.turn(turn, &mut self.answers);
        self.answerable = 0;
        self.meters.iter().for_each(|meter| meter.turned(clock));
        self.note_end();
        // Behind the engine's turn: what they asked for last is parked by now.
        let released = self.release(received).then_some(received);
        self.sending.received = received;
        self.reply_all(gathered, out);
        self.take_own_parts(out);
        if self.draining && !out.post.is_waiting() && self.gathers.is_empty() {
            out.post.finish();
        }
        let retry = out.post.send(received, out.outbox.unsent_total() > route::UNSENT_BYTES_MAX);
        let wake_at = end
            .wake_at
            .into_iter()
            .chain(retry)
            .chain(released)
            .chain(self.leavers.sweep_at())
            .min();
        Turn { more_work: false, durable_in_flight: end.durable_in_flight, wake_at }
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

    fn on_gathered(&mut self, now: Nanos, visits: &Visits) {
        self.desk.gathered = now;
        self.desk.visits = *visits;
        self.desk.calls.begin_turn(now);
    }

    fn on_open(&mut self, conn: ConnId) {
        let guests = &mut self.desk.guests;
        let slot = conn.slot as usize;
        if slot >= guests.len() {
            guests.resize(slot + 1, Guest::default());
        }
        if let Some(guest) = guests.get_mut(slot) {
            *guest = Guest { generation: conn.generation, ..Guest::default() };
        }
    }

    fn on_frame(&mut self, conn: ConnId, frame: &[u8], out: &mut Outbox) -> Flow {
        self.desk.on_frame(conn, frame, &mut Out { outbox: out, post: &mut self.post })
    }

    fn on_close(&mut self, conn: ConnId) {
        self.desk.left(conn, &mut self.post);
    }

    fn on_turn(&mut self, clock: TurnClock, out: &mut Outbox) -> Turn {
        self.desk.on_turn(clock, &mut Out { outbox: out, post: &mut self.post })
    }

    fn after_send(&mut self, sent: Nanos) {
        self.desk.record_sent(sent);
    }

    fn refusal(&self, why: Refused) -> Vec<u8> {
        let message = match why {
            Refused::Node { connections_max } => {
                format!("the node has {connections_max} connections, and takes no more")
            }
            Refused::Address { address, connections_max } => {
                format!("{address} has {connections_max} connections here, and gets no more")
            }
        };
        let refusal = Refusal::too_many_connections(message);
        let mut bytes = Vec::new();
        let op = wire::Operation::Hello.as_u8();
        wire::encode_error(&mut bytes, op, &ReplyHeader::default(), &refusal.reply());
        bytes
    }

    fn standing(&self, conn: ConnId) -> Standing {
        let guest = self.desk.guests.get(conn.slot as usize);
        match guest.filter(|guest| guest.generation == conn.generation) {
            Some(guest) if guest.calls > 0 => Standing::Busy,
            Some(guest) if guest.greeted => Standing::Idle,
            _ => Standing::New,
        }
    }

    fn may_read(&self, conn: ConnId) -> bool {
        let guest = self.desk.guests.get(conn.slot as usize);
        guest.is_none_or(|guest| guest.asked_cost < route::GUEST_COST_MAX)
    }

    fn answerable(&self) -> usize {
        self.desk.answerable
    }

    fn is_congested(&self) -> bool {
        self.desk.broker.is_congested()
    }

    fn drain(&mut self) {
        self.desk.drain();
    }

    fn is_drained(&self) -> bool {
        let desk = &self.desk;
        let is_quiet = desk.broker.is_quiet() && desk.calls.is_empty();
        is_quiet && desk.bundles.is_empty() && self.post.is_finished()
    }
}
