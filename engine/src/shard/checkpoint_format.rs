//! A shard's state in its own log: the records of a checkpoint entry; big-endian.
//!
//! ```text
//!   key                                    value
//!   offset size field
//!        0    1 version   1
//!        1    1 what      1 queue          0 8 next_offset, then lives: 4 epoch, 8 base_offset
//!                         2 offset         as in an offset commit
//!                         3 producer       0 2 epoch, 2 4 next sequence, then batches, oldest
//!                                          first: 4 first sequence, 4 records, 8 base offset,
//!                                          8 group
//!                         4 topic          a change of topics: create
//!                         5 shard          0 1 producers were forgotten (0 or 1)
//!                         6 ids            0 4 next topic id, 4 4 next queue id
//!                         7 end            0 8 position of the checkpoint's first entry
//!                         8 start          0 8 start_offset: what lies before it was let go by the
//!                                          topic's limits; also in entries of their own
//!        2    2 reserved  zero
//!        4    4 queue     queue, start, producer: queue id; offset: the rest is an offset commit's
//!                         key
//!        8    8 producer  producer: its id
//! ```

use std::mem::size_of;

use zerocopy::big_endian::{I32, I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::offset_format;
use super::offsets::Committed;
use super::sequences::Stored;
use crate::batch::BatchRef;
use crate::log::position::LogPos;

const VERSION: u8 = 1;

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawKey {
    version: u8,
    what: u8,
    reserved: [u8; 2],
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawProducerKey {
    queue: U32,
    producer: I64,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawLife {
    epoch: U32,
    base_offset: U64,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawProducer {
    epoch: U16,
    next: I32,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawBatch {
    first: I32,
    records: U32,
    base_offset: U64,
    group: U64,
}

const _: () = assert!(size_of::<RawKey>() == 4 && size_of::<RawLife>() == 12);
const _: () = assert!(size_of::<RawProducer>() == 6 && size_of::<RawBatch>() == 24);

/// One piece of a shard's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Where a queue ends, and where the lives of the log begin in it: epoch, offset.
    Queue { queue: u32, next_offset: u64, lives: Vec<(u32, u64)> },
    /// What a consumer group has committed.
    Offset { group: &'a str, queue: u32, committed: Committed },
    /// What is remembered of an idempotent producer.
    Producer { queue: u32, producer: i64, epoch: i16, next: i32, batches: Vec<Stored> },
    /// A topic, as the change that makes it.
    Topic(&'a [u8]),
    /// What belongs to the shard itself.
    Shard { forgot_producers: bool },
    /// The ids that topics and queues get next.
    Ids { next_topic: u32, next_queue: u32 },
    /// The checkpoint that began at this position is complete.
    End { begin: LogPos },
    /// Where a queue begins by its topic's limits.
    Start { queue: u32, start_offset: u64 },
}

impl Part<'_> {
    /// Key and value of its record.
    pub(super) fn encode(&self) -> (Vec<u8>, Vec<u8>) {
        let key = |what, rest: &[u8]| {
            let raw = RawKey { version: VERSION, what, ..RawKey::default() };
            [raw.as_bytes(), rest].concat()
        };
        match self {
            Self::Queue { queue, next_offset, lives } => {
                let mut value = next_offset.to_be_bytes().to_vec();
                for &(epoch, base_offset) in lives {
                    let raw = RawLife { epoch: epoch.into(), base_offset: base_offset.into() };
                    value.extend_from_slice(raw.as_bytes());
                }
                (key(1, &queue.to_be_bytes()), value)
            }
            Self::Offset { group, queue, committed } => {
                let rest = offset_format::encode_key(group, *queue);
                (key(2, &rest), offset_format::encode_value(committed))
            }
            Self::Producer { queue, producer, epoch, next, batches } => {
                let rest = RawProducerKey { queue: (*queue).into(), producer: (*producer).into() };
                let epoch = U16::new(epoch.cast_unsigned());
                let mut value = RawProducer { epoch, next: (*next).into() }.as_bytes().to_vec();
                for batch in batches {
                    let raw = RawBatch {
                        first: batch.first.into(),
                        records: batch.records.into(),
                        base_offset: batch.base_offset.into(),
                        group: batch.group.into(),
                    };
                    value.extend_from_slice(raw.as_bytes());
                }
                (key(3, rest.as_bytes()), value)
            }
            Self::Topic(change) => (key(4, &[]), change.to_vec()),
            Self::Shard { forgot_producers } => (key(5, &[]), vec![u8::from(*forgot_producers)]),
            Self::Ids { next_topic, next_queue } => {
                (key(6, &[]), [next_topic.to_be_bytes(), next_queue.to_be_bytes()].concat())
            }
            Self::End { begin } => (key(7, &[]), begin.0.to_be_bytes().to_vec()),
            Self::Start { queue, start_offset } => {
                (key(8, &queue.to_be_bytes()), start_offset.to_be_bytes().to_vec())
            }
        }
    }
}

impl<'a> Part<'a> {
    /// Reads a record; `None` when it is not exactly a part.
    pub(super) fn decode(key: &'a [u8], value: &'a [u8]) -> Option<Self> {
        let (raw, rest) = RawKey::ref_from_prefix(key).ok()?;
        if raw.version != VERSION || raw.reserved != [0; 2] {
            return None;
        }
        let alone = || rest.is_empty().then_some(());
        Some(match raw.what {
            1 => {
                let (next_offset, lives) = value.split_first_chunk()?;
                let lives = <[RawLife]>::ref_from_bytes(lives).ok()?;
                let life = |raw: &RawLife| (raw.epoch.get(), raw.base_offset.get());
                Self::Queue {
                    queue: u32::from_be_bytes(rest.try_into().ok()?),
                    next_offset: u64::from_be_bytes(*next_offset),
                    lives: lives.iter().map(life).collect(),
                }
            }
            2 => {
                let (group, queue) = offset_format::decode_key(rest)?;
                let committed = offset_format::decode_value(value)?;
                Self::Offset { group, queue, committed }
            }
            3 => {
                let id = RawProducerKey::ref_from_bytes(rest).ok()?;
                let (head, batches) = RawProducer::ref_from_prefix(value).ok()?;
                let batches = <[RawBatch]>::ref_from_bytes(batches).ok()?;
                let batch = |raw: &RawBatch| Stored {
                    first: raw.first.get(),
                    records: raw.records.get(),
                    base_offset: raw.base_offset.get(),
                    group: raw.group.get(),
                };
                Self::Producer {
                    queue: id.queue.get(),
                    producer: id.producer.get(),
                    epoch: head.epoch.get().cast_signed(),
                    next: head.next.get(),
                    batches: batches.iter().map(batch).collect(),
                }
            }
            4 => alone().map(|()| Self::Topic(value))?,
            5 => match (alone()?, value) {
                ((), [0]) => Self::Shard { forgot_producers: false },
                ((), [1]) => Self::Shard { forgot_producers: true },
                _ => return None,
            },
            6 => {
                alone()?;
                let (topic, queue) = value.split_first_chunk()?;
                let next_topic = u32::from_be_bytes(*topic);
                let next_queue = u32::from_be_bytes(queue.try_into().ok()?);
                Self::Ids { next_topic, next_queue }
            }
            7 => {
                alone()?;
                Self::End { begin: LogPos(u64::from_be_bytes(value.try_into().ok()?)) }
            }
            8 => Self::Start {
                queue: u32::from_be_bytes(rest.try_into().ok()?),
                start_offset: u64::from_be_bytes(value.try_into().ok()?),
            },
            _ => return None,
        })
    }
}

/// A record of a checkpoint, read and written again; `None` when it is not exactly one.
#[must_use]
pub fn rewritten(key: &[u8], value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    Part::decode(key, value).map(|part| part.encode())
}

/// Shows every part of a checkpoint entry's batch to `visit`; `None` when one cannot be read.
pub(crate) fn parts(batch: &[u8], mut visit: impl FnMut(Part<'_>)) -> Option<()> {
    for record in BatchRef::parse_unverified(batch).ok()?.records() {
        let record = record.ok()?;
        visit(Part::decode(record.key?, record.value?)?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<(Part<'static>, Vec<u8>, Vec<u8>)> {
        let committed = Committed { offset: 9, epoch: 3, commit_time_ms: 2, metadata: "m".into() };
        let batch = Stored { first: 1, records: 2, base_offset: 3, group: 4 };
        let offset_key = [1, 2, 0, 0, 1, 0, 0, 0, 0, 0, 0, 7, b'g'];
        let offset_value = offset_format::encode_value(&committed);
        let mut producer = vec![0, 2, 0, 0, 0, 5];
        producer.extend([0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
        producer.extend([0, 0, 0, 0, 0, 0, 0, 4]);
        vec![
            (
                Part::Queue { queue: 7, next_offset: 258, lives: vec![(1, 0), (3, 16)] },
                vec![1, 1, 0, 0, 0, 0, 0, 7],
                vec![
                    0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0,
                    0, 0, 0, 0, 0, 16,
                ],
            ),
            (Part::Offset { group: "g", queue: 7, committed }, offset_key.into(), offset_value),
            (
                Part::Producer { queue: 7, producer: 258, epoch: 2, next: 5, batches: vec![batch] },
                vec![1, 3, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 1, 2],
                producer,
            ),
            (Part::Topic(b"change"), vec![1, 4, 0, 0], b"change".to_vec()),
            (Part::Shard { forgot_producers: true }, vec![1, 5, 0, 0], vec![1]),
            (
                Part::Ids { next_topic: 2, next_queue: 3 },
                vec![1, 6, 0, 0],
                vec![0, 0, 0, 2, 0, 0, 0, 3],
            ),
            (Part::End { begin: LogPos(4096) }, vec![1, 7, 0, 0], vec![0, 0, 0, 0, 0, 0, 16, 0]),
            (
                Part::Start { queue: 7, start_offset: 258 },
                vec![1, 8, 0, 0, 0, 0, 0, 7],
                vec![0, 0, 0, 0, 0, 0, 1, 2],
            ),
        ]
    }

    #[test]
    fn golden_bytes() {
        for (part, key, value) in all() {
            assert_eq!(part.encode(), (key.clone(), value.clone()), "{part:?}");
            assert_eq!(Part::decode(&key, &value), Some(part));
        }
    }

    #[test]
    fn what_is_not_exactly_a_part_is_refused() {
        for (part, key, value) in all() {
            for end in 0..key.len().min(4) {
                assert_eq!(Part::decode(&key[..end], &value), None, "{part:?}");
            }
            for at in 0..4 {
                let mut wrong = key.clone();
                wrong[at] = 0xEE;
                assert_eq!(Part::decode(&wrong, &value), None, "{part:?}");
            }
            if !matches!(part, Part::Topic(_) | Part::Offset { .. }) {
                assert_eq!(Part::decode(&key, &[&value[..], &[0]].concat()), None, "{part:?}");
                assert_eq!(Part::decode(&[&key[..], &[0]].concat(), &value), None, "{part:?}");
            }
        }
    }
}
