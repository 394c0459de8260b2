//! Consumer groups' offsets: committed, asked for, forgotten. [`Consumer`](super::Consumer) does
//! this by itself when it is built with a group.

use super::admin::answer;
use super::{Client, ClientError};
use crate::wire::{
    AckLevel, CommittedReply, ErrorCode, NewOffset, OffsetCommit, OffsetFetch, Offsets, Places,
    ProducerId, Reply, Request, decode_reply,
};

/// What a group has committed of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// Topic id.
    pub topic: u32,
    /// Queue of the topic.
    pub queue: u16,
    /// The next offset to read; `None`: nothing was committed.
    pub offset: Option<u64>,
    /// Leader epoch of the last batch that was read; 0: unknown.
    pub epoch: u32,
    /// When it was committed, in milliseconds since 1970; 0: never.
    pub commit_time_ms: u64,
    /// First offset the queue holds.
    pub start: u64,
    /// Consumers see what is below this offset.
    pub visible: u64,
    /// What was kept with it.
    pub metadata: String,
}

impl CommittedOffset {
    /// How many visible records are still to be read; of a queue without an offset: all.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.visible.saturating_sub(self.offset.unwrap_or(self.start).max(self.start))
    }
}

/// A group in the list of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// Its name.
    pub name: String,
    /// Of how many queues it has committed an offset.
    pub queues: u32,
}

impl Client {
    /// Commits offsets of a group; without `ack`, durably. For each, in order: `None` if it is
    /// committed, or why not.
    pub async fn commit_offsets(
        &self,
        group: &str,
        offsets: &[NewOffset<'_>],
        ack: Option<AckLevel>,
    ) -> Result<Vec<Option<ErrorCode>>, ClientError> {
        let mut buffer = Vec::new();
        let offsets = Offsets::encode(offsets, &mut buffer)?;
        let request = Request::OffsetCommit(OffsetCommit { group, ack, offsets });
        let frame = self.links.call(&request).await?;
        answer!(&frame, Reply::OffsetCommit(results) => results)
    }

    /// What a group has committed of these queues (topic id and number), in order.
    ///
    /// # Errors
    /// Also when one of the queues does not exist.
    pub async fn committed_offsets(
        &self,
        group: &str,
        queues: &[(u32, u16)],
    ) -> Result<Vec<CommittedOffset>, ClientError> {
        if queues.is_empty() {
            return Ok(Vec::new());
        }
        let mut buffer = Vec::new();
        self.fetch_offsets(group, Places::encode(queues, &mut buffer)?).await
    }

    /// Everything a group has committed: of nothing, if there is no such group.
    pub async fn all_committed_offsets(
        &self,
        group: &str,
    ) -> Result<Vec<CommittedOffset>, ClientError> {
        self.fetch_offsets(group, Places::ALL).await
    }

    async fn fetch_offsets(
        &self,
        group: &str,
        places: Places<'_>,
    ) -> Result<Vec<CommittedOffset>, ClientError> {
        let request = Request::OffsetFetch(OffsetFetch { group, places });
        let frame = self.links.call(&request).await?;
        let offsets = answer!(&frame, Reply::OffsetFetch(offsets) => offsets)?;
        offsets.into_iter().map(owned).collect()
    }

    /// Lists all groups that have committed something.
    pub async fn list_groups(&self) -> Result<Vec<GroupInfo>, ClientError> {
        let frame = self.links.call(&Request::GroupList).await?;
        let groups = answer!(&frame, Reply::GroupList(groups) => groups)?;
        let info = |group: crate::wire::GroupSummary<'_>| {
            let (name, queues) = (group.name.to_owned(), group.queues);
            GroupInfo { name, queues }
        };
        Ok(groups.into_iter().map(info).collect())
    }

    /// An id for an idempotent producer.
    pub(super) async fn init_producer(&self) -> Result<ProducerId, ClientError> {
        let frame = self.links.call(&Request::InitProducerId).await?;
        answer!(&frame, Reply::InitProducerId(producer) => producer)
    }
}

fn owned(offset: CommittedReply<'_>) -> Result<CommittedOffset, ClientError> {
    if let Some(code) = offset.error {
        return Err(refused(code, offset.queue));
    }
    Ok(CommittedOffset {
        topic: offset.topic,
        queue: offset.queue,
        offset: offset.offset,
        epoch: offset.epoch,
        commit_time_ms: offset.commit_time_ms,
        start: offset.start,
        visible: offset.visible,
        metadata: offset.metadata.to_owned(),
    })
}

/// The error of one queue out of several.
pub(super) fn refused(code: ErrorCode, queue: u16) -> ClientError {
    let message = format!("queue {queue}").into();
    ClientError::Server { code, message, retry_after_ms: 0, range: 0..0 }
}
