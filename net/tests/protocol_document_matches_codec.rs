//! Every block of hex in `PROTOCOL.md` is what the codec writes, and is read back as what it says.

#![allow(clippy::unwrap_used)]

use std::borrow::Cow;
use std::collections::BTreeMap;

use engine::batch::{BatchRef, NewRecord, append_single};
use net::wire::*;

const DOCUMENT: &str = include_str!("../PROTOCOL.md");

/// The blocks that begin with "```hex NAME"; what follows a `;` is comment.
fn examples() -> BTreeMap<&'static str, Vec<u8>> {
    let blocks = DOCUMENT.split("```hex ").skip(1);
    let block = |text: &'static str| {
        let (name, rest) = text.split_once('\n').unwrap();
        let (hex, _) = rest.split_once("```").unwrap();
        let bytes = hex.lines().filter_map(|line| line.split(';').next()).flat_map(|line| {
            line.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap())
        });
        (name.trim(), bytes.collect())
    };
    let count = DOCUMENT.matches("```hex ").count();
    let examples: BTreeMap<_, _> = blocks.map(block).collect();
    assert_eq!(examples.len(), count, "two examples have the same name");
    examples
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x} ")).collect()
}

fn batch() -> Vec<u8> {
    let (mut out, timestamp_ms) = (vec![], 1_700_000_000_000);
    let record = NewRecord { timestamp_ms, value: Some(b"hi"), ..NewRecord::default() };
    append_single(&mut out, &record, limits::BATCH_BYTES_MAX).unwrap();
    out
}

fn request_header(op: Operation) -> RequestHeader {
    let ping = op == Operation::Ping;
    RequestHeader {
        correlation: u32::from(op.as_u8()),
        timings: ping,
        one_way: false,
        sent_at: ping.then_some(12345),
    }
}

fn requests<'a>(batch: &'a [u8], buffers: &'a mut [Vec<u8>; 3]) -> Vec<Request<'a>> {
    let [names, offsets, places] = buffers;
    let kept = NewOffset { topic: 7, queue: 1, offset: Some(1000), epoch: 3, metadata: "hi" };
    let forgotten = NewOffset { queue: 2, offset: None, epoch: 0, metadata: "", ..kept };
    let offsets = Offsets::encode(&[kept, forgotten], offsets).unwrap();
    let places = Places::encode(&[(7, 1), (8, 0)], places).unwrap();
    vec![
        Request::Hello(Hello {
            version_min: 1,
            version_max: 1,
            shard_wish: SHARD_ANY,
            client: "demo",
        }),
        Request::Ping(b"hi"),
        Request::Metadata(Names::encode(&["orders", ""], names).unwrap()),
        Request::TopicCreate(TopicCreate {
            name: "orders",
            queues: 2,
            ack: None,
            deep_validation: true,
            key_index: false,
            retention: Retention::default(),
        }),
        Request::TopicDelete("orders"),
        Request::TopicList,
        Request::TopicDescribe("orders"),
        Request::Produce(Produce { topic: 7, queue: 1, ack: Some(AckLevel::Durable), batch }),
        Request::Fetch(Fetch {
            topic: 7,
            queue: 1,
            epoch: 3,
            offset: 1000,
            bytes_max: 1 << 20,
            bytes_min: 1,
            wait_max_ms: 500,
        }),
        Request::ListOffsets(ListOffsets {
            topic: 7,
            queue: 1,
            kind: ListKind::ByTimestamp,
            timestamp_ms: 1_700_000_000_000,
        }),
        Request::Stats { per_shard: false },
        Request::OffsetCommit(OffsetCommit { group: "billing", ack: None, offsets }),
        Request::OffsetFetch(OffsetFetch { group: "billing", places }),
        Request::GroupList,
        Request::InitProducerId,
        Request::TopicAlter(TopicAlter {
            name: "orders",
            ack: None,
            age_ms: Some(None),
            bytes: Some(Some(1 << 30)),
            key_index: None,
        }),
        Request::Lookup(Lookup {
            topic: 7,
            queue: 1,
            first: 0,
            end: u64::MAX,
            max: 16,
            key: b"order-7",
        }),
    ]
}

