//! `uringmq group`: what consumer groups have committed; list, describe, reset, delete.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use net::client::{Client, CommittedOffset, ListKind, NewOffset, StartAt};
use serde_json::{Value, json};

use crate::connect::{Server, block_on};
use crate::exit::after_help;
use crate::failure::Failure;
use crate::output::{grouped, print, print_json, say, table};
use crate::start_at::Start;

/// Offsets in one request.
const OFFSETS_PER_REQUEST: usize = 1000;

/// What to do with consumer groups.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show all groups that have committed something.
    #[command(after_help = after_help("  uringmq group list"))]
    List(List),
    /// Show how far a group has come, and how much it has still to read.
    #[command(after_help = after_help(
        "  uringmq group describe billing\n  \
         uringmq group describe billing --json | jq '[.[].lag] | add'"
    ))]
    Describe(Describe),
    /// Let a group begin elsewhere. Stop its consumers first: they commit where they are.
    #[command(after_help = after_help(
        "  uringmq group reset billing --topic orders --to earliest\n  \
         uringmq group reset billing --topic orders --queue 3 --to 1200"
    ))]
    Reset(Reset),
    /// Forget everything a group has committed.
    #[command(after_help = after_help("  uringmq group delete billing"))]
    Delete(Delete),
}

/// Options of `group list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Options of `group describe`.
#[derive(Debug, Args)]
pub(crate) struct Describe {
    /// Its name.
    group: String,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Options of `group reset`.
#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// Its name.
    group: String,
    /// The topic.
    #[arg(long)]
    topic: String,
    /// Only this queue; may be given several times.
    #[arg(long, value_name = "N")]
    queue: Vec<u16>,
    /// Where it begins next: earliest, latest, an offset, @MILLISECONDS since 1970, or an RFC 3339
    /// time.
    #[arg(long, value_name = "WHERE")]
    to: Start,
    #[command(flatten)]
    server: Server,
}

/// Options of `group delete`.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Its name.
    group: String,
    #[command(flatten)]
    server: Server,
}

/// Runs one of them.
pub(crate) fn run(command: Command) -> ExitCode {
    block_on(async move {
        match command {
            Command::List(options) => list(&options).await,
            Command::Describe(options) => describe(&options).await,
            Command::Reset(options) => {
                reset(&options).await.map_err(|failure| failure.about(&options.topic))
            }
            Command::Delete(options) => delete(&options).await,
        }
    })
}

async fn list(options: &List) -> Result<(), Failure> {
    let groups = options.server.connect().await?.list_groups().await?;
    if options.json {
        let group =
            |group: &net::client::GroupInfo| json!({ "name": group.name, "queues": group.queues });
        return print_json(&groups.iter().map(group).collect::<Vec<_>>());
    }
    if groups.is_empty() {
        say(format_args!("no groups; make one with: uringmq consume TOPIC --group NAME"));
    }
    let rows: Vec<_> =
        groups.into_iter().map(|group| vec![group.name, group.queues.to_string()]).collect();
    print(&table(&["group", "queues"], &rows))
}

async fn describe(options: &Describe) -> Result<(), Failure> {
    let client = options.server.connect().await?;
    let offsets = committed(&client, &options.group).await?;
    let topics = client.list_topics().await?;
    let names: BTreeMap<u32, String> =
        topics.into_iter().map(|topic| (topic.id, topic.name)).collect();
    // A topic may have been deleted between the two questions.
    let name = |topic: u32| names.get(&topic).cloned().unwrap_or_else(|| format!("#{topic}"));
    if options.json {
        let document = |offset: &CommittedOffset| -> Value {
            json!({
                "topic": name(offset.topic), "queue": offset.queue, "offset": offset.offset,
                "start": offset.start, "visible": offset.visible, "lag": offset.lag(),
                "commit_time_ms": offset.commit_time_ms, "metadata": offset.metadata,
            })
        };
        return print_json(&offsets.iter().map(document).collect::<Vec<_>>());
    }
    let rows: Vec<_> = offsets
        .iter()
        .map(|offset| {
            let committed = offset.offset.map_or_else(|| "-".to_owned(), grouped);
            let numbers = [offset.visible, offset.lag()].map(grouped);
            let place = [name(offset.topic), offset.queue.to_string(), committed];
            place.into_iter().chain(numbers).collect()
        })
        .collect();
    let lag = grouped(offsets.iter().map(CommittedOffset::lag).sum());
    let heading = ["topic", "queue", "offset", "visible", "lag"];
    print(&format!("group {}, lag {lag}\n{}", options.group, table(&heading, &rows)))
}

