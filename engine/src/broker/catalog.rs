//! What topics there are, and where their queues lie. Ids are never used again.

use std::collections::{BTreeMap, HashMap};

use thiserror::Error;

use super::change_format::Change;
use crate::level::AckLevel;
use crate::shard::checkpoint_format::{Part, parts};
use crate::shard::retention::Retention;

/// A queue's id and the shard it lives in: assigned once, recorded, never computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueRef {
    /// Unique in the data directory.
    pub id: u32,
    /// The shard whose log holds its records.
    pub shard: u16,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// What a produce that says nothing waits for, and what consumers see.
    pub ack: AckLevel,
    /// Look inside every batch on append.
    pub deep: bool,
    /// Keep an index of its records' keys.
    pub keyed: bool,
    /// Its own limits, beside the node's.
    pub retention: Retention,
    /// Its queues, by number.
    pub queues: Vec<QueueRef>,
}

/// What does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Missing {
    /// The topic.
    #[error("no such topic")]
    Topic,
    /// The queue of it.
    #[error("no such queue")]
    Queue,
}

/// Queues by shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Loads(Vec<u32>);

impl Loads {
    pub(super) fn add(&mut self, queues: &[QueueRef]) {
        for shard in queues.iter().map(|queue| usize::from(queue.shard)) {
            if shard >= self.0.len() {
                self.0.resize(shard + 1, 0);
            }
            if let Some(count) = self.0.get_mut(shard) {
                *count += 1;
            }
        }
    }

    fn remove(&mut self, queues: &[QueueRef]) {
        for shard in queues.iter().map(|queue| usize::from(queue.shard)) {
            if let Some(count) = self.0.get_mut(shard) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// Gives a queue to a shard that has fewest; among equals to the first from `id` on, in turn.
    pub(super) fn place(&mut self, id: u32) -> u16 {
        let shards = self.0.len().max(1);
        let in_turn = (0..shards).map(|n| (id as usize + n) % shards);
        let chosen = in_turn.min_by_key(|shard| self.0.get(*shard).copied()).unwrap_or(0);
        if let Some(count) = self.0.get_mut(chosen) {
            *count += 1;
        }
        chosen as u16
    }
}

/// All topics.
#[derive(Clone, Debug)]
pub struct Catalog {
    topics: BTreeMap<u32, Topic>,
    ids: HashMap<String, u32>,
    /// Queue id -> topic and number.
    owners: BTreeMap<u32, (u32, u16)>,
    next_topic: u32,
    next_queue: u32,
    loads: Loads,
}

impl Default for Catalog {
    fn default() -> Self {
        // Queue 0 is the metadata queue; topic 0 stays free to mean "none".
        let (topics, ids, owners) = (BTreeMap::new(), HashMap::new(), BTreeMap::new());
        Self { topics, ids, owners, next_topic: 1, next_queue: 1, loads: Loads::default() }
    }
}

impl Catalog {
    /// The topic with this id.
    #[must_use]
    pub fn topic(&self, id: u32) -> Option<&Topic> {
        self.topics.get(&id)
    }

    /// The topic with this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Topic> {
        self.ids.get(name).and_then(|id| self.topics.get(id))
    }

    /// All topics, in order of their ids.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.values()
    }

    /// A topic's queue.
    ///
    /// # Errors
    /// [`Missing`] says whether it is the topic or the queue that does not exist.
    pub fn queue(&self, topic: u32, queue: u16) -> Result<(&Topic, QueueRef), Missing> {
        let topic = self.topics.get(&topic).ok_or(Missing::Topic)?;
        let queue = topic.queues.get(usize::from(queue)).ok_or(Missing::Queue)?;
        Ok((topic, *queue))
    }

    /// The topic that has the queue with this id, and the queue's number in it.
    #[must_use]
    pub fn owner(&self, queue: u32) -> Option<(u32, u16)> {
        self.owners.get(&queue).copied()
    }

