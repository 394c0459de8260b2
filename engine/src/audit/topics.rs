//! Names of queues, from the metadata log: topics that were deleted included.

use std::collections::BTreeMap;

use crate::broker::change_format::Change;

/// A queue's place in its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueName {
    /// The topic.
    pub topic: String,
    /// Number of the queue in it.
    pub number: u16,
    /// The shard it lives in.
    pub shard: u16,
    /// The topic looks inside every batch.
    pub deep: bool,
    /// The topic was deleted.
    pub deleted: bool,
}

/// All queues there ever were, by id.
#[derive(Clone, Debug, Default)]
pub struct Topics {
    queues: BTreeMap<u32, QueueName>,
    /// Queue ids by topic id.
    topics: BTreeMap<u32, Vec<u32>>,
    /// Changes may be missing.
    doubtful: bool,
}

impl Topics {
    /// Takes note of a change.
    pub fn learn(&mut self, change: &Change) {
        match change {
            Change::Create(topic) => {
                for (number, queue) in (0..).zip(&topic.queues) {
                    let name = QueueName {
                        topic: topic.name.clone(),
                        number,
                        shard: queue.shard,
                        deep: topic.deep,
                        deleted: false,
                    };
                    self.queues.insert(queue.id, name);
                }
                let ids = topic.queues.iter().map(|queue| queue.id).collect();
                self.topics.insert(topic.id, ids);
            }
            Change::Delete { id } => {
                for queue in self.topics.get(id).into_iter().flatten() {
                    if let Some(name) = self.queues.get_mut(queue) {
                        name.deleted = true;
                    }
                }
            }
        }
    }

    /// Some changes could not be read.
    pub fn doubt(&mut self) {
        self.doubtful = true;
    }

    /// Whether every change is known.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.doubtful
    }

    /// Whether there was never a topic.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// The name of a queue.
    #[must_use]
    pub fn queue(&self, id: u32) -> Option<&QueueName> {
        self.queues.get(&id)
    }

    /// Ids of the queues of a topic, with their numbers: of all topics that ever had the name.
    pub fn queues_of<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = (u32, u16)> + 'a {
        let queues = self.queues.iter().filter(move |(_, name)| name.topic == topic);
        queues.map(|(&id, name)| (id, name.number))
    }
}
