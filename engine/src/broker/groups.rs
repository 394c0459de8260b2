//! Consumer groups' offsets: one request's offsets to the shards of their queues, and back.
//!
//! Each offset lives in its queue's shard; what one request commits in one shard is one entry
//! there. The request is answered when every shard has answered, offset by offset.
//! Absent: membership, rebalancing.

use std::collections::BTreeMap;

use super::{Answers, Broker, catalog};
use crate::io::{Env, Nanos};
use crate::level::AckLevel;
use crate::log::position::LogPos;
use crate::shard::offsets::{CommitOffsets, Committed, NewOffset, OffsetError, is_group_name};
use crate::shard::{ProduceError, QueueRange, Token};

/// One queue's offset in a request.
#[derive(Clone, Copy, Debug)]
pub struct TopicOffset<'a> {
    /// Topic id.
    pub topic: u32,
    /// Number of the queue in its topic.
    pub queue: u16,
    /// The next offset to read; `None` forgets what was committed.
    pub offset: Option<u64>,
    /// Leader epoch of the last batch that was read; 0: unknown.
    pub epoch: u32,
    /// Whatever the client wants to be kept with it.
    pub metadata: &'a str,
}

/// The answer to an offset commit.
#[derive(Debug)]
pub struct CommitAnswer {
    /// The request.
    pub token: Token,
    /// For each offset, in the order of the request: committed, or why not.
    pub results: Vec<Result<(), OffsetError>>,
}

/// What a group has committed of a queue, and what the queue holds.
#[derive(Clone, Copy, Debug)]
pub struct GroupOffset<'a> {
    /// Topic id.
    pub topic: u32,
    /// Number of the queue in its topic.
    pub queue: u16,
    /// What was committed, if anything.
    pub committed: Option<&'a Committed>,
    /// What the queue holds.
    pub range: QueueRange,
}

/// A request that waits for shards.
#[derive(Debug)]
struct Call {
    token: Token,
    results: Vec<Result<(), OffsetError>>,
    parts: usize,
}

/// The offsets of a request that went to one shard.
#[derive(Debug)]
struct Part {
    call: u64,
    shard: u16,
    at: LogPos,
    /// Their places in the request.
    places: Vec<usize>,
}

/// Commits on their way.
#[derive(Debug, Default)]
pub(super) struct Commits {
    calls: BTreeMap<u64, Call>,
    parts: BTreeMap<u64, Part>,
    next_call: u64,
}

impl Commits {
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

impl<E: Env> Broker<E> {
    /// Commits offsets of a group, at least at level `memory`; a queue that is named twice gets
    /// the later one. Answered when each is stored at the level asked for.
    pub fn commit_offsets(
        &mut self,
        group: &str,
        offsets: &[TopicOffset<'_>],
        ack: AckLevel,
        (token, gathered): (Token, Nanos),
        answers: &mut Answers,
    ) {
        let mut results = Vec::with_capacity(offsets.len());
        let mut by_shard: BTreeMap<u16, (Vec<NewOffset<'_>>, Vec<usize>)> = BTreeMap::new();
        for (place, offset) in offsets.iter().enumerate() {
            results.push(self.check_offset(group, offset).map(|(shard, new)| {
                let (news, places) = by_shard.entry(shard).or_default();
                news.push(new);
                places.push(place);
            }));
        }
        let call = self.commits.next_call;
        self.commits.next_call += 1;
        let mut parts = 0;
        for (number, (news, places)) in by_shard {
            let own = self.own_token();
            let ack = ack.max(AckLevel::Memory);
            let commit = CommitOffsets { token: own, group, offsets: &news, ack, gathered };
            let Some(shard) = self.shards.get_mut(number) else { continue };
            match shard.commit_offsets(&commit) {
                Ok(at) => {
                    parts += 1;
                    self.commits.parts.insert(own.0, Part { call, shard: number, at, places });
                }
                Err(error) => fail(&mut results, &places, &error),
            }
        }
        if parts == 0 {
            answers.commits.push(CommitAnswer { token, results });
        } else {
            self.commits.calls.insert(call, Call { token, results, parts });
        }
    }

    fn check_offset<'a>(
        &self,
        group: &str,
        offset: &TopicOffset<'a>,
    ) -> Result<(u16, NewOffset<'a>), OffsetError> {
        if !is_group_name(group) {
            return Err(OffsetError::InvalidGroup);
        }
        let (_, place) =
            self.catalog.queue(offset.topic, offset.queue).map_err(|missing| match missing {
                catalog::Missing::Topic => OffsetError::UnknownTopic,
                catalog::Missing::Queue => OffsetError::UnknownQueue,
            })?;
        let TopicOffset { offset, epoch, metadata, .. } = *offset;
        let new = NewOffset { queue: place.id, offset, epoch, metadata };
        let shard = self.shards.get(place.shard);
        shard.ok_or(OffsetError::UnknownQueue)?.check_offset(&new)?;
        Ok((place.shard, new))
    }

    /// A shard has answered: its offsets are in force, or failed.
    pub(super) fn finish_commit(
        &mut self,
        own: Token,
        result: Result<u64, ProduceError>,
        answers: &mut Answers,
    ) {
        let Some(part) = self.commits.parts.remove(&own.0) else { return };
        if let Some(shard) = self.shards.get_mut(part.shard) {
            shard.settle_offsets(part.at, result.is_ok());
        }
        let Some(call) = self.commits.calls.get_mut(&part.call) else { return };
        if let Err(error) = result {
            fail(&mut call.results, &part.places, &error.into());
        }
        call.parts -= 1;
        if call.parts == 0
            && let Some(Call { token, results, .. }) = self.commits.calls.remove(&part.call)
        {
            answers.commits.push(CommitAnswer { token, results });
        }
    }

    /// What a group has committed of a queue.
    ///
    /// # Errors
    /// [`catalog::Missing`] when there is no such topic or queue.
    pub fn committed(
        &self,
        group: &str,
        (topic, queue): (u32, u16),
    ) -> Result<GroupOffset<'_>, catalog::Missing> {
        let range = self.range(topic, queue)?;
        let (_, place) = self.catalog.queue(topic, queue)?;
        let shard = self.shards.get(place.shard);
        let committed = shard.and_then(|shard| shard.committed(group, place.id));
        Ok(GroupOffset { topic, queue, committed, range })
    }

    /// Everything a group has committed, in order of topics and queues.
    #[must_use]
    pub fn all_committed(&self, group: &str) -> Vec<GroupOffset<'_>> {
        let ids = self.shards.own().iter().flat_map(|shard| shard.committed_by(group));
        let places = ids.filter_map(|(id, _)| self.catalog.owner(id));
        let mut all: Vec<_> =
            places.filter_map(|place| self.committed(group, place).ok()).collect();
        all.sort_unstable_by_key(|offset| (offset.topic, offset.queue));
        all
    }

    /// The groups that have committed something, by name, and of how many queues.
    #[must_use]
    pub fn groups(&self) -> BTreeMap<&str, usize> {
        let mut groups = BTreeMap::new();
        for (name, queues) in self.shards.own().iter().flat_map(|shard| shard.groups()) {
            *groups.entry(name).or_default() += queues;
        }
        groups
    }
}

fn fail(results: &mut [Result<(), OffsetError>], places: &[usize], error: &OffsetError) {
    for place in places {
        if let Some(result) = results.get_mut(*place) {
            *result = Err(error.clone());
        }
    }
}
