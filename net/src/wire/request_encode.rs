//! Requests: what a client writes.

use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::{I64, U16, U32, U64};

use super::cursor::put_string;
use super::frame::{patch_length, put_request_head};
use super::group_request::{put_offset_commit, put_offset_fetch};
use super::limits::{
    BATCH_BYTES_MAX, FRAME_BYTES_MAX, PEER_NAME_BYTES_MAX, PING_BYTES_MAX, TOPIC_NAME_BYTES_MAX,
};
use super::lookup::put_lookup;
use super::request_format::{
    FetchBody, HelloHead, ListOffsetsBody, PRODUCE_HEAD_BYTES, ProduceHead, TopicAlterTail,
    TopicCreateTail,
};
use super::vocabulary::ack_choice_byte;
use super::{
    AckLevel, EncodeError, Fetch, Hello, ListOffsets, MAGIC, Names, Operation, Request,
    RequestHeader, STATS_PER_SHARD, TOPIC_DEEP_VALIDATION, TOPIC_KEY_INDEX, TOPIC_KEY_INDEX_GIVEN,
    TOPIC_RETENTION_BYTES, TOPIC_RETENTION_MS, TopicAlter, TopicCreate, check_topic_name,
};

/// Appends a whole request frame to `out`, which is unchanged on an error.
pub fn encode_request(
    out: &mut Vec<u8>,
    header: &RequestHeader,
    request: &Request<'_>,
) -> Result<(), EncodeError> {
    if let Request::Produce(produce) = request {
        let batch_bytes = produce.batch.len();
        encode_produce_header(out, header, produce.topic, produce.queue, produce.ack, batch_bytes)?;
        out.extend_from_slice(produce.batch);
        return Ok(());
    }
    if header.one_way {
        return Err(EncodeError::OneWay);
    }
    let start = out.len();
    put_request_head(out, request.operation().as_u8(), header, 0);
    let written = put_body(out, request)
        .and_then(|()| check_bytes("frame", out.len() - start, FRAME_BYTES_MAX));
    match written {
        Ok(()) => patch_length(out, start),
        Err(_) => out.truncate(start),
    }
    written
}

/// Appends a produce frame up to its batch; `batch_bytes` bytes of batch have to follow, from
/// wherever they lie.
pub fn encode_produce_header(
    out: &mut Vec<u8>,
    header: &RequestHeader,
    topic: u32,
    queue: u16,
    ack: Option<AckLevel>,
    batch_bytes: usize,
) -> Result<(), EncodeError> {
    check_bytes("batch", batch_bytes, BATCH_BYTES_MAX)?;
    let op = Operation::Produce.as_u8();
    put_request_head(out, op, header, PRODUCE_HEAD_BYTES + batch_bytes);
    let head = ProduceHead {
        topic: U32::new(topic),
        queue: U16::new(queue),
        ack: ack_choice_byte(ack),
        reserved: 0,
    };
    out.extend_from_slice(head.as_bytes());
    Ok(())
}

fn put_body(out: &mut Vec<u8>, request: &Request<'_>) -> Result<(), EncodeError> {
    match request {
        Request::Hello(hello) => put_hello(out, hello)?,
        Request::Ping(echo) => {
            check_bytes("ping", echo.len(), PING_BYTES_MAX)?;
            out.extend_from_slice(echo);
        }
        Request::Metadata(names) => put_names(out, names),
        Request::TopicCreate(topic) => put_topic_create(out, topic)?,
        Request::TopicAlter(alter) => put_topic_alter(out, alter)?,
        Request::TopicDelete(name) | Request::TopicDescribe(name) => put_topic_name(out, name)?,
        Request::TopicList | Request::GroupList | Request::InitProducerId => {}
        Request::Produce(_) => {} // written by `encode_request` itself
        Request::Fetch(fetch) => put_fetch(out, fetch),
        Request::ListOffsets(list) => put_list_offsets(out, list),
        Request::Stats { per_shard } => out.push(if *per_shard { STATS_PER_SHARD } else { 0 }),
        Request::OffsetCommit(commit) => put_offset_commit(out, commit)?,
        Request::OffsetFetch(fetch) => put_offset_fetch(out, fetch)?,
        Request::Lookup(lookup) => put_lookup(out, lookup)?,
    }
    Ok(())
}

fn put_hello(out: &mut Vec<u8>, hello: &Hello<'_>) -> Result<(), EncodeError> {
    check_bytes("client name", hello.client.len(), PEER_NAME_BYTES_MAX.into())?;
    let head = HelloHead {
        magic: U32::new(MAGIC),
        version_min: U16::new(hello.version_min),
        version_max: U16::new(hello.version_max),
        shard_wish: U16::new(hello.shard_wish),
    };
    out.extend_from_slice(head.as_bytes());
    put_string(out, hello.client, PEER_NAME_BYTES_MAX);
    Ok(())
}

