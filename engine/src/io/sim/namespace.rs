//! Names, as the file system's journal has them: what is visible, what is durable, and the
//! changes between the two in the order in which they happened.
//!
//! Invariants: `durable` + all of `pending` = `visible`; a crash leaves `durable` + a prefix of
//! `pending`. Absent: contents, which belong to the inode and not to the name.

use std::collections::{BTreeMap, BTreeSet};

use super::faults::{EEXIST, ENOENT};
use crate::io::{Errno, FileName};

/// A file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Inode(pub(super) u32);

/// One change of the namespace.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Create { name: FileName, file: Inode, len: u64 },
    Grow { name: FileName, len: u64 },
    Rename { from: FileName, to: FileName },
    Remove { name: FileName },
}

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) file: Inode,
    pub(super) len: u64,
}

/// A directory at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory(pub(super) BTreeMap<FileName, Entry>);

impl Directory {
    /// Makes a change, or says why it cannot be made.
    fn apply(&mut self, change: Change) -> Result<(), Errno> {
        match change {
            Change::Create { name, file, len } => {
                self.vacant(name)?;
                self.0.insert(name, Entry { file, len });
            }
            Change::Grow { name, len } => {
                self.0.get_mut(&name).ok_or(ENOENT)?.len = len;
            }
            Change::Rename { from, to } => {
                self.vacant(to)?;
                let entry = self.0.remove(&from).ok_or(ENOENT)?;
                self.0.insert(to, entry);
            }
            Change::Remove { name } => {
                self.0.remove(&name).ok_or(ENOENT)?;
            }
        }
        Ok(())
    }

    fn vacant(&self, name: FileName) -> Result<(), Errno> {
        if self.0.contains_key(&name) { Err(EEXIST) } else { Ok(()) }
    }
}

/// The namespace of one shard.
#[derive(Debug, Default)]
pub(super) struct Namespace {
    visible: Directory,
    durable: Directory,
    /// With the event at which each change completed.
    pending: Vec<(u64, Change)>,
}

impl Namespace {
    /// The namespace after a restart: everything there is durable.
    pub(super) fn new(durable: Directory) -> Self {
        Self { visible: durable.clone(), durable, pending: Vec::new() }
    }

    pub(super) fn get(&self, name: FileName) -> Option<Entry> {
        self.visible.0.get(&name).copied()
    }

    pub(super) fn visible(&self) -> &Directory {
        &self.visible
    }

    /// Makes a change visible at event `at`.
    pub(super) fn change(&mut self, change: Change, at: u64) -> Result<(), Errno> {
        self.visible.apply(change)?;
        self.pending.push((at, change));
        Ok(())
    }

    /// Takes a durable name away, and what happened to it is forgotten; returns its file.
    pub(super) fn take_away(&mut self, name: FileName) -> Option<Inode> {
        assert!(self.pending.is_empty(), "simulator: take names away when all are durable");
        self.durable.0.remove(&name);
        self.visible.0.remove(&name).map(|entry| entry.file)
    }

    /// Makes durable what had happened by event `cutoff`.
    pub(super) fn sync(&mut self, cutoff: u64) {
        let covered = self.pending.partition_point(|(at, _)| *at <= cutoff);
        for (_, change) in self.pending.drain(..covered) {
            let applied = self.durable.apply(change);
            assert!(applied.is_ok(), "simulator: {change:?} was visible but is impossible");
        }
    }

    /// Changes that a crash may take back.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The directory after a crash that kept the first `kept` of the pending changes followed by
    /// those in flight. A change in flight that cannot be made would have failed.
    pub(super) fn surviving(&self, kept: usize, in_flight: &[Change]) -> Directory {
        let mut directory = self.durable.clone();
        let pending = self.pending.iter().map(|(_, change)| change);
        for change in pending.chain(in_flight).take(kept) {
            let _ = directory.apply(*change);
        }
        directory
    }

    /// Files that have a name, or may have one after a crash.
    pub(super) fn reachable(&self) -> BTreeSet<Inode> {
        let created = self.pending.iter().filter_map(|(_, change)| match change {
            Change::Create { file, .. } => Some(*file),
            _ => None,
        });
        let named = self.visible.0.values().chain(self.durable.0.values());
        named.map(|entry| entry.file).chain(created).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: FileName = FileName::Spare(1);
    const B: FileName = FileName::Segment(2);

    fn names(directory: &Directory) -> Vec<FileName> {
        directory.0.keys().copied().collect()
    }

    #[test]
    fn every_prefix_of_the_journal_can_survive() {
        let mut namespace = Namespace::default();
        namespace.change(Change::Create { name: A, file: Inode(1), len: 1 }, 1).unwrap();
        namespace.change(Change::Rename { from: A, to: B }, 2).unwrap();
        let removal = [Change::Remove { name: B }];
        assert_eq!(names(&namespace.surviving(0, &removal)), []);
        assert_eq!(names(&namespace.surviving(1, &removal)), [A]);
        assert_eq!(names(&namespace.surviving(2, &removal)), [B]);
        assert_eq!(names(&namespace.surviving(3, &removal)), []);
        namespace.sync(1);
        assert_eq!(names(&namespace.surviving(0, &removal)), [A]);
        assert_eq!(namespace.pending(), 1);
    }

    #[test]
    fn rename_replaces_nothing() {
        let mut namespace = Namespace::default();
        namespace.change(Change::Create { name: A, file: Inode(1), len: 1 }, 1).unwrap();
        namespace.change(Change::Create { name: B, file: Inode(2), len: 1 }, 2).unwrap();
        assert_eq!(namespace.change(Change::Rename { from: A, to: B }, 3), Err(EEXIST));
        namespace.change(Change::Remove { name: B }, 4).unwrap();
        assert_eq!(namespace.change(Change::Remove { name: B }, 5), Err(ENOENT));
        assert_eq!(namespace.reachable().len(), 2, "a lost removal would show the file again");
        namespace.sync(5);
        assert_eq!(namespace.reachable().len(), 1);
    }
}
