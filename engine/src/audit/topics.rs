//! Names of queues, from the metadata log: topics that were deleted included.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::{Damage, Found, Group, Visitor};
use crate::broker::change_format::Change;
use crate::broker::read_change;
use crate::log::entry_format::Kind;
use crate::shard::checkpoint_format::{Part, parts};

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
    /// Changes are damaged.
    damaged: bool,
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
            Change::Alter(_) => {}
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

    /// Some changes are damaged.
    pub fn distrust(&mut self) {
        (self.doubtful, self.damaged) = (true, true);
    }

    /// Whether no change is damaged: what was deleted is known to be.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.damaged
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

/// The changes of topics that an entry holds: one in a metadata entry, any number in a checkpoint,
/// none in others. `None` when they cannot be read.
#[must_use]
pub fn changes_of(found: &Found<'_>) -> Option<Vec<Change>> {
    match found.header.kind {
        Kind::Metadata => read_change(found.batch).map(|change| vec![change]),
        Kind::Checkpoint => {
            let mut changes = Some(Vec::new());
            parts(found.batch, |part| {
                if let Part::Topic(bytes) = part {
                    match (Change::decode(bytes), &mut changes) {
                        (Some(change), Some(all)) => all.push(change),
                        _ => changes = None,
                    }
                }
            })?;
            changes
        }
        Kind::Data | Kind::OffsetCommit => Some(Vec::new()),
    }
}

/// Learns whatever it is shown of a log.
impl Visitor for Topics {
    fn group(&mut self, group: &Group) -> ControlFlow<()> {
        group
            .entries()
            .filter_map(|found| changes_of(&found))
            .flatten()
            .for_each(|change| self.learn(&change));
        ControlFlow::Continue(())
    }

    fn broken_group(&mut self, group: &Group) -> ControlFlow<()> {
        let intact = group.checked().filter_map(Result::ok);
        intact
            .filter_map(|found| changes_of(&found))
            .flatten()
            .for_each(|change| self.learn(&change));
        ControlFlow::Continue(())
    }

    fn damage(&mut self, damage: &Damage) {
        if !damage.is_derived() {
            self.distrust();
        }
    }

    fn passed(&mut self, _: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::catalog::{QueueRef, Topic};
    use crate::level::AckLevel;
    use crate::shard::retention::Retention;

    #[test]
    fn deleted_topics_keep_their_names() {
        let topic = |id, queues: &[u32]| {
            let queues = queues.iter().map(|&id| QueueRef { id, shard: 1 }).collect();
            let name = "t".to_owned();
            let (ack, retention) = (AckLevel::Durable, Retention::default());
            Change::Create(Topic { id, name, ack, deep: true, keyed: false, retention, queues })
        };
        let mut topics = Topics::default();
        assert!(topics.is_empty());
        for change in [topic(1, &[1, 2]), Change::Delete { id: 1 }, topic(2, &[3])] {
            topics.learn(&change);
        }
        let name = |id| topics.queue(id).map(|name| (name.number, name.deleted));
        assert_eq!(
            [1, 2, 3, 4].map(name),
            [Some((0, true)), Some((1, true)), Some((0, false)), None]
        );
        assert_eq!(topics.queues_of("t").collect::<Vec<_>>(), [(1, 0), (2, 1), (3, 0)]);
        assert_eq!(topics.queues_of("u").count(), 0);
    }
}
