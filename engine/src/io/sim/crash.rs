//! Who chooses what a crash keeps. The rules of what may be chosen are in `cache` and
//! `namespace`; every policy only picks among what they offer.
//!
//! [`Outcomes`] enumerates all outcomes of a small case:
//!
//! ```text
//! let mut outcomes = Outcomes::new(Grain::Sector);
//! loop {
//!     check(disk.crash(CrashPolicy::Outcomes(&mut outcomes)));
//!     if !outcomes.advance() { break }
//! }
//! ```

use std::fmt;

use super::cache::PAGE_SECTORS;
use super::random::mix;
use crate::io::{FileName, OpId};

/// One question a crash asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// How many of the `pending` namespace changes, oldest first, survive: 0 to `pending`.
    Namespace {
        /// Changes that are not durable, those in flight included (they come last).
        pending: usize,
    },
    /// Which version of a sector survives: 0 the stable one, `versions` the newest.
    Sector {
        /// The file, by the name it has after the crash.
        name: FileName,
        /// Byte offset in the file / 512.
        sector: u64,
        /// Versions that are not stable, in the order of their writes.
        versions: usize,
    },
}

impl Choice {
    /// The largest valid answer.
    #[must_use]
    pub const fn max(&self) -> usize {
        match self {
            Self::Namespace { pending } => *pending,
            Self::Sector { versions, .. } => *versions,
        }
    }
}

/// Who answers.
pub enum CrashPolicy<'a> {
    /// Power fails; nothing survives that need not.
    LoseAll,
    /// Power fails; everything survives, even what was in flight.
    KeepAll,
    /// Power fails; a seed chooses: whole writes kept or lost, and torn ones, in changing shares.
    Seeded(u64),
    /// The process is killed: what had completed survives, what was in flight as with `Seeded`.
    Kill(u64),
    /// Power fails; all outcomes, one after the other.
    Outcomes(&'a mut Outcomes),
    /// Power fails; the function answers each choice, at most [`Choice::max`].
    Choose(&'a mut dyn FnMut(Choice) -> usize),
}

impl fmt::Debug for CrashPolicy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoseAll => f.write_str("LoseAll"),
            Self::KeepAll => f.write_str("KeepAll"),
            Self::Seeded(seed) => write!(f, "Seeded({seed})"),
            Self::Kill(seed) => write!(f, "Kill({seed})"),
            Self::Outcomes(outcomes) => write!(f, "{outcomes:?}"),
            Self::Choose(_) => f.write_str("Choose"),
        }
    }
}

/// A policy at work in one crash.
#[derive(Debug)]
pub(super) struct Fate<'a>(CrashPolicy<'a>);

impl<'a> Fate<'a> {
    pub(super) fn new(mut policy: CrashPolicy<'a>) -> Self {
        if let CrashPolicy::Outcomes(outcomes) = &mut policy {
            outcomes.rewind();
        }
        Self(policy)
    }

    /// How many changes survive of `completed` ones followed by `in_flight` ones.
    pub(super) fn namespace(&mut self, completed: usize, in_flight: usize) -> usize {
        let pending = completed + in_flight;
        match &mut self.0 {
            CrashPolicy::Seeded(seed) => seeded_prefix(*seed, pending),
            CrashPolicy::Kill(seed) => completed + seeded_prefix(*seed, in_flight),
            _ if pending == 0 => 0,
            _ => self.ask(Choice::Namespace { pending }),
        }
    }

    /// Which of `versions` (who wrote it, and whether that write had completed) survives in a
    /// sector: 0 for the stable one, else 1 + the index.
    pub(super) fn sector(
        &mut self,
        name: FileName,
        sector: u64,
        versions: &[(OpId, bool)],
    ) -> usize {
        let newest = |kept: &dyn Fn(&(OpId, bool)) -> bool| {
            versions.iter().rposition(kept).map_or(0, |index| index + 1)
        };
        match &mut self.0 {
            CrashPolicy::Seeded(seed) => newest(&|(write, _)| survives(*seed, *write, sector)),
            CrashPolicy::Kill(seed) => {
                newest(&|(write, done)| *done || survives(*seed, *write, sector))
            }
            _ => self.ask(Choice::Sector { name, sector, versions: versions.len() }),
        }
    }

