//! One life of a broker on simulated machines, one per shard, which outlive it.
//!
//! The pump's contract, kept exactly: requests, then one turn, then the disks are flushed and the
//! answers taken.

use engine::batch::{BatchRef, Record};
use engine::broker::change_format::Alteration;
use engine::broker::groups::TopicOffset;
use engine::broker::{Answers, Broker, NewTopic};
use engine::index::keys::hash_of;
use engine::io::sim::{Clock, Config, CrashImage, CrashPolicy, SimDisk, SimEnv};
use engine::io::{Disk, Env, Nanos};
use engine::level::AckLevel;
use engine::log::recover::{OpenError, OpenOptions};
use engine::log::writer::WriterOptions;
use engine::shard::retention::Retention;
use engine::shard::turn::{TurnClock, TurnEnd};
use engine::shard::{Effect, Fetch, FetchError, Lookup, QueueRange, Seek, Token};
use engine::stage::Timings;

use crate::history::{History, Other, Queue, Sent, TopicAsked};
use crate::payload::{Shape, keys};
use crate::survey::{Entry, Survey, TopicFound, entries};

/// A machine lent to a broker: it is still there when the broker is gone.
#[derive(Debug)]
pub(crate) struct Lent<'a>(&'a mut SimEnv);

impl Env for Lent<'_> {
    type Disk = SimDisk;

    fn disk(&mut self) -> &mut SimDisk {
        self.0.disk()
    }

    fn now(&self) -> Nanos {
        self.0.now()
    }

    fn wall_ms(&self) -> u64 {
        self.0.wall_ms()
    }

    fn random(&mut self) -> u64 {
        self.0.random()
    }
}

/// Longer than any deadline of a device or a reader.
const SOON_NANOS: u64 = 5_000_000_000;

/// How logs are opened in simulations.
pub(crate) fn options(segment_bytes: u64, groups_inflight_max: usize) -> OpenOptions {
    OpenOptions {
        shard: 0,
        node: [7; 16],
        segment_bytes,
        writer: WriterOptions { groups_inflight_max, ..WriterOptions::default() },
        retention: Retention::default(),
    }
}

/// Times a reader comes again.
const RETRIES_MAX: u32 = 10_000;

/// The machines of a node, on one clock.
pub(crate) struct Machines(pub(crate) Vec<SimEnv>);

impl Machines {
    pub(crate) fn start(images: &[CrashImage], config: Config, seed: u64) -> Self {
        let clock = Clock::default();
        let envs = images.iter().zip(seed..).map(|(image, seed)| {
            let mut env = SimEnv::from_image(image, config, seed);
            env.disk().set_clock(clock.clone());
            env
        });
        Self(envs.collect())
    }

    pub(crate) fn crashed(&self) -> bool {
        self.0.iter().any(|env| env.sim().crashed())
    }

    /// What is left when all machines stop now.
    pub(crate) fn images<'p>(&self, policy: impl Fn(u64) -> CrashPolicy<'p>) -> Vec<CrashImage> {
        (0..).zip(&self.0).map(|(shard, env)| env.sim().crash(policy(shard))).collect()
    }

    /// After the process was killed: the device finishes what it was given, and a crash that was
    /// planned for later does not come.
    pub(crate) fn drain(&mut self) {
        let mut out = Vec::new();
        for env in &mut self.0 {
            env.disk().crash_at(u64::MAX);
            while env.advance_to_next() {
                env.disk().complete(&mut out);
            }
            env.disk().close_all();
        }
    }
}

/// A running broker.
pub(crate) struct Node<'a> {
    pub(crate) broker: Broker<Lent<'a>>,
    answers: Answers,
}

impl<'a> Node<'a> {
    pub(crate) fn boot(
        machines: &'a mut Machines,
        options: &OpenOptions,
    ) -> Result<Self, OpenError> {
        let broker = Broker::open(machines.0.iter_mut().map(Lent), options)?;
        Ok(Self { broker, answers: Answers::default() })
    }

    pub(crate) fn disk(&mut self, shard: usize) -> &mut SimDisk {
        self.broker.shards()[shard].env().disk()
    }

    pub(crate) fn now(&mut self) -> Nanos {
        self.disk(0).clock().now()
    }

    pub(crate) fn crashed(&mut self) -> bool {
        self.broker.shards().iter_mut().any(|shard| shard.env().disk().crashed())
    }

    pub(crate) fn advance(&mut self, nanos: u64) {
        self.disk(0).clock().advance(nanos);
    }

