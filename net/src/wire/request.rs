//! Requests: what a node reads. Everything borrows from the frame.

use super::cursor::{Cursor, malformed};
use super::frame::read_request_head;
use super::group_request::{offset_commit, offset_fetch};
use super::limits::{BATCH_BYTES_MAX, PEER_NAME_BYTES_MAX, PING_BYTES_MAX};
use super::lookup::lookup;
use super::request_format::{
    FetchBody, HelloHead, ListOffsetsBody, ProduceHead, TopicAlterTail, TopicCreateTail,
};
use super::vocabulary::ack_choice;
use super::{
    AckLevel, DecodeError, ListKind, Lookup, MAGIC, Names, OffsetCommit, OffsetFetch, Operation,
    RequestHeader, Retention, STATS_PER_SHARD, TOPIC_DEEP_VALIDATION, TOPIC_KEY_INDEX,
    TOPIC_KEY_INDEX_GIVEN, TOPIC_RETENTION_BYTES, TOPIC_RETENTION_MS, check_topic_name,
};

/// A request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Opens the connection.
    Hello(Hello<'a>),
    /// Echo these bytes.
    Ping(&'a [u8]),
    /// Describe these topics, or all.
    Metadata(Names<'a>),
    /// Make a topic.
    TopicCreate(TopicCreate<'a>),
    /// Remove the topic of this name.
    TopicDelete(&'a str),
    /// List all topics.
    TopicList,
    /// Describe the topic of this name and its queues.
    TopicDescribe(&'a str),
    /// Append a batch.
    Produce(Produce<'a>),
    /// Read entries.
    Fetch(Fetch),
    /// Find an offset.
    ListOffsets(ListOffsets),
    /// Read statistics.
    Stats {
        /// One histogram per shard instead of one for all.
        per_shard: bool,
    },
    /// Commit a consumer group's offsets.
    OffsetCommit(OffsetCommit<'a>),
    /// Read what a consumer group has committed.
    OffsetFetch(OffsetFetch<'a>),
    /// List all consumer groups.
    GroupList,
    /// Get an idempotent producer's id.
    InitProducerId,
    /// Give a topic other settings.
    TopicAlter(TopicAlter<'a>),
    /// Find records by key.
    Lookup(Lookup<'a>),
}

/// Opens a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Oldest version the client speaks.
    pub version_min: u16,
    /// Newest version the client speaks.
    pub version_max: u16,
    /// The shard the client wants to talk to, or [`SHARD_ANY`](super::SHARD_ANY).
    pub shard_wish: u16,
    /// Who the client is, for people.
    pub client: &'a str,
}

/// Makes a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicCreate<'a> {
    /// Its name, checked.
    pub name: &'a str,
    /// How many queues it gets.
    pub queues: u16,
    /// Its default ack level; `None`: the node's default.
    pub ack: Option<AckLevel>,
    /// Look inside every batch.
    pub deep_validation: bool,
    /// Index the keys of its records.
    pub key_index: bool,
    /// Its own limits, beside the node's.
    pub retention: Retention,
}

/// Gives a topic other settings; what is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicAlter<'a> {
    /// Its name, checked.
    pub name: &'a str,
    /// Its default ack level.
    pub ack: Option<AckLevel>,
    /// How long its records are kept, in milliseconds; `Some(None)`: without a limit of its own.
    pub age_ms: Option<Option<u64>>,
    /// How many bytes of them are kept; `Some(None)`: without a limit of its own.
    pub bytes: Option<Option<u64>>,
    /// Whether the keys of its records are indexed from now on.
    pub key_index: Option<bool>,
}

/// Appends one batch to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produce<'a> {
    /// Topic id.
    pub topic: u32,
    /// Queue of the topic.
    pub queue: u16,
    /// When to acknowledge; `None`: the topic's default.
    pub ack: Option<AckLevel>,
    /// The record batch, not looked into yet.
    pub batch: &'a [u8],
}

/// Reads entries of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Topic id.
    pub topic: u32,
    /// Queue of the topic.
    pub queue: u16,
    /// Last epoch the reader saw; 0: none.
    pub epoch: u32,
    /// First offset wanted.
    pub offset: u64,
    /// Most entry bytes wanted; one entry is sent even if it is larger.
    pub bytes_max: u32,
    /// Wait until there are this many entry bytes ...
    pub bytes_min: u32,
    /// ... but no longer than this.
    pub wait_max_ms: u32,
}

/// Finds an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListOffsets {
    /// Topic id.
    pub topic: u32,
    /// Queue of the topic.
    pub queue: u16,
    /// Which offset.
    pub kind: ListKind,
    /// For [`ListKind::ByTimestamp`]: milliseconds since 1970.
    pub timestamp_ms: i64,
}

impl Request<'_> {
    /// Which operation this is.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        match self {
            Self::Hello(_) => Operation::Hello,
            Self::Ping(_) => Operation::Ping,
            Self::Metadata(_) => Operation::Metadata,
            Self::TopicCreate(_) => Operation::TopicCreate,
            Self::TopicDelete(_) => Operation::TopicDelete,
            Self::TopicList => Operation::TopicList,
            Self::TopicDescribe(_) => Operation::TopicDescribe,
            Self::Produce(_) => Operation::Produce,
            Self::Fetch(_) => Operation::Fetch,
            Self::ListOffsets(_) => Operation::ListOffsets,
            Self::Stats { .. } => Operation::Stats,
            Self::OffsetCommit(_) => Operation::OffsetCommit,
            Self::OffsetFetch(_) => Operation::OffsetFetch,
            Self::GroupList => Operation::GroupList,
            Self::InitProducerId => Operation::InitProducerId,
            Self::TopicAlter(_) => Operation::TopicAlter,
            Self::Lookup(_) => Operation::Lookup,
        }
    }
}

/// Reads a whole frame, its length field included.
pub fn decode_request(frame: &[u8]) -> Result<(RequestHeader, Request<'_>), DecodeError> {
    let (op, header, body) = read_request_head(frame)?;
    let operation = Operation::from_u8(op).ok_or(DecodeError::UnknownOperation { op })?;
    if header.one_way && operation != Operation::Produce {
        return Err(malformed("only a produce may be one-way"));
    }
    let request = match operation {
        Operation::Hello => Request::Hello(hello(body)?),
        Operation::Ping => Request::Ping(ping(body)?),
        Operation::Metadata => Request::Metadata(Names::decode(body)?),
        Operation::TopicCreate => Request::TopicCreate(topic_create(body)?),
        Operation::TopicDelete => Request::TopicDelete(only_topic_name(body)?),
        Operation::TopicList => empty(body, Request::TopicList)?,
        Operation::TopicDescribe => Request::TopicDescribe(only_topic_name(body)?),
        Operation::Produce => Request::Produce(produce(body)?),
        Operation::Fetch => Request::Fetch(fetch(body)?),
        Operation::ListOffsets => Request::ListOffsets(list_offsets(body)?),
        Operation::Stats => Request::Stats { per_shard: stats_flags(body)? },
        Operation::OffsetCommit => Request::OffsetCommit(offset_commit(body)?),
        Operation::OffsetFetch => Request::OffsetFetch(offset_fetch(body)?),
        Operation::GroupList => empty(body, Request::GroupList)?,
        Operation::InitProducerId => empty(body, Request::InitProducerId)?,
        Operation::TopicAlter => Request::TopicAlter(topic_alter(body)?),
        Operation::Lookup => Request::Lookup(lookup(body)?),
    };
    Ok((header, request))
}

fn empty<'a>(body: Cursor<'a>, request: Request<'a>) -> Result<Request<'a>, DecodeError> {
    body.end().map(|()| request)
}

fn hello(mut body: Cursor<'_>) -> Result<Hello<'_>, DecodeError> {
    let head = body.part::<HelloHead>()?;
    if head.magic.get() != MAGIC {
        return Err(malformed("not a uringmq Hello"));
    }
    let client = body.string(PEER_NAME_BYTES_MAX)?;
    body.end()?;
    Ok(Hello {
        version_min: head.version_min.get(),
        version_max: head.version_max.get(),
        shard_wish: head.shard_wish.get(),
        client,
    })
}

fn ping(body: Cursor<'_>) -> Result<&[u8], DecodeError> {
    let echo = body.rest();
    if echo.len() > PING_BYTES_MAX as usize {
        return Err(malformed("ping is too long"));
    }
    Ok(echo)
}

/// Reads a name of any length: a bad one is an answer, not the end of the connection.
fn topic_name<'a>(body: &mut Cursor<'a>) -> Result<&'a str, DecodeError> {
    let name = body.string(u16::MAX)?;
    if check_topic_name(name) { Ok(name) } else { Err(DecodeError::InvalidTopic) }
}

