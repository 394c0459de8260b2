//! The defects a test plans: which operation fails, hangs or is late.
//!
//! Operations are counted per kind from 1, in the order of `submit`.
//! Absent: what a failure does to the data (`cache`), and the disk being full, which is
//! [`super::Config::capacity_bytes_max`].

use std::collections::BTreeMap;

use crate::io::{DiskOp, Errno};

/// A device error.
pub const EIO: Errno = Errno(5);
/// The disk is full; nothing was written.
pub const ENOSPC: Errno = Errno(28);
/// The machine has crashed; the answer of [`crate::io::Disk::wait`] to those who block.
pub const ENODEV: Errno = Errno(19);
pub(super) const ENOENT: Errno = Errno(2);
pub(super) const ENOMEM: Errno = Errno(12);
pub(super) const EEXIST: Errno = Errno(17);

/// Kinds of operations, as faults count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OpKind {
    /// `Open` without `create`.
    Open,
    /// `Open` with `create`.
    Create,
    /// `Write`, plain or durable.
    Write,
    /// `Read`.
    Read,
    /// `Sync`.
    Sync,
    /// `Zero`.
    Zero,
    /// `Rename`.
    Rename,
    /// `Remove`.
    Remove,
    /// `SyncDir`.
    SyncDir,
    /// `Close`.
    Close,
}

impl OpKind {
    /// The kind of an operation.
    #[must_use]
    pub const fn of(op: &DiskOp) -> Self {
        match op {
            DiskOp::Open { create: None, .. } => Self::Open,
            DiskOp::Open { create: Some(_), .. } => Self::Create,
            DiskOp::Write { .. } => Self::Write,
            DiskOp::Read { .. } => Self::Read,
            DiskOp::Sync { .. } => Self::Sync,
            DiskOp::Zero { .. } => Self::Zero,
            DiskOp::Rename { .. } => Self::Rename,
            DiskOp::Remove { .. } => Self::Remove,
            DiskOp::SyncDir => Self::SyncDir,
            DiskOp::Close { .. } => Self::Close,
        }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation completes with this errno. A write that fails with anything but `ENOSPC`
    /// may have written some of its sectors (a short write is such an `EIO`).
    Fail(Errno),
    /// The operation never completes.
    Stuck,
    /// The operation takes this much longer.
    LateNs(u64),
}

#[derive(Clone, Copy, Debug)]
struct Rule {
    kind: OpKind,
    first: u64,
    last: u64,
    fault: Fault,
}

/// Which operations go wrong. Of several rules for one operation the latest counts.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    rules: Vec<Rule>,
    seen: BTreeMap<OpKind, u64>,
}

impl FaultPlan {
    /// The `nth` operation of this kind (counted from 1 since the start of the machine) goes wrong.
    pub fn nth(&mut self, kind: OpKind, nth: u64, fault: Fault) {
        self.rules.push(Rule { kind, first: nth, last: nth, fault });
    }

    /// The next operation of this kind goes wrong.
    pub fn next(&mut self, kind: OpKind, fault: Fault) {
        self.nth(kind, self.seen(kind) + 1, fault);
    }

    /// Every operation of this kind goes wrong from now on.
    pub fn always(&mut self, kind: OpKind, fault: Fault) {
        self.rules.push(Rule { kind, first: self.seen(kind) + 1, last: u64::MAX, fault });
    }

    /// Nothing goes wrong any more (what is stuck stays stuck).
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// Operations of this kind submitted so far.
    #[must_use]
    pub fn seen(&self, kind: OpKind) -> u64 {
        self.seen.get(&kind).copied().unwrap_or(0)
    }

    /// Counts an operation and says what happens to it.
    pub(super) fn meet(&mut self, kind: OpKind) -> Option<Fault> {
        let nth = self.seen.entry(kind).or_default();
        *nth += 1;
        let hit = |rule: &&Rule| rule.kind == kind && (rule.first..=rule.last).contains(nth);
        self.rules.iter().rev().find(hit).map(|rule| rule.fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_count_per_kind() {
        let mut plan = FaultPlan::default();
        plan.nth(OpKind::Write, 2, Fault::Fail(EIO));
        assert_eq!(plan.meet(OpKind::Read), None);
        assert_eq!(plan.meet(OpKind::Write), None);
        assert_eq!(plan.meet(OpKind::Write), Some(Fault::Fail(EIO)));
        plan.next(OpKind::Read, Fault::Stuck);
        assert_eq!(plan.meet(OpKind::Read), Some(Fault::Stuck));
        plan.always(OpKind::Write, Fault::LateNs(1));
        assert_eq!(plan.meet(OpKind::Write), Some(Fault::LateNs(1)));
        assert_eq!(plan.meet(OpKind::Write), Some(Fault::LateNs(1)));
        plan.clear();
        assert_eq!(plan.meet(OpKind::Write), None);
        assert_eq!(plan.seen(OpKind::Write), 5);
    }
}