    /// To the next completion on any machine, but no further than `limit`.
    pub(crate) fn advance_to_next(&mut self, limit: Option<Nanos>) -> bool {
        let due = self.broker.shards().iter_mut().filter_map(|s| s.env().disk().next_due()).min();
        match due.into_iter().chain(limit).min() {
            Some(at) => {
                self.disk(0).clock().advance_to(at);
                true
            }
            None => false,
        }
    }

    pub(crate) fn produce(
        &mut self,
        history: &mut History,
        queue: Queue,
        ack: AckLevel,
        (records, value_bytes): (u32, usize),
    ) -> u64 {
        let token = history.next_token();
        self.send(history, Shape { token, records, value_bytes, number: None }, queue, ack);
        token
    }

    /// Sends a batch, perhaps again; whether it was not refused at once.
    pub(crate) fn send(
        &mut self,
        history: &mut History,
        shape: Shape,
        queue: Queue,
        ack: AckLevel,
    ) -> bool {
        let token = history.token();
        // The first request for a batch has the batch's own number.
        assert!(token == shape.token || history.sent.contains_key(&shape.token));
        let (life, at, answers) = (history.life, self.now(), Vec::new());
        history.sent.insert(token, Sent { shape, queue, ack, life, at, answers });
        let asked = (Token(token), self.now());
        self.broker.produce(queue, Some(ack), &shape.batch(), asked, &mut self.answers);
        let refused = |effect: &Effect| matches!(effect, Effect::Produced { token: t, result: Err(_), .. } if t.0 == token);
        !self.answers.effects.last().is_some_and(refused)
    }

    pub(crate) fn commit(
        &mut self,
        group: &str,
        offset: TopicOffset<'_>,
        ack: AckLevel,
        token: u64,
    ) {
        let asked = (Token(token), self.now());
        self.broker.commit_offsets(group, &[offset], ack, asked, &mut self.answers);
    }

    pub(crate) fn fetch(&mut self, history: &mut History, queue: Queue, fetch: Fetch) -> u64 {
        let token = history.token();
        history.others.insert(token, (Other::Fetch(queue), 0));
        let now = self.now();
        let fetch = Fetch { token: Token(token), ..fetch };
        self.broker.fetch(queue, fetch, now, &mut self.answers);
        token
    }

    pub(crate) fn create_topic(
        &mut self,
        history: &mut History,
        name: &str,
        queues: u16,
        ack: AckLevel,
    ) {
        self.create_limited(history, name, queues, ack, Retention::default());
    }

    pub(crate) fn create_limited(
        &mut self,
        history: &mut History,
        name: &str,
        queues: u16,
        ack: AckLevel,
        retention: Retention,
    ) {
        let token = history.token();
        history.others.insert(token, (Other::Create(history.topics.len()), 0));
        let name = name.to_owned();
        // Every second topic.
        let keyed = history.topics.len().is_multiple_of(2);
        let new = NewTopic { name: &name, queues, ack, deep: true, keyed, retention };
        let now = self.now();
        self.broker.create_topic(&new, Token(token), now, &mut self.answers);
        let Retention { age_ms: age_ms_min, bytes: bytes_min } = retention;
        let (id, delete_asked, deleted) = (None, false, false);
        let asked =
            TopicAsked { name, queues, ack, bytes_min, age_ms_min, id, delete_asked, deleted };
        history.topics.push(asked);
    }

    pub(crate) fn alter_topic(&mut self, history: &mut History, topic: usize, wanted: Alteration) {
        let token = history.token();
        history.others.insert(token, (Other::Alter, 0));
        let asked = &mut history.topics[topic];
        asked.ack = wanted.ack.unwrap_or(asked.ack).min(asked.ack);
        asked.bytes_min = asked.bytes_min.into_iter().chain(wanted.bytes.flatten()).min();
        asked.age_ms_min = asked.age_ms_min.into_iter().chain(wanted.age_ms.flatten()).min();
        let (name, now) = (asked.name.clone(), self.now());
        self.broker.alter_topic(&name, wanted, (Token(token), now), &mut self.answers);
    }

    pub(crate) fn delete_topic(&mut self, history: &mut History, topic: usize) {
        let token = history.token();
        history.others.insert(token, (Other::Delete(topic), 0));
        let asked = &mut history.topics[topic];
        asked.delete_asked = true;
        let (name, now) = (asked.name.clone(), self.now());
        self.broker.delete_topic(&name, Token(token), now, &mut self.answers);
    }

    pub(crate) fn turn(&mut self, history: &mut History) -> TurnEnd {
        let now = self.now();
        let clock = TurnClock { gathered: now, received: now };
        let end = self.broker.turn(clock, &mut self.answers);
        for shard in self.broker.shards() {
            shard.env().disk().flush();
        }
        history.take(&mut self.answers);
        end
    }

