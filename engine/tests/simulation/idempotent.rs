//! Idempotent producers in a simulation: they number their batches, and send them again whether
//! or not they were answered; after a crash they send what was lost, in order.

use std::collections::{BTreeMap, VecDeque};

use engine::io::sim::Random;
use engine::level::AckLevel;

use crate::history::{History, Queue};
use crate::node::Node;
use crate::payload::{Shape, VALUE_BYTES_MIN};
use crate::survey::Survey;

const PRODUCERS: u64 = 2;
/// Batches that a node recognizes.
const RECENT: usize = 5;

/// Who made a batch, and which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) producer: i64,
    pub(crate) epoch: i16,
    pub(crate) first: i32,
}

/// One producer's batches in one queue.
#[derive(Clone, Debug, Default)]
struct Line {
    next: i32,
    /// Taken by the node, oldest first.
    taken: Vec<u64>,
    /// Gone with a crash: to be sent again before anything else.
    lost: VecDeque<u64>,
}

/// What the clients remember, over all lives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Producers {
    ids: Vec<i64>,
    lines: BTreeMap<(usize, Queue), Line>,
}

impl Producers {
    /// A restart found this: whatever is missing was lost.
    pub(crate) fn found(&mut self, shapes: impl Fn(u64) -> Option<Shape>, survey: &Survey) {
        let offsets = survey.offsets();
        self.lines.retain(|(_, queue), _| offsets.contains_key(queue));
        for ((_, queue), line) in &mut self.lines {
            let there = offsets.get(queue).into_iter().flatten().map(|(_, token)| *token);
            let there: std::collections::BTreeSet<u64> = there.collect();
            let kept = line.taken.iter().take_while(|token| there.contains(token)).count();
            for token in line.taken.split_off(kept).into_iter().rev() {
                line.lost.push_front(token);
            }
            let last = line.taken.last().and_then(|token| shapes(*token));
            line.next = last.map_or(0, |shape| shape.next());
        }
    }
}

/// Sends the next batch of some producer, or one of its last ones again.
pub(crate) fn step(node: &mut Node<'_>, history: &mut History, random: &mut Random, queue: Queue) {
    let producer = random.below(PRODUCERS) as usize;
    while history.producers.ids.len() <= producer {
        let id = node.broker.new_producer().expect("an id");
        if history.producers.ids.contains(&id) {
            history.fault = Some(format!("producer id {id} was given out twice"));
        }
        history.producers.ids.push(id);
    }
    let id = history.producers.ids[producer];
    let key = (producer, queue);
    let line = history.producers.lines.entry(key).or_default().clone();
    let levels = [AckLevel::Memory, AckLevel::Written, AckLevel::Durable];
    let ack = levels[random.below(3) as usize];
    let recent = line.taken.len().min(RECENT) as u64;
    if recent > 0 && line.lost.is_empty() && random.below(2) == 0 {
        let token = line.taken[line.taken.len() - 1 - random.below(recent) as usize];
        node.send(history, history.sent[&token].shape, queue, ack);
        return;
    }
    let (token, shape) = match line.lost.front() {
        Some(&token) => (token, history.sent[&token].shape),
        None => {
            let records = random.between(1, 3) as u32;
            let value_bytes = random.between(VALUE_BYTES_MIN as u64, 700) as usize;
            let number = Some(Number { producer: id, epoch: 0, first: line.next });
            let token = history.next_token();
            (token, Shape { token, records, value_bytes, number })
        }
    };
    let taken = node.send(history, shape, queue, ack);
    let line = history.producers.lines.entry(key).or_default();
    if taken {
        line.lost.pop_front();
        line.taken.push(token);
        line.next = shape.next();
    }
}
