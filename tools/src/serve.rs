//! `uringmq serve`: a node in the foreground, until SIGTERM or SIGINT.

mod tuned;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, ValueEnum};
use engine::limits::{
    DISK_FULL_PERCENT, DISK_USED_PERCENT_MAX, FLUSH_DEADLINE_MS, RETENTION_AGE_MS,
};
use engine::log::writer::Flush;
use engine::shard::retention::Retention;
use net::node::{Node, NodeOptions, PORT_DEFAULT};
use net::server::{Limits, WaitMode};
use nix::sys::signal::{SigSet, Signal};

use self::tuned::Explicit;
use crate::output::{print, say};
use crate::{descriptors, exit};

const HOUR_MS: u64 = 3_600_000;

/// How a reactor waits for work.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Wait {
    /// Sleep whenever there is nothing to do.
    Sleep,
    /// Sleep when idle, poll while a durable write is in flight.
    Hybrid,
    /// Never sleep; needs a core of its own.
    Poll,
}

/// How groups become durable; the guarantee is the same.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FlushBy {
    /// Each write by itself (O_DSYNC).
    Dsync,
    /// A plain write, then fdatasync.
    Fdatasync,
}

/// Options of `serve`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Data directory; made and formatted if it is missing or empty.
    #[arg(long, value_name = "DIR", default_value = "uringmq-data", env = "URINGMQ_DATA")]
    data: PathBuf,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", env = "URINGMQ_LISTEN",
          default_value_t = SocketAddr::from(([127, 0, 0, 1], PORT_DEFAULT)))]
    listen: SocketAddr,
    /// Allow a listen address other than loopback. There is no authentication yet: whoever reaches
    /// the port can read and write everything.
    #[arg(long)]
    allow_remote: bool,
    /// How the reactor waits for work.
    #[arg(long, value_enum, default_value = "hybrid", env = "URINGMQ_WAIT")]
    wait: Wait,
    /// Short for `--wait poll`.
    #[arg(long)]
    poll: bool,
    /// Pin the reactor to this CPU.
    #[arg(long, value_name = "N")]
    cpu: Option<usize>,
    /// Shards of a new data directory (an existing one keeps its own).
    #[arg(long, value_name = "N", default_value_t = 1)]
    shards: u16,
    /// Segment length of a new data directory, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    segment_mib: u64,
    /// Device writes in flight per shard [default: as `uringmq tune` found, else 2].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    groups_inflight: Option<u16>,
    /// How groups become durable [default: as `uringmq tune` found, else dsync].
    #[arg(long, value_enum)]
    flush: Option<FlushBy>,
    /// A device write that takes longer closes the shard for writing, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = FLUSH_DEADLINE_MS)]
    flush_deadline_ms: u32,
    /// Records older than this go, in hours; 0 keeps them for ever.
    #[arg(long, value_name = "HOURS", default_value_t = RETENTION_AGE_MS / HOUR_MS)]
    retention_hours: u64,
    /// The oldest records of a shard go while its log is longer than this, in MiB. Whole segments
    /// go, never the one that is being written to.
    #[arg(long, value_name = "MIB")]
    retention_mib: Option<u64>,
    /// The oldest records go, a segment at a time, while more of the file system than this is used,
    /// in percent, whoever uses it (0: never for that). From 95 on, and when nothing is left to go,
    /// producers are told that the disk is full.
    #[arg(long, value_name = "PERCENT", default_value_t = DISK_USED_PERCENT_MAX,
          value_parser = clap::value_parser!(u8).range(0..=i64::from(DISK_FULL_PERCENT)))]
    retention_disk_percent: u8,
    /// A connection that stays silent within a frame for this long is closed, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = Limits::default().partial_deadline_ms,
          value_parser = clap::value_parser!(u32).range(1..))]
    idle_frame_ms: u32,
}

/// Runs the node; returns when it was asked to stop or has failed.
pub(crate) fn run(options: Options) -> ExitCode {
    let begun = Instant::now();
    // Before any thread exists, so that only this one ever takes the signals.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    if let Err(errno) = signals.thread_block() {
        return exit::fail(exit::CANNOT_START, &errno);
    }
    if let Some(refusal) = refusal(&options) {
        say(format_args!("uringmq: {refusal}"));
        return ExitCode::from(exit::CANNOT_START);
    }
    descriptors::raise_limit();
    let mut node = node_options(&options);
    let explicit = Explicit {
        flush: options.flush.map(|by| match by {
            FlushBy::Dsync => Flush::Dsync,
            FlushBy::Fdatasync => Flush::Fdatasync,
        }),
        groups_inflight: options.groups_inflight,
    };
    let tuned = match tuned::apply(&mut node, explicit) {
        Ok(line) => line,
        Err(error) => {
            let code = exit::fail(exit::CANNOT_START, &error);
            say("  measure again with `uringmq tune`, or remove the file");
            return code;
        }
    };
    let node = match Node::start(node) {
        Ok(node) => node,
        Err(error) => return exit::fail(exit::CANNOT_START, &error),
    };
    let took = begun.elapsed().as_secs_f64() * 1e3;
    let ready = format!(
        "uringmq ready: listening on {}, data in {}, {:?} mode, started in {took:.1} ms\n\
         {tuned}\n",
        node.address(),
        options.data.display(),
        wait_mode(&options),
    );
    // Whoever started the node may not be listening.
    let _ = print(&ready);
    let waker = node.waker();
    std::thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            waker.stop();
            say(format_args!("uringmq: {signal}, stopping: finishing what was begun"));
        }
    });
    match node.join() {
        Ok(()) => {
            say(format_args!("uringmq: stopped, everything acknowledged is on stable media"));
            ExitCode::SUCCESS
        }
        Err(error) => exit::fail(exit::FAILED, &error),
    }
}

/// Why these options are not a good idea.
fn refusal(options: &Options) -> Option<String> {
    if !options.listen.ip().is_loopback() && !options.allow_remote {
        return Some(format!(
            "{} is not a loopback address and the node has no authentication; \
             add --allow-remote if the network is yours",
            options.listen
        ));
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if matches!(wait_mode(options), WaitMode::Poll) && cores < 2 {
        return Some(
            "poll mode would take the only core of this machine; use --wait hybrid".to_owned(),
        );
    }
    None
}

fn wait_mode(options: &Options) -> WaitMode {
    match (options.poll, options.wait) {
        (true, _) | (_, Wait::Poll) => WaitMode::Poll,
        (_, Wait::Hybrid) => WaitMode::Hybrid,
        (_, Wait::Sleep) => WaitMode::Sleep,
    }
}

fn node_options(options: &Options) -> NodeOptions {
    let mut node = NodeOptions::new(options.data.clone());
    node.listen = options.listen;
    node.format.shards = options.shards;
    node.format.segment_bytes = options.segment_mib << 20;
    node.reactor.wait = wait_mode(options);
    node.reactor.cpu = options.cpu;
    node.reactor.limits.partial_deadline_ms = options.idle_frame_ms;
    let hours = Some(options.retention_hours).filter(|hours| *hours > 0);
    node.retention = Retention {
        age_ms: hours.map(|hours| hours.saturating_mul(HOUR_MS)),
        bytes: options.retention_mib.map(|mib| mib.saturating_mul(1 << 20)),
    };
    node.disk_used_percent_max =
        Some(options.retention_disk_percent).filter(|percent| *percent > 0);
    node.writer.flush_deadline_ms = options.flush_deadline_ms;
    node
}
