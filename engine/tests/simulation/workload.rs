//! What clients do in one life, from a seed: topics made and deleted, batches of all levels and
//! sizes, numbered ones that are sent again, offsets committed, fetches that wait and fetches that do not, and time that passes in uneven steps.

use engine::broker::change_format::Alteration;
use engine::io::sim::Random;
use engine::level::AckLevel;
use engine::shard::retention::Retention;
use engine::shard::{Fetch, Token};

use crate::history::{History, Queue};
use crate::node::Node;
use crate::payload::VALUE_BYTES_MIN;
use crate::{groups, idempotent};

/// How much happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) steps: u32,
    /// Requests of one turn.
    pub(crate) requests_max: u64,
    /// One batch in eight has values up to this, the others up to a sixteenth of it.
    pub(crate) value_bytes_max: u64,
    pub(crate) topics_max: usize,
    /// Only these levels are used.
    pub(crate) levels: &'static [AckLevel],
    /// Idempotent producers, too. They tell by what is there what was lost, so nothing may expire.
    pub(crate) numbered: bool,
    /// Topics may have limits of their own, and are altered.
    pub(crate) limited: bool,
    /// Now and then nothing happens for a second, and records get old.
    pub(crate) pauses: bool,
}

/// All levels, the weaker ones as often as the stronger.
pub(crate) const MIXED: &[AckLevel] =
    &[AckLevel::None, AckLevel::Memory, AckLevel::Written, AckLevel::Written, AckLevel::Durable];

/// Lives until the steps are done or the machine crashes.
pub(crate) fn run(node: &mut Node<'_>, history: &mut History, random: &mut Random, load: &Load) {
    for _ in 0..load.steps {
        for _ in 0..random.below(load.requests_max + 1) {
            request(node, history, random, load);
        }
        node.turn(history);
        if node.crashed() {
            return;
        }
        match random.below(16) {
            0..=9 => drop(node.advance_to_next(None)),
            10..=12 => node.advance(random.below(200_000)),
            13 => node.advance(6_000_000),
            // Topics are looked at once a second.
            14 if load.pauses => node.advance(1_100_000_000),
            _ => {}
        }
    }
}

fn request(node: &mut Node<'_>, history: &mut History, random: &mut Random, load: &Load) {
    let live = history.topics.iter().filter(|topic| !topic.deleted).count();
    match random.below(100) {
        _ if live == 0 => create(node, history, random, load),
        0..=2 if live < load.topics_max => create(node, history, random, load),
        42..=45 if load.limited => alter(node, history, random, load),
        3 if live > 1 => delete(node, history, random),
        4..=19 => fetch(node, history, random),
        20..=27 => {
            if let Some(queue) = queue(history, random) {
                groups::step(node, history, random, queue);
            }
        }
        28..=41 if load.numbered => {
            if let Some(queue) = queue(history, random) {
                idempotent::step(node, history, random, queue);
            }
        }
        _ => produce(node, history, random, load),
    }
}

fn create(node: &mut Node<'_>, history: &mut History, random: &mut Random, load: &Load) {
    let name = format!("topic-{}", history.topics.len());
    let queues = random.between(1, 3) as u16;
    let ack = level(random);
    let limited = load.limited && random.below(2) == 0;
    let (age_ms, bytes) = if limited { limits(random, load) } else { (None, None) };
    node.create_limited(history, &name, queues, ack, Retention { age_ms, bytes });
}

fn level(random: &mut Random) -> AckLevel {
    match random.below(4) {
        0 => AckLevel::Memory,
        1 => AckLevel::Written,
        _ => AckLevel::Durable,
    }
}

/// An age, a number of bytes, or both.
fn limits(random: &mut Random, load: &Load) -> (Option<u64>, Option<u64>) {
    let which = random.below(3);
    let age_ms = (which != 0).then(|| random.between(1, 3000));
    let bytes = (which != 1).then(|| random.between(1, 4 * load.value_bytes_max));
    (age_ms, bytes)
}

fn alter(node: &mut Node<'_>, history: &mut History, random: &mut Random, load: &Load) {
    let topic = random.below(history.topics.len() as u64) as usize;
    let asked = &history.topics[topic];
    if asked.id.is_none() || asked.delete_asked {
        return;
    }
    let mut wanted = Alteration::default();
    match random.below(4) {
        0 => wanted.ack = Some(level(random)),
        1 => wanted.keyed = Some(random.below(2) == 0),
        // One in four becomes free of limits.
        _ if random.below(4) == 0 => (wanted.age_ms, wanted.bytes) = (Some(None), Some(None)),
        _ => {
            let (age_ms, bytes) = limits(random, load);
            (wanted.age_ms, wanted.bytes) = (Some(age_ms), Some(bytes));
        }
    }
    node.alter_topic(history, topic, wanted);
}

fn delete(node: &mut Node<'_>, history: &mut History, random: &mut Random) {
    let topic = random.below(history.topics.len() as u64) as usize;
    let asked = &history.topics[topic];
    if asked.id.is_some() && !asked.delete_asked {
        node.delete_topic(history, topic);
    }
}

fn queue(history: &History, random: &mut Random) -> Option<Queue> {
    let live: Vec<_> = history.topics.iter().filter(|t| t.id.is_some() && !t.deleted).collect();
    let topic = live.get(random.below(live.len() as u64) as usize)?;
    Some((topic.id?, random.below(u64::from(topic.queues)) as u16))
}

fn produce(node: &mut Node<'_>, history: &mut History, random: &mut Random, load: &Load) {
    let Some(queue) = queue(history, random) else { return };
    let ack = load.levels[random.below(load.levels.len() as u64) as usize];
    let min = VALUE_BYTES_MIN as u64;
    let large = random.below(8) == 0;
    let max = if large { load.value_bytes_max } else { load.value_bytes_max / 16 };
    let value_bytes = random.between(min, max.max(min)) as usize;
    let records = if large { 1 } else { random.between(1, 4) as u32 };
    node.produce(history, queue, ack, (records, value_bytes));
}

fn fetch(node: &mut Node<'_>, history: &mut History, random: &mut Random) {
    let Some(queue) = queue(history, random) else { return };
    let Ok(range) = node.broker.range(queue.0, queue.1) else { return };
    let tail = random.below(2) == 0;
    let offset =
        if tail { range.end_offset } else { random.between(range.start_offset, range.end_offset) };
    let wait_nanos = if random.below(2) == 0 { 0 } else { random.below(20_000_000) };
    let bytes_max = 1 << random.between(8, 20);
    let bytes_min = if random.below(4) == 0 { 5000 } else { 1 };
    let fetch =
        Fetch { token: Token(0), queue: 0, offset, epoch: 0, bytes_min, bytes_max, wait_nanos };
    node.fetch(history, queue, fetch);
}
