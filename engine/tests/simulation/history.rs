//! What was asked and what was answered, over all lives of a node.
//!
//! At a crash, promises become debts: [`History::crash`] moves whatever must survive it into
//! `owed`, which the checkers compare with what a restart finds. What a restart has found is owed
//! for ever after: consumers may have seen it.

use std::collections::BTreeMap;

use engine::batch::BatchRef;
use engine::broker::{Answers, TopicAnswer};
use engine::io::Nanos;
use engine::level::AckLevel;
use engine::shard::{Effect, FetchError, Fetched, ProduceError};

use crate::groups::Commits;
use crate::idempotent::Producers;
use crate::payload::{Shape, token_of};
use crate::survey::{Survey, entries};

/// A topic's id and the number of a queue.
pub(crate) type Queue = (u32, u16);
/// First offset of a batch -> its token.
pub(crate) type Offsets = BTreeMap<u64, u64>;

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The device loses what it has not been told to keep.
    Power,
    /// The process dies; what completed stays.
    Kill,
    /// The node was stopped in order, and then the power failed.
    Stopped,
}

impl Crash {
    /// The weakest level that survives it.
    pub(crate) fn survivor(self) -> AckLevel {
        match self {
            Self::Power => AckLevel::Durable,
            Self::Kill => AckLevel::Written,
            Self::Stopped => AckLevel::Memory,
        }
    }
}

/// A batch that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) shape: Shape,
    pub(crate) queue: Queue,
    pub(crate) ack: AckLevel,
    pub(crate) life: u32,
    pub(crate) at: Nanos,
    pub(crate) answers: Vec<Result<u64, ProduceError>>,
}

/// A topic somebody asked for.
#[derive(Clone, Debug)]
pub(crate) struct TopicAsked {
    pub(crate) name: String,
    pub(crate) queues: u16,
    /// The weakest level it was ever asked to have.
    pub(crate) ack: AckLevel,
    /// The smallest limits it was ever asked to have, if any.
    pub(crate) bytes_min: Option<u64>,
    pub(crate) age_ms_min: Option<u64>,
    pub(crate) id: Option<u32>,
    pub(crate) delete_asked: bool,
    pub(crate) deleted: bool,
}

/// Somebody who has read a queue up to an offset, in a life that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) queue: Queue,
    /// Life of the last batch read.
    pub(crate) epoch: u32,
    /// The offset behind it.
    pub(crate) offset: u64,
    /// What was seen on the way.
    pub(crate) seen: Offsets,
}

/// Requests other than produces that were made in this life.
#[derive(Clone, Debug)]
pub(crate) enum Other {
    Create(usize),
    Delete(usize),
    Alter,
    Fetch(Queue),
    Commit,
}

/// Everything that happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) life: u32,
    pub(crate) sent: BTreeMap<u64, Sent>,
    pub(crate) topics: Vec<TopicAsked>,
    /// Requests of this life and how often each was answered.
    pub(crate) others: BTreeMap<u64, (Other, u32)>,
    /// What consumers were given in this life.
    pub(crate) seen: BTreeMap<Queue, Offsets>,
    /// How far each queue was read in this life: epoch of the last batch, the offset behind it.
    heads: BTreeMap<Queue, (u32, u64)>,
    /// Readers of the lives before.
    pub(crate) readers: Vec<Reader>,
    /// Where readers were told that queues begin, in any life.
    pub(crate) begins: BTreeMap<Queue, u64>,
    /// Where the last restart found that they begin.
    pub(crate) found_begins: BTreeMap<Queue, u64>,
    /// What must be found after the crash: acknowledged, or found before.
    pub(crate) owed: BTreeMap<Queue, Offsets>,
    /// What must be found because a consumer saw it.
    pub(crate) owed_seen: BTreeMap<Queue, Offsets>,
    /// What of both is owed even if the power fails before a restart has made the rest durable.
    sure: BTreeMap<Queue, Offsets>,
    sure_seen: BTreeMap<Queue, Offsets>,
    /// A restart has found, and made durable, what the life before left.
    surveyed: bool,
    /// What groups commit.
    pub(crate) commits: Commits,
    /// What idempotent producers remember.
    pub(crate) producers: Producers,
    /// The offset that was told of a batch in this life: however often it is sent, the same.
    told: BTreeMap<u64, u64>,
    /// A fetch that met damage.
    pub(crate) unread: Option<String>,
    /// A contradiction noticed while things happened.
    pub(crate) fault: Option<String>,
    next_token: u64,
}

