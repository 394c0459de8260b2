//! Replies: what a client reads. Everything borrows from the frame; only lists allocate.

use std::borrow::Cow;

use super::cursor::{Cursor, malformed};
use super::frame::read_reply_head;
use super::frame_format::ErrorHead;
use super::limits::{MESSAGE_BYTES_MAX, PEER_NAME_BYTES_MAX, TOPIC_NAME_BYTES_MAX};
use super::lookup::lookup_reply;
use super::reply_format::{
    CounterTail, DescriptionHead, DescriptionTail, FetchReplyHead, HelloReplyHead, HistogramHead,
    MetadataPart, OffsetPart, QUEUE_DESCRIPTION_BYTES, QueuePart, SummaryPart,
};
use super::request::limits;
use super::{
    AckLevel, CommittedReply, DecodeError, ErrorCode, GroupSummary, LookupReply, Operation,
    ProducerId, ReplyHeader, Retention, TOPIC_DEEP_VALIDATION, TOPIC_KEY_INDEX, group_reply,
};

/// A reply's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The connection is open.
    Hello(HelloReply<'a>),
    /// The ping's bytes.
    Ping(&'a [u8]),
    /// The topics asked for.
    Metadata(Vec<TopicMetadata<'a>>),
    /// The new topic's id.
    TopicCreate(u32),
    /// The topic is gone.
    TopicDelete,
    /// All topics.
    TopicList(Vec<TopicSummary<'a>>),
    /// One topic.
    TopicDescribe(TopicDescription<'a>),
    /// The offset of the batch's first record.
    Produce(u64),
    /// Entries.
    Fetch(FetchReply<'a>),
    /// An offset.
    ListOffsets(OffsetReply),
    /// Statistics.
    Stats(StatsReply<'a>),
    /// For each offset: committed, or why not.
    OffsetCommit(Vec<Option<ErrorCode>>),
    /// What a group has committed.
    OffsetFetch(Vec<CommittedReply<'a>>),
    /// All groups.
    GroupList(Vec<GroupSummary<'a>>),
    /// An idempotent producer's identity.
    InitProducerId(ProducerId),
    /// The topic has its new settings.
    TopicAlter,
    /// Records that may have the key.
    Lookup(LookupReply<'a>),
    /// The request failed.
    Error {
        /// Number of the request's operation, 0 if the node could not read it.
        op: u8,
        /// Why.
        error: ErrorReply<'a>,
    },
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorReply<'a> {
    /// The code; one this version does not know reads as [`ErrorCode::Internal`].
    pub code: ErrorCode,
    /// When to try again, if that helps; otherwise 0.
    pub retry_after_ms: u32,
    /// First valid offset, for the codes that say so; otherwise 0.
    pub range_start: u64,
    /// End of the valid offsets, for the codes that say so; otherwise 0.
    pub range_end: u64,
    /// A sentence for people.
    pub message: &'a str,
}

impl<'a> ErrorReply<'a> {
    /// An error with nothing but a code and a sentence.
    #[must_use]
    pub const fn new(code: ErrorCode, message: &'a str) -> Self {
        Self { code, retry_after_ms: 0, range_start: 0, range_end: 0, message }
    }
}

/// The node's side of a Hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloReply<'a> {
    /// The version both will speak.
    pub version: u16,
    /// The shard this connection landed on.
    pub shard: u16,
    /// How many shards there are.
    pub shards: u16,
    /// Largest request frame.
    pub frame_bytes_max: u32,
    /// Largest batch.
    pub batch_bytes_max: u32,
    /// Most entry bytes in a fetch reply.
    pub fetch_bytes_max: u32,
    /// The node's identity.
    pub node_id: [u8; 16],
    /// The node's name and version, for people.
    pub node: &'a str,
}

/// One topic of a Metadata reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata<'a> {
    /// Why there is nothing to say about it.
    pub error: Option<ErrorCode>,
    /// Its id.
    pub topic: u32,
    /// Its default ack level.
    pub ack: AckLevel,
    /// Its name.
    pub name: &'a str,
    /// The shard of each queue.
    pub shards: Cow<'a, [u16]>,
}

/// One topic of a TopicList reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSummary<'a> {
    /// Its id.
    pub topic: u32,
    /// How many queues it has.
    pub queues: u16,
    /// Its default ack level.
    pub ack: AckLevel,
    /// Its name.
    pub name: &'a str,
}

/// A topic and its queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription<'a> {
    /// Its id.
    pub topic: u32,
    /// Its default ack level.
    pub ack: AckLevel,
    /// Whether the node looks inside every batch.
    pub deep_validation: bool,
    /// Whether the keys of its records are indexed.
    pub key_index: bool,
    /// Its own limits, beside the node's.
    pub retention: Retention,
    /// Records given to fetches since the node was started.
    pub fetched_records: u64,
    /// Bytes of their batches.
    pub fetched_bytes: u64,
    /// Its name.
    pub name: &'a str,
    /// Its queues.
    pub queues: Vec<QueueDescription>,
}

/// The state of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueDescription {
    /// Its number in the topic.
    pub queue: u16,
    /// The shard that owns it.
    pub shard: u16,
    /// First offset stored.
    pub start: u64,
    /// The next offset to be assigned.
    pub end: u64,
    /// Consumers see what is below this offset.
    pub visible: u64,
    /// Bytes stored.
    pub bytes: u64,
}

/// Entries of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchReply<'a> {
    /// First offset stored.
    pub log_start: u64,
    /// Consumers see what is below this offset.
    pub visible: u64,
    /// The entries, as they lie in the log: read them with [`Entries`](super::Entries).
    pub entries: &'a [u8],
}

/// An offset that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetReply {
    /// The offset.
    pub offset: u64,
    /// Store time of the record there; -1: there is none.
    pub timestamp_ms: i64,
}

/// Histograms and counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatsReply<'a> {
    /// Latency histograms, in nanoseconds.
    pub histograms: Vec<HistogramPart<'a>>,
    /// Counters.
    pub counters: Vec<Counter<'a>>,
}

/// One latency histogram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramPart<'a> {
    /// Number of the [`Operation`].
    pub op: u8,
    /// Number of the [`Stage`](super::Stage).
    pub stage: u8,
    /// Its shard, or [`SHARD_ANY`](super::SHARD_ANY): all, merged.
    pub shard: u16,
    /// HdrHistogram's V2 encoding, not compressed.
    pub encoded: Cow<'a, [u8]>,
}

