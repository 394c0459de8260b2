//! Why a client's call failed, told by what the caller can do.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use engine::batch::BatchError;

use super::Compression;
use crate::wire::{DecodeError, EncodeError, EntryError, ErrorCode, ErrorReply};

/// Why a call failed. Cheap to clone: a lost connection tells everyone who waits on it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// Check the address, or try later.
    #[error("cannot connect: {source}")]
    Connect {
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// Connect again. What became of the requests in flight is unknown.
    #[error("connection lost: {source}")]
    ConnectionLost {
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// No reply in time. What became of the request is unknown.
    #[error("no reply within {timeout_ms} ms")]
    TimedOut {
        /// How long it was waited for.
        timeout_ms: u64,
    },
    /// The node refused; [`ErrorCode`] says why and whether to try again.
    #[error("{code}: {message}")]
    Server {
        /// Why.
        code: ErrorCode,
        /// A sentence for people.
        message: Box<str>,
        /// When to try again, if that helps; otherwise 0.
        retry_after_ms: u32,
        /// The valid offsets, for the codes that say so; otherwise empty.
        range: Range<u64>,
    },
    /// Change the request: it cannot be expressed. Nothing was sent.
    #[error(transparent)]
    Request(#[from] EncodeError),
    /// Change the request: the records do not fit a batch. Nothing was sent.
    #[error("records do not fit a batch: {0}")]
    Records(BatchError),
    /// Change the request: the topic has no such queue. Nothing was sent.
    #[error("topic has no queue {queue}")]
    NoSuchQueue {
        /// The queue asked for.
        queue: u16,
    },
    /// The node (or whatever answers there) broke the protocol.
    #[error("bad reply: {0}")]
    Reply(#[from] DecodeError),
    /// What was read is damaged: an entry.
    #[error("damaged data: {0}")]
    Entry(#[from] EntryError),
    /// A record was not acknowledged within its producer's delivery timeout.
    #[error("not acknowledged within {timeout_ms} ms{}{}",
        if *unknown { " (it may be stored)" } else { ", and not stored" },
        last.as_ref().map(|last| format!("; the last attempt: {last}")).unwrap_or_default())]
    NotDelivered {
        /// How long it was tried.
        timeout_ms: u64,
        /// Whether it may be stored all the same.
        unknown: bool,
        /// Why the last attempt failed, if any did.
        last: Option<Arc<ClientError>>,
    },
    /// A compressed batch cannot be read; [`Consumer::seek`](super::Consumer::seek) to
    /// `next_offset` goes on behind it.
    #[error("batch at offset {base_offset}, compressed with {}: {source} (offset {next_offset} is \
             behind it)", Compression::of_codec(*codec).map_or("an unknown codec", Compression::name))]
    Decompress {
        /// Offset of its first record.
        base_offset: u64,
        /// The first offset behind it.
        next_offset: u64,
        /// Its codec, as in the batch's attributes.
        codec: u8,
        /// What the codec said.
        source: Arc<io::Error>,
    },
    /// What was read is damaged: a batch.
    #[error("batch at offset {base_offset}: {source}")]
    Batch {
        /// Offset of its first record.
        base_offset: u64,
        /// What is wrong with it.
        source: BatchError,
    },
}

impl ClientError {
    /// Whether the same call, on the same connection, may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Server { code, .. } if code.retryable())
    }

    /// Whether a produce that failed with this may nevertheless be stored.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::ConnectionLost { .. } | Self::TimedOut { .. } | Self::Reply(_) => true,
            Self::NotDelivered { unknown, .. } => *unknown,
            Self::Server { code, .. } => {
                use ErrorCode::{FlushDiskTimeout, Internal, ShardPoisoned};
                matches!(code, FlushDiskTimeout | Internal | ShardPoisoned)
            }
            _ => false,
        }
    }

    /// Whether the connection it came over is of no use any more.
    pub(super) fn breaks(&self) -> bool {
        matches!(self, Self::ConnectionLost { .. } | Self::TimedOut { .. } | Self::Reply(_))
    }

    /// Whether trying again, over a new connection if need be, may help.
    pub(super) fn passes(&self) -> bool {
        self.retryable() || self.breaks() || matches!(self, Self::Connect { .. })
    }

    /// When the node said to come back.
    pub(super) fn retry_after(&self) -> Duration {
        match self {
            Self::Server { retry_after_ms, .. } => Duration::from_millis((*retry_after_ms).into()),
            _ => Duration::ZERO,
        }
    }

    pub(super) fn is(&self, expected: ErrorCode) -> bool {
        matches!(self, Self::Server { code, .. } if *code == expected)
    }

    pub(super) fn lost(source: io::Error) -> Self {
        Self::ConnectionLost { source: Arc::new(source) }
    }

    pub(super) const fn bad_reply(what: &'static str) -> Self {
        Self::Reply(DecodeError::Malformed { what })
    }
}

impl From<ErrorReply<'_>> for ClientError {
    fn from(error: ErrorReply<'_>) -> Self {
        Self::Server {
            code: error.code,
            message: error.message.into(),
            retry_after_ms: error.retry_after_ms,
            range: error.range_start..error.range_end,
        }
    }
}
