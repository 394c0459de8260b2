//! What `top` asks of a node at each look: its statistics, and how far groups lag behind.

use std::collections::BTreeMap;
use std::time::Instant;

use net::client::{Client, ClientError, NodeStats};

use crate::interval::Interval;

/// Groups that are asked about: each is a request.
const GROUPS_MAX: usize = 64;

/// A look at a node.
pub(super) struct Sample {
    at: Instant,
    stats: NodeStats,
    /// The largest first.
    pub(super) lags: Vec<Lag>,
}

/// How far a group is behind in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lag {
    pub(super) group: String,
    pub(super) topic: String,
    pub(super) queue: u16,
    pub(super) offset: Option<u64>,
    pub(super) visible: u64,
    pub(super) lag: u64,
}

impl Sample {
    pub(super) async fn take(client: &Client) -> Result<Self, ClientError> {
        let stats = client.stats(false).await?;
        let at = Instant::now();
        let topics = client.list_topics().await?;
        let names: BTreeMap<u32, String> =
            topics.into_iter().map(|topic| (topic.id, topic.name)).collect();
        let mut lags = Vec::new();
        for group in client.list_groups().await?.into_iter().take(GROUPS_MAX) {
            for committed in client.all_committed_offsets(&group.name).await? {
                // A topic may have gone in between.
                let Some(topic) = names.get(&committed.topic) else { continue };
                lags.push(Lag {
                    group: group.name.clone(),
                    topic: topic.clone(),
                    queue: committed.queue,
                    offset: committed.offset,
                    visible: committed.visible,
                    lag: committed.lag(),
                });
            }
        }
        lags.sort_by_key(|lag| std::cmp::Reverse(lag.lag));
        Ok(Self { at, stats, lags })
    }

    /// What happened since an earlier look.
    pub(super) fn since(&self, before: &Self) -> Interval {
        Interval::between(&before.stats, &self.stats, self.at - before.at)
    }
}
