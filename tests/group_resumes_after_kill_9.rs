//! A consumer group goes on where it left off: after it ended, after it was killed, and after the
//! node was killed; it never skips a message.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use net::client::{ClientError, ErrorCode, Partitioner, Record};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::{run_badly, run_well, uringmq};

fn produce(node: &Node, dir: &std::path::Path, numbers: std::ops::Range<u32>) {
    let lines: String = numbers.map(|number| format!("{number}\n")).collect();
    let file = dir.join("lines");
    std::fs::write(&file, lines).expect("a file");
    run_well(&["produce", "t", file.to_str().expect("a path"), "--server", &node.address]);
}

fn consume(node: &Node, options: &[&str]) -> Vec<u32> {
    let args = ["consume", "t", "--group", "g", "--server", &node.address];
    let out = String::from_utf8(run_well(&[&args[..], options].concat())).expect("text");
    out.lines().map(|line| line.parse().expect("a number")).collect()
}

fn described(node: &Node) -> Value {
    let out = run_well(&["group", "describe", "g", "--json", "--server", &node.address]);
    serde_json::from_slice(&out).expect("JSON")
}

fn follow(node: &Node) -> (Child, BufReader<ChildStdout>) {
    let mut child = uringmq()
        .args(["consume", "t", "--group", "g", "--follow", "--server", &node.address])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let out = child.stdout.take().expect("it was asked for");
    (child, BufReader::new(out))
}

fn next(out: &mut impl BufRead) -> u32 {
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    line.trim().parse().expect("a number")
}

/// Waits until the group has committed this offset.
fn committed(node: &Node, offset: u64) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while described(node)[0]["offset"] != offset {
        assert!(Instant::now() < deadline, "not committed: {}", described(node));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn it_neither_skips_nor_begins_again() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let node = Node::start(&data, &[]);
    run_well(&["topic", "create", "t", "--server", &node.address]);
    produce(&node, dir.path(), 0..100);
    assert_eq!(consume(&node, &["--count", "30"]), (0..30).collect::<Vec<_>>());
    assert_eq!(described(&node)[0]["lag"], 70);
    node.kill();

    let node = Node::start(&data, &[]);
    assert_eq!(consume(&node, &["--from", "latest", "-n", "20"]), (30..50).collect::<Vec<_>>());
    assert_eq!(consume(&node, &[]), (50..100).collect::<Vec<_>>());
    assert!(consume(&node, &[]).is_empty());

    // One that is killed has committed what it had printed a second ago.
    let (mut child, mut out) = follow(&node);
    produce(&node, dir.path(), 100..110);
    assert_eq!(
        (100..110).map(|_| next(&mut out)).collect::<Vec<_>>(),
        (100..110).collect::<Vec<_>>()
    );
    committed(&node, 110);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL).expect("it is running");
    child.wait().expect("it has ended");
    node.kill();

    // One that is told to end commits at once.
    let node = Node::start(&data, &[]);
    produce(&node, dir.path(), 110..120);
    let (mut child, mut out) = follow(&node);
    assert_eq!(next(&mut out), 110);
    assert_eq!((111..120).map(|_| next(&mut out)).last(), Some(119));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).expect("it is running");
    assert_eq!(child.wait().expect("it has ended").code(), Some(0));
    let all = described(&node);
    assert_eq!(
        (&all[0]["topic"], &all[0]["offset"], &all[0]["lag"]),
        (&"t".into(), &120.into(), &0.into())
    );
    node.stop();
}

#[tokio::test]
async fn by_the_client_library() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let node = Node::start(&data, &[]);
    let client = node.client().await;
    create_topic(&client, "t", 2).await;
    let producer = client.producer("t").partitioner(Partitioner::RoundRobin);
    let producer = producer.build().await.expect("the topic is there");
    for _ in 0..20 {
        producer.send(&Record::new(b"m")).await.expect("an ack");
    }
    let consumer = || client.consumer("t").group("lib").build();
    let mut first = consumer().await.expect("a consumer");
    let dealt_with = first.poll().await.expect("messages");
    let queue = dealt_with[0].queue;
    first.commit_offsets(&[(queue, 3)]).await.expect("committed");
    drop(first);
    let mut second = consumer().await.expect("a consumer");
    assert_eq!((second.position(queue), second.position(1 - queue)), (Some(3), Some(0)));
    while second.position(0) != Some(10) || second.position(1) != Some(10) {
        second.poll().await.expect("messages");
    }
    second.close().await.expect("committed");
    let beyond = consumer().await.expect("a consumer").commit_offsets(&[(queue, 11)]).await;
    assert!(matches!(beyond, Err(ClientError::Server { code: ErrorCode::OffsetOutOfRange, .. })));
    node.kill();

    let node = Node::start(&data, &[]);
    let client = node.client().await;
    let third = client.consumer("t").group("lib").build().await.expect("a consumer");
    assert_eq!((third.position(0), third.position(1)), (Some(10), Some(10)));
    let offsets = client.all_committed_offsets("lib").await.expect("offsets");
    assert!(offsets.iter().all(|at| at.epoch > 0 && at.commit_time_ms > 0 && at.lag() == 0));
    node.stop();
}

#[test]
fn groups_by_command_line() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    let at = ["--server", &*node.address];
    let run = |args: &[&str]| String::from_utf8(run_well(&[args, &at[..]].concat())).expect("text");
    run(&["topic", "create", "t"]);
    produce(&node, dir.path(), 0..10);
    assert_eq!(consume(&node, &[]).len(), 10);
    let listed: Value = serde_json::from_str(&run(&["group", "list", "--json"])).expect("JSON");
    assert_eq!((&listed[0]["name"], &listed[0]["queues"]), (&"g".into(), &1.into()));
    run(&["group", "reset", "g", "--topic", "t", "--to", "7"]);
    assert_eq!(consume(&node, &[]), [7, 8, 9]);
    run(&["group", "reset", "g", "--topic", "t", "--to", "earliest"]);
    assert!(run(&["group", "describe", "g"]).contains("lag 10"));
    let beyond = ["group", "reset", "g", "--topic", "t", "--to", "11"];
    let errors = run_badly(&[&beyond[..], &at[..]].concat(), 1);
    assert!(errors.contains("OFFSET_OUT_OF_RANGE"), "{errors}");
    run(&["group", "delete", "g"]);
    let errors = run_badly(&[&["group", "describe", "g"][..], &at[..]].concat(), 1);
    assert!(errors.contains("committed nothing"), "{errors}");
    // A topic takes what was committed of it along.
    assert_eq!(consume(&node, &["-n", "1"]), [0]);
    run(&["topic", "delete", "t"]);
    assert_eq!(run(&["group", "list", "--json"]), "[]\n");
    node.stop();
}
