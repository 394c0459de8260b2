//! Reading a topic: some of its queues, each in order, by long polling.
//!
//! Every queue has one fetch in flight; when it is answered the next one is sent before the
//! messages are handed out, so the node works while the caller does.
//!
//! With a group it begins where the group left off, and [`Consumer::commit`] says how far it has
//! come. That is *at least once*: commit after the messages have been dealt with, and what was dealt
//! with but not committed when something failed comes again.
//! A lost connection is made again, and what a node could not do for the moment is tried again, with
//! pauses, for as long as [`ConsumerBuilder::retry_for`] says.
//! Absent: members of a group that share the queues out among them. Each consumer reads what it is
//! told to, and whoever commits last decides.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::progress::{Position, Progress};
use super::queue_reader::{FetchLimits, QueueReader};
use super::{Client, ClientError, ListKind, Message, RetryPolicy};
use crate::wire::limits::WAIT_MAX_MS;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the first record stored.
    Earliest,
    /// Behind the last visible record.
    Latest,
    /// At this offset.
    Offset(u64),
    /// At the first record stored at or after this time, in milliseconds since 1970.
    Timestamp(i64),
}

/// Prepares a [`Consumer`].
#[derive(Debug)]
#[must_use]
pub struct ConsumerBuilder {
    client: Client,
    topic: String,
    queues: Option<Vec<u16>>,
    start: StartAt,
    group: Option<String>,
    limits: FetchLimits,
    retry: RetryPolicy,
    retry_for: Duration,
}

impl ConsumerBuilder {
    pub(super) fn new(client: Client, topic: String) -> Self {
        let bytes_max = 1024 * 1024;
        let decompressed_bytes_max = client.links.config().decompressed_bytes_max;
        let (bytes_min, wait_max_ms) = (1, 15_000);
        let limits = FetchLimits { bytes_max, bytes_min, wait_max_ms, decompressed_bytes_max };
        Self {
            client,
            topic,
            queues: None,
            start: StartAt::Earliest,
            group: None,
            limits,
            retry: RetryPolicy::default(),
            retry_for: Duration::from_secs(60),
        }
    }

    /// Reads these queues instead of all.
    pub fn queues(mut self, queues: impl IntoIterator<Item = u16>) -> Self {
        let mut queues: Vec<u16> = queues.into_iter().collect();
        queues.sort_unstable();
        queues.dedup();
        self.queues = Some(queues);
        self
    }

    /// Begins where this group has committed to have come; [`ConsumerBuilder::start`] counts for
    /// queues of which it has committed nothing, or nothing that is still stored.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Begins here instead of at the earliest record.
    pub fn start(mut self, start: StartAt) -> Self {
        self.start = start;
        self
    }

    /// Fetches at most this much at once from a queue (1 MiB).
    pub fn bytes_max(mut self, bytes_max: u32) -> Self {
        self.limits.bytes_max = bytes_max;
        self
    }

    /// Lets the node wait for this much (1 byte), as long as it may wait.
    pub fn bytes_min(mut self, bytes_min: u32) -> Self {
        self.limits.bytes_min = bytes_min;
        self
    }

    /// Lets the node wait this long for something to send (15 s, at most 60 s).
    pub fn wait_max_ms(mut self, wait_max_ms: u32) -> Self {
        self.limits.wait_max_ms = wait_max_ms.min(WAIT_MAX_MS);
        self
    }

    /// Tries again for this long, when the connection breaks or the node cannot answer for the
    /// moment, before [`Consumer::poll`] says so (60 s; zero: it says so at once).
    pub fn retry_for(mut self, retry_for: Duration) -> Self {
        self.retry_for = retry_for;
        self
    }

