//! Replies: what a node writes. The two hot ones, produce and fetch, have their own functions.

use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::{I64, U16, U32, U64};

use super::cursor::put_string;
use super::frame::{patch_length, put_reply_head};
use super::frame_format::{ErrorHead, LENGTH_BYTES, ReplyHead};
use super::limits::{
    MESSAGE_BYTES_MAX, PEER_NAME_BYTES_MAX, REPLY_BYTES_MAX, TOPIC_NAME_BYTES_MAX,
};
use super::lookup::put_lookup_reply;
use super::reply_format::{
    CounterTail, DescriptionHead, DescriptionTail, FETCH_REPLY_HEAD_BYTES, FetchReplyHead,
    HelloReplyHead, HistogramHead, MetadataPart, OffsetPart, PlainProduceReply, QueuePart,
    SummaryPart,
};
use super::request_encode::{put_limits, topic_flags};
use super::{
    ErrorCode, ErrorReply, HelloReply, Operation, QueueDescription, Reply, ReplyHeader, StatsReply,
    TopicDescription, TopicMetadata, TopicSummary, group_reply,
};

/// Appends a produce reply.
pub fn encode_produce_reply(out: &mut Vec<u8>, header: &ReplyHeader, base_offset: u64) {
    let op = Operation::Produce.as_u8();
    if header.timings.is_some() || header.sent_at.is_some() {
        put_reply_head(out, op, 0, header, size_of::<U64>());
        out.extend_from_slice(&base_offset.to_be_bytes());
        return;
    }
    let frame = PlainProduceReply {
        head: ReplyHead {
            length: U32::new((size_of::<PlainProduceReply>() - LENGTH_BYTES) as u32),
            op,
            flags: 0,
            error: U16::ZERO,
            correlation: U32::new(header.correlation),
        },
        base_offset: U64::new(base_offset),
    };
    out.extend_from_slice(frame.as_bytes());
}

/// Appends a fetch reply up to its entries: `entries_bytes` bytes of entries, at most
/// [`FETCH_BYTES_MAX`](super::limits::FETCH_BYTES_MAX), have to follow from wherever they lie.
pub fn encode_fetch_header(
    out: &mut Vec<u8>,
    header: &ReplyHeader,
    log_start: u64,
    visible: u64,
    entries_bytes: u32,
) {
    let body_bytes = FETCH_REPLY_HEAD_BYTES + entries_bytes as usize;
    put_reply_head(out, Operation::Fetch.as_u8(), 0, header, body_bytes);
    let head = FetchReplyHead { log_start: U64::new(log_start), visible: U64::new(visible) };
    out.extend_from_slice(head.as_bytes());
}

/// Appends an error reply to the operation with number `op` (0 if it could not be read).
pub fn encode_error(out: &mut Vec<u8>, op: u8, header: &ReplyHeader, error: &ErrorReply<'_>) {
    let start = out.len();
    put_reply_head(out, op, error.code.as_u16(), header, 0);
    let head = ErrorHead {
        retry_after_ms: U32::new(error.retry_after_ms),
        range_start: U64::new(error.range_start),
        range_end: U64::new(error.range_end),
    };
    out.extend_from_slice(head.as_bytes());
    put_string(out, error.message, MESSAGE_BYTES_MAX);
    patch_length(out, start);
}

/// Appends any reply. One that would be above [`REPLY_BYTES_MAX`], or whose lists are longer than
/// their count can say, becomes a [`ErrorCode::FrameTooLarge`] error instead.
pub fn encode_reply(out: &mut Vec<u8>, header: &ReplyHeader, reply: &Reply<'_>) {
    let start = out.len();
    let (op, complete) = match reply {
        Reply::Produce(base_offset) => return encode_produce_reply(out, header, *base_offset),
        Reply::Error { op, error } => return encode_error(out, *op, header, error),
        other => put_reply(out, header, other),
    };
    if complete && out.len() - start <= REPLY_BYTES_MAX as usize {
        patch_length(out, start);
        return;
    }
    out.truncate(start);
    let message = "the reply would be above the limit: ask for less";
    encode_error(out, op.as_u8(), header, &ErrorReply::new(ErrorCode::FrameTooLarge, message));
}

