//! What a reader saw of a topic of level `memory` may not survive the node's being killed. The reader
//! is told, also when others have been given the same offsets since: TRUNCATED, with where what it has
//! read ends that is still there, and there it goes on.
//!
//! A record is lost if the kill comes within the few milliseconds in which a group is gathered: tried
//! until that is so.

use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use net::client::{
    AckLevel, Client, ClientError, Consumer, ErrorCode, NewTopic, PollError, Record, StartAt,
};
use tempfile::TempDir;

use crate::harness::node::{Node, fresh_dir, own_address};
use crate::harness::{run_well, uringmq};

const ATTEMPTS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(30);

/// A node that comes back where it was.
struct Place {
    _dir: TempDir,
    data: PathBuf,
    address: String,
}

impl Place {
    /// With a topic "t" of level `memory`, of one queue.
    async fn new() -> (Self, Node) {
        let dir = fresh_dir();
        let place = Self { data: dir.path().join("data"), _dir: dir, address: own_address() };
        let node = place.start();
        let topic = NewTopic {
            name: "t",
            queues: 1,
            ack: Some(AckLevel::Memory),
            deep_validation: false,
            key_index: false,
            retention: Default::default(),
        };
        node.client().await.create_topic(&topic).await.expect("a topic");
        (place, node)
    }

    fn start(&self) -> Node {
        Node::start(&self.data, &["--listen", &self.address])
    }

    /// Kills the node just after `see` has seen a record that was only in memory, until that record
    /// is lost. The node that was started then, and the offset of what was lost: the queue's end.
    async fn lose(&self, mut node: Node, mut see: impl AsyncFnMut(u64)) -> (Node, u64) {
        for _ in 0..ATTEMPTS {
            let client = node.client().await;
            // Whoever has seen this waits for the next one, and need not ask for it.
            let kept = send(&client, AckLevel::Durable, "kept").await;
            see(kept).await;
            let seen = send(&client, AckLevel::Memory, "seen").await;
            see(seen).await;
            node.kill();
            node = self.start();
            let end = end(&node).await;
            assert!(end > kept, "{kept} was durable, the end is {end}");
            if end <= seen {
                assert_eq!(end, seen);
                return (node, end);
            }
        }
        panic!("{ATTEMPTS} kills, and nothing was ever lost");
    }
}

async fn send(client: &Client, level: AckLevel, value: &str) -> u64 {
    let producer = client.producer("t").idempotent(false).ack(level).build().await;
    let sent = producer.expect("the topic is there").send(&Record::new(value.as_bytes())).await;
    sent.expect("stored").offset
}

async fn end(node: &Node) -> u64 {
    node.client().await.describe_topic("t").await.expect("it is there").queues[0].end
}

async fn poll(consumer: &mut Consumer) -> Result<Vec<(u64, Vec<u8>)>, PollError> {
    let messages = tokio::time::timeout(PATIENCE, consumer.poll()).await.expect("in time")?;
    let plain = messages.into_iter().map(|message| {
        let value = message.value.expect("a value");
        (message.offset, value.to_vec())
    });
    Ok(plain.collect())
}

fn told(error: PollError) -> (u64, Range<u64>) {
    match error.source {
        ClientError::Server { code: ErrorCode::Truncated, range, .. } => (error.offset, range),
        other => panic!("told {other} at {}", error.offset),
    }
}

#[tokio::test]
async fn to_a_consumer_which_goes_on_behind_what_survived() {
    let (place, node) = Place::new().await;
    let consumer = node.client().await.consumer("t").start(StartAt::Earliest).build().await;
    let mut consumer = consumer.expect("the topic is there");
    let (node, lost) = place
        .lose(node, async |offset| {
            while consumer.position(0) <= Some(offset) {
                poll(&mut consumer).await.expect("messages");
            }
        })
        .await;
    // Others are given the offset that it has seen, and more.
    let client = node.client().await;
    for new in 0..3 {
        assert_eq!(send(&client, AckLevel::Durable, "new").await, lost + new);
    }
    for _ in 0..2 {
        let error = poll(&mut consumer).await.expect_err("not all of what it read survived");
        assert_eq!(told(error), (lost + 1, 0..lost), "asking again changes nothing");
    }
    consumer.seek(0, lost).expect("a queue it reads");
    let mut came = Vec::new();
    while came.len() < 3 {
        came.extend(poll(&mut consumer).await.expect("what is new"));
    }
    let expected: Vec<_> = (lost..lost + 3).map(|offset| (offset, b"new".to_vec())).collect();
    assert_eq!(came, expected);
    node.stop();
}

/// Ended when dropped.
struct Follower(Child);

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn to_a_person_who_follows() {
    let (place, node) = Place::new().await;
    let mut follow = uringmq();
    follow.args(["consume", "t", "--follow", "--format", "%o\\n", "--server", &place.address]);
    let child = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut follower = Follower(child.expect("the binary starts"));
    let mut printed = BufReader::new(follower.0.stdout.take().expect("it was asked for"));
    let (node, lost) = place
        .lose(node, async |offset| {
            let mut line = String::new();
            printed.read_line(&mut line).expect("a line");
            assert_eq!(line.trim(), offset.to_string());
        })
        .await;
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = follower.0.try_wait().expect("a child can be waited for") {
            break status;
        }
        assert!(Instant::now() < deadline, "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut said = String::new();
    let errors = follower.0.stderr.take().expect("it was asked for");
    BufReader::new(errors).read_to_string(&mut said).expect("text");
    assert_eq!(status.code(), Some(1), "{said}");
    for part in ["TRUNCATED", &format!("beyond {lost} "), "--queue", "--from"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // As it said.
    assert_eq!(send(&node.client().await, AckLevel::Durable, "new").await, lost);
    let from = lost.to_string();
    let at = ["consume", "t", "--server", &node.address, "--queue", "0", "--from", &from];
    assert_eq!(run_well(&at), b"new\n");
    node.stop();
}