/// One counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter<'a> {
    /// Its stable name.
    pub name: Cow<'a, str>,
    /// Its shard, or [`SHARD_ANY`](super::SHARD_ANY): the node's.
    pub shard: u16,
    /// Its value.
    pub value: u64,
}

/// Reads a whole reply frame, its length field included.
pub fn decode_reply(frame: &[u8]) -> Result<(ReplyHeader, Reply<'_>), DecodeError> {
    let (op, error, header, body) = read_reply_head(frame)?;
    if error != 0 {
        return Ok((header, Reply::Error { op, error: error_reply(error, body)? }));
    }
    let operation = Operation::from_u8(op).ok_or(DecodeError::UnknownOperation { op })?;
    let reply = match operation {
        Operation::Hello => Reply::Hello(hello(body)?),
        Operation::Ping => Reply::Ping(body.rest()),
        Operation::Metadata => Reply::Metadata(metadata(body)?),
        Operation::TopicCreate => Reply::TopicCreate(last(body, Cursor::u32)?),
        Operation::TopicDelete => last(body, |_| Ok(Reply::TopicDelete))?,
        Operation::TopicList => Reply::TopicList(topic_list(body)?),
        Operation::TopicDescribe => Reply::TopicDescribe(topic_describe(body)?),
        Operation::Produce => Reply::Produce(last(body, Cursor::u64)?),
        Operation::Fetch => Reply::Fetch(fetch(body)?),
        Operation::ListOffsets => Reply::ListOffsets(last(body, offset)?),
        Operation::Stats => Reply::Stats(stats(body)?),
        Operation::OffsetCommit => Reply::OffsetCommit(group_reply::offset_commit(body)?),
        Operation::OffsetFetch => Reply::OffsetFetch(group_reply::offset_fetch(body)?),
        Operation::GroupList => Reply::GroupList(group_reply::group_list(body)?),
        Operation::InitProducerId => Reply::InitProducerId(group_reply::producer_id(body)?),
        Operation::TopicAlter => last(body, |_| Ok(Reply::TopicAlter))?,
        Operation::Lookup => Reply::Lookup(lookup_reply(body)?),
    };
    Ok((header, reply))
}

/// Reads one thing, behind which nothing may follow.
fn last<'a, T>(
    mut body: Cursor<'a>,
    read: impl FnOnce(&mut Cursor<'a>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let value = read(&mut body)?;
    body.end()?;
    Ok(value)
}

