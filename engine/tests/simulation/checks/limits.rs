//! Limits of topics take what they may and nothing else: a queue never begins where it did not begin
//! before; one of a topic without limits begins at 0; and a topic whose bytes are limited holds as
//! many as it may.
//!
//! Absent: all of this where the log has a limit of its own, or the device is small.

use std::collections::BTreeMap;

use crate::history::{History, Queue};
use crate::node::Node;
use crate::survey::Survey;

/// What a restart found.
pub(crate) fn after_restart(history: &History, survey: &Survey) -> Result<(), String> {
    for (queue, range, _) in survey.queues() {
        let start = range.start_offset;
        let told = [&history.begins, &history.found_begins].map(|known| known.get(&queue));
        if let Some(told) = told.into_iter().flatten().max()
            && start < *told
        {
            return Err(format!("{queue:?} began at {told} before, and begins at {start} now"));
        }
        if start > 0 && !history.is_limited(queue.0) {
            return Err(format!("{queue:?} begins at {start}, and its topic has no limits"));
        }
    }
    Ok(())
}

/// What this life has done so far.
pub(crate) fn in_life(node: &Node<'_>, history: &History) -> Result<(), String> {
    for topic in node.broker.catalog().topics() {
        let asked = history.topic(topic.id);
        let Some(asked) = asked.filter(|asked| asked.age_ms_min.is_none()) else { continue };
        let mut held: BTreeMap<u16, (u64, u64, bool)> = BTreeMap::new();
        for (place, number) in topic.queues.iter().zip(0..) {
            let queue: Queue = (topic.id, number);
            let range = node.broker.range(queue.0, queue.1).map_err(|error| error.to_string())?;
            let before = history.found_begins.get(&queue).copied().unwrap_or(0);
            let (queues, bytes, moved) = held.entry(place.shard).or_default();
            *queues += 1;
            *bytes += range.bytes;
            *moved |= range.start_offset > before;
        }
        for (shard, (queues, bytes, moved)) in held {
            let share =
                asked.bytes_min.map(|min| (min * queues).div_ceil(topic.queues.len() as u64));
            if moved && share.is_none_or(|share| bytes < share) {
                return Err(format!("{asked:?} holds only {bytes} of {share:?} in shard {shard}"));
            }
        }
    }
    Ok(())
}