impl History {
    pub(crate) fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    /// The one that [`History::token`] will give out next.
    pub(crate) fn next_token(&self) -> u64 {
        self.next_token + 1
    }

    /// An offset was told of a batch.
    fn tell(&mut self, batch: u64, offset: u64) {
        let before = *self.told.entry(batch).or_insert(offset);
        if before != offset {
            self.fault = Some(format!("batch {batch} is at {offset}, and was at {before}"));
        }
    }

    /// The topic with this id.
    pub(crate) fn topic(&self, id: u32) -> Option<&TopicAsked> {
        self.topics.iter().find(|topic| topic.id == Some(id))
    }

    /// Takes the answers of a turn.
    pub(crate) fn take(&mut self, answers: &mut Answers) {
        for effect in answers.effects.drain(..) {
            match effect {
                Effect::Produced { token, result, .. } => match self.sent.get_mut(&token.0) {
                    Some(sent) => {
                        sent.answers.push(result);
                        let batch = sent.shape.token;
                        result.into_iter().for_each(|offset| self.tell(batch, offset));
                    }
                    None => self.fault = Some(format!("an answer to nobody: {token:?} {result:?}")),
                },
                Effect::LookedUp { token, result } => {
                    self.fault = Some(format!("a lookup nobody made: {token:?} {result:?}"));
                }
                Effect::Sought { token, result } => {
                    self.fault = Some(format!("a seek nobody made: {token:?} {result:?}"));
                }
                Effect::Fetched { token, result, .. } => {
                    let Some((Other::Fetch(queue), answers)) = self.others.get_mut(&token.0) else {
                        self.fault = Some(format!("a fetch nobody made: {token:?}"));
                        continue;
                    };
                    *answers += 1;
                    let queue = *queue;
                    match result {
                        Ok(fetched) => {
                            self.told_begin(queue, fetched.start_offset);
                            self.see(queue, &fetched);
                        }
                        Err(FetchError::OutOfRange { start, .. }) => self.told_begin(queue, start),
                        Err(error @ (FetchError::Damaged { .. } | FetchError::Read { .. })) => {
                            self.unread = Some(format!("a fetch of {queue:?}: {error}"));
                        }
                        Err(_) => {}
                    }
                }
            }
        }
        for answer in answers.commits.drain(..) {
            match self.others.get_mut(&answer.token.0) {
                Some((Other::Commit, answers)) => *answers += 1,
                _ => self.fault = Some(format!("an answer to no commit: {answer:?}")),
            }
            self.commits.answered(&answer);
        }
        for answer in answers.topics.drain(..) {
            let (token, created, ok) = match answer {
                TopicAnswer::Created { token, result } => {
                    (token, result.as_ref().ok().copied(), result.is_ok())
                }
                TopicAnswer::Deleted { token, result } | TopicAnswer::Altered { token, result } => {
                    (token, None, result.is_ok())
                }
            };
            match self.others.get_mut(&token.0) {
                Some((Other::Create(topic), answers)) => {
                    *answers += 1;
                    self.topics[*topic].id = created;
                }
                Some((Other::Delete(topic), answers)) => {
                    *answers += 1;
                    self.topics[*topic].deleted |= ok;
                }
                Some((Other::Alter, answers)) => *answers += 1,
                _ => self.fault = Some(format!("a topic answer to nobody: {token:?}")),
            }
        }
    }

