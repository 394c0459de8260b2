//! When a produce is acknowledged: chosen per request, with the topic's default.

/// What must have happened before a produce is acknowledged. Ordered by strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AckLevel {
    /// Never acknowledged (one-way).
    None = 0,
    /// Appended to the shard's open group; lost with the process.
    Memory = 1,
    /// Its device write completed; survives `kill -9`.
    Written = 2,
    /// It and everything before it is on stable media; survives a power cut.
    Durable = 3,
}

impl AckLevel {
    /// The level behind its number in formats and protocols.
    #[must_use]
    pub const fn from_u8(level: u8) -> Option<Self> {
        match level {
            0 => Some(Self::None),
            1 => Some(Self::Memory),
            2 => Some(Self::Written),
            3 => Some(Self::Durable),
            _ => None,
        }
    }

    /// Its number in formats and protocols.
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// Its name in options, reports and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Memory => "memory",
            Self::Written => "written",
            Self::Durable => "durable",
        }
    }

    /// What consumers of a topic with this default see up to: nothing weaker than `written`
    /// unless the topic says `memory`.
    #[must_use]
    pub const fn visibility(self) -> Self {
        match self {
            Self::None | Self::Memory => Self::Memory,
            other => other,
        }
    }
}