    /// Turns until every request is answered and the disks are idle. `false` if that never comes.
    pub(crate) fn settle(&mut self, history: &mut History) -> bool {
        for _ in 0..20_000 {
            let end = self.turn(history);
            if self.crashed() {
                return true;
            }
            // What comes later than any deadline is retention, which never ends.
            let now = self.now();
            let soon = end.wake_at.filter(|at| at.since(now) < SOON_NANOS);
            if !self.advance_to_next(soon) {
                return true;
            }
        }
        false
    }

    /// Stops in order: afterwards nothing is left to do.
    pub(crate) fn stop(&mut self, history: &mut History) -> bool {
        self.broker.stop(&mut self.answers);
        self.settle(history) && self.broker.is_quiet()
    }

    /// Everything the node holds. What expires while it is read is read again, from where the
    /// queues then begin.
    pub(crate) fn survey(&mut self) -> Result<Survey, String> {
        for _ in 0..100 {
            let before = self.beginnings();
            let survey = self.survey_once();
            if self.crashed() || self.beginnings() == before {
                return survey;
            }
        }
        Err("the log never stops getting shorter".to_owned())
    }

    /// Where the logs and the queues begin.
    fn beginnings(&mut self) -> Vec<u64> {
        let mut all: Vec<u64> =
            self.broker.shards().iter().map(|shard| shard.oldest_segment()).collect();
        for topic in self.broker.catalog().topics() {
            let ranges = (0..topic.queues.len() as u16).map(|n| self.broker.range(topic.id, n));
            all.extend(ranges.flatten().map(|range| range.start_offset));
        }
        all
    }

    fn survey_once(&mut self) -> Result<Survey, String> {
        let mut survey = Survey::default();
        let topics: Vec<_> = self.broker.catalog().topics().cloned().collect();
        for topic in topics {
            let mut found = TopicFound { name: topic.name.clone(), queues: Vec::new() };
            for number in 0..topic.queues.len() as u16 {
                let queue = (topic.id, number);
                let range = self.broker.range(topic.id, number).map_err(|e| e.to_string())?;
                let mut all = Vec::new();
                let mut offset = range.start_offset;
                while offset < range.visible_offset {
                    let fetch = Fetch {
                        token: Token(0),
                        queue: 0,
                        offset,
                        epoch: 0,
                        bytes_min: 1,
                        bytes_max: 256 << 10,
                        wait_nanos: 0,
                    };
                    let got = self.read(queue, fetch)?;
                    let Some(last) = got.last() else {
                        return Err(format!("nothing at {offset} of {queue:?}, {range:?}"));
                    };
                    let next = last.base_offset + u64::from(last.records.max(1));
                    if next <= offset {
                        return Err(format!("no progress at {offset} of {queue:?}: {last:?}"));
                    }
                    offset = next;
                    all.extend(got);
                }
                self.check_times(queue, &all)?;
                self.check_keys(queue, &range, &all)?;
                found.queues.push((range, all));
            }
            survey.topics.insert(topic.id, found);
        }
        for group in self.broker.groups().into_keys() {
            for offset in self.broker.all_committed(group) {
                let key = (group.to_owned(), (offset.topic, offset.queue));
                let found =
                    offset.committed.map(|found| (found.offset, found.metadata.to_string()));
                survey.committed.extend(found.map(|found| (key, found)));
            }
        }
        Ok(survey)
    }

    /// Every time finds the first batch stored at it or later.
    fn check_times(&mut self, queue: Queue, all: &[Entry]) -> Result<(), String> {
        let mut before = None;
        for entry in
            all.iter().filter(|entry| before.replace(entry.store_ms) != Some(entry.store_ms))
        {
            let found = self.seek(queue, entry.store_ms);
            if found.is_some_and(|found| found != (entry.base_offset, entry.store_ms)) {
                return Err(format!(
                    "{queue:?}: {found:?} was found for {} {entry:?}",
                    entry.store_ms
                ));
            }
        }
        Ok(())
    }

