//! Far more is offered than a node can do: producers with much too much on their way, readers who ask
//! for everything and take nothing, more waiting fetches than there are places for. The node slows down
//! or tells to come again, keeps within its memory, goes on acknowledging, keeps what it acknowledged,
//! and is itself again when it is over.
//!
//! For longer than a moment: `OVERLOAD_SECONDS=60 cargo test -p uringmq --test system overload --
//! --nocapture`.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engine::batch::{NewRecord, append_single};
use net::client::{AckLevel, BatchAck, Client, ClientError, ErrorCode, Record, StartAt};
use net::wire::{Fetch, Request};
use nix::libc;

use crate::harness::from_env;
use crate::harness::http::{admin_address, get};
use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::raw::{Raw, frame};
use crate::harness::verify::origin;

const SECONDS: u64 = 3;
const SOON: Duration = Duration::from_secs(30);
/// Each with as much on its way as a client may have.
const PRODUCERS: usize = 48;
const ON_THE_WAY: usize = 128;
const QUEUES: u16 = 4;
const VALUE_BYTES: usize = 4096;
const SHARD_MEMORY_MIB: u64 = 64;
/// What `operations.md` says of one reactor with one shard: an idle node, the shard's memory, twice as
/// much for requests that have not arrived in full.
const MEMORY_MIB: u64 = 32 + 3 * SHARD_MEMORY_MIB;
/// Fetches that may wait on a shard, and what is asked for beyond.
const PARKED_MAX: u32 = 65_536;
const TOO_MANY: u32 = 500;
/// What is offered to readers who take nothing: more than fits in the shard's memory.
const BACKLOG: usize = 96;
const BACKLOG_BYTES: usize = 1 << 20;
const GREEDY: usize = 4;

/// The `count` bytes behind what tells where a value comes from.
fn filler(sequence: u64) -> Vec<u8> {
    vec![b'a' + (sequence % 26) as u8; VALUE_BYTES]
}

fn value(producer: usize, sequence: u64) -> Vec<u8> {
    let mut value = format!("{producer}/{sequence}/").into_bytes();
    value.extend(filler(sequence));
    value
}

/// What the producers have seen.
#[derive(Debug)]
struct Seen {
    begun: Instant,
    ends: AtomicBool,
    /// Acknowledged in each second.
    by_second: Mutex<Vec<u64>>,
    last_at: AtomicU64,
    longest_pause: AtomicU64,
    busy: AtomicU64,
}

impl Seen {
    fn new(seconds: u64) -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            ends: AtomicBool::new(false),
            by_second: Mutex::new(vec![0; seconds as usize]),
            last_at: AtomicU64::new(0),
            longest_pause: AtomicU64::new(0),
            busy: AtomicU64::new(0),
        })
    }

    fn acked(&self) {
        let at = self.begun.elapsed();
        let mut by_second = self.by_second.lock().expect("nobody failed");
        if let Some(second) = by_second.get_mut(at.as_secs() as usize) {
            *second += 1;
            let nanos = at.as_nanos() as u64;
            let pause = nanos.saturating_sub(self.last_at.swap(nanos, Relaxed));
            self.longest_pause.fetch_max(pause, Relaxed);
        }
    }
}

/// What one producer was promised: queue, offset and its own number of each message.
type Promised = Vec<(u16, u64, u64)>;

/// Sends without mercy, and never waits when it is told to.
async fn produce(client: Client, topic: u32, number: usize, seen: Arc<Seen>) -> Promised {
    let queue = (number % usize::from(QUEUES)) as u16;
    let (mut sequence, mut batch) = (0, Vec::new());
    let mut waiting: VecDeque<(u64, BatchAck)> = VecDeque::new();
    let mut promised = Vec::new();
    loop {
        let ends = seen.ends.load(Relaxed);
        if ends && waiting.is_empty() {
            return promised;
        }
        if ends || waiting.len() >= ON_THE_WAY {
            let Some((sequence, ack)) = waiting.pop_front() else { continue };
            match ack.await {
                Ok(offset) => {
                    seen.acked();
                    promised.push((queue, offset, sequence));
                }
                Err(ClientError::Server { code, retry_after_ms, message, .. }) => {
                    assert_eq!(code, ErrorCode::Busy, "{message}");
                    assert!(retry_after_ms > 0, "{message}");
                    seen.busy.fetch_add(1, Relaxed);
                }
                Err(error) => panic!("{error}"),
            }
            continue;
        }
        batch.clear();
        let value = value(number, sequence);
        let record = NewRecord { value: Some(&value), ..NewRecord::default() };
        append_single(&mut batch, &record, 1 << 20).expect("it fits");
        let ack = client.produce(topic, queue, Some(AckLevel::Durable), &batch).await;
        waiting.push_back((sequence, ack.expect("the connection stays")));
        sequence += 1;
    }
}

