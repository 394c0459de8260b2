//! What can be wrong, and where: for people and for programs.

use std::fmt;

use thiserror::Error;

use crate::batch::BatchError;
use crate::io::FileName;
use crate::log::position::LogPos;
use crate::log::recover::EntryFault;

use super::index_file::IndexFault;
use super::pointer::PointerFault;

/// A place in a shard's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: FileName,
    /// Byte offset in it.
    pub offset: u64,
    /// The same place as a position in the log; `None` outside of the segments.
    pub pos: Option<LogPos>,
}

impl Place {
    /// The place of a log position.
    #[must_use]
    pub const fn of(pos: LogPos, segment_bytes: u64) -> Self {
        let file = FileName::Segment(pos.0 / segment_bytes);
        Self { file, offset: pos.0 % segment_bytes, pos: Some(pos) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.file, self.offset)?;
        match self.pos {
            Some(pos) => write!(f, " (position {pos})"),
            None => Ok(()),
        }
    }
}

/// One damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins.
    pub place: Place,
    /// The group it is in, if that is known.
    pub sequence: Option<u64>,
    /// The queue it hits, if that is known.
    pub queue: Option<u32>,
    /// What is wrong.
    pub what: What,
}

impl Damage {
    /// Whether it is to derived data: nothing that is stored is lost, and the node makes it again
    /// when the file is gone.
    #[must_use]
    pub const fn is_derived(&self) -> bool {
        matches!(self.what, What::Index(_))
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)?;
        if let Some(sequence) = self.sequence {
            write!(f, ", group {sequence}")?;
        }
        if let Some(queue) = self.queue {
            write!(f, ", queue id {queue}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum What {
    /// There are segments but no superblock file.
    #[error("the superblock is missing")]
    SuperblockMissing,
    /// The superblock file is not two blocks long.
    #[error("the superblock has {0} bytes")]
    SuperblockLength(u64),
    /// A slot is neither intact nor, where that may be, empty.
    #[error("a slot of the superblock is not intact")]
    SuperblockSlot,
    /// A slot says that it belongs elsewhere, or was written to the other slot's place.
    #[error("a slot of the superblock belongs elsewhere: {0} differs")]
    SuperblockForeign(&'static str),
    /// The checkpoint that the superblock names is not there.
    #[error("the checkpoint that it names, at position {at}, {fault}")]
    Checkpoint {
        /// Where it should begin.
        at: LogPos,
        /// What is wrong.
        fault: PointerFault,
    },
    /// An index file, which is derived data.
    #[error("the index is damaged: {0}")]
    Index(IndexFault),
    /// A group is of a life that the superblock does not know.
    #[error("a group is of a later life than the superblock")]
    LaterLife,
    /// Segment files are missing.
    #[error("{0} segment files are missing from here on")]
    SegmentsMissing(u64),
    /// Groups were found when the log was last opened, and no segment file is there.
    #[error("all segment files are missing")]
    AllSegmentsMissing,
    /// A segment file or its header is not what it must be.
    #[error("{0}")]
    Segment(&'static str),
    /// Reserved space holds something.
    #[error("reserved bytes are not zero")]
    Reserved,
    /// A group is not there, though it was once durable.
    #[error("no intact header of the group is here, though {proof}")]
    GroupMissing {
        /// Why it must be there.
        proof: Proof,
        /// The group at which the log goes on.
        next: Option<(u64, LogPos)>,
    },
    /// An entry of a group is not what was written.
    #[error("{fault}, though {proof}")]
    Entry {
        /// What is wrong.
        fault: EntryFault,
        /// Why it must be whole.
        proof: Proof,
    },
    /// Padding behind a group holds something.
    #[error("padding is not zero")]
    Padding,
    /// Padding behind an entry holds something.
    #[error("padding behind the entry is not zero")]
    EntryPadding,
    /// The group's header counts other records than its entries hold.
    #[error("the group's header says {stated} records, its entries hold {held}")]
    Records {
        /// What the header says.
        stated: u64,
        /// What the entries hold.
        held: u64,
    },
    /// A watermark went back, or is beyond its own group.
    #[error("the watermark {found} is not between {before} and the group's own position")]
    Watermark {
        /// What the header says.
        found: LogPos,
        /// The watermark of the group before.
        before: LogPos,
    },
    /// Time went back.
    #[error("the store time {found_ms} is before {before_ms}, that of an earlier entry")]
    StoreTime {
        /// What the entry says.
        found_ms: u64,
        /// The store time before it.
        before_ms: u64,
    },
    /// The batch is stamped with another offset than its entry has.
    #[error("the batch is stamped with offset {stamped}, its entry says {entry}")]
    Stamp {
        /// The batch's base offset.
        stamped: u64,
        /// The entry's.
        entry: u64,
    },
    /// Records of a queue are missing before an entry.
    #[error("records {expected}..{found} of the queue are missing before this entry")]
    Missing {
        /// The offset that should come.
        expected: u64,
        /// What comes.
        found: u64,
    },
    /// Offsets of a queue come twice.
    #[error("offset {expected} of the queue should come next, {found} comes again")]
    Twice {
        /// The offset that should come.
        expected: u64,
        /// What comes.
        found: u64,
    },
    /// The records of a topic that looks inside every batch cannot be read.
    #[error("records that were checked when they came cannot be read: {0}")]
    Unreadable(BatchError),
    /// A change of topics cannot be read, or lies where none may be.
    #[error("a change of topics cannot be read, or is not in queue 0 of shard 0")]
    Metadata,
    /// An offset commit or a checkpoint cannot be read.
    #[error("an offset commit or checkpoint cannot be read")]
    State,
    /// Segments are gone from the front of the log, and no checkpoint stands for them.
    #[error("the log's beginning is missing, and no checkpoint stands for it")]
    BeginningMissing,
    /// Entries of a queue that no topic ever had in this shard.
    #[error("no topic has this queue in this shard")]
    UnknownQueue,
    /// No superblock and no segment, though topics were made, for which all shards must be open.
    #[error("the shard is empty, though topics were made when it was in use")]
    Empty,
}

/// Why something that is missing must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// This later group was cut when the place was durable.
    Later {
        /// Its sequence number.
        sequence: u64,
    },
    /// The newest life found it when it began.
    Found {
        /// The last group that it found.
        sequence: u64,
    },
    /// The superblock was written when it was durable.
    Durable {
        /// The last group that was.
        sequence: u64,
    },
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Later { sequence } => {
                write!(f, "it was durable when group {sequence} was written")
            }
            Self::Found { sequence } => {
                write!(f, "the log was whole up to group {sequence} when it was last opened")
            }
            Self::Durable { sequence } => {
                write!(f, "the superblock says that all groups up to {sequence} were durable")
            }
        }
    }
}
