//! Consumer groups' offsets: committed into the log of the queue's shard, kept in a table.
//!
//! Reads top-down: [`Shard::commit_offsets`] appends one entry for all offsets of a group that are
//! committed together; it is answered like a produce, and [`Shard::settle_offsets`] then brings
//! them into force. The entries have a queue id of their own, [`OFFSETS_QUEUE`], and no index:
//! the table is rebuilt from them when the log is read.
//!
//! Invariant: a committed offset never lies beyond its queue's end, also after a crash: it stands
//! in the log behind the records it counts, and nothing in a log survives without what is before it.
//! Absent: who is a member of a group; which of its members commits.

use thiserror::Error;

use super::offset_format::{decode_key, decode_value, encode_key, encode_value};
use super::offset_table::{Change, OffsetTable};
use super::produce::Produce;
use super::{ProduceError, Shard, Token};
use crate::batch::{BatchBuilder, BatchRef, NewRecord};
use crate::io::{Env, Nanos};
use crate::level::AckLevel;
use crate::limits::{GROUP_NAME_BYTES_MAX, OFFSET_METADATA_BYTES_MAX, WAITERS_MAX};
use crate::log::entry_format::Kind;
use crate::log::position::LogPos;
use crate::log::recover::Found;
use crate::log::writer::Append;

/// The queue id of offset commit entries, in every shard. No topic's queue ever has it.
pub const OFFSETS_QUEUE: u32 = u32::MAX;

/// What a group has committed of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read.
    pub offset: u64,
    /// Leader epoch of the last batch that was read; 0: unknown.
    pub epoch: u32,
    /// When it was committed, in milliseconds since the Unix epoch.
    pub commit_time_ms: u64,
    /// Whatever the client wanted to be kept with it.
    pub metadata: Box<str>,
}

/// Why an offset was not committed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OffsetError {
    /// The topic does not exist.
    #[error("no such topic")]
    UnknownTopic,
    /// The topic has no such queue.
    #[error("no such queue")]
    UnknownQueue,
    /// A group's name is 1 to 249 bytes without control characters.
    #[error("a group name is 1 to {GROUP_NAME_BYTES_MAX} bytes without control characters")]
    InvalidGroup,
    /// The offset lies beyond what the queue holds.
    #[error("the offset is beyond the queue's end, {end}")]
    BeyondEnd {
        /// First offset that can be read.
        start: u64,
        /// Offset of the next record to be written.
        end: u64,
    },
    /// The metadata is too long.
    #[error("metadata is at most {OFFSET_METADATA_BYTES_MAX} bytes")]
    MetadataTooLong,
    /// The shard's table of offsets is full: groups have to be deleted first.
    #[error("the shard holds as many groups and offsets as it may")]
    Full,
    /// The entry could not be stored.
    #[error(transparent)]
    Store(#[from] ProduceError),
}

/// One queue's offset, to be committed.
#[derive(Clone, Copy, Debug)]
pub struct NewOffset<'a> {
    /// Queue id.
    pub queue: u32,
    /// The next offset to read; `None` forgets what was committed.
    pub offset: Option<u64>,
    /// Leader epoch of the last batch that was read; 0: unknown.
    pub epoch: u32,
    /// Whatever the client wants to be kept with it.
    pub metadata: &'a str,
}

/// Offsets of one group that are committed together: all of them survive, or none.
#[derive(Clone, Copy, Debug)]
pub struct CommitOffsets<'a> {
    /// The caller's name for it.
    pub token: Token,
    /// The group.
    pub group: &'a str,
    /// Each has passed [`Shard::check_offset`].
    pub offsets: &'a [NewOffset<'a>],
    /// When it is acknowledged, at least `memory`.
    pub ack: AckLevel,
    /// Start of the turn that received it.
    pub gathered: Nanos,
}

/// Whether `name` may be a group's. Wider than a topic's: other protocols' groups have spaces,
/// colons and percent signs.
#[must_use]
pub fn is_group_name(name: &str) -> bool {
    (1..=GROUP_NAME_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control)
}

impl<E: Env> Shard<E> {
    /// Whether an offset may be committed.
    ///
    /// # Errors
    /// [`OffsetError`] says why not.
    pub fn check_offset(&self, new: &NewOffset<'_>) -> Result<(), OffsetError> {
        let range = self.queue_range(new.queue).ok_or(OffsetError::UnknownQueue)?;
        if new.metadata.len() > OFFSET_METADATA_BYTES_MAX {
            return Err(OffsetError::MetadataTooLong);
        }
        if new.offset.is_some_and(|offset| offset > range.end_offset) {
            let (start, end) = (range.start_offset, range.end_offset);
            return Err(OffsetError::BeyondEnd { start, end });
        }
        Ok(())
    }

