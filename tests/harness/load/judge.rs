//! The rules, on what was read: once, in order, byte for byte; nothing that was promised is missing
//! and nothing is there that was never sent.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use net::client::Message;

use super::promises::{Commit, Given};
use crate::harness::verify::origin;

/// A queue as it is.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) messages: Vec<Message>,
}

/// What a check has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Messages that are there.
    pub(crate) messages: u64,
    /// Those of them that were promised.
    pub(crate) promised: u64,
    /// Those that readers had seen.
    pub(crate) seen: u64,
    /// Messages of plain producers that were promised and have left the log since the last check.
    pub(crate) expired: u64,
}

impl AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.promised += other.promised;
        self.seen += other.seen;
        self.expired += other.expired;
    }
}

/// From the queue's start to its end, without a gap.
fn complete(found: &Found, expires: bool) {
    assert!(expires || found.start == 0, "it begins at {}, and nothing expires", found.start);
    let mut expected = found.start;
    for message in &found.messages {
        assert_eq!(message.offset, expected, "offsets without gaps");
        expected += 1;
    }
    assert_eq!(expected, found.end, "the queue's end");
}

/// A queue of plain producers; what has expired is forgotten.
pub(super) fn messages(
    found: &Found,
    queue: u16,
    given: &mut BTreeMap<(u16, u64), Given>,
    expires: bool,
    value: impl Fn(usize, u64) -> Vec<u8>,
) -> Seen {
    complete(found, expires);
    let before = given.len();
    given.retain(|(of, offset), _| *of != queue || *offset >= found.start);
    let expired = (before - given.len()) as u64;
    let mut last = BTreeMap::new();
    let mut promised = 0;
    for message in &found.messages {
        let at = message.offset;
        let bytes = message.value.as_deref().expect("a value");
        let (producer, sequence) = origin(bytes);
        let producer = producer as usize;
        assert!(bytes == value(producer, sequence), "offset {at}: not what {producer} sent");
        // Rising numbers of each producer: in order, and none twice.
        if let Some(before) = last.insert(producer, sequence) {
            assert!(before < sequence, "offset {at}: {producer}/{sequence} after {before}");
        }
        if let Some(given) = given.get(&(queue, at)) {
            let told = (given.producer, given.sequence);
            assert_eq!((producer, sequence), told, "offset {at} was told to somebody else");
            promised += 1;
        }
    }
    let missing = given.range((queue, found.end)..=(queue, u64::MAX)).next();
    assert_eq!(missing.map(|(place, given)| (place, *given)), None, "the end is {}", found.end);
    Seen { messages: found.messages.len() as u64, promised, seen: 0, expired }
}

/// The queue of an idempotent producer: its n-th message at offset n.
pub(super) fn once(
    found: &Found,
    acked: u64,
    expires: bool,
    value: impl Fn(u64) -> Vec<u8>,
) -> Seen {
    complete(found, expires);
    assert!(found.end >= acked, "{acked} were acknowledged, the end is {}", found.end);
    for message in &found.messages {
        let at = message.offset;
        assert!(message.value.as_deref() == Some(&value(at)[..]), "offset {at}: not the {at}th");
    }
    let promised = acked.saturating_sub(found.start);
    Seen { messages: found.messages.len() as u64, promised, seen: 0, expired: 0 }
}

/// What readers have seen is there, the same at the same offsets; what has expired is forgotten.
/// How much that is.
pub(super) fn seen(found: &Found, queue: u16, seen: &mut BTreeMap<(u16, u64), Given>) -> u64 {
    seen.retain(|(of, offset), _| *of != queue || *offset >= found.start);
    let mut count = 0;
    for (&(_, at), given) in seen.range((queue, 0)..=(queue, u64::MAX)) {
        let there = found.messages.get((at - found.start) as usize);
        let there = there.and_then(|message| message.value.as_deref()).map(origin);
        let was = Some((given.producer as u64, given.sequence));
        assert_eq!(there, was, "what was seen at offset {at}; {}..{}", found.start, found.end);
        count += 1;
    }
    count
}

