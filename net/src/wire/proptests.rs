//! Properties of the codec: what is written is read back, and no bytes whatever make it panic.

use std::borrow::Cow;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn request_header() -> impl Strategy<Value = RequestHeader> {
    (any::<u32>(), any::<bool>(), option::of(any::<u64>())).prop_map(
        |(correlation, timings, sent_at)| RequestHeader {
            correlation,
            timings,
            one_way: false,
            sent_at,
        },
    )
}

fn timings() -> impl Strategy<Value = Timings> {
    any::<[u32; 6]>().prop_map(
        |[parse_ns, append_ns, flush_wait_ns, device_ns, replicate_ns, send_ns]| Timings {
            parse_ns,
            append_ns,
            flush_wait_ns,
            device_ns,
            replicate_ns,
            send_ns,
        },
    )
}

fn reply_header() -> impl Strategy<Value = ReplyHeader> {
    (any::<u32>(), option::of(timings()), option::of(any::<u64>()))
        .prop_map(|(correlation, timings, sent_at)| ReplyHeader { correlation, timings, sent_at })
}

fn ack() -> impl Strategy<Value = AckLevel> {
    (0u8..4).prop_map(|ack| AckLevel::from_u8(ack).unwrap())
}

/// Owned ingredients from which every operation's request can be built.
#[derive(Debug, Clone)]
struct Ingredients {
    op: Operation,
    numbers: (u32, u16, u64, i64),
    limits: (u32, u32, u32),
    name: String,
    text: String,
    names: Vec<String>,
    bytes: Vec<u8>,
    ack: Option<AckLevel>,
    flag: bool,
}

fn retention(from: &Ingredients) -> Retention {
    let limit = |n: u64| Some(n).filter(|n| *n > 0);
    Retention { age_ms: limit(from.numbers.2), bytes: limit(from.limits.0.into()) }
}

fn ingredients() -> impl Strategy<Value = Ingredients> {
    (
        (1u8..=17).prop_map(|op| Operation::from_u8(op).unwrap()),
        any::<(u32, u16, u64, i64)>(),
        any::<(u32, u32, u32)>(),
        "[A-Za-z0-9_-]{1,249}",
        ".{0,60}",
        vec(".{0,60}", 0..5),
        vec(any::<u8>(), 0..1024),
        option::of(ack()),
        any::<bool>(),
    )
        .prop_map(|(op, numbers, limits, name, text, names, bytes, ack, flag)| Ingredients {
            op,
            numbers,
            limits,
            name,
            text,
            names,
            bytes,
            ack,
            flag,
        })
}

fn request<'a>(from: &'a Ingredients, buffer: &'a mut Vec<u8>) -> Request<'a> {
    let (topic, queue, offset, timestamp_ms) = from.numbers;
    let (bytes_max, bytes_min, wait_max_ms) = from.limits;
    match from.op {
        Operation::Hello => Request::Hello(Hello {
            version_min: queue,
            version_max: queue.wrapping_add(1),
            shard_wish: topic as u16,
            client: &from.text,
        }),
        Operation::Ping => Request::Ping(&from.bytes),
        Operation::Metadata => {
            let names: Vec<_> = from.names.iter().map(String::as_str).collect();
            Request::Metadata(Names::encode(&names, buffer).unwrap())
        }
        Operation::TopicCreate => Request::TopicCreate(TopicCreate {
            name: &from.name,
            queues: queue,
            ack: from.ack,
            deep_validation: from.flag,
            key_index: !from.flag,
            retention: retention(from),
        }),
        Operation::TopicAlter => Request::TopicAlter(TopicAlter {
            name: &from.name,
            ack: from.ack,
            age_ms: from.flag.then_some(retention(from).age_ms),
            bytes: retention(from).bytes.map(Some),
            key_index: (topic % 3 > 0).then_some(from.flag),
        }),
        Operation::TopicDelete => Request::TopicDelete(&from.name),
        Operation::TopicList => Request::TopicList,
        Operation::TopicDescribe => Request::TopicDescribe(&from.name),
        Operation::Produce => {
            Request::Produce(Produce { topic, queue, ack: from.ack, batch: &from.bytes })
        }
        Operation::Fetch => Request::Fetch(Fetch {
            topic,
            queue,
            epoch: !topic,
            offset,
            bytes_max,
            bytes_min,
            wait_max_ms,
        }),
        Operation::Lookup => Request::Lookup(Lookup {
            topic,
            queue,
            first: offset,
            end: !offset,
            max: bytes_max,
            key: from.name.as_bytes(),
        }),
        Operation::ListOffsets => Request::ListOffsets(ListOffsets {
            topic,
            queue,
            kind: [ListKind::Earliest, ListKind::Latest, ListKind::ByTimestamp][topic as usize % 3],
            timestamp_ms,
        }),
        Operation::Stats => Request::Stats { per_shard: from.flag },
        Operation::OffsetCommit => {
            let new = |(number, metadata): (u32, &'a String)| NewOffset {
                topic: topic.wrapping_add(number),
                queue,
                offset: Some(offset ^ u64::from(number)).filter(|&o| from.flag && o < u64::MAX),
                epoch: bytes_max,
                metadata,
            };
            let offsets: Vec<_> = (0..).zip(&from.names).map(new).collect();
            let offsets = Offsets::encode(&offsets, buffer).unwrap();
            assert_eq!(offsets.iter().count(), from.names.len());
            Request::OffsetCommit(OffsetCommit { group: &from.name, ack: from.ack, offsets })
        }
        Operation::OffsetFetch => {
            let places: Vec<_> = from.bytes.iter().map(|&byte| (topic, byte.into())).collect();
            let places = Places::encode(&places, buffer).unwrap();
            assert_eq!(places.iter().count(), from.bytes.len());
            Request::OffsetFetch(OffsetFetch { group: &from.name, places })
        }
        Operation::GroupList => Request::GroupList,
        Operation::InitProducerId => Request::InitProducerId,
    }
}

