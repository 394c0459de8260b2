//! Every option of a node.
//!
//! To add one, add a field to [`Options`]:
//!
//! ```text
//! /// What it does, in a sentence or two: this is the help, the man page and the file's comment.
//! #[arg(long, value_name = "SIZE", help_heading = DISK, env = "URINGMQ_NEW_OPTION", default_value = "1MiB")]
//! pub new_option: Size,
//! ```
//!
//! and use it where `serve` makes a node of the options. Nothing else: its key in the file is the
//! field's name (`new_option`), its flag the same with hyphens (`--new-option`). Values have units
//! (`Size`, `Time`, `Percent`); where there may be none, write `OrNone<T>` and the default `none`;
//! where the node may choose, `OrAuto<T>` and `auto`: every option has a default that can be
//! written down. Tests here hold every field against these rules, and one in `serve` holds the
//! defaults against those of the node.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::value::{
    Admin, Cpus, OrAuto, OrNone, Percent, Size, Switch, Time, connections, deadline, disk_percent,
    groups, idle_deadline, reactors, segment_size, shard_memory, shards,
};

/// How a reactor waits for work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wait {
    /// Sleep whenever there is nothing to do.
    Sleep,
    /// Sleep when idle, poll while a durable write is in flight.
    Hybrid,
    /// Never sleep; needs a core of its own.
    Poll,
}

/// How groups become durable; the guarantee is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Flush {
    /// As `uringmq tune` found, else dsync.
    Auto,
    /// Each write by itself (O_DSYNC).
    Dsync,
    /// A plain write, then fdatasync.
    Fdatasync,
}

/// What log lines look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The options, and what only a command line has.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// Read options from this TOML file (`uringmq config print` shows what there is). Flags win
    /// over environment variables, these over the file.
    #[arg(long, value_name = "FILE", env = "URINGMQ_CONFIG")]
    pub config: Option<PathBuf>,
    /// Short for `--wait poll`.
    #[arg(long)]
    pub poll: bool,
    /// The options themselves, without the file's.
    #[command(flatten)]
    pub options: Options,
}

/// Headings of the help, in its order.
const WHERE: &str = "Where";
const REACTORS: &str = "Reactors and shards";
const DISK: &str = "Disk";
const KEPT: &str = "How long records are kept";
const CLIENTS: &str = "Clients";
const LOG: &str = "Log";

