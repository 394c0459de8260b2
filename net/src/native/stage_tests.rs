//! What a client is told of where its request's time went, and what the statistics say.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use engine::batch::{NewRecord, append_single};
use engine::io::sim::{Config, SimEnv};
use engine::log::recover::OpenOptions;
use engine::log::writer::WriterOptions;
use engine::shard::retention::Retention;
use engine::stage::Stage;
use hdrhistogram::serialization::Deserializer;

use super::*;
use crate::wire::decode_reply;

pub(super) const CONN: ConnId = ConnId { slot: 0, generation: 1 };
/// How long receive passes take here, and sending.
const PASS_NANOS: u32 = 7_000;
const SEND_NANOS: u32 = 3_000;

pub(super) fn options() -> OpenOptions {
    OpenOptions {
        shard: 0,
        node: [1; 16],
        segment_bytes: 1 << 20,
        writer: WriterOptions::default(),
        retention: Retention::default(),
    }
}

/// A door with one guest, on a simulated machine.
pub(super) struct Door {
    pub(super) native: Native<SimEnv>,
    out: Outbox,
    near: OwnedFd,
    far: UnixStream,
}

impl Door {
    pub(super) fn open() -> Self {
        let env = SimEnv::new(Config::default(), 1);
        Self::before(Broker::open([env], &options()).unwrap(), Post::alone())
    }

    /// In front of this broker, and among those the post goes to.
    pub(super) fn before(broker: Broker<SimEnv>, post: Post) -> Self {
        let identity = Identity { node: [1; 16], name: "test".to_owned() };
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        let native =
            Native::new(broker, identity, (post, Alarm::default(), Vec::new()), Box::new(()));
        let mut door = Self { native, out: Outbox::default(), near: near.into(), far };
        door.out.open(CONN);
        door.native.on_open(CONN);
        let hello = wire::Hello { version_min: 1, version_max: 1, shard_wish: 0, client: "t" };
        door.turn(&[Request::Hello(hello)]);
        door
    }

    pub(super) fn env(&mut self) -> &mut SimEnv {
        self.native.desk.broker.shards()[0].env()
    }

    /// One turn, as the pump makes it; the frames of its replies.
    pub(super) fn turn(&mut self, requests: &[Request<'_>]) -> Vec<Vec<u8>> {
        let gathered = self.env().now();
        self.native.on_gathered(gathered, &Visits::default());
        for request in requests {
            let header = RequestHeader { timings: true, ..RequestHeader::default() };
            let mut frame = Vec::new();
            wire::encode_request(&mut frame, &header, request).unwrap();
            assert_eq!(self.native.on_frame(CONN, &frame, &mut self.out), Flow::Keep);
        }
        self.env().advance(PASS_NANOS.into());
        let received = self.env().now();
        self.native.on_turn(TurnClock { gathered, received }, &mut self.out);
        self.out.flush(CONN, &self.near);
        self.env().advance(SEND_NANOS.into());
        let sent = self.env().now();
        self.native.after_send(sent);
        self.replies()
    }

    /// Turns until there are replies.
    pub(super) fn answer(&mut self) -> Vec<Vec<u8>> {
        loop {
            assert!(self.env().advance_to_next(), "nothing will ever be answered");
            let replies = self.turn(&[]);
            if !replies.is_empty() {
                return replies;
            }
        }
    }

    fn replies(&mut self) -> Vec<Vec<u8>> {
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(n @ 1..) = self.far.read(&mut buffer) {
            all.extend_from_slice(&buffer[..n]);
        }
        let mut frames = Vec::new();
        while let Some(length) = frame_length(&all, 1 << 20).unwrap() {
            frames.push(all.drain(..length).collect());
        }
        frames
    }

    /// Count and longest time of each stage that was recorded of an operation.
    fn recorded(&mut self, operation: wire::Operation) -> Vec<(Stage, u64, u64)> {
        let replies = self.turn(&[Request::Stats { per_shard: false }]);
        let Reply::Stats(stats) = decode_reply(&replies[0]).unwrap().1 else { panic!() };
        let of_operation = stats.histograms.iter().filter(|part| part.op == operation.as_u8());
        let stage = |part: &wire::HistogramPart<'_>| {
            let histogram = Deserializer::new().deserialize::<u64, _>(&mut &*part.encoded);
            let histogram = histogram.unwrap();
            (Stage::from_u8(part.stage).unwrap(), histogram.len(), histogram.max())
        };
        of_operation.map(stage).collect()
    }
}

