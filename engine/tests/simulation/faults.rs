//! Failing devices: whatever fails, everybody is answered, nobody is told "stored" who should not
//! be, and what was acknowledged is there when a healthy machine takes over.

use engine::io::sim::{
    Config, CrashImage, CrashPolicy, EIO, ENOSPC, Fault, FaultPlan, OpKind, Random,
};
use engine::io::{Disk, Env, FileName, Nanos};
use engine::level::AckLevel;
use engine::log::position::LogPos;
use engine::log::recover::OpenError;
use engine::log::writer::{AppendError, Flush};
use engine::shard::{Effect, Fetch, FetchError, ProduceError, Token};

use crate::checks;
use crate::history::{Crash, History, Queue};
use crate::node::{Machines, Node, options};
use crate::workload::{self, Load, MIXED};

pub(crate) const SEGMENT_BYTES: u64 = 64 << 10;
pub(crate) const QUEUE: Queue = (1, 0);

pub(crate) fn machines() -> Machines {
    Machines::start(&[CrashImage::default()], Config::default(), 1)
}

fn again(images: &[CrashImage]) -> Machines {
    Machines::start(images, Config::default(), 2)
}

fn boot<'a>(machines: &'a mut Machines) -> Node<'a> {
    boot_with(machines, SEGMENT_BYTES)
}

pub(crate) fn boot_with<'a>(machines: &'a mut Machines, segment_bytes: u64) -> Node<'a> {
    Node::boot(machines, &options(segment_bytes, 3)).unwrap()
}

pub(crate) fn faults<'a>(node: &'a mut Node<'_>) -> &'a mut FaultPlan {
    node.disk(0).faults()
}

/// A node with one topic of one queue.
pub(crate) fn with_topic<'a>(machines: &'a mut Machines, history: &mut History) -> Node<'a> {
    with_topic_on(boot(machines), history)
}

pub(crate) fn with_topic_on<'a>(mut node: Node<'a>, history: &mut History) -> Node<'a> {
    node.create_topic(history, "topic", 1, AckLevel::Durable);
    assert!(node.settle(history));
    node
}

pub(crate) fn answer(history: &History, token: u64) -> Result<u64, ProduceError> {
    let answers = &history.sent[&token].answers;
    assert_eq!(answers.len(), 1, "answered once");
    answers[0]
}

/// Stores a batch durably; when the next segment has to come first, it is sent again.
pub(crate) fn store(node: &mut Node<'_>, history: &mut History, value_bytes: usize) -> u64 {
    for _ in 0..2 {
        let token = node.produce(history, QUEUE, AckLevel::Durable, (1, value_bytes));
        assert!(node.settle(history));
        match answer(history, token) {
            Err(ProduceError::Append(AppendError::Busy)) => {}
            stored => return stored.unwrap(),
        }
    }
    panic!("busy though nothing happens");
}

pub(crate) fn fetch(
    node: &mut Node<'_>,
    offset: u64,
    bytes_max: u32,
) -> Result<Vec<u64>, FetchError> {
    let wanted = Fetch {
        token: Token(0),
        queue: 0,
        offset,
        epoch: 0,
        bytes_min: 1,
        bytes_max,
        wait_nanos: 0,
    };
    let result = node.fetch_effect(QUEUE, wanted);
    let Effect::Fetched { result, .. } = result else { panic!("{result:?}") };
    Ok(crate::survey::entries(&result?).iter().map(|entry| entry.base_offset).collect())
}

/// After a crash a healthy machine holds what is owed and takes more.
pub(crate) fn take_over(history: &mut History, images: &[CrashImage]) -> Result<(), String> {
    let mut machines = again(images);
    let mut node = Node::boot(&mut machines, &options(SEGMENT_BYTES, 3))
        .map_err(|error| format!("cannot open: {error}"))?;
    let survey = node.survey()?;
    checks::after_restart(history, &survey)?;
    history.found(&survey);
    if survey.id("topic").is_some() {
        for _ in 0..8 {
            store(&mut node, history, 20_000);
        }
    }
    checks::answered_once::check(history)
}

