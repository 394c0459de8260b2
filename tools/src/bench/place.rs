//! What every scenario asks for: where data and reports go, and who runs where.

use std::path::PathBuf;
use std::time::Duration;

use bench::report::{Ack, Waiting};
use bench::scenario::{BenchError, Options};
use clap::Args;

/// Where things go.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Do not pin broker and generator to a CPU each
    #[arg(long, help_heading = "Method")]
    pub(super) no_pin: bool,
    /// Put the node's data here (choose the disk); it is removed at the end
    #[arg(long, value_name = "DIR", help_heading = "Where")]
    pub(super) data_dir: Option<PathBuf>,
    /// Keep the node's data
    #[arg(long, help_heading = "Where")]
    pub(super) keep: bool,
    /// Reports go here, each into a directory named by its time
    #[arg(long, value_name = "DIR", default_value = "bench-results", help_heading = "Where")]
    pub(super) out: PathBuf,
    /// Print the report as JSON on standard output, and nothing else
    #[arg(long, help_heading = "Where")]
    pub(super) json: bool,
}

impl Place {
    /// Durable messages of 1 KiB by one producer for a second, on this place: what a scenario
    /// does not say itself.
    pub(super) fn scenario(&self) -> Result<Options, BenchError> {
        let exe = std::env::current_exe().map_err(|error| {
            BenchError::Failed(format!("this executable cannot be found: {error}"))
        })?;
        Ok(Options {
            modes: vec![Ack::Durable],
            producers: vec![1],
            message_bytes: 1024,
            batch: 1,
            queues: 1,
            consumers: 0,
            in_flight: 1,
            rate_per_s: None,
            measure: Duration::from_secs(1),
            warm_up: Duration::from_millis(300),
            rounds: 1,
            input: None,
            verify: false,
            smoke: false,
            canary: false,
            connect: None,
            waiting: Waiting::Hybrid,
            out: self.out.clone(),
            data_dir: self.data_dir.clone(),
            keep: self.keep,
            pin: !self.no_pin,
            exe,
            command: command_line(),
        })
    }
}

fn command_line() -> String {
    let args = std::env::args().skip(1).map(|arg| match arg.contains([' ', '\'', '"', '$', '*']) {
        true => format!("'{}'", arg.replace('\'', "'\\''")),
        false => arg,
    });
    std::iter::once("uringmq".to_owned()).chain(args).collect::<Vec<_>>().join(" ")
}