fn put_names(out: &mut Vec<u8>, names: &Names<'_>) {
    out.extend_from_slice(&names.count().to_be_bytes());
    out.extend_from_slice(names.encoded());
}

fn put_topic_name(out: &mut Vec<u8>, name: &str) -> Result<(), EncodeError> {
    if !check_topic_name(name) {
        return Err(EncodeError::InvalidTopic);
    }
    put_string(out, name, TOPIC_NAME_BYTES_MAX);
    Ok(())
}

fn put_topic_create(out: &mut Vec<u8>, topic: &TopicCreate<'_>) -> Result<(), EncodeError> {
    put_topic_name(out, topic.name)?;
    let (age_ms, bytes) = (topic.retention.age_ms.map(Some), topic.retention.bytes.map(Some));
    let tail = TopicCreateTail {
        queues: U16::new(topic.queues),
        ack: ack_choice_byte(topic.ack),
        flags: topic_flags(topic.deep_validation, topic.key_index, age_ms, bytes),
    };
    out.extend_from_slice(tail.as_bytes());
    put_limits(out, age_ms, bytes);
    Ok(())
}

fn put_topic_alter(out: &mut Vec<u8>, alter: &TopicAlter<'_>) -> Result<(), EncodeError> {
    put_topic_name(out, alter.name)?;
    let given = if alter.key_index.is_some() { TOPIC_KEY_INDEX_GIVEN } else { 0 };
    let key_index = alter.key_index.unwrap_or(false);
    let flags = given | topic_flags(false, key_index, alter.age_ms, alter.bytes);
    let tail = TopicAlterTail { ack: ack_choice_byte(alter.ack), flags };
    out.extend_from_slice(tail.as_bytes());
    put_limits(out, alter.age_ms, alter.bytes);
    Ok(())
}

type Given = Option<Option<u64>>;

pub(super) fn topic_flags(
    deep_validation: bool,
    key_index: bool,
    age_ms: Given,
    bytes: Given,
) -> u8 {
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    flag(deep_validation, TOPIC_DEEP_VALIDATION)
        | flag(key_index, TOPIC_KEY_INDEX)
        | flag(age_ms.is_some(), TOPIC_RETENTION_MS)
        | flag(bytes.is_some(), TOPIC_RETENTION_BYTES)
}

pub(super) fn put_limits(out: &mut Vec<u8>, age_ms: Given, bytes: Given) {
    for limit in [age_ms, bytes].into_iter().flatten() {
        out.extend_from_slice(&limit.unwrap_or(0).to_be_bytes());
    }
}

fn put_fetch(out: &mut Vec<u8>, fetch: &Fetch) {
    let body = FetchBody {
        topic: U32::new(fetch.topic),
        queue: U16::new(fetch.queue),
        reserved: U16::ZERO,
        epoch: U32::new(fetch.epoch),
        offset: U64::new(fetch.offset),
        bytes_max: U32::new(fetch.bytes_max),
        bytes_min: U32::new(fetch.bytes_min),
        wait_max_ms: U32::new(fetch.wait_max_ms),
    };
    out.extend_from_slice(body.as_bytes());
}

fn put_list_offsets(out: &mut Vec<u8>, list: &ListOffsets) {
    let body = ListOffsetsBody {
        topic: U32::new(list.topic),
        queue: U16::new(list.queue),
        kind: list.kind as u8,
        reserved: 0,
        timestamp_ms: I64::new(list.timestamp_ms),
    };
    out.extend_from_slice(body.as_bytes());
}

fn check_bytes(what: &'static str, length: usize, bytes_max: u32) -> Result<(), EncodeError> {
    if length <= bytes_max as usize {
        Ok(())
    } else {
        Err(EncodeError::TooLarge { what, length, bytes_max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_request_leaves_the_output_alone() {
        let mut out = vec![1, 2, 3];
        let long = vec![0; BATCH_BYTES_MAX as usize + 1];
        let one_way = RequestHeader { one_way: true, ..RequestHeader::default() };
        let plain = RequestHeader::default();
        assert!(encode_request(&mut out, &plain, &Request::Ping(&[0; 1025])).is_err());
        assert!(encode_request(&mut out, &plain, &Request::TopicDelete("a b")).is_err());
        assert!(encode_request(&mut out, &one_way, &Request::TopicList).is_err());
        assert!(encode_produce_header(&mut out, &plain, 1, 1, None, long.len()).is_err());
        let names = vec!["x"; 70_000];
        assert!(Names::encode(&names, &mut Vec::new()).is_err());
        let (name, mut buffer) = ("n".repeat(249), Vec::new());
        let names = vec![name.as_str(); 60_000];
        let many = Names::encode(&names, &mut buffer).unwrap();
        assert!(encode_request(&mut out, &plain, &Request::Metadata(many)).is_err());
        assert_eq!(out, [1, 2, 3]);
    }
}
