//! The broker: topics, and requests routed to the shards that own their queues.
//!
//! Reading order: [`catalog`] (what topics there are) -> [`change_format`] (how a change is
//! stored) -> `open` -> this file (requests in, answers out) -> `topics` (made and removed), `alter`
//! (other settings for a topic), [`groups`] (consumer groups' offsets), `producers` (their ids).
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
mod open;
mod producers;
mod shards;
mod topics;

use std::collections::BTreeMap;

use crate::io::{Env, Errno, Nanos};
use crate::level::AckLevel;
use crate::limits::BATCH_BYTES_MAX;
use crate::log::position::LogPos;
use crate::shard::produce::Produce;
use crate::shard::turn::{TurnClock, TurnEnd};
use crate::shard::{Effect, Fetch, FetchError, ProduceError, QueueRange, Seek, Shard, Token};
use crate::stage::Timings;
use catalog::Catalog;
use change_format::Change;
pub(crate) use open::read_change;
use shards::Shards;
use topics::Pending;
pub use topics::{NewTopic, TopicAnswer, TopicError, is_topic_name};

/// The queue, in shard 0, that holds changes of topics and queues.
pub const METADATA_QUEUE: u32 = 0;

/// The shard whose log holds them.
pub const METADATA_SHARD: u16 = 0;

/// Tokens of the broker's own requests.
const OWN_TOKENS: u64 = 1 << 63;

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
