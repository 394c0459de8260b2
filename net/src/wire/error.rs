//! Error codes of the protocol, and what can go wrong in the codec itself.

/// Declares the codes once: number, variant, stable name, may the same request work later?
macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $retry:literal;)*) => {
        /// Why a request failed. Number and name are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum ErrorCode { $($(#[$doc])* $variant = $number,)* }

        impl ErrorCode {
            /// Every code, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code with this number.
            #[must_use]
            pub const fn from_u16(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            /// Its stable name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether the same request, unchanged, may succeed later on this node.
            #[must_use]
            pub const fn retryable(self) -> bool {
                match self { $(Self::$variant => $retry,)* }
            }
        }
    };
}

error_codes! {
    /// The frame does not follow the protocol; the node closes the connection.
    Malformed = 1, "MALFORMED", false;
    /// No protocol version in common; the node closes the connection.
    UnsupportedVersion = 2, "UNSUPPORTED_VERSION", false;
    /// The operation's number means nothing to this node.
    UnknownOperation = 3, "UNKNOWN_OPERATION", false;
    /// The frame, or the reply it would need, is above the limit.
    FrameTooLarge = 4, "FRAME_TOO_LARGE", false;
    /// The first frame was not a Hello; the node closes the connection.
    HelloRequired = 5, "HELLO_REQUIRED", false;
    /// No such topic.
    UnknownTopic = 10, "UNKNOWN_TOPIC", false;
    /// The topic has no such queue.
    UnknownQueue = 11, "UNKNOWN_QUEUE", false;
    /// A topic of this name exists already.
    TopicExists = 12, "TOPIC_EXISTS", false;
    /// Not a valid topic name.
    InvalidTopic = 13, "INVALID_TOPIC", false;
    /// A field has a value that means nothing.
    InvalidArgument = 14, "INVALID_ARGUMENT", false;
    /// Not a valid group name.
    InvalidGroup = 15, "INVALID_GROUP", false;
    /// The shard holds as many groups and offsets as it may: delete some.
    TooManyGroups = 16, "TOO_MANY_GROUPS", false;
    /// The batch's length, magic, record count or checksum is wrong; nothing was written.
    CorruptBatch = 20, "CORRUPT_BATCH", false;
    /// The batch is above the limit; nothing was written.
    BatchTooLarge = 21, "BATCH_TOO_LARGE", false;
    /// Not the idempotent producer's next batch: one before it is missing; nothing was written.
    OutOfOrderSequence = 22, "OUT_OF_ORDER_SEQUENCE", false;
    /// The idempotent producer goes on under a higher epoch; nothing was written.
    ProducerFenced = 23, "PRODUCER_FENCED", false;
    /// The offset is not stored; the error body says which are.
    OffsetOutOfRange = 30, "OFFSET_OUT_OF_RANGE", false;
    /// The epoch the reader saw did not survive; the error body says up to where it is valid.
    Truncated = 31, "TRUNCATED", false;
    /// A budget is used up: come back after `retry_after_ms`. Nothing was written.
    Busy = 40, "BUSY", true;
    /// The device did not answer in time; whether the batch is stored is unknown.
    FlushDiskTimeout = 41, "FLUSH_DISK_TIMEOUT", false;
    /// A device write failed earlier; the shard serves reads only until it is reopened.
    ShardPoisoned = 42, "SHARD_POISONED", false;
    /// No space left; nothing was written.
    DiskFull = 43, "DISK_FULL", true;
    /// The node is going away; nothing was written.
    ShuttingDown = 44, "SHUTTING_DOWN", true;
    /// The device could not read what was asked for.
    ReadFailed = 45, "READ_FAILED", true;
    /// The node, or the peer's address, has as many connections as it may; the node closes.
    TooManyConnections = 46, "TOO_MANY_CONNECTIONS", true;
    /// A fault of the node itself. Codes this version does not know read as this one.
    Internal = 99, "INTERNAL", false;
}

impl ErrorCode {
    /// Its number on the wire.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        self as u16
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A frame that could not be read. [`code`](Self::code) is what to answer,
/// [`closes`](Self::closes) whether the connection can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Answer and close: the stream cannot be followed past this frame.
    #[error("frame of {length} bytes is above the limit of {bytes_max}")]
    FrameTooLarge {
        /// Bytes of the whole frame.
        length: u64,
        /// Bytes that were allowed.
        bytes_max: u32,
    },
    /// Answer and close: the peer does not speak this protocol.
    #[error("malformed frame: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// Answer and go on: a newer peer may know more operations.
    #[error("unknown operation {op}")]
    UnknownOperation {
        /// The number received.
        op: u8,
    },
    /// Answer and go on.
    #[error("a topic name is 1 to 249 of [A-Za-z0-9._-], and neither \".\" nor \"..\"")]
    InvalidTopic,
    /// Answer and go on.
    #[error("a group name is 1 to 249 bytes without control characters")]
    InvalidGroup,
    /// Answer and go on.
    #[error("invalid {what}")]
    InvalidArgument {
        /// The field.
        what: &'static str,
    },
    /// Answer and go on.
    #[error("batch of {length} bytes is above the limit of {bytes_max}")]
    BatchTooLarge {
        /// Bytes of the batch.
        length: u64,
        /// Bytes that were allowed.
        bytes_max: u32,
    },
}

impl DecodeError {
    /// The code to answer with.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::FrameTooLarge { .. } => ErrorCode::FrameTooLarge,
            Self::Malformed { .. } => ErrorCode::Malformed,
            Self::UnknownOperation { .. } => ErrorCode::UnknownOperation,
            Self::InvalidTopic => ErrorCode::InvalidTopic,
            Self::InvalidGroup => ErrorCode::InvalidGroup,
            Self::InvalidArgument { .. } => ErrorCode::InvalidArgument,
            Self::BatchTooLarge { .. } => ErrorCode::BatchTooLarge,
        }
    }

    /// Whether the connection has to be closed after the answer.
    #[must_use]
    pub const fn closes(&self) -> bool {
        matches!(self, Self::FrameTooLarge { .. } | Self::Malformed { .. })
    }
}

/// A request that cannot be expressed; nothing was written to the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Send less.
    #[error("{what} of {length} bytes is above the limit of {bytes_max}")]
    TooLarge {
        /// The field.
        what: &'static str,
        /// Its bytes (or, for a list, its items).
        length: usize,
        /// The most there may be.
        bytes_max: u32,
    },
    /// Choose another name.
    #[error("a topic name is 1 to 249 of [A-Za-z0-9._-], and neither \".\" nor \"..\"")]
    InvalidTopic,
    /// Choose another name.
    #[error("a group name is 1 to 249 bytes without control characters")]
    InvalidGroup,
    /// Only a produce may go without a reply.
    #[error("only a produce may be one-way")]
    OneWay,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_survive_the_trip() {
        let mut names: Vec<_> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 26);
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_u16(code.as_u16()), Some(code));
        }
        assert_eq!(ErrorCode::from_u16(0), None);
    }
}
