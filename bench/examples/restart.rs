//! How long a node takes to serve again after kill -9, by length of its log; and how long a place
//! in a long log takes to find.
//!
//! `cargo run --release -p bench --example restart -- NODE DIR GIB,GIB,.. [VALUE_BYTES]`
//!
//! NODE is the `uringmq` binary. For each length a directory is made under DIR and filled over
//! loopback, and its node killed. Then the nodes are started, timed and killed in turn, ten times
//! each. Times count from the start of the process to the first durable acknowledgement.
//! The directories are removed at the end.

use std::error::Error;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bench::yardstick::process::Usage;
use net::client::{AckLevel, Client, ClientError, ErrorCode, ListKind, NewTopic, Record};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ROUNDS: usize = 10;
const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;
/// The node's default.
const SEGMENT_BYTES: u64 = 256 << 20;
const TOPIC: &str = "fill";
const QUEUES: u16 = 4;
const SEEKS: u64 = 400;
/// Bytes of one batch, and how many are on their way.
const BATCH_BYTES: usize = 256 << 10;
const IN_FLIGHT: usize = 4;

/// A directory and the node on it, which dies with this.
struct Node {
    child: Child,
    address: String,
}

impl Drop for Node {
    fn drop(&mut self) {
        // SIGKILL: nothing in it gets a chance to tidy up.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    fn start(program: &str, dir: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let child = Command::new(program)
            .args(["serve", "--listen", &address, "--retention-disk", "none", "--data"])
            .arg(dir)
            .stdout(Stdio::null())
            .stderr(log(dir)?)
            .spawn()?;
        Ok(Self { child, address })
    }

    /// A connection, as soon as there can be one.
    async fn client(&self) -> Result<Client> {
        let began = Instant::now();
        loop {
            match Client::connect(&self.address).await {
                Ok(client) => return Ok(client),
                Err(error) if began.elapsed() > Duration::from_secs(120) => {
                    return Err(error.into());
                }
                Err(_) => tokio::time::sleep(Duration::from_micros(500)).await,
            }
        }
    }
}

/// What the node says goes beside its directory.
fn log(dir: &Path) -> Result<fs::File> {
    let path = dir.with_extension("log");
    Ok(fs::OpenOptions::new().create(true).append(true).open(path)?)
}

/// What was measured at one length.
struct Length {
    gib: f64,
    dir: PathBuf,
    millis: Vec<f64>,
    rss_mib: Vec<f64>,
    index_bytes: u64,
    segments: u64,
    tail_bytes: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [program, dir, gibs, rest @ ..] = &args[..] else {
        return Err("usage: restart NODE DIR GIB,GIB,.. [VALUE_BYTES]".into());
    };
    let value_bytes: usize = rest.first().map_or(Ok(4096), |text| text.parse())?;
    let mut lengths = Vec::new();
    for gib in gibs.split(',') {
        let path = Path::new(dir).join(format!("restart-{gib}-gib"));
        fs::create_dir_all(&path)?;
        let gib: f64 = gib.parse()?;
        let node = Node::start(program, &path)?;
        let began = Instant::now();
        fill(&node.client().await?, (gib * GIB) as u64, value_bytes).await?;
        println!("{gib} GiB filled in {:.1} s", began.elapsed().as_secs_f64());
        let (millis, rss_mib) = (Vec::new(), Vec::new());
        lengths.push(Length {
            gib,
            dir: path,
            millis,
            rss_mib,
            index_bytes: 0,
            segments: 0,
            tail_bytes: 0,
        });
    }
    for round in 0..ROUNDS {
        // There and back: what changes with time hits all alike.
        let order: Vec<usize> = (0..lengths.len()).collect();
        let order: Vec<usize> =
            if round % 2 == 0 { order } else { order.into_iter().rev().collect() };
        for at in order {
            if let Some(length) = lengths.get_mut(at) {
                restart(program, length).await?;
            }
        }
    }
    print(&lengths);
    for length in &lengths {
        seeks(program, length).await?;
    }
    for length in &lengths {
        fs::remove_dir_all(&length.dir)?;
        fs::remove_file(length.dir.with_extension("log"))?;
    }
    Ok(())
}

