//! `uringmq topic`: create, delete, list, describe.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use config::value::{OrNone, Size, Time};
use net::client::{
    Client, ClientError, ErrorCode, NewTopic, Retention, TopicAlter, TopicDetails, TopicInfo,
};
use serde_json::{Value, json};

use crate::connect::{Ack, Server, block_on};
use crate::exit::after_help;
use crate::failure::Failure;
use crate::output::{counted, grouped, print, print_json, say, table};

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a topic.
    #[command(after_help = after_help(
        "  uringmq topic create orders\n  \
         uringmq topic create clicks --queues 8 --ack memory\n  \
         uringmq topic create audit --retention 30days --retention-size 10GiB"
    ))]
    Create(Create),
    /// Change a topic's ack level, its index of keys, or how long its messages are kept.
    #[command(after_help = after_help(
        "  uringmq topic alter orders --retention-size 512MiB\n  \
         uringmq topic alter orders --retention none --ack written"
    ))]
    Alter(Alter),
    /// Remove a topic and everything in it.
    #[command(after_help = after_help("  uringmq topic delete orders"))]
    Delete(Delete),
    /// Show all topics.
    #[command(after_help = after_help(
        "  uringmq topic list\n  \
         uringmq topic list --json | jq -r '.[].name'"
    ))]
    List(List),
    /// Show a topic and what its queues hold.
    #[command(after_help = after_help("  uringmq topic describe orders"))]
    Describe(Describe),
}

/// Options of `topic create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// 1 to 249 of A-Z a-z 0-9 . _ -
    topic: String,
    /// Queues: messages are in order within one, and consumers can share them out.
    #[arg(short, long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..))]
    queues: u16,
    /// When messages are acknowledged if their producer does not say; consumers see messages once
    /// this level is reached [default: durable].
    #[arg(long, value_enum)]
    ack: Option<Ack>,
    /// Let the node look inside every batch, not only at its header and checksum.
    #[arg(long)]
    deep_validation: bool,
    /// Index the keys of messages, so that `uringmq find` finds them. Batches must not be
    /// compressed then; 16 bytes of disk per key.
    #[arg(long)]
    key_index: bool,
    #[command(flatten)]
    keep: Keep,
    /// A topic of this name may exist already (it is left as it is).
    #[arg(long)]
    if_not_exists: bool,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// How long messages are kept.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Keep {
    /// Messages go when they are older than this (`none`: the topic sets no limit). The node's own
    /// limits hold for every topic beside these.
    #[arg(long, value_name = "TIME")]
    retention: Option<OrNone<Time>>,
    /// The oldest messages go when the topic holds more than this (`none`: the topic sets no
    /// limit).
    #[arg(long, value_name = "SIZE")]
    retention_size: Option<OrNone<Size>>,
}

impl Keep {
    /// Age in milliseconds and bytes as far as they are given; the inner `None`: no limit.
    fn given(self) -> (Option<Option<u64>>, Option<Option<u64>>) {
        let age = self.retention.map(|limit| limit.0.map(Time::as_millis));
        let bytes = self.retention_size.map(|limit| limit.0.map(|size| size.bytes));
        (age, bytes)
    }
}

/// Options of `topic alter`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("settings").required(true).multiple(true)
          .args(["ack", "key_index", "retention", "retention_size"]))]
