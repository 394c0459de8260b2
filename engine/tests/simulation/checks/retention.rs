//! Retention takes no more than it must: a log that lost segments is about as long as it may be,
//! unless nobody held what was in them.

use engine::shard::retention::Retention;

use crate::history::History;
use crate::node::Node;

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
