//! The broker: topics, and requests routed to the shards that own their queues.
//!
//! Reading order: [`catalog`] (what topics there are) -> [`change_format`] (how a change is
//! stored) -> this file (requests in, answers out) -> `alter` (other settings for a topic),
//! [`groups`] (consumer groups' offsets), `producers` (their ids).
//!
//! Shard 0's log is also the metadata log: one entry is one atomic change, and it is in force, and
//! acknowledged, once it is durable.
//! Absent: sockets, frames, names of protocol operations.

mod alter;
pub mod catalog;
pub mod change_format;
pub mod groups;
#[cfg(test)]
mod groups_tests;
mod lookup;
mod producers;
mod shards;

use std::collections::BTreeMap;

use thiserror::Error;

use crate::batch::{BatchRef, NewRecord, append_single};
use crate::io::{Env, Errno, Nanos};
use crate::level::AckLevel;
use crate::limits::{BATCH_BYTES_MAX, QUEUES_PER_TOPIC_MAX, TOPIC_NAME_BYTES_MAX};
use crate::log::entry_format::Kind;
use crate::log::position::LogPos;
use crate::log::recover::{OpenError, OpenOptions};
use crate::shard::produce::Produce;
use crate::shard::retention::Retention;
use crate::shard::turn::{TurnClock, TurnEnd};
use crate::shard::{Effect, Fetch, FetchError, ProduceError, QueueRange, Seek, Shard, Token};
use crate::stage::Timings;
use catalog::{Catalog, QueueRef, Topic};
use change_format::Change;
use shards::Shards;

/// The queue, in shard 0, that holds changes of topics and queues.
pub const METADATA_QUEUE: u32 = 0;

/// The shard whose log holds them.
pub const METADATA_SHARD: u16 = 0;

/// Tokens of the broker's own requests.
const OWN_TOKENS: u64 = 1 << 63;

/// Why a topic was not created or deleted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TopicError {
    /// There is one of this name (or it is just being created).
    #[error("the topic exists already")]
    Exists,
    /// There is none of this name.
    #[error("no such topic")]
    Unknown,
    /// A topic's name is 1 to 249 of `[A-Za-z0-9._-]`, and not `.` or `..`.
    #[error("a topic name is 1 to 249 characters of A-Z a-z 0-9 . _ -")]
    InvalidName,
    /// The number of queues is out of range.
    #[error("a topic has 1 to {QUEUES_PER_TOPIC_MAX} queues")]
    InvalidQueues,
    /// The change could not be stored.
    #[error(transparent)]
    Store(#[from] ProduceError),
}

/// An answer of the broker itself.
#[derive(Debug)]
pub enum TopicAnswer {
    /// A topic is there, durably.
    Created {
        /// The request.
        token: Token,
        /// The topic's id.
        result: Result<u32, TopicError>,
    },
    /// A topic is gone, durably.
    Deleted {
        /// The request.
        token: Token,
        /// Nothing, or why not.
        result: Result<(), TopicError>,
    },
    /// A topic has other settings, durably.
    Altered {
        /// The request.
        token: Token,
        /// Nothing, or why not.
        result: Result<(), TopicError>,
    },
}

/// A topic to create.
#[derive(Clone, Copy, Debug)]
pub struct NewTopic<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many queues it has.
    pub queues: u16,
    /// What a produce that says nothing waits for, and what consumers see.
    pub ack: AckLevel,
    /// Look inside every batch on append.
    pub deep: bool,
    /// Keep an index of its records' keys.
    pub keyed: bool,
    /// Its own limits, beside the node's.
    pub retention: Retention,
}

#[derive(Debug)]
struct Pending {
    token: Token,
    change: Change,
}

/// Answers of a turn.
#[derive(Debug, Default)]
pub struct Answers {
    /// Of produce and fetch requests.
    pub effects: Vec<Effect>,
    /// Of topic requests.
    pub topics: Vec<TopicAnswer>,
    /// Of offset commits.
    pub commits: Vec<groups::CommitAnswer>,
}

