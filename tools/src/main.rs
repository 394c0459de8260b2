//! The `uringmq` command: node, clients for people, benchmark harness.
//!
//! One file per subcommand; this one only parses and dispatches.

mod exit;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A low-latency message broker on io_uring.
#[derive(Debug, Parser)]
#[command(version, about, long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a broker node on a data directory.
    Serve(serve::Options),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(options) => serve::run(options),
    }
}
