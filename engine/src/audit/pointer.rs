//! The checkpoint that the superblock names: is it where it says, and whole?
//!
//! A restart begins there, so a wrong pointer would cost what lies before it.
//! Absent: what the checkpoint's parts say (`check`).

use thiserror::Error;

use super::damage::{Damage, Place, What};
use super::{Found, Group};
use crate::io::FileName;
use crate::log::entry_format::Kind;
use crate::log::position::LogPos;
use crate::log::segments::Geometry;
use crate::log::superblock_format::{Pointer, Superblock};
use crate::shard::checkpoint_format::Part;

/// What is wrong with the pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PointerFault {
    /// No checkpoint's first entry is at that position.
    #[error("does not begin there")]
    NotThere,
    /// Its last entry is not in the log.
    #[error("is not complete")]
    Incomplete,
    /// The log goes on in that segment behind another group.
    #[error("begins in the segment behind group {holds}, not {says}")]
    Before {
        /// What the superblock says.
        says: u64,
        /// The last group before the segment.
        holds: u64,
    },
}

/// What the walk has seen of the named checkpoint.
#[derive(Debug)]
pub(super) struct Named {
    geometry: Geometry,
    slot_offset: u64,
    pointer: Pointer,
    begins: bool,
    is_complete: bool,
    before: Option<u64>,
}

impl Named {
    pub(super) fn new(superblock: &Superblock, geometry: &Geometry) -> Option<Self> {
        let (slot_offset, pointer) = (superblock.slot_offset(), superblock.checkpoint?);
        let (begins, is_complete, before) = (false, false, None);
        Some(Self { geometry: *geometry, slot_offset, pointer, begins, is_complete, before })
    }

    pub(super) fn group(&mut self, group: &Group) {
        let header = group.header();
        let number = self.geometry.number(header.position);
        if self.before.is_none() && number == self.geometry.number(self.pointer.begin) {
            self.before = Some(header.sequence.saturating_sub(1));
        }
    }

    pub(super) fn entry(&mut self, found: &Found<'_>) {
        self.begins |= found.header.kind == Kind::Checkpoint && found.pos == self.pointer.begin;
    }

    pub(super) fn part(&mut self, part: &Part<'_>) {
        self.is_complete |= self.begins && *part == Part::End { begin: self.pointer.begin };
    }

    /// What is wrong with it, once the whole log was seen.
    pub(super) fn fault(&self) -> Option<Damage> {
        let says = self.pointer.before;
        let fault = match self.before {
            _ if !self.begins => PointerFault::NotThere,
            _ if !self.is_complete => PointerFault::Incomplete,
            Some(holds) if holds != says => PointerFault::Before { says, holds },
            _ => return None,
        };
        let place = Place { file: FileName::Superblock, offset: self.slot_offset, pos: None };
        let at: LogPos = self.pointer.begin;
        Some(Damage { place, sequence: None, queue: None, what: What::Checkpoint { at, fault } })
    }
}
