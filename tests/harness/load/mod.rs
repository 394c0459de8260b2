//! A mixed load, and what the node promised while it ran: several topics and all ack levels,
//! idempotent producers, readers, groups that commit offsets, topics that come and go.
//!
//! Reading order: `promises` (what was told, and when) -> `produce`, `once`, `read`, `topics`,
//! `commits` (who asks) -> `check`, `judge` (is it so, after a crash?).
//! Absent: what a node did not promise. A message that was never acknowledged may be there or not,
//! and one that was acknowledged at a level that does not survive the crash is not remembered.

pub(crate) mod check;
mod commits;
mod judge;
mod once;
mod produce;
pub(crate) mod promises;
mod read;
mod topics;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use net::client::{AckLevel, Client, ClientError, ErrorCode, NewTopic};
use net::wire::SHARD_ANY;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::node::Node;
use super::verify::value;
use promises::{Promises, Stamp};

/// Topics of plain producers, each with [`QUEUES`], and what they ask for where nobody does: what
/// consumers see waits for that.
const TOPICS: [(&str, AckLevel); 3] =
    [("a", AckLevel::Durable), ("b", AckLevel::Written), ("c", AckLevel::Memory)];
const QUEUES: u16 = 2;
const PRODUCERS: usize = 6;
/// The topic of idempotent producers, each with a queue of its own.
const ONCE: &str = "once";
const SENDERS: u16 = 2;
const GROUP: &str = "group";
/// What a value of an idempotent producer says of its origin: this, and its number.
const SENDER_BASE: usize = 1000;

/// Who sees what the node answers, and remembers what it promised.
pub(crate) struct Witness {
    promises: Mutex<Promises>,
    clock: Box<dyn Fn() -> Stamp + Send + Sync>,
    /// The lowest level that survives the crash to come.
    survives: AckLevel,
    value_bytes_max: usize,
    /// Nobody wants anything to be durable at the moment.
    calm: AtomicBool,
    acked: Notify,
}

impl Witness {
    pub(crate) fn new(
        promises: Promises,
        survives: AckLevel,
        value_bytes_max: usize,
        clock: impl Fn() -> Stamp + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (promises, clock) = (Mutex::new(promises), Box::new(clock));
        let (calm, acked) = (AtomicBool::new(false), Notify::new());
        Arc::new(Self { promises, clock, survives, value_bytes_max, calm, acked })
    }

    /// The time of the witness's clock.
    fn now(&self) -> Stamp {
        (self.clock)()
    }

    pub(crate) fn promises(&self) -> MutexGuard<'_, Promises> {
        self.promises.lock().expect("no check failed elsewhere")
    }

    /// Remembers what has just been promised.
    fn promised(&self, note: impl FnOnce(&mut Promises, Stamp)) {
        let now = self.now();
        note(&mut self.promises(), now);
        self.acked.notify_waiters();
    }

    /// Waits until the node promises something.
    pub(crate) async fn next_promise(&self) {
        let promise = tokio::time::timeout(Duration::from_secs(20), self.acked.notified());
        promise.await.expect("the node goes on answering");
    }

    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// The level to be asked for now by who would like this one.
    fn now_at_most(&self, level: AckLevel) -> AckLevel {
        if self.is_calm() { level.min(AckLevel::Written) } else { level }
    }

    fn survives(&self, level: AckLevel) -> bool {
        level >= self.survives
    }

    /// The one value that this producer ever sends under this number.
    fn value(&self, producer: usize, sequence: u64) -> Vec<u8> {
        let mixed = (sequence + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ producer as u64) >> 33;
        value(producer, sequence, mixed as usize % self.value_bytes_max)
    }

    /// The value of an idempotent producer's batch.
    fn once(&self, number: usize, sequence: u64) -> Vec<u8> {
        self.value(SENDER_BASE + number, sequence)
    }
}

/// Makes the topics of the load that are not there yet.
pub(crate) async fn create_topics(node: &Node) {
    let client = node.client().await;
    let plain = TOPICS.map(|(name, level)| (name, QUEUES, Some(level)));
    for (name, queues, ack) in plain.into_iter().chain([(ONCE, SENDERS, None)]) {
        let retention = Default::default();
        // Keys are found too, after every crash.
        let (deep_validation, key_index) = (false, true);
        let topic = NewTopic { name, queues, ack, deep_validation, key_index, retention };
        match client.create_topic(&topic).await {
            Ok(_) | Err(ClientError::Server { code: ErrorCode::TopicExists, .. }) => {}
            Err(error) => panic!("{name} cannot be made: {error}"),
        }
    }
}

/// A load on a node, until that is gone.
pub(crate) struct Load {
    tasks: Vec<JoinHandle<()>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    /// Begins; within a `LocalSet`.
    pub(crate) async fn start(node: &Node, witness: &Arc<Witness>, random: &mut StdRng) -> Self {
        let mut tasks = Vec::new();
        for number in 0..PRODUCERS {
            let random = StdRng::seed_from_u64(random.random());
            // Over one connection requests keep their order.
            let client = node.client_at(SHARD_ANY).await;
            let task = produce::run(client, number, random, Arc::clone(witness));
            tasks.push(tokio::task::spawn_local(task));
        }
        for topic in 0..TOPICS.len() {
            let task = read::run(node.client().await, topic, Arc::clone(witness));
            tasks.push(tokio::task::spawn_local(task));
        }
        let (client, other) = (node.client().await, node.client().await);
        let seed = StdRng::seed_from_u64(random.random());
        tasks.push(tokio::task::spawn_local(topics::run(client, seed, Arc::clone(witness))));
        let seed = StdRng::seed_from_u64(random.random());
        tasks.push(tokio::task::spawn_local(commits::run(other, seed, Arc::clone(witness))));
        let seed = StdRng::seed_from_u64(random.random());
        let client = node.client().await;
        tasks.push(tokio::task::spawn_local(be_calm(client, seed, Arc::clone(witness))));
        let mut threads = Vec::new();
        for number in 0..usize::from(SENDERS) {
            let (address, witness) = (node.address.clone(), Arc::clone(witness));
            let random = StdRng::seed_from_u64(random.random());
            let sender = move || once::run(&address, number, random, &witness);
            threads.push(std::thread::spawn(sender));
        }
        Self { tasks, threads }
    }

    /// Waits for everybody's end, after the node's.
    pub(crate) async fn end(self) {
        for task in self.tasks {
            task.await.expect("no check failed");
        }
        for thread in self.threads {
            thread.join().expect("no check failed");
        }
    }
}

/// Now and then nobody wants anything to be durable, so that devices see plain writes only, and the change
/// from these to flushed ones.
async fn be_calm(client: Client, mut random: StdRng, witness: Arc<Witness>) {
    while client.ping(b"").await.is_ok() {
        witness.calm.store(random.random(), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(random.random_range(1..60))).await;
    }
    witness.calm.store(false, Ordering::Relaxed);
}

/// Between two requests of those who do not ask all the time.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}
