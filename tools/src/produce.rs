//! `uringmq produce`: lines become messages.
//!
//! Reads top-down: [`run`] -> `produce` (read, send, count, all at once) -> `Target::send` (one
//! chunk of lines) -> `report`.
//! Invariants: chunks are begun in the order they were read, so the lines of one queue stay in
//! order; every message is either acknowledged or counted as failed; what is in flight is bounded.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use net::client::{AckLevel, Client, ClientError, Partitioner, Producer, Record};
use serde_json::json;

use crate::connect::{Ack, Server, block_on};
use crate::exit::after_help;
use crate::failure::{Failure, advice};
use crate::lines::{self, Chunk};
use crate::output::{grouped, print_json};
use crate::stop;

/// Batches on their way at once: enough to keep the node's disk busy from one connection.
const BATCHES_IN_FLIGHT_MAX: usize = 256;

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
            chunk = chunks.recv(), if reading && in_flight.0.len() < BATCHES_IN_FLIGHT_MAX => {
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
    /// By key, or everything to one queue.
    keyed: Arc<Producer>,
    /// One per queue, for taking turns; empty if not.
    turns: Vec<Arc<Producer>>,
    key_separator: Option<String>,
    ack: AckLevel,
}

impl Target {
    async fn find(client: &Client, options: &Options) -> Result<Self, Failure> {
        let topic = client.describe_topic(&options.topic).await?;
        let ack = options.ack.map_or(topic.ack, AckLevel::from);
        let producer = async |partitioner| {
            let producer = client.producer(&*options.topic).ack(ack).partitioner(partitioner);
            producer.build().await.map(Arc::new)
        };
        let keyed = options.queue.map_or(Partitioner::KeyHash, Partitioner::Queue);
        let keyed = producer(keyed).await?;
        let mut turns = Vec::new();
        if options.queue.is_none() && options.key_separator.is_none() {
            for queue in &topic.queues {
                turns.push(producer(Partitioner::Queue(queue.queue)).await?);
            }
        }
        Ok(Self { keyed, turns, key_separator: options.key_separator.clone(), ack })
    }

    /// Sends the lines of a chunk: as one batch, or as one per queue that has a turn.
    async fn send(&self, chunk: Chunk, tally: &mut Tally, in_flight: &mut InFlight) {
        let chunk = Arc::new(chunk);
        tally.bytes += chunk.lines().map(|line| line.len() as u64).sum::<u64>();
        if self.turns.is_empty() {
            return self.send_part(&self.keyed, chunk, (0, 1), tally, in_flight).await;
        }
        let queues = self.turns.len();
        let first = tally.turn;
        tally.turn = (first + chunk.len()) % queues;
        for turn in 0..queues.min(chunk.len()) {
            if let Some(producer) = self.turns.get((first + turn) % queues) {
                let part = (turn, queues);
                self.send_part(producer, Arc::clone(&chunk), part, tally, in_flight).await;
            }
        }
    }

    /// Sends every `step`-th line of a chunk, from the one numbered `first`.
    async fn send_part(
        &self,
        producer: &Arc<Producer>,
        chunk: Arc<Chunk>,
        (first, step): (usize, usize),
        tally: &mut Tally,
        in_flight: &mut InFlight,
    ) {
        let producer = Arc::clone(producer);
        let separator = self.key_separator.clone();
        let one_way = self.ack == AckLevel::None;
        let sending = Box::pin(async move {
            let lines = chunk.lines().skip(first).step_by(step);
            let records: Vec<_> = lines.map(|line| record(line, separator.as_deref())).collect();
            let outcome = if one_way {
                send_one_way(&producer, &records).await
            } else {
                producer.send_batch(&records).await.map(drop)
            };
            (records.len() as u64, outcome)
        });
        in_flight.push(sending, tally).await;
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
    eprintln!(
        "{} messages ({} bytes read) {verb} with ack {ack} in {seconds:.3} s: {} messages/s",
        grouped(tally.sent),
        grouped(tally.bytes),
        grouped(rate as u64),
    );
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
