//! `uringmq consume`: messages become lines.
//!
//! Reads top-down: [`run`] -> `consume` -> `find_ranges` (what to read of which queue) -> the loop
//! -> `Printer`.
//! Invariants: without `--follow` it reads what was visible when it began, of every queue, and
//! nothing more, however fast others produce; messages of one queue come in order; with `--group`
//! nothing is committed that was not printed and flushed.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use net::client::{Client, Consumer, ListKind, Message, StartAt, TopicDetails};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::connect::{Server, block_on};
use crate::exit::after_help;
use crate::failure::Failure;
use crate::output::written;
use crate::start_at::Start;
use crate::stop;

/// Output is gathered up to this size while more messages are at hand.
const OUT_BYTES: usize = 256 * 1024;

/// Between commits of a group's offsets.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// Options of `consume`.
#[derive(Debug, Args)]
#[command(after_help = after_help(
    "  uringmq consume greetings\n  \
     uringmq consume clicks --follow --from latest\n  \
     uringmq consume logs --from 2026-01-31T12:00:00Z --count 10\n  \
     uringmq consume orders --follow --group billing\n  \
     uringmq consume orders --queue 3 --from 1200 --json | jq .value"
))]
pub(crate) struct Options {
    /// The topic.
    topic: String,
    /// Wait for more at the end, until stopped (Ctrl-C).
    #[arg(short, long)]
    follow: bool,
    /// Where to begin: earliest, latest, an offset, @MILLISECONDS since 1970, or an RFC 3339 time;
    /// times are those at which the node stored a message.
    #[arg(long, value_name = "WHERE", default_value = "earliest")]
    from: Start,
    /// Go on where this consumer group left off, and commit what was printed: every second and at
    /// the end. --from counts for queues of which it has committed nothing.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Stop after this many messages.
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// Read only this queue; may be given several times. Without it all queues are read, each in
    /// order, and in no particular order among each other.
    #[arg(long, value_name = "N")]
    queue: Vec<u16>,
    /// Print the key and this before each value.
    #[arg(long, value_name = "SEP", conflicts_with = "json")]
    key_separator: Option<String>,
    /// One JSON object per message and line, with offset, times, key and headers. What is not
    /// UTF-8 is in base64, in a field ending in `_base64`.
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
    block_on(async move { consume(&options, &stop).await })
}

async fn consume(options: &Options, stop: &tokio::sync::Notify) -> Result<(), Failure> {
    let client = options.server.connect_unless(stop).await?;
    let topic = client.describe_topic(&options.topic).await?;
    let committed = committed(&client, &topic, options).await?;
    let mut ranges = find_ranges(&client, &topic, options, &committed).await?;
    let is_read = |range: &mut ToRead| !options.follow && range.next >= range.end;
    let read: Vec<ToRead> = ranges.extract_if(.., is_read).collect();
    let mut printer = Printer::new(options);
    let mut left = options.count.unwrap_or(u64::MAX);
    if left == 0 || (ranges.is_empty() && options.group.is_none()) {
        return Ok(());
    }
    let queues = ranges.iter().map(|range| range.queue);
    let mut builder = client.consumer(&*options.topic).queues(queues).start(StartAt::Latest);
    if let Some(group) = &options.group {
        builder = builder.group(group);
    }
    let mut consumer = builder.build().await?;
    for range in &ranges {
        if consumer.position(range.queue) != Some(range.next) {
            consumer.seek(range.queue, range.next)?;
        }
    }
    // Where the group stands in queues that have nothing to read.
    commit(&mut consumer, &read, options).await?;
    if ranges.is_empty() {
        return Ok(());
    }
    let mut commit_at = Instant::now() + COMMIT_EVERY;
    loop {
        let messages = tokio::select! {
            biased;
            () = stop.notified() => break,
            () = tokio::time::sleep_until(commit_at), if options.group.is_some() => {
                match printer.flush(true) {
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                    result => written(result)?,
                }
                commit(&mut consumer, &ranges, options).await?;
                commit_at = Instant::now() + COMMIT_EVERY;
                continue;
            }
            messages = consumer.poll() => messages?,
        };
        for message in &messages {
            if left == 0 || !accept(&mut ranges, message, options.follow) {
                continue;
            }
            left -= 1;
            match printer.message(message) {
                // The reader has seen enough (`| head`).
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                result => written(result)?,
            }
        }
        let done = !options.follow && ranges.iter().all(|range| range.next >= range.end);
        match printer.flush(done || left == 0 || options.follow) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            result => written(result)?,
        }
        if done || left == 0 {
            break;
        }
    }
    match printer.flush(true) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        result => written(result)?,
    }
    commit(&mut consumer, &ranges, options).await
}

/// Commits what was printed and flushed; without a group, nothing.
async fn commit(
    consumer: &mut Consumer,
    ranges: &[ToRead],
    options: &Options,
) -> Result<(), Failure> {
    // Messages from `end` on come along but are not printed, unless followed.
    let end = |range: &ToRead| if options.follow { u64::MAX } else { range.end };
    let printed = |range: &ToRead| (range.queue, range.next.min(end(range).max(range.begun)));
    let offsets: Vec<_> = ranges.iter().map(printed).collect();
    Ok(consumer.commit_offsets(&offsets).await?)
}

/// How far the group has come, by queue.
async fn committed(
    client: &Client,
    topic: &TopicDetails,
    options: &Options,
) -> Result<BTreeMap<u16, u64>, Failure> {
    let Some(group) = &options.group else { return Ok(BTreeMap::new()) };
    let places: Vec<_> =
        wanted(options, topic).into_iter().map(|queue| (topic.id, queue)).collect();
    let found = client.committed_offsets(group, &places).await?;
    Ok(found.iter().filter_map(|at| Some((at.queue, at.offset?))).collect())
}

