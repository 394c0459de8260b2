//! A data directory that is removed, renamed or made read-only under a running node: it says so, and
//! never acknowledges what could not be found again.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use net::client::{Client, ClientError, ErrorCode, Record, RetryPolicy, StartAt};
use nix::sys::signal::Signal;

use crate::harness::http::{admin_address, get};
use crate::harness::node::{Node, create_topic, fresh_dir, has_two_cpus};
use crate::harness::skip;

const SOON: Duration = Duration::from_secs(20);

async fn counter(client: &Client, name: &str) -> u64 {
    let stats = client.stats(false).await.expect("statistics");
    stats.counters.iter().filter(|counter| counter.name == name).map(|counter| counter.value).sum()
}

async fn until(client: &Client, name: &str, value: u64) {
    let begun = Instant::now();
    while counter(client, name).await != value {
        assert!(begun.elapsed() < SOON, "{name} does not become {value}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Clients are sent elsewhere, soon after the node itself knows, and for this reason; it is not to be
/// killed for that.
async fn not_ready(admin: &str, why: &str) {
    let begun = Instant::now();
    loop {
        let page = get(admin, "/readyz");
        if page.status == 503 && page.body.contains(why) {
            break;
        }
        assert!(begun.elapsed() < SOON, "{page:?} does not say {why:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(get(admin, "/healthz").status, 200);
}

async fn vanishes(how: impl FnOnce(&Path)) {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let reactors = if has_two_cpus() { "2" } else { "1" };
    let mut node = Node::start(&data, &["--reactors", reactors, "--admin", "0"]);
    let admin = admin_address(&node);
    assert_eq!(get(&admin, "/readyz").status, 200);
    let client = node.client().await;
    create_topic(&client, "t", 4).await;
    let builder = client.producer("t").idempotent(false).retry(RetryPolicy::NONE);
    let producer = builder.build().await.expect("the topic");
    for _ in 0..8 {
        producer.send(&Record::new(b"stored")).await.expect("an ack");
    }
    how(&data);
    until(&client, "directory_lost", 1).await;
    not_ready(&admin, "the data directory was removed, renamed or replaced").await;
    for _ in 0..8 {
        let refused = producer.send(&Record::new(b"lost")).await.expect_err("no ack");
        let ClientError::Server { code, .. } = &refused else { panic!("{refused:?}") };
        assert_eq!(*code, ErrorCode::ShardPoisoned);
    }
    let shards: u64 = reactors.parse().expect("a number");
    assert_eq!(counter(&client, "poisoned").await, shards);
    let log = node.log();
    assert!(log.contains("removed, renamed or replaced") && log.contains("data"), "{log}");
    node.signal(Signal::SIGTERM);
    assert_eq!(node.wait().code(), Some(1), "this is not a good end: {}", node.log());
    assert!(!node.log().contains("everything acknowledged is on stable media"));
}

#[tokio::test]
async fn when_it_is_removed() {
    vanishes(|data| {
        let begun = Instant::now();
        while fs::remove_dir_all(data).is_err() && data.exists() {
            assert!(begun.elapsed() < SOON, "it can be removed");
        }
    })
    .await;
}

#[tokio::test]
async fn when_it_is_renamed() {
    vanishes(|data| fs::rename(data, data.with_extension("old")).expect("it can be renamed")).await;
}

#[tokio::test]
async fn when_only_one_shard_is_removed() {
    vanishes(|data| {
        let shard = data.join("shard-000");
        fs::rename(&shard, data.with_extension("shard")).expect("it can be renamed");
    })
    .await;
}

/// Makes a directory unchangeable, or changeable again; false: not possible here.
fn freeze(dir: &Path, how: &str) -> bool {
    let output = Command::new("chattr").arg(how).arg(dir).output();
    output.is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn a_directory_that_takes_no_files_any_more_loses_nothing() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let node = Node::start(&data, &["--segment-size", "1MiB", "--admin", "0"]);
    let admin = admin_address(&node);
    let client = node.client().await;
    create_topic(&client, "t", 1).await;
    let builder = client.producer("t").idempotent(false).retry(RetryPolicy::NONE);
    let producer = builder.build().await.expect("the topic");
    let shard = data.join("shard-000");
    if !freeze(&shard, "+i") {
        node.stop();
        return skip("this needs a file system and rights for `chattr +i`");
    }
    until(&client, "directory_read_only", 1).await;
    not_ready(&admin, "no files can be made in the data directory").await;
    let value = vec![1; 100 << 10];
    let mut acked = 0_u64;
    let refused = loop {
        match producer.send(&Record::new(&value)).await {
            Ok(_) => acked += 1,
            Err(error) => break error,
        }
        assert!(acked < 200, "segments are made where no files can be");
    };
    assert!(freeze(&shard, "-i"), "it can be undone");
    let ClientError::Server { code, .. } = &refused else { panic!("{refused:?}") };
    println!("{acked} acknowledged, then {code:?}");
    assert!([ErrorCode::Busy, ErrorCode::DiskFull, ErrorCode::ShardPoisoned].contains(code));
    assert!(node.log().contains("no files can be made"), "{}", node.log());
    until(&client, "directory_read_only", 0).await;
    node.kill();
    let node = Node::start(&data, &[]);
    let client = node.client().await;
    let described = client.describe_topic("t").await.expect("the topic");
    assert!(described.queues[0].end >= acked, "{described:?}, {acked}");
    let builder = client.consumer("t").start(StartAt::Earliest);
    let mut consumer = builder.build().await.expect("the topic");
    let mut found = 0;
    while found < acked {
        let messages = tokio::time::timeout(SOON, consumer.poll()).await.expect("in time");
        found += messages.expect("messages").len() as u64;
    }
    node.stop();
}
