//! Positions are types: a byte position must not mix with a queue offset or a count.

use std::fmt;

/// Byte position in a shard's log, growing for ever: `segment number * segment_bytes + offset in
/// the segment file`. Not a queue offset, not a count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPos(pub u64);

impl LogPos {
    /// This position, `bytes` further on.
    #[must_use]
    pub const fn plus(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

impl fmt::Display for LogPos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A record's handle for protocols that need one number: shard << 56 | (position of its entry +
/// index of the record in it). Unique because an entry is longer than its record count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub u64);

/// Bits of a handle that hold the position.
const POSITION_BITS: u32 = 56;

impl Handle {
    /// The handle of the first record of the entry at `pos` in `shard`.
    #[must_use]
    pub const fn new(shard: u8, pos: LogPos) -> Self {
        Self(((shard as u64) << POSITION_BITS) | pos.0)
    }

    /// The shard whose log holds the record.
    #[must_use]
    pub const fn shard(self) -> u8 {
        (self.0 >> POSITION_BITS) as u8
    }

    /// The byte position part.
    #[must_use]
    pub const fn pos(self) -> LogPos {
        LogPos(self.0 & ((1 << POSITION_BITS) - 1))
    }
}
