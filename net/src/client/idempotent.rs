//! Sending records once: an idempotent producer.
//!
//! Every batch carries the producer's id and epoch and the sequence number of its first record in
//! its queue. When the connection breaks, or no answer comes, the same batch is sent again on a
//! new connection, and the node stores it once. One batch of a queue is in flight at a time, so
//! that its order is kept whatever fails; throughput comes from batches, and from calls for
//! different queues at the same time.
//!
//! A batch whose fate stays unknown (the caller gave up, or the node said so) ends its epoch: the
//! next one begins another, which shuts out whatever of the old one may still be on its way.
//! Epochs are counted per queue, as the node does.
//! Absent: being idempotent over several producers' lives (a new producer has a new id).

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use engine::batch::BatchBuilder;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::producer::{ProducerBuilder, choose, sent};
use super::{AckLevel, Client, ClientError, ErrorCode, Partitioner, Record, Sent};
use crate::wire::{Produce, Request, RequestHeader};

/// Between attempts to connect, and when a node is busy and does not say for how long.
const PAUSE: Duration = Duration::from_millis(20);

/// Sends records to one topic, each stored once, over as many connections as it takes.
#[derive(Debug)]
pub struct IdempotentProducer {
    link: Mutex<Link>,
    topic: u32,
    /// One per queue, at least one.
    lines: Vec<Mutex<Line>>,
    ack: Option<AckLevel>,
    partitioner: Partitioner,
    timings: bool,
    retry_for: Duration,
    turn: AtomicU32,
}

/// The connection of the moment.
#[derive(Debug)]
struct Link {
    client: Client,
    generation: u64,
}

/// The numbers of one queue.
#[derive(Clone, Copy, Debug)]
struct Line {
    id: i64,
    epoch: i16,
    next: i32,
    /// What became of the last batch is not known, or it was not the next one: this epoch is over.
    over: bool,
}

/// How a batch's way ended.
struct Ended {
    result: Result<Sent, ClientError>,
    /// It may be stored although the result is an error.
    doubt: bool,
}

impl ProducerBuilder {
    /// How long an idempotent producer tries to get a batch stored (30 s).
    pub fn retry_for(mut self, retry_for: Duration) -> Self {
        self.retry_for = retry_for;
        self
    }

    /// Looks the topic up and gets an id: what is sent is stored once, also when the connection
    /// breaks or the node is restarted meanwhile.
    pub async fn build_idempotent(self) -> Result<IdempotentProducer, ClientError> {
        let (topic, queues) = self.look_up().await?;
        let producer = self.client.init_producer().await?;
        let line = Line { id: producer.id, epoch: producer.epoch, next: 0, over: false };
        Ok(IdempotentProducer {
            link: Mutex::new(Link { client: self.client, generation: 0 }),
            topic,
            lines: (0..queues).map(|_| Mutex::new(line)).collect(),
            ack: self.ack,
            partitioner: self.partitioner,
            timings: self.timings,
            retry_for: self.retry_for,
            turn: AtomicU32::new(0),
        })
    }
}

impl IdempotentProducer {
    /// Sends a record and waits until it is stored as well as the ack level says.
    ///
    /// # Errors
    /// The last one, after trying again for as long as was allowed. With
    /// [`outcome_unknown`](ClientError::outcome_unknown) the record may be stored, once.
    pub async fn send(&self, record: &Record<'_>) -> Result<Sent, ClientError> {
        let all = self.send_batch(std::slice::from_ref(record)).await?;
        all.into_iter().next().ok_or(ClientError::bad_reply("a record without an offset"))
    }

