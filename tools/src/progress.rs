//! `consume --group`: how far a group has come, and committing what was printed.
//!
//! A message counts as dealt with once the output it is in was flushed. When the command ends
//! otherwise than well, what was printed in the last second may be printed again by the next one.

use std::collections::BTreeMap;
use std::time::Duration;

use net::client::{Client, ErrorCode, NewOffset};
use tokio::time::Instant;

use crate::failure::Failure;

/// Between commits.
const EVERY: Duration = Duration::from_secs(1);
/// Offsets in one request.
const OFFSETS_PER_REQUEST: usize = 1000;

/// A group's offsets in one topic.
#[derive(Debug)]
pub(crate) struct Progress {
    group: String,
    topic: u32,
    committed: BTreeMap<u16, u64>,
    due: Instant,
}

impl Progress {
    /// Asks how far the group has come in these queues.
    pub(crate) async fn load(
        client: &Client,
        group: &str,
        topic: u32,
        queues: &[u16],
    ) -> Result<Self, Failure> {
        let places: Vec<_> = queues.iter().map(|queue| (topic, *queue)).collect();
        let found = client.committed_offsets(group, &places).await?;
        let committed = found.iter().filter_map(|at| Some((at.queue, at.offset?))).collect();
        Ok(Self { group: group.to_owned(), topic, committed, due: Instant::now() + EVERY })
    }

    /// The next offset of a queue that the group has not dealt with.
    pub(crate) fn committed(&self, queue: u16) -> Option<u64> {
        self.committed.get(&queue).copied()
    }

    /// When the next commit is due.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Commits what has changed.
    pub(crate) async fn commit(
        &mut self,
        client: &Client,
        positions: impl Iterator<Item = (u16, u64)>,
    ) -> Result<(), Failure> {
        let changed: Vec<_> =
            positions.filter(|(queue, offset)| self.committed(*queue) != Some(*offset)).collect();
        for part in changed.chunks(OFFSETS_PER_REQUEST) {
            let topic = self.topic;
            let new = |&(queue, offset): &(u16, u64)| {
                let offset = Some(offset);
                NewOffset { topic, queue, offset, epoch: 0, metadata: "" }
            };
            let offsets: Vec<_> = part.iter().map(new).collect();
            let results = client.commit_offsets(&self.group, &offsets, None).await?;
            for ((queue, offset), result) in part.iter().zip(results) {
                match result {
                    None => drop(self.committed.insert(*queue, *offset)),
                    Some(code) => return Err(refused(*queue, code)),
                }
            }
        }
        self.due = Instant::now() + EVERY;
        Ok(())
    }
}

/// An offset that was not committed.
pub(crate) fn refused(queue: u16, code: ErrorCode) -> Failure {
    Failure::Incomplete(format!("the offset of queue {queue} was not committed: {code}"))
}
