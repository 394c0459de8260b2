//! A mixed load, and what the node promised while it ran: several topics and all ack levels,
//! idempotent producers, groups that commit offsets, topics that come and go.
//!
//! Reading order: `promises` (what was told, and when) -> `produce`, `once`, `topics`, `commits`
//! (who asks) -> `check`, `judge` (is it so, after a crash?).
//! Absent: what a node did not promise. A message that was never acknowledged may be there or not,
//! and one that was acknowledged at a level that does not survive the crash is not remembered.

pub(crate) mod check;
mod commits;
mod judge;
mod once;
mod produce;
pub(crate) mod promises;
mod topics;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use net::client::{AckLevel, ClientError, ErrorCode, NewTopic};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::node::Node;
use super::verify::value;
use promises::{Promises, Stamp};

/// Topics of plain producers, each with [`QUEUES`].
pub(crate) const TOPICS: [&str; 3] = ["a", "b", "c"];
pub(crate) const QUEUES: u16 = 2;
pub(crate) const PRODUCERS: usize = 6;
/// The topic of idempotent producers, each with a queue of its own.
pub(crate) const ONCE: &str = "once";
pub(crate) const SENDERS: u16 = 2;
pub(crate) const GROUP: &str = "group";
/// What a value of an idempotent producer says of its origin: this, and its number.
const SENDER_BASE: usize = 1000;

/// Who sees what the node answers, and remembers what it promised.
pub(crate) struct Witness {
    promises: Mutex<Promises>,
    clock: Box<dyn Fn() -> Stamp + Send + Sync>,
    /// The lowest level that survives the crash to come.
    survives: AckLevel,
    value_bytes_max: usize,
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
        let acked = Notify::new();
        Arc::new(Self { promises, clock, survives, value_bytes_max, acked })
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
    for (name, queues) in TOPICS.map(|name| (name, QUEUES)).into_iter().chain([(ONCE, SENDERS)]) {
        let topic = NewTopic { name, queues, ack: None, deep_validation: false };
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
            let task = produce::run(node.client().await, number, random, Arc::clone(witness));
            tasks.push(tokio::task::spawn_local(task));
        }
        let (client, other) = (node.client().await, node.client().await);
        let seed = StdRng::seed_from_u64(random.random());
        tasks.push(tokio::task::spawn_local(topics::run(client, seed, Arc::clone(witness))));
        let seed = StdRng::seed_from_u64(random.random());
        tasks.push(tokio::task::spawn_local(commits::run(other, seed, Arc::clone(witness))));
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

/// Between two requests of those who do not ask all the time.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}
