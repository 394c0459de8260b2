//! `uringmq produce`: lines become messages.
//!
//! Reads top-down: [`run`] -> `produce` -> `feed` (read and send until the end, a signal or a
//! failure) -> `send` (a chunk of lines) -> `report`.
//! Invariants: the lines of one queue are stored in order, and once (unless `--idempotent=false`);
//! every message is either acknowledged or counted as failed; what is in flight is bounded.

mod input;
mod tally;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{ArgAction, Args};
use config::value::{OrNone, Size, Time};
use net::client::{
    AckLevel, Client, ClientError, Compression, IDEMPOTENT_IN_FLIGHT_MAX, Partitioner, Producer,
    Record, RecordHeader,
};
use serde_json::json;

use crate::connect::{Ack, Server, block_on};
use crate::exit::after_help;
use crate::failure::{Failure, advice};
use crate::lines::{self, Chunk, Chunks};
use crate::output::{counted, grouped, print_json, say};
use crate::start_at::Moment;
use crate::stop;
use input::{Format, Line, Shape};
use tally::Tally;

/// Options of `produce`.
#[derive(Debug, Args)]
#[command(after_help = after_help(
    "  echo hello | uringmq produce greetings\n  \
     uringmq produce logs /var/log/syslog --ack written --compression zstd\n  \
     tail -f access.log | uringmq produce clicks\n  \
     printf 'anna=1\\nbert=2\\n' | uringmq produce counts --key-separator =\n  \
     uringmq consume orders --json | uringmq produce orders-copy --format json"
))]
pub(crate) struct Options {
    /// The topic; it has to exist.
    topic: String,
    /// Files whose lines are the messages; none, or "-": standard input.
    files: Vec<PathBuf>,
    /// What a line is.
    #[arg(short = 'f', long, value_enum, default_value_t)]
    format: Format,
    /// What stands before the first SEP of a line is the message's key, the rest its value;
    /// messages of one key go to one queue. A line without SEP has no key.
    #[arg(long, value_name = "SEP",
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    key_separator: Option<String>,
    /// The key of all messages that have none of their own.
    #[arg(short, long)]
    key: Option<String>,
    /// A header of all messages that have none of their own; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// The time of all messages that have none of their own: @MILLISECONDS since 1970, or RFC 3339
    /// [default: now].
    #[arg(long, value_name = "TIME")]
    timestamp: Option<Moment>,
    /// How messages find their queues.
    #[arg(long, value_enum, default_value_t, conflicts_with = "queue")]
    partitioner: By,
    /// All messages to this queue.
    #[arg(long, value_name = "N")]
    queue: Option<u16>,
    /// With --format json: each message to the queue its line says.
    #[arg(long, conflicts_with = "queue")]
    keep_queue: bool,
    /// Compress batches; consumers undo it, the node stores what it gets.
    #[arg(short = 'z', long, value_enum, default_value_t)]
    compression: Codec,
    /// When a message counts as stored [default: as the topic says].
    #[arg(long, value_enum)]
    ack: Option<Ack>,
    /// Store every message once and in order, whatever happens to the connection or the node;
    /// =false gives up what was in flight when a connection broke, and may change the order of
    /// batches that found the node busy.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_value_t = true, default_missing_value = "true")]
    idempotent: bool,
    /// Let a batch wait this long for more lines. Without it a slow pipe's lines go at once, and
    /// batches fill while others are on their way.
    #[arg(long, value_name = "TIME", default_value = "none")]
    linger: OrNone<Time>,
    /// Fill batches up to this size, before compression.
    #[arg(long, value_name = "SIZE", default_value = "256KiB")]
    batch_size: Size,
    /// Batches of one queue on their way at once (an idempotent producer: at most 5).
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    in_flight: u32,
    /// Try this long to get a message stored, then give it up.
    #[arg(long, value_name = "TIME", default_value = "1m")]
    delivery_timeout: Time,
    /// Report in JSON, on standard output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// How messages find their queues.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum By {
    /// One key's messages to one queue; those without a key to one queue after the other.
    #[default]
    Key,
    /// One queue after the other, whatever the key.
    RoundRobin,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Codec {
    /// Not at all.
    #[default]
    None,
    /// Compact, slow.
    Gzip,
    /// Fast.
    Snappy,
    /// Fast.
    Lz4,
    /// Compact, and quick.
    Zstd,
}

impl Codec {
    fn compression(self) -> Compression {
        match self {
            Self::None => Compression::None,
            Self::Gzip => Compression::Gzip,
            Self::Snappy => Compression::Snappy,
            Self::Lz4 => Compression::Lz4,
            Self::Zstd => Compression::Zstd,
        }
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a header is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs it.
pub(crate) fn run(options: Options) -> ExitCode {
    let stop = match stop::on_signal() {
        Ok(stop) => stop,
        Err(failure) => return failure.report(),
    };
    block_on(async move {
        let topic = options.topic.clone();
        produce(options, &stop).await.map_err(|failure| failure.about(&topic))
    })
}

async fn produce(mut options: Options, stop: &tokio::sync::Notify) -> Result<(), Failure> {
    if options.idempotent && options.in_flight as usize > IDEMPOTENT_IN_FLIGHT_MAX {
        return Err(Failure::Usage(format!(
            "--in-flight {}: with --idempotent (the default) at most {IDEMPOTENT_IN_FLIGHT_MAX}; \
             more go with --idempotent=false",
            options.in_flight
        )));
    }
    let client = options.server.connect_unless(stop).await?;
    let most = client.node().batch_bytes_max;
    if options.batch_size.bytes > u64::from(most) {
        let (asked, most) = (options.batch_size, Size { bytes: most.into() });
        return Err(Failure::Usage(format!("--batch-size {asked}: this node takes up to {most}")));
    }
    let topic = client.describe_topic(&options.topic).await?;
    let ack = options.ack.map_or(topic.ack, AckLevel::from);
    let tally = Arc::new(Tally::new(options.delivery_timeout.0));
    let producer = producer(&client, &options, ack, &tally).await?;
    let line_bytes_max = client.node().batch_bytes_max as usize;
    let mut files = std::mem::take(&mut options.files);
    if files.is_empty() {
        files.push("-".into());
    }
    let mut chunks = lines::read(files, line_bytes_max);
    let begun = Instant::now();
    let mut fed = Fed::default();
    let ended = tokio::select! {
        biased;
        // What was accepted is still delivered.
        () = stop.notified() => Ok(()),
        () = tally.failure() => Ok(()),
        ended = feed(&producer, &mut chunks, &options, &mut fed) => ended,
    };
    let delivered = producer.flush().await;
    let nothing = tally.counts().acknowledged == 0 && (delivered.is_err() || ended.is_err());
    // What went wrong is said next; that nothing was done need not be.
    if options.json || !nothing {
        report(&tally, &fed, ack, begun.elapsed(), options.json)?;
    }
    if let Err(error) = delivered {
        return Err(incomplete(&tally, &error, &options.topic));
    }
    ended
}

async fn producer(
    client: &Client,
    options: &Options,
    ack: AckLevel,
    tally: &Arc<Tally>,
) -> Result<Producer, Failure> {
    let partitioner = match (options.queue, options.partitioner) {
        (Some(queue), _) => Partitioner::Queue(queue),
        (None, By::Key) => Partitioner::KeyHash,
        (None, By::RoundRobin) => Partitioner::RoundRobin,
    };
    let builder = client.producer(&*options.topic).ack(ack).partitioner(partitioner);
    let producer = builder
        .compression(options.compression.compression())
        .idempotent(options.idempotent)
        .linger(options.linger.0.map_or(Duration::ZERO, |linger| linger.0))
        .batch_bytes(usize::try_from(options.batch_size.bytes).unwrap_or(usize::MAX))
        .in_flight_max(options.in_flight as usize)
        .delivery_timeout(options.delivery_timeout.0)
        .observer(Arc::clone(tally) as _)
        .build();
    Ok(producer.await?)
}

/// What was read.
#[derive(Debug, Default)]
struct Fed {
    lines: u64,
    bytes: u64,
}

/// Reads and sends everything.
async fn feed(
    producer: &Producer,
    chunks: &mut Chunks,
    options: &Options,
    fed: &mut Fed,
) -> Result<(), Failure> {
    let key = options.key.clone();
    let shape = Shape::new(options.format, options.key_separator.as_deref(), key);
    let pairs = options.headers.iter();
    let headers = pairs.map(|(name, value)| header_of(name.as_bytes(), Some(value.as_bytes())));
    let common: Vec<_> = headers.collect();
    while let Some(chunk) = chunks.recv().await {
        send(producer, &chunk?, &shape, &common, options, fed).await?;
    }
    Ok(())
}

/// Sends the lines of a chunk.
async fn send(
    producer: &Producer,
    chunk: &Chunk,
    shape: &Shape,
    common: &[RecordHeader<'_>],
    options: &Options,
    fed: &mut Fed,
) -> Result<(), Failure> {
    let now_ms = options.timestamp.map_or_else(now_ms, |Moment(time)| time);
    for bytes in chunk.lines() {
        fed.lines += 1;
        fed.bytes += bytes.len() as u64;
        let plain = Record::new(bytes).with_headers(common).with_timestamp_ms(now_ms);
        if shape.is_plain() {
            producer.send_async(&plain).await?;
            continue;
        }
        let line = shape.line(bytes);
        let line = line.map_err(|why| Failure::Incomplete(format!("line {}: {why}", fed.lines)))?;
        let Line { queue, key, value, headers, timestamp_ms } = &line;
        let own: Vec<_> =
            headers.iter().map(|(name, value)| header_of(name, value.as_deref())).collect();
        let record = Record {
            key: key.as_deref(),
            value: value.as_deref(),
            headers: if own.is_empty() { common } else { &own },
            timestamp_ms: Some(timestamp_ms.unwrap_or(now_ms)),
        };
        match queue.filter(|_| options.keep_queue) {
            Some(queue) => producer.send_to(queue, &record).await?,
            None => producer.send_async(&record).await?,
        };
    }
    Ok(())
}

fn header_of<'a>(key: &'a [u8], value: Option<&'a [u8]>) -> RecordHeader<'a> {
    RecordHeader { key, value }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn report(
    tally: &Tally,
    fed: &Fed,
    ack: AckLevel,
    took: Duration,
    json: bool,
) -> Result<(), Failure> {
    let seconds = took.as_secs_f64().max(1e-9);
    let counts = tally.counts();
    let rate = counts.acknowledged as f64 / seconds;
    if json {
        print_json(&json!({
            "acknowledged": counts.acknowledged, "failed": counts.failed, "bytes": fed.bytes,
            "batches": counts.batches, "sent_bytes": counts.sent_bytes, "retries": counts.retries,
            "seconds": seconds, "messages_per_second": rate, "ack": ack.name(),
            "error": tally.error().map(|error| error.to_string()),
        }))?;
    }
    say(format_args!(
        "{} ({} bytes read, {} sent) acknowledged with ack {} in {seconds:.3} s: \
         {} messages/s",
        counted(counts.acknowledged, "message"),
        grouped(fed.bytes),
        grouped(counts.sent_bytes),
        ack.name(),
        grouped(rate as u64)
    ));
    Ok(())
}

fn incomplete(tally: &Tally, error: &ClientError, topic: &str) -> Failure {
    let error = tally.error().unwrap_or_else(|| error.clone());
    let unsure = if error.outcome_unknown() { " (some may be stored)" } else { "" };
    let advice = advice(&error)
        .map(|advice| format!("\n  {}", advice.replace("TOPIC", topic)))
        .unwrap_or_default();
    let failed = tally.counts().failed;
    let was = if failed == 1 { "was" } else { "were" };
    let failed = counted(failed, "message");
    Failure::Incomplete(format!("{failed} {was} not acknowledged{unsure}: {error}{advice}"))
}