    /// How long to wait before trying again.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Looks the topic and the starting offsets up.
    pub async fn build(self) -> Result<Consumer, ClientError> {
        let (topic, shards) = self.client.resolve(&self.topic).await?;
        let queues = self.queues.unwrap_or_else(|| (0..shards.len() as u16).collect());
        let limits = FetchLimits {
            bytes_max: self.limits.bytes_max.min(self.client.node().fetch_bytes_max),
            ..self.limits
        };
        let mut readers = Vec::with_capacity(queues.len());
        for &queue in &queues {
            let shard = shards.get(usize::from(queue)).ok_or(ClientError::NoSuchQueue { queue })?;
            readers.push(QueueReader::new(topic, (queue, *shard), limits));
        }
        let (progress, committed) = match self.group {
            Some(group) => {
                let (progress, committed) =
                    Progress::load(&self.client, group, topic, &queues).await?;
                (Some(progress), committed)
            }
            None => (None, Vec::new()),
        };
        for reader in &mut readers {
            let at = committed.binary_search_by_key(&reader.queue, |at| at.queue).ok();
            if let Some(at) = at.and_then(|at| committed.get(at)) {
                (reader.offset, reader.epoch) = (at.offset, at.epoch);
                continue;
            }
            let (kind, timestamp_ms) = match self.start {
                StartAt::Offset(offset) => {
                    reader.offset = offset;
                    continue;
                }
                StartAt::Earliest => (ListKind::Earliest, 0),
                StartAt::Latest => (ListKind::Latest, 0),
                StartAt::Timestamp(timestamp_ms) => (ListKind::ByTimestamp, timestamp_ms),
            };
            let found = self.client.list_offsets(topic, reader.queue, kind, timestamp_ms).await?;
            reader.offset = found.offset;
        }
        let (backoff, retry_for) = (Backoff::new(self.retry), self.retry_for);
        let client = self.client;
        Ok(Consumer { client, readers, progress, turn: 0, backoff, retry_for, failing: None })
    }
}

/// A queue could not be read, and trying again for as long as was allowed did not help. Polling again tries the same offset again; [`Consumer::seek`]
/// moves elsewhere.
#[derive(Clone, Debug, thiserror::Error)]
#[error("queue {queue} at offset {offset}: {source}")]
pub struct PollError {
    /// The queue.
    pub queue: u16,
    /// The offset that was wanted.
    pub offset: u64,
    /// Why.
    pub source: ClientError,
}

/// Reads queues of one topic.
#[derive(Debug)]
pub struct Consumer {
    client: Client,
    readers: Vec<QueueReader>,
    progress: Option<Progress>,
    /// Which queue is looked at first, so that none starves.
    turn: usize,
    backoff: Backoff,
    retry_for: Duration,
    /// Since when nothing has worked.
    failing: Option<Instant>,
}

impl Consumer {
    /// The next messages of one queue, at least one, in order; waits for them. Without queues it
    /// waits for ever.
    ///
    /// Dropping the future loses nothing.
    pub async fn poll(&mut self) -> Result<Vec<Message>, PollError> {
        loop {
            match self.next_messages().await {
                Ok(messages) => {
                    self.failing = None;
                    self.backoff.reset();
                    if !messages.is_empty() {
                        return Ok(messages);
                    }
                }
                Err(error) => self.recover(error).await?,
            }
        }
    }

    /// The next answer's messages, perhaps none.
    async fn next_messages(&mut self) -> Result<Vec<Message>, PollError> {
        self.start_fetches().await?;
        let (at, reply) = self.next_reply_in_time().await?;
        let Some(reader) = self.readers.get_mut(at) else { return Ok(Vec::new()) };
        let (queue, offset) = (reader.queue, reader.offset);
        let messages = reply
            .and_then(|frame| reader.accept(&frame))
            .map_err(|source| PollError { queue, offset, source })?;
        // The next fetch, on its way while the caller works. No room, or no connection any more:
        // the next poll will see to it, these messages come first.
        if let Some(connection) = self.client.links.open_of_shard(reader.shard) {
            let _ = reader.try_start(&connection);
        }
        Ok(messages)
    }

    /// Waits before the next attempt; an error that will not pass, or not in time, is the caller's.
    async fn recover(&mut self, error: PollError) -> Result<(), PollError> {
        let since = *self.failing.get_or_insert_with(Instant::now);
        let left = self.retry_for.saturating_sub(since.elapsed());
        let enough = self.backoff.is_enough(self.backoff.failures().saturating_add(1));
        if left.is_zero() || enough || !error.source.passes() {
            self.failing = None;
            self.backoff.reset();
            return Err(error);
        }
        if error.source.breaks() {
            self.disconnect(&error);
        }
        let pause = self.backoff.pause(error.source.retry_after());
        tracing::debug!(%error, ?pause, "trying again");
        sleep(pause.min(left)).await;
        Ok(())
    }

    /// Gives up the fetches that went the same way as the one that was lost.
    fn disconnect(&mut self, error: &PollError) {
        let links = &self.client.links;
        let lost = self.readers.iter().find(|reader| reader.queue == error.queue);
        let Some(shard) = lost.map(|reader| reader.shard) else { return };
        if let (ClientError::TimedOut { .. }, Some(connection)) =
            (&error.source, links.open_of_shard(shard))
        {
            connection.abandon(&error.source);
        }
        let same = |reader: &&mut QueueReader| reader.shard == shard;
        self.readers.iter_mut().filter(same).for_each(QueueReader::forget_fetch);
    }

