//! `uringmq produce`: lines become messages.
//!
//! Reads top-down: [`run`] -> `produce` (read, send, count, all at once) -> `Target::send` (one
//! chunk of lines) -> `report`.
//! Invariants: chunks are begun in the order they were read, so the lines of one queue stay in
//! order (unless the node was busy and a batch had to be sent again); every message is either acknowledged or counted as failed; what is in flight is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use net::client::{AckLevel, Client, ClientError, ErrorCode, Partitioner, Producer, Record};
use serde_json::json;

use crate::connect::{Ack, Server, block_on};
use crate::exit::after_help;
use crate::failure::{Failure, advice};
use crate::lines::{self, Chunk};
use crate::output::{grouped, print_json, say};
use crate::stop;

/// Lines of one batch: with what a record adds to each (less than 20 bytes and its key's length,
/// which is counted), they stay below the 1 MiB that a batch may have.
const PART_BYTES_MAX: usize = 512 * 1024;
const PART_LINES_MAX: usize = 16 * 1024;
/// How long a batch is sent again and again to a node that is busy.
const BUSY_PATIENCE: Duration = Duration::from_secs(30);

/// Options of `produce`.
#[derive(Debug, Args)]
#[command(after_help = after_help(
    "  echo hello | uringmq produce greetings\n  \
     uringmq produce logs /var/log/syslog --ack written\n  \
     tail -f access.log | uringmq produce clicks\n  \
     printf 'anna=1\\nbert=2\\n' | uringmq produce counts --key-separator ="
))]
pub(crate) struct Options {
    /// The topic; it has to exist.
    topic: String,
    /// Files whose lines are the messages; none, or "-": standard input.
    files: Vec<PathBuf>,
    /// What stands before the first SEP of a line is the message's key, the rest its value;
    /// messages of one key go to one queue. A line without SEP has no key.
    #[arg(long, value_name = "SEP", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    key_separator: Option<String>,
    /// When a message counts as stored [default: as the topic says].
    #[arg(long, value_enum)]
    ack: Option<Ack>,
    /// All messages to this queue; otherwise by key, or else to one queue after the other.
    #[arg(long, value_name = "N")]
    queue: Option<u16>,
    /// Batches on their way at once. A batch that finds the node busy is sent again, and may then
    /// end up behind later ones; with 1 the order is kept whatever happens.
    #[arg(long, value_name = "N", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    in_flight: u32,
    /// Report in JSON, on standard output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Runs it.
pub(crate) fn run(options: Options) -> ExitCode {
    let stop = match stop::on_signal() {
        Ok(stop) => stop,
        Err(failure) => return failure.report(),
    };
    block_on(async move { produce(options, &stop).await })
}

async fn produce(options: Options, stop: &tokio::sync::Notify) -> Result<(), Failure> {
    let client = options.server.connect_unless(stop).await?;
    let target = Target::find(&client, &options).await?;
    let in_flight_max = options.in_flight as usize;
    let files = if options.files.is_empty() { vec!["-".into()] } else { options.files };
    let mut chunks = lines::read(files, client.node().batch_bytes_max as usize);
    let begun = Instant::now();
    let mut tally = Tally::default();
    let mut in_flight = InFlight::default();
    let mut reading = true;
    while reading || !in_flight.0.is_empty() {
        tokio::select! {
            biased;
            () = stop.notified(), if reading => reading = false,
            (records, outcome) = in_flight.next(), if !in_flight.0.is_empty() => {
                tally.count(records, outcome);
                reading &= tally.error.is_none();
            }
            chunk = chunks.recv(), if reading && in_flight.0.len() < in_flight_max => {
                match chunk {
                    Some(Ok(chunk)) => target.send(chunk, &mut tally, &mut in_flight).await,
                    Some(Err(failure)) => {
                        // What was read before is stored all the same.
                        tally.input = Some(failure);
                        reading = false;
                    }
                    None => reading = false,
                }
            }
        }
    }
    if target.ack == AckLevel::None {
        // The node answers in order: now it has taken what it wanted to take.
        client.flush().await?;
        client.ping(b"").await?;
    }
    report(tally, &target, begun.elapsed(), options.json)
}

/// The result of a batch on its way: how many messages, and what became of them.
type Sending = Pin<Box<dyn Future<Output = (u64, Result<(), ClientError>)>>>;

/// Batches on their way, in order.
#[derive(Default)]
struct InFlight(VecDeque<Sending>);

impl InFlight {
    /// Begins to send; polled once here, so that batches take their places in line in order.
    async fn push(&mut self, mut sending: Sending, tally: &mut Tally) {
        let done = poll_fn(|cx| std::task::Poll::Ready(sending.as_mut().poll(cx))).await;
        match done {
            std::task::Poll::Ready((records, outcome)) => tally.count(records, outcome),
            std::task::Poll::Pending => self.0.push_back(sending),
        }
    }