pub(crate) struct Alter {
    /// Its name.
    topic: String,
    /// When messages are acknowledged if their producer does not say; consumers see messages that
    /// are stored from now on once this level is reached.
    #[arg(long, value_enum)]
    ack: Option<Ack>,
    /// Whether the keys of messages that come from now on are indexed (see `uringmq find`).
    #[arg(long, value_enum)]
    key_index: Option<Switch>,
    #[command(flatten)]
    keep: Keep,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

/// Options of `topic delete`.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Its name.
    topic: String,
    /// The topic may be missing.
    #[arg(long)]
    if_exists: bool,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Options of `topic list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Options of `topic describe`.
#[derive(Debug, Args)]
pub(crate) struct Describe {
    /// Its name.
    topic: String,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Runs one of them.
pub(crate) fn run(command: Command) -> ExitCode {
    block_on(async move {
        match command {
            Command::Create(options) => named(&options.topic, create(&options).await),
            Command::Alter(options) => named(&options.topic, alter(&options).await),
            Command::Delete(options) => named(&options.topic, delete(&options).await),
            Command::List(options) => list(&options).await,
            Command::Describe(options) => named(&options.topic, describe(&options).await),
        }
    })
}

fn named(topic: &str, result: Result<(), Failure>) -> Result<(), Failure> {
    result.map_err(|failure| failure.about(topic))
}

async fn create(options: &Create) -> Result<(), Failure> {
    let client = options.server.connect().await?;
    let (age_ms, bytes) = options.keep.given();
    let topic = NewTopic {
        name: &options.topic,
        queues: options.queues,
        ack: options.ack.map(Into::into),
        deep_validation: options.deep_validation,
        key_index: options.key_index,
        retention: Retention { age_ms: age_ms.flatten(), bytes: bytes.flatten() },
    };
    let created = match client.create_topic(&topic).await {
        Ok(_) => true,
        Err(error) if options.if_not_exists && is(&error, ErrorCode::TopicExists) => false,
        Err(error) => return Err(error.into()),
    };
    let details = client.describe_topic(&options.topic).await?;
    if options.json {
        let mut document = details_json(&details);
        if let Some(fields) = document.as_object_mut() {
            fields.insert("created".to_owned(), created.into());
        }
        return print_json(&document);
    }
    let (name, queues, ack) =
        (&details.name, counted(details.queues.len() as u64, "queue"), details.ack.name());
    let verb = if created { "created" } else { "exists already" };
    print(&format!("topic {name} {verb}: id {}, {queues}, ack {ack}\n", details.id))
}

async fn alter(options: &Alter) -> Result<(), Failure> {
    let client = options.server.connect().await?;
    let (age_ms, bytes) = options.keep.given();
    let (name, ack) = (options.topic.as_str(), options.ack.map(Into::into));
    let key_index = options.key_index.map(|switch| switch == Switch::On);
    client.alter_topic(&TopicAlter { name, ack, age_ms, bytes, key_index }).await?;
    let topic = client.describe_topic(name).await?;
    if options.json {
        return print_json(&details_json(&topic));
    }
    print(&format!("topic {name} altered: ack {}, {}\n", topic.ack.name(), kept(&topic)))
}

async fn delete(options: &Delete) -> Result<(), Failure> {
    let client = options.server.connect().await?;
    let deleted = match client.delete_topic(&options.topic).await {
        Ok(()) => true,
        Err(error) if options.if_exists && is(&error, ErrorCode::UnknownTopic) => false,
        Err(error) => return Err(error.into()),
    };
    if options.json {
        return print_json(&json!({ "name": options.topic, "deleted": deleted }));
    }
    let verb = if deleted { "deleted" } else { "does not exist" };
    print(&format!("topic {} {verb}\n", options.topic))
}

async fn list(options: &List) -> Result<(), Failure> {
    let client: Client = options.server.connect().await?;
    let topics = client.list_topics().await?;
    if options.json {
        return print_json(&topics.iter().map(topic_json).collect::<Vec<_>>());
    }
    if topics.is_empty() {
        say(format_args!("no topics; make one with: uringmq topic create NAME"));
    }
    let rows: Vec<_> = topics
        .into_iter()
        .map(|topic| {
            let (id, queues) = (topic.id.to_string(), topic.queues.to_string());
            vec![topic.name, id, queues, topic.ack.name().to_owned()]
        })
        .collect();
    print(&table(&["topic", "id", "queues", "ack"], &rows))
}

async fn describe(options: &Describe) -> Result<(), Failure> {
    let client = options.server.connect().await?;
    let topic = client.describe_topic(&options.topic).await?;
    if options.json {
        return print_json(&details_json(&topic));
    }
    let deep = if topic.deep_validation { ", deep validation" } else { "" };
    let keys = if topic.key_index { ", key index" } else { "" };
    let rows: Vec<_> = (topic.queues.iter())
        .map(|queue| {
            let numbers = [queue.start, queue.end, queue.visible, queue.bytes];
            let place = [u64::from(queue.queue), u64::from(queue.shard)];
            place.into_iter().chain(numbers).map(grouped).collect()
        })
        .collect();
    let heading = ["queue", "shard", "start", "end", "visible", "bytes"];
    print(&format!(
        "topic {}, id {}, ack {}{deep}{keys}, {}\n{}",
        topic.name,
        topic.id,
        topic.ack.name(),
        kept(&topic),
        table(&heading, &rows)
    ))
}

/// The topic's own limits, for people.
fn kept(topic: &TopicDetails) -> String {
    let age = topic.retention.age_ms.map(|ms| {
        let age = std::time::Duration::from_millis(ms);
        format!("keeps {}", humantime::format_duration(age))
    });
    let bytes = topic.retention.bytes.map(|bytes| format!("keeps {} bytes", grouped(bytes)));
    let limits: Vec<String> = age.into_iter().chain(bytes).collect();
    if limits.is_empty() { "kept as long as the node says".to_owned() } else { limits.join(", ") }
}

fn is(error: &ClientError, expected: ErrorCode) -> bool {
    matches!(error, ClientError::Server { code, .. } if *code == expected)
}

fn topic_json(topic: &TopicInfo) -> Value {
    json!({
        "name": topic.name, "id": topic.id, "queues": topic.queues, "ack": topic.ack.name(),
    })
}

fn details_json(topic: &TopicDetails) -> Value {
    let queue = |queue: &net::wire::QueueDescription| {
        json!({
            "queue": queue.queue, "shard": queue.shard, "start": queue.start, "end": queue.end,
            "visible": queue.visible, "bytes": queue.bytes,
        })
    };
    json!({
        "name": topic.name, "id": topic.id, "ack": topic.ack.name(),
        "deep_validation": topic.deep_validation, "key_index": topic.key_index,
        "retention_ms": topic.retention.age_ms, "retention_bytes": topic.retention.bytes,
        "fetched_records": topic.fetched_records, "fetched_bytes": topic.fetched_bytes,
        "queues": topic.queues.iter().map(queue).collect::<Vec<_>>(),
    })
}
