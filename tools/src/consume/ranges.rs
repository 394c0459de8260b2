//! What `consume` reads of which queue: from where a group left off or `--from` says, to what was
//! visible when it began.

use std::collections::BTreeMap;

use net::client::{Client, ClientError, ListKind, StartAt, TopicDetails};

use super::Options;
use crate::failure::Failure;
use crate::start_at::Start;

/// How far the group has come, by queue.
pub(super) async fn committed(
    client: &Client,
    topic: &TopicDetails,
    options: &Options,
) -> Result<BTreeMap<u16, u64>, Failure> {
    let Some(group) = &options.group else { return Ok(BTreeMap::new()) };
    let places: Vec<_> =
        wanted(options, topic).into_iter().map(|queue| (topic.id, queue)).collect();
    let found = client.committed_offsets(group, &places).await?;
    Ok(found.iter().filter_map(|at| Some((at.queue, at.offset?))).collect())
}

/// The queues asked for, or all.
fn wanted(options: &Options, topic: &TopicDetails) -> Vec<u16> {
    let mut wanted = options.queue.clone();
    wanted.sort_unstable();
    wanted.dedup();
    if wanted.is_empty() {
        wanted = topic.queues.iter().map(|queue| queue.queue).collect();
    }
    wanted
}

/// What is still to be read of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct ToRead {
    pub(super) queue: u16,
    /// Where reading began.
    pub(super) begun: u64,
    pub(super) next: u64,
    /// What was visible at the beginning ends here.
    pub(super) end: u64,
}

/// What to read of which queue.
pub(super) async fn find_ranges(
    client: &Client,
    topic: &TopicDetails,
    options: &Options,
    committed: &BTreeMap<u16, u64>,
) -> Result<Vec<ToRead>, Failure> {
    let wanted = wanted(options, topic);
    let Start(start) = options.from;
    if matches!(start, StartAt::Offset(_)) && wanted.len() > 1 {
        let count = wanted.len();
        return Err(Failure::Usage(format!(
            "an offset means something in one queue only, and {count} would be read: add --queue N"
        )));
    }
    let mut ranges = Vec::with_capacity(wanted.len());
    for queue in wanted {
        let described = topic.queues.iter().find(|described| described.queue == queue);
        let Some(described) = described else {
            return Err(ClientError::NoSuchQueue { queue }.into());
        };
        let end = described.visible;
        if let Some(&next) = committed.get(&queue).filter(|next| **next >= described.start) {
            ranges.push(ToRead { queue, begun: next, next, end });
            continue;
        }
        let next = match start {
            StartAt::Earliest => described.start,
            StartAt::Latest => described.visible,
            StartAt::Offset(offset) => {
                let (first, end) = (described.start, described.end);
                if !(first..=end).contains(&offset) {
                    return Err(Failure::Incomplete(format!(
                        "offset {offset} is outside of queue {queue} of {}: {first}..{end} are \
                         stored\n  begin with one of those, or with --from earliest",
                        topic.name
                    )));
                }
                offset
            }
            StartAt::Timestamp(at) => {
                client.list_offsets(topic.id, queue, ListKind::ByTimestamp, at).await?.offset
            }
        };
        ranges.push(ToRead { queue, begun: next, next, end });
    }
    Ok(ranges)
}
