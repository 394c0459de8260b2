//! Answers of several reactors to one question become one reply.

use std::borrow::Cow;
use std::collections::BTreeMap;

use engine::broker::catalog::Catalog;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};

use crate::wire::{
    CommittedReply, ErrorCode, GroupSummary, HistogramPart, QueueDescription, Reply, SHARD_ANY,
    StatsReply,
};

/// Counters of the node that every reactor says alike.
const SAME_EVERYWHERE: [&str; 3] = ["topics", "directory_lost", "directory_read_only"];

/// One reply out of the reactors', which are in their order; `None` if they do not fit together.
/// `owner` tells the reactor of a shard.
pub(super) fn merge<'a>(
    parts: Vec<(usize, Reply<'a>)>,
    owner: impl Fn(u16) -> usize,
    catalog: &Catalog,
) -> Option<Reply<'a>> {
    let mut parts = parts.into_iter();
    let (_, mut all) = parts.next()?;
    for (reactor, part) in parts {
        let owns = |shard| owner(shard) == reactor;
        match (&mut all, part) {
            (Reply::TopicDescribe(topic), Reply::TopicDescribe(part)) => {
                add_queues(&mut topic.queues, part.queues, owns);
                // Each reactor counts what its own shards gave.
                topic.fetched_records += part.fetched_records;
                topic.fetched_bytes += part.fetched_bytes;
            }
            (Reply::OffsetFetch(committed), Reply::OffsetFetch(part)) => {
                add_committed(committed, part, |place| {
                    let queue = catalog.queue(place.topic, place.queue);
                    queue.is_ok_and(|(_, queue)| owns(queue.shard))
                });
            }
            (Reply::GroupList(groups), Reply::GroupList(part)) => add_groups(groups, part),
            (Reply::Stats(stats), Reply::Stats(part)) => add_stats(stats, part)?,
            _ => return None,
        }
    }
    Some(all)
}

/// The results of a commit, back in the order of the request.
pub(super) fn merge_commits(
    places: &BTreeMap<usize, Vec<usize>>,
    parts: &[(usize, Reply<'_>)],
) -> Reply<'static> {
    // What no part answers for was not committed.
    let count = places.values().map(Vec::len).sum();
    let mut results = vec![Some(ErrorCode::Internal); count];
    for (reactor, part) in parts {
        let (Reply::OffsetCommit(codes), Some(places)) = (part, places.get(reactor)) else {
            continue;
        };
        for (place, code) in places.iter().zip(codes) {
            if let Some(result) = results.get_mut(*place) {
                *result = *code;
            }
        }
    }
    Reply::OffsetCommit(results)
}

/// Each queue as its owner describes it.
fn add_queues(
    all: &mut [QueueDescription],
    part: Vec<QueueDescription>,
    owns: impl Fn(u16) -> bool,
) {
    for (known, queue) in all.iter_mut().zip(part) {
        if owns(queue.shard) {
            *known = queue;
        }
    }
}

/// Either the reactors answer for the same places, and the owner is right; or each for all it has.
fn add_committed<'a>(
    all: &mut Vec<CommittedReply<'a>>,
    part: Vec<CommittedReply<'a>>,
    owns: impl Fn(&CommittedReply<'a>) -> bool,
) {
    let owned = part.into_iter().filter(owns);
    let owned: BTreeMap<_, _> = owned.map(|one| ((one.topic, one.queue), one)).collect();
    let mut missing = owned.clone();
    for known in all.iter_mut() {
        let place = (known.topic, known.queue);
        if let Some(right) = owned.get(&place) {
            *known = *right;
            missing.remove(&place);
        }
    }
    if !missing.is_empty() {
        all.extend(missing.into_values());
        all.sort_by_key(|one| (one.topic, one.queue));
    }
}

/// A group's queues are in several shards.
fn add_groups<'a>(all: &mut Vec<GroupSummary<'a>>, part: Vec<GroupSummary<'a>>) {
    let mut queues: BTreeMap<&'a str, u32> = BTreeMap::new();
    for group in all.drain(..).chain(part) {
        *queues.entry(group.name).or_default() += group.queues;
    }
    all.extend(queues.into_iter().map(|(name, queues)| GroupSummary { queues, name }));
}

/// Shards are told apart, what is the node's is added up.
fn add_stats<'a>(all: &mut StatsReply<'a>, part: StatsReply<'a>) -> Option<()> {
    for histogram in part.histograms {
        let key = (histogram.op, histogram.stage, histogram.shard);
        let known = all.histograms.iter_mut().find(|one| (one.op, one.stage, one.shard) == key);
        match known {
            Some(known) => add_histogram(known, &histogram)?,
            None => all.histograms.push(histogram),
        }
    }
    for counter in part.counters {
        let key = (&counter.name, counter.shard);
        let known = all.counters.iter_mut().find(|one| (&one.name, one.shard) == key);
        match known {
            Some(_) if SAME_EVERYWHERE.contains(&&*counter.name) => {}
            Some(known) => known.value += counter.value,
            None => all.counters.push(counter),
        }
    }
    all.histograms.sort_by_key(|one| (one.shard, one.op, one.stage));
    // The node's own come last.
    all.counters.sort_by_key(|one| (one.shard == SHARD_ANY, one.shard));
    Some(())
}

fn add_histogram(known: &mut HistogramPart<'_>, other: &HistogramPart<'_>) -> Option<()> {
    let read = |mut bytes: &[u8]| Deserializer::new().deserialize::<u64, _>(&mut bytes).ok();
    let mut sum: Histogram<u64> = read(&known.encoded)?;
    sum.add(read(&other.encoded)?).ok()?;
    let mut encoded = Vec::new();
    V2Serializer::new().serialize(&sum, &mut encoded).ok()?;
    known.encoded = Cow::Owned(encoded);
    Some(())
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
