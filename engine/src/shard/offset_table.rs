//! The committed offsets of a shard's queues, in memory.
//!
//! A commit is [`stage`](OffsetTable::stage)d when its entry is appended and comes into force when
//! it is [`settle`](OffsetTable::settle)d, that is, when its level is reached: nobody is told an
//! offset that may still be lost. Commits of different levels may settle out of log order; then
//! the newer one counts, and what is older and still on its way never comes into force.
//!
//! Invariants: what is in force of a group and queue is the newest in the log of those that have
//! settled; `bytes` is what all of it takes, and stays below its limit.
//! Absent: the log, topics; forgetting groups by age.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::checkpoint_format::Part;
use super::offsets::Committed;
use crate::limits::{GROUPS_PER_SHARD_MAX, OFFSETS_BYTES_MAX};
use crate::log::position::LogPos;

/// What an offset takes besides its metadata: its slots in two ordered maps.
const OFFSET_BYTES: usize = 160;
/// What a group takes besides its name.
const GROUP_BYTES: usize = 96;

/// A change of one queue's offset: `None` forgets it.
pub(super) type Change = (u32, Option<Committed>);

#[derive(Debug)]
struct Staged {
    group: Arc<str>,
    changes: Vec<Change>,
    bytes: usize,
}

/// By group, by queue, and what is on its way.
#[derive(Debug, Default)]
pub(super) struct OffsetTable {
    groups: BTreeMap<Arc<str>, BTreeMap<u32, Committed>>,
    /// Groups with an offset in a queue.
    by_queue: BTreeMap<u32, BTreeSet<Arc<str>>>,
    staged: BTreeMap<LogPos, Staged>,
    bytes: usize,
}

impl OffsetTable {
    pub(super) fn get(&self, group: &str, queue: u32) -> Option<&Committed> {
        self.groups.get(group)?.get(&queue)
    }

    /// The groups, by name, with the number of queues they have an offset in.
    pub(super) fn groups(&self) -> impl Iterator<Item = (&str, usize)> {
        self.groups.iter().map(|(name, queues)| (&**name, queues.len()))
    }

    pub(super) fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// The offsets of one group, by queue id.
    pub(super) fn of_group(&self, group: &str) -> impl Iterator<Item = (u32, &Committed)> {
        self.groups.get(group).into_iter().flatten().map(|(queue, committed)| (*queue, committed))
    }

    /// Whether there is room for these changes of a group. Forgetting always has room.
    pub(super) fn has_room(&self, group: &str, changes: &[Change]) -> bool {
        let grows = changes.iter().any(|(_, committed)| committed.is_some());
        let group_fits =
            self.groups.len() < GROUPS_PER_SHARD_MAX || self.groups.contains_key(group);
        !grows || (group_fits && self.bytes + staged_bytes(group, changes) <= OFFSETS_BYTES_MAX)
    }

    /// Every group and queue with an offset, also those on their way.
    pub(super) fn keys(&self) -> Vec<(Arc<str>, u32)> {
        let settled = self
            .groups
            .iter()
            .flat_map(|(group, queues)| queues.keys().map(|queue| (Arc::clone(group), *queue)));
        let staged = self.staged.values().flat_map(|staged| {
            staged.changes.iter().map(|(queue, _)| (Arc::clone(&staged.group), *queue))
        });
        let keys: BTreeSet<_> = settled.chain(staged).collect();
        keys.into_iter().collect()
    }

    /// What a reader of the log would know of a group and queue by now: also what has been
    /// appended and has not reached its level.
    pub(super) fn in_log(&self, group: &str, queue: u32) -> Option<&Committed> {
        let staged = self.staged.values().rev().filter(|staged| *staged.group == *group);
        let mut changes = staged.flat_map(|staged| &staged.changes);
        match changes.find(|(changed, _)| *changed == queue) {
            Some((_, change)) => change.as_ref(),
            None => self.get(group, queue),
        }
    }

    /// What a checkpoint says of a group and queue.
    pub(super) fn part(&self, group: &Arc<str>, queue: u32) -> Option<(Vec<u8>, Vec<u8>)> {
        let committed = self.in_log(group, queue)?.clone();
        Some(Part::Offset { group, queue, committed }.encode())
    }

