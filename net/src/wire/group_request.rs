//! Requests of consumer groups: their offsets, committed and asked for. Lists stay encoded.

use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::{U16, U32, U64};

use super::cursor::{Cursor, malformed, put_string};
use super::group_format::{CommitHead, CommitPart, NO_OFFSET, PlacePart};
use super::limits::{GROUP_NAME_BYTES_MAX, OFFSET_METADATA_BYTES_MAX};
use super::vocabulary::{ack_choice, ack_choice_byte};
use super::{AckLevel, DecodeError, EncodeError};

pub use engine::shard::offsets::is_group_name as check_group_name;

/// Commits offsets of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetCommit<'a> {
    /// The group.
    pub group: &'a str,
    /// When to acknowledge; `None`: durable.
    pub ack: Option<AckLevel>,
    /// What is committed.
    pub offsets: Offsets<'a>,
}

/// Asks for what a group has committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetFetch<'a> {
    /// The group.
    pub group: &'a str,
    /// Of which queues.
    pub places: Places<'a>,
}

/// An offset to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewOffset<'a> {
    /// Topic id.
    pub topic: u32,
    /// Queue of the topic.
    pub queue: u16,
    /// The next offset to read; `None` forgets what was committed.
    pub offset: Option<u64>,
    /// Leader epoch of the last batch that was read; 0: unknown.
    pub epoch: u32,
    /// Whatever is to be kept with it.
    pub metadata: &'a str,
}

/// Offsets to commit, in their encoded form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets<'a> {
    count: u16,
    encoded: &'a [u8],
}

impl<'a> Offsets<'a> {
    /// Encodes `offsets` into `buffer`, which is emptied first.
    pub fn encode(offsets: &[NewOffset<'_>], buffer: &'a mut Vec<u8>) -> Result<Self, EncodeError> {
        buffer.clear();
        let count = count("offset list", offsets.len())?;
        for new in offsets {
            let bytes_max = OFFSET_METADATA_BYTES_MAX;
            if new.metadata.len() > usize::from(bytes_max) {
                let (what, length) = ("offset metadata", new.metadata.len());
                return Err(EncodeError::TooLarge { what, length, bytes_max: bytes_max.into() });
            }
            let part = CommitPart {
                topic: U32::new(new.topic),
                queue: U16::new(new.queue),
                reserved: U16::ZERO,
                epoch: U32::new(new.epoch),
                offset: U64::new(new.offset.unwrap_or(NO_OFFSET)),
            };
            buffer.extend_from_slice(part.as_bytes());
            put_string(buffer, new.metadata, bytes_max);
        }
        Ok(Self { count, encoded: buffer })
    }

    /// The offsets, in order.
    pub fn iter(&self) -> impl Iterator<Item = NewOffset<'a>> + use<'a> {
        let mut cursor = Cursor::new(self.encoded);
        // The bytes were checked by `decode` or written by `encode`: this never ends early.
        (0..self.count).map_while(move |_| new_offset(&mut cursor).ok())
    }

    /// How many bytes they take.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.encoded.len()
    }
}

/// Queues, in their encoded form; none stands for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places<'a> {
    encoded: &'a [u8],
}

impl<'a> Places<'a> {
    /// No queue: all.
    pub const ALL: Places<'static> = Places { encoded: &[] };

    /// Encodes topic ids and queue numbers into `buffer`, which is emptied first.
    pub fn encode(places: &[(u32, u16)], buffer: &'a mut Vec<u8>) -> Result<Self, EncodeError> {
        buffer.clear();
        count("queue list", places.len())?;
        for (topic, queue) in places {
            let part = PlacePart { topic: U32::new(*topic), queue: U16::new(*queue) };
            buffer.extend_from_slice(part.as_bytes());
        }
        Ok(Self { encoded: buffer })
    }

    /// How many there are; 0: all.
    #[must_use]
    pub fn count(&self) -> usize {
        self.encoded.len() / size_of::<PlacePart>()
    }

    /// Topic ids and queue numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u16)> + use<'a> {
        let mut cursor = Cursor::new(self.encoded);
        let place = move || cursor.part::<PlacePart>().ok();
        std::iter::from_fn(place).map(|part| (part.topic.get(), part.queue.get()))
    }

    /// How many bytes they take.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.encoded.len()
    }
}

