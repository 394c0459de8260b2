//! A node whose device stalled does not say at its end that all is well: whoever looks at its exit code
//! or its last line learns that what was acknowledged at weaker levels than `durable` may be missing.
//!
//! Needs a file system that can be frozen: a small image, loop-mounted. Where that is not allowed the
//! test says so and passes; the simulated disk has its own tests of failing devices.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use net::client::{Client, ClientError, ErrorCode, Producer, Record, RetryPolicy};
use nix::sys::signal::Signal;

use crate::disk_full::Mount;
use crate::harness::http::{admin_address, get};
use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::skip;

const SOON: Duration = Duration::from_secs(20);

/// A file system on which writes wait; they go on when this is dropped.
struct Frozen(PathBuf);

impl Frozen {
    fn new(path: &Path) -> Self {
        let status = Command::new("fsfreeze").arg("-f").arg(path).status();
        assert!(status.is_ok_and(|status| status.success()), "what was mounted can be frozen");
        Self(path.to_owned())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let status = Command::new("fsfreeze").arg("-u").arg(&self.0).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("{} stays frozen", self.0.display());
        }
    }
}

fn mounted(dir: &Path) -> Option<Mount> {
    let mount =
        Mount::new(dir).and_then(|mount| match Command::new("fsfreeze").arg("-V").output() {
            Ok(_) => Ok(mount),
            Err(error) => Err(format!("fsfreeze: {error}")),
        });
    mount.map_err(|why| skip(format_args!("cannot mount a file system and freeze it: {why}"))).ok()
}

async fn producer(client: &Client) -> Producer {
    create_topic(client, "t", 1).await;
    let builder = client.producer("t").idempotent(false).retry(RetryPolicy::NONE);
    let producer = builder.build().await.expect("the topic");
    producer.send(&Record::new(b"before")).await.expect("an ack");
    producer
}

#[tokio::test]
async fn when_a_shard_was_closed_for_writing() {
    let dir = fresh_dir();
    let Some(mount) = mounted(dir.path()) else { return };
    let options = ["--segment-size", "2MiB", "--flush-deadline", "300ms", "--admin", "127.0.0.1:0"];
    let mut node = Node::start(&mount.path.join("data"), &options);
    let client = node.client().await;
    let producer = producer(&client).await;
    let frozen = Frozen::new(&mount.path);
    let refused = producer.send(&Record::new(b"stalled")).await.expect_err("no ack");
    let ClientError::Server { code, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!(*code, ErrorCode::FlushDiskTimeout, "{refused:?}");
    drop(frozen);
    let page = get(&admin_address(&node), "/readyz");
    assert!(page.status == 503 && page.body.contains("takes no writes"), "{page:?}");
    drop((producer, client));
    node.signal(Signal::SIGTERM);
    assert_eq!(node.wait().code(), Some(1), "no good end: {}", node.log());
    let log = node.log();
    assert!(log.contains("closed for writing") && log.contains("weaker levels"), "{log}");
    assert!(!log.contains("everything acknowledged is on stable media"), "{log}");
}

#[tokio::test]
async fn when_the_stop_deadline_comes_first() {
    let dir = fresh_dir();
    let Some(mount) = mounted(dir.path()) else { return };
    let options =
        [["--segment-size", "2MiB"], ["--flush-deadline", "1h"], ["--stop-deadline", "300ms"]];
    let mut node = Node::start(&mount.path.join("data"), options.as_flattened());
    let client = node.client().await;
    let producer = producer(&client).await;
    let frozen = Frozen::new(&mount.path);
    let stalled = producer.send_async(&Record::new(b"stalled")).await.expect("room");
    // So that it is in the log, and not in the socket, when the node is asked to stop.
    client.ping(b"behind it").await.expect("a pong");
    node.signal(Signal::SIGTERM);
    // The node hangs up when its time is over; the device is not done then.
    let begun = Instant::now();
    let ended = tokio::time::timeout(SOON, stalled).await.expect("it ends");
    assert!(ended.is_err(), "nothing is acknowledged that is not stored");
    assert!(begun.elapsed() < SOON);
    drop(frozen);
    assert_eq!(node.wait().code(), Some(1), "no good end: {}", node.log());
    let log = node.log();
    assert!(log.contains("at the stop deadline"), "{log}");
    assert!(!log.contains("everything acknowledged is on stable media"), "{log}");
}