/// All shards of one reactor.
#[derive(Debug)]
pub struct Broker<E: Env> {
    shards: Shards<E>,
    catalog: Catalog,
    /// Changes in force here that the owners of other shards must learn.
    changes: Vec<Change>,
    pending: BTreeMap<u64, Pending>,
    commits: groups::Commits,
    next_own: u64,
    next_producer: u32,
    batch: Vec<u8>,
    stopping: bool,
}

impl<E: Env> Broker<E> {
    /// Opens every shard of a directory, one environment each; topics come from shard 0's log.
    ///
    /// # Errors
    /// [`OpenError`] of the first shard that cannot be opened.
    pub fn open(
        envs: impl IntoIterator<Item = E>,
        options: &OpenOptions,
    ) -> Result<Self, OpenError> {
        let envs: Vec<E> = envs.into_iter().collect();
        let total = envs.len() as u16;
        let mut broker = Self::open_some((0..).zip(envs), total, options)?;
        broker.adopt(None);
        Ok(broker)
    }

    /// Opens some of the `total` shards of a directory, by their numbers. Nothing can be asked
    /// before [`Broker::adopt`].
    ///
    /// # Errors
    /// [`OpenError`] of the first shard that cannot be opened.
    pub fn open_some(
        envs: impl IntoIterator<Item = (u16, E)>,
        total: u16,
        options: &OpenOptions,
    ) -> Result<Self, OpenError> {
        let mut catalog = Catalog::default();
        let mut damaged = None;
        let mut shards = Vec::new();
        for (number, env) in envs {
            let options = OpenOptions { shard: number, ..*options };
            let shard = Shard::open(env, &options, |found| {
                let read = match found.header.kind {
                    Kind::Metadata => read_change(found.batch).map(|change| catalog.apply(&change)),
                    Kind::Checkpoint => catalog.restore(found.batch),
                    Kind::Data | Kind::OffsetCommit => Some(()),
                };
                if read.is_none() {
                    damaged = damaged.or(Some(found.pos));
                }
            })?;
            shards.push((number, shard));
        }
        if let Some(at) = damaged {
            return Err(OpenError::Damaged { at, what: "a change of topics cannot be read" });
        }
        Ok(Self {
            shards: Shards::new(shards, total),
            catalog,
            changes: Vec::new(),
            pending: BTreeMap::new(),
            commits: groups::Commits::default(),
            next_own: OWN_TOKENS,
            next_producer: 0,
            batch: Vec::new(),
            stopping: false,
        })
    }

    /// Makes the topics known to the shards: those that shard 0's log holds, or, where shard 0 is
    /// somebody else's, what its owner found there.
    pub fn adopt(&mut self, catalog: Option<Catalog>) {
        if let Some(catalog) = catalog {
            self.catalog = catalog;
        }
        if let Some(first) = self.shards.get_mut(METADATA_SHARD) {
            first.add_queue(METADATA_QUEUE, AckLevel::Durable, false);
            first.outlive(METADATA_QUEUE);
        }
        let topics: Vec<Topic> = self.catalog.topics().cloned().collect();
        for topic in &topics {
            self.add_queues(topic);
        }
        for shard in self.shards.own_mut() {
            shard.retain_known_queues();
        }
    }

    /// Topics and their queues.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The shards owned here, in order of their numbers.
    pub fn shards(&mut self) -> &mut [Shard<E>] {
        self.shards.own_mut()
    }

    /// The numbers of [`Broker::shards`] in the directory.
    #[must_use]
    pub fn shard_numbers(&self) -> &[u16] {
        self.shards.numbers()
    }

    /// How many shards the directory has, here and elsewhere.
    #[must_use]
    pub fn shards_total(&self) -> u16 {
        self.shards.total()
    }

    /// Changes that came into force since the last call, in order: the owners of the other shards
    /// must bring them into force, too, with [`Broker::follow`]. Empty where all are owned here.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Brings a change into force that is durable in shard 0's log, which is somebody else's.
    pub fn follow(&mut self, change: &Change, answers: &mut Answers) {
        self.in_force(change, answers);
    }

    /// Above so many percent used of their device the shards let their oldest segments go.
    pub fn limit_disk(&mut self, used_percent_max: Option<u8>) {
        for shard in self.shards.own_mut() {
            shard.limit_disk(used_percent_max);
        }
    }

