//! A change of topics, as the value of the one record of a metadata entry; big-endian.
//!
//! ```text
//!   offset size field
//!        0    1 version   1
//!        1    1 change    1 create, 2 delete
//!        2    1 ack       create: default level; else zero
//!        3    1 flags     create: bit 0 deep validation; else zero
//!        4    4 topic     id
//!        8    4 queues    create: how many; else zero
//!       12    2 name      create: bytes of the name; else zero
//!       14    2 reserved  zero
//!       16    n name      UTF-8
//!     16+n 6*q queues     each: id (4), shard (2)
//! ```
//!
//! The highest id is never given out: there is always a next one.

use std::mem::size_of;

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::catalog::{QueueRef, Topic};
use crate::level::AckLevel;

const VERSION: u8 = 1;
const CREATE: u8 = 1;
const DELETE: u8 = 2;
const DEEP: u8 = 1;

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Head {
    version: u8,
    change: u8,
    ack: u8,
    flags: u8,
    topic: U32,
    queues: U32,
    name: U16,
    reserved: U16,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawQueue {
    id: U32,
    shard: U16,
}

const _: () = assert!(size_of::<Head>() == 16 && size_of::<RawQueue>() == 6);

/// One atomic change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A topic with all its queues.
    Create(Topic),
    /// A topic goes, with all its queues.
    Delete {
        /// Its id.
        id: u32,
    },
}

impl Change {
    /// The change's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Create(topic) => {
                let head = Head {
                    version: VERSION,
                    change: CREATE,
                    ack: topic.ack as u8,
                    flags: u8::from(topic.deep),
                    topic: topic.id.into(),
                    queues: (topic.queues.len() as u32).into(),
                    name: (topic.name.len() as u16).into(),
                    reserved: U16::ZERO,
                };
                let mut bytes = head.as_bytes().to_vec();
                bytes.extend_from_slice(topic.name.as_bytes());
                for queue in &topic.queues {
                    let raw = RawQueue { id: queue.id.into(), shard: queue.shard.into() };
                    bytes.extend_from_slice(raw.as_bytes());
                }
                bytes
            }
            Self::Delete { id } => {
                let (version, change, topic) = (VERSION, DELETE, (*id).into());
                Head { version, change, topic, ..Head::default() }.as_bytes().to_vec()
            }
        }
    }

    /// Reads a change; `None` when the bytes are not exactly one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = Head::ref_from_prefix(bytes).ok()?;
        if head.version != VERSION || head.reserved.get() != 0 {
            return None;
        }
        match head.change {
            CREATE => {
                let (name, rest) = rest.split_at_checked(usize::from(head.name.get()))?;
                let queues = <[RawQueue]>::ref_from_bytes(rest).ok()?;
                let used_up = queues.iter().any(|raw| raw.id.get() == u32::MAX);
                if queues.len() != head.queues.get() as usize
                    || used_up
                    || head.topic.get() == u32::MAX
                {
                    return None;
                }
                let queues = queues
                    .iter()
                    .map(|raw| QueueRef { id: raw.id.get(), shard: raw.shard.get() })
                    .collect();
                Some(Self::Create(Topic {
                    id: head.topic.get(),
                    name: std::str::from_utf8(name).ok()?.to_owned(),
                    ack: AckLevel::from_u8(head.ack)?,
                    deep: head.flags & DEEP != 0,
                    queues,
                }))
            }
            DELETE if rest.is_empty() => Some(Self::Delete { id: head.topic.get() }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create() -> Change {
        Change::Create(Topic {
            id: 5,
            name: "ab".to_owned(),
            ack: AckLevel::Durable,
            deep: true,
            queues: vec![QueueRef { id: 9, shard: 1 }, QueueRef { id: 10, shard: 0 }],
        })
    }

    #[test]
    fn golden_bytes() {
        let golden = [
            1, 1, 3, 1, 0, 0, 0, 5, 0, 0, 0, 2, 0, 2, 0, 0, b'a', b'b', 0, 0, 0, 9, 0, 1, 0, 0, 0,
            10, 0, 0,
        ];
        assert_eq!(create().encode(), golden);
        assert_eq!(Change::decode(&golden), Some(create()));
        let delete = [1, 2, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Change::Delete { id: 7 }.encode(), delete);
        assert_eq!(Change::decode(&delete), Some(Change::Delete { id: 7 }));
    }

    #[test]
    fn an_id_without_a_next_one_is_refused() {
        let bytes = create().encode();
        for at in [4, 18, 24] {
            let mut last = bytes.clone();
            last[at..at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
            assert_eq!(Change::decode(&last), None, "{at}");
        }
    }

    #[test]
    fn cut_or_longer_bytes_are_refused() {
        let bytes = create().encode();
        for len in 0..bytes.len() {
            assert_eq!(Change::decode(&bytes[..len]), None, "{len}");
        }
        assert_eq!(Change::decode(&[&bytes[..], &[0]].concat()), None);
    }
}
