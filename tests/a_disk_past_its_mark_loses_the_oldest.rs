//! While more of the file system is used than the mark says, the oldest segments go: a node may be
//! sent more than the disk holds. When others take all of it, nothing is left to go: producers are
//! told, everything stays readable, and with room they go on.
//!
//! Needs a file system of its own; where that cannot be mounted, the test says so.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use net::client::{Client, ClientError, ErrorCode, PollError, Record, RetryPolicy, StartAt};

use crate::disk_full::{IMAGE_MIB, Mount};
use crate::harness::directory::verify_clean;
use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::verify::{Acked, check_from, read_what_is_left, value};

const MIB: u64 = 1 << 20;
const OPTIONS: [&str; 6] =
    ["--segment-size", "1MiB", "--retention-disk", "60%", "--flush-deadline", "15s"];
const VALUE_BYTES: usize = 100_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// Used and free bytes of a file system.
fn room(path: &Path) -> (u64, u64) {
    let output = Command::new("df").args(["-B1", "--output=used,avail"]).arg(path).output();
    let text = String::from_utf8(output.expect("df runs").stdout).expect("text");
    let figures = text.lines().nth(1).expect("a line of figures");
    let figures: Vec<u64> =
        figures.split_whitespace().map(|figure| figure.parse().expect("a number")).collect();
    (figures[0], figures[1])
}

fn used_percent(path: &Path) -> u64 {
    let (used, free) = room(path);
    used * 100 / (used + free)
}

/// Sends one message, once.
async fn send(client: &Client, sequence: u64, acked: &mut Acked) -> Result<(), ClientError> {
    let producer = client.producer("t").retry(RetryPolicy::NONE).build().await?;
    let value = value(0, sequence, VALUE_BYTES);
    let sent = producer.send(&Record::new(&value)).await?;
    acked.add(sent.queue, sent.offset, &value);
    Ok(())
}

/// Sends one message until the node has taken it, which it must: a small segment may still be in
/// the making, or on its way out.
async fn store(client: &Client, sequence: u64, acked: &mut Acked) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = send(client, sequence, acked).await {
        let passes = [ErrorCode::Busy, ErrorCode::DiskFull];
        let code = match &error {
            ClientError::Server { code, .. } => *code,
            other => panic!("message {sequence}: {other}"),
        };
        assert!(passes.contains(&code) && Instant::now() < deadline, "{sequence}: {error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What is left is everything from the start on.
async fn check_what_is_left(client: &Client, acked: &mut Acked) -> u64 {
    let (start, messages) = read_what_is_left(client, "t").await;
    acked.0.retain(|(_, offset), _| *offset >= start);
    check_from(start, &messages, acked);
    start
}

#[tokio::test]
async fn and_takes_more_than_it_holds() {
    let dir = fresh_dir();
    let mount = match Mount::new(dir.path()) {
        Ok(mount) => mount,
        Err(why) => {
            return println!("skipped: cannot mount a file system of {IMAGE_MIB} MiB: {why}");
        }
    };
    let data = mount.path.join("data");
    let node = Node::start(&data, &OPTIONS);
    let client = node.client().await;
    create_topic(&client, "t", 1).await;
    let mut acked = Acked::default();
    let messages = 2 * IMAGE_MIB * MIB / VALUE_BYTES as u64;
    for sequence in 0..messages {
        store(&client, sequence, &mut acked).await;
    }
    let deadline = Instant::now() + PATIENCE;
    while used_percent(&mount.path) > 60 {
        let used = used_percent(&mount.path);
        assert!(Instant::now() < deadline, "{used} % of the file system are used at rest");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let held = IMAGE_MIB * MIB * 6 / 10 / VALUE_BYTES as u64;
    let start = check_what_is_left(&client, &mut acked).await;
    assert!(start > messages - held, "it begins at {start} of {messages}");
    // A mark is no reason to keep next to nothing.
    assert!(start < messages - held / 3, "it begins at {start} of {messages}");
    let consumer = client.consumer("t").queues([0]).start(StartAt::Offset(0)).build().await;
    match consumer.expect("the topic is there").poll().await {
        Err(PollError {
            source: ClientError::Server { code: ErrorCode::OffsetOutOfRange, range, .. },
            ..
        }) => assert_eq!(range, start..messages),
        other => panic!("{other:?}"),
    }

    let ballast = mount.path.join("ballast");
    let mut sequence = messages;
    let error = fill((&mount.path, &ballast), &client, &mut sequence, &mut acked).await;
    let ClientError::Server { code: ErrorCode::DiskFull, retry_after_ms, .. } = error else {
        panic!("full, but: {error}");
    };
    assert!(retry_after_ms > 0, "waiting helps, and the answer says so");
    assert!(used_percent(&mount.path) >= 95, "{} %", used_percent(&mount.path));
    let after = check_what_is_left(&client, &mut acked).await;
    assert!(after > start, "the oldest went first");

    std::fs::remove_file(&ballast).expect("the ballast goes");
    store(&client, sequence + 1, &mut acked).await;
    check_what_is_left(&client, &mut acked).await;
    node.kill();
    verify_clean(&data);
    let node = Node::start(&data, &OPTIONS);
    check_what_is_left(&node.client().await, &mut acked).await;
    node.stop();
}

/// Somebody else takes all the room there is, and what the node gives up, too, until a producer is
/// refused for it.
async fn fill(
    (disk, ballast): (&Path, &Path),
    client: &Client,
    sequence: &mut u64,
    acked: &mut Acked,
) -> ClientError {
    let mut file = OpenOptions::new().create(true).append(true).open(ballast).expect("a file");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, free) = room(disk);
        // As much as there is: how little is left before it fails is the file system's to know.
        let _ = file.write_all(&vec![1; free as usize]);
        *sequence += 1;
        match send(client, *sequence, acked).await {
            Err(ClientError::Server { code: ErrorCode::Busy, .. }) | Ok(()) => {}
            // The room of a segment that has just gone is ours, too.
            Err(error) if used_percent(disk) >= 95 => return error,
            Err(_) => {}
        }
        assert!(Instant::now() < deadline, "{} % used, and all is stored", used_percent(disk));
    }
}
