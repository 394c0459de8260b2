//! What connections cost a node that do nothing, and what a node does that is offered too much.
//!
//! `cargo run --release -p bench --example guests -- NODE DIR idle [COUNT]`
//! `cargo run --release -p bench --example guests -- NODE DIR overload [SECONDS]`
//!
//! NODE is the `uringmq` binary, DIR a directory for its data (removed at the end).
//!
//! *idle*: the node's memory and CPU with COUNT connections that have said Hello and nothing else, and
//! with a waiting fetch on each; and what a steady producer gets beside them, against itself alone
//! before and after. *overload*: the rate that clients get which wait for their acknowledgements is
//! taken for the capacity; then twice as much is offered for SECONDS, whatever comes back, and
//! afterwards a lone producer tells when the node is itself again.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bench::yardstick::process::Usage;
use net::client::{AckLevel, Client, ClientError, NewTopic, Producer, Record, RetryPolicy};
use net::wire::{
    Fetch, Hello, Request, RequestHeader, SHARD_ANY, VERSION, encode_request, frame_length,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::task::JoinSet;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const COUNT: usize = 5000;
const MIB: f64 = 1024.0 * 1024.0;
/// Batches of 64 messages of 1 KiB.
const BATCH: usize = 64;
const VALUE_BYTES: usize = 1024;
const CLIENTS: usize = 8;
/// Batches of one client that may be on their way when more is offered than is taken.
const OUTSTANDING_MAX: u64 = 256;

/// A node, which dies with this, and its directory.
struct Node {
    child: Child,
    address: String,
    data: PathBuf,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

impl Node {
    async fn start(program: &str, dir: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let data = dir.join("guests-data");
        let child = Command::new(program)
            .args(["serve", "--listen", &address, "--retention-size", "4GiB"])
            .args(["--retention-disk", "none", "--data"])
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let node = Self { child, address, data };
        let begun = Instant::now();
        while Client::connect(&node.address).await.is_err() {
            if begun.elapsed() > Duration::from_secs(10) {
                return Err("the node does not start".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(node)
    }

    fn usage(&self) -> Result<Usage> {
        Ok(Usage::of(self.child.id())?)
    }

    async fn producer(&self) -> Result<Producer> {
        let client = Client::connect(&self.address).await?;
        let builder = client.producer("t").ack(AckLevel::Durable).idempotent(false);
        let builder = builder.retry(RetryPolicy::NONE).in_flight_max(OUTSTANDING_MAX as usize);
        Ok(builder.build().await?)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [program, dir, what, rest @ ..] = args.as_slice() else {
        return Err("usage: guests NODE DIR idle|overload [NUMBER]".into());
    };
    let (_, files) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, files, files)?;
    let number: Option<u32> = rest.first().map(|text| text.parse()).transpose()?;
    let node = Node::start(program, Path::new(dir)).await?;
    let client = Client::connect(&node.address).await?;
    let retention = Default::default();
    for name in ["t", "quiet"] {
        let topic = NewTopic {
            name,
            queues: 1,
            ack: None,
            deep_validation: false,
            key_index: false,
            retention,
        };
        client.create_topic(&topic).await?;
    }
    match what.as_str() {
        "idle" => idle(&node, &client, number.map_or(COUNT, |it| it as usize)).await,
        "overload" => overload(&node, number.map_or(60, u64::from)).await,
        _ => Err("idle or overload?".into()),
    }
}

async fn idle(node: &Node, client: &Client, count: usize) -> Result<()> {
    let quiet = client.describe_topic("quiet").await?.id;
    let sends = node.producer().await?;
    steady(&sends).await?;
    let alone = steady(&sends).await?;
    let before = node.usage()?;
    let mut guests = Vec::with_capacity(2 * count);
    for _ in 0..count {
        guests.push(guest(&node.address)?);
    }
    let with_idle = tell(node, &before, count, "idle").await?;
    let beside_idle = steady(&sends).await?;
    for _ in 0..count {
        let mut stream = guest(&node.address)?;
        let fetch = Fetch {
            topic: quiet,
            queue: 0,
            offset: 0,
            epoch: 0,
            bytes_max: 1 << 20,
            bytes_min: 1,
            wait_max_ms: 60_000,
        };
        stream.write_all(&frame(&Request::Fetch(fetch))?)?;
        guests.push(stream);
    }
    tell(node, &with_idle, count, "with a waiting fetch").await?;
    let beside_all = steady(&sends).await?;
    drop(guests);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = steady(&sends).await?;
    let alone = (alone + after) / 2.0;
    println!("durable batches/s alone {alone:.0}");
    println!(
        "  beside the idle {:.3} of it, beside all {:.3}",
        beside_idle / alone,
        beside_all / alone
    );
    println!("goals: at most 4 KiB each, 1 % of a core; at least 0.97");
    Ok(())
}

/// Memory of each connection since `before`, and CPU of ten quiet seconds.
async fn tell(node: &Node, before: &Usage, count: usize, what: &str) -> Result<Usage> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begin = node.usage()?;
    let each = begin.rss_bytes.saturating_sub(before.rss_bytes) / count as u64;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let cpu = node.usage()?.since(&begin).cpu;
    println!(
        "{count} connections {what}: {each} bytes each, {:.2} % of a core",
        cpu.as_secs_f64() * 10.0
    );
    Ok(begin)
}

fn frame(request: &Request<'_>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    encode_request(&mut out, &RequestHeader::default(), request)?;
    Ok(out)
}

/// A connection that has said Hello.
fn guest(address: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    let (version_min, version_max) = (VERSION, VERSION);
    let hello = Hello { version_min, version_max, shard_wish: SHARD_ANY, client: "guest" };
    stream.write_all(&frame(&Request::Hello(hello))?)?;
    let mut reply = vec![0; 4];
    stream.read_exact(&mut reply)?;
    let length = frame_length(&reply, 1 << 20)?.ok_or("no reply")?;
    reply.resize(length - 4, 0);
    stream.read_exact(&mut reply)?;
    Ok(stream)
}

/// Acknowledged batches per second of a producer with one on its way.
async fn steady(sends: &Producer) -> Result<f64> {
    let value = [1; VALUE_BYTES];
    let (begun, mut sent) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(3) {
        sends.send(&Record::new(&value)).await?;
        sent += 1;
    }
    Ok(f64::from(sent) / begun.elapsed().as_secs_f64())
}

/// What all clients have seen.
#[derive(Debug, Default)]
struct Seen {
    acked: AtomicU64,
    busy: AtomicU64,
    failed: AtomicU64,
    /// Offered, but the client had too much on its way.
    held_back: AtomicU64,
    ends: AtomicBool,
}

async fn overload(node: &Node, seconds: u64) -> Result<()> {
    let calm = node.producer().await?;
    let before = median(&calm, Duration::from_secs(2)).await?;
    let base = node.usage()?.rss_bytes as f64 / MIB;
    let mut producers = Vec::new();
    for _ in 0..CLIENTS {
        producers.push(Arc::new(node.producer().await?));
    }
    let time = Duration::from_secs(10);
    let (peak, _) = offer(node, &producers, None, time).await?;
    println!("calm: durable p50 {before:?}, RSS {base:.0} MiB; capacity {peak:.0} batches/s");
    let time = Duration::from_secs(seconds);
    let (goodput, rss) = offer(node, &producers, Some(2.0 * peak), time).await?;
    println!(
        "offered twice that for {seconds} s: {goodput:.0} batches/s, {:.3} of it",
        goodput / peak
    );
    println!("RSS at most {rss:.0} MiB");
    let begun = Instant::now();
    let recovered = loop {
        let now = median(&calm, Duration::from_millis(100)).await?;
        if now <= before * 2 {
            break begun.elapsed();
        }
        if begun.elapsed() > Duration::from_secs(30) {
            return Err(format!("not itself again: p50 {now:?}").into());
        }
    };
    println!("durable p50 within twice the calm one after {recovered:?}");
    println!("goals: at least 0.9; within a second");
    Ok(())
}

/// Median latency of one durable message at a time.
async fn median(calm: &Producer, time: Duration) -> Result<Duration> {
    let (begun, mut all) = (Instant::now(), Vec::new());
    while begun.elapsed() < time {
        let sent = Instant::now();
        calm.send(&Record::new(b"calm")).await?;
        all.push(sent.elapsed());
    }
    all.sort_unstable();
    all.get(all.len() / 2).copied().ok_or_else(|| "no message".into())
}

/// Acknowledged batches per second, and the most memory the node had: each client as fast as it is
/// answered with a few on their way, or all together at this rate, whatever is answered.
async fn offer(
    node: &Node,
    producers: &[Arc<Producer>],
    rate: Option<f64>,
    time: Duration,
) -> Result<(f64, f64)> {
    let seen = Arc::<Seen>::default();
    let mut clients = JoinSet::new();
    for producer in producers {
        let (producer, seen) = (Arc::clone(producer), Arc::clone(&seen));
        let every = rate.map(|rate| Duration::from_secs_f64(producers.len() as f64 / rate));
        clients.spawn(async move { client(&producer, &seen, every).await });
    }
    let begun = Instant::now();
    let mut rss: u64 = 0;
    while begun.elapsed() < time {
        tokio::time::sleep(Duration::from_millis(100)).await;
        rss = rss.max(node.usage()?.rss_bytes);
    }
    let (acked, elapsed) = (seen.acked.load(Relaxed), begun.elapsed());
    seen.ends.store(true, Relaxed);
    while clients.join_next().await.is_some() {}
    let (busy, failed) = (seen.busy.load(Relaxed), seen.failed.load(Relaxed));
    let held_back = seen.held_back.load(Relaxed);
    println!("  acknowledged {acked}, busy {busy}, failed {failed}, held back {held_back}");
    Ok((acked as f64 / elapsed.as_secs_f64(), rss as f64 / MIB))
}

async fn client(producer: &Arc<Producer>, seen: &Arc<Seen>, every: Option<Duration>) {
    let mut sends = JoinSet::new();
    let mut next = Instant::now();
    while !seen.ends.load(Relaxed) {
        while sends.try_join_next().is_some() {}
        match every {
            Some(every) => {
                next += every;
                tokio::time::sleep_until(next.into()).await;
                if sends.len() as u64 >= OUTSTANDING_MAX {
                    seen.held_back.fetch_add(1, Relaxed);
                    continue;
                }
            }
            None if sends.len() >= 4 => drop(sends.join_next().await),
            None => {}
        }
        let (producer, seen) = (Arc::clone(producer), Arc::clone(seen));
        sends.spawn(async move { send(&producer, &seen).await });
    }
    while sends.join_next().await.is_some() {}
}

async fn send(producer: &Producer, seen: &Seen) {
    let value = [9; VALUE_BYTES];
    let records = [Record::new(&value); BATCH];
    let count = match producer.send_batch(&records).await {
        Ok(_) => &seen.acked,
        Err(ClientError::Server { retry_after_ms, .. }) if retry_after_ms > 0 => &seen.busy,
        Err(_) => &seen.failed,
    };
    count.fetch_add(1, Relaxed);
}
