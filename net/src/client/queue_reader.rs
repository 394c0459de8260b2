//! One queue of a consumer: where it stands, and its one fetch in flight.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use engine::batch::BatchRef;

use super::admin::answer;
use super::connection::{Connection, ReplyFuture};
use super::message::append_messages;
use super::{ClientError, Message, compression};
use crate::wire::limits::BATCH_BYTES_MAX;
use crate::wire::{Entries, Entry, Fetch, Kind, Reply, Request, RequestHeader, decode_reply};

/// How much to fetch and how long to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct FetchLimits {
    pub(super) bytes_max: u32,
    pub(super) bytes_min: u32,
    pub(super) wait_max_ms: u32,
    /// Most that is made of one compressed batch.
    pub(super) decompressed_bytes_max: u32,
}

#[derive(Debug)]
pub(super) struct QueueReader {
    pub(super) queue: u16,
    pub(super) shard: u16,
    /// The next offset to hand out.
    pub(super) offset: u64,
    topic: u32,
    /// Leader epoch of the last batch seen.
    pub(super) epoch: u32,
    pub(super) limits: FetchLimits,
    in_flight: Option<ReplyFuture>,
}

impl QueueReader {
    pub(super) fn new(topic: u32, (queue, shard): (u16, u16), limits: FetchLimits) -> Self {
        Self { queue, shard, offset: 0, topic, epoch: 0, limits, in_flight: None }
    }

    /// Forgets a fetch that will not be answered.
    pub(super) fn forget_fetch(&mut self) {
        self.in_flight = None;
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Goes elsewhere; a fetch in flight is forgotten.
    pub(super) fn seek(&mut self, offset: u64) {
        self.offset = offset;
        self.epoch = 0;
        self.in_flight = None;
    }

    /// Sends the next fetch if none is in flight and there is room for it.
    pub(super) fn try_start(&mut self, connection: &Arc<Connection>) -> Result<(), ClientError> {
        if self.in_flight.is_none() {
            self.in_flight = connection.try_start(RequestHeader::default(), &self.request())?;
        }
        Ok(())
    }

    /// Sends the next fetch when there is room for it.
    pub(super) async fn start(&mut self, connection: &Arc<Connection>) -> Result<(), ClientError> {
        if self.in_flight.is_none() {
            let reply = connection.start(RequestHeader::default(), &self.request()).await?;
            self.in_flight = Some(reply);
        }
        Ok(())
    }

    /// Ready when the fetch in flight is answered; the answer is taken.
    pub(super) fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, ClientError>> {
        let Some(reply) = self.in_flight.as_mut() else { return Poll::Pending };
        let reply = std::task::ready!(Pin::new(reply).poll(cx));
        self.in_flight = None;
        Poll::Ready(reply)
    }

    /// Takes the messages out of an answer and moves on behind them. When something is damaged,
    /// what stands before it is handed out first: the next fetch begins at the damage.
    pub(super) fn accept(&mut self, frame: &Bytes) -> Result<Vec<Message>, ClientError> {
        let reply = answer!(frame, Reply::Fetch(reply) => reply)?;
        let before = self.offset;
        let mut messages = Vec::new();
        // What one answer may become: the rest of it is fetched again.
        let mut room = self.limits.decompressed_bytes_max as usize;
        for entry in Entries::new(reply.entries) {
            let accepted = entry
                .map_err(ClientError::from)
                .and_then(|entry| self.accept_entry(frame, &entry, &mut room, &mut messages));
            if room == 0 && !messages.is_empty() {
                break;
            }
            match accepted {
                Ok(()) => {}
                Err(error) if messages.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        if self.offset == before && !reply.entries.is_empty() {
            // Fetching the same again would spin.
            return Err(ClientError::bad_reply("fetched entries, none of them wanted"));
        }
        Ok(messages)
    }

    fn accept_entry(
        &mut self,
        frame: &Bytes,
        entry: &Entry<'_>,
        room: &mut usize,
        messages: &mut Vec<Message>,
    ) -> Result<(), ClientError> {
        if entry.kind != Kind::Data {
            return Ok(());
        }
        let base_offset = entry.base_offset;
        let batch = BatchRef::parse(entry.batch, BATCH_BYTES_MAX)
            .map_err(|source| ClientError::Batch { base_offset, source })?;
        if batch.base_offset() != base_offset {
            return Err(ClientError::bad_reply("entry and batch have different offsets"));
        }
        let end = base_offset.saturating_add(u64::from(batch.record_count()));
        if end <= self.offset {
            return Ok(());
        }
        if !batch.is_control() {
            let plain = self.unpacked(&batch, end)?;
            let (memory, records) = match &plain {
                Some(plain) => (plain, batch.records_in(plain)),
                None => (frame, batch.records()),
            };
            *room = room.saturating_sub(plain.as_ref().map_or(0, Bytes::len));
            let (stored_ms, wanted) = (entry.store_timestamp_ms, self.offset);
            append_messages(messages, memory, records, &batch, self.queue, stored_ms, wanted)?;
        }
        self.offset = end;
        self.epoch = batch.leader_epoch();
        Ok(())
    }

    /// The records of a compressed batch; `None` if it is not compressed.
    fn unpacked(
        &self,
        batch: &BatchRef<'_>,
        next_offset: u64,
    ) -> Result<Option<Bytes>, ClientError> {
        if !batch.is_compressed() {
            return Ok(None);
        }
        let (codec, bytes_max) = (batch.codec(), self.limits.decompressed_bytes_max);
        let plain = compression::unpack(codec, batch.record_bytes(), bytes_max);
        plain.map(Some).map_err(|source| ClientError::Decompress {
            base_offset: batch.base_offset(),
            next_offset,
            codec,
            source: Arc::new(source),
        })
    }

    pub(super) fn request(&self) -> Request<'static> {
        Request::Fetch(Fetch {
            topic: self.topic,
            queue: self.queue,
            epoch: self.epoch,
            offset: self.offset,
            bytes_max: self.limits.bytes_max,
            bytes_min: self.limits.bytes_min,
            wait_max_ms: self.limits.wait_max_ms,
        })
    }
}
