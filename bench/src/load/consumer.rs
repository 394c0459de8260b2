//! A connection that consumes: one long-polling fetch outstanding for each of its queues, whose
//! index is the correlation number.

use std::time::Instant;

use engine::batch::BatchRef;
use net::wire::limits::{BATCH_BYTES_MAX, FETCH_BYTES_MAX};
use net::wire::{
    Entries, Entry, Fetch, Kind, Reply, Request, RequestHeader, decode_reply, encode_request,
};

use super::control::refused;
use super::link::Link;
use super::tally::Tally;
use super::{Load, LoadError, Verifier};

/// Most entry bytes asked for at once.
const FETCH_BYTES: u32 = 1 << 20;
const WAIT_MAX_MS: u32 = 500;
/// Any reply fits: what was asked for, or one entry of any size.
const INPUT_BYTES: usize = 2 * (BATCH_BYTES_MAX as usize + 4096);

const _: () = assert!(FETCH_BYTES <= FETCH_BYTES_MAX && FETCH_BYTES < BATCH_BYTES_MAX);

struct Position {
    queue: u16,
    offset: u64,
}

/// One consumer.
pub(super) struct Consumer {
    pub(super) link: Link,
    topic: u32,
    positions: Vec<Position>,
}

impl Consumer {
    /// Connects, and asks for the first records of a topic's queues whose numbers leave
    /// `share.0` when divided by `share.1`.
    pub(super) fn connect(load: &Load, topic: u32, share: (u32, u32)) -> Result<Self, LoadError> {
        let mine = (0..load.queues).filter(|queue| u32::from(*queue) % share.1 == share.0);
        let mut consumer = Self {
            link: Link::connect(load.addr, load.dialect, INPUT_BYTES)?,
            topic,
            positions: mine.map(|queue| Position { queue, offset: 0 }).collect(),
        };
        for index in 0..consumer.positions.len() {
            consumer.ask(index as u32)?;
        }
        Ok(consumer)
    }

    fn ask(&mut self, index: u32) -> Result<(), LoadError> {
        let Some(position) = self.positions.get(index as usize) else {
            return Err(LoadError::Unexpected("a fetch that was not sent"));
        };
        let header = RequestHeader { correlation: index, ..RequestHeader::default() };
        let fetch = Fetch {
            topic: self.topic,
            queue: position.queue,
            epoch: 0,
            offset: position.offset,
            bytes_max: FETCH_BYTES,
            bytes_min: 1,
            wait_max_ms: WAIT_MAX_MS,
        };
        Ok(encode_request(&mut self.link.output, &header, &Request::Fetch(fetch))?)
    }

    /// Takes all records that have arrived and asks for more.
    pub(super) fn receive(
        &mut self,
        load: &Load,
        tally: &mut Tally,
        mut verifier: Option<&mut Verifier>,
    ) -> Result<(), LoadError> {
        if !self.link.receive()? {
            return Ok(());
        }
        while let Some(frame) = self.link.next_frame()? {
            let (header, reply) = decode_reply(frame)?;
            let index = header.correlation;
            let Some(position) = self.positions.get_mut(index as usize) else {
                return Err(LoadError::Unexpected("a fetch that was not sent"));
            };
            match reply {
                Reply::Fetch(fetched) => {
                    let (before, now) = (position.offset, Instant::now());
                    for entry in Entries::new(fetched.entries) {
                        let entry =
                            entry.map_err(|_| LoadError::Unexpected("with a damaged log entry"))?;
                        if load.stamps {
                            position.arrived(&entry, tally, now)?;
                        }
                        position.read(&entry, verifier.as_deref_mut())?;
                    }
                    tally.consumed(position.offset - before, now);
                }
                Reply::Error { error, .. } if error.code.retryable() => {}
                Reply::Error { error, .. } => return Err(refused("fetch", &error)),
                _ => return Err(LoadError::Unexpected("something else to a fetch")),
            }
            self.ask(index)?;
        }
        Ok(())
    }
}

impl Position {
    /// Notes how long the messages of an entry took from when they were due.
    fn arrived(&self, entry: &Entry<'_>, tally: &mut Tally, now: Instant) -> Result<(), LoadError> {
        if entry.kind != Kind::Data || entry.base_offset < self.offset {
            return Ok(());
        }
        let batch = BatchRef::parse_unverified(entry.batch)?;
        let first = batch.records().next().and_then(Result::ok);
        if let Some(stamp) = first.and_then(|first| first.key?.try_into().ok()) {
            tally.arrived(u64::from(batch.record_count()), u64::from_be_bytes(stamp), now);
        }
        Ok(())
    }

    /// Takes the records from the wanted offset on.
    fn read(
        &mut self,
        entry: &Entry<'_>,
        verifier: Option<&mut Verifier>,
    ) -> Result<(), LoadError> {
        if entry.kind != Kind::Data {
            return Ok(());
        }
        let batch = BatchRef::parse_unverified(entry.batch)?;
        let end = batch.base_offset() + u64::from(batch.record_count());
        let Some(verifier) = verifier else {
            self.offset = self.offset.max(end);
            return Ok(());
        };
        if BatchRef::parse(entry.batch, BATCH_BYTES_MAX).is_err()
            || batch.base_offset() != entry.base_offset
        {
            verifier.damaged(u64::from(batch.record_count()));
        } else {
            for record in batch.records() {
                let Ok(record) = record else {
                    verifier.damaged(1);
                    break;
                };
                let offset = batch.base_offset() + u64::from(record.offset_delta);
                if offset >= self.offset {
                    verifier.see(self.queue, offset, record.key, record.value);
                }
            }
        }
        self.offset = self.offset.max(end);
        Ok(())
    }
}