fn only_topic_name(mut body: Cursor<'_>) -> Result<&str, DecodeError> {
    let name = topic_name(&mut body)?;
    body.end()?;
    Ok(name)
}

fn topic_create(mut body: Cursor<'_>) -> Result<TopicCreate<'_>, DecodeError> {
    let name = topic_name(&mut body)?;
    let tail = body.part::<TopicCreateTail>()?;
    check_topic_flags(tail.flags, TOPIC_DEEP_VALIDATION | TOPIC_KEY_INDEX)?;
    let (age_ms, bytes) = limits(&mut body, tail.flags)?;
    body.end()?;
    Ok(TopicCreate {
        name,
        queues: tail.queues.get(),
        ack: ack_choice(tail.ack)?,
        deep_validation: tail.flags & TOPIC_DEEP_VALIDATION != 0,
        key_index: tail.flags & TOPIC_KEY_INDEX != 0,
        retention: Retention { age_ms: age_ms.flatten(), bytes: bytes.flatten() },
    })
}

fn topic_alter(mut body: Cursor<'_>) -> Result<TopicAlter<'_>, DecodeError> {
    let name = topic_name(&mut body)?;
    let tail = body.part::<TopicAlterTail>()?;
    check_topic_flags(tail.flags, TOPIC_KEY_INDEX | TOPIC_KEY_INDEX_GIVEN)?;
    let is_given = tail.flags & TOPIC_KEY_INDEX_GIVEN != 0;
    let key_index = tail.flags & TOPIC_KEY_INDEX != 0;
    if key_index && !is_given {
        return Err(DecodeError::InvalidArgument { what: "topic flags" });
    }
    let (age_ms, bytes) = limits(&mut body, tail.flags)?;
    body.end()?;
    let (ack, key_index) = (ack_choice(tail.ack)?, is_given.then_some(key_index));
    Ok(TopicAlter { name, ack, age_ms, bytes, key_index })
}

fn check_topic_flags(flags: u8, also: u8) -> Result<(), DecodeError> {
    if flags & !(also | TOPIC_RETENTION_MS | TOPIC_RETENTION_BYTES) != 0 {
        return Err(DecodeError::InvalidArgument { what: "topic flags" });
    }
    Ok(())
}

type Given = Option<Option<u64>>;

/// The limits that the flags announce; zero is no limit.
pub(super) fn limits(body: &mut Cursor<'_>, flags: u8) -> Result<(Given, Given), DecodeError> {
    let mut limit = |flag| match flags & flag {
        0 => Ok(None),
        _ => body.u64().map(|limit| Some(Some(limit).filter(|limit| *limit > 0))),
    };
    Ok((limit(TOPIC_RETENTION_MS)?, limit(TOPIC_RETENTION_BYTES)?))
}

fn produce(mut body: Cursor<'_>) -> Result<Produce<'_>, DecodeError> {
    let head = body.part::<ProduceHead>()?;
    if head.reserved != 0 {
        return Err(malformed("reserved bytes are not zero"));
    }
    let batch = body.rest();
    if batch.len() > BATCH_BYTES_MAX as usize {
        let length = batch.len() as u64;
        return Err(DecodeError::BatchTooLarge { length, bytes_max: BATCH_BYTES_MAX });
    }
    Ok(Produce {
        topic: head.topic.get(),
        queue: head.queue.get(),
        ack: ack_choice(head.ack)?,
        batch,
    })
}

fn fetch(mut body: Cursor<'_>) -> Result<Fetch, DecodeError> {
    let fixed = body.part::<FetchBody>()?;
    body.end()?;
    if fixed.reserved.get() != 0 {
        return Err(malformed("reserved bytes are not zero"));
    }
    Ok(Fetch {
        topic: fixed.topic.get(),
        queue: fixed.queue.get(),
        epoch: fixed.epoch.get(),
        offset: fixed.offset.get(),
        bytes_max: fixed.bytes_max.get(),
        bytes_min: fixed.bytes_min.get(),
        wait_max_ms: fixed.wait_max_ms.get(),
    })
}

fn list_offsets(mut body: Cursor<'_>) -> Result<ListOffsets, DecodeError> {
    let fixed = body.part::<ListOffsetsBody>()?;
    body.end()?;
    if fixed.reserved != 0 {
        return Err(malformed("reserved bytes are not zero"));
    }
    let kind = ListKind::from_u8(fixed.kind);
    Ok(ListOffsets {
        topic: fixed.topic.get(),
        queue: fixed.queue.get(),
        kind: kind.ok_or(DecodeError::InvalidArgument { what: "kind of offset" })?,
        timestamp_ms: fixed.timestamp_ms.get(),
    })
}

fn stats_flags(mut body: Cursor<'_>) -> Result<bool, DecodeError> {
    let flags = body.u8()?;
    body.end()?;
    if flags & !STATS_PER_SHARD != 0 {
        return Err(DecodeError::InvalidArgument { what: "stats flags" });
    }
    Ok(flags & STATS_PER_SHARD != 0)
}