    /// Sends many records, in as few batches as they fit, queue after queue; says where each was
    /// stored. Records without a key stay together. After an error, those before may have been
    /// stored.
    ///
    /// # Errors
    /// As [`IdempotentProducer::send`].
    pub async fn send_batch(&self, records: &[Record<'_>]) -> Result<Vec<Sent>, ClientError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let queues = self.lines.len() as u16;
        let queue = |record: &Record<'_>| choose(self.partitioner, queues, record.key, turn);
        let mut order: Vec<(u16, usize)> =
            (records.iter().enumerate()).map(|(at, record)| (queue(record), at)).collect();
        order.sort_unstable();
        let mut stored = Vec::with_capacity(records.len());
        for group in order.chunk_by(|left, right| left.0 == right.0) {
            let mut rest = group;
            while let Some(&(queue, _)) = rest.first() {
                let (first, count) = self.send_some(queue, rest, records).await?;
                let (now, later) = rest.split_at(count.min(rest.len()));
                let place = |at: usize| Sent { offset: first.offset + at as u64, ..first };
                stored.extend(now.iter().enumerate().map(|(at, (_, record))| (*record, place(at))));
                rest = later;
            }
        }
        stored.sort_unstable_by_key(|&(record, _)| record);
        Ok(stored.into_iter().map(|(_, sent)| sent).collect())
    }

    /// Sends as many of a queue's records as fit a batch; says where the first was stored, and how
    /// many there were.
    async fn send_some(
        &self,
        queue: u16,
        group: &[(u16, usize)],
        records: &[Record<'_>],
    ) -> Result<(Sent, usize), ClientError> {
        let line = self.lines.get(usize::from(queue));
        let mut line = line.ok_or(ClientError::NoSuchQueue { queue })?.lock().await;
        let client = self.link.lock().await.client.clone();
        let mut builder = BatchBuilder::new(client.node().batch_bytes_max);
        for (_, at) in group {
            let Some(record) = records.get(*at) else { continue };
            match builder.append(&record.stamped()) {
                Ok(()) => {}
                Err(error) if builder.is_empty() => return Err(ClientError::Records(error)),
                Err(_) => break,
            }
        }
        let first = self.store(queue, &mut line, &mut builder).await?;
        Ok((first, builder.record_count() as usize))
    }

    /// Gets a batch stored, under a new epoch if need be.
    async fn store(
        &self,
        queue: u16,
        line: &mut Line,
        builder: &mut BatchBuilder,
    ) -> Result<Sent, ClientError> {
        let deadline = Instant::now() + self.retry_for;
        let mut fresh = false;
        loop {
            if line.over {
                self.next_epoch(line).await?;
                fresh = true;
            }
            builder.set_producer(line.id, line.epoch, line.next);
            let batch = builder.finish().map_err(ClientError::Records)?;
            // Whoever drops this future here leaves the batch's fate open.
            line.over = true;
            let ended = self.deliver(queue, batch, deadline).await;
            line.over = ended.doubt;
            match ended.result {
                Ok(sent) => {
                    line.next = after(line.next, builder.record_count());
                    return Ok(sent);
                }
                // The node lost what came before, which was acknowledged at a level that allows
                // it, or has forgotten us: this batch is not there.
                Err(error) if is(&error, ErrorCode::OutOfOrderSequence) && !fresh => {
                    line.over = true;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn next_epoch(&self, line: &mut Line) -> Result<(), ClientError> {
        match line.epoch.checked_add(1) {
            Some(epoch) => *line = Line { epoch, next: 0, over: false, ..*line },
            None => {
                let client = self.link.lock().await.client.clone();
                let producer = client.init_producer().await?;
                *line = Line { id: producer.id, epoch: producer.epoch, next: 0, over: false };
            }
        }
        Ok(())
    }

    /// Sends a batch until it is answered, again and again.
    async fn deliver(&self, queue: u16, batch: &[u8], deadline: Instant) -> Ended {
        let mut unknown = None;
        loop {
            let (client, generation) = {
                let link = self.link.lock().await;
                (link.client.clone(), link.generation)
            };
            let error = match self.attempt(&client, queue, batch).await {
                Ok(sent) => return Ended { result: Ok(sent), doubt: false },
                Err(error) => error,
            };
            let broken = breaks(&error);
            if error.outcome_unknown() {
                unknown = Some(error.clone());
            }
            let is_over = Instant::now() >= deadline || !(broken || error.retryable());
            let connected = match (is_over, broken) {
                (true, _) => false,
                (false, true) => self.reconnect(generation, deadline).await,
                (false, false) => {
                    tokio::time::sleep(pause(&error)).await;
                    true
                }
            };
            if !connected {
                // Had an attempt been stored, this one would have been told so: not in order.
                let certain = is(&error, ErrorCode::OutOfOrderSequence);
                let doubt = unknown.is_some() && !certain;
                let result = Err(unknown.filter(|_| doubt).unwrap_or(error));
                return Ended { result, doubt };
            }
        }
    }

    async fn attempt(
        &self,
        client: &Client,
        queue: u16,
        batch: &[u8],
    ) -> Result<Sent, ClientError> {
        let header = RequestHeader { timings: self.timings, ..RequestHeader::default() };
        let request = Request::Produce(Produce { topic: self.topic, queue, ack: self.ack, batch });
        let connection = &client.connection;
        let reply = async { connection.start(header, &request).await?.await };
        sent(queue, &connection.in_time(Duration::ZERO, reply).await??)
    }

    /// Connects anew, unless somebody else has; `false` when that did not work in time.
    async fn reconnect(&self, generation: u64, deadline: Instant) -> bool {
        let mut link = self.link.lock().await;
        while link.generation == generation {
            match link.client.connect_again().await {
                Ok(client) => {
                    let generation = generation + 1;
                    *link = Link { client, generation };
                }
                Err(error) if Instant::now() >= deadline => {
                    tracing::debug!(%error, "not connected again in time");
                    return false;
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        true
    }
}

/// Whether the connection is of no use any more.
fn breaks(error: &ClientError) -> bool {
    match error {
        ClientError::ConnectionLost { .. }
        | ClientError::TimedOut { .. }
        | ClientError::Reply(_) => true,
        error => is(error, ErrorCode::ShuttingDown),
    }
}

fn is(error: &ClientError, expected: ErrorCode) -> bool {
    matches!(error, ClientError::Server { code, .. } if *code == expected)
}

fn pause(error: &ClientError) -> Duration {
    match error {
        ClientError::Server { retry_after_ms, .. } if *retry_after_ms > 0 => {
            Duration::from_millis(u64::from(*retry_after_ms))
        }
        _ => PAUSE,
    }
}

/// The sequence number `records` further: after `i32::MAX` comes 0.
fn after(sequence: i32, records: u32) -> i32 {
    (sequence.cast_unsigned().wrapping_add(records) & i32::MAX as u32).cast_signed()
}