fn reply(from: &Ingredients) -> Reply<'_> {
    let (topic, queue, offset, timestamp_ms) = from.numbers;
    let (frame_bytes_max, batch_bytes_max, fetch_bytes_max) = from.limits;
    let ack = from.ack.unwrap_or(AckLevel::Durable);
    let short: Vec<u16> = from.bytes.iter().take(70).map(|byte| u16::from(*byte) * 257).collect();
    match from.op {
        _ if from.flag && topic % 3 == 0 => Reply::Error {
            op: queue as u8,
            error: ErrorReply {
                code: ErrorCode::ALL[queue as usize % ErrorCode::ALL.len()],
                retry_after_ms: topic,
                range_start: offset,
                range_end: !offset,
                message: &from.text,
            },
        },
        Operation::Hello => Reply::Hello(HelloReply {
            version: queue,
            shard: 3,
            shards: 4,
            frame_bytes_max,
            batch_bytes_max,
            fetch_bytes_max,
            node_id: [queue as u8; 16],
            node: &from.text,
        }),
        Operation::Ping => Reply::Ping(&from.bytes),
        Operation::Metadata => Reply::Metadata(
            (from.names.iter().enumerate())
                .map(|(at, name)| TopicMetadata {
                    error: (at == 1).then_some(ErrorCode::UnknownTopic),
                    topic: topic.wrapping_add(at as u32),
                    ack,
                    name,
                    shards: Cow::Owned(short[..short.len().min(at)].to_vec()),
                })
                .collect(),
        ),
        Operation::TopicCreate => Reply::TopicCreate(topic),
        Operation::TopicDelete => Reply::TopicDelete,
        Operation::TopicAlter => Reply::TopicAlter,
        Operation::TopicList => Reply::TopicList(
            from.names
                .iter()
                .map(|name| TopicSummary { topic, queues: queue, ack, name })
                .collect(),
        ),
        Operation::TopicDescribe => Reply::TopicDescribe(TopicDescription {
            topic,
            ack,
            deep_validation: from.flag,
            key_index: !from.flag,
            retention: retention(from),
            fetched_records: offset,
            fetched_bytes: !offset,
            name: &from.name,
            queues: (short.iter())
                .map(|&queue| QueueDescription {
                    queue,
                    shard: !queue,
                    start: offset,
                    end: offset ^ 1,
                    visible: offset ^ 2,
                    bytes: offset ^ 4,
                })
                .collect(),
        }),
        Operation::Produce => Reply::Produce(offset),
        Operation::Fetch => {
            Reply::Fetch(FetchReply { log_start: offset, visible: !offset, entries: &from.bytes })
        }
        Operation::ListOffsets => Reply::ListOffsets(OffsetReply { offset, timestamp_ms }),
        Operation::Lookup => Reply::Lookup(LookupReply {
            reached: offset,
            log_start: !offset,
            visible: offset,
            offsets: from.bytes.iter().map(|byte| u64::from(*byte) << 32).collect(),
        }),
        Operation::Stats => Reply::Stats(StatsReply {
            histograms: vec![
                HistogramPart {
                    op: 8,
                    stage: 6,
                    shard: queue,
                    encoded: Cow::Borrowed(&from.bytes)
                };
                queue as usize % 4
            ],
            counters: (from.names.iter())
                .map(|name| Counter { name: Cow::Borrowed(name), shard: queue, value: offset })
                .collect(),
        }),
        Operation::OffsetCommit => {
            let code = |&byte: &u8| ErrorCode::ALL.get(usize::from(byte)).copied();
            Reply::OffsetCommit(from.bytes.iter().map(code).collect())
        }
        Operation::OffsetFetch => Reply::OffsetFetch(
            from.names
                .iter()
                .map(|metadata| CommittedReply {
                    error: ErrorCode::ALL.get(usize::from(queue)).copied(),
                    topic,
                    queue,
                    offset: Some(offset).filter(|&offset| from.flag && offset < u64::MAX),
                    epoch: frame_bytes_max,
                    commit_time_ms: !offset,
                    start: offset ^ 1,
                    visible: offset ^ 2,
                    metadata,
                })
                .collect(),
        ),
        Operation::GroupList => {
            let summary = |name| GroupSummary { queues: topic, name };
            Reply::GroupList(from.names.iter().map(|name| summary(name.as_str())).collect())
        }
        Operation::InitProducerId => {
            Reply::InitProducerId(ProducerId { id: timestamp_ms, epoch: queue as i16 })
        }
    }
}