/// A group's offset and its metadata: no commit that was acknowledged is undone, none is made up.
pub(super) fn committed(found: Option<(u64, &str)>, commits: &[Commit], end: u64) {
    let acked = commits.iter().filter(|commit| commit.acked.is_some());
    let least = acked.map(|commit| commit.number).max();
    let asked = found.map(|(offset, metadata)| {
        let asked = commits.iter().find(|commit| commit.metadata() == metadata);
        let asked = asked.unwrap_or_else(|| panic!("nobody ever sent {metadata:?}"));
        assert_eq!(offset, asked.offset, "committed with {metadata:?}");
        assert!(offset <= end, "committed: {offset}, the queue ends at {end}");
        asked.number
    });
    assert!(asked >= least, "commit {asked:?} is there, {least:?} was acknowledged");
}

/// The rules must be able to find each fault.
#[test]
fn every_fault_is_noticed() {
    use crate::harness::verify::value;

    let sent = |producer: usize, sequence| value(producer, sequence, 10);
    let message = |offset, value: Vec<u8>| Message {
        queue: 0,
        offset,
        timestamp_ms: 0,
        store_timestamp_ms: 0,
        key: None,
        value: Some(value.into()),
        headers: Vec::new(),
    };
    let all = (5..9).map(|offset| message(offset, sent(0, offset))).collect();
    let good = Found { start: 5, end: 9, messages: all };
    let given = (3..9).map(|sequence| ((0, sequence), Given { at: 0, producer: 0, sequence }));
    let given: BTreeMap<_, _> = given.collect();
    let plain = |found: &Found, expires| messages(found, 0, &mut given.clone(), expires, sent);
    let all = Seen { messages: 4, promised: 4, seen: 0, expired: 2 };
    assert_eq!(plain(&good, true), all);
    let idempotent = |found: &Found, acked| once(found, acked, true, |sequence| sent(0, sequence));
    assert_eq!(idempotent(&good, 8), Seen { messages: 4, promised: 3, seen: 0, expired: 0 });

    fn fails<R>(rule: impl Fn() -> R) -> bool {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(rule)).is_err()
    }
    let changed = |change: &dyn Fn(&mut Found)| {
        let mut found = good.clone();
        change(&mut found);
        (fails(|| plain(&found, true)), fails(|| idempotent(&found, 8)))
    };
    assert_eq!(changed(&|_| {}), (false, false));
    assert!(fails(|| plain(&good, false)), "nothing may have expired");
    assert!(fails(|| idempotent(&good, 10)), "the last one is lost");
    let lost = |found: &mut Found| {
        found.messages.pop();
        found.end -= 1;
    };
    assert_eq!(changed(&lost), (true, false), "the last one is lost");
    assert_eq!(changed(&|found| drop(found.messages.pop())), (true, true), "and the end is not");
    assert_eq!(changed(&|found| drop(found.messages.remove(1))), (true, true), "a gap");
    let other = |found: &mut Found| found.messages[1].value = Some(value(0, 6, 9).into());
    assert_eq!(changed(&other), (true, true), "other bytes");
    let twice = |found: &mut Found| {
        found.messages.push(message(9, sent(0, 8)));
        found.end = 10;
    };
    assert_eq!(changed(&twice), (true, true), "one twice");
    let foreign = |found: &mut Found| found.messages[1].value = Some(sent(1, 6).into());
    assert_eq!(changed(&foreign), (true, true), "another one's message at an offset");

    let all_seen = |found: &Found| seen(found, 0, &mut given.clone());
    assert_eq!(all_seen(&good), 4);
    let noticed = |change: &dyn Fn(&mut Found)| {
        let mut found = good.clone();
        change(&mut found);
        fails(|| all_seen(&found))
    };
    assert!(noticed(&lost), "the last one that was seen is lost");
    assert!(noticed(&foreign), "another one where one was seen");
    assert!(!noticed(&twice), "what nobody has seen yet");

    let commit = |number, offset, acked| Commit { number, offset, asked: 0, acked };
    let commits = [commit(1, 3, None), commit(2, 3, Some(0)), commit(3, 4, None)];
    let told: Vec<_> = commits.iter().map(Commit::metadata).collect();
    let [early, acked, late] = [&*told[0], &*told[1], &*told[2]];
    committed(Some((3, acked)), &commits, 9);
    committed(Some((4, late)), &commits, 9);
    committed(None, &commits[2..], 9);
    let wrong =
        [(3, early), (3, late), (4, acked), (3, ""), (4, "4")].map(|found| (Some(found), 9));
    for (found, end) in wrong.into_iter().chain([(None, 9), (Some((4, late)), 3)]) {
        assert!(fails(|| committed(found, &commits, end)), "{found:?} of {end}");
    }
}