/// The options of a node.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[group(skip)]
pub struct Options {
    /// Data directory; made and formatted if it is missing or empty.
    #[arg(long, value_name = "DIR", help_heading = WHERE, env = "URINGMQ_DATA", default_value = "uringmq-data")]
    pub data: PathBuf,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", help_heading = WHERE, env = "URINGMQ_LISTEN", default_value = "127.0.0.1:9440")]
    pub listen: SocketAddr,
    /// Allow listen addresses other than loopback. There is no authentication yet: whoever reaches
    /// the port can read and write everything.
    #[arg(long, value_enum, value_name = "BOOL", help_heading = WHERE, env = "URINGMQ_ALLOW_REMOTE",
          default_value = "false", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub allow_remote: Switch,
    /// Address of the admin server, plain HTTP: /metrics for Prometheus, /healthz, /readyz. A port
    /// alone is on loopback; `off`: none; `auto`: 127.0.0.1:9442, or none if that is in use.
    #[arg(long, value_name = "ADDR", help_heading = WHERE, env = "URINGMQ_ADMIN", default_value = "auto")]
    pub admin: Admin,
    /// Topics that have metrics of their own in /metrics, the oldest first, and as many pairs of
    /// group and topic. The others are only counted; 0: none has.
    #[arg(long, value_name = "N", help_heading = WHERE, env = "URINGMQ_METRICS_TOPICS", default_value = "1000",
          value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub metrics_topics: u32,
    /// How the reactors wait for work.
    #[arg(long, value_enum, help_heading = REACTORS, env = "URINGMQ_WAIT", default_value = "hybrid")]
    pub wait: Wait,
    /// Reactors: threads with a CPU and shards of their own. At most as many as CPUs, and as shards
    /// in the data directory (`uringmq shards add` adds to them).
    #[arg(long, value_name = "N", help_heading = REACTORS, env = "URINGMQ_REACTORS", default_value = "1",
          value_parser = reactors)]
    pub reactors: u16,
    /// Pin the reactors to these CPUs, one each: `2,3` (`none`: several reactors are pinned to the
    /// first CPUs that the process may use, a single one runs wherever the system puts it).
    #[arg(long, value_name = "LIST", help_heading = REACTORS, env = "URINGMQ_CPU", default_value = "none")]
    pub cpu: Cpus,
    /// Shards of a new data directory (`auto`: one per reactor). An existing one keeps its own; if
    /// that has fewer, the node does not start: add to them with `uringmq shards add`.
    #[arg(long, value_name = "N", help_heading = REACTORS, env = "URINGMQ_SHARDS", default_value = "auto",
          value_parser = shards)]
    pub shards: OrAuto<u16>,
    /// Segment length of a new data directory (an existing one keeps its own).
    #[arg(long, value_name = "SIZE", help_heading = REACTORS, env = "URINGMQ_SEGMENT_SIZE", default_value = "256MiB",
          value_parser = segment_size)]
    pub segment_size: Size,
    /// Memory of each shard for records: recent ones, those on their way to the device, and those
    /// read for consumers. When it is used up, who needs more is told to come again. Requests that
    /// have not arrived in full may take twice as much on each reactor.
    #[arg(long, value_name = "SIZE", help_heading = REACTORS, env = "URINGMQ_SHARD_MEMORY", default_value = "128MiB",
          value_parser = shard_memory)]
    pub shard_memory: Size,
    /// Device writes in flight per shard, with `flush` by `dsync` twice as many of full groups (`auto`:
    /// as `uringmq tune` found, else 2).
    #[arg(long, value_name = "N", help_heading = DISK, env = "URINGMQ_GROUPS_INFLIGHT", default_value = "auto",
          value_parser = groups)]
    pub groups_inflight: OrAuto<u16>,
    /// How groups become durable.
    #[arg(long, value_enum, help_heading = DISK, env = "URINGMQ_FLUSH", default_value = "auto")]
    pub flush: Flush,
    /// Whether a polling reactor gives its CPU away while a durable write is in flight (`auto`: as
    /// `uringmq tune` found, else true).
    #[arg(long, value_name = "BOOL", help_heading = DISK, env = "URINGMQ_YIELD_IN_FLIGHT", default_value = "auto")]
    pub yield_in_flight: OrAuto<bool>,
    /// A device write that takes longer closes the shard for writing.
    #[arg(long, value_name = "TIME", help_heading = DISK, env = "URINGMQ_FLUSH_DEADLINE", default_value = "2s",
          value_parser = deadline)]
    pub flush_deadline: Time,
    /// Records older than this go (`none`: they are kept for ever). Whole segments go, never the
    /// one that is being written to.
    #[arg(long, value_name = "TIME", help_heading = KEPT, env = "URINGMQ_RETENTION", default_value = "72h")]
    pub retention: OrNone<Time>,
    /// The oldest records of a shard go while its log is longer than this (`none`: however long).
    #[arg(long, value_name = "SIZE", help_heading = KEPT, env = "URINGMQ_RETENTION_SIZE", default_value = "none")]
    pub retention_size: OrNone<Size>,
    /// The oldest records go, a segment at a time, while more of the file system than this is used,
    /// whoever uses it (`none`: never for that). From 95% on, and when nothing is left to go,
    /// producers are told that the disk is full.
    #[arg(long, value_name = "PERCENT", help_heading = KEPT, env = "URINGMQ_RETENTION_DISK", default_value = "80%",
          value_parser = disk_percent)]
    pub retention_disk: OrNone<Percent>,
    /// Connections of the node; further ones are refused, and told so.
    #[arg(long, value_name = "N", help_heading = CLIENTS, env = "URINGMQ_CONNECTIONS_MAX", default_value = "65536",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections_max: u32,
    /// Connections from one address (`none`: as many as of the node).
    #[arg(long, value_name = "N", help_heading = CLIENTS, env = "URINGMQ_CONNECTIONS_PER_ADDRESS", default_value = "none",
          value_parser = connections)]
    pub connections_per_address: OrNone<u32>,
    /// A new connection that has not sent its first frame by then is closed.
    #[arg(long, value_name = "TIME", help_heading = CLIENTS, env = "URINGMQ_HELLO_DEADLINE", default_value = "10s",
          value_parser = deadline)]
    pub hello_deadline: Time,
    /// A connection on which nothing was said for this long, and nothing is asked, is closed
    /// (`none`: it may stay; a peer that has vanished is noticed after two minutes anyway).
    #[arg(long, value_name = "TIME", help_heading = CLIENTS, env = "URINGMQ_IDLE_DEADLINE", default_value = "none",
          value_parser = idle_deadline)]
    pub idle_deadline: OrNone<Time>,
    /// A connection that takes less than 64 KiB of its replies in this time, while more waits, is
    /// closed.
    #[arg(long, value_name = "TIME", help_heading = CLIENTS, env = "URINGMQ_SLOW_READER_DEADLINE", default_value = "30s",
          value_parser = deadline)]
    pub slow_reader_deadline: Time,
    /// A connection that stays silent within a frame for this long is closed.
    #[arg(long, value_name = "TIME", help_heading = CLIENTS, env = "URINGMQ_FRAME_DEADLINE", default_value = "10s",
          value_parser = deadline)]
    pub frame_deadline: Time,
    /// How long a stop waits for what was begun, and for clients to take their replies.
    #[arg(long, value_name = "TIME", help_heading = CLIENTS, env = "URINGMQ_STOP_DEADLINE", default_value = "5s",
          value_parser = deadline)]
    pub stop_deadline: Time,
    /// What is logged to standard error: error, warn, info, debug, trace, or by module
    /// (`warn,net=debug`). -v raises it; RUST_LOG wins over it.
    #[arg(long, value_name = "FILTER", help_heading = LOG, env = "URINGMQ_LOG", default_value = "info")]
    pub log: String,
    /// What log lines look like.
    #[arg(long, value_enum, help_heading = LOG, env = "URINGMQ_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