/// One fault, at the `nth` operation of a kind, under load.
fn one_fault(flush: Flush, kind: OpKind, nth: u64, fault: Fault) -> Result<(), String> {
    let (mut machines, mut history) = (machines(), History::default());
    let mut options = options(SEGMENT_BYTES, 3);
    options.writer.flush = flush;
    let node = Node::boot(&mut machines, &options).map_err(|error| error.to_string())?;
    let mut node = with_topic_on(node, &mut history);
    let plan = faults(&mut node);
    let at = plan.seen(kind) + nth;
    plan.nth(kind, at, fault);
    let load = Load {
        steps: 120,
        requests_max: 4,
        value_bytes_max: 24 << 10,
        topics_max: 2,
        levels: MIXED,
        numbered: true,
        limited: false,
        pauses: false,
    };
    workload::run(&mut node, &mut history, &mut Random::new(nth), &load);
    let poisoned = node.broker.poison().is_some();
    let late: Vec<u64> = (0..2)
        .map(|n| {
            node.produce(&mut history, QUEUE, [AckLevel::Written, AckLevel::Durable][n], (1, 50))
        })
        .collect();
    if !node.settle(&mut history) {
        return Err("never comes to rest".to_owned());
    }
    checks::answered_once::check(&history)?;
    for sent in history.sent.values() {
        if sent.answers.is_empty() && sent.ack != AckLevel::None {
            return Err(format!("never answered: {sent:?}"));
        }
    }
    for token in late {
        let answer = answer(&history, token);
        let deleted = history.topics[0].delete_asked;
        if poisoned
            && !deleted
            && !matches!(answer, Err(ProduceError::Append(AppendError::Poisoned { .. })))
        {
            return Err(format!("a poisoned log answered {answer:?}"));
        }
    }
    if poisoned && node.broker.shards()[0].durable_in_flight() {
        return Err("a poisoned log keeps the pump polling".to_owned());
    }
    node.survey()?;
    history.crash(Crash::Power);
    for policy in [|_| CrashPolicy::LoseAll, |_| CrashPolicy::KeepAll, CrashPolicy::Seeded] {
        let images = machines.images(policy);
        take_over(&mut history.clone(), &images)?;
    }
    Ok(())
}

#[test]
fn any_single_fault_under_load() {
    let kinds = [
        (OpKind::Write, 25),
        (OpKind::Sync, 8),
        (OpKind::Zero, 4),
        (OpKind::Create, 3),
        (OpKind::Rename, 3),
        (OpKind::SyncDir, 3),
    ];
    let of = |flush| kinds.map(|(kind, count)| (flush, kind, count));
    // The two halves of a durable write that is a write and an fdatasync.
    let halves = [(Flush::Fdatasync, OpKind::Write, 25), (Flush::Fdatasync, OpKind::Sync, 25)];
    for (flush, kind, count) in of(Flush::Dsync).into_iter().chain(halves) {
        for fault in [Fault::Fail(EIO), Fault::Fail(ENOSPC), Fault::Stuck] {
            for nth in 1..=count {
                one_fault(flush, kind, nth, fault)
                    .unwrap_or_else(|what| panic!("{flush:?} {kind:?} {nth}, {fault:?}: {what}"));
            }
        }
    }
}

#[test]
fn a_failed_write_poisons_and_reads_go_on() {
    let (mut machines, mut history) = (machines(), History::default());
    let mut node = with_topic(&mut machines, &mut history);
    store(&mut node, &mut history, 100);
    faults(&mut node).next(OpKind::Write, Fault::Fail(EIO));
    let waiters: Vec<_> = [AckLevel::Written, AckLevel::Durable]
        .map(|ack| node.produce(&mut history, QUEUE, ack, (1, 100)))
        .into();
    assert!(node.settle(&mut history));
    for token in waiters {
        let error = answer(&history, token).unwrap_err();
        let ProduceError::Append(AppendError::Poisoned { errno, .. }) = error else {
            panic!("{error:?}")
        };
        assert_eq!(errno, EIO);
    }
    assert!(node.broker.poison().is_some());
    assert_eq!(fetch(&mut node, 0, 1 << 20), Ok(vec![0]));
}

#[test]
fn a_stuck_write_times_out_and_is_never_reported_as_stored() {
    for (kind, fua) in [(OpKind::Write, false), (OpKind::Write, true), (OpKind::Sync, false)] {
        let mut history = History::default();
        let config = Config { fua, ..Config::default() };
        let mut machines = Machines::start(&[CrashImage::default()], config, 1);
        let mut node = with_topic(&mut machines, &mut history);
        if kind == OpKind::Sync {
            // A plain group for the durable one to wait for: its own topic shows `written`.
            node.create_topic(&mut history, "plain", 1, AckLevel::Written);
            node.settle(&mut history);
            node.produce(&mut history, (2, 0), AckLevel::Written, (1, 100));
            node.settle(&mut history);
        }
        faults(&mut node).next(kind, Fault::Stuck);
        let asked = node.now();
        let tokens: Vec<_> =
            (0..3).map(|_| node.produce(&mut history, QUEUE, AckLevel::Durable, (1, 90))).collect();
        assert!(node.settle(&mut history));
        for token in tokens {
            assert_eq!(answer(&history, token), Err(ProduceError::FlushTimeout));
        }
        let waited = node.now().since(asked);
        assert!((2_000_000_000..2_100_000_000).contains(&waited), "{waited}");
        assert!(node.broker.poison().is_some());
    }
}