/// A durable write beside the node, over and over: what the machine itself makes everybody wait.
fn canary(path: &Path, seen: &Seen) -> Duration {
    let mut options = std::fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(false).custom_flags(libc::O_DSYNC);
    let mut file = options.open(path).expect("a file");
    let mut longest = Duration::ZERO;
    while !seen.ends.load(Relaxed) {
        let begun = Instant::now();
        std::io::Seek::rewind(&mut file).expect("a file");
        file.write_all(&[7; 4096]).expect("room");
        std::thread::sleep(Duration::from_millis(20));
        longest = longest.max(begun.elapsed());
    }
    longest
}

fn fetch(topic: u32, offset: u64, wait_max_ms: u32) -> Request<'static> {
    let (queue, epoch, bytes_max, bytes_min) = (0, 0, 1 << 20, 1);
    Request::Fetch(Fetch { topic, queue, offset, epoch, bytes_max, bytes_min, wait_max_ms })
}

/// More fetches than may wait; those beyond are told to come again. The others stay.
fn wait_in_crowds(address: &str, quiet: u32, wait_max_ms: u32) -> Raw {
    let mut raw = Raw::greeted(address);
    let ask = |number| frame(number, &fetch(quiet, 0, wait_max_ms));
    for numbers in (0..PARKED_MAX + TOO_MANY).collect::<Vec<_>>().chunks(4096) {
        raw.send(&numbers.iter().flat_map(|number| ask(*number)).collect::<Vec<_>>());
    }
    for _ in 0..TOO_MANY {
        let refused = raw.refused();
        assert_eq!(refused.code, ErrorCode::Busy);
        assert!(refused.retry_after_ms > 0, "{refused:?}");
    }
    raw
}

/// Readers who ask for all of a backlog and take nothing of it.
fn greedy(address: &str, old: u32) -> Vec<Raw> {
    let ask = |_| {
        let mut raw = Raw::greeted(address);
        let all = (0..BACKLOG as u32).flat_map(|n| frame(n, &fetch(old, u64::from(n), 0)));
        raw.send(&all.collect::<Vec<_>>());
        raw
    };
    (0..GREEDY).map(ask).collect()
}

/// Reads one batch of the backlog over and over until the node says that it has no memory for it.
fn until_busy(address: &str, old: u32) {
    let begun = Instant::now();
    for number in 0.. {
        let mut raw = Raw::greeted(address);
        let reply = raw.call(&frame(number, &fetch(old, 0, 0))).expect("an answer");
        if let Ok((_, net::wire::Reply::Error { error, .. })) = net::wire::decode_reply(&reply) {
            assert_eq!(error.code, ErrorCode::Busy, "{}", error.message);
            assert!(error.retry_after_ms > 0, "{}", error.message);
            return;
        }
        assert!(begun.elapsed() < SOON, "readers who take nothing cost nothing");
    }
}