    /// Waits for the oldest one. Dropping this future loses nothing.
    async fn next(&mut self) -> (u64, Result<(), ClientError>) {
        let Some(front) = self.0.front_mut() else { return std::future::pending().await };
        let outcome = front.await;
        self.0.pop_front();
        outcome
    }
}

/// Where messages go.
struct Target {
    /// One for each queue, by its number.
    producers: Vec<Arc<Producer>>,
    queue: Option<u16>,
    key_separator: Option<String>,
    ack: AckLevel,
}

impl Target {
    async fn find(client: &Client, options: &Options) -> Result<Self, Failure> {
        let topic = client.describe_topic(&options.topic).await?;
        let ack = options.ack.map_or(topic.ack, AckLevel::from);
        if let Some(queue) = options.queue.filter(|&queue| usize::from(queue) >= topic.queues.len())
        {
            return Err(ClientError::NoSuchQueue { queue }.into());
        }
        let mut producers = Vec::new();
        for queue in &topic.queues {
            let partitioner = Partitioner::Queue(queue.queue);
            let producer = client.producer(&*options.topic).ack(ack).partitioner(partitioner);
            producers.push(Arc::new(producer.build().await?));
        }
        let key_separator = options.key_separator.clone();
        Ok(Self { producers, queue: options.queue, key_separator, ack })
    }

    /// Sends the lines of a chunk, as one batch for each queue they go to.
    async fn send(&self, chunk: Chunk, tally: &mut Tally, in_flight: &mut InFlight) {
        let chunk = Arc::new(chunk);
        let mut parts: BTreeMap<usize, Part> = BTreeMap::new();
        for (at, line) in chunk.lines().enumerate() {
            tally.bytes += line.len() as u64;
            let queue = self.queue_of(line, &mut tally.turn);
            let part = parts.entry(queue).or_default();
            if !part.takes(line) {
                let full = std::mem::take(part);
                self.send_part(queue, &chunk, full, tally, in_flight).await;
            }
            if let Some(part) = parts.get_mut(&queue) {
                part.bytes += line.len();
                part.lines.push(at);
            }
        }
        for (queue, part) in parts {
            self.send_part(queue, &chunk, part, tally, in_flight).await;
        }
    }

    fn queue_of(&self, line: &[u8], turn: &mut usize) -> usize {
        let queues = self.producers.len().max(1);
        match (self.queue, record(line, self.key_separator.as_deref()).key) {
            (Some(queue), _) => usize::from(queue),
            // As the client library's `Partitioner::KeyHash` does it.
            (None, Some(key)) => crc32c::crc32c(key) as usize % queues,
            (None, None) => {
                *turn = (*turn + 1) % queues;
                *turn
            }
        }
    }