/// A fill in the way of a group never ends: the group's producers are told in time.
#[test]
fn a_stuck_fill_times_out_too() {
    let mut machines = machines();
    let mut history = History::default();
    let mut node = Node::boot(&mut machines, &options(8 << 20, 3)).unwrap();
    node.create_topic(&mut history, "topic", 1, AckLevel::Durable);
    faults(&mut node).next(OpKind::Zero, Fault::Stuck);
    node.settle(&mut history);
    let mut timed_out = false;
    for _ in 0..8 {
        let token = node.produce(&mut history, QUEUE, AckLevel::Durable, (1, 900 << 10));
        assert!(node.settle(&mut history));
        timed_out |= answer(&history, token) == Err(ProduceError::FlushTimeout);
    }
    assert!(timed_out && node.broker.poison().is_some());
}

/// The zeros ahead of the log are flushed, too. If that fails, groups that were only written may
/// be lost, and no later flush makes them good; those that are durable have nothing to fear.
#[test]
fn a_failed_flush_of_zeros_stops_a_log_with_groups_that_are_only_written() {
    for level in [AckLevel::Written, AckLevel::Durable] {
        let (mut machines, mut history) = (machines(), History::default());
        let mut node = with_topic(&mut machines, &mut history);
        node.create_topic(&mut history, "written", 1, AckLevel::Written);
        assert!(node.settle(&mut history));
        faults(&mut node).always(OpKind::Sync, Fault::Fail(EIO));
        let before = faults(&mut node).seen(OpKind::Sync);
        for _ in 0..12 {
            node.produce(&mut history, (2, 0), level, (1, 20_000));
            node.settle(&mut history);
        }
        assert!(faults(&mut node).seen(OpKind::Sync) > before, "zeros are flushed");
        let poison = node.broker.shards()[0].poison().map(|(_, errno)| errno);
        assert_eq!(poison, (level == AckLevel::Written).then_some(EIO));
        history.crash(Crash::Power);
        let images = machines.images(|_| CrashPolicy::LoseAll);
        take_over(&mut history, &images).unwrap();
    }
}

