//! Sending records to a topic.
//!
//! Reading order: `record` (what is sent), this file (options, and what callers do), `lane` (one
//! queue's batches as they fill), `delivery` (one queue's task: send, wait, try again), `parcel`
//! (a batch on its way), `ack` (what callers wait for), `observer` (metrics).
//!
//! Invariants: a record that was accepted is delivered, or given up with an error, whether or not
//! anyone waits for it, exactly once for an idempotent producer; dropping a future before its
//! record was accepted sends nothing; records of one queue are stored in the order in which they
//! were accepted (see [`ProducerBuilder::idempotent`] for the exception); what is accepted and not
//! yet settled is bounded in bytes, and callers wait for room.
//! Absent: being idempotent over several producers' lives (a new producer has a new id),
//! transactions.

mod ack;
mod delivery;
mod lane;
mod observer;
mod parcel;
mod record;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::batch::append_single;
use tokio::sync::Semaphore;

use super::backoff::RetryPolicy;
use super::{AckLevel, Client, ClientError, Compression};
use crate::wire::{Produce, Request};
use lane::{Lane, Line, Sizes};

pub use ack::Ack;
pub use observer::{BatchReport, ProducerCounts, ProducerObserver, ProducerStats};
pub use record::{Partitioner, Record, Sent};

/// A node remembers as many batches of a producer in a queue: more must not be in doubt at once.
pub const IDEMPOTENT_IN_FLIGHT_MAX: usize = 5;

/// Prepares a [`Producer`].
#[derive(Debug)]
#[must_use]
pub struct ProducerBuilder {
    client: Client,
    topic: String,
    options: Options,
}

/// See the builder's methods.
#[derive(Clone, Debug)]
struct Options {
    ack: Option<AckLevel>,
    partitioner: Partitioner,
    timings: bool,
    idempotent: bool,
    linger: Duration,
    batch_bytes: usize,
    in_flight_max: usize,
    buffer_bytes: usize,
    compression: Compression,
    delivery_timeout: Duration,
    retry: RetryPolicy,
    observer: Option<Arc<dyn ProducerObserver>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ack: None,
            partitioner: Partitioner::KeyHash,
            timings: false,
            idempotent: true,
            linger: Duration::ZERO,
            batch_bytes: 256 * 1024,
            in_flight_max: IDEMPOTENT_IN_FLIGHT_MAX,
            buffer_bytes: 32 * 1024 * 1024,
            compression: Compression::None,
            delivery_timeout: Duration::from_secs(60),
            retry: RetryPolicy::default(),
            observer: None,
        }
    }
}

impl ProducerBuilder {
    pub(super) fn new(client: Client, topic: String) -> Self {
        Self { client, topic, options: Options::default() }
    }

    /// Asks for this ack level instead of the topic's.
    pub fn ack(mut self, ack: AckLevel) -> Self {
        self.options.ack = Some(ack);
        self
    }

    /// Chooses queues this way instead of by key.
    pub fn partitioner(mut self, partitioner: Partitioner) -> Self {
        self.options.partitioner = partitioner;
        self
    }

    /// Asks the node for its stage timings with every acknowledgement.
    pub fn timings(mut self, timings: bool) -> Self {
        self.options.timings = timings;
        self
    }

