//! What lies between groups and behind the last: zeros, as a rule, or what a crash has left.

use crate::log::position::LogPos;

/// Bytes outside of groups that are not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// How many bytes.
    pub bytes: u64,
    /// Intact headers of groups among them.
    pub groups: u64,
}

/// What was found in a stretch of the log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gap {
    /// What is not zero.
    pub(crate) leftovers: Leftovers,
    /// The first byte that is not zero.
    pub(crate) first: Option<LogPos>,
}

impl Gap {
    /// Adds `bytes`, which lie at `pos`.
    pub(crate) fn add(&mut self, pos: LogPos, bytes: &[u8]) {
        // Counted without a branch: most of it is zeros, and there may be gigabytes.
        let count = bytes.iter().filter(|byte| **byte != 0).count();
        self.leftovers.bytes += count as u64;
        if count > 0 && self.first.is_none() {
            let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(0);
            self.first = Some(pos.plus(first as u64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_remembers_the_first() {
        let mut gap = Gap::default();
        gap.add(LogPos(4096), &[0; 10]);
        assert_eq!((gap.leftovers, gap.first), (Leftovers::default(), None));
        gap.add(LogPos(5000), &[0, 0, 7, 0, 9]);
        gap.add(LogPos(6000), &[1]);
        assert_eq!((gap.leftovers.bytes, gap.first), (3, Some(LogPos(5002))));
    }
}