#[test]
fn a_full_disk_is_told_and_space_is_used_again() {
    for kind in [OpKind::Create, OpKind::Zero] {
        let (mut machines, mut history) = (machines(), History::default());
        let mut node = with_topic(&mut machines, &mut history);
        faults(&mut node).always(kind, Fault::Fail(ENOSPC));
        let mut full = 0;
        for _ in 0..12 {
            let token = node.produce(&mut history, QUEUE, AckLevel::Durable, (1, 20_000));
            // Retries of the preparation go on for ever: no settling.
            for _ in 0..50 {
                let end = node.turn(&mut history);
                node.advance_to_next(end.wake_at);
            }
            match answer(&history, token) {
                Ok(_) => assert_eq!(full, 0, "full stays full"),
                Err(ProduceError::Append(AppendError::DiskFull { errno })) => {
                    assert_eq!(errno, ENOSPC);
                    full += 1;
                }
                Err(ProduceError::Append(AppendError::Busy)) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        // Without zeros ahead of it the log goes on in unwritten space; without a file it cannot.
        assert_eq!(full > 0, kind == OpKind::Create);
        assert!(node.broker.poison().is_none());
        faults(&mut node).clear();
        assert!(node.settle(&mut history));
        for _ in 0..12 {
            store(&mut node, &mut history, 20_000);
        }
        history.crash(Crash::Power);
        let images = machines.images(|_| CrashPolicy::LoseAll);
        take_over(&mut history, &images).unwrap();
    }
}

/// The topic with `count` batches of 3000 bytes, on a disk that has just been started.
fn cold(count: u64) -> (History, CrashImage) {
    let (mut machines, mut history) = (machines(), History::default());
    let mut node = with_topic(&mut machines, &mut history);
    for offset in 0..count {
        assert_eq!(store(&mut node, &mut history, 3000), offset);
    }
    history.crash(Crash::Power);
    let image = machines.images(|_| CrashPolicy::LoseAll).remove(0);
    (history, image)
}

/// Where a batch's value begins in segment 0.
fn find_value(image: &CrashImage, history: &History, token: u64) -> u64 {
    let bytes = image.read(FileName::Segment(0), 0, SEGMENT_BYTES as usize).unwrap();
    let value = history.sent[&token].shape.value(0);
    bytes.windows(64).position(|window| window == &value[..64]).unwrap() as u64
}

#[test]
fn a_failed_read_is_told_with_its_position() {
    let (_, image) = cold(6);
    let mut machines = again(&[image]);
    let mut node = boot(&mut machines);
    faults(&mut node).next(OpKind::Read, Fault::Fail(EIO));
    assert_eq!(fetch(&mut node, 2, 1 << 20), Ok(vec![2]), "the first entry alone is read again");
    faults(&mut node).always(OpKind::Read, Fault::Fail(EIO));
    let error = fetch(&mut node, 2, 1 << 20).unwrap_err();
    let FetchError::Read { at, errno } = error else { panic!("{error:?}") };
    assert_eq!(errno, EIO);
    assert!(at > LogPos(u64::from(engine::io::BLOCK_BYTES)));
    faults(&mut node).clear();
    assert_eq!(fetch(&mut node, 2, 1 << 20), Ok(vec![2, 3, 4, 5]));
}

#[test]
fn a_flipped_bit_in_cold_data_hides_one_entry() {
    let (history, image) = cold(6);
    let tokens: Vec<u64> = history.sent.keys().copied().collect();
    let value = find_value(&image, &history, tokens[3]);
    for flipped in [value + 100, value - 90] {
        // In the value, and in the header of the batch.
        let mut machines = again(std::slice::from_ref(&image));
        let mut node = boot(&mut machines);
        node.disk(0).flip_bit(FileName::Segment(0), flipped, 3);
        assert_eq!(fetch(&mut node, 0, 1 << 20), Ok(vec![0, 1, 2]));
        let error = fetch(&mut node, 3, 1 << 20).unwrap_err();
        let FetchError::Damaged { at } = error else { panic!("{error:?}") };
        assert!(at.0 < value && value - at.0 < 200, "{at} is not the entry before {value}");
        assert_eq!(fetch(&mut node, 4, 1 << 20), Ok(vec![4, 5]));
    }
}

/// Bits are flipped all over a stopped log. Whatever is hit: the log opens with everything owed,
/// or says where it is damaged; it is never silently cut short.
#[test]
fn damage_before_a_restart_is_reported() {
    let (mut history, mut image) = cold(8);
    // A second life, so that the superblock and the watermarks vouch for all of the first.
    {
        let mut machines = again(std::slice::from_ref(&image));
        let mut node = boot(&mut machines);
        history.found(&node.survey().unwrap());
        drop(node);
        machines.drain();
        image = machines.images(|_| CrashPolicy::LoseAll).remove(0);
    }
    let mut damaged = 0;
    let files = [(FileName::Segment(0), 40_000), (FileName::Superblock, 8192)];
    for (name, end) in files {
        for (offset, bit) in (0..end).step_by(53).zip((0..8).cycle()) {
            let mut image = image.clone();
            image.flip_bit(name, offset, bit);
            let mut machines = again(&[image]);
            let mut node = match Node::boot(&mut machines, &options(SEGMENT_BYTES, 3)) {
                Ok(node) => node,
                Err(OpenError::Damaged { .. }) => {
                    damaged += 1;
                    continue;
                }
                Err(error) => panic!("{name} {offset}: {error}"),
            };
            let survey = node.survey().unwrap();
            checks::after_restart(&history, &survey)
                .unwrap_or_else(|what| panic!("{name} {offset} bit {bit}: {what}"));
        }
    }
    assert!(damaged > 300, "most of the file is data: {damaged}");
}

/// The same within one life: groups written later vouch for those before them.
#[test]
fn a_later_watermark_proves_damage() {
    let (history, image) = cold(8);
    let tokens: Vec<u64> = history.sent.keys().copied().collect();
    for token in &tokens[..6] {
        let mut image = image.clone();
        image.flip_bit(FileName::Segment(0), find_value(&image, &history, *token) + 5, 0);
        let mut machines = again(&[image]);
        let Err(error) = Node::boot(&mut machines, &options(SEGMENT_BYTES, 3)) else {
            panic!("silently cut short at batch {token}")
        };
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    }
}

#[test]
fn a_clock_that_goes_back_does_not_take_store_times_along() {
    let (mut machines, mut history) = (machines(), History::default());
    let mut node = with_topic(&mut machines, &mut history);
    store(&mut node, &mut history, 20);
    node.advance(10_000_000_000);
    store(&mut node, &mut history, 20);
    let newest = node.seek(QUEUE, 0).unwrap().1 + 10_000;
    history.crash(Crash::Power);
    let images = machines.images(|_| CrashPolicy::LoseAll);
    let mut machines = again(&images);
    assert!(machines.0[0].now() < Nanos(10_000_000_000), "the wall clock starts again");
    machines.0[0].disk().flush();
    let mut node = boot(&mut machines);
    store(&mut node, &mut history, 20);
    let (offset, stored) = node.seek(QUEUE, newest).unwrap();
    assert!(offset <= 2 && stored >= newest, "{offset} {stored} {newest}");
}
