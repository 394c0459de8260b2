//! A node's options in force, and what they mean to a node.

use std::process::ExitCode;

use clap::CommandFactory;
use config::options::Wait;
use config::settings::ResolveError;
use config::{Arguments, FileError, Options, Resolved, resolve};
use engine::shard::retention::Retention;
use net::node::NodeOptions;
use net::server::WaitMode;

use crate::{Cli, exit};

/// Flags, environment and file together; says itself what is wrong with them. `path` is the
/// subcommand that was called.
pub(crate) fn effective(path: &[&str], arguments: &Arguments) -> Result<Resolved, ExitCode> {
    match resolve(Cli::command(), path, arguments, std::env::args_os()) {
        Ok(resolved) => Ok(resolved),
        Err(ResolveError::File(error)) => Err(exit::fail(file_code(&error), &error)),
        // It knows whether it is an error or an answer, and its exit code.
        Err(ResolveError::Usage(error)) => error.exit(),
    }
}

/// The exit code for a file of options that is no good, or cannot be read.
pub(crate) fn file_code(error: &FileError) -> u8 {
    match error {
        FileError::Io { .. } => exit::CANNOT_START,
        FileError::Problems { .. } => exit::USAGE,
    }
}

/// The mode of waiting.
pub(crate) fn wait_mode(options: &Options) -> WaitMode {
    match options.wait {
        Wait::Poll => WaitMode::Poll,
        Wait::Hybrid => WaitMode::Hybrid,
        Wait::Sleep => WaitMode::Sleep,
    }
}

/// What a node is started with; what `device.toml` may decide is left at its default.
pub(crate) fn node_options(options: &Options) -> NodeOptions {
    let mut node = NodeOptions::new(options.data.clone());
    node.listen = options.listen;
    node.format.shards = options.shards.0.unwrap_or(options.reactors);
    node.format.segment_bytes = options.segment_size.bytes;
    node.reactor.wait = wait_mode(options);
    node.reactors = usize::from(options.reactors);
    node.cpus.clone_from(&options.cpu.0);
    node.reactor.limits.partial_deadline_ms = millis(options.frame_deadline);
    node.reactor.limits.connections_max = options.connections_max;
    node.reactor.limits.connections_per_address_max =
        options.connections_per_address.0.unwrap_or(0);
    node.reactor.limits.hello_deadline_ms = millis(options.hello_deadline);
    node.reactor.limits.idle_deadline_ms = options.idle_deadline.0.map_or(0, millis);
    node.reactor.limits.slow_reader_deadline_ms = millis(options.slow_reader_deadline);
    node.reactor.limits.stop_deadline_ms = millis(options.stop_deadline);
    node.retention = Retention {
        age_ms: options.retention.0.map(config::value::Time::as_millis),
        bytes: options.retention_size.0.map(|size| size.bytes),
    };
    node.block_memory_bytes = options.shard_memory.bytes;
    node.reactor.limits.partial_bytes_max = 2 * options.shard_memory.bytes;
    node.disk_used_percent_max = options.retention_disk.0.map(|share| share.0);
    node.writer.flush_deadline_ms = millis(options.flush_deadline);
    node
}

/// Deadlines are checked to be shorter than a day.
fn millis(time: config::value::Time) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_node() {
        let command = Options::augment_args(Command::new("test").no_binary_name(true));
        let command = command.mut_args(|arg| arg.env(None::<&str>));
        let matches = command.try_get_matches_from([""; 0]).unwrap();
        let options = Options::from_arg_matches(&matches).unwrap();
        let ours = node_options(&options);
        let node = NodeOptions::new(options.data);
        assert_eq!(format!("{ours:?}"), format!("{node:?}"));
    }

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }
}
