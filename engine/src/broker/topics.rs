//! Topics are made and removed: a change is stored in the metadata log, and in force, and answered,
//! once it is durable there.
//!
//! Reads top-down: [`Broker::create_topic`], [`Broker::delete_topic`] -> `store` -> `finish` ->
//! `in_force`.
//! Absent: other settings of a topic that is there (`alter`).

use thiserror::Error;

use super::catalog::{QueueRef, Topic};
use super::change_format::Change;
use super::{Answers, Broker, METADATA_QUEUE, METADATA_SHARD};
use crate::batch::{NewRecord, append_single};
use crate::io::{Env, Nanos};
use crate::level::AckLevel;
use crate::limits::{BATCH_BYTES_MAX, QUEUES_PER_TOPIC_MAX, TOPIC_NAME_BYTES_MAX};
use crate::shard::produce::Produce;
use crate::shard::retention::Retention;
use crate::shard::{ProduceError, Token};

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

/// A change that is on its way to the metadata log.
#[derive(Debug)]
pub(super) struct Pending {
    token: Token,
    change: Change,
}

impl<E: Env> Broker<E> {
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

    pub(super) fn own_token(&mut self) -> Token {
        self.next_own += 1;
        Token(self.next_own - 1)
    }

    /// Appends a change to the metadata log.
    pub(super) fn store(
        &mut self,
        change: Change,
        token: Token,
        gathered: Nanos,
        answers: &mut Answers,
    ) {
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

    pub(super) fn finish(
        &mut self,
        own: Token,
        result: Result<u64, ProduceError>,
        answers: &mut Answers,
    ) {
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

    pub(super) fn in_force(&mut self, change: &Change, answers: &mut Answers) {
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

    pub(super) fn add_queues(&mut self, topic: &Topic) {
        for queue in &topic.queues {
            if let Some(shard) = self.shards.get_mut(queue.shard) {
                shard.add_queue(queue.id, topic.ack.visibility(), topic.deep);
                shard.set_keyed(&[queue.id], topic.keyed);
            }
        }
        self.keep(topic);
    }
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
