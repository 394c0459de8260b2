//! Whose completion is it? The layout of an SQE's `user_data`.
//!
//! ```text
//! bits 63..62  kind: 0 poll, 1 disk, 2 timer, 3 nobody's (the answer to a cancel or an update)
//! poll         bits 61..0   the caller's token
//! disk         bits 47..32  which disk on this ring, bits 31..0 its operation slot
//! ```

/// Largest token a caller of [`super::Ring::poll_add`] may use.
pub const POLL_TOKEN_MAX: u64 = (1 << 62) - 1;

const KIND_SHIFT: u32 = 62;
const DISK: u64 = 1;
const TIMER: u64 = 2;
const NOBODY: u64 = 3;

/// The owner of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A socket poll with the caller's token.
    Poll(u64),
    /// An operation of a disk.
    Disk { disk: u16, slot: u32 },
    /// The ring's one timer.
    Timer,
    /// Nobody waits for it.
    Nobody,
}

impl Owner {
    pub(super) const fn encode(self) -> u64 {
        match self {
            Self::Poll(token) => token & POLL_TOKEN_MAX,
            Self::Disk { disk, slot } => DISK << KIND_SHIFT | (disk as u64) << 32 | slot as u64,
            Self::Timer => TIMER << KIND_SHIFT,
            Self::Nobody => NOBODY << KIND_SHIFT,
        }
    }

    pub(super) const fn decode(data: u64) -> Self {
        match data >> KIND_SHIFT {
            DISK => Self::Disk { disk: (data >> 32) as u16, slot: data as u32 },
            TIMER => Self::Timer,
            NOBODY => Self::Nobody,
            _ => Self::Poll(data),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_round_trip() {
        for owner in [
            Owner::Poll(0),
            Owner::Poll(POLL_TOKEN_MAX),
            Owner::Disk { disk: u16::MAX, slot: u32::MAX },
            Owner::Disk { disk: 0, slot: 7 },
            Owner::Timer,
            Owner::Nobody,
        ] {
            assert_eq!(Owner::decode(owner.encode()), owner);
        }
    }
}
