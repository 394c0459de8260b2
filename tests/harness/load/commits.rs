//! A consumer group that commits offsets of what was acknowledged, with metadata of its own.

use std::sync::Arc;

use net::client::{AckLevel, Client, NewOffset};
use rand::Rng;
use rand::rngs::StdRng;

use super::promises::Commit;
use super::{GROUP, QUEUES, TOPICS, Witness, pause};

/// Commits the newest acknowledged offset of one queue after the other until the node is gone.
pub(super) async fn run(client: Client, mut random: StdRng, witness: Arc<Witness>) {
    let mut ids = Vec::new();
    for (topic, _) in TOPICS {
        let Ok(details) = client.describe_topic(topic).await else { return };
        ids.push(details.id);
    }
    loop {
        pause().await;
        if client.ping(b"").await.is_err() {
            return;
        }
        let (topic, queue) = (random.random_range(0..TOPICS.len()), random.random_range(0..QUEUES));
        let asked = witness.now();
        let (commit, index) = {
            let mut promises = witness.promises();
            let of_queue = promises.messages[topic].range((queue, 0)..=(queue, u64::MAX));
            let Some((&(_, newest), _)) = of_queue.last() else { continue };
            let commits = promises.commits.entry((topic, queue)).or_default();
            let before = commits.last().map_or(0, |commit| commit.offset);
            let offset = before.max(newest + 1);
            let number = commits.last().map_or(0, |commit| commit.number + 1);
            let commit = Commit { number, offset, asked, acked: None };
            commits.push(commit);
            (commit, commits.len() - 1)
        };
        let levels = [AckLevel::Written, AckLevel::Durable];
        let level = witness.now_at_most(levels[random.random_range(0..2)]);
        let (offset, metadata) = (Some(commit.offset), &*commit.metadata());
        let new = NewOffset { topic: ids[topic], queue, offset, epoch: 0, metadata };
        let Ok(results) = client.commit_offsets(GROUP, &[new], Some(level)).await else { continue };
        // `Busy` and the like are no promise.
        if results == [None] && witness.survives(level) {
            witness.promised(|promises, at| {
                let commits = promises.commits.get_mut(&(topic, queue)).expect("asked for");
                commits[index].acked = Some(at);
                promises.count += 1;
            });
        }
    }
}