/// Appends head and body; the length is not yet right. `false`: a list was too long.
fn put_reply(out: &mut Vec<u8>, header: &ReplyHeader, reply: &Reply<'_>) -> (Operation, bool) {
    let mut head = |op: Operation| {
        put_reply_head(out, op.as_u8(), 0, header, 0);
        op
    };
    match reply {
        Reply::Hello(hello) => (head(Operation::Hello), put_hello(out, hello)),
        Reply::Ping(echo) => (head(Operation::Ping), put_bytes(out, echo)),
        Reply::Metadata(topics) => (head(Operation::Metadata), put_metadata(out, topics)),
        Reply::TopicCreate(topic) => {
            (head(Operation::TopicCreate), put_bytes(out, &topic.to_be_bytes()))
        }
        Reply::TopicList(topics) => (head(Operation::TopicList), put_topic_list(out, topics)),
        Reply::TopicDescribe(topic) => {
            (head(Operation::TopicDescribe), put_topic_description(out, topic))
        }
        Reply::Fetch(fetch) => {
            let op = head(Operation::Fetch);
            put_bytes(out, &fetch.log_start.to_be_bytes());
            put_bytes(out, &fetch.visible.to_be_bytes());
            (op, put_bytes(out, fetch.entries))
        }
        Reply::ListOffsets(found) => {
            let op = head(Operation::ListOffsets);
            let part = OffsetPart {
                offset: U64::new(found.offset),
                timestamp_ms: I64::new(found.timestamp_ms),
            };
            (op, put_bytes(out, part.as_bytes()))
        }
        Reply::Stats(stats) => (head(Operation::Stats), put_stats(out, stats)),
        Reply::OffsetCommit(results) => {
            let op = head(Operation::OffsetCommit);
            (op, group_reply::put_offset_commit(out, results))
        }
        Reply::OffsetFetch(offsets) => {
            let op = head(Operation::OffsetFetch);
            group_reply::put_offset_fetch(out, offsets);
            (op, true)
        }
        Reply::GroupList(groups) => {
            let op = head(Operation::GroupList);
            group_reply::put_group_list(out, groups);
            (op, true)
        }
        Reply::InitProducerId(producer) => {
            let op = head(Operation::InitProducerId);
            group_reply::put_producer_id(out, producer);
            (op, true)
        }
        Reply::TopicAlter => (head(Operation::TopicAlter), true),
        Reply::Lookup(found) => {
            let op = head(Operation::Lookup);
            put_lookup_reply(out, found);
            (op, true)
        }
        // The other two are written by `encode_reply` itself.
        Reply::TopicDelete | Reply::Produce(_) | Reply::Error { .. } => {
            (head(Operation::TopicDelete), true)
        }
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    out.extend_from_slice(bytes);
    true
}

fn put_hello(out: &mut Vec<u8>, hello: &HelloReply<'_>) -> bool {
    let head = HelloReplyHead {
        version: U16::new(hello.version),
        shard: U16::new(hello.shard),
        shards: U16::new(hello.shards),
        reserved: U16::ZERO,
        frame_bytes_max: U32::new(hello.frame_bytes_max),
        batch_bytes_max: U32::new(hello.batch_bytes_max),
        fetch_bytes_max: U32::new(hello.fetch_bytes_max),
        node_id: hello.node_id,
    };
    out.extend_from_slice(head.as_bytes());
    put_string(out, hello.node, PEER_NAME_BYTES_MAX);
    true
}

fn put_metadata(out: &mut Vec<u8>, topics: &[TopicMetadata<'_>]) -> bool {
    out.extend_from_slice(&(topics.len() as u32).to_be_bytes());
    for topic in topics {
        let part = MetadataPart {
            error: U16::new(topic.error.map_or(0, ErrorCode::as_u16)),
            topic: U32::new(topic.topic),
            ack: topic.ack.as_u8(),
        };
        out.extend_from_slice(part.as_bytes());
        put_string(out, topic.name, TOPIC_NAME_BYTES_MAX);
        if !put_count(out, topic.shards.len()) {
            return false;
        }
        for shard in topic.shards.iter() {
            out.extend_from_slice(&shard.to_be_bytes());
        }
    }
    true
}

fn put_topic_list(out: &mut Vec<u8>, topics: &[TopicSummary<'_>]) -> bool {
    out.extend_from_slice(&(topics.len() as u32).to_be_bytes());
    for topic in topics {
        let part = SummaryPart {
            topic: U32::new(topic.topic),
            queues: U16::new(topic.queues),
            ack: topic.ack.as_u8(),
        };
        out.extend_from_slice(part.as_bytes());
        put_string(out, topic.name, TOPIC_NAME_BYTES_MAX);
    }
    true
}

fn put_topic_description(out: &mut Vec<u8>, topic: &TopicDescription<'_>) -> bool {
    let (age_ms, bytes) = (topic.retention.age_ms.map(Some), topic.retention.bytes.map(Some));
    let head = DescriptionHead {
        topic: U32::new(topic.topic),
        ack: topic.ack.as_u8(),
        flags: topic_flags(topic.deep_validation, topic.key_index, age_ms, bytes),
    };
    out.extend_from_slice(head.as_bytes());
    put_string(out, topic.name, TOPIC_NAME_BYTES_MAX);
    put_limits(out, age_ms, bytes);
    let fits = put_count(out, topic.queues.len());
    for queue in &topic.queues {
        out.extend_from_slice(queue_part(queue).as_bytes());
    }
    let tail = DescriptionTail {
        fetched_records: U64::new(topic.fetched_records),
        fetched_bytes: U64::new(topic.fetched_bytes),
    };
    out.extend_from_slice(tail.as_bytes());
    fits
}

fn queue_part(queue: &QueueDescription) -> QueuePart {
    QueuePart {
        queue: U16::new(queue.queue),
        shard: U16::new(queue.shard),
        start: U64::new(queue.start),
        end: U64::new(queue.end),
        visible: U64::new(queue.visible),
        bytes: U64::new(queue.bytes),
    }
}

fn put_stats(out: &mut Vec<u8>, stats: &StatsReply<'_>) -> bool {
    if !put_count(out, stats.histograms.len()) {
        return false;
    }
    for histogram in &stats.histograms {
        let head = HistogramHead {
            op: histogram.op,
            stage: histogram.stage,
            shard: U16::new(histogram.shard),
            length: U32::new(histogram.encoded.len() as u32),
        };
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(&histogram.encoded);
    }
    if !put_count(out, stats.counters.len()) {
        return false;
    }
    for counter in &stats.counters {
        put_string(out, &counter.name, PEER_NAME_BYTES_MAX);
        let tail = CounterTail { shard: U16::new(counter.shard), value: U64::new(counter.value) };
        out.extend_from_slice(tail.as_bytes());
    }
    true
}

/// Appends a `u16` count; `false` if it does not fit.
fn put_count(out: &mut Vec<u8>, count: usize) -> bool {
    out.extend_from_slice(&(count as u16).to_be_bytes());
    count <= usize::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{FetchReply, decode_reply};

    #[test]
    fn a_reply_above_the_limit_becomes_an_error() {
        let entries = vec![0; REPLY_BYTES_MAX as usize];
        let huge = Reply::Fetch(FetchReply { log_start: 0, visible: 0, entries: &entries });
        let header = ReplyHeader { correlation: 9, ..ReplyHeader::default() };
        let mut out = vec![];
        encode_reply(&mut out, &header, &huge);
        let (read, reply) = decode_reply(&out).unwrap();
        assert_eq!(read, header);
        let Reply::Error { op: 9, error } = reply else { panic!("{reply:?}") };
        assert_eq!(error.code, ErrorCode::FrameTooLarge);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let message = "ü".repeat(600) + "x";
        let mut out = vec![];
        let error = ErrorReply::new(ErrorCode::Internal, &message);
        encode_error(&mut out, 0, &ReplyHeader::default(), &error);
        let (_, Reply::Error { error, .. }) = decode_reply(&out).unwrap() else { panic!() };
        assert_eq!(error.message.len(), 1024);
    }
}