/// What a group has committed; an error if that is nothing.
async fn committed(client: &Client, group: &str) -> Result<Vec<CommittedOffset>, Failure> {
    let offsets = client.all_committed_offsets(group).await?;
    if offsets.is_empty() {
        return Err(Failure::Incomplete(format!(
            "group {group} has committed nothing\n  see what there is with: uringmq group list"
        )));
    }
    Ok(offsets)
}

async fn reset(options: &Reset) -> Result<(), Failure> {
    let client = options.server.connect().await?;
    let topic = client.describe_topic(&options.topic).await?;
    let Start(to) = options.to;
    let mut rows = Vec::new();
    let mut offsets = Vec::new();
    for queue in &topic.queues {
        if !options.queue.is_empty() && !options.queue.contains(&queue.queue) {
            continue;
        }
        let offset = match to {
            StartAt::Earliest => queue.start,
            StartAt::Latest => queue.visible,
            StartAt::Offset(offset) => offset,
            StartAt::Timestamp(at) => {
                let kind = ListKind::ByTimestamp;
                client.list_offsets(topic.id, queue.queue, kind, at).await?.offset
            }
        };
        rows.push(vec![queue.queue.to_string(), grouped(offset)]);
        offsets.push((topic.id, queue.queue, Some(offset)));
    }
    let known = |queue: &u16| topic.queues.iter().any(|known| known.queue == *queue);
    if let Some(&queue) = options.queue.iter().find(|queue| !known(queue)) {
        return Err(net::client::ClientError::NoSuchQueue { queue }.into());
    }
    if matches!(to, StartAt::Offset(_)) && offsets.len() > 1 {
        let count = offsets.len();
        return Err(Failure::Usage(format!(
            "an offset means something in one queue only, and {count} would be reset: add --queue N"
        )));
    }
    commit(&client, &options.group, &offsets).await?;
    let (group, topic) = (&options.group, &topic.name);
    print(&format!("group {group}, topic {topic}\n{}", table(&["queue", "offset"], &rows)))
}

async fn delete(options: &Delete) -> Result<(), Failure> {
    let client = options.server.connect().await?;
    let offsets = committed(&client, &options.group).await?;
    let offsets: Vec<_> = offsets.iter().map(|at| (at.topic, at.queue, None)).collect();
    commit(&client, &options.group, &offsets).await?;
    print(&format!("group {} deleted\n", options.group))
}

async fn commit(
    client: &Client,
    group: &str,
    offsets: &[(u32, u16, Option<u64>)],
) -> Result<(), Failure> {
    for part in offsets.chunks(OFFSETS_PER_REQUEST) {
        let new = |&(topic, queue, offset): &(u32, u16, Option<u64>)| NewOffset {
            topic,
            queue,
            offset,
            epoch: 0,
            metadata: "",
        };
        let offsets: Vec<_> = part.iter().map(new).collect();
        let results = client.commit_offsets(group, &offsets, None).await?;
        for ((_, queue, _), result) in part.iter().zip(results) {
            if let Some(code) = result {
                return Err(Failure::Incomplete(format!(
                    "the offset of queue {queue} was not committed: {code}"
                )));
            }
        }
    }
    Ok(())
}
