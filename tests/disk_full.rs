//! A full disk is an answer, not an end: reads go on, nothing acknowledged is lost, and when there
//! is room again writes go on, too.
//!
//! Needs a real file system that can be filled: a small image, loop-mounted. Where that is not
//! allowed the test says so and passes (`NO_SKIPS=1`: fails); the simulated disk has its own tests of this.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use net::client::{Client, ClientError, ErrorCode, Record, RetryPolicy};

use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::skip;
use crate::harness::verify::{Acked, check, read_all, value};

pub(crate) const IMAGE_MIB: u64 = 48;
const BALLAST_MIB: u64 = 16;

#[tokio::test]
async fn is_an_answer_and_room_is_used_again() {
    let dir = fresh_dir();
    let mount = match Mount::new(dir.path()) {
        Ok(mount) => mount,
        Err(why) => {
            return skip(format_args!("cannot mount a file system of {IMAGE_MIB} MiB: {why}"));
        }
    };
    let ballast = mount.path.join("ballast");
    std::fs::write(&ballast, vec![1; (BALLAST_MIB << 20) as usize]).expect("room for it");
    let data = mount.path.join("data");
    // Nothing goes to make room.
    let options = ["--segment-size", "2MiB", "--retention-disk", "none"];
    let node = Node::start(&data, &options);
    let client = node.client().await;
    create_topic(&client, "t", 1).await;
    let mut acked = Acked::default();
    let mut sequence = 0;

    let error = fill(&client, &mut sequence, &mut acked).await;
    let ClientError::Server { code: ErrorCode::DiskFull, retry_after_ms, .. } = error else {
        panic!("full, but: {error}");
    };
    assert!(retry_after_ms > 0, "waiting helps, and the answer says so");
    client.ping(b"alive").await.expect("the node goes on");
    check(&read_all(&client, "t").await, &acked);

    std::fs::remove_file(&ballast).expect("the ballast goes");
    let before = acked.0.len();
    let begun = Instant::now();
    while acked.0.len() == before {
        if let Err(error) = produce(&client, &mut sequence, &mut acked).await {
            let waited = begun.elapsed();
            assert!(waited < Duration::from_secs(10), "there is room again, but: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    check(&read_all(&client, "t").await, &acked);
    fill(&client, &mut sequence, &mut acked).await;
    node.kill();
    // A full disk must not keep a node from starting and serving what it holds.
    let node = Node::start(&data, &options);
    check(&read_all(&node.client().await, "t").await, &acked);
    node.stop();
}

/// Produces until it fails.
async fn fill(client: &Client, sequence: &mut u64, acked: &mut Acked) -> ClientError {
    loop {
        match produce(client, sequence, acked).await {
            Ok(()) => assert!(*sequence < IMAGE_MIB * 20, "more was stored than there is room"),
            // A limit of memory, gone in a moment.
            Err(ClientError::Server { code: ErrorCode::Busy, .. }) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => return error,
        }
    }
}

async fn produce(
    client: &Client,
    sequence: &mut u64,
    acked: &mut Acked,
) -> Result<(), ClientError> {
    let producer = client.producer("t").retry(RetryPolicy::NONE).build().await?;
    *sequence += 1;
    let value = value(0, *sequence, 100_000);
    let sent = producer.send(&Record::new(&value)).await?;
    acked.add(sent.queue, sent.offset, &value);
    Ok(())
}

/// A file system of its own, small enough to be filled; unmounted when dropped.
pub(crate) struct Mount {
    pub(crate) path: PathBuf,
}

impl Mount {
    pub(crate) fn new(dir: &Path) -> Result<Self, String> {
        let image = dir.join("image");
        let file = std::fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(IMAGE_MIB << 20).map_err(|error| error.to_string())?;
        let path = dir.join("mount");
        std::fs::create_dir(&path).map_err(|error| error.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&path))?;
        Ok(Self { path })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Nodes are dropped before: nobody is at home any more.
        if let Err(why) = run(Command::new("umount").arg(&self.path)) {
            eprintln!("cannot unmount {}: {why}", self.path.display());
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(errors.trim().to_owned()) }
}