fn error_reply(number: u16, body: Cursor<'_>) -> Result<ErrorReply<'_>, DecodeError> {
    last(body, |body| {
        let head = body.part::<ErrorHead>()?;
        Ok(ErrorReply {
            code: ErrorCode::from_u16(number).unwrap_or(ErrorCode::Internal),
            retry_after_ms: head.retry_after_ms.get(),
            range_start: head.range_start.get(),
            range_end: head.range_end.get(),
            message: body.string(MESSAGE_BYTES_MAX)?,
        })
    })
}

fn hello(body: Cursor<'_>) -> Result<HelloReply<'_>, DecodeError> {
    last(body, |body| {
        let head = body.part::<HelloReplyHead>()?;
        Ok(HelloReply {
            version: head.version.get(),
            shard: head.shard.get(),
            shards: head.shards.get(),
            frame_bytes_max: head.frame_bytes_max.get(),
            batch_bytes_max: head.batch_bytes_max.get(),
            fetch_bytes_max: head.fetch_bytes_max.get(),
            node_id: head.node_id,
            node: body.string(PEER_NAME_BYTES_MAX)?,
        })
    })
}

fn metadata(mut body: Cursor<'_>) -> Result<Vec<TopicMetadata<'_>>, DecodeError> {
    let count = body.u32()? as usize;
    let mut topics = Vec::with_capacity(body.plausible(count, size_of::<TopicMetadata<'_>>()));
    for _ in 0..count {
        let part = body.part::<MetadataPart>()?;
        let name = body.string(TOPIC_NAME_BYTES_MAX)?;
        let queues = usize::from(body.u16()?);
        let shards = body.bytes(queues * size_of::<u16>())?;
        let shards = shards.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        topics.push(TopicMetadata {
            error: match part.error.get() {
                0 => None,
                number => Some(ErrorCode::from_u16(number).unwrap_or(ErrorCode::Internal)),
            },
            topic: part.topic.get(),
            ack: ack(part.ack)?,
            name,
            shards: Cow::Owned(shards.collect()),
        });
    }
    body.end()?;
    Ok(topics)
}

fn topic_list(mut body: Cursor<'_>) -> Result<Vec<TopicSummary<'_>>, DecodeError> {
    let count = body.u32()? as usize;
    let mut topics = Vec::with_capacity(body.plausible(count, size_of::<TopicSummary<'_>>()));
    for _ in 0..count {
        let part = body.part::<SummaryPart>()?;
        topics.push(TopicSummary {
            topic: part.topic.get(),
            queues: part.queues.get(),
            ack: ack(part.ack)?,
            name: body.string(TOPIC_NAME_BYTES_MAX)?,
        });
    }
    body.end()?;
    Ok(topics)
}

fn topic_describe(mut body: Cursor<'_>) -> Result<TopicDescription<'_>, DecodeError> {
    let head = body.part::<DescriptionHead>()?;
    let name = body.string(TOPIC_NAME_BYTES_MAX)?;
    let (age_ms, bytes) = limits(&mut body, head.flags)?;
    let count = usize::from(body.u16()?);
    let mut queues = Vec::with_capacity(body.plausible(count, QUEUE_DESCRIPTION_BYTES));
    for _ in 0..count {
        let part = body.part::<QueuePart>()?;
        queues.push(QueueDescription {
            queue: part.queue.get(),
            shard: part.shard.get(),
            start: part.start.get(),
            end: part.end.get(),
            visible: part.visible.get(),
            bytes: part.bytes.get(),
        });
    }
    let tail = body.part::<DescriptionTail>()?;
    body.end()?;
    Ok(TopicDescription {
        topic: head.topic.get(),
        ack: ack(head.ack)?,
        deep_validation: head.flags & TOPIC_DEEP_VALIDATION != 0,
        key_index: head.flags & TOPIC_KEY_INDEX != 0,
        retention: Retention { age_ms: age_ms.flatten(), bytes: bytes.flatten() },
        fetched_records: tail.fetched_records.get(),
        fetched_bytes: tail.fetched_bytes.get(),
        name,
        queues,
    })
}

fn fetch(mut body: Cursor<'_>) -> Result<FetchReply<'_>, DecodeError> {
    let head = body.part::<FetchReplyHead>()?;
    Ok(FetchReply {
        log_start: head.log_start.get(),
        visible: head.visible.get(),
        entries: body.rest(),
    })
}

fn offset(body: &mut Cursor<'_>) -> Result<OffsetReply, DecodeError> {
    let part = body.part::<OffsetPart>()?;
    Ok(OffsetReply { offset: part.offset.get(), timestamp_ms: part.timestamp_ms.get() })
}

fn stats(mut body: Cursor<'_>) -> Result<StatsReply<'_>, DecodeError> {
    let mut stats = StatsReply::default();
    for _ in 0..body.u16()? {
        let head = body.part::<HistogramHead>()?;
        let encoded = body.bytes(head.length.get() as usize)?;
        stats.histograms.push(HistogramPart {
            op: head.op,
            stage: head.stage,
            shard: head.shard.get(),
            encoded: Cow::Borrowed(encoded),
        });
    }
    for _ in 0..body.u16()? {
        let name = Cow::Borrowed(body.string(PEER_NAME_BYTES_MAX)?);
        let tail = body.part::<CounterTail>()?;
        stats.counters.push(Counter { name, shard: tail.shard.get(), value: tail.value.get() });
    }
    body.end()?;
    Ok(stats)
}

fn ack(byte: u8) -> Result<AckLevel, DecodeError> {
    AckLevel::from_u8(byte).ok_or(malformed("ack level"))
}