    /// Appends a commit. Once it is answered (as a produce of `token`), the caller must tell
    /// [`Shard::settle_offsets`] with the position that is returned here.
    ///
    /// # Errors
    /// [`OffsetError`]: nothing was written, and there will be no answer.
    pub fn commit_offsets(&mut self, commit: &CommitOffsets<'_>) -> Result<LogPos, OffsetError> {
        if self.stopping {
            return Err(ProduceError::Stopping.into());
        }
        if self.written_waiters.len() + self.durable_waiters.len() >= WAITERS_MAX {
            return Err(ProduceError::TooManyWaiting.into());
        }
        let wall_ms = self.wall_ms(commit.gathered);
        let changes: Vec<Change> =
            commit.offsets.iter().map(|new| (new.queue, committed(new, wall_ms))).collect();
        if !self.offsets.has_room(commit.group, &changes) {
            return Err(OffsetError::Full);
        }
        let bytes = encode(commit.group, &changes, wall_ms, self.log.batch_bytes_max())?;
        let batch = BatchRef::parse_unverified(&bytes).map_err(ProduceError::Batch)?;
        let head = batch.stamped(0, self.log.epoch());
        let entry = Append {
            kind: Kind::OffsetCommit,
            queue: OFFSETS_QUEUE,
            base_offset: 0,
            wall_ms,
            records: batch.record_count(),
            keyed: false,
            head: &head,
            rest: batch.after_stamp(),
            ack: commit.ack,
            flush: commit.ack,
            kept_back: false,
        };
        let appended = self
            .log
            .append(self.env.disk(), commit.gathered, &entry)
            .map_err(ProduceError::Append)?;
        self.counters.offset_commits += 1;
        self.offsets.stage(appended.pos, commit.group, changes);
        let (token, ack, gathered) = (commit.token, commit.ack, commit.gathered);
        let request = Produce { token, queue: OFFSETS_QUEUE, ack, batch: &[], gathered };
        self.wait(&request, &appended, 0);
        Ok(appended.pos)
    }

    /// The commit appended at `at` was answered: with `stored`, its offsets are in force now.
    pub fn settle_offsets(&mut self, at: LogPos, stored: bool) {
        self.offsets.settle(at, stored, |queue| self.queues.get(queue).is_some());
    }

    /// What a group has committed of a queue.
    #[must_use]
    pub fn committed(&self, group: &str, queue: u32) -> Option<&Committed> {
        self.offsets.get(group, queue)
    }

    /// Everything a group has committed in this shard, by queue id.
    pub fn committed_by(&self, group: &str) -> impl Iterator<Item = (u32, &Committed)> {
        self.offsets.of_group(group)
    }

    /// The groups that have committed something in this shard, and of how many queues.
    pub fn groups(&self) -> impl Iterator<Item = (&str, usize)> {
        self.offsets.groups()
    }

    fn wall_ms(&mut self, gathered: Nanos) -> u64 {
        if self.wall.0 != gathered {
            self.wall = (gathered, self.env.wall_ms());
        }
        self.wall.1
    }
}

fn committed(new: &NewOffset<'_>, commit_time_ms: u64) -> Option<Committed> {
    let (epoch, metadata) = (new.epoch, new.metadata.into());
    new.offset.map(|offset| Committed { offset, epoch, commit_time_ms, metadata })
}

fn encode(
    group: &str,
    changes: &[Change],
    wall_ms: u64,
    batch_bytes_max: u32,
) -> Result<Vec<u8>, ProduceError> {
    let timestamp_ms = i64::try_from(wall_ms).unwrap_or(i64::MAX);
    let mut builder = BatchBuilder::new(batch_bytes_max);
    for (queue, committed) in changes {
        let key = encode_key(group, *queue);
        let value = committed.as_ref().map(encode_value);
        let (key, value) = (Some(&key[..]), value.as_deref());
        let record = NewRecord { timestamp_ms, key, value, headers: &[] };
        builder.append(&record).map_err(ProduceError::Batch)?;
    }
    Ok(builder.finish().map_err(ProduceError::Batch)?.to_vec())
}

/// Whether an offset commit can be read.
pub(crate) fn is_commit(found: &Found<'_>) -> bool {
    OffsetTable::default().recovered(found).is_some()
}

impl OffsetTable {
    /// An offset commit that the scan of the log found. `None` when it cannot be read.
    pub(super) fn recovered(&mut self, found: &Found<'_>) -> Option<()> {
        let batch = BatchRef::parse_unverified(found.batch).ok()?;
        for record in batch.records() {
            let record = record.ok()?;
            let (group, queue) = decode_key(record.key?)?;
            let committed = match record.value {
                Some(value) => Some(decode_value(value)?),
                None => None,
            };
            self.apply(group, queue, committed);
        }
        Some(())
    }
}