async fn fill(client: &Client, bytes: u64, value_bytes: usize) -> Result<()> {
    let new = NewTopic {
        name: TOPIC,
        queues: QUEUES,
        ack: Some(AckLevel::Written),
        deep_validation: false,
        key_index: false,
        retention: Default::default(),
    };
    client.create_topic(&new).await?;
    let producer = client.producer(TOPIC).ack(AckLevel::Written).build().await?;
    let value: Vec<u8> = (0..value_bytes).map(|at| (at * 31) as u8).collect();
    let records: Vec<Record<'_>> =
        (0..(BATCH_BYTES / value_bytes).max(1)).map(|_| Record::new(&value)).collect();
    let enough = |log_end: u64| {
        // All logs end in the middle of a segment: what is read of the tail is alike.
        let into = log_end % SEGMENT_BYTES;
        log_end >= bytes && (SEGMENT_BYTES / 2..SEGMENT_BYTES * 5 / 8).contains(&into)
    };
    while !enough(counter(client, "log_end").await?) {
        let mut all = Vec::new();
        for _ in 0..IN_FLIGHT {
            all.push(producer.send_batch(&records));
        }
        for one in all {
            match one.await {
                Ok(_) => {}
                Err(ClientError::Server { code: ErrorCode::Busy, .. }) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    durable(client).await
}

/// One message that is durable when this returns.
async fn durable(client: &Client) -> Result<()> {
    let producer = client.producer(TOPIC).ack(AckLevel::Durable).build().await?;
    producer.send(&Record::new(b"here")).await?;
    Ok(())
}

async fn restart(program: &str, length: &mut Length) -> Result<()> {
    let began = Instant::now();
    let node = Node::start(program, &length.dir)?;
    let client = node.client().await?;
    durable(&client).await?;
    length.millis.push(began.elapsed().as_secs_f64() * 1000.0);
    let rss_bytes = Usage::of(node.child.id())?.rss_bytes;
    length.rss_mib.push(rss_bytes as f64 / MIB);
    length.index_bytes = counter(&client, "index_bytes").await?;
    length.segments = counter(&client, "segments").await?;
    length.tail_bytes = counter(&client, "opening_read_bytes").await?;
    Ok(())
}

/// A counter of the node.
async fn counter(client: &Client, name: &str) -> Result<u64> {
    let stats = client.stats(false).await?;
    let all = stats.counters.iter().filter(|counter| counter.name == name);
    Ok(all.map(|counter| counter.value).sum())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print(lengths: &[Length]) {
    let first = lengths.first().map_or(f64::NAN, |length| median(&length.millis));
    println!(
        "\n   log     segments   tail MiB   first durable ack, ms      ratio   RSS MiB   index KiB"
    );
    for Length { gib, millis, rss_mib, index_bytes, segments, tail_bytes, .. } in lengths {
        let min = millis.iter().copied().fold(f64::INFINITY, f64::min);
        let max = millis.iter().copied().fold(0.0, f64::max);
        let middle = median(millis);
        println!(
            "{gib:5.1} GiB  {segments:7}   {:8.1}   {middle:7.1} ({min:.1} - {max:.1})   {:6.2}   {:7.1}   {:9.1}",
            *tail_bytes as f64 / MIB,
            middle / first,
            median(rss_mib),
            *index_bytes as f64 / 1024.0,
        );
    }
}

/// Looks for places all over the log by time.
async fn seeks(program: &str, length: &Length) -> Result<()> {
    let node = Node::start(program, &length.dir)?;
    let client = node.client().await?;
    let topic = client.describe_topic(TOPIC).await?.id;
    let at = |kind, timestamp_ms| client.list_offsets(topic, 0, kind, timestamp_ms);
    let first = at(ListKind::ByTimestamp, 0).await?;
    let end = at(ListKind::Latest, 0).await?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
    let from = first.timestamp_ms;
    let range = (now as i64 - from).max(1);
    let (mut micros, mut found) = (Vec::new(), 0_u64);
    for n in 0..SEEKS {
        // All over the range, in no order.
        let timestamp_ms = from + (n.wrapping_mul(0x9E37_79B9) % range as u64) as i64;
        let began = Instant::now();
        let offset = at(ListKind::ByTimestamp, timestamp_ms).await?;
        micros.push(began.elapsed().as_secs_f64() * 1e6);
        found += u64::from(offset.offset < end.offset);
    }
    micros.sort_by(f64::total_cmp);
    let percentile = |share: f64| micros.get((micros.len() as f64 * share) as usize).copied();
    println!(
        "{:5.1} GiB: {found} of {SEEKS} times found, p50 {:.0} us, p99 {:.0} us",
        length.gib,
        percentile(0.5).unwrap_or(f64::NAN),
        percentile(0.99).unwrap_or(f64::NAN),
    );
    Ok(())
}