    /// Stores one batch. Without `ack` the topic's default counts.
    pub fn produce(
        &mut self,
        (topic, queue): (u32, u16),
        ack: Option<AckLevel>,
        batch: &[u8],
        (token, gathered): (Token, Nanos),
        answers: &mut Answers,
    ) {
        let refused = match self.catalog.queue(topic, queue) {
            Ok((topic, place)) => {
                let ack = ack.unwrap_or(topic.ack);
                let request = Produce { token, queue: place.id, ack, batch, gathered };
                match self.shards.get_mut(place.shard) {
                    Some(shard) => return shard.produce(&request, &mut answers.effects),
                    None => ProduceError::UnknownQueue,
                }
            }
            Err(catalog::Missing::Topic) => ProduceError::UnknownTopic,
            Err(catalog::Missing::Queue) => ProduceError::UnknownQueue,
        };
        if ack != Some(AckLevel::None) {
            let timings = Timings::default();
            answers.effects.push(Effect::Produced { token, result: Err(refused), timings });
        }
    }

    /// Reads entries; `fetch.queue` is filled in here.
    pub fn fetch(
        &mut self,
        (topic, queue): (u32, u16),
        mut fetch: Fetch,
        gathered: Nanos,
        answers: &mut Answers,
    ) {
        let error = match self.catalog.queue(topic, queue) {
            Ok((_, place)) => {
                fetch.queue = place.id;
                match self.shards.get_mut(place.shard) {
                    Some(shard) => return shard.fetch(&fetch, gathered, &mut answers.effects),
                    None => FetchError::UnknownQueue,
                }
            }
            Err(catalog::Missing::Topic) => FetchError::UnknownTopic,
            Err(catalog::Missing::Queue) => FetchError::UnknownQueue,
        };
        let (token, timings) = (fetch.token, Timings::default());
        answers.effects.push(Effect::Fetched { token, result: Err(error), timings });
    }

    /// The shard and the range of a queue.
    ///
    /// # Errors
    /// [`catalog::Missing`] when there is no such topic or queue.
    pub fn range(&self, topic: u32, queue: u16) -> Result<QueueRange, catalog::Missing> {
        let (_, place) = self.catalog.queue(topic, queue)?;
        let shard = self.shards.get(place.shard);
        shard.and_then(|shard| shard.queue_range(place.id)).ok_or(catalog::Missing::Queue)
    }

    /// Looks for the first visible batch stored at or after a time.
    pub fn seek(&mut self, (topic, queue): (u32, u16), seek: Seek, answers: &mut Answers) {
        let token = seek.token;
        let error = match self.catalog.queue(topic, queue) {
            Ok((_, place)) => {
                let seek = Seek { queue: place.id, ..seek };
                match self.shards.get_mut(place.shard) {
                    Some(shard) => return shard.seek(&seek, &mut answers.effects),
                    None => FetchError::UnknownQueue,
                }
            }
            Err(catalog::Missing::Topic) => FetchError::UnknownTopic,
            Err(catalog::Missing::Queue) => FetchError::UnknownQueue,
        };
        answers.effects.push(Effect::Sought { token, result: Err(error) });
    }

    /// Creates a topic; answered when the change is durable.
    pub fn create_topic(
        &mut self,
        new: &NewTopic<'_>,
        token: Token,
        gathered: Nanos,
        answers: &mut Answers,
    ) {
        let created = self.check_new(new).map(|()| self.place(new));
        match created {
            Ok(topic) => self.store(Change::Create(topic), token, gathered, answers),
            Err(error) => {
                answers.topics.push(TopicAnswer::Created { token, result: Err(error) });
            }
        }
    }

    fn check_new(&self, new: &NewTopic<'_>) -> Result<(), TopicError> {
        if !is_topic_name(new.name) {
            return Err(TopicError::InvalidName);
        }
        if new.queues == 0 || new.queues > QUEUES_PER_TOPIC_MAX {
            return Err(TopicError::InvalidQueues);
        }
        let pending = self.pending.values().any(
            |pending| matches!(&pending.change, Change::Create(topic) if topic.name == new.name),
        );
        if pending || self.catalog.by_name(new.name).is_some() {
            return Err(TopicError::Exists);
        }
        Ok(())
    }

