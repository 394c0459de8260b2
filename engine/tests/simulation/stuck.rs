//! Devices that do not answer: whoever needs what is stuck is told in time, nobody else suffers,
//! and a log that has given up submits nothing more.

use engine::io::sim::{CrashPolicy, EIO, Fault, OpKind};
use engine::level::AckLevel;
use engine::log::writer::AppendError;
use engine::shard::ProduceError;

use crate::faults::{QUEUE, SEGMENT_BYTES, answer, faults, fetch, machines, store, take_over};
use crate::faults::{boot_with, with_topic};
use crate::history::{Crash, History};
use crate::node::Node;

const DEADLINE_NANOS: u64 = 2_000_000_000;
const ETIMEDOUT: i32 = 110;

/// What makes the successor of a segment, in order.
const STEPS: [OpKind; 4] = [OpKind::Create, OpKind::Write, OpKind::Rename, OpKind::SyncDir];

/// Lets this step of preparing the successor be stuck, and stores until it is. When it began.
fn stick(node: &mut Node<'_>, history: &mut History, step: OpKind) -> u64 {
    if step == OpKind::Write {
        // The header's: the only one while the file is being made and nobody produces.
        faults(node).next(OpKind::Create, Fault::LateNs(100_000_000));
        let made = faults(node).seen(OpKind::Create);
        while faults(node).seen(OpKind::Create) == made {
            node.produce(history, QUEUE, AckLevel::Durable, (1, 3000));
            while node.disk(0).in_flight() > 1 {
                node.turn(history);
                node.advance_to_next(None);
            }
            node.turn(history);
        }
    }
    let before = faults(node).seen(step);
    faults(node).next(step, Fault::Stuck);
    while faults(node).seen(step) == before {
        if step != OpKind::Write {
            node.produce(history, QUEUE, AckLevel::Durable, (1, 3000));
        }
        node.turn(history);
        node.advance_to_next(None);
    }
    node.now().0
}

/// Produces until a batch is refused, and says why; the others are stored.
fn until_refused(node: &mut Node<'_>, history: &mut History, value_bytes: usize) -> ProduceError {
    for _ in 0..SEGMENT_BYTES / 3000 {
        let token = node.produce(history, QUEUE, AckLevel::Durable, (1, value_bytes));
        node.turn(history);
        while history.sent[&token].answers.is_empty() {
            node.advance_to_next(None);
            node.turn(history);
        }
        if let Err(error) = answer(history, token) {
            return error;
        }
    }
    panic!("a segment holds more than there is room for")
}

fn is_poisoned(error: ProduceError) -> bool {
    let ProduceError::Append(AppendError::Poisoned { errno, .. }) = error else { return false };
    errno.0 == ETIMEDOUT
}

#[test]
fn a_stuck_successor_that_is_needed_poisons_in_time() {
    for step in STEPS {
        let (mut machines, mut history) = (machines(), History::default());
        let mut node = with_topic(&mut machines, &mut history);
        let began = stick(&mut node, &mut history, step);
        let error = until_refused(&mut node, &mut history, 3000);
        assert_eq!(error, ProduceError::Append(AppendError::Busy), "{step:?}");
        assert!(node.broker.poison().is_none(), "{step:?}: it still has time");
        assert!(node.settle(&mut history));
        let waited = node.now().0 - began;
        let late = DEADLINE_NANOS + 200_000_000;
        assert!((DEADLINE_NANOS - 1_000_000..late).contains(&waited), "{step:?}: {waited}");
        assert!(node.broker.poison().is_some(), "{step:?}");
        assert!(is_poisoned(until_refused(&mut node, &mut history, 3000)), "{step:?}");
        assert!(!fetch(&mut node, 0, 1 << 20).unwrap().is_empty(), "reads go on");
        history.crash(Crash::Power);
        for policy in [|_| CrashPolicy::LoseAll, |_| CrashPolicy::KeepAll, CrashPolicy::Seeded] {
            let images = machines.images(policy);
            take_over(&mut history.clone(), &images).unwrap();
        }
    }
}

