//! The `uringmq` command: node, clients for people, benchmark harness.
//!
//! One file per subcommand; this one only parses and dispatches. What the client commands share:
//! `connect`, `failure`, `output`, `stop`; `verify` and `dump` read a directory without a node.

mod admin;
mod bench;
mod config;
mod connect;
mod consume;
mod descriptors;
mod doctor;
mod dump;
mod exit;
mod failure;
mod find;
mod generate;
mod group;
mod interval;
mod lines;
mod logging;
mod options;
mod output;
mod ping;
mod produce;
mod serve;
mod shards;
mod start_at;
mod stats;
mod stop;
mod top;
mod topic;
mod tune;
mod verify;

use std::process::ExitCode;

use ::config::Arguments;
use ::config::environment::{PREFIX, strangers};
use clap::{ArgAction, CommandFactory, Parser, Subcommand};

/// A low-latency message broker on io_uring.
#[derive(Debug, Parser)]
#[command(version, about, long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Say more on standard error (-vv: even more); RUST_LOG chooses in detail.
    #[arg(short, long, action = ArgAction::Count, global = true, display_order = 990)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a broker node on a data directory.
    #[command(after_help = exit::after_help(
        "  uringmq serve\n  \
         uringmq serve --data /srv/mq --listen 127.0.0.1:9441 --wait sleep\n  \
         uringmq serve --config /etc/uringmq/uringmq.toml"
    ))]
    Serve(Arguments),
    /// Check a file of options, and print the options in force.
    #[command(subcommand)]
    Config(config::Command),
    /// Check whether a node would run here, and say what to do if not.
    #[command(after_help = exit::after_help(
        "  uringmq doctor\n  uringmq doctor --config /etc/uringmq/uringmq.toml --json"
    ))]
    Doctor(doctor::Doctor),
    /// Measure what durability costs on this disk, and where the time goes.
    Bench(bench::Options),
    /// A yardstick's server (started by `bench`).
    #[command(hide = true)]
    Yardstick(bench::YardstickOptions),
    /// Create, delete, list and describe topics.
    #[command(subcommand)]
    Topic(topic::Command),
    /// List, describe, reset and delete consumer groups.
    #[command(subcommand)]
    Group(group::Command),
    /// Add shards to a stopped node's data directory.
    #[command(subcommand)]
    Shards(shards::Command),
    /// Send the lines of files or of standard input as messages.
    Produce(produce::Options),
    /// Print messages.
    Consume(consume::Options),
    /// Watch a node in the terminal: rates, latencies, groups and their lag.
    Top(top::Options),
    /// Print the messages with a key, the newest first.
    #[command(after_help = exit::after_help(
        "  uringmq topic create orders --key-index\n  \
         uringmq find orders order-7\n  \
         uringmq find orders order-7 --max 1 --json"
    ))]
    Find(find::Options),
    /// Show what a node has counted and measured.
    #[command(after_help = exit::after_help(
        "  uringmq stats\n  uringmq stats --watch 5s\n  uringmq stats --hgrm latencies/\n  uringmq stats --json | jq '.counters'"
    ))]
    Stats(stats::Options),
    /// Measure a device, and let a node on it do what suits it.
    Tune(tune::Options),
    /// Check a stopped node's data directory, every byte of it.
    Verify(verify::Options),
    /// Print what is in a stopped node's data directory, group by group.
    Dump(dump::Options),
    /// Make man pages and shell completions.
    #[command(subcommand)]
    Generate(generate::Command),
    /// Ask a node whether it is there.
    #[command(after_help = exit::after_help("  uringmq ping --server 127.0.0.1:9440 --count 1"))]
    Ping(ping::Options),
}

/// A variable that is mistyped would be ignored without a word.
fn note_strange_variables() {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let names: Vec<String> = names.filter(|name| name.starts_with(PREFIX)).collect();
    if names.is_empty() {
        return;
    }
    for stranger in strangers(&Cli::command(), names.iter().map(String::as_str)) {
        output::say(format_args!("uringmq: {stranger}"));
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if !matches!(cli.command, Command::Serve(_)) {
        logging::init(cli.verbose);
    }
    note_strange_variables();
    match cli.command {
        // It logs as its options say.
        Command::Serve(arguments) => serve::run(&arguments, cli.verbose),
        Command::Doctor(options) => doctor::run(&options),
        Command::Config(command) => config::run(&command),
        Command::Bench(options) => bench::run(options),
        Command::Yardstick(options) => bench::yardstick(&options),
        Command::Topic(command) => topic::run(command),
        Command::Group(command) => group::run(command),
        Command::Shards(command) => shards::run(command),
        Command::Produce(options) => produce::run(options),
        Command::Consume(options) => consume::run(options),
        Command::Top(options) => top::run(options),
        Command::Find(options) => find::run(options),
        Command::Stats(options) => stats::run(options),
        Command::Tune(options) => tune::run(&options),
        Command::Verify(options) => verify::run(&options),
        Command::Dump(options) => dump::run(&options),
        Command::Generate(command) => generate::run(&command),
        Command::Ping(options) => ping::run(options),
    }
}