    fn see(&mut self, queue: Queue, fetched: &Fetched) {
        for entry in entries(fetched) {
            let Some(token) = token_of(&entry.batch) else {
                self.fault = Some(format!("a consumer of {queue:?} was given {entry:?}"));
                return;
            };
            let epoch = BatchRef::parse_unverified(&entry.batch).map_or(0, |b| b.leader_epoch());
            let end = entry.base_offset + u64::from(entry.records);
            let head = self.heads.entry(queue).or_default();
            if end > head.1 {
                *head = (epoch, end);
            }
            let before = self.seen.entry(queue).or_default().insert(entry.base_offset, token);
            if before.is_some_and(|before| before != token) {
                let offset = entry.base_offset;
                self.fault =
                    Some(format!("offset {offset} of {queue:?} was {before:?}, now {token}"));
            }
        }
    }

    /// The node dies: what was promised is owed now.
    pub(crate) fn crash(&mut self, crash: Crash) {
        if crash != Crash::Kill && !self.surveyed {
            // The process was killed, and before it was up again the power failed.
            self.owed.clone_from(&self.sure);
            self.owed_seen.clone_from(&self.sure_seen);
        }
        self.commits.crash(crash, self.life, self.surveyed);
        self.told.clear();
        let sure = Crash::Power.survivor();
        for sent in self.sent.values().filter(|sent| sent.life == self.life) {
            let Some(Ok(offset)) = sent.answers.first() else { continue };
            if sent.ack >= crash.survivor() {
                self.owed.entry(sent.queue).or_default().insert(*offset, sent.shape.token);
            }
            if sent.ack >= sure {
                self.sure.entry(sent.queue).or_default().insert(*offset, sent.shape.token);
            }
        }
        for (queue, offsets) in std::mem::take(&mut self.seen) {
            if let Some((epoch, offset)) = self.heads.remove(&queue) {
                let seen = offsets.clone();
                self.readers.push(Reader { queue, epoch, offset, seen });
            }
            let topic = self.topics.iter().find(|topic| topic.id == Some(queue.0));
            let Some(shown) = topic.map(|topic| topic.ack.visibility()) else { continue };
            if shown >= sure {
                self.sure_seen.entry(queue).or_default().extend(&offsets);
            }
            if shown >= crash.survivor() {
                self.owed_seen.entry(queue).or_default().extend(offsets);
            }
        }
        self.others.clear();
        self.surveyed = false;
        self.life += 1;
    }

    /// What lies before the beginning of its queue has expired: nobody owes it any more.
    pub(crate) fn expire(&mut self, survey: &Survey) {
        let starts: BTreeMap<Queue, u64> =
            survey.queues().map(|(queue, range, _)| (queue, range.start_offset)).collect();
        let start = |queue: &Queue| starts.get(queue).copied().unwrap_or(0);
        let maps = [&mut self.owed, &mut self.owed_seen, &mut self.sure, &mut self.sure_seen];
        for (queue, offsets) in maps.into_iter().flatten() {
            offsets.retain(|offset, _| *offset >= start(queue));
        }
        for reader in &mut self.readers {
            let start = start(&reader.queue);
            reader.seen.retain(|offset, _| *offset >= start);
        }
    }

    /// A reader was told where a queue begins.
    fn told_begin(&mut self, queue: Queue, start: u64) {
        let told = self.begins.entry(queue).or_default();
        *told = start.max(*told);
    }

    /// Whether a topic was ever to be limited.
    pub(crate) fn is_limited(&self, topic: u32) -> bool {
        let topic = self.topic(topic);
        topic.is_none_or(|topic| topic.bytes_min.is_some() || topic.age_ms_min.is_some())
    }

    /// A restart found this, and has made it durable.
    pub(crate) fn found(&mut self, survey: &Survey) {
        self.found_begins =
            survey.queues().map(|(queue, range, _)| (queue, range.start_offset)).collect();
        for topic in &mut self.topics {
            // The id of a topic whose answer was lost in the crash.
            topic.id = topic.id.or(survey.id(&topic.name));
            topic.deleted |= topic.delete_asked && survey.id(&topic.name).is_none();
        }
        self.owed_seen.clear();
        self.sure_seen.clear();
        self.owed = survey.offsets();
        self.sure.clone_from(&self.owed);
        self.surveyed = true;
        self.commits.found(survey);
        let sent = &self.sent;
        self.producers.found(|token| sent.get(&token).map(|sent| sent.shape), survey);
    }
}