    /// Whether every record is stored once and in order, also when the connection breaks or the
    /// node is restarted meanwhile (the default). Without it, a batch whose connection broke is
    /// given up (its records may be stored), and a batch that the node had no room for may end up
    /// behind later ones.
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.options.idempotent = idempotent;
        self
    }

    /// Lets a batch wait this long for more records (not at all). Batches fill without it while
    /// those before them are in flight.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.options.linger = linger;
        self
    }

    /// Fills batches up to this size before compression (256 KiB); a larger record goes alone.
    pub fn batch_bytes(mut self, batch_bytes: usize) -> Self {
        self.options.batch_bytes = batch_bytes;
        self
    }

    /// Lets as many batches of a queue be in flight at once (5; at least 1, and an idempotent
    /// producer at most 5).
    pub fn in_flight_max(mut self, in_flight_max: usize) -> Self {
        self.options.in_flight_max = in_flight_max.max(1);
        self
    }

    /// Accepts as many bytes of records before their fate is known (32 MiB); then callers wait.
    pub fn buffer_bytes(mut self, buffer_bytes: usize) -> Self {
        self.options.buffer_bytes = buffer_bytes.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Compresses batches.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.options.compression = compression;
        self
    }

    /// Tries this long to get a record stored, from its acceptance on (60 s).
    pub fn delivery_timeout(mut self, delivery_timeout: Duration) -> Self {
        self.options.delivery_timeout = delivery_timeout;
        self
    }

    /// How long to wait before trying again.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.options.retry = retry;
        self
    }

    /// Tells this one what happens.
    pub fn observer(mut self, observer: Arc<dyn ProducerObserver>) -> Self {
        self.options.observer = Some(observer);
        self
    }

    /// Looks the topic up and, for an idempotent producer, gets an id.
    pub async fn build(mut self) -> Result<Producer, ClientError> {
        let (topic, shards) = self.client.resolve(&self.topic).await?;
        match self.options.partitioner {
            Partitioner::Queue(queue) if usize::from(queue) >= shards.len() => {
                return Err(ClientError::NoSuchQueue { queue });
            }
            _ if shards.is_empty() => return Err(ClientError::NoSuchQueue { queue: 0 }),
            _ => {}
        }
        let mut line = None;
        if self.options.idempotent {
            line = Some(Line::new(self.client.init_producer().await?));
            self.options.in_flight_max = self.options.in_flight_max.min(IDEMPOTENT_IN_FLIGHT_MAX);
        }
        let sizes = Sizes {
            batch_bytes: self.options.batch_bytes,
            batch_bytes_max: self.client.node().batch_bytes_max,
        };
        let lane = |(queue, shard): (usize, &u16)| {
            Arc::new(Lane::new(u16::try_from(queue).unwrap_or(u16::MAX), *shard, line))
        };
        let lanes = shards.iter().enumerate().map(lane).collect();
        let room = Semaphore::new(self.options.buffer_bytes);
        let core = Core {
            client: self.client,
            topic,
            options: self.options,
            sizes,
            room,
            failure: Mutex::new(None),
        };
        let turn = Arc::new(AtomicU32::new(0));
        Ok(Producer { core: Arc::new(core), lanes, turn })
    }
}

/// What the queues of a producer share.
#[derive(Debug)]
struct Core {
    client: Client,
    topic: u32,
    options: Options,
    sizes: Sizes,
    /// In bytes of records.
    room: Semaphore,
    /// The first one since the last flush.
    failure: Mutex<Option<ClientError>>,
}

/// Sends records to one topic. Clones share everything.
#[derive(Clone, Debug)]
pub struct Producer {
    core: Arc<Core>,
    /// One per queue, at least one.
    lanes: Arc<[Arc<Lane>]>,
    turn: Arc<AtomicU32>,
}

impl Producer {
    /// Sends a record and waits until it is stored as well as the ack level says.
    ///
    /// Dropping the future while it waits for room sends nothing; later, the record is delivered
    /// all the same, once.
    ///
    /// # Errors
    /// Why the record was given up. With [`outcome_unknown`](ClientError::outcome_unknown) it may
    /// be stored, once.
    pub async fn send(&self, record: &Record<'_>) -> Result<Sent, ClientError> {
        self.send_async(record).await?.await
    }

    /// Sends a record, waiting only for room; the [`Ack`] resolves when it is stored, and may be
    /// dropped.
    ///
    /// # Errors
    /// If no batch takes the record; nothing was sent.
    pub async fn send_async(&self, record: &Record<'_>) -> Result<Ack, ClientError> {
        let queue = self.queue_of(record, self.next_turn());
        self.send_to(queue, record).await
    }

