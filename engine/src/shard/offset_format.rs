//! A committed offset, as one record of an offset commit entry; big-endian.
//!
//! ```text
//!   key                                    value (none: the group has forgotten the queue)
//!   offset size field                      offset size field
//!        0    1 version   1                     0    1 version        1
//!        1    3 reserved  zero                  1    3 reserved       zero
//!        4    4 queue     id                    4    4 epoch          leader epoch of the last
//!        8    n group     UTF-8                                       batch read, 0 unknown
//!                                               8    8 offset         the next one to read
//!                                              16    8 commit_time_ms since the Unix epoch
//!                                              24    n metadata       UTF-8, the client's own
//! ```

use std::mem::{offset_of, size_of};

use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::offsets::Committed;

const VERSION: u8 = 1;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawKey {
    version: u8,
    reserved: [u8; 3],
    queue: U32,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawValue {
    version: u8,
    reserved: [u8; 3],
    epoch: U32,
    offset: U64,
    commit_time_ms: U64,
}

const _: () = assert!(size_of::<RawKey>() == 8 && size_of::<RawValue>() == 24);
const _: () = assert!(offset_of!(RawKey, queue) == 4 && offset_of!(RawValue, epoch) == 4);
const _: () = assert!(offset_of!(RawValue, commit_time_ms) == 16);

/// The key's bytes.
pub(super) fn encode_key(group: &str, queue: u32) -> Vec<u8> {
    let raw = RawKey { version: VERSION, reserved: [0; 3], queue: queue.into() };
    [raw.as_bytes(), group.as_bytes()].concat()
}

/// Group and queue id; `None` when the bytes are not a key.
pub(super) fn decode_key(bytes: &[u8]) -> Option<(&str, u32)> {
    let (raw, group) = RawKey::ref_from_prefix(bytes).ok()?;
    let known = raw.version == VERSION && raw.reserved == [0; 3];
    Some((std::str::from_utf8(group).ok().filter(|_| known)?, raw.queue.get()))
}

/// The value's bytes.
pub(super) fn encode_value(committed: &Committed) -> Vec<u8> {
    let raw = RawValue {
        version: VERSION,
        reserved: [0; 3],
        epoch: committed.epoch.into(),
        offset: committed.offset.into(),
        commit_time_ms: committed.commit_time_ms.into(),
    };
    [raw.as_bytes(), committed.metadata.as_bytes()].concat()
}

/// What was committed; `None` when the bytes are not a value.
pub(super) fn decode_value(bytes: &[u8]) -> Option<Committed> {
    let (raw, metadata) = RawValue::ref_from_prefix(bytes).ok()?;
    let known = raw.version == VERSION && raw.reserved == [0; 3];
    Some(Committed {
        offset: raw.offset.get(),
        epoch: raw.epoch.get(),
        commit_time_ms: raw.commit_time_ms.get(),
        metadata: std::str::from_utf8(metadata).ok().filter(|_| known)?.into(),
    })
}

/// A record of an offset commit, read and written again; `None` when it is not exactly one.
#[must_use]
pub fn rewritten(key: &[u8], value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let ((group, queue), committed) = (decode_key(key)?, decode_value(value)?);
    Some((encode_key(group, queue), encode_value(&committed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let key = [1, 0, 0, 0, 0, 0, 1, 2, b'a', b'b'];
        assert_eq!(encode_key("ab", 0x102), key);
        assert_eq!(decode_key(&key), Some(("ab", 0x102)));
        let value =
            [1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x20, 1, b'm'];
        let committed =
            Committed { offset: 0x1000, epoch: 3, commit_time_ms: 0x2001, metadata: "m".into() };
        assert_eq!(encode_value(&committed), value);
        assert_eq!(decode_value(&value), Some(committed));
    }

    #[test]
    fn what_is_not_one_is_refused() {
        let key = encode_key("g", 1);
        let committed = Committed { offset: 1, epoch: 0, commit_time_ms: 2, metadata: "".into() };
        let value = encode_value(&committed);
        for end in 0..8 {
            assert_eq!(decode_key(&key[..end]), None);
        }
        for end in 0..value.len() {
            assert_eq!(decode_value(&value[..end]), None);
        }
        for at in 0..4 {
            let (mut key, mut value) = (key.clone(), value.clone());
            (key[at], value[at]) = (7, 7);
            assert_eq!((decode_key(&key), decode_value(&value)), (None, None), "byte {at}");
        }
        assert_eq!(decode_key(&[&key[..], &[0xFF]].concat()), None, "not UTF-8");
    }
}