    /// Gives a topic its ids, and each queue to a shard that has fewest, in turn among equals: so
    /// shards that were added to the directory fill up first.
    fn place(&mut self, new: &NewTopic<'_>) -> Topic {
        let (id, first) = self.catalog.reserve(u32::from(new.queues));
        let mut loads = self.catalog.loads(self.shards.total());
        for pending in self.pending.values() {
            if let Change::Create(topic) = &pending.change {
                loads.add(&topic.queues);
            }
        }
        let ids = (0..u32::from(new.queues)).map(|n| first + n);
        let queues = ids.map(|id| QueueRef { id, shard: loads.place(id) }).collect();
        let (name, retention) = (new.name.to_owned(), new.retention);
        let (ack, deep, keyed) = (new.ack, new.deep, new.keyed);
        Topic { id, name, ack, deep, keyed, retention, queues }
    }

    /// Deletes a topic; answered when the change is durable.
    pub fn delete_topic(
        &mut self,
        name: &str,
        token: Token,
        gathered: Nanos,
        answers: &mut Answers,
    ) {
        match self.staying(name) {
            Some(id) => self.store(Change::Delete { id }, token, gathered, answers),
            None => {
                let result = Err(TopicError::Unknown);
                answers.topics.push(TopicAnswer::Deleted { token, result });
            }
        }
    }

    /// The id of the topic with this name, unless it is just being deleted.
    pub(super) fn staying(&self, name: &str) -> Option<u32> {
        let id = self.catalog.by_name(name)?.id;
        let mut changes = self.pending.values().map(|pending| &pending.change);
        let going = changes.any(|change| *change == Change::Delete { id });
        (!going).then_some(id)
    }

    fn own_token(&mut self) -> Token {
        self.next_own += 1;
        Token(self.next_own - 1)
    }

    /// Appends a change to the metadata log.
    fn store(&mut self, change: Change, token: Token, gathered: Nanos, answers: &mut Answers) {
        let value = change.encode();
        self.batch.clear();
        let record = NewRecord { value: Some(&value), ..NewRecord::default() };
        let own = self.own_token();
        self.pending.insert(own.0, Pending { token, change });
        let built = append_single(&mut self.batch, &record, BATCH_BYTES_MAX);
        let request = Produce {
            token: own,
            queue: METADATA_QUEUE,
            ack: AckLevel::Durable,
            batch: &self.batch,
            gathered,
        };
        match (built, self.shards.get_mut(METADATA_SHARD)) {
            (Ok(_), Some(shard)) => shard.produce_metadata(&request, &mut answers.effects),
            (built, _) => {
                let error = built.map_or_else(ProduceError::Batch, |_| ProduceError::UnknownQueue);
                self.finish(own, Err(error), answers);
            }
        }
    }

    /// Ends a turn on every shard.
    pub fn turn(&mut self, clock: TurnClock, answers: &mut Answers) -> TurnEnd {
        let mut end = TurnEnd::default();
        for at in 0..self.shards.own().len() {
            let Some(number) = self.shards.numbers().get(at).copied() else { continue };
            self.checkpoint_if_due(number, clock.gathered);
            let Some(shard) = self.shards.own_mut().get_mut(at) else { continue };
            let one = shard.turn(clock, &mut answers.effects);
            end.durable_in_flight |= one.durable_in_flight;
            end.wake_at = end.wake_at.into_iter().chain(one.wake_at).min();
        }
        if !(self.pending.is_empty() && self.commits.is_empty()) {
            self.take_own(answers);
        }
        end
    }

    /// Begins a shard's checkpoint when it wants one; the first shard's has the topics in it.
    fn checkpoint_if_due(&mut self, number: u16, now: Nanos) {
        let is_first = number == METADATA_SHARD;
        // A change that is in the log and not in force yet would be missing among the topics.
        let waits = is_first && !self.pending.is_empty();
        let Some(shard) = self.shards.get_mut(number).filter(|shard| shard.wants_checkpoint())
        else {
            return;
        };
        if !waits {
            let topics = if is_first { self.catalog.changes() } else { Vec::new() };
            shard.checkpoint(&topics, self.catalog.next_ids(), now);
        }
    }

