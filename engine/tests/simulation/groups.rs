//! Consumer groups in a simulation: what was committed, what is owed, what is shown.

use std::collections::BTreeMap;

use engine::broker::groups::{CommitAnswer, TopicOffset};
use engine::io::sim::Random;
use engine::level::AckLevel;
use engine::limits::OFFSET_METADATA_BYTES_MAX;

use crate::history::{Crash, History, Other, Queue};
use crate::node::Node;
use crate::survey::Survey;

/// A group's name and a queue.
pub(crate) type Key = (String, Queue);

/// An offset, and what the client wrote beside it.
pub(crate) type Committed = (u64, String);

/// A commit; `None` forgets.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) what: Option<Committed>,
    ack: AckLevel,
    life: u32,
    token: u64,
    acknowledged: bool,
}

/// All commits, in the order in which they were asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Commits {
    pub(crate) asked: BTreeMap<Key, Vec<Asked>>,
    /// The one that must survive, or any later one, by its place in `asked`.
    pub(crate) owed: BTreeMap<Key, usize>,
    /// The same, even if the power fails before a restart has made the rest durable.
    sure: BTreeMap<Key, usize>,
}

impl Commits {
    pub(crate) fn answered(&mut self, answer: &CommitAnswer) {
        let acknowledged = answer.results.iter().all(Result::is_ok);
        for asked in self.asked.values_mut().flatten() {
            if asked.token == answer.token.0 {
                asked.acknowledged = acknowledged;
            }
        }
    }

    /// What a group must be told now.
    fn in_force(&self, key: &Key) -> Option<Committed> {
        self.asked.get(key)?.iter().rfind(|asked| asked.acknowledged)?.what.clone()
    }

    pub(crate) fn crash(&mut self, crash: Crash, life: u32, surveyed: bool) {
        if crash != Crash::Kill && !surveyed {
            self.owed.clone_from(&self.sure);
        }
        for (key, asked) in &self.asked {
            let newest = |level: AckLevel| {
                let kept =
                    |asked: &Asked| asked.acknowledged && asked.life == life && asked.ack >= level;
                asked.iter().rposition(kept)
            };
            if let Some(place) = newest(crash.survivor()) {
                self.owed.insert(key.clone(), place);
            }
            if let Some(place) = newest(Crash::Power.survivor()) {
                self.sure.insert(key.clone(), place);
            }
        }
    }

    pub(crate) fn found(&mut self, survey: &Survey) {
        let found = |(key, found): (&Key, &Committed)| {
            let (what, ack, acknowledged) = (Some(found.clone()), AckLevel::Durable, true);
            (key.clone(), vec![Asked { what, ack, life: 0, token: 0, acknowledged }])
        };
        self.asked = survey.committed.iter().map(found).collect();
        self.owed = self.asked.keys().map(|key| (key.clone(), 0)).collect();
        self.sure.clone_from(&self.owed);
    }
}

/// Looks at what a group has committed, and commits something else.
pub(crate) fn step(node: &mut Node<'_>, history: &mut History, random: &mut Random, queue: Queue) {
    let group = if random.below(2) == 0 { "billing" } else { "audit" };
    let key = (group.to_owned(), queue);
    let Ok(shown) = node.broker.committed(group, queue) else { return };
    let end = shown.range.end_offset;
    let shown = shown.committed.map(|found| (found.offset, found.metadata.to_string()));
    let expected = history.commits.in_force(&key);
    if shown != expected {
        history.fault = Some(format!("{key:?} is shown {shown:?}, committed was {expected:?}"));
    }
    let offset = Some(random.between(0, end)).filter(|_| random.below(8) > 0);
    let level = random.below(4);
    let ack = [AckLevel::Memory, AckLevel::Written, AckLevel::Durable, AckLevel::Durable];
    let (ack, token, life) = (ack[level as usize], history.token(), history.life);
    history.others.insert(token, (Other::Commit, 0));
    let metadata = metadata(token);
    let what = offset.map(|offset| (offset, metadata.clone()));
    let asked = Asked { what, ack, life, token, acknowledged: false };
    history.commits.asked.entry(key).or_default().push(asked);
    let (topic, queue) = queue;
    let offset = TopicOffset { topic, queue, offset, epoch: 0, metadata: &metadata };
    node.commit(group, offset, ack, token);
}

/// None, a little, more than ASCII, or as much as there may be.
fn metadata(token: u64) -> String {
    match token % 4 {
        0 => String::new(),
        1 => format!("commit {token}"),
        2 => format!("\u{e9}\u{20ac}{token}"),
        _ => format!("{token:0>width$}", width = OFFSET_METADATA_BYTES_MAX),
    }
}
