//! A change of topics, as the value of the one record of a metadata entry; big-endian.
//!
//! ```text
//!   offset size field
//!        0    1 version   1
//!        1    1 change    1 create, 2 delete, 3 alter
//!        2    1 ack       create: default level; alter: the new one, 255 as before; else zero
//!        3    1 flags     create: bit 0 deep validation; create, alter: bit 1 an age, bit 2 a
//!                         number of bytes is given, bit 3 keys are indexed; alter: bit 4 bit 3
//!                         is given; else zero
//!        4    4 topic     id
//!        8    4 queues    create: how many; else zero
//!       12    2 name      create: bytes of the name; else zero
//!       14    2 reserved  zero
//!       16    8 age       bit 1: milliseconds for which records are kept; zero: no limit
//!             8 bytes     bit 2: bytes of records that are kept; zero: no limit
//!             n name      UTF-8
//!           6*q queues    each: id (4), shard (2)
//! ```
//!
//! The highest id is never given out: there is always a next one.

use std::mem::size_of;

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::catalog::{QueueRef, Topic};
use crate::level::AckLevel;
use crate::shard::retention::Retention;

const VERSION: u8 = 1;
const CREATE: u8 = 1;
const DELETE: u8 = 2;
const ALTER: u8 = 3;
const DEEP: u8 = 1;
const AGE: u8 = 2;
const BYTES: u8 = 4;
const KEYED: u8 = 8;
const KEYED_GIVEN: u8 = 16;
const ACK_AS_BEFORE: u8 = 255;

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
    /// A topic gets other settings.
    Alter(Alteration),
}

/// Other settings for a topic; what is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alteration {
    /// The topic's id.
    pub id: u32,
    /// Its default level.
    pub ack: Option<AckLevel>,
    /// How long its records are kept, in milliseconds; `Some(None)`: without a limit of its own.
    pub age_ms: Option<Option<u64>>,
    /// How many bytes of them are kept; `Some(None)`: without a limit of its own.
    pub bytes: Option<Option<u64>>,
    /// Whether the keys of records are indexed from now on.
    pub keyed: Option<bool>,
}

impl Alteration {
    /// Changes the topic.
    pub fn apply(&self, topic: &mut Topic) {
        topic.ack = self.ack.unwrap_or(topic.ack);
        topic.keyed = self.keyed.unwrap_or(topic.keyed);
        topic.retention = Retention {
            age_ms: self.age_ms.unwrap_or(topic.retention.age_ms),
            bytes: self.bytes.unwrap_or(topic.retention.bytes),
        };
    }
}

impl Change {
    /// The change's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Create(topic) => {
                let Retention { age_ms, bytes: bytes_max } = topic.retention;
                let (age_ms, bytes_max) = (age_ms.map(Some), bytes_max.map(Some));
                let head = Head {
                    version: VERSION,
                    change: CREATE,
                    ack: topic.ack as u8,
                    flags: u8::from(topic.deep) | keys(topic.keyed) | given(age_ms, bytes_max),
                    topic: topic.id.into(),
                    queues: (topic.queues.len() as u32).into(),
                    name: (topic.name.len() as u16).into(),
                    reserved: U16::ZERO,
                };
                let mut bytes = head.as_bytes().to_vec();
                put_limits(&mut bytes, age_ms, bytes_max);
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
            Self::Alter(Alteration { id, ack, age_ms, bytes: bytes_max, keyed }) => {
                let (version, change, topic) = (VERSION, ALTER, (*id).into());
                let ack = ack.map_or(ACK_AS_BEFORE, |ack| ack as u8);
                let keys = keyed.map_or(0, |keyed| keys(keyed) | KEYED_GIVEN);
                let flags = keys | given(*age_ms, *bytes_max);
                let head = Head { version, change, ack, flags, topic, ..Head::default() };
                let mut bytes = head.as_bytes().to_vec();
                put_limits(&mut bytes, *age_ms, *bytes_max);
                bytes
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
            CREATE if head.flags & !(DEEP | AGE | BYTES | KEYED) == 0 => {
                let (age_ms, bytes, rest) = take_limits(head.flags, rest)?;
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
                    keyed: head.flags & KEYED != 0,
                    retention: Retention { age_ms: age_ms.flatten(), bytes: bytes.flatten() },
                    queues,
                }))
            }
            DELETE if rest.is_empty() => Some(Self::Delete { id: head.topic.get() }),
            ALTER if is_alter(head.flags) => {
                let (age_ms, bytes, rest) = take_limits(head.flags, rest)?;
                let ack = match head.ack {
                    ACK_AS_BEFORE => None,
                    ack => Some(AckLevel::from_u8(ack)?),
                };
                let id = head.topic.get();
                let keyed = (head.flags & KEYED_GIVEN != 0).then_some(head.flags & KEYED != 0);
                let alteration = Alteration { id, ack, age_ms, bytes, keyed };
                rest.is_empty().then_some(Self::Alter(alteration))
            }
            _ => None,
        }
    }
}

