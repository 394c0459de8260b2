//! What goes into the log and what comes back: the writer's vocabulary, without its state.

use thiserror::Error;

pub use super::commit::Flush;
use super::entry_format::{BATCH_UNCOVERED_BYTES, Kind};
use super::position::LogPos;
use crate::io::{Errno, Nanos};
use crate::level::AckLevel;
use crate::limits::{
    FLUSH_DEADLINE_MS, GROUP_BYTES_MAX, GROUPS_INFLIGHT_MAX, PREFILL_STEP_BYTES, WINDOW_BYTES,
};

/// How the writer behaves; everything else is format.
#[derive(Clone, Copy, Debug)]
pub struct WriterOptions {
    /// Device writes in flight; [`FULL_GROUPS_FACTOR`](crate::limits::FULL_GROUPS_FACTOR) times as many
    /// of full groups.
    pub groups_inflight_max: usize,
    /// A group is sealed rather than grow beyond this, in bytes.
    pub group_bytes_max: u32,
    /// How groups become durable.
    pub flush: Flush,
    /// Bytes made written space by one background operation, a multiple of the block.
    pub prefill_step_bytes: u32,
    /// Continue in the last block when its write has completed.
    pub tail_continuation: bool,
    /// A device write that takes longer poisons the log, in milliseconds; so does an operation of
    /// preparing the next segment, once a batch was refused for want of that.
    pub flush_deadline_ms: u32,
    /// Recent groups kept in memory, in bytes.
    pub window_bytes: u64,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            groups_inflight_max: GROUPS_INFLIGHT_MAX,
            group_bytes_max: GROUP_BYTES_MAX,
            flush: Flush::default(),
            prefill_step_bytes: PREFILL_STEP_BYTES,
            tail_continuation: true,
            flush_deadline_ms: FLUSH_DEADLINE_MS,
            window_bytes: WINDOW_BYTES,
        }
    }
}

/// Why nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AppendError {
    /// Answer the client; nothing was written.
    #[error("the batch has {batch_bytes} bytes, the limit is {batch_bytes_max}")]
    TooLarge {
        /// Bytes of the batch.
        batch_bytes: u32,
        /// The limit.
        batch_bytes_max: u32,
    },
    /// Back off: memory or segments are used up for the moment. Nothing was written.
    #[error("the shard is at its limit")]
    Busy,
    /// No segment can be made: the disk is full. Nothing was written.
    #[error("the disk has no room for another segment: {errno}")]
    DiskFull {
        /// What the disk said.
        errno: Errno,
    },
    /// A device write failed or never finished, or the next segment was needed and not in place in
    /// time: what lies beyond `at` is unknown, the log takes no more writes until it is reopened.
    #[error("the log is closed for writing since position {at}: {errno}")]
    Poisoned {
        /// Everything below was written.
        at: LogPos,
        /// What the disk said (`ETIMEDOUT` when it said nothing).
        errno: Errno,
    },
}

/// An entry to append.
#[derive(Clone, Copy, Debug)]
pub struct Append<'a> {
    /// What the batch is.
    pub kind: Kind,
    /// Queue id.
    pub queue: u32,
    /// Queue offset of the first record.
    pub base_offset: u64,
    /// What the wall clock says, in milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// Records in the batch.
    pub records: u32,
    /// The keys of its records are in the index.
    pub keyed: bool,
    /// The first bytes of the batch, stamped with offset and epoch.
    pub head: &'a [u8; BATCH_UNCOVERED_BYTES],
    /// The rest of the batch.
    pub rest: &'a [u8],
    /// When it is acknowledged: decides whether the group may gather.
    pub ack: AckLevel,
    /// How far it has to go: at least as far as consumers of its topic wait for.
    pub flush: AckLevel,
    /// It may use what is kept back for it: see [`Log::keep_back`](super::writer::Log::keep_back).
    pub kept_back: bool,
}

/// Where an entry was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Position of its header.
    pub pos: LogPos,
    /// Bytes it takes, padding included.
    pub entry_bytes: u32,
    /// The group it is in.
    pub sequence: u64,
    /// Its store time, that of its group: never earlier than any before it.
    pub store_timestamp_ms: u64,
}

/// When a group was sealed and handed to the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupTimes {
    /// Header filled, padding zeroed.
    pub sealed: Nanos,
    /// Given to the device.
    pub submitted: Nanos,
}
