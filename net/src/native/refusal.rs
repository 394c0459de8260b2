//! What the engine's errors are called on the wire.

use engine::batch::BatchError;
use engine::broker::TopicError;
use engine::broker::catalog::Missing;
use engine::log::writer::AppendError;
use engine::shard::offsets::OffsetError;
use engine::shard::sequences::SequenceError;
use engine::shard::{FetchError, ProduceError};

use crate::wire::{DecodeError, ErrorCode, ErrorReply};

/// How long a client should wait before it tries a busy shard again.
const RETRY_AFTER_MS: u32 = 5;
/// ... and a full disk.
const RETRY_AFTER_FULL_MS: u32 = 1_000;

const ENOSPC: i32 = 28;

/// An error reply that owns its sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) retry_after_ms: u32,
    pub(super) range: (u64, u64),
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, message: impl ToString) -> Self {
        Self { code, retry_after_ms: 0, range: (0, 0), message: message.to_string() }
    }

    pub(super) fn too_many_connections(message: String) -> Self {
        Self::retry(ErrorCode::TooManyConnections, RETRY_AFTER_FULL_MS, message)
    }

    pub(super) fn busy(message: impl ToString) -> Self {
        Self::retry(ErrorCode::Busy, RETRY_AFTER_MS, message)
    }

    /// Another reactor answered with what cannot be read.
    pub(super) fn lost_part() -> Self {
        Self::new(ErrorCode::Internal, "a part of the answer was lost within the node")
    }

    /// As it travels.
    pub(super) fn reply(&self) -> ErrorReply<'_> {
        ErrorReply {
            code: self.code,
            retry_after_ms: self.retry_after_ms,
            range_start: self.range.0,
            range_end: self.range.1,
            message: &self.message,
        }
    }

    fn retry(code: ErrorCode, retry_after_ms: u32, message: impl ToString) -> Self {
        Self { retry_after_ms, ..Self::new(code, message) }
    }
}

impl From<&ProduceError> for Refusal {
    fn from(error: &ProduceError) -> Self {
        match error {
            ProduceError::Batch(BatchError::TooLarge { .. }) => {
                Self::new(ErrorCode::BatchTooLarge, error)
            }
            ProduceError::Batch(_) => Self::new(ErrorCode::CorruptBatch, error),
            ProduceError::Compressed => Self::new(ErrorCode::InvalidArgument, error),
            ProduceError::UnknownTopic => Self::new(ErrorCode::UnknownTopic, error),
            ProduceError::UnknownQueue => Self::new(ErrorCode::UnknownQueue, error),
            ProduceError::Sequence(SequenceError::OutOfOrder { .. }) => {
                Self::new(ErrorCode::OutOfOrderSequence, error)
            }
            ProduceError::Sequence(SequenceError::Fenced { .. }) => {
                Self::new(ErrorCode::ProducerFenced, error)
            }
            ProduceError::Sequence(SequenceError::Incomplete) => {
                Self::new(ErrorCode::InvalidArgument, error)
            }
            ProduceError::TooManyWaiting => Self::retry(ErrorCode::Busy, RETRY_AFTER_MS, error),
            ProduceError::FlushTimeout => Self::new(ErrorCode::FlushDiskTimeout, error),
            ProduceError::Stopping => Self::new(ErrorCode::ShuttingDown, error),
            ProduceError::Append(append) => append.into(),
        }
    }
}

impl From<&AppendError> for Refusal {
    fn from(error: &AppendError) -> Self {
        match error {
            AppendError::TooLarge { .. } => Self::new(ErrorCode::BatchTooLarge, error),
            AppendError::Busy => Self::retry(ErrorCode::Busy, RETRY_AFTER_MS, error),
            AppendError::DiskFull { errno } if errno.0 == ENOSPC => {
                Self::retry(ErrorCode::DiskFull, RETRY_AFTER_FULL_MS, error)
            }
            AppendError::DiskFull { .. } => Self::retry(ErrorCode::Busy, RETRY_AFTER_MS, error),
            AppendError::Poisoned { errno, .. } if errno.0 == ENOSPC => {
                Self::new(ErrorCode::DiskFull, error)
            }
            AppendError::Poisoned { .. } => Self::new(ErrorCode::ShardPoisoned, error),
        }
    }
}

impl From<&FetchError> for Refusal {
    fn from(error: &FetchError) -> Self {
        match *error {
            FetchError::UnknownTopic => Self::new(ErrorCode::UnknownTopic, error),
            FetchError::UnknownQueue => Self::new(ErrorCode::UnknownQueue, error),
            FetchError::OutOfRange { start, end } => {
                Self { range: (start, end), ..Self::new(ErrorCode::OffsetOutOfRange, error) }
            }
            FetchError::Truncated { start, end } => {
                Self { range: (start, end), ..Self::new(ErrorCode::Truncated, error) }
            }
            FetchError::Read { .. } | FetchError::Damaged { .. } => {
                Self::new(ErrorCode::ReadFailed, error)
            }
            FetchError::Busy => Self::retry(ErrorCode::Busy, RETRY_AFTER_MS, error),
            FetchError::Stopping => Self::new(ErrorCode::ShuttingDown, error),
        }
    }
}

impl From<&TopicError> for Refusal {
    fn from(error: &TopicError) -> Self {
        match error {
            TopicError::Exists => Self::new(ErrorCode::TopicExists, error),
            TopicError::Unknown => Self::new(ErrorCode::UnknownTopic, error),
            TopicError::InvalidName => Self::new(ErrorCode::InvalidTopic, error),
            TopicError::InvalidQueues => Self::new(ErrorCode::InvalidArgument, error),
            TopicError::Store(store) => store.into(),
        }
    }
}

impl From<&OffsetError> for Refusal {
    fn from(error: &OffsetError) -> Self {
        match error {
            OffsetError::UnknownTopic => Self::new(ErrorCode::UnknownTopic, error),
            OffsetError::UnknownQueue => Self::new(ErrorCode::UnknownQueue, error),
            OffsetError::InvalidGroup => Self::new(ErrorCode::InvalidGroup, error),
            OffsetError::BeyondEnd { start, end } => {
                Self { range: (*start, *end), ..Self::new(ErrorCode::OffsetOutOfRange, error) }
            }
            OffsetError::MetadataTooLong => Self::new(ErrorCode::InvalidArgument, error),
            OffsetError::Full => Self::new(ErrorCode::TooManyGroups, error),
            OffsetError::Store(store) => store.into(),
        }
    }
}

impl From<Missing> for Refusal {
    fn from(error: Missing) -> Self {
        match error {
            Missing::Topic => Self::new(ErrorCode::UnknownTopic, error),
            Missing::Queue => Self::new(ErrorCode::UnknownQueue, error),
        }
    }
}

impl From<&DecodeError> for Refusal {
    fn from(error: &DecodeError) -> Self {
        Self::new(error.code(), error)
    }
}

impl From<&ErrorReply<'_>> for Refusal {
    fn from(error: &ErrorReply<'_>) -> Self {
        Self {
            code: error.code,
            retry_after_ms: error.retry_after_ms,
            range: (error.range_start, error.range_end),
            message: error.message.to_owned(),
        }
    }
}