fn count(what: &'static str, length: usize) -> Result<u16, EncodeError> {
    let bytes_max = u32::from(u16::MAX);
    u16::try_from(length).map_err(|_| EncodeError::TooLarge { what, length, bytes_max })
}

/// Reads a name of any length: a bad one is an answer, not the end of the connection.
fn group_name<'a>(body: &mut Cursor<'a>) -> Result<&'a str, DecodeError> {
    let name = body.string(u16::MAX)?;
    if check_group_name(name) { Ok(name) } else { Err(DecodeError::InvalidGroup) }
}

fn new_offset<'a>(body: &mut Cursor<'a>) -> Result<NewOffset<'a>, DecodeError> {
    let part = body.part::<CommitPart>()?;
    if part.reserved.get() != 0 {
        return Err(malformed("reserved bytes are not zero"));
    }
    Ok(NewOffset {
        topic: part.topic.get(),
        queue: part.queue.get(),
        offset: Some(part.offset.get()).filter(|offset| *offset != NO_OFFSET),
        epoch: part.epoch.get(),
        // Of any length: too long is an answer for this one.
        metadata: body.string(u16::MAX)?,
    })
}

pub(super) fn offset_commit(mut body: Cursor<'_>) -> Result<OffsetCommit<'_>, DecodeError> {
    let group = group_name(&mut body)?;
    let head = body.part::<CommitHead>()?;
    if head.reserved != 0 {
        return Err(malformed("reserved bytes are not zero"));
    }
    let (encoded, count) = (body.peek(), head.count.get());
    for _ in 0..count {
        new_offset(&mut body)?;
    }
    body.end()?;
    Ok(OffsetCommit { group, ack: ack_choice(head.ack)?, offsets: Offsets { count, encoded } })
}

pub(super) fn offset_fetch(mut body: Cursor<'_>) -> Result<OffsetFetch<'_>, DecodeError> {
    let group = group_name(&mut body)?;
    let count = usize::from(body.u16()?);
    let encoded = body.bytes(count * size_of::<PlacePart>())?;
    body.end()?;
    Ok(OffsetFetch { group, places: Places { encoded } })
}

fn put_group(out: &mut Vec<u8>, group: &str) -> Result<(), EncodeError> {
    if !check_group_name(group) {
        return Err(EncodeError::InvalidGroup);
    }
    put_string(out, group, GROUP_NAME_BYTES_MAX);
    Ok(())
}

pub(super) fn put_offset_commit(
    out: &mut Vec<u8>,
    commit: &OffsetCommit<'_>,
) -> Result<(), EncodeError> {
    put_group(out, commit.group)?;
    let count = U16::new(commit.offsets.count);
    let head = CommitHead { ack: ack_choice_byte(commit.ack), reserved: 0, count };
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(commit.offsets.encoded);
    Ok(())
}

pub(super) fn put_offset_fetch(
    out: &mut Vec<u8>,
    fetch: &OffsetFetch<'_>,
) -> Result<(), EncodeError> {
    put_group(out, fetch.group)?;
    out.extend_from_slice(&count("queue list", fetch.places.count())?.to_be_bytes());
    out.extend_from_slice(fetch.places.encoded);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_expressed_is_refused() {
        let new = |metadata| NewOffset { topic: 1, queue: 2, offset: None, epoch: 0, metadata };
        let (long, mut buffer) = ("m".repeat(4097), Vec::new());
        assert!(Offsets::encode(&[new(&long)], &mut buffer).is_err());
        assert!(Offsets::encode(&[new(&long[1..])], &mut buffer).is_ok());
        assert!(Offsets::encode(&vec![new(""); 65_536], &mut buffer).is_err());
        assert!(Places::encode(&vec![(1, 2); 65_536], &mut buffer).is_err());
        let mut out = Vec::new();
        let fetch = OffsetFetch { group: "a\n", places: Places::ALL };
        assert_eq!(put_offset_fetch(&mut out, &fetch), Err(EncodeError::InvalidGroup));
        assert!(out.is_empty());
    }
}
