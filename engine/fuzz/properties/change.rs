//! Changes of topics: what can be read is written as the same bytes again.

use engine::audit::topics::Topics;
use engine::broker::change_format::Change;

use super::allocation::{held_bytes_max, limited};

/// Reads `bytes` as a change.
pub(crate) fn check(bytes: &[u8]) {
    limited(held_bytes_max(bytes), || read(bytes));
}

fn read(bytes: &[u8]) {
    let Some(change) = Change::decode(bytes) else { return };
    assert_eq!(Change::decode(&change.encode()).as_ref(), Some(&change));
    let mut topics = Topics::default();
    topics.learn(&change);
    if let Change::Create(topic) = &change {
        // A queue is six bytes, so no count takes memory that the input does not.
        assert!(topic.queues.len() <= bytes.len() / 6);
    }
}