fn admin_replies() -> Vec<(&'static str, Reply<'static>)> {
    let orders = TopicMetadata {
        error: None,
        topic: 7,
        ack: AckLevel::Durable,
        name: "orders",
        shards: Cow::Borrowed(&[0, 1]),
    };
    let unknown = TopicMetadata {
        error: Some(ErrorCode::UnknownTopic),
        topic: 0,
        ack: AckLevel::None,
        name: "",
        shards: Cow::Borrowed(&[]),
    };
    let queue =
        QueueDescription { queue: 0, shard: 2, start: 10, end: 1002, visible: 1001, bytes: 65536 };
    let summary = TopicSummary { topic: 7, queues: 2, ack: AckLevel::Durable, name: "orders" };
    let offsets = Cow::Borrowed(&[999, 12][..]);
    let found = LookupReply { reached: 10, log_start: 10, visible: 1001, offsets };
    vec![
        ("metadata.reply", Reply::Metadata(vec![orders, unknown])),
        ("topic_create.reply", Reply::TopicCreate(7)),
        ("topic_delete.reply", Reply::TopicDelete),
        ("topic_alter.reply", Reply::TopicAlter),
        ("lookup.reply", Reply::Lookup(found)),
        ("topic_list.reply", Reply::TopicList(vec![summary])),
        (
            "topic_describe.reply",
            Reply::TopicDescribe(TopicDescription {
                topic: 7,
                ack: AckLevel::Durable,
                deep_validation: true,
                key_index: false,
                retention: Retention { age_ms: Some(86_400_000), bytes: None },
                fetched_records: 2000,
                fetched_bytes: 131_072,
                name: "orders",
                queues: vec![queue],
            }),
        ),
    ]
}

fn other_replies(entries: &[u8]) -> Vec<(&'static str, Reply<'_>)> {
    let error = ErrorReply {
        code: ErrorCode::OffsetOutOfRange,
        retry_after_ms: 0,
        range_start: 100,
        range_end: 200,
        message: "before the log",
    };
    let hello = HelloReply {
        version: VERSION,
        shard: 2,
        shards: 4,
        frame_bytes_max: limits::FRAME_BYTES_MAX,
        batch_bytes_max: limits::BATCH_BYTES_MAX,
        fetch_bytes_max: limits::FETCH_BYTES_MAX,
        node_id: std::array::from_fn(|at| 0xA0 + at as u8),
        node: "umq/0.1",
    };
    let total = HistogramPart {
        op: Operation::Produce.as_u8(),
        stage: Stage::Total.as_u8(),
        shard: SHARD_ANY,
        encoded: Cow::Borrowed(&[0x1c, 0x84, 0x93, 0x13]),
    };
    let counter = Counter { name: Cow::Borrowed("produce"), shard: SHARD_ANY, value: 42 };
    let offset = OffsetReply { offset: 1000, timestamp_ms: -1 };
    vec![
        ("error.reply", Reply::Error { op: Operation::Fetch.as_u8(), error }),
        ("hello.reply", Reply::Hello(hello)),
        ("ping.reply", Reply::Ping(b"hi")),
        ("produce.reply", Reply::Produce(1000)),
        ("fetch.reply", Reply::Fetch(FetchReply { log_start: 10, visible: 1001, entries })),
        ("list_offsets.reply", Reply::ListOffsets(offset)),
        (
            "stats.reply",
            Reply::Stats(StatsReply { histograms: vec![total], counters: vec![counter] }),
        ),
    ]
}

fn group_replies() -> Vec<(&'static str, Reply<'static>)> {
    let kept = CommittedReply {
        error: None,
        topic: 7,
        queue: 1,
        offset: Some(1000),
        epoch: 3,
        commit_time_ms: 1_700_000_000_000,
        start: 10,
        visible: 1001,
        metadata: "hi",
    };
    let unknown = CommittedReply {
        error: Some(ErrorCode::UnknownTopic),
        topic: 8,
        queue: 0,
        offset: None,
        epoch: 0,
        commit_time_ms: 0,
        start: 0,
        visible: 0,
        metadata: "",
    };
    let results = vec![None, Some(ErrorCode::UnknownQueue)];
    let summary = GroupSummary { queues: 2, name: "billing" };
    vec![
        ("offset_commit.reply", Reply::OffsetCommit(results)),
        ("offset_fetch.reply", Reply::OffsetFetch(vec![kept, unknown])),
        ("group_list.reply", Reply::GroupList(vec![summary])),
        ("init_producer_id.reply", Reply::InitProducerId(ProducerId { id: 3 << 32 | 5, epoch: 0 })),
    ]
}