    /// The same, to this queue, whatever the partitioner would say.
    ///
    /// # Errors
    /// If no batch takes the record, or there is no such queue; nothing was sent.
    pub async fn send_to(&self, queue: u16, record: &Record<'_>) -> Result<Ack, ClientError> {
        let lane = self.lanes.get(usize::from(queue)).ok_or(ClientError::NoSuchQueue { queue })?;
        let cost = record.size().min(self.core.options.buffer_bytes);
        let most = u32::try_from(cost).unwrap_or(u32::MAX);
        let permit = match self.core.room.try_acquire_many(most) {
            Ok(permit) => permit,
            Err(_) => {
                if !self.core.options.linger.is_zero() {
                    // What lingers would hold the room that is waited for.
                    self.lanes.iter().for_each(|lane| drop(lane.flush()));
                }
                let permit = self.core.room.acquire_many(most).await;
                permit.map_err(|_| super::in_flight::aborted())?
            }
        };
        let appended = lane.append(record, most as usize, self.core.sizes);
        let (ack, starts) = appended.map_err(ClientError::Records)?;
        // The batch gives it back when its fate is known.
        permit.forget();
        if starts {
            delivery::start(Arc::clone(&self.core), Arc::clone(lane));
        }
        Ok(ack)
    }

    /// Sends many records and waits for all; says where each was stored. Records without a key
    /// stay together. After an error, some may have been stored.
    ///
    /// # Errors
    /// That of the first record that was given up.
    pub async fn send_batch(&self, records: &[Record<'_>]) -> Result<Vec<Sent>, ClientError> {
        let turn = self.next_turn();
        let mut acks = Vec::with_capacity(records.len());
        for record in records {
            acks.push(self.send_to(self.queue_of(record, turn), record).await?);
        }
        let mut sent = Vec::with_capacity(acks.len());
        for ack in acks {
            sent.push(ack.await?);
        }
        Ok(sent)
    }

    /// Sends a record at once and by itself, without asking for an answer: it may be lost, and
    /// nobody will say so.
    ///
    /// # Errors
    /// If no batch takes the record, or there is no connection.
    pub async fn send_one_way(&self, record: &Record<'_>) -> Result<(), ClientError> {
        let queue = self.queue_of(record, self.next_turn());
        let shard = self.lanes.get(usize::from(queue)).map_or(0, |lane| lane.shard);
        let mut batch = Vec::new();
        append_single(&mut batch, &record.stamped(), self.core.sizes.batch_bytes_max)
            .map_err(ClientError::Records)?;
        let (topic, ack) = (self.core.topic, self.core.options.ack);
        let request = Request::Produce(Produce { topic, queue, ack, batch: &batch });
        self.core.client.links.of_shard(shard).await?.start_one_way(&request).await
    }

    /// Sends what lingers, and waits until the fate of everything accepted so far is known.
    ///
    /// # Errors
    /// The first record's that was given up since the last flush.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let last: Vec<_> = self.lanes.iter().filter_map(|lane| lane.flush()).collect();
        for ack in last {
            // What failed is in `failure`.
            let _ = ack.await;
        }
        let failure = self.core.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or(Ok(()), Err)
    }

    /// Flushes, and ends. A producer that is only dropped delivers what it has accepted, too, as
    /// long as its runtime lives.
    ///
    /// # Errors
    /// As [`Producer::flush`].
    pub async fn close(self) -> Result<(), ClientError> {
        self.flush().await
    }

    /// How many queues the topic has.
    #[must_use]
    pub fn queues(&self) -> u16 {
        self.lanes.len() as u16
    }

    fn next_turn(&self) -> u32 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    fn queue_of(&self, record: &Record<'_>, turn: u32) -> u16 {
        self.core.options.partitioner.choose(self.queues(), record.key, turn)
    }
}