/// Whether an alteration may have these flags.
fn is_alter(flags: u8) -> bool {
    flags & !(AGE | BYTES | KEYED | KEYED_GIVEN) == 0 && flags & (KEYED | KEYED_GIVEN) != KEYED
}

fn keys(keyed: bool) -> u8 {
    if keyed { KEYED } else { 0 }
}

type Given = Option<Option<u64>>;

fn given(age_ms: Given, bytes: Given) -> u8 {
    age_ms.map_or(0, |_| AGE) | bytes.map_or(0, |_| BYTES)
}

fn put_limits(out: &mut Vec<u8>, age_ms: Given, bytes: Given) {
    for limit in [age_ms, bytes].into_iter().flatten() {
        out.extend_from_slice(&limit.unwrap_or(0).to_be_bytes());
    }
}

/// The limits that the flags announce, and what comes behind them.
fn take_limits(flags: u8, mut rest: &[u8]) -> Option<(Given, Given, &[u8])> {
    let mut take = |flag| {
        if flags & flag == 0 {
            return Some(None);
        }
        let (limit, behind) = U64::ref_from_prefix(rest).ok()?;
        rest = behind;
        Some(Some(Some(limit.get()).filter(|limit| *limit > 0)))
    };
    let (age_ms, bytes) = (take(AGE)?, take(BYTES)?);
    Some((age_ms, bytes, rest))
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
            keyed: false,
            retention: Retention::default(),
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
    fn golden_bytes_of_limits() {
        let Change::Create(topic) = create() else { panic!() };
        let retention = Retention { age_ms: None, bytes: Some(258) };
        let keyed = true;
        let create = Change::Create(Topic { retention, keyed, queues: Vec::new(), ..topic });
        let golden =
            [1, 1, 3, 13, 0, 0, 0, 5, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, b'a', b'b'];
        assert_eq!(create.encode(), golden);
        assert_eq!(Change::decode(&golden), Some(create));
        let (ack, age_ms, bytes) = (None, Some(Some(259)), Some(None));
        let alter = Change::Alter(Alteration { id: 7, ack, age_ms, bytes, keyed: Some(true) });
        let golden = [
            1, 3, 255, 30, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 0, 0, 0, 0,
            0, 0, 0, 0,
        ];
        assert_eq!(alter.encode(), golden);
        assert_eq!(Change::decode(&golden), Some(alter));
        for len in 0..golden.len() {
            assert_eq!(Change::decode(&golden[..len]), None, "{len}");
        }
        assert_eq!(Change::decode(&[&golden[..], &[0]].concat()), None);
        let mut not_given = golden;
        not_given[3] = 14;
        assert_eq!(Change::decode(&not_given), None, "keys that are not given");
    }

    #[test]
    fn an_alteration_leaves_the_rest_alone() {
        let Change::Create(mut topic) = create() else { panic!() };
        let level = Alteration { ack: Some(AckLevel::Memory), ..Alteration::default() };
        let age = Alteration { age_ms: Some(Some(5)), ..Alteration::default() };
        let bytes = Alteration { bytes: Some(Some(6)), ..Alteration::default() };
        let no_age = Alteration { age_ms: Some(None), ..Alteration::default() };
        for alteration in [level, age, bytes, no_age] {
            alteration.apply(&mut topic);
        }
        let retention = Retention { age_ms: None, bytes: Some(6) };
        assert_eq!((topic.ack, topic.retention), (AckLevel::Memory, retention));
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