    /// Every key finds the records that have it, and no others.
    fn check_keys(
        &mut self,
        queue: Queue,
        range: &QueueRange,
        all: &[Entry],
    ) -> Result<(), String> {
        for key in keys() {
            let has_key = |record: &Record<'_>| record.key == Some(&key[..]);
            let offsets = |entry: &Entry| -> Vec<u64> {
                let Ok(batch) = BatchRef::parse(&entry.batch, u32::MAX) else { return Vec::new() };
                let records = batch.records().flatten().filter(has_key);
                records.map(|record| entry.base_offset + u64::from(record.offset_delta)).collect()
            };
            let mut expected: Vec<u64> =
                all.iter().filter(|entry| entry.keyed).flat_map(offsets).collect();
            expected.retain(|offset| *offset >= range.start_offset);
            expected.reverse();
            let Some(found) = self.look_up(queue, &key) else { return Ok(()) };
            if found != expected && self.beginning(queue) == Some(range.start_offset) {
                return Err(format!("{queue:?}: {key:?} is at {expected:?}, found: {found:?}"));
            }
        }
        Ok(())
    }

    fn beginning(&self, queue: Queue) -> Option<u64> {
        self.broker.range(queue.0, queue.1).ok().map(|range| range.start_offset)
    }

    /// The records with a key, the last first; a few at a time. `None` after a crash.
    ///
    /// # Panics
    /// If they are not found out.
    fn look_up(&mut self, queue: Queue, key: &[u8]) -> Option<Vec<u64>> {
        let (mut found, mut below) = (Vec::new(), u64::MAX);
        for _ in 0..RETRIES_MAX {
            let (token, hash) = (Token(0), hash_of(key));
            let lookup = Lookup { token, queue: 0, hash, offsets: 0..below, max: 50 };
            self.broker.look_up(queue, lookup, &mut self.answers);
            match self.answer() {
                Some(Effect::LookedUp { result: Ok(part), .. }) => {
                    assert!(part.reached < below || part.offsets.is_empty());
                    below = part.reached;
                    found.extend(part.offsets);
                    if below <= part.start_offset {
                        return Some(found);
                    }
                }
                // An index is being made again, unless the machine has crashed meanwhile.
                Some(Effect::LookedUp { result: Err(FetchError::Busy), .. }) => {
                    if self.crashed() {
                        return None;
                    }
                    self.advance(1_000_000);
                }
                None if self.crashed() => return None,
                other => panic!("{key:?} is not found in {queue:?}: {other:?}"),
            }
        }
        panic!("{key:?} is never found in {queue:?}")
    }

    fn read(&mut self, queue: Queue, fetch: Fetch) -> Result<Vec<Entry>, String> {
        for _ in 0..RETRIES_MAX {
            match self.fetch_effect(queue, fetch) {
                Effect::Fetched { result: Ok(fetched), .. } => return Ok(entries(&fetched)),
                // An index is being made again.
                Effect::Fetched { result: Err(FetchError::Busy), .. } => self.advance(1_000_000),
                other => return Err(format!("reading {queue:?}: {other:?}")),
            }
        }
        Err(format!("reading {queue:?} is never possible"))
    }

    /// The first visible batch stored at or after a time: offset and store time.
    ///
    /// # Panics
    /// If it is not found out.
    pub(crate) fn seek(&mut self, queue: Queue, timestamp_ms: u64) -> Option<(u64, u64)> {
        let seek = Seek { token: Token(0), queue: 0, timestamp_ms };
        for _ in 0..RETRIES_MAX {
            self.broker.seek(queue, seek, &mut self.answers);
            match self.answer() {
                Some(Effect::Sought { result: Ok(sought), .. }) => return sought.batch,
                Some(Effect::Sought { result: Err(FetchError::Busy), .. }) => {
                    self.advance(1_000_000);
                }
                None if self.crashed() => return None,
                other => panic!("{timestamp_ms} is not found in {queue:?}: {other:?}"),
            }
        }
        panic!("{timestamp_ms} is never found in {queue:?}")
    }

    /// One fetch and its answer; nobody else may be waiting for one.
    ///
    /// # Panics
    /// If it is never answered.
    pub(crate) fn fetch_effect(&mut self, queue: Queue, fetch: Fetch) -> Effect {
        let now = self.now();
        self.broker.fetch(queue, fetch, now, &mut self.answers);
        if let Some(effect) = self.answer() {
            return effect;
        }
        let (token, timings) = (fetch.token, Timings::default());
        assert!(self.crashed(), "a fetch of {queue:?} is never answered");
        Effect::Fetched { token, result: Err(FetchError::Stopping), timings }
    }

    /// The answer to the one question that was asked.
    fn answer(&mut self) -> Option<Effect> {
        for _ in 0..1000 {
            let now = self.now();
            let clock = TurnClock { gathered: now, received: now };
            let end = self.broker.turn(clock, &mut self.answers);
            if let Some(effect) = self.answers.effects.pop() {
                return Some(effect);
            }
            if self.crashed() {
                break;
            }
            self.advance_to_next(end.wake_at);
        }
        None
    }
}