/// The queues asked for, or all.
fn wanted(options: &Options, topic: &TopicDetails) -> Vec<u16> {
    let mut wanted = options.queue.clone();
    wanted.sort_unstable();
    wanted.dedup();
    if wanted.is_empty() {
        wanted = topic.queues.iter().map(|queue| queue.queue).collect();
    }
    wanted
}

/// What is still to be read of a queue.
#[derive(Clone, Copy, Debug)]
struct ToRead {
    queue: u16,
    /// Where reading began.
    begun: u64,
    next: u64,
    /// What was visible at the beginning ends here.
    end: u64,
}

/// Whether a message is one of those asked for; moves on behind it.
fn accept(ranges: &mut [ToRead], message: &Message, follow: bool) -> bool {
    let Some(range) = ranges.iter_mut().find(|range| range.queue == message.queue) else {
        return false;
    };
    range.next = message.offset + 1;
    follow || message.offset < range.end
}

async fn find_ranges(
    client: &Client,
    topic: &TopicDetails,
    options: &Options,
    committed: &BTreeMap<u16, u64>,
) -> Result<Vec<ToRead>, Failure> {
    let wanted = wanted(options, topic);
    let Start(start) = options.from;
    if matches!(start, StartAt::Offset(_)) && wanted.len() > 1 {
        let count = wanted.len();
        return Err(Failure::Usage(format!(
            "an offset means something in one queue only, and {count} would be read: add --queue N"
        )));
    }
    let mut ranges = Vec::with_capacity(wanted.len());
    for queue in wanted {
        let described = topic.queues.iter().find(|described| described.queue == queue);
        let Some(described) = described else {
            return Err(net::client::ClientError::NoSuchQueue { queue }.into());
        };
        let end = described.visible;
        if let Some(&next) = committed.get(&queue).filter(|next| **next >= described.start) {
            ranges.push(ToRead { queue, begun: next, next, end });
            continue;
        }
        let next = match start {
            StartAt::Earliest => described.start,
            StartAt::Latest => described.visible,
            StartAt::Offset(offset) => {
                let (first, end) = (described.start, described.end);
                if !(first..=end).contains(&offset) {
                    return Err(Failure::Incomplete(format!(
                        "offset {offset} is outside of queue {queue} of {}: {first}..{end} are \
                         stored\n  begin with one of those, or with --from earliest",
                        topic.name
                    )));
                }
                offset
            }
            StartAt::Timestamp(at) => {
                client.list_offsets(topic.id, queue, ListKind::ByTimestamp, at).await?.offset
            }
        };
        ranges.push(ToRead { queue, begun: next, next, end });
    }
    Ok(ranges)
}

/// Writes messages to standard output.
struct Printer {
    out: io::Stdout,
    gathered: Vec<u8>,
    key_separator: Option<String>,
    json: bool,
}

impl Printer {
    fn new(options: &Options) -> Self {
        let key_separator = options.key_separator.clone();
        Self { out: io::stdout(), gathered: Vec::new(), key_separator, json: options.json }
    }

    fn message(&mut self, message: &Message) -> io::Result<()> {
        if self.json {
            serde_json::to_writer(&mut self.gathered, &document(message))?;
        } else {
            if let (Some(separator), Some(key)) = (&self.key_separator, &message.key) {
                self.gathered.extend_from_slice(key);
                self.gathered.extend_from_slice(separator.as_bytes());
            }
            self.gathered.extend_from_slice(message.value.as_deref().unwrap_or_default());
        }
        self.gathered.push(b'\n');
        self.flush(false)
    }

    fn flush(&mut self, now: bool) -> io::Result<()> {
        if self.gathered.is_empty() || (!now && self.gathered.len() < OUT_BYTES) {
            return Ok(());
        }
        let mut out = self.out.lock();
        out.write_all(&self.gathered)?;
        out.flush()?;
        self.gathered.clear();
        Ok(())
    }
}

/// Everything about a message.
pub(crate) fn document(message: &Message) -> Value {
    let mut fields = Map::new();
    fields.insert("queue".to_owned(), message.queue.into());
    fields.insert("offset".to_owned(), message.offset.into());
    fields.insert("timestamp_ms".to_owned(), message.timestamp_ms.into());
    fields.insert("store_timestamp_ms".to_owned(), message.store_timestamp_ms.into());
    insert_bytes(&mut fields, "key", message.key.as_deref());
    insert_bytes(&mut fields, "value", message.value.as_deref());
    if !message.headers.is_empty() {
        let header = |header: &net::client::Header| {
            let mut fields = Map::new();
            insert_bytes(&mut fields, "key", Some(&header.key));
            insert_bytes(&mut fields, "value", header.value.as_deref());
            Value::Object(fields)
        };
        fields.insert("headers".to_owned(), message.headers.iter().map(header).collect());
    }
    Value::Object(fields)
}

/// Puts bytes into a document: as text, or, with a name that says so, in base64.
pub(crate) fn insert_bytes(fields: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => fields.insert(name.to_owned(), Value::Null),
        Some((_, Ok(text))) => fields.insert(name.to_owned(), text.into()),
        Some((bytes, Err(_))) => {
            fields.insert(format!("{name}_base64"), json!(BASE64.encode(bytes)))
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_text_is_base64() {
        let mut fields = Map::new();
        insert_bytes(&mut fields, "value", Some(b"\xff\x00"));
        insert_bytes(&mut fields, "key", Some("k\u{e4}y".as_bytes()));
        insert_bytes(&mut fields, "gone", None);
        assert_eq!(
            Value::Object(fields),
            json!({ "gone": null, "key": "k\u{e4}y", "value_base64": "/wA=" })
        );
    }
}