#[test]
fn a_stuck_successor_that_nobody_needs_is_waited_for() {
    for step in STEPS {
        let (mut machines, mut history) = (machines(), History::default());
        let mut node = with_topic(&mut machines, &mut history);
        stick(&mut node, &mut history, step);
        assert!(node.settle(&mut history));
        node.advance(10 * DEADLINE_NANOS);
        store(&mut node, &mut history, 100);
        assert!(node.broker.poison().is_none(), "{step:?}");
        // It has had its time when somebody comes who needs it.
        let error = until_refused(&mut node, &mut history, 53_000);
        assert_eq!(error, ProduceError::Append(AppendError::Busy), "{step:?}");
        assert!(node.broker.poison().is_some(), "{step:?}");
    }
}

/// A successor that is late, but not too late: producers come again and are stored.
#[test]
fn a_late_successor_is_only_late() {
    for step in STEPS {
        let (mut machines, mut history) = (machines(), History::default());
        let mut node = with_topic(&mut machines, &mut history);
        faults(&mut node).next(step, Fault::LateNs(DEADLINE_NANOS - 100_000_000));
        for _ in 0..60 {
            store(&mut node, &mut history, 3000);
        }
        assert!(node.broker.poison().is_none(), "{step:?}");
    }
}

/// Operations submitted so far that change something.
fn submitted(node: &mut Node<'_>) -> u64 {
    let kinds = [OpKind::Create, OpKind::Write, OpKind::Sync, OpKind::Zero, OpKind::Rename];
    let kinds = kinds.into_iter().chain([OpKind::SyncDir, OpKind::Remove, OpKind::Close]);
    kinds.map(|kind| faults(node).seen(kind)).sum()
}

/// The log gives up while zeros, or the successor, are on their way: they end, and nothing
/// follows them. Nor does a group that was waiting to be written.
#[test]
fn a_poisoned_log_submits_nothing() {
    for (background, segment_bytes) in [(OpKind::Zero, 8 << 20), (OpKind::Create, SEGMENT_BYTES)] {
        for fault in [Fault::Stuck, Fault::Fail(EIO)] {
            let (mut machines, mut history) = (machines(), History::default());
            let mut node = boot_with(&mut machines, segment_bytes);
            node.create_topic(&mut history, "topic", 1, AckLevel::Durable);
            let before = faults(&mut node).seen(background);
            faults(&mut node).next(background, Fault::LateNs(3 * DEADLINE_NANOS));
            while faults(&mut node).seen(background) == before {
                node.turn(&mut history);
                node.advance_to_next(None);
                node.produce(&mut history, QUEUE, AckLevel::Durable, (1, 3000));
            }
            faults(&mut node).next(OpKind::Write, fault);
            for _ in 0..2 {
                node.produce(&mut history, QUEUE, AckLevel::Durable, (1, 100));
                node.turn(&mut history);
            }
            let at = node.now();
            while node.broker.poison().is_none() {
                assert!(node.now().since(at) <= DEADLINE_NANOS + 1_000_000);
                // Somebody comes in the very turn in which it gives up.
                let before = submitted(&mut node);
                let token = node.produce(&mut history, QUEUE, AckLevel::Durable, (1, 100));
                let end = node.turn(&mut history);
                if node.broker.poison().is_some() {
                    assert_eq!(submitted(&mut node), before, "{background:?} {fault:?}");
                    assert!(answer(&history, token).is_err());
                } else {
                    node.advance_to_next(end.wake_at);
                }
            }
            let before = submitted(&mut node);
            assert!(node.disk(0).in_flight() > 0, "it is still on its way");
            assert!(node.settle(&mut history));
            let left = usize::from(fault == Fault::Stuck);
            assert_eq!(node.disk(0).in_flight(), left, "{background:?} {fault:?}");
            assert_eq!(submitted(&mut node), before, "{background:?} {fault:?}");
        }
    }
}
