//! What can be said of a run in a word: when it was acknowledged, how the broker waited, and the
//! stages of a message's way.

use std::fmt;

use serde::{Deserialize, Serialize};

/// When the broker acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// Never: one-way.
    None,
    /// When appended in memory.
    Memory,
    /// When its device write completed.
    Written,
    /// When it was on stable media.
    Durable,
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Memory => "memory",
            Self::Written => "written",
            Self::Durable => "durable",
        })
    }
}

/// How the broker waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Waiting {
    /// Asleep in the kernel.
    Sleep,
    /// Polling only while a durable write is in flight.
    Hybrid,
    /// Polling always.
    Poll,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sleep => "sleep",
            Self::Hybrid => "hybrid",
            Self::Poll => "poll",
        })
    }
}

/// A station on a message's way. Their order is the order of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// From the bytes' arrival to a checked batch.
    Parse,
    /// Into the open group.
    Append,
    /// Waiting until the group's write starts.
    FlushWait,
    /// The device's write.
    Device,
    /// Waiting for other nodes.
    Replicate,
    /// Until the reply was handed to the socket.
    Send,
    /// What is left of the client's latency: network, the client's wake-up, waiting to be sent.
    Rest,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Self; 7] = [
        Self::Parse,
        Self::Append,
        Self::FlushWait,
        Self::Device,
        Self::Replicate,
        Self::Send,
        Self::Rest,
    ];

    /// Its name in a table.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Append => "append",
            Self::FlushWait => "flush wait",
            Self::Device => "device",
            Self::Replicate => "replicate",
            Self::Send => "send",
            Self::Rest => "net+client",
        }
    }
}