    /// Takes the next topic id and `queues` queue ids; the first of them.
    pub(super) fn reserve(&mut self, queues: u32) -> (u32, u32) {
        let (topic, queue) = (self.next_topic, self.next_queue);
        self.next_topic += 1;
        self.next_queue += queues;
        (topic, queue)
    }

    /// How many queues each of so many shards has.
    pub(super) fn loads(&self, shards: u16) -> Loads {
        let mut loads = self.loads.clone();
        loads.0.resize(usize::from(shards.max(1)), 0);
        loads
    }

    /// The changes that make all topics there are.
    pub(super) fn changes(&self) -> Vec<Vec<u8>> {
        self.topics.values().map(|topic| Change::Create(topic.clone()).encode()).collect()
    }

    /// The ids that topics and queues get next.
    pub(super) fn next_ids(&self) -> (u32, u32) {
        (self.next_topic, self.next_queue)
    }

    /// Takes the topics and ids out of a checkpoint entry; `None` when it cannot be read.
    pub(super) fn restore(&mut self, batch: &[u8]) -> Option<()> {
        let mut read = Some(());
        parts(batch, |part| match part {
            Part::Topic(change) => match Change::decode(change) {
                Some(change) => self.apply(&change),
                None => read = None,
            },
            Part::Ids { next_topic, next_queue } => {
                self.next_topic = self.next_topic.max(next_topic);
                self.next_queue = self.next_queue.max(next_queue);
            }
            _ => {}
        })?;
        read
    }

    /// Brings a change into force.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Create(topic) => {
                self.next_topic = self.next_topic.max(topic.id + 1);
                let last = topic.queues.iter().map(|queue| queue.id).max().unwrap_or(0);
                self.next_queue = self.next_queue.max(last + 1);
                self.ids.insert(topic.name.clone(), topic.id);
                let numbered = topic.queues.iter().zip(0_u16..);
                self.owners.extend(numbered.map(|(queue, number)| (queue.id, (topic.id, number))));
                self.loads.add(&topic.queues);
                // A checkpoint repeats what the log before it may have said, too.
                if let Some(before) = self.topics.insert(topic.id, topic.clone()) {
                    self.loads.remove(&before.queues);
                }
            }
            Change::Alter(alteration) => {
                if let Some(topic) = self.topics.get_mut(&alteration.id) {
                    alteration.apply(topic);
                }
            }
            Change::Delete { id } => {
                if let Some(topic) = self.topics.remove(id) {
                    self.ids.remove(&topic.name);
                    self.loads.remove(&topic.queues);
                    for queue in topic.queues {
                        self.owners.remove(&queue.id);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(shards: &[u16]) -> Vec<QueueRef> {
        shards.iter().zip(0..).map(|(shard, id)| QueueRef { id, shard: *shard }).collect()
    }

    #[test]
    fn queues_go_in_turn_and_to_emptier_shards_first() {
        let mut catalog = Catalog::default();
        let mut loads = catalog.loads(3);
        assert_eq!([1, 2, 3, 4].map(|id| loads.place(id)), [1, 2, 0, 1]);
        let topic = Topic {
            id: 1,
            name: "t".to_owned(),
            ack: AckLevel::Durable,
            deep: false,
            keyed: false,
            retention: Retention::default(),
            queues: queues(&[0, 0, 0, 1, 1, 1]),
        };
        catalog.apply(&Change::Create(topic.clone()));
        // Said again, as a checkpoint does.
        catalog.apply(&Change::Create(topic));
        let mut loads = catalog.loads(3);
        assert_eq!([1, 2, 3, 4].map(|id| loads.place(id)), [2, 2, 2, 1], "a shard was added");
        catalog.apply(&Change::Delete { id: 1 });
        assert_eq!(catalog.loads(2).0, [0, 0]);
        assert_eq!(Catalog::default().loads(0).place(9), 0);
    }
}
