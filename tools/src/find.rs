//! `uringmq find`: the messages of a topic with a key.

use std::process::ExitCode;

use clap::Args;
use net::client::Message;

use crate::connect::{Server, block_on};
use crate::consume::Document;
use crate::failure::Failure;
use crate::output::{print_bytes, print_json, say};

/// Options of `find`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The topic; it must have been made (or altered) with --key-index.
    topic: String,
    /// The key that messages were sent with, or a word of their header KEYS.
    key: String,
    /// The newest N of them.
    #[arg(short = 'n', long = "max", value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..))]
    max: u32,
    /// Print everything about each message, in JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Runs it.
pub(crate) fn run(options: Options) -> ExitCode {
    block_on(async move { find(&options).await.map_err(|failure| failure.about(&options.topic)) })
}

async fn find(options: &Options) -> Result<(), Failure> {
    let client = options.server.connect().await?;
    let topic = client.describe_topic(&options.topic).await?;
    let found = client.find(&options.topic, options.key.as_bytes(), options.max as usize).await?;
    if found.is_empty() && !topic.key_index {
        return Err(Failure::Incomplete(format!(
            "topic {0} has no index of keys\n  make one for what comes from now on: uringmq topic \
             alter {0} --key-index on",
            options.topic
        )));
    }
    if options.json {
        return print_json(&found.iter().map(Document).collect::<Vec<_>>());
    }
    if found.is_empty() {
        say(format_args!("no message of topic {} has the key {:?}", options.topic, options.key));
    }
    print_bytes(&lines(&found))
}

/// The values, a line each.
fn lines(messages: &[Message]) -> Vec<u8> {
    let mut lines = Vec::new();
    for message in messages {
        lines.extend_from_slice(message.value.as_deref().unwrap_or_default());
        lines.push(b'\n');
    }
    lines
}
