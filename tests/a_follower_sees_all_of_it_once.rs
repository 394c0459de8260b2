//! `consume --follow` and an idempotent producer both outlive a node that is killed again and again:
//! each message is printed once, in order, and behind the last kill all of them have been.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use net::client::Record;

use crate::harness::node::{Node, create_topic, fresh_dir, own_address};
use crate::harness::uringmq;

const KILLS: u64 = 5;
/// Printed between two kills, at the least.
const MESSAGES: u64 = 200;
/// Sent and not printed, at most.
const AHEAD: u64 = 100;
const PATIENCE: Duration = Duration::from_secs(60);

/// Ended when dropped.
struct Follower(Child);

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads numbers that must come in order, from 0, and counts them.
fn count(out: impl BufRead, printed: &AtomicU64) {
    for (expected, line) in (0..).zip(out.lines()) {
        let line = line.expect("text");
        // Whoever waits for the count sees that it stays behind.
        assert_eq!(line, format!("{expected} {expected}"), "offset and number");
        printed.fetch_add(1, Ordering::Release);
    }
}

async fn printed_up_to(number: u64, printed: &AtomicU64) {
    let deadline = Instant::now() + PATIENCE;
    while printed.load(Ordering::Acquire) < number {
        let so_far = printed.load(Ordering::Acquire);
        assert!(Instant::now() < deadline, "{so_far} of {number} were printed, in order");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn whoever_is_killed_meanwhile() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let address = own_address();
    let start = || Node::start(&data, &["--listen", &address, "--flush-deadline", "15s"]);
    let mut node = start();
    let client = node.client().await;
    create_topic(&client, "t", 1).await;
    let mut follow = uringmq();
    follow.args(["consume", "t", "--follow", "--format", "%o %s\\n", "--server", &address]);
    let child = follow.stdout(Stdio::piped()).spawn().expect("the binary starts");
    let mut follower = Follower(child);
    let out = BufReader::new(follower.0.stdout.take().expect("it was asked for"));
    let printed = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&printed);
    let reader = std::thread::spawn(move || count(out, &counter));

    let producer = client.producer("t").build().await.expect("the topic is there");
    let seen = Arc::clone(&printed);
    let sender = tokio::spawn(async move {
        // The rest comes behind the last kill.
        let all = MESSAGES * (KILLS + 2);
        for number in 0..all {
            // So that every kill meets some on their way.
            while number > seen.load(Ordering::Acquire) + AHEAD {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let value = number.to_string();
            producer.send_async(&Record::new(value.as_bytes())).await.expect("room");
        }
        producer.flush().await.expect("all of it is stored");
        all
    });
    for kill in 1..=KILLS {
        printed_up_to(kill * MESSAGES, &printed).await;
        node.kill();
        node = start();
    }
    let sent = sender.await.expect("all of it is stored");
    printed_up_to(sent, &printed).await;
    assert!(follower.0.try_wait().expect("a child can be waited for").is_none(), "it goes on");
    drop(follower);
    reader.join().expect("each number once, in order");
    assert_eq!(printed.load(Ordering::Acquire), sent);
    let client = node.client().await;
    let end = client.describe_topic("t").await.expect("it is there").queues[0].end;
    assert_eq!(end, sent, "nothing is stored twice");
    node.stop();
}
