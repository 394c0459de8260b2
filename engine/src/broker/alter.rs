//! A topic gets other settings: its level, how long its records are kept.
//!
//! Absent: other numbers of queues (a record's queue would change with them).

use super::catalog::Topic;
use super::change_format::{Alteration, Change};
use super::{Answers, Broker, TopicAnswer, TopicError};
use crate::io::{Env, Nanos};
use crate::shard::Token;
use crate::shard::retention::Retention;

impl<E: Env> Broker<E> {
    /// Changes the settings of a topic, whose id is filled in here; answered when the change is
    /// durable.
    pub fn alter_topic(
        &mut self,
        name: &str,
        alteration: Alteration,
        (token, gathered): (Token, Nanos),
        answers: &mut Answers,
    ) {
        match self.staying(name) {
            Some(id) => {
                let change = Change::Alter(Alteration { id, ..alteration });
                self.store(change, token, gathered, answers);
            }
            None => {
                let result = Err(TopicError::Unknown);
                answers.topics.push(TopicAnswer::Altered { token, result });
            }
        }
    }

    /// Brings new settings into force.
    pub(super) fn alter(&mut self, alteration: &Alteration) {
        self.catalog.apply(&Change::Alter(*alteration));
        let Some(topic) = self.catalog.topic(alteration.id).cloned() else { return };
        for (number, shard) in self.shards.numbered() {
            let queues = queues_in(&topic, number);
            shard.set_visibility(&queues, topic.ack.visibility());
            shard.set_keyed(&queues, topic.keyed);
        }
        self.keep(&topic);
    }

    /// Tells the shards what a topic may hold: of its bytes, each gets the share of its queues.
    pub(super) fn keep(&mut self, topic: &Topic) {
        for (number, shard) in self.shards.numbered() {
            let queues = queues_in(topic, number);
            let (mine, all) = (queues.len() as u128, topic.queues.len().max(1) as u128);
            let share = |bytes: u64| (u128::from(bytes) * mine).div_ceil(all) as u64;
            let retention =
                Retention { bytes: topic.retention.bytes.map(share), ..topic.retention };
            shard.keep_topic(topic.id, queues, retention);
        }
    }
}

/// The ids of a topic's queues that lie in one shard.
fn queues_in(topic: &Topic, shard: u16) -> Vec<u32> {
    let queues = topic.queues.iter().filter(|queue| queue.shard == shard);
    queues.map(|queue| queue.id).collect()
}