    /// Changes that were appended at `at`.
    pub(super) fn stage(&mut self, at: LogPos, group: &str, changes: Vec<Change>) {
        let bytes = staged_bytes(group, &changes);
        self.bytes += bytes;
        self.staged.insert(at, Staged { group: group.into(), changes, bytes });
    }

    /// The changes appended at `at` are stored as asked, or never will be known to be. Only queues
    /// that are `known` count: a topic may have gone in between.
    pub(super) fn settle(&mut self, at: LogPos, stored: bool, known: impl Fn(u32) -> bool) {
        let Some(settled) = self.staged.remove(&at) else { return };
        self.bytes -= settled.bytes;
        if !stored {
            return;
        }
        for older in self.staged.range_mut(..at).map(|(_, older)| older) {
            if older.group == settled.group {
                let changed = |queue| settled.changes.iter().any(|(changed, _)| *changed == queue);
                older.changes.retain(|(queue, _)| !changed(*queue));
            }
        }
        for (queue, committed) in settled.changes {
            if known(queue) {
                self.apply(&settled.group, queue, committed);
            }
        }
    }

    /// Brings one change into force.
    pub(super) fn apply(&mut self, group: &str, queue: u32, committed: Option<Committed>) {
        let Some(committed) = committed else { return self.forget(group, queue) };
        self.bytes += offset_bytes(&committed);
        // One name in memory, however many queues.
        let name = match self.groups.get_key_value(group) {
            Some((name, _)) => Arc::clone(name),
            None => {
                self.bytes += group_bytes(group);
                group.into()
            }
        };
        match self.groups.entry(Arc::clone(&name)).or_default().insert(queue, committed) {
            Some(before) => self.bytes -= offset_bytes(&before),
            None => {
                self.by_queue.entry(queue).or_default().insert(name);
            }
        }
    }

    fn forget(&mut self, group: &str, queue: u32) {
        self.forget_in_group(group, queue);
        if let Some(groups) = self.by_queue.get_mut(&queue) {
            groups.remove(group);
            if groups.is_empty() {
                self.by_queue.remove(&queue);
            }
        }
    }

    fn forget_in_group(&mut self, group: &str, queue: u32) {
        let Some(queues) = self.groups.get_mut(group) else { return };
        if let Some(before) = queues.remove(&queue) {
            self.bytes -= offset_bytes(&before);
        }
        if queues.is_empty() {
            self.groups.remove(group);
            self.bytes -= group_bytes(group);
        }
    }

    /// Forgets what every group has committed of a queue.
    pub(super) fn drop_queue(&mut self, queue: u32) {
        for group in self.by_queue.remove(&queue).unwrap_or_default() {
            self.forget_in_group(&group, queue);
        }
    }

    /// Forgets queues that are not `known`.
    pub(super) fn retain(&mut self, known: impl Fn(u32) -> bool) {
        let gone: Vec<u32> = self.by_queue.keys().copied().filter(|queue| !known(*queue)).collect();
        for queue in gone {
            self.drop_queue(queue);
        }
    }

    /// Bytes of memory that offsets, groups and commits on their way take, by estimate.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn offset_bytes(committed: &Committed) -> usize {
    OFFSET_BYTES + committed.metadata.len()
}

fn group_bytes(group: &str) -> usize {
    GROUP_BYTES + group.len()
}