/// Reads everything that can be read from `frame`, as both sides would.
fn read_all(frame: &[u8]) {
    let _ = frame_length(frame, limits::FRAME_BYTES_MAX);
    let _ = peek_request(frame);
    let _ = peek_reply(frame);
    if let Ok((_, Request::Metadata(names))) = decode_request(frame) {
        assert_eq!(names.iter().count(), usize::from(names.count()));
    }
    match decode_request(frame) {
        Ok((_, Request::OffsetCommit(commit))) => drop(commit.offsets.iter().count()),
        Ok((_, Request::OffsetFetch(fetch))) => {
            assert_eq!(fetch.places.iter().count(), fetch.places.count());
        }
        _ => {}
    }
    if let Ok((_, Reply::Fetch(fetch))) = decode_reply(frame) {
        let _ = Entries::new(fetch.entries).count();
    }
    let _ = Entries::new(frame).count();
}

proptest! {
    #[test]
    fn requests_survive_the_trip(header in request_header(), from in ingredients(), one_way: bool) {
        let mut buffer = vec![];
        let request = request(&from, &mut buffer);
        let one_way = one_way && from.op == Operation::Produce;
        let header = RequestHeader { one_way, ..header };
        let mut out = vec![0xEE];
        encode_request(&mut out, &header, &request).unwrap();
        let frame = &out[1..];
        prop_assert_eq!(frame_length(frame, limits::FRAME_BYTES_MAX), Ok(Some(frame.len())));
        prop_assert_eq!(peek_request(frame), Some((from.op.as_u8(), header.correlation)));
        prop_assert_eq!(decode_request(frame), Ok((header, request)));
    }

    #[test]
    fn replies_survive_the_trip(header in reply_header(), from in ingredients()) {
        let reply = reply(&from);
        let mut out = vec![0xEE];
        encode_reply(&mut out, &header, &reply);
        let frame = &out[1..];
        prop_assert_eq!(frame_length(frame, limits::REPLY_BYTES_MAX), Ok(Some(frame.len())));
        if let Reply::Fetch(fetch) = &reply {
            let mut head = vec![];
            let entries_bytes = fetch.entries.len() as u32;
            encode_fetch_header(&mut head, &header, fetch.log_start, fetch.visible, entries_bytes);
            prop_assert_eq!([head.as_slice(), fetch.entries].concat(), frame);
        }
        prop_assert_eq!(decode_reply(frame), Ok((header, reply)));
    }

    #[test]
    fn cut_and_changed_frames_never_panic(
        request_header in request_header(),
        reply_header in reply_header(),
        from in ingredients(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let (mut buffer, mut sent, mut answered) = (vec![], vec![], vec![]);
        encode_request(&mut sent, &request_header, &request(&from, &mut buffer)).unwrap();
        encode_reply(&mut answered, &reply_header, &reply(&from));
        for mut frame in [sent, answered] {
            let cut = &frame[..cut.index(frame.len())];
            prop_assert!(decode_request(cut).is_err());
            prop_assert!(decode_reply(cut).is_err());
            // The same with a length field that agrees, so that the cut reaches the body.
            let mut agreed = cut.to_vec();
            if agreed.len() >= 12 {
                let length = agreed.len() as u32 - 4;
                agreed[..4].copy_from_slice(&length.to_be_bytes());
            }
            read_all(&agreed);
            for (at, byte) in &changes {
                let at = at.index(frame.len());
                frame[at] = *byte;
                read_all(&frame);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..300), op in 0u8..17, flags in 0u8..8) {
        read_all(&bytes);
        if bytes.len() >= 12 {
            let length = bytes.len() as u32 - 4;
            bytes[..4].copy_from_slice(&length.to_be_bytes());
            bytes[4..8].copy_from_slice(&[op, flags, 0, 0]);
            read_all(&bytes);
        }
    }
}
