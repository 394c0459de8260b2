//! What a restarted node holds: every topic, every queue, every batch, read through fetches.

use std::collections::BTreeMap;
use std::fmt;

use engine::batch::BatchRef;
use engine::log::entry_format::EntryHeader;
use engine::shard::{Fetched, QueueRange};

use crate::groups::{Committed, Key};
use crate::history::{Offsets, Queue};
use crate::payload::token_of;

/// A batch as a consumer gets it.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) base_offset: u64,
    pub(crate) records: u32,
    pub(crate) store_ms: u64,
    /// Its keys are to be in the index.
    pub(crate) keyed: bool,
    pub(crate) batch: Vec<u8>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (offset, bytes) = (self.base_offset, self.batch.len());
        write!(f, "{} records of {bytes} bytes at offset {offset}", self.records)
    }
}

/// The entries of a fetch.
pub(crate) fn entries(fetched: &Fetched) -> Vec<Entry> {
    let slices: Vec<&[u8]> = fetched.extents.slices.iter().map(|slice| &**slice).collect();
    let bytes = slices.concat();
    let (mut rest, mut out) = (&bytes[..], Vec::new());
    while let Some(header) = EntryHeader::decode(rest) {
        let batch = header.batch_of(rest).unwrap_or_default().to_vec();
        let records = BatchRef::parse(&batch, u32::MAX).map_or(0, |batch| batch.record_count());
        let (base_offset, store_ms) = (header.base_offset, header.store_timestamp_ms);
        out.push(Entry { base_offset, records, store_ms, keyed: header.keyed, batch });
        rest = rest.get(header.entry_bytes() as usize..).unwrap_or_default();
    }
    assert!(rest.is_empty(), "a fetch holds something that is not an entry");
    out
}

#[derive(Debug, Default)]
pub(crate) struct TopicFound {
    pub(crate) name: String,
    pub(crate) queues: Vec<(QueueRange, Vec<Entry>)>,
}

/// Topics by id, and groups.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) topics: BTreeMap<u32, TopicFound>,
    /// What groups have committed.
    pub(crate) committed: BTreeMap<Key, Committed>,
}

impl Survey {
    pub(crate) fn id(&self, name: &str) -> Option<u32> {
        self.topics.iter().find(|(_, topic)| topic.name == name).map(|(id, _)| *id)
    }

    /// Every queue that was found.
    pub(crate) fn queues(&self) -> impl Iterator<Item = (Queue, &QueueRange, &[Entry])> {
        self.topics.iter().flat_map(|(id, topic)| {
            (0_u16..)
                .zip(&topic.queues)
                .map(move |(number, (range, entries))| ((*id, number), range, &entries[..]))
        })
    }

    /// Which batch is where.
    pub(crate) fn offsets(&self) -> BTreeMap<Queue, Offsets> {
        let offsets = |entries: &[Entry]| {
            let known = entries.iter().filter_map(|e| Some((e.base_offset, token_of(&e.batch)?)));
            known.collect::<Offsets>()
        };
        self.queues().map(|(queue, _, entries)| (queue, offsets(entries))).collect()
    }
}
