//! The pipeline against a naive device: which groups a power loss would keep is worked out from
//! first principles, for any interleaving of writes, syncs, wishes and rolls.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// One group on the device.
struct Group {
    op: OpId,
    file: FileId,
    way: Way,
    done: bool,
    stable: bool,
    /// A flush that failed may have lost it.
    doubtful: bool,
}

/// A device with FUA, where a durable write vouches for nothing but itself.
#[derive(Default)]
struct Device {
    groups: Vec<Group>,
    /// What each sync in flight covers: the groups of its file that were written when it began.
    syncs: BTreeMap<OpId, Vec<usize>>,
    ops: u64,
}

impl Device {
    fn op(&mut self) -> OpId {
        self.ops += 1;
        OpId(self.ops)
    }

    fn written(&self) -> u64 {
        self.groups.iter().take_while(|group| group.done).count() as u64
    }

    fn durable(&self) -> u64 {
        self.groups.iter().take_while(|group| group.stable).count() as u64
    }

    fn sync(&mut self, file: FileId) -> OpId {
        let written = |group: &Group| group.file == file && group.done;
        let covered = (0..self.groups.len()).filter(|at| written(&self.groups[*at])).collect();
        let op = self.op();
        self.syncs.insert(op, covered);
        op
    }

    fn write(&mut self, file: FileId, way: Way) -> OpId {
        let op = self.op();
        self.groups.push(Group { op, file, way, done: false, stable: false, doubtful: false });
        op
    }

    /// What is written and not stable never will be.
    fn fail_flush(&mut self) {
        for group in &mut self.groups {
            group.doubtful |= group.done && !group.stable;
        }
    }

    fn in_flight(&self) -> Vec<OpId> {
        let writes = self.groups.iter().filter(|group| !group.done).map(|group| group.op);
        writes.chain(self.syncs.keys().copied()).collect()
    }

    /// An operation ends, on the device and in the pipeline.
    fn complete(&mut self, op: OpId, commit: &mut Commit) {
        assert!(commit.owns(op));
        if let Some(covered) = self.syncs.remove(&op) {
            for at in covered {
                self.groups[at].stable |= !self.groups[at].doubtful;
            }
            assert!(!commit.completed(op) && commit.synced(op));
            return;
        }
        let group = self.groups.iter_mut().find(|group| group.op == op).unwrap();
        group.done = true;
        group.stable |= group.way == Way::Durable;
        assert!(commit.completed(op));
        assert!(!commit.owns(op));
    }
}

/// Does what the pipeline asks for once; `false` if it waits.
fn drive(commit: &mut Commit, device: &mut Device, file: FileId, waits: bool) -> bool {
    match commit.next(waits) {
        Next::Wait => return false,
        Next::Sync(file) => {
            let op = device.sync(file);
            commit.sync_submitted(op, file, Nanos(0));
        }
        Next::Write(way) => {
            assert!(waits);
            let sequence = commit.submitted_sequence() + 1;
            let op = device.write(file, way);
            commit.submitted(op, sequence, file, way, Nanos(0));
        }
    }
    true
}

proptest! {
    #[test]
    fn durable_is_never_more_than_the_device_keeps(
        inflight_max in 1_usize..5,
        flush in prop_oneof![Just(Flush::Dsync), Just(Flush::Fdatasync)],
        steps in vec((0_u8..10, any::<prop::sample::Index>()), 1..200),
    ) {
        let mut commit = Commit::new(0, inflight_max, flush);
        let (mut device, mut file) = (Device::default(), FileId(0));
        let (mut before, mut stopped) = ((0, 0), false);
        for (step, pick) in steps {
            match step {
                0..=4 if stopped => {}
                0..=3 => drop(drive(&mut commit, &mut device, file, true)),
                4 => drop(drive(&mut commit, &mut device, file, false)),
                5 => commit.want_durable(commit.submitted_sequence() + pick.index(2) as u64),
                6 if pick.index(4) == 0 => file.0 += 1,
                6 if pick.index(8) == 1 => {
                    device.fail_flush();
                    let lost = device.groups.iter().any(|group| group.doubtful);
                    stopped = commit.flush_failed();
                    prop_assert!(stopped || !lost);
                }
                _ => {
                    let ops = device.in_flight();
                    if !ops.is_empty() {
                        device.complete(ops[pick.index(ops.len())], &mut commit);
                    }
                }
            }
            prop_assert_eq!(commit.written(), device.written());
            prop_assert!(commit.durable() <= device.durable());
            prop_assert!(commit.durable() <= commit.written());
            prop_assert!(commit.written() <= commit.submitted_sequence());
            prop_assert!(before.0 <= commit.written() && before.1 <= commit.durable());
            prop_assert!(commit.inflight() <= FULL_GROUPS_FACTOR * inflight_max);
            before = (commit.written(), commit.durable());
        }
        if stopped {
            return Ok(());
        }
        // Whoever wants it gets it: everything becomes durable, with no further group.
        let newest = commit.submitted_sequence();
        commit.want_durable(newest);
        for _ in 0..1000 {
            if !drive(&mut commit, &mut device, file, false) {
                match device.in_flight().first() {
                    Some(op) => device.complete(*op, &mut commit),
                    None => break,
                }
            }
        }
        prop_assert_eq!((commit.written(), commit.durable()), (newest, newest));
        prop_assert!(!commit.durable_in_flight() && commit.oldest().is_none());
    }
}