impl Options {
    /// Why these options do not go together, wherever the node runs; each with what to do.
    #[must_use]
    pub fn conflicts(&self) -> Vec<String> {
        let mut conflicts = Vec::new();
        let admin = self.admin.address();
        for address in [Some(self.listen), admin].into_iter().flatten() {
            if !address.ip().is_loopback() && !self.allow_remote.is_on() {
                conflicts.push(format!(
                    "{address} is not a loopback address and the node has no authentication; \
                     add --allow-remote (in a file: allow_remote = true) if the network is yours"
                ));
            }
        }
        if matches!(self.admin, Admin::At(at) if at == self.listen && at.port() != 0) {
            let listen = self.listen;
            conflicts.push(format!("listen and admin are both {listen}: they need two ports"));
        }
        conflicts
    }
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    #[test]
    fn every_option_has_a_flag_a_variable_a_default_and_a_help_text() {
        let command = Options::augment_args(Command::new("test"));
        let mut count = 0;
        for arg in command.get_arguments() {
            let key = arg.get_id().as_str();
            assert_eq!(arg.get_long(), Some(key.replace('_', "-").as_str()), "{key}");
            let variable = arg.get_env().and_then(|name| name.to_str());
            assert_eq!(variable, Some(format!("URINGMQ_{}", key.to_uppercase()).as_str()), "{key}");
            assert_eq!(arg.get_default_values().len(), 1, "{key}");
            assert!(arg.get_help().is_some(), "{key}");
            assert!(arg.get_help_heading().is_some(), "{key}");
            count += 1;
        }
        assert!(count >= 19, "{count}");
    }

    fn options(args: &[&str]) -> Options {
        let command = Options::augment_args(Command::new("test").no_binary_name(true))
            .mut_args(|arg| arg.env(None::<&str>));
        let matches = command.try_get_matches_from(args).unwrap();
        clap::FromArgMatches::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn remote_addresses_need_a_word() {
        assert_eq!(options(&[]).conflicts(), Vec::<String>::new());
        for args in [["--listen", "0.0.0.0:9440"], ["--admin", "[::]:9442"]] {
            let conflicts = options(&args).conflicts();
            assert!(conflicts.len() == 1 && conflicts[0].contains("--allow-remote"), "{args:?}");
            assert!(options(&[&args[..], &["--allow-remote"]].concat()).conflicts().is_empty());
        }
        let same = options(&["--listen", "127.0.0.1:5", "--admin", "5"]).conflicts();
        assert!(same.len() == 1 && same[0].contains("two ports"), "{same:?}");
    }
}