/// A topic of one queue whose consumers wait for `ack`.
pub(super) fn create(door: &mut Door, ack: AckLevel) -> u32 {
    let create = wire::TopicCreate {
        name: "t",
        queues: 1,
        ack: Some(ack),
        deep_validation: false,
        key_index: false,
        retention: Default::default(),
    };
    door.turn(&[Request::TopicCreate(create)]);
    let replies = door.answer();
    let Reply::TopicCreate(topic) = decode_reply(&replies[0]).unwrap().1 else { panic!() };
    topic
}

pub(super) fn batch() -> Vec<u8> {
    let mut batch = Vec::new();
    let record = NewRecord { value: Some(b"message"), ..NewRecord::default() };
    append_single(&mut batch, &record, 1 << 20).unwrap();
    batch
}

fn fetch(topic: u32, wait_max_ms: u32) -> Request<'static> {
    let (bytes_max, bytes_min) = (1 << 20, 1);
    let (queue, epoch, offset) = (0, 0, 0);
    Request::Fetch(wire::Fetch { topic, queue, epoch, offset, bytes_max, bytes_min, wait_max_ms })
}

/// The reply's own timings.
fn timings(reply: &[u8]) -> Timings {
    decode_reply(reply).unwrap().0.timings.unwrap()
}

/// The one entry of `recorded`, which must be as long as this (histograms keep two digits).
fn is_recorded(recorded: &[(Stage, u64, u64)], stage: Stage, count: u64, nanos: u64) {
    let of_stage: Vec<_> = recorded.iter().filter(|(at, ..)| *at == stage).collect();
    let [(_, counted, longest)] = of_stage[..] else { panic!("{stage:?}: {recorded:?}") };
    assert_eq!(*counted, count, "{stage:?}");
    assert!(longest.abs_diff(nanos) <= nanos / 50 + 1, "{stage:?}: {longest}, not {nanos}");
}

/// The stages of requests that are answered in their own turn follow each other: what was parse is
/// not send as well.
#[test]
fn a_request_answered_at_once_is_parsed_and_sent() {
    let mut door = Door::open();
    let topic = create(&mut door, AckLevel::Memory);
    let batch = batch();
    let produce = wire::Produce { topic, queue: 0, ack: None, batch: &batch };
    let replies = door.turn(&[Request::Produce(produce), fetch(topic, 0)]);
    assert_eq!(replies.len(), 2);
    for reply in &replies {
        let expected = Timings { parse_ns: PASS_NANOS, ..Timings::default() };
        assert_eq!(timings(reply), expected);
    }
    if cfg!(feature = "histograms") {
        let fetches = door.recorded(wire::Operation::Fetch);
        is_recorded(&fetches, Stage::Parse, 1, PASS_NANOS.into());
        is_recorded(&fetches, Stage::Total, 1, PASS_NANOS.into());
        is_recorded(&fetches, Stage::Send, 1, SEND_NANOS.into());
    }
}

/// What was found at the beginning of a turn waits for that turn's receive pass before it is sent.
#[test]
fn a_parked_fetch_is_parsed_waits_and_is_sent() {
    let mut door = Door::open();
    let topic = create(&mut door, AckLevel::Durable);
    let asked = door.env().now();
    assert!(door.turn(&[fetch(topic, 10_000)]).is_empty());
    let batch = batch();
    let produce = wire::Produce { topic, queue: 0, ack: None, batch: &batch };
    assert!(door.turn(&[Request::Produce(produce)]).is_empty());
    let replies = door.answer();
    assert_eq!(replies.len(), 2);
    let found = door.env().now().since(asked) - u64::from(PASS_NANOS + SEND_NANOS);
    let fetched = replies.iter().find(|reply| {
        matches!(decode_reply(reply), Ok((_, Reply::Fetch(fetched))) if !fetched.entries.is_empty())
    });
    let told = timings(fetched.expect("the entries"));
    assert_eq!((told.parse_ns, told.send_ns), (PASS_NANOS, PASS_NANOS));
    assert_eq!(u64::from(told.flush_wait_ns), found - u64::from(PASS_NANOS));
    if cfg!(feature = "histograms") {
        let fetches = door.recorded(wire::Operation::Fetch);
        is_recorded(&fetches, Stage::Parse, 1, PASS_NANOS.into());
        is_recorded(&fetches, Stage::Total, 1, found);
        is_recorded(&fetches, Stage::Send, 1, u64::from(PASS_NANOS + SEND_NANOS));
        let produces = door.recorded(wire::Operation::Produce);
        is_recorded(&produces, Stage::Send, 1, u64::from(PASS_NANOS + SEND_NANOS));
    }
}