fn staged_bytes(group: &str, changes: &[Change]) -> usize {
    let change = |(_, committed): &Change| committed.as_ref().map_or(OFFSET_BYTES, offset_bytes);
    group_bytes(group) + changes.iter().map(change).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at_offset(offset: u64) -> Option<Committed> {
        let metadata = "m".repeat(offset as usize % 5).into();
        Some(Committed { offset, epoch: 0, commit_time_ms: 0, metadata })
    }

    fn offset_of(table: &OffsetTable, group: &str, queue: u32) -> Option<u64> {
        table.get(group, queue).map(|committed| committed.offset)
    }

    /// What the table must say it takes, counted from nothing.
    fn counted_bytes(table: &OffsetTable) -> usize {
        let groups = table.groups.iter().map(|(group, queues)| {
            group_bytes(group) + queues.values().map(offset_bytes).sum::<usize>()
        });
        groups.sum::<usize>() + table.staged.values().map(|staged| staged.bytes).sum::<usize>()
    }

    #[test]
    fn in_force_when_settled() {
        let mut table = OffsetTable::default();
        table.stage(LogPos(1), "g", vec![(7, at_offset(3))]);
        assert_eq!(offset_of(&table, "g", 7), None);
        table.settle(LogPos(1), true, |_| true);
        assert_eq!(offset_of(&table, "g", 7), Some(3));
        table.stage(LogPos(2), "g", vec![(7, at_offset(9)), (8, at_offset(1))]);
        table.settle(LogPos(2), false, |_| true);
        assert_eq!((offset_of(&table, "g", 7), offset_of(&table, "g", 8)), (Some(3), None));
        table.stage(LogPos(3), "g", vec![(7, None)]);
        table.settle(LogPos(3), true, |_| true);
        assert_eq!((table.groups().count(), table.by_queue.len(), table.bytes()), (0, 0, 0));
    }

    #[test]
    fn a_newer_commit_is_not_undone_by_an_older_one() {
        let mut table = OffsetTable::default();
        table.stage(LogPos(1), "g", vec![(7, at_offset(3)), (8, at_offset(4))]);
        table.stage(LogPos(2), "g", vec![(7, None)]);
        table.stage(LogPos(3), "h", vec![(7, at_offset(5))]);
        table.settle(LogPos(2), true, |_| true);
        table.settle(LogPos(1), true, |_| true);
        table.settle(LogPos(3), true, |_| true);
        assert_eq!((offset_of(&table, "g", 7), offset_of(&table, "g", 8)), (None, Some(4)));
        assert_eq!(offset_of(&table, "h", 7), Some(5));
    }

    #[test]
    fn a_full_table_takes_no_more_but_forgets() {
        let mut table = OffsetTable::default();
        let big = |offset| {
            let metadata = "m".repeat(4096).into();
            Some(Committed { offset, epoch: 0, commit_time_ms: 0, metadata })
        };
        let mut queues = 0;
        while table.has_room("g", &[(queues, big(1))]) {
            table.apply("g", queues, big(1));
            queues += 1;
        }
        assert!(table.bytes() <= OFFSETS_BYTES_MAX && queues > 10_000);
        assert!(table.has_room("g", &[(0, None)]));
        table.drop_queue(0);
        assert!(table.has_room("g", &[(0, big(1))]));
        for group in 1..GROUPS_PER_SHARD_MAX {
            table.apply(&format!("{group}"), 1, at_offset(0));
        }
        table.drop_queue(2);
        assert!(!table.has_room("one more", &[(3, at_offset(0))]));
    }

    proptest! {
        #[test]
        fn bytes_are_what_is_there(
            steps in proptest::collection::vec((0..6u8, 0..3u8, 0..4u32, 0..9u64), 1..120),
        ) {
            let mut table = OffsetTable::default();
            let mut waiting = BTreeSet::new();
            for (position, (what, group, queue, offset)) in (1..).zip(steps) {
                let group = group.to_string();
                match what {
                    0..=2 => {
                        let change = (queue, at_offset(offset).filter(|_| what > 0));
                        table.stage(LogPos(position), &group, vec![change]);
                        waiting.insert(position);
                    }
                    3 | 4 => {
                        let at = waiting.iter().nth(offset as usize).copied();
                        if let Some(at) = at {
                            waiting.remove(&at);
                            table.settle(LogPos(at), what == 3, |queue| queue != 3);
                        }
                    }
                    _ => table.drop_queue(queue),
                }
                prop_assert_eq!(table.bytes(), counted_bytes(&table));
                for (queue, groups) in &table.by_queue {
                    prop_assert!(!groups.is_empty() && *queue != 3);
                    for group in groups {
                        prop_assert!(table.get(group, *queue).is_some());
                    }
                }
                let pairs: usize = table.by_queue.values().map(BTreeSet::len).sum();
                prop_assert_eq!(pairs, table.groups().map(|(_, queues)| queues).sum::<usize>());
            }
        }
    }
}