    fn ask(&mut self, choice: Choice) -> usize {
        let answer = match &mut self.0 {
            CrashPolicy::KeepAll => choice.max(),
            CrashPolicy::Outcomes(outcomes) => outcomes.answer(choice),
            CrashPolicy::Choose(choose) => choose(choice),
            CrashPolicy::LoseAll | CrashPolicy::Seeded(_) | CrashPolicy::Kill(_) => 0,
        };
        assert!(answer <= choice.max(), "{answer} is no answer to {choice:?}");
        answer
    }
}

/// One crash in four loses all pending changes, one keeps all, the others cut anywhere.
fn seeded_prefix(seed: u64, pending: usize) -> usize {
    let draw = mix(seed ^ 0x6e61_6d65);
    match draw % 4 {
        0 => 0,
        1 => pending,
        _ => (draw >> 2) as usize % (pending + 1),
    }
}

/// Whether a sector of a write survives. A group spans many sectors: were each one kept or lost
/// by its own coin, no group would ever survive whole. So each crash has a mood (mostly lost,
/// mixed, mostly kept), each write is kept, lost or torn, and a torn write tosses for each sector.
fn survives(seed: u64, write: OpId, sector: u64) -> bool {
    let kept_in_8 = [1, 4, 7][(mix(seed) % 3) as usize];
    let draw = mix(seed.wrapping_add(mix(write.0 + 1)));
    if draw.is_multiple_of(3) {
        mix(draw ^ mix(sector + 1)) % 8 < kept_in_8
    } else {
        (draw >> 8) % 8 < kept_in_8
    }
}

/// How finely [`Outcomes`] tells apart what survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// Every sector for itself: 2^8 outcomes for one 4 KiB write.
    Sector,
    /// The eight sectors of a block share their fate: torn blocks are left out.
    Block,
}

/// All outcomes of one crash, in order. Every crash with the same `Outcomes` takes the current
/// one; [`Outcomes::advance`] moves on. The first outcome loses everything, the last keeps it.
#[derive(Clone, Debug)]
pub struct Outcomes {
    grain: Grain,
    /// Answers given so far on the path, with the largest answer each could be.
    path: Vec<(usize, usize)>,
    at: usize,
    /// The block asked about last, what could be answered, and the answer.
    block: Option<(FileName, u64, usize, usize)>,
}

impl Outcomes {
    /// Starts with the outcome that loses everything.
    #[must_use]
    pub const fn new(grain: Grain) -> Self {
        Self { grain, path: Vec::new(), at: 0, block: None }
    }

    /// Moves on to the next outcome; `false` when all have been seen.
    pub fn advance(&mut self) -> bool {
        while let Some((answer, max)) = self.path.pop() {
            if answer < max {
                self.path.push((answer + 1, max));
                return true;
            }
        }
        false
    }

    fn rewind(&mut self) {
        self.at = 0;
        self.block = None;
    }

    fn answer(&mut self, choice: Choice) -> usize {
        let Choice::Sector { name, sector, versions } = choice else {
            return self.digit(choice.max());
        };
        if self.grain == Grain::Sector {
            return self.digit(versions);
        }
        let number = sector / u64::from(PAGE_SECTORS);
        match self.block {
            Some((n, b, max, answer)) if (n, b, max) == (name, number, versions) => answer,
            _ => {
                let answer = self.digit(versions);
                self.block = Some((name, number, versions, answer));
                answer
            }
        }
    }

    fn digit(&mut self, max: usize) -> usize {
        if self.at == self.path.len() {
            self.path.push((0, max));
        }
        let (answer, expected) = self.path[self.at];
        assert!(expected == max, "the disk changed between two outcomes of one crash");
        self.at += 1;
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_visit_every_leaf_of_a_tree_once() {
        let mut outcomes = Outcomes::new(Grain::Sector);
        let mut seen = Vec::new();
        loop {
            outcomes.rewind();
            // The second question depends on the first answer.
            let first = outcomes.answer(Choice::Namespace { pending: 2 });
            let second = outcomes.answer(Choice::Namespace { pending: first });
            seen.push((first, second));
            if !outcomes.advance() {
                break;
            }
        }
        assert_eq!(seen, [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]);
    }

    #[test]
    fn seeds_keep_lose_and_tear_writes() {
        let (mut kept, mut lost, mut torn) = (0, 0, 0);
        for seed in 0..300 {
            let sectors = (0..32).filter(|sector| survives(seed, OpId(7), *sector)).count();
            match sectors {
                0 => lost += 1,
                32 => kept += 1,
                _ => torn += 1,
            }
        }
        assert!(kept > 50 && lost > 50 && torn > 50, "{kept} {lost} {torn}");
    }
}