    async fn send_part(
        &self,
        queue: usize,
        chunk: &Arc<Chunk>,
        part: Part,
        tally: &mut Tally,
        in_flight: &mut InFlight,
    ) {
        let Some(producer) = self.producers.get(queue).map(Arc::clone) else { return };
        let chunk = Arc::clone(chunk);
        let separator = self.key_separator.clone();
        let one_way = self.ack == AckLevel::None;
        let sending = Box::pin(async move {
            let lines = part.lines.iter().map(|&at| chunk.line(at));
            let records: Vec<_> = lines.map(|line| record(line, separator.as_deref())).collect();
            let outcome = if one_way {
                send_one_way(&producer, &records).await
            } else {
                send_patiently(&producer, &records).await
            };
            (records.len() as u64, outcome)
        });
        in_flight.push(sending, tally).await;
    }
}

/// Lines of a chunk that go to one queue in one batch.
#[derive(Default)]
struct Part {
    lines: Vec<usize>,
    bytes: usize,
}

impl Part {
    /// Whether it stays one batch with this line: then it is stored wholly or not at all, and may
    /// be sent again.
    fn takes(&self, line: &[u8]) -> bool {
        let fits = self.bytes + line.len() <= PART_BYTES_MAX && self.lines.len() < PART_LINES_MAX;
        self.lines.is_empty() || fits
    }
}

/// Sends one batch, again and again while the node has no room for it: nothing was written then.
async fn send_patiently(producer: &Producer, records: &[Record<'_>]) -> Result<(), ClientError> {
    let begun = Instant::now();
    loop {
        match producer.send_batch(records).await {
            Err(ClientError::Server { code: ErrorCode::Busy, retry_after_ms, .. })
                if begun.elapsed() < BUSY_PATIENCE =>
            {
                let pause = Duration::from_millis(u64::from(retry_after_ms.max(1)));
                tokio::time::sleep(pause).await;
            }
            other => return other.map(drop),
        }
    }
}

async fn send_one_way(producer: &Producer, records: &[Record<'_>]) -> Result<(), ClientError> {
    for record in records {
        producer.send_one_way(record).await?;
    }
    Ok(())
}

fn record<'a>(line: &'a [u8], separator: Option<&str>) -> Record<'a> {
    let separator = separator.unwrap_or_default().as_bytes();
    if separator.is_empty() {
        return Record::new(line);
    }
    let at = line.windows(separator.len()).position(|window| window == separator);
    match at.and_then(|at| line.split_at_checked(at)) {
        Some((key, rest)) => {
            Record::new(rest.get(separator.len()..).unwrap_or_default()).with_key(key)
        }
        None => Record::new(line),
    }
}

/// What became of the messages.
#[derive(Default)]
struct Tally {
    sent: u64,
    failed: u64,
    bytes: u64,
    error: Option<ClientError>,
    input: Option<Failure>,
    /// The queue whose turn it is.
    turn: usize,
}

impl Tally {
    fn count(&mut self, records: u64, outcome: Result<(), ClientError>) {
        match outcome {
            Ok(()) => self.sent += records,
            Err(error) => {
                self.failed += records;
                self.error.get_or_insert(error);
            }
        }
    }
}

fn report(tally: Tally, target: &Target, took: Duration, json: bool) -> Result<(), Failure> {
    let seconds = took.as_secs_f64().max(1e-9);
    let rate = tally.sent as f64 / seconds;
    let ack = target.ack.name();
    if json {
        print_json(&json!({
            "acknowledged": tally.sent, "failed": tally.failed, "bytes": tally.bytes,
            "seconds": seconds, "messages_per_second": rate, "ack": ack,
            "error": tally.error.as_ref().map(ToString::to_string),
        }))?;
    }
    let verb = if target.ack == AckLevel::None { "sent one-way" } else { "acknowledged" };
    say(format_args!(
        "{} messages ({} bytes read) {verb} with ack {ack} in {seconds:.3} s: {} messages/s",
        grouped(tally.sent),
        grouped(tally.bytes),
        grouped(rate as u64)
    ));
    if let Some(error) = tally.error {
        let unsure = if error.outcome_unknown() { " (some may be stored)" } else { "" };
        let advice = advice(&error).map(|advice| format!("\n  {advice}")).unwrap_or_default();
        return Err(Failure::Incomplete(format!(
            "{} messages were not acknowledged{unsure}: {error}{advice}",
            grouped(tally.failed)
        )));
    }
    tally.input.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_before_the_first_separator() {
        let split = |line: &'static str, separator| {
            let record = record(line.as_bytes(), separator);
            let text = |bytes: &'static [u8]| std::str::from_utf8(bytes).unwrap();
            (record.key.map(text), record.value.map(text))
        };
        assert_eq!(split("a=b=c", Some("=")), (Some("a"), Some("b=c")));
        assert_eq!(split("a::b", Some("::")), (Some("a"), Some("b")));
        assert_eq!(split("=b", Some("=")), (Some(""), Some("b")));
        assert_eq!(split("a=", Some("=")), (Some("a"), Some("")));
        assert_eq!(split("ab", Some("=")), (None, Some("ab")));
        assert_eq!(split("a=b", None), (None, Some("a=b")));
    }
}
