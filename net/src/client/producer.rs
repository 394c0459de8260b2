//! Sending records to a topic.
//!
//! Records of one queue are stored in the order in which the calls that sent them got through;
//! calls may overlap (one connection, many requests in flight).

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::batch::{BatchBuilder, NewRecord, RecordHeader, append_single};

use super::connection::ReplyFuture;
use super::{AckLevel, Client, ClientError, Timings};
use crate::wire::{Produce, Reply, Request, RequestHeader, decode_reply};

/// A record to send.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    /// The key, if any.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: &'a [RecordHeader<'a>],
    /// The producer's time in milliseconds since 1970; `None`: now.
    pub timestamp_ms: Option<i64>,
}

impl<'a> Record<'a> {
    /// A record with nothing but a value.
    #[must_use]
    pub const fn new(value: &'a [u8]) -> Self {
        Self { key: None, value: Some(value), headers: &[], timestamp_ms: None }
    }

    /// The same record with a key.
    #[must_use]
    pub const fn with_key(self, key: &'a [u8]) -> Self {
        Self { key: Some(key), ..self }
    }

    pub(super) fn stamped(&self) -> NewRecord<'a> {
        NewRecord {
            timestamp_ms: self.timestamp_ms.unwrap_or_else(now_ms),
            key: self.key,
            value: self.value,
            headers: self.headers,
        }
    }
}

/// How a record finds its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitioner {
    /// Always this one.
    Queue(u16),
    /// One after the other, call by call.
    RoundRobin,
    /// CRC-32C of the key, modulo the number of queues; without a key as `RoundRobin`.
    KeyHash,
}

/// Where a record was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The queue.
    pub queue: u16,
    /// The offset in the queue.
    pub offset: u64,
    /// Where the node spent its time, if the producer asks for it.
    pub timings: Option<Timings>,
}

/// Prepares a [`Producer`].
#[derive(Debug)]
#[must_use]
pub struct ProducerBuilder {
    pub(super) client: Client,
    topic: String,
    pub(super) ack: Option<AckLevel>,
    pub(super) partitioner: Partitioner,
    pub(super) timings: bool,
    pub(super) retry_for: Duration,
}

impl ProducerBuilder {
    pub(super) fn new(client: Client, topic: String) -> Self {
        let (partitioner, retry_for) = (Partitioner::KeyHash, Duration::from_secs(30));
        Self { client, topic, ack: None, partitioner, timings: false, retry_for }
    }

    /// Asks for this ack level instead of the topic's.
    pub fn ack(mut self, ack: AckLevel) -> Self {
        self.ack = Some(ack);
        self
    }

    /// Chooses queues this way instead of by key.
    pub fn partitioner(mut self, partitioner: Partitioner) -> Self {
        self.partitioner = partitioner;
        self
    }

    /// Asks the node for its stage timings with every acknowledgement.
    pub fn timings(mut self, timings: bool) -> Self {
        self.timings = timings;
        self
    }

    /// Looks the topic up.
    pub async fn build(self) -> Result<Producer, ClientError> {
        let (topic, queues) = self.look_up().await?;
        Ok(Producer {
            client: self.client,
            topic,
            queues,
            ack: self.ack,
            partitioner: self.partitioner,
            timings: self.timings,
            turn: AtomicU32::new(0),
        })
    }

    /// The topic's id and its number of queues, at least one.
    pub(super) async fn look_up(&self) -> Result<(u32, u16), ClientError> {
        let (topic, queues) = self.client.resolve(&self.topic).await?;
        match self.partitioner {
            Partitioner::Queue(queue) if queue >= queues => Err(ClientError::NoSuchQueue { queue }),
            _ if queues == 0 => Err(ClientError::NoSuchQueue { queue: 0 }),
            _ => Ok((topic, queues)),
        }
    }
}

/// Sends records to one topic.
#[derive(Debug)]
pub struct Producer {
    client: Client,
    topic: u32,
    /// At least 1.
    queues: u16,
    ack: Option<AckLevel>,
    partitioner: Partitioner,
    timings: bool,
    turn: AtomicU32,
}

impl Producer {
    /// Sends a record and waits until it is stored as well as the ack level says.
    pub async fn send(&self, record: &Record<'_>) -> Result<Sent, ClientError> {
        let acked = async { self.send_async(record).await?.await };
        self.client.connection.in_time(Duration::ZERO, acked).await?
    }

    /// Sends a record, waiting only for room in flight; the [`Ack`] resolves when it is stored.
    /// An ack waits as long as the connection lives: bound it with a timeout of your own.
    pub async fn send_async(&self, record: &Record<'_>) -> Result<Ack, ClientError> {
        let queue = self.queue(record.key, self.next_turn());
        let batch = self.single(record)?;
        self.start(queue, &batch).await
    }

    /// Sends a record without asking for an answer: it may be lost, and nobody will say so.
    pub async fn send_one_way(&self, record: &Record<'_>) -> Result<(), ClientError> {
        let queue = self.queue(record.key, self.next_turn());
        let batch = self.single(record)?;
        self.client.connection.start_one_way(&self.request(queue, &batch)).await
    }

