//! Retention takes no more than it must: a log that lost segments is about as long as it may be,
//! unless nobody held what was in them; and what it lost for its age was old. It takes what it
//! must: after a rest nothing that is too old is left.

use engine::shard::retention::Retention;

use crate::history::History;
use crate::node::Node;

const MILLI: u64 = 1_000_000;

pub(crate) fn check(
    node: &mut Node<'_>,
    history: &History,
    shards: usize,
    retention: Retention,
    segment_bytes: u64,
) -> Result<(), String> {
    let Some(bytes) = retention.bytes else { return Ok(()) };
    if history.topics.iter().any(|topic| topic.delete_asked) {
        return Ok(());
    }
    for number in 0..shards {
        let shard = &node.broker.shards()[number];
        let (oldest, segments) = (shard.oldest_segment(), shard.counters().segments);
        if oldest > 0 && (segments + 1) * segment_bytes <= bytes {
            return Err(format!("shard {number}: {segments} segments are left from {oldest} on"));
        }
    }
    Ok(())
}

/// What this life has stored, and not longer ago than `age_ms`, is there.
pub(crate) fn young(node: &mut Node<'_>, history: &History, age_ms: u64) -> Result<(), String> {
    let now = node.now();
    for sent in history.sent.values().filter(|sent| sent.life == history.life) {
        let Some(Ok(offset)) = sent.answers.first() else { continue };
        let Ok(range) = node.broker.range(sent.queue.0, sent.queue.1) else { continue };
        // Clocks of records have milliseconds.
        let old_ms = now.since(sent.at) / MILLI + 1;
        if *offset < range.start_offset && old_ms < age_ms {
            return Err(format!("{sent:?} is gone after {old_ms} ms, it has {age_ms} to live"));
        }
    }
    Ok(())
}

/// After a rest that is longer than records live, only current segments are left.
pub(crate) fn old(node: &mut Node<'_>, segment_bytes: u64) -> Result<(), String> {
    for (number, shard) in node.broker.shards().iter().enumerate() {
        let (oldest, end) = (shard.oldest_segment(), shard.counters().log_end);
        if oldest < end.saturating_sub(1) / segment_bytes {
            return Err(format!("shard {number} ends at {end}, and begins with segment {oldest}"));
        }
    }
    Ok(())
}