    /// Picks the broker's own answers out of the shards'.
    fn take_own(&mut self, answers: &mut Answers) {
        let is_own = |effect: &mut Effect| match effect {
            Effect::Produced { token, .. }
            | Effect::Fetched { token, .. }
            | Effect::Sought { token, .. }
            | Effect::LookedUp { token, .. } => token.0 >= OWN_TOKENS,
        };
        let own: Vec<Effect> = answers.effects.extract_if(.., is_own).collect();
        for effect in own {
            if let Effect::Produced { token, result, .. } = effect {
                self.finish(token, result, answers);
            }
        }
    }

    fn finish(&mut self, own: Token, result: Result<u64, ProduceError>, answers: &mut Answers) {
        let Some(Pending { token, change }) = self.pending.remove(&own.0) else {
            return self.finish_commit(own, result, answers);
        };
        if result.is_ok() {
            self.in_force(&change, answers);
            if self.shards.has_others() {
                self.changes.push(change.clone());
            }
        }
        let stored = result.map_err(TopicError::Store);
        answers.topics.push(match change {
            Change::Create(topic) => {
                TopicAnswer::Created { token, result: stored.map(|_| topic.id) }
            }
            Change::Delete { .. } => TopicAnswer::Deleted { token, result: stored.map(|_| ()) },
            Change::Alter(_) => TopicAnswer::Altered { token, result: stored.map(|_| ()) },
        });
    }

    fn in_force(&mut self, change: &Change, answers: &mut Answers) {
        match change {
            Change::Create(topic) => self.add_queues(topic),
            Change::Alter(alteration) => return self.alter(alteration),
            Change::Delete { id } => self.drop_queues(*id, answers),
        }
        self.catalog.apply(change);
    }

    fn drop_queues(&mut self, topic: u32, answers: &mut Answers) {
        let Some(topic) = self.catalog.topic(topic).cloned() else { return };
        self.keep(&Topic { retention: Retention::default(), ..topic.clone() });
        for queue in topic.queues {
            if let Some(shard) = self.shards.get_mut(queue.shard) {
                shard.drop_queue(queue.id, &mut answers.effects);
            }
        }
    }

    fn add_queues(&mut self, topic: &Topic) {
        for queue in &topic.queues {
            if let Some(shard) = self.shards.get_mut(queue.shard) {
                shard.add_queue(queue.id, topic.ack.visibility(), topic.deep);
                shard.set_keyed(&[queue.id], topic.keyed);
            }
        }
        self.keep(topic);
    }

    /// Takes no new requests; everything is made durable.
    pub fn stop(&mut self, answers: &mut Answers) {
        if !std::mem::replace(&mut self.stopping, true) {
            for shard in self.shards.own_mut() {
                shard.stop(&mut answers.effects);
            }
        }
    }

    /// Largest batch every shard takes, in bytes.
    #[must_use]
    pub fn batch_bytes_max(&self) -> u32 {
        self.shards.own().iter().map(Shard::batch_bytes_max).min().unwrap_or(BATCH_BYTES_MAX)
    }

    /// Whether so much waits to be written that no more should be taken in until some of it is.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.shards.own().iter().any(Shard::is_congested)
    }

    /// Closes every shard for writing: nothing that is written would be found again.
    pub fn condemn(&mut self, errno: Errno, answers: &mut Answers) {
        for shard in self.shards.own_mut() {
            shard.condemn(errno, &mut answers.effects);
        }
    }

    /// Whether, after [`Broker::stop`], nothing is left to do.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.shards.own().iter().all(Shard::is_quiet)
    }

    /// The first shard that takes no writes any more, and from where on its log is unknown.
    #[must_use]
    pub fn poison(&self) -> Option<(u16, LogPos)> {
        let mut poisons = self.shards.numbers().iter().zip(self.shards.own());
        poisons.find_map(|(number, shard)| shard.poison().map(|(at, _)| (*number, at)))
    }
}

/// The change in a metadata entry's batch.
pub(crate) fn read_change(batch: &[u8]) -> Option<Change> {
    let batch = BatchRef::parse_unverified(batch).ok()?;
    let record = batch.records().next()?.ok()?;
    Change::decode(record.value?)
}

/// Whether `name` may be a topic's.
#[must_use]
pub fn is_topic_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=TOPIC_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(allowed)
        && name != "."
        && name != ".."
}