    /// Commits, durably, that the group has dealt with everything that [`Consumer::poll`] has handed
    /// out. Without a group, nothing.
    ///
    /// Dropping the future leaves open how much was committed; the next commit makes it good.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        let positions = self.readers.iter().map(|reader| Position {
            queue: reader.queue,
            offset: reader.offset,
            epoch: reader.epoch,
        });
        let positions = positions.collect();
        self.commit_positions(positions).await
    }

    /// Commits, durably, these next offsets (by queue): for callers that have dealt with less than
    /// they were handed out. Without a group, nothing.
    pub async fn commit_offsets(&mut self, offsets: &[(u16, u64)]) -> Result<(), ClientError> {
        let epoch = |queue| {
            let reader = self.readers.iter().find(|reader| reader.queue == queue);
            reader.map_or(0, |reader| reader.epoch)
        };
        let positions =
            offsets.iter().map(|&(queue, offset)| Position { queue, offset, epoch: epoch(queue) });
        let positions = positions.collect();
        self.commit_positions(positions).await
    }

    /// A commit may be sent twice: it says the same both times.
    async fn commit_positions(&mut self, positions: Vec<Position>) -> Result<(), ClientError> {
        let Some(progress) = &mut self.progress else { return Ok(()) };
        let deadline = Instant::now() + self.retry_for;
        self.backoff.reset();
        loop {
            let Err(error) = progress.commit(&self.client, &positions).await else {
                self.backoff.reset();
                return Ok(());
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !error.passes() {
                return Err(error);
            }
            sleep(self.backoff.pause(error.retry_after()).min(left)).await;
        }
    }

    /// Commits what was handed out, and ends. A consumer that is only dropped commits nothing.
    pub async fn close(mut self) -> Result<(), ClientError> {
        self.commit().await
    }

    /// Continues at another offset of a queue.
    pub fn seek(&mut self, queue: u16, offset: u64) -> Result<(), ClientError> {
        let reader = self.readers.iter_mut().find(|reader| reader.queue == queue);
        reader.ok_or(ClientError::NoSuchQueue { queue })?.seek(offset);
        Ok(())
    }

    /// The next offset of a queue that [`Consumer::poll`] will hand out.
    #[must_use]
    pub fn position(&self, queue: u16) -> Option<u64> {
        let reader = self.readers.iter().find(|reader| reader.queue == queue)?;
        Some(reader.offset)
    }

    /// Sends as many of the missing fetches as there is room for, and waits for room only if
    /// nothing is in flight.
    async fn start_fetches(&mut self) -> Result<(), PollError> {
        let links = &self.client.links;
        for reader in self.readers.iter_mut().filter(|reader| !reader.is_in_flight()) {
            let connection = links.of_shard(reader.shard).await;
            let started = connection.and_then(|connection| reader.try_start(&connection));
            started.map_err(|source| at(reader, source))?;
        }
        if self.readers.iter().any(QueueReader::is_in_flight) {
            return Ok(());
        }
        let Some(first) = self.readers.first_mut() else { return Ok(()) };
        let connection = links.of_shard(first.shard).await.map_err(|source| at(first, source))?;
        first.start(&connection).await.map_err(|source| at(first, source))
    }

    /// The next answer. When none comes although the node should have given up waiting long ago,
    /// the first queue reports it; its fetch stays in flight.
    async fn next_reply_in_time(
        &mut self,
    ) -> Result<(usize, Result<Bytes, ClientError>), PollError> {
        let Some(first) = self.readers.first() else { return std::future::pending().await };
        let (queue, offset) = (first.queue, first.offset);
        let wait_max = Duration::from_millis(first.limits.wait_max_ms.into());
        let timeout = self.client.links.config().request_timeout + wait_max;
        let reply = tokio::time::timeout(timeout, self.next_reply()).await;
        let source = ClientError::TimedOut { timeout_ms: timeout.as_millis() as u64 };
        reply.map_err(|_| PollError { queue, offset, source })
    }

    /// The next answer, and which reader it belongs to.
    async fn next_reply(&mut self) -> (usize, Result<Bytes, ClientError>) {
        poll_fn(|cx| {
            let count = self.readers.len();
            for step in 0..count {
                let at = (self.turn + step) % count;
                let Some(reader) = self.readers.get_mut(at) else { continue };
                if let Poll::Ready(reply) = reader.poll_reply(cx) {
                    self.turn = at + 1;
                    return Poll::Ready((at, reply));
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn at(reader: &QueueReader, source: ClientError) -> PollError {
    PollError { queue: reader.queue, offset: reader.offset, source }
}
