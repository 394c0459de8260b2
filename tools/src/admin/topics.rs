//! What topics hold and how far groups are behind, for as many of them as is asked for.
//!
//! Asked as any client asks: a request for each topic and group, one after the other, so that no turn
//! of a reactor has more than one of them to answer; and not more often than [`FRESH`].
//! Must never know how it is shown.

use std::collections::BTreeMap;
use std::time::Duration;

use net::client::{Client, ClientError, ErrorCode, TopicDetails};

/// Younger figures than this are shown again instead of asking.
pub(super) const FRESH: Duration = Duration::from_secs(5);

/// A topic, all its queues together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) queues: u64,
    pub(super) appended: u64,
    pub(super) held: u64,
    pub(super) held_bytes: u64,
    pub(super) fetched: u64,
    pub(super) fetched_bytes: u64,
}

/// How far a group is behind in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lag {
    pub(super) group: String,
    pub(super) topic: String,
    pub(super) records: u64,
}

/// The topics, the oldest first, and the groups by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Topics {
    pub(super) topics: Vec<Topic>,
    pub(super) lags: Vec<Lag>,
    /// Topics that are not among them.
    pub(super) omitted: u64,
    /// Groups of which something is not among the lags.
    pub(super) groups_omitted: u64,
}

impl Topics {
    /// Asks for `max` topics, and lags of as many pairs of group and topic.
    pub(super) async fn take(client: &Client, max: usize) -> Result<Self, ClientError> {
        let mut listed = client.list_topics().await?;
        listed.sort_by_key(|topic| topic.id);
        let mut all = Self { omitted: listed.len().saturating_sub(max) as u64, ..Self::default() };
        listed.truncate(max);
        let mut names = BTreeMap::new();
        for topic in listed {
            match client.describe_topic(&topic.name).await {
                Ok(details) => {
                    all.topics.push(sum(&details));
                    names.insert(details.id, details.name);
                }
                // Deleted meanwhile.
                Err(ClientError::Server { code: ErrorCode::UnknownTopic, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if names.is_empty() {
            return Ok(all);
        }
        for group in client.list_groups().await? {
            if all.lags.len() >= max {
                all.groups_omitted += 1;
                continue;
            }
            let committed = client.all_committed_offsets(&group.name).await?;
            let behind = committed.iter().map(|one| (one.topic, one.lag()));
            let whole = all.add_lags(&group.name, behind, &names, max);
            all.groups_omitted += u64::from(!whole);
        }
        Ok(all)
    }

    /// Adds a group's lags, by topic; false: not all of them.
    fn add_lags(
        &mut self,
        group: &str,
        behind: impl Iterator<Item = (u32, u64)>,
        names: &BTreeMap<u32, String>,
        max: usize,
    ) -> bool {
        let mut by_topic: BTreeMap<u32, u64> = BTreeMap::new();
        for (topic, records) in behind {
            *by_topic.entry(topic).or_default() += records;
        }
        let mut whole = true;
        for (topic, records) in by_topic {
            match names.get(&topic) {
                Some(name) if self.lags.len() < max => {
                    let (group, topic) = (group.to_owned(), name.clone());
                    self.lags.push(Lag { group, topic, records });
                }
                _ => whole = false,
            }
        }
        whole
    }
}

fn sum(details: &TopicDetails) -> Topic {
    let mut topic = Topic {
        name: details.name.clone(),
        fetched: details.fetched_records,
        fetched_bytes: details.fetched_bytes,
        ..Topic::default()
    };
    for queue in &details.queues {
        topic.queues += 1;
        topic.appended += queue.end;
        topic.held += queue.end.saturating_sub(queue.start);
        topic.held_bytes += queue.bytes;
    }
    topic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lags_are_summed_by_topic_and_bounded() {
        let names = BTreeMap::from([(1, "one".to_owned()), (2, "two".to_owned())]);
        let mut all = Topics::default();
        let behind = [(1, 5), (2, 1), (1, 7)];
        assert!(all.add_lags("g", behind.into_iter(), &names, 3));
        let lag = |group: &str, topic: &str, records| Lag {
            group: group.to_owned(),
            topic: topic.to_owned(),
            records,
        };
        assert_eq!(all.lags, [lag("g", "one", 12), lag("g", "two", 1)]);
        assert!(!all.add_lags("h", behind.into_iter(), &names, 3), "room for one more only");
        assert_eq!(all.lags[2..], [lag("h", "one", 12)]);
        assert!(!all.add_lags("i", [(9, 1)].into_iter(), &names, 30), "a topic that is not shown");
        assert_eq!(all.lags.len(), 3);
    }
}
