//! What a shard is asked and what it answers: requests, effects, and why not.

use std::ops::Range;

use thiserror::Error;

use super::Token;
use super::sequences::SequenceError;
use crate::batch::BatchError;
use crate::index::walk::Extents;
use crate::io::Errno;
use crate::log::position::LogPos;
use crate::log::writer::AppendError;
use crate::stage::Timings;

/// Why a produce was not stored (or, for the last two, may have been).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProduceError {
    /// The batch is not valid; nothing was written.
    #[error(transparent)]
    Batch(BatchError),
    /// The topic has an index of keys, which cannot be told of compressed records; nothing was written.
    #[error("the topic has an index of keys: send uncompressed batches")]
    Compressed,
    /// The topic does not exist; nothing was written.
    #[error("no such topic")]
    UnknownTopic,
    /// The queue does not exist here; nothing was written.
    #[error("no such queue")]
    UnknownQueue,
    /// Nothing was written, except for `Poisoned`: then what was in flight is unknown.
    #[error(transparent)]
    Append(AppendError),
    /// The batch is not the producer's next one; nothing was written.
    #[error(transparent)]
    Sequence(SequenceError),
    /// Too many requests wait for the device; nothing was written.
    #[error("too many requests wait for the device")]
    TooManyWaiting,
    /// The device did not finish in time; whether the batch is stored is unknown.
    #[error("the device did not finish the flush in time")]
    FlushTimeout,
    /// The node is stopping; nothing was written.
    #[error("the node is stopping")]
    Stopping,
}

/// Why a fetch was not answered with entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FetchError {
    /// The topic does not exist.
    #[error("no such topic")]
    UnknownTopic,
    /// The queue does not exist here.
    #[error("no such queue")]
    UnknownQueue,
    /// The offset is outside of what the queue holds.
    #[error("the offset is outside of {start}..{end}")]
    OutOfRange {
        /// First offset that can be read.
        start: u64,
        /// Offset of the next record to be written.
        end: u64,
    },
    /// What the reader saw of an earlier life of the log did not all survive: records from `end` on
    /// are gone, and their offsets may be others' by now.
    #[error("what was read beyond {end} did not survive a restart")]
    Truncated {
        /// First offset that can be read.
        start: u64,
        /// What the reader saw before this offset is still there.
        end: u64,
    },
    /// The device failed to read.
    #[error("reading position {at} failed: {errno}")]
    Read {
        /// Log position.
        at: LogPos,
        /// What the disk said.
        errno: Errno,
    },
    /// What was read is not what was written.
    #[error("the entry at position {at} is damaged")]
    Damaged {
        /// Log position of the entry.
        at: LogPos,
    },
    /// Too many fetches wait, or memory is used up; try again.
    #[error("the shard is at its limit")]
    Busy,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

impl FetchError {
    /// A read at `at` has failed: where memory or descriptors are used up for the moment, the reader
    /// is to come again.
    pub(super) fn unread(at: LogPos, errno: Errno) -> Self {
        const ENOMEM: Errno = Errno(12);
        const ENFILE: Errno = Errno(23);
        const EMFILE: Errno = Errno(24);
        match errno {
            ENOMEM | ENFILE | EMFILE => Self::Busy,
            errno => Self::Read { at, errno },
        }
    }
}

/// Entries of one queue.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// First offset the queue holds.
    pub start_offset: u64,
    /// Consumers see below this offset.
    pub visible_offset: u64,
    /// The entries, by reference.
    pub extents: Extents,
}

/// An answer to a request.
#[derive(Debug)]
pub enum Effect {
    /// A produce was acknowledged at its level, or refused.
    Produced {
        /// The request.
        token: Token,
        /// Offset of the batch's first record.
        result: Result<u64, ProduceError>,
        /// Where its time went.
        timings: Timings,
    },
    /// A fetch is answered.
    Fetched {
        /// The request.
        token: Token,
        /// The entries.
        result: Result<Fetched, FetchError>,
        /// Where its time went.
        timings: Timings,
    },
    /// A lookup is answered.
    LookedUp {
        /// The request.
        token: Token,
        /// The records.
        result: Result<LookedUp, FetchError>,
    },
    /// A seek is answered.
    Sought {
        /// The request.
        token: Token,
        /// Where the queue stands at that time.
        result: Result<Sought, FetchError>,
    },
}

impl Effect {
    /// The request.
    #[must_use]
    pub fn token(&self) -> Token {
        match self {
            Self::Produced { token, .. }
            | Self::Fetched { token, .. }
            | Self::LookedUp { token, .. }
            | Self::Sought { token, .. } => *token,
        }
    }
}

/// Where a time is in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sought {
    /// Offset and store time, in milliseconds since the Unix epoch, of the first visible batch
    /// that was stored at or after the time, if there is one.
    pub batch: Option<(u64, u64)>,
    /// Consumers see below this offset.
    pub visible_offset: u64,
}

/// A question for records by key.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// The caller's name for it.
    pub token: Token,
    /// Queue id.
    pub queue: u32,
    /// What stands for the key in the index: [`hash_of`](crate::index::keys::hash_of) it.
    pub hash: u32,
    /// Where to look.
    pub offsets: Range<u64>,
    /// How many to find at most.
    pub max: u32,
}

/// Records that may have a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookedUp {
    /// Their offsets, the last first. Another key may have the same hash: whoever asks compares.
    pub offsets: Vec<u64>,
    /// It was looked down to this offset: ask again below it, if more is wanted.
    pub reached: u64,
    /// First offset the queue holds.
    pub start_offset: u64,
    /// Consumers see below this offset.
    pub visible_offset: u64,
}

/// A question for an offset by time.
#[derive(Clone, Copy, Debug)]
pub struct Seek {
    /// The caller's name for it.
    pub token: Token,
    /// Queue id.
    pub queue: u32,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
}

/// A fetch request.
#[derive(Clone, Copy, Debug)]
pub struct Fetch {
    /// The caller's name for it.
    pub token: Token,
    /// Queue id.
    pub queue: u32,
    /// First offset wanted.
    pub offset: u64,
    /// Life of the log that wrote the last record the reader saw; 0: it saw none.
    pub epoch: u32,
    /// Answer at once when this many bytes are there (or `wait_nanos` have passed).
    pub bytes_min: u32,
    /// Stop after this many bytes.
    pub bytes_max: u32,
    /// Longest to wait for `bytes_min`.
    pub wait_nanos: u64,
}
