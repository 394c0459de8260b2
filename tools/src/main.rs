//! The `uringmq` command: node, clients for people, benchmark harness.
//!
//! One file per subcommand; this one only parses and dispatches.

mod bench;
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
    /// Measure what durability costs on this disk, and where the time goes.
    Bench(bench::Options),
    /// A yardstick's server (started by `bench`).
    #[command(hide = true)]
    Yardstick(bench::YardstickOptions),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(options) => serve::run(options),
        Command::Bench(options) => bench::run(options),
        Command::Yardstick(options) => bench::yardstick(&options),
    }
}
