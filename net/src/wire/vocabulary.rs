//! The protocol's small enums: operations, ack levels, stages. Numbers and names are stable: they
//! are the same in code, command line, statistics and `PROTOCOL.md`.

/// Topic flag: the node looks inside every batch it accepts, not only at its header.
pub const TOPIC_DEEP_VALIDATION: u8 = 1;

/// Topic flag: how long its records are kept is given, in milliseconds.
pub const TOPIC_RETENTION_MS: u8 = 2;

/// Topic flag: how many bytes of its records are kept is given.
pub const TOPIC_RETENTION_BYTES: u8 = 4;

/// Topic flag: the keys of its records are indexed.
pub const TOPIC_KEY_INDEX: u8 = 8;

/// Topic flag of an alteration: the flag before is given.
pub const TOPIC_KEY_INDEX_GIVEN: u8 = 16;

/// Stats flag: one histogram per shard, not merged over the shards.
pub const STATS_PER_SHARD: u8 = 1;

/// The byte that stands for "as the topic (or the node) says" where an ack level may stand.
const ACK_DEFAULT: u8 = 255;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Operation {
    /// Opens a connection: version, shard.
    Hello = 1,
    /// Is the node there?
    Ping = 2,
    /// Which topics and queues are there, and which shard owns each queue?
    Metadata = 3,
    /// Make a topic.
    TopicCreate = 4,
    /// Remove a topic.
    TopicDelete = 5,
    /// List all topics.
    TopicList = 6,
    /// One topic with the state of its queues.
    TopicDescribe = 7,
    /// Append one batch to a queue.
    Produce = 8,
    /// Read entries of a queue.
    Fetch = 9,
    /// Find an offset.
    ListOffsets = 10,
    /// Read histograms and counters.
    Stats = 11,
    /// Commit a consumer group's offsets.
    OffsetCommit = 12,
    /// Read what a consumer group has committed.
    OffsetFetch = 13,
    /// List all consumer groups.
    GroupList = 14,
    /// Get an idempotent producer's id.
    InitProducerId = 15,
    /// Give a topic other settings.
    TopicAlter = 16,
    /// Find records by key.
    Lookup = 17,
}

impl Operation {
    /// Every operation, in the order of its number.
    pub const ALL: [Self; 17] = [
        Self::Hello,
        Self::Ping,
        Self::Metadata,
        Self::TopicCreate,
        Self::TopicDelete,
        Self::TopicList,
        Self::TopicDescribe,
        Self::Produce,
        Self::Fetch,
        Self::ListOffsets,
        Self::Stats,
        Self::OffsetCommit,
        Self::OffsetFetch,
        Self::GroupList,
        Self::InitProducerId,
        Self::TopicAlter,
        Self::Lookup,
    ];

    /// The operation with this number.
    #[must_use]
    pub fn from_u8(op: u8) -> Option<Self> {
        Self::ALL.get(usize::from(op).checked_sub(1)?).copied()
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Ping => "ping",
            Self::Metadata => "metadata",
            Self::TopicCreate => "topic_create",
            Self::TopicDelete => "topic_delete",
            Self::TopicList => "topic_list",
            Self::TopicDescribe => "topic_describe",
            Self::Produce => "produce",
            Self::Fetch => "fetch",
            Self::ListOffsets => "list_offsets",
            Self::Stats => "stats",
            Self::OffsetCommit => "offset_commit",
            Self::OffsetFetch => "offset_fetch",
            Self::GroupList => "group_list",
            Self::InitProducerId => "init_producer_id",
            Self::TopicAlter => "topic_alter",
            Self::Lookup => "lookup",
        }
    }
}

pub use engine::level::AckLevel;
pub use engine::shard::retention::Retention;

/// Reads the byte of a request, where 255 leaves the choice to the default: `Ok(None)`.
pub(super) fn ack_choice(ack: u8) -> Result<Option<AckLevel>, super::DecodeError> {
    match (ack, AckLevel::from_u8(ack)) {
        (ACK_DEFAULT, _) => Ok(None),
        (_, Some(level)) => Ok(Some(level)),
        _ => Err(super::DecodeError::InvalidArgument { what: "ack level" }),
    }
}

/// The byte of a request: the level, or 255 for the default.
pub(super) fn ack_choice_byte(choice: Option<AckLevel>) -> u8 {
    choice.map_or(ACK_DEFAULT, AckLevel::as_u8)
}

/// Which offset a [`ListOffsets`](super::ListOffsets) asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ListKind {
    /// The first offset still stored.
    Earliest = 0,
    /// The offset the next visible record will have.
    Latest = 1,
    /// The first offset stored at or after a time.
    ByTimestamp = 2,
}

impl ListKind {
    pub(super) const fn from_u8(kind: u8) -> Option<Self> {
        match kind {
            0 => Some(Self::Earliest),
            1 => Some(Self::Latest),
            2 => Some(Self::ByTimestamp),
            _ => None,
        }
    }
}

pub use engine::stage::Stage;

/// Nanoseconds a request spent in each stage; a time above 4.29 s reads as `u32::MAX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// [`Stage::Parse`].
    pub parse_ns: u32,
    /// [`Stage::Append`].
    pub append_ns: u32,
    /// [`Stage::FlushWait`].
    pub flush_wait_ns: u32,
    /// [`Stage::Device`].
    pub device_ns: u32,
    /// [`Stage::Replicate`].
    pub replicate_ns: u32,
    /// [`Stage::Send`].
    pub send_ns: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_the_trip() {
        for op in Operation::ALL {
            assert_eq!(Operation::from_u8(op.as_u8()), Some(op));
        }
        assert_eq!((Operation::from_u8(0), Operation::from_u8(18)), (None, None));
        for (number, stage) in (0..).zip(Stage::ALL) {
            assert_eq!((stage.as_u8(), Stage::from_u8(number)), (number, Some(stage)));
        }
        for ack in 0..=255 {
            match ack_choice(ack) {
                Ok(choice) => assert_eq!(ack_choice_byte(choice), ack),
                Err(_) => assert!((4..255).contains(&ack)),
            }
        }
    }
}