#[tokio::test]
async fn and_what_was_acknowledged_is_there() {
    let seconds = from_env("OVERLOAD_SECONDS").unwrap_or(SECONDS).max(1);
    let dir = fresh_dir();
    let memory = format!("{SHARD_MEMORY_MIB}MiB");
    let mut options = vec!["--shard-memory", &memory, "--admin", "127.0.0.1:0"];
    // A slow machine is not what is tested.
    options.extend(["--flush-deadline", "30s", "--slow-reader-deadline", "10m"]);
    let is_long = seconds > SECONDS;
    if is_long {
        options.extend(["--retention-size", "4GiB"]);
    }
    let node = Node::start(&dir.path().join("data"), &options);
    let client = node.client().await;
    let topic = create_topic(&client, "t", QUEUES).await;
    let [old, quiet] =
        [create_topic(&client, "old", 1).await, create_topic(&client, "quiet", 1).await];
    let sends = client.producer("old").build().await.expect("the topic");
    for _ in 0..BACKLOG {
        let value = vec![1; BACKLOG_BYTES - 1024];
        sends.send(&Record::new(&value)).await.expect("an ack");
    }

    let seen = Seen::new(seconds);
    let mut producers = Vec::new();
    for number in 0..PRODUCERS {
        let (client, seen) = (node.client().await, Arc::clone(&seen));
        producers.push(tokio::spawn(produce(client, topic, number, seen)));
    }
    let canary = {
        let (path, seen) = (dir.path().join("canary"), Arc::clone(&seen));
        std::thread::spawn(move || canary(&path, &seen))
    };
    let address = node.address.clone();
    let wait_ms = seconds as u32 * 1000;
    let crowds = tokio::task::spawn_blocking(move || {
        let waiting = wait_in_crowds(&address, quiet, wait_ms);
        let greedy = greedy(&address, old);
        until_busy(&address, old);
        (waiting, greedy)
    });
    tokio::time::sleep(Duration::from_secs(seconds).saturating_sub(seen.begun.elapsed())).await;
    let crowds = crowds.await.expect("refused in good time");
    seen.ends.store(true, Relaxed);
    let ended = Instant::now();
    let mut promised = Vec::new();
    for producer in producers {
        promised.push(producer.await.expect("a producer"));
    }

    // Nobody takes replies, and fetches wait; yet this is a node as any other.
    let sends = client.producer("quiet").build().await.expect("the topic");
    sends.send(&Record::new(b"as usual")).await.expect("an ack");
    drop(crowds);
    // What retention has left of it in a long run.
    let details = client.describe_topic("old").await.expect("the topic");
    let mut left: u64 = details.queues.iter().map(|queue| queue.end - queue.start).sum();
    assert!(is_long || left == BACKLOG as u64, "{details:?}");
    let consumer = client.consumer("old").start(StartAt::Earliest);
    let mut consumer = consumer.build().await.expect("the topic is there");
    while left > 0 {
        let messages = tokio::time::timeout(SOON, consumer.poll()).await.expect("in time");
        left -= messages.expect("messages").len() as u64;
    }
    let normal_after = ended.elapsed();
    let highest = node.highest_resident_bytes() >> 20;
    let by_second = seen.by_second.lock().expect("nobody failed").clone();
    let pause = Duration::from_nanos(seen.longest_pause.load(Relaxed));
    let machine = canary.join().expect("the canary");
    let busy = seen.busy.load(Relaxed);
    println!(
        "acknowledged by second {by_second:?}, {busy} produces refused; longest pause {pause:?}, of \
         the machine {machine:?}; at most {highest} MiB; itself again after {normal_after:?}"
    );
    assert!(highest <= MEMORY_MIB, "{highest} MiB of {MEMORY_MIB}");
    assert!(pause < Duration::from_secs(2) + 10 * machine, "{pause:?}, the machine {machine:?}");
    assert!(by_second.iter().sum::<u64>() > 0);
    assert!(normal_after < SOON, "{normal_after:?}");
    let page = get(&admin_address(&node), "/readyz");
    assert_eq!(page.status, 200, "{}", page.body);
    check(&client, &promised, is_long).await;
    node.stop();
}

/// What was promised is there, once and in order, without gaps; and byte for byte.
async fn check(client: &Client, promised: &[Promised], starts_later: bool) {
    let mut by_place = BTreeMap::new();
    for (producer, promises) in promised.iter().enumerate() {
        for &(queue, offset, sequence) in promises {
            let before = by_place.insert((queue, offset), (producer, sequence));
            assert_eq!(before, None, "offset {offset} of queue {queue} was given out twice");
        }
    }
    let details = client.describe_topic("t").await.expect("the topic");
    let (mut found, mut gone) = (0, 0);
    for queue in &details.queues {
        assert!(starts_later || queue.start == 0, "{queue:?}");
        let number = queue.queue;
        let until = by_place.range((number, 0)..(number, queue.start)).count();
        gone += until;
        let consumer = client.consumer("t").queues([number]).start(StartAt::Offset(queue.start));
        let mut consumer = consumer.build().await.expect("the topic");
        let (mut next, mut last) = (queue.start, BTreeMap::new());
        while next < queue.end {
            let messages = tokio::time::timeout(SOON, consumer.poll()).await.expect("in time");
            for message in messages.expect("messages") {
                assert_eq!(message.offset, next, "offsets without gaps");
                next += 1;
                let bytes = message.value.as_deref().expect("a value");
                let (producer, sequence) = origin(&bytes[..bytes.len() - VALUE_BYTES]);
                let before = last.insert(producer, sequence);
                assert!(before.is_none_or(|before| before < sequence), "in order, and once");
                assert!(bytes[bytes.len() - VALUE_BYTES..] == filler(sequence), "byte for byte");
                if let Some(promise) = by_place.get(&(number, message.offset)) {
                    assert_eq!(*promise, (producer as usize, sequence), "what was acknowledged");
                    found += 1;
                }
            }
        }
    }
    assert_eq!(found + gone, by_place.len(), "acknowledged messages are missing");
    assert!(found > 0);
    println!("{found} acknowledged messages read back, {gone} gone by retention");
}
