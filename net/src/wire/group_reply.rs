//! Replies to consumer groups and idempotent producers.

use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::{I16, I64, U16, U32, U64};

use super::cursor::{Cursor, put_string};
use super::group_format::{CommittedPart, NO_OFFSET, ProducerIdPart};
use super::limits::{GROUP_NAME_BYTES_MAX, OFFSET_METADATA_BYTES_MAX};
use super::{DecodeError, ErrorCode};

/// What a group has committed of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedReply<'a> {
    /// Why there is nothing to say about it.
    pub error: Option<ErrorCode>,
    /// Topic id.
    pub topic: u32,
    /// Queue of the topic.
    pub queue: u16,
    /// The next offset to read; `None`: nothing was committed.
    pub offset: Option<u64>,
    /// Leader epoch of the last batch that was read; 0: unknown.
    pub epoch: u32,
    /// When it was committed, in milliseconds since 1970; 0: never.
    pub commit_time_ms: u64,
    /// First offset the queue holds.
    pub start: u64,
    /// Consumers see what is below this offset.
    pub visible: u64,
    /// What the client wanted to be kept.
    pub metadata: &'a str,
}

/// One group of a GroupList reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSummary<'a> {
    /// Of how many queues it has committed an offset.
    pub queues: u32,
    /// Its name.
    pub name: &'a str,
}

/// An idempotent producer's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerId {
    /// Unique on the node for ever.
    pub id: i64,
    /// The epoch to begin with.
    pub epoch: i16,
}

fn error_code(number: u16) -> Option<ErrorCode> {
    match number {
        0 => None,
        number => Some(ErrorCode::from_u16(number).unwrap_or(ErrorCode::Internal)),
    }
}

pub(super) fn offset_commit(mut body: Cursor<'_>) -> Result<Vec<Option<ErrorCode>>, DecodeError> {
    let count = usize::from(body.u16()?);
    let mut results = Vec::with_capacity(body.plausible(count, size_of::<u16>()));
    for _ in 0..count {
        results.push(error_code(body.u16()?));
    }
    body.end()?;
    Ok(results)
}

pub(super) fn offset_fetch(mut body: Cursor<'_>) -> Result<Vec<CommittedReply<'_>>, DecodeError> {
    let count = body.u32()? as usize;
    // What is reserved is no more than the frame has: an item is smaller there than here.
    let item_bytes = size_of::<CommittedReply<'_>>();
    let mut offsets = Vec::with_capacity(body.plausible(count, item_bytes));
    for _ in 0..count {
        let part = body.part::<CommittedPart>()?;
        offsets.push(CommittedReply {
            error: error_code(part.error.get()),
            topic: part.topic.get(),
            queue: part.queue.get(),
            offset: Some(part.offset.get()).filter(|offset| *offset != NO_OFFSET),
            epoch: part.epoch.get(),
            commit_time_ms: part.commit_time_ms.get(),
            start: part.start.get(),
            visible: part.visible.get(),
            metadata: body.string(OFFSET_METADATA_BYTES_MAX)?,
        });
    }
    body.end()?;
    Ok(offsets)
}

pub(super) fn group_list(mut body: Cursor<'_>) -> Result<Vec<GroupSummary<'_>>, DecodeError> {
    let count = body.u32()? as usize;
    let mut groups = Vec::with_capacity(body.plausible(count, size_of::<GroupSummary<'_>>()));
    for _ in 0..count {
        let queues = body.u32()?;
        groups.push(GroupSummary { queues, name: body.string(GROUP_NAME_BYTES_MAX)? });
    }
    body.end()?;
    Ok(groups)
}

pub(super) fn producer_id(mut body: Cursor<'_>) -> Result<ProducerId, DecodeError> {
    let part = body.part::<ProducerIdPart>()?;
    body.end()?;
    Ok(ProducerId { id: part.producer_id.get(), epoch: part.epoch.get() })
}

/// `false`: there are more than the count can say.
pub(super) fn put_offset_commit(out: &mut Vec<u8>, results: &[Option<ErrorCode>]) -> bool {
    out.extend_from_slice(&(results.len() as u16).to_be_bytes());
    for result in results {
        out.extend_from_slice(&result.map_or(0, ErrorCode::as_u16).to_be_bytes());
    }
    results.len() <= usize::from(u16::MAX)
}

pub(super) fn put_offset_fetch(out: &mut Vec<u8>, offsets: &[CommittedReply<'_>]) {
    out.extend_from_slice(&(offsets.len() as u32).to_be_bytes());
    for offset in offsets {
        let part = CommittedPart {
            error: U16::new(offset.error.map_or(0, ErrorCode::as_u16)),
            topic: U32::new(offset.topic),
            queue: U16::new(offset.queue),
            epoch: U32::new(offset.epoch),
            offset: U64::new(offset.offset.unwrap_or(NO_OFFSET)),
            commit_time_ms: U64::new(offset.commit_time_ms),
            start: U64::new(offset.start),
            visible: U64::new(offset.visible),
        };
        out.extend_from_slice(part.as_bytes());
        put_string(out, offset.metadata, OFFSET_METADATA_BYTES_MAX);
    }
}

pub(super) fn put_group_list(out: &mut Vec<u8>, groups: &[GroupSummary<'_>]) {
    out.extend_from_slice(&(groups.len() as u32).to_be_bytes());
    for group in groups {
        out.extend_from_slice(&group.queues.to_be_bytes());
        put_string(out, group.name, GROUP_NAME_BYTES_MAX);
    }
}

pub(super) fn put_producer_id(out: &mut Vec<u8>, producer: &ProducerId) {
    let part =
        ProducerIdPart { producer_id: I64::new(producer.id), epoch: I16::new(producer.epoch) };
    out.extend_from_slice(part.as_bytes());
}