fn reply_header(name: &str) -> ReplyHeader {
    let timings = Timings {
        parse_ns: 1000,
        append_ns: 2000,
        flush_wait_ns: 0,
        device_ns: u32::MAX,
        replicate_ns: 0,
        send_ns: 3000,
    };
    let op = Operation::ALL.into_iter().find(|op| name == format!("{}.reply", op.name()));
    match op {
        Some(op) => request_header(op).reply(timings),
        None => ReplyHeader { correlation: 5, ..ReplyHeader::default() },
    }
}

#[test]
fn requests_are_as_documented() {
    let examples = examples();
    let (batch, mut buffers) = (batch(), [const { Vec::new() }; 3]);
    let requests = requests(&batch, &mut buffers);
    assert_eq!(requests.len(), Operation::ALL.len());
    for request in requests {
        let name = format!("{}.request", request.operation().name());
        let header = request_header(request.operation());
        let mut written = vec![];
        encode_request(&mut written, &header, &request).unwrap();
        let documented = examples.get(name.as_str()).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(hex(documented), hex(&written), "{name}");
        assert_eq!(decode_request(documented), Ok((header, request)), "{name}");
    }
}

#[test]
fn replies_are_as_documented() {
    let examples = examples();
    let fetch = &examples["fetch.reply"];
    let replies = [admin_replies(), other_replies(&fetch[28..]), group_replies()].concat();
    assert_eq!(replies.len() + Operation::ALL.len(), examples.len(), "an example is not tested");
    for (name, reply) in replies {
        let header = reply_header(name);
        let mut written = vec![];
        encode_reply(&mut written, &header, &reply);
        let documented = examples.get(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(hex(documented), hex(&written), "{name}");
        assert_eq!(decode_reply(documented), Ok((header, reply)), "{name}");
    }
}

#[test]
fn the_entry_is_as_documented() {
    let examples = examples();
    let entries: Vec<_> = Entries::new(&examples["fetch.reply"][28..]).collect();
    let [Ok(entry)] = entries[..] else { panic!("{entries:?}") };
    assert_eq!((entry.kind, entry.queue, entry.base_offset), (Kind::Data, 9, 1000));
    assert_eq!((entry.store_timestamp_ms, entry.handle.0), (1_700_000_000_005, 2 << 56 | 4096));
    let batch = BatchRef::parse(entry.batch, limits::BATCH_BYTES_MAX).unwrap();
    assert_eq!((batch.base_offset(), batch.leader_epoch()), (1000, 3));
    assert_eq!(batch.records().next().unwrap().unwrap().value, Some(&b"hi"[..]));
}

#[test]
fn limits_and_error_codes_are_as_documented() {
    for &code in ErrorCode::ALL {
        let again = if code.retryable() { "yes" } else { "no" };
        let row = format!("| {} | {} | {again} |", code.as_u16(), code.name());
        assert!(DOCUMENT.contains(&row), "no row {row}");
    }
    let rows = [
        ("request frame, length field included", limits::FRAME_BYTES_MAX),
        ("reply frame, length field included", limits::REPLY_BYTES_MAX),
        ("batch", limits::BATCH_BYTES_MAX),
        ("entries in one fetch reply", limits::FETCH_BYTES_MAX),
    ];
    for (what, bytes) in rows {
        let spaced = |n: u32| format!("{} {:03} {:03}", n / 1_000_000, n / 1000 % 1000, n % 1000);
        let row = format!("| {what} | {} |", spaced(bytes));
        assert!(DOCUMENT.contains(&row), "no row {row}");
    }
    assert_eq!(Operation::ALL.len(), DOCUMENT.matches("\n## ").count() - 2);
}
