//! Looking for records by key: a request with the key, a reply with offsets. Big-endian.
//!
//! ```text
//! request  0 topic u32, 4 queue u16, 6 reserved u16, 8 first u64, 16 end u64, 24 max u32,
//!          28 key, to the end
//! reply    0 reached u64, 8 log_start u64, 16 visible u64, then offsets u64, to the end
//! ```

use core::mem::offset_of;
use std::borrow::Cow;

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::cursor::{Cursor, malformed};
use super::limits::KEY_BYTES_MAX;
use super::{DecodeError, EncodeError};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct LookupHead {
    topic: U32,
    queue: U16,
    reserved: U16,
    first: U64,
    end: U64,
    max: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct LookupReplyHead {
    reached: U64,
    log_start: U64,
    visible: U64,
}

const _: () = assert!(size_of::<LookupHead>() == 28 && offset_of!(LookupHead, max) == 24);
const _: () = assert!(size_of::<LookupReplyHead>() == 24);

/// Looks for the records of a queue that have a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup<'a> {
    /// Topic id.
    pub topic: u32,
    /// Queue of the topic.
    pub queue: u16,
    /// First offset to look at ...
    pub first: u64,
    /// ... and where to end.
    pub end: u64,
    /// How many to find at most.
    pub max: u32,
    /// The key.
    pub key: &'a [u8],
}

/// Records that may have the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupReply<'a> {
    /// It was looked down to this offset: ask again for what lies below it, if more is wanted.
    pub reached: u64,
    /// First offset stored.
    pub log_start: u64,
    /// Consumers see what is below this offset.
    pub visible: u64,
    /// Their offsets, the last first. Another key can have the same checksum: compare.
    pub offsets: Cow<'a, [u64]>,
}

pub(super) fn lookup(mut body: Cursor<'_>) -> Result<Lookup<'_>, DecodeError> {
    let head = body.part::<LookupHead>()?;
    if head.reserved.get() != 0 {
        return Err(malformed("reserved bytes are not zero"));
    }
    let key = body.rest();
    if key.is_empty() || key.len() > usize::from(KEY_BYTES_MAX) {
        return Err(DecodeError::InvalidArgument { what: "length of the key" });
    }
    Ok(Lookup {
        topic: head.topic.get(),
        queue: head.queue.get(),
        first: head.first.get(),
        end: head.end.get(),
        max: head.max.get(),
        key,
    })
}

pub(super) fn put_lookup(out: &mut Vec<u8>, lookup: &Lookup<'_>) -> Result<(), EncodeError> {
    let (length, bytes_max) = (lookup.key.len(), u32::from(KEY_BYTES_MAX));
    if length > bytes_max as usize || length == 0 {
        return Err(EncodeError::TooLarge { what: "key", length, bytes_max });
    }
    let head = LookupHead {
        topic: U32::new(lookup.topic),
        queue: U16::new(lookup.queue),
        reserved: U16::ZERO,
        first: U64::new(lookup.first),
        end: U64::new(lookup.end),
        max: U32::new(lookup.max),
    };
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(lookup.key);
    Ok(())
}

pub(super) fn lookup_reply(mut body: Cursor<'_>) -> Result<LookupReply<'_>, DecodeError> {
    let head = body.part::<LookupReplyHead>()?;
    let offsets = <[U64]>::ref_from_bytes(body.rest()).map_err(|_| malformed("offsets"))?;
    Ok(LookupReply {
        reached: head.reached.get(),
        log_start: head.log_start.get(),
        visible: head.visible.get(),
        offsets: offsets.iter().map(|offset| offset.get()).collect(),
    })
}

pub(super) fn put_lookup_reply(out: &mut Vec<u8>, reply: &LookupReply<'_>) {
    let head = LookupReplyHead {
        reached: U64::new(reply.reached),
        log_start: U64::new(reply.log_start),
        visible: U64::new(reply.visible),
    };
    out.extend_from_slice(head.as_bytes());
    reply.offsets.iter().for_each(|offset| out.extend_from_slice(&offset.to_be_bytes()));
}
