//! What went out of each topic: the records and bytes that fetches were given.
//!
//! Counted here and not in the engine: there a queue that nobody reads would pay for it.
//! Absent: what consumers made of it (a fetch begins with a whole batch, and may come again).

use std::collections::BTreeMap;

use engine::broker::catalog::Catalog;

/// So many topics that are gone may be remembered.
const GONE_MAX: usize = 64;

/// Records and bytes, by topic.
#[derive(Debug, Default)]
pub(super) struct Given {
    topics: BTreeMap<u32, (u64, u64)>,
}

impl Given {
    pub(super) fn add(&mut self, topic: u32, records: u64, bytes: u64) {
        let (all_records, all_bytes) = self.topics.entry(topic).or_default();
        *all_records += records;
        *all_bytes += bytes;
    }

    /// Of a topic: records and bytes.
    pub(super) fn of(&self, topic: u32) -> (u64, u64) {
        self.topics.get(&topic).copied().unwrap_or_default()
    }

    /// Lets go of topics that are gone once they could be many; their numbers are not used again.
    pub(super) fn forget_if_many(&mut self, catalog: &Catalog) {
        if self.topics.len() > GONE_MAX && self.topics.len() > 2 * catalog.topics().count() {
            self.topics.retain(|topic, _| catalog.topic(*topic).is_some());
        }
    }
}
