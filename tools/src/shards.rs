//! `uringmq shards`: more shards for a stopped node's directory.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use net::node::add_shards;

use crate::exit;
use crate::output::{print, print_json};

/// What to do with shards.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add shards to a data directory. Its node must be stopped.
    ///
    /// Queues that exist stay where they are. New ones go to the shards with the fewest queues: at
    /// first to the new ones.
    #[command(after_help = exit::after_help(
        "  uringmq shards add ./uringmq-data 1\n  \
         uringmq serve --data ./uringmq-data --reactors 2"
    ))]
    Add {
        /// The data directory.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// How many to add.
        #[arg(value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=254))]
        count: u16,
        /// Answer in JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Does it.
pub(crate) fn run(command: Command) -> ExitCode {
    let Command::Add { dir, count, json } = command;
    let new = match add_shards(&dir, count) {
        Ok(new) => new,
        Err(error) => return exit::fail(exit::CANNOT_START, &error),
    };
    let printed = if json {
        let document = serde_json::json!({ "shards": new.end, "first_new": new.start });
        print_json(&document)
    } else {
        let (first, last) = (new.start, new.end - 1);
        let which = if first == last {
            format!("shard {first}")
        } else {
            format!("shards {first} to {last}")
        };
        print(&format!("added {which}; {} has {} shards now\n", dir.display(), new.end))
    };
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