    /// Sends many records, one batch per queue (more if they do not fit one), all in flight at
    /// once, and waits for all; says where each was stored. Records without a key stay together.
    /// After an error, some may have been stored.
    pub async fn send_batch(&self, records: &[Record<'_>]) -> Result<Vec<Sent>, ClientError> {
        let turn = self.next_turn();
        let mut order: Vec<(u16, usize)> =
            (records.iter().enumerate()).map(|(at, r)| (self.queue(r.key, turn), at)).collect();
        order.sort_unstable();
        let sent = async {
            let mut acks = Vec::new();
            for group in order.chunk_by(|left, right| left.0 == right.0) {
                self.start_group(group, records, &mut acks).await?;
            }
            let mut sent = Vec::with_capacity(records.len());
            let mut at = 0;
            for (ack, count) in acks {
                let first = ack.await?;
                for (index, &(_, record)) in order.iter().skip(at).take(count).enumerate() {
                    sent.push((record, Sent { offset: first.offset + index as u64, ..first }));
                }
                at += count;
            }
            sent.sort_unstable_by_key(|&(record, _)| record);
            Ok(sent.into_iter().map(|(_, sent)| sent).collect())
        };
        self.client.connection.in_time(Duration::ZERO, sent).await?
    }

    /// Sends the records of one queue in as few batches as they fit.
    async fn start_group(
        &self,
        group: &[(u16, usize)],
        records: &[Record<'_>],
        acks: &mut Vec<(Ack, usize)>,
    ) -> Result<(), ClientError> {
        let mut builder = BatchBuilder::new(self.client.node().batch_bytes_max);
        for &(queue, at) in group {
            let Some(record) = records.get(at) else { continue };
            let record = record.stamped();
            if let Err(error) = builder.append(&record) {
                if builder.is_empty() {
                    return Err(ClientError::Records(error));
                }
                self.start_built(queue, &mut builder, acks).await?;
                builder.append(&record).map_err(ClientError::Records)?;
            }
        }
        match group.first() {
            Some(&(queue, _)) => self.start_built(queue, &mut builder, acks).await,
            None => Ok(()),
        }
    }

    async fn start_built(
        &self,
        queue: u16,
        builder: &mut BatchBuilder,
        acks: &mut Vec<(Ack, usize)>,
    ) -> Result<(), ClientError> {
        let count = builder.record_count() as usize;
        let batch = builder.finish().map_err(ClientError::Records)?;
        acks.push((self.start(queue, batch).await?, count));
        builder.clear();
        Ok(())
    }

    async fn start(&self, queue: u16, batch: &[u8]) -> Result<Ack, ClientError> {
        let header = RequestHeader { timings: self.timings, ..RequestHeader::default() };
        let request = self.request(queue, batch);
        let reply = self.client.connection.start(header, &request).await?;
        Ok(Ack { queue, reply })
    }

    fn request<'a>(&self, queue: u16, batch: &'a [u8]) -> Request<'a> {
        Request::Produce(Produce { topic: self.topic, queue, ack: self.ack, batch })
    }

    fn single(&self, record: &Record<'_>) -> Result<Vec<u8>, ClientError> {
        let mut batch = Vec::new();
        append_single(&mut batch, &record.stamped(), self.client.node().batch_bytes_max)
            .map_err(ClientError::Records)?;
        Ok(batch)
    }

    fn next_turn(&self) -> u32 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    fn queue(&self, key: Option<&[u8]>, turn: u32) -> u16 {
        choose(self.partitioner, self.queues, key, turn)
    }
}

/// The queue of a record, of `queues`, at least one.
pub(super) fn choose(partitioner: Partitioner, queues: u16, key: Option<&[u8]>, turn: u32) -> u16 {
    let queues = u32::from(queues.max(1));
    match (partitioner, key) {
        (Partitioner::Queue(queue), _) => queue,
        (Partitioner::KeyHash, Some(key)) => (crc32c::crc32c(key) % queues) as u16,
        _ => (turn % queues) as u16,
    }
}

/// Resolves when the record is stored, or is known not to be.
#[derive(Debug)]
#[must_use = "an ack that is dropped says nothing; send one-way instead"]
pub struct Ack {
    queue: u16,
    reply: ReplyFuture,
}

impl Future for Ack {
    type Output = Result<Sent, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let frame = std::task::ready!(Pin::new(&mut self.reply).poll(context))?;
        Poll::Ready(sent(self.queue, &frame))
    }
}

pub(super) fn sent(queue: u16, frame: &[u8]) -> Result<Sent, ClientError> {
    match decode_reply(frame)? {
        (header, Reply::Produce(offset)) => Ok(Sent { queue, offset, timings: header.timings }),
        (_, Reply::Error { error, .. }) => Err(error.into()),
        _ => Err(ClientError::bad_reply("reply to another operation")),
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}
