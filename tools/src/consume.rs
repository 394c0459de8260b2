//! `uringmq consume`: messages become lines.
//!
//! Reads top-down: [`run`] -> `consume` -> `find_ranges` (what to read of which queue) -> the loop
//! -> `Printer`.
//! Invariants: without `--follow` it reads what was visible when it began, of every queue, and
//! nothing more, however fast others produce; messages of one queue come in order; with `--group`
//! nothing is committed that was not printed and flushed.

mod format;
mod ranges;

pub(crate) use format::Document;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use net::client::{Consumer, Message, StartAt};
use tokio::time::Instant;

use crate::connect::{Server, block_on};
use crate::exit::after_help;
use crate::failure::Failure;
use crate::output::written;
use crate::start_at::Start;
use crate::stop;
use format::{Format, Writer};
use ranges::{ToRead, committed, find_ranges};

pub(crate) use format::insert_bytes;

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
     uringmq consume orders --queue 3 --from 1200 --json | jq .value\n  \
     uringmq consume orders -f '%p/%o %k: %s\\n'"
))]
pub(crate) struct Options {
    /// The topic.
    topic: String,
    /// Wait for more at the end, until stopped (Ctrl-C).
    #[arg(long)]
    follow: bool,
    /// End at what was the end when it began: this is what happens without --follow, too.
    #[arg(short, long, conflicts_with = "follow")]
    exit_at_end: bool,
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
    /// Print the key and this before each value (with --format raw or hex).
    #[arg(long, value_name = "SEP")]
    key_separator: Option<String>,
    /// raw (the value and a newline), json (an object per line, with offset, times, key and
    /// headers; what is not UTF-8 is in base64, in a field ending in `_base64`), hex, or a template
    /// as kcat has them: %s value, %S its length, %k key, %K its length, %h headers, %t topic,
    /// %p queue, %o offset, %T the producer's time, %n the node's time (in ms), %% \n \t \r \0 \x0a.
    #[arg(short, long, value_name = "FORMAT", default_value = "raw")]
    format: Format,
    /// The same as --format json.
    #[arg(long, conflicts_with_all = ["format", "key_separator"])]
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
    block_on(async move {
        consume(&options, &stop).await.map_err(|failure| failure.about(&options.topic))
    })
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
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                    result => written(result)?,
                }
                commit(&mut consumer, &ranges, options).await?;
                commit_at = Instant::now() + COMMIT_EVERY;
                continue;
            }
            messages = consumer.poll() => messages?,
        };
        let wanted = accept(&mut ranges, &messages, options.follow, &mut left);
        match printer.messages(wanted) {
            // The reader has seen enough (`| head`).
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            result => written(result)?,
        }
        let done = !options.follow && ranges.iter().all(|range| range.next >= range.end);
        match printer.flush(done || left == 0 || options.follow) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            result => written(result)?,
        }
        if done || left == 0 {
            break;
        }
    }
    match printer.flush(true) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
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

/// Those of these messages, all of one queue, that are asked for; moves on behind them.
fn accept<'a>(
    ranges: &mut [ToRead],
    messages: &'a [Message],
    follow: bool,
    left: &mut u64,
) -> &'a [Message] {
    let Some(first) = messages.first() else { return &[] };
    let Some(range) = ranges.iter_mut().find(|range| range.queue == first.queue) else {
        return &[];
    };
    let end = if follow { u64::MAX } else { range.end };
    let wanted = messages.partition_point(|message| message.offset < end);
    let taken = wanted.min(usize::try_from(*left).unwrap_or(usize::MAX));
    let (taken, rest) = messages.split_at_checked(taken).unwrap_or((messages, &[]));
    *left -= taken.len() as u64;
    // What is beyond the end is behind us, too; what is beyond the count is not.
    let last = if *left > 0 { rest.last().or(taken.last()) } else { taken.last() };
    if let Some(last) = last {
        range.next = last.offset + 1;
    }
    taken
}

/// Writes messages to standard output.
struct Printer {
    out: io::Stdout,
    gathered: Vec<u8>,
    writer: Writer,
}

impl Printer {
    fn new(options: &Options) -> Self {
        let format = if options.json { Format::Json } else { options.format.clone() };
        let (topic, key_separator) = (options.topic.clone(), options.key_separator.clone());
        let writer = Writer { format, topic, key_separator };
        Self { out: io::stdout(), gathered: Vec::new(), writer }
    }

    fn messages(&mut self, messages: &[Message]) -> io::Result<()> {
        for message in messages {
            self.writer.write(&mut self.gathered, message)?;
            self.flush(false)?;
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(offsets: std::ops::Range<u64>) -> Vec<Message> {
        let message = |offset| Message {
            queue: 1,
            offset,
            timestamp_ms: 0,
            store_timestamp_ms: 0,
            key: None,
            value: None,
            headers: Vec::new(),
        };
        offsets.map(message).collect()
    }

    fn range() -> ToRead {
        ToRead { queue: 1, begun: 0, next: 0, end: 10 }
    }

    #[test]
    fn nothing_beyond_the_end_and_no_more_than_asked_for() {
        let (mut ranges, mut left) = ([range()], u64::MAX);
        let all = messages(5..15);
        assert_eq!(accept(&mut ranges, &all, false, &mut left), &all[..5]);
        assert_eq!(ranges[0].next, 15);
        assert!(accept(&mut ranges, &messages(15..20), false, &mut left).is_empty());

        let (mut ranges, mut left) = ([range()], 3);
        assert_eq!(accept(&mut ranges, &all, true, &mut left), &all[..3]);
        assert_eq!((ranges[0].next, left), (8, 0));
        assert!(accept(&mut ranges, &all, true, &mut left).is_empty());
        assert_eq!(ranges[0].next, 8);
        assert!(accept(&mut ranges, &[], true, &mut left).is_empty());
    }
}
