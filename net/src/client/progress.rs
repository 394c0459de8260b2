//! A group's progress in one topic: what it has committed, and what is new since.
//!
//! At least once: what was read and not committed when a consumer ends is read again by the next.

use std::collections::BTreeMap;

use super::groups::refused;
use super::{Client, ClientError};
use crate::wire::NewOffset;

/// Offsets of one request: with the longest group name they fit a batch of any log.
const OFFSETS_PER_REQUEST: usize = 1000;

#[derive(Debug)]
pub(super) struct Progress {
    group: String,
    topic: u32,
    committed: BTreeMap<u16, u64>,
}

/// Where a queue stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    pub(super) queue: u16,
    pub(super) offset: u64,
    pub(super) epoch: u32,
}

impl Progress {
    /// Asks what the group has committed of these queues. What lies before the start of its queue
    /// is not there any more and does not count.
    pub(super) async fn load(
        client: &Client,
        group: String,
        topic: u32,
        queues: &[u16],
    ) -> Result<(Self, Vec<Position>), ClientError> {
        let places: Vec<_> = queues.iter().map(|queue| (topic, *queue)).collect();
        let mut positions = Vec::new();
        for found in client.committed_offsets(&group, &places).await? {
            if let Some(offset) = found.offset.filter(|offset| *offset >= found.start) {
                positions.push(Position { queue: found.queue, offset, epoch: found.epoch });
            }
        }
        let committed = positions.iter().map(|at| (at.queue, at.offset)).collect();
        Ok((Self { group, topic, committed }, positions))
    }

    /// Commits those positions that differ from what is committed.
    pub(super) async fn commit(
        &mut self,
        client: &Client,
        positions: &[Position],
    ) -> Result<(), ClientError> {
        let changed = |at: &Position| self.committed.get(&at.queue) != Some(&at.offset);
        let positions: Vec<_> = positions.iter().copied().filter(changed).collect();
        for part in positions.chunks(OFFSETS_PER_REQUEST) {
            let topic = self.topic;
            let new = |&Position { queue, offset, epoch }: &Position| {
                let offset = Some(offset);
                NewOffset { topic, queue, offset, epoch, metadata: "" }
            };
            let offsets: Vec<_> = part.iter().map(new).collect();
            let results = client.commit_offsets(&self.group, &offsets, None).await?;
            for (at, result) in part.iter().zip(&results) {
                match result {
                    None => drop(self.committed.insert(at.queue, at.offset)),
                    Some(code) => return Err(refused(*code, at.queue)),
                }
            }
            if results.len() != part.len() {
                return Err(ClientError::bad_reply("not as many results as offsets"));
            }
        }
        Ok(())
    }
}
