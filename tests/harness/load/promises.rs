//! What a node has promised, and when: by the witness's clock, so that what holds at any moment of
//! the past can be told.

use std::collections::BTreeMap;

use super::{PRODUCERS, SENDERS, TOPICS};

/// A moment of the witness's clock.
pub(crate) type Stamp = u64;

/// A message that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(super) at: Stamp,
    pub(super) producer: usize,
    pub(super) sequence: u64,
}

/// What became of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TopicLife {
    pub(super) made: Stamp,
    /// Its deletion was asked for.
    pub(super) deleting: Option<Stamp>,
    pub(super) deleted: Option<Stamp>,
}

/// A group's commit of an offset: asked for, and perhaps acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commit {
    /// Counts those of its queue.
    pub(super) number: u64,
    pub(super) offset: u64,
    pub(super) asked: Stamp,
    pub(super) acked: Option<Stamp>,
}

impl Commit {
    /// What is sent with it, and with no other of its queue: of many lengths, none among them.
    pub(super) fn metadata(&self) -> String {
        let number = self.number;
        if number == 0 {
            String::new()
        } else {
            format!("{number}{}", "\u{e9}".repeat(number as usize % 50))
        }
    }
}

/// An idempotent producer, and the last of its sequence numbers that was acknowledged. The n-th
/// message of its queue is its n-th.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sender {
    pub(super) id: Option<(Stamp, i64)>,
    /// When each sequence number was acknowledged, from 0.
    pub(super) acked: Vec<Stamp>,
}

/// Everything that was promised.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    /// By topic, then queue and offset.
    pub(super) messages: [BTreeMap<(u16, u64), Given>; TOPICS.len()],
    /// What readers have seen, in the same way; of topics whose messages survive once they are seen.
    pub(super) seen: [BTreeMap<(u16, u64), Given>; TOPICS.len()],
    pub(super) topics: BTreeMap<String, TopicLife>,
    /// By topic and queue.
    pub(super) commits: BTreeMap<(usize, u16), Vec<Commit>>,
    pub(super) senders: [Sender; SENDERS as usize],
    /// Producer ids that were given out.
    pub(super) ids: Vec<(Stamp, i64)>,
    /// The next number of each producer, sent or not.
    pub(super) sequences: [u64; PRODUCERS],
    pub(super) topics_made: u64,
    /// Everything that was ever acknowledged.
    pub(super) count: u64,
}

impl Promises {
    pub(super) fn message(&mut self, topic: usize, place: (u16, u64), given: Given) {
        self.count += 1;
        let before = self.messages[topic].insert(place, given);
        assert!(before.is_none(), "{place:?} of topic {topic} was given out twice: {before:?}");
    }

    /// A reader has seen a message: the one that was ever seen there.
    pub(super) fn seen(&mut self, topic: usize, place: (u16, u64), given: Given) {
        let before = self.seen[topic].insert(place, given);
        let same = before.is_none_or(|before| {
            (before.producer, before.sequence) == (given.producer, given.sequence)
        });
        assert!(same, "{place:?} of topic {topic} was {before:?} and is {given:?}");
    }

    /// Where the readers of a queue go on.
    pub(super) fn seen_until(&self, topic: usize, queue: u16) -> u64 {
        let of_queue = self.seen[topic].range((queue, 0)..=(queue, u64::MAX));
        of_queue.last().map_or(0, |((_, offset), _)| offset + 1)
    }

    /// How much was ever acknowledged.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// When the latest promise was given, up to each of which there may be a crash of interest.
    pub(crate) fn stamps(&self) -> Vec<Stamp> {
        let messages = self.messages.iter().flat_map(|topic| topic.values().map(|given| given.at));
        let topics = self.topics.values().flat_map(|life| [Some(life.made), life.deleted]);
        let commits = self.commits.values().flatten().map(|commit| commit.acked);
        let senders = self.senders.iter().flat_map(|sender| sender.acked.iter().copied());
        let mut stamps: Vec<_> =
            messages.chain(topics.flatten()).chain(commits.flatten()).chain(senders).collect();
        stamps.sort_unstable();
        stamps.dedup();
        stamps
    }

    /// What had been promised at a moment; it counts as promised from the beginning.
    pub(crate) fn until(&self, end: Stamp) -> Self {
        let mut held = self.clone();
        let known = |stamp: &mut Option<Stamp>| *stamp = stamp.filter(|at| *at <= end).map(|_| 0);
        for topic in held.messages.iter_mut().chain(&mut held.seen) {
            topic.retain(|_, given| given.at <= end);
            topic.values_mut().for_each(|given| given.at = 0);
        }
        held.topics.retain(|_, life| life.made <= end);
        for life in held.topics.values_mut() {
            life.made = 0;
            known(&mut life.deleting);
            known(&mut life.deleted);
        }
        for commits in held.commits.values_mut() {
            commits.retain(|commit| commit.asked <= end);
            for commit in commits {
                commit.asked = 0;
                known(&mut commit.acked);
            }
        }
        for sender in &mut held.senders {
            sender.id = sender.id.filter(|(at, _)| *at <= end).map(|(_, id)| (0, id));
            sender.acked.retain(|at| *at <= end);
            sender.acked.fill(0);
        }
        held.ids.retain(|(at, _)| *at <= end);
        held.ids.iter_mut().for_each(|(at, _)| *at = 0);
        held
    }
}
