//! A node: one data directory behind one port.
//!
//! Reads top-down: [`Node::start`] -> lock and read the directory -> bind -> spawn the reactors ->
//! each opens its shards on its own ring (`boot`). Shard `s` of the directory is hosted by reactor
//! `s` modulo their number. Absent: signals and the command line (the binary's).

mod boot;
mod grow;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::data_dir::{DataDir, DirError, FormatOptions};
use engine::io::ahead::Warmer;
use engine::limits::{
    BLOCK_MEMORY_BYTES_MAX, DISK_USED_PERCENT_MAX, RETENTION_AGE_MS, SEGMENT_BYTES_DEFAULT,
};
use engine::log::writer::WriterOptions;
use engine::shard::retention::Retention;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::Pid;
use thiserror::Error;
use tracing::warn;

use crate::native::{Alarm, Post};
use crate::server::{
    Limits, Reactor, ReactorConfig, ReactorError, ReactorHandle, WaitMode, Waker, bind_within,
};
use boot::Plan;
pub use grow::{GrowError, add_shards};
use watch::Watch;

/// The port of the native protocol.
pub const PORT_DEFAULT: u16 = 9440;

/// How long a port that is in use is waited for.
const BIND_PATIENCE: Duration = Duration::from_secs(2);

/// How a node is started.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The data directory; made and formatted if it is missing or empty.
    pub data: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What a new directory is formatted with.
    pub format: FormatOptions,
    /// How many reactors: threads with a CPU and shards of their own.
    pub reactors: usize,
    /// Their CPUs, one each; empty: with several reactors the first ones that the process may use,
    /// a single one is not pinned.
    pub cpus: Vec<usize>,
    /// Each reactor: waiting, limits (its name and CPU are not taken from here).
    pub reactor: ReactorConfig,
    /// How the logs are written.
    pub writer: WriterOptions,
    /// How long records are kept.
    pub retention: Retention,
    /// Memory of each shard for records, in bytes: recent ones, those on their way to the device,
    /// and those read for consumers.
    pub block_memory_bytes: u64,
    /// Above so many percent used of the file system the oldest records go; `None`: never for that.
    pub disk_used_percent_max: Option<u8>,
}

impl NodeOptions {
    /// The defaults for a data directory: loopback, the default port, one shard, one reactor.
    #[must_use]
    pub fn new(data: PathBuf) -> Self {
        Self {
            data,
            listen: SocketAddr::from(([127, 0, 0, 1], PORT_DEFAULT)),
            format: FormatOptions { shards: 1, segment_bytes: SEGMENT_BYTES_DEFAULT },
            reactors: 1,
            cpus: Vec::new(),
            reactor: ReactorConfig::default(),
            writer: WriterOptions::default(),
            retention: Retention { age_ms: Some(RETENTION_AGE_MS), bytes: None },
            block_memory_bytes: BLOCK_MEMORY_BYTES_MAX,
            disk_used_percent_max: Some(DISK_USED_PERCENT_MAX),
        }
    }
}

/// Why a node does not start, or has ended.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No thread can be started that makes memory ready.
    #[error("cannot start the thread that makes memory ready: {0}")]
    Memory(io::Error),
    /// Nobody can watch that the directory stays.
    #[error("cannot watch the data directory: {0}")]
    Watch(io::Error),
    /// The directory was removed, renamed or replaced while the node ran.
    #[error("the data directory was removed, renamed or replaced while the node ran")]
    Lost,
    /// A shard was closed for writing while the node ran.
    #[error(
        "stopped, but a shard was closed for writing after a failed or stalled device write: what was \
         acknowledged as durable is on stable media, what was acknowledged at weaker levels may not be"
    )]
    Poisoned,
    /// The stop deadline passed.
    #[error(
        "stopped at the stop deadline, before everything was on stable media: what was acknowledged \
         as durable is, what was acknowledged at weaker levels may not be"
    )]
    Unfinished,
    /// The reactors cannot have what was asked for.
    #[error("{0}")]
    Reactors(String),
    /// The reactor failed: a shard could not be opened, or the ring or runtime broke.
    #[error(transparent)]
    Reactor(#[from] ReactorError),
}

/// A running node. Dropping it leaves it running.
#[derive(Debug)]
pub struct Node {
    address: SocketAddr,
    reactor: ReactorHandle,
    alarm: Alarm,
    watch: Watch,
}

impl Node {
    /// Starts a node; returns when it accepts connections.
    ///
    /// # Errors
    /// [`NodeError`] says what to change.
    pub fn start(options: NodeOptions) -> Result<Self, NodeError> {
        let cpus = place(&options)?;
        let dir = DataDir::open(&options.data, &options.format)?;
        if options.reactors > usize::from(dir.shards) {
            let (asked, shards) = (options.reactors, dir.shards);
            return Err(NodeError::Reactors(format!(
                "{asked} reactors, and each needs a shard of its own, of which {} has {shards}: use \
                 fewer reactors, or add shards with `uringmq shards add`",
                options.data.display()
            )));
        }
        if options.format.shards > dir.shards {
            let (asked, shards) = (options.format.shards, dir.shards);
            return Err(NodeError::Reactors(format!(
                "{asked} shards, but {} was made with {shards}: add {} with `uringmq shards add`, or \
                 leave `shards` at auto",
                options.data.display(),
                asked - shards,
            )));
        }
        let bind_error = |source| NodeError::Bind { address: options.listen, source };
        let listener = bind_within(options.listen, BIND_PATIENCE).map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        let mut template = options.reactor.clone();
        limit_connections(&mut template.limits);
        let pinned: Vec<usize> = cpus.iter().copied().flatten().collect();
        let configs = cpus.into_iter().enumerate().map(|(number, cpu)| {
            let name = format!("reactor {number}");
            ReactorConfig { name, cpu, ..template.clone() }
        });
        let plan = Plan {
            dir: Arc::new(dir),
            reactors: options.reactors,
            writer: options.writer,
            retention: options.retention,
            block_memory_bytes: options.block_memory_bytes,
            warmer: Warmer::start(&pinned).map_err(NodeError::Memory)?,
            disk_used_percent_max: options.disk_used_percent_max,
            alarm: Alarm::default(),
        };
        let (dir, alarm) = (Arc::clone(&plan.dir), plan.alarm.clone());
        let reactor = Reactor::spawn_many(configs.collect(), listener, move |wakers| {
            let boots = plan.boots().into_iter().zip(Post::among(wakers));
            boots.map(|(boot, post)| move |ring: &_| boot.door(ring, post)).collect()
        })?;
        let watched = Watch::start(&dir, alarm.clone(), reactor.waker());
        match watched {
            Ok(watch) => Ok(Self { address, reactor, alarm, watch }),
            Err(error) => {
                let _ = reactor.stop();
                Err(NodeError::Watch(error))
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks the node to stop, from any thread: it drains, makes everything durable, and ends.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.reactor.waker()
    }

    /// Waits for the node's end. `Ok`: everything that was acknowledged is on stable media.
    ///
    /// # Errors
    /// Why it ended, if it was not asked to, or what is not as it should be.
    pub fn join(self) -> Result<(), NodeError> {
        let Self { reactor, alarm, watch, .. } = self;
        let ended = reactor.join();
        watch.end();
        ended?;
        if alarm.is_lost() {
            Err(NodeError::Lost)
        } else if alarm.is_poisoned() {
            Err(NodeError::Poisoned)
        } else if alarm.is_unfinished() {
            Err(NodeError::Unfinished)
        } else {
            Ok(())
        }
    }
}

/// The CPU of each reactor.
fn place(options: &NodeOptions) -> Result<Vec<Option<usize>>, NodeError> {
    let refuse = |why: String| Err(NodeError::Reactors(why));
    let own = allowed_cpus();
    let (reactors, cpus) = (options.reactors, own.len());
    if reactors == 0 {
        return refuse("a node needs at least one reactor".to_owned());
    }
    if reactors > cpus {
        return refuse(format!(
            "{reactors} reactors, but this process may only run on {own:?}: each needs a CPU of its own"
        ));
    }
    if options.reactor.wait == WaitMode::Poll && reactors >= cpus {
        return refuse(format!(
            "poll mode would take every CPU that this process may run on, {own:?}, and leave none \
             to the kernel: use fewer reactors or hybrid mode"
        ));
    }
    if options.cpus.is_empty() {
        let pinned = own.into_iter().take(reactors).map(Some).collect();
        return Ok(if reactors == 1 { vec![None] } else { pinned });
    }
    let mut named = options.cpus.clone();
    named.sort_unstable();
    named.dedup();
    if named.len() != reactors {
        return refuse(format!(
            "each reactor needs a CPU of its own: there are {reactors} to be, but the CPUs are {named:?}"
        ));
    }
    if let Some(foreign) = named.iter().find(|cpu| !own.contains(cpu)) {
        return refuse(format!("CPU {foreign} is not one that this process may use: {own:?}"));
    }
    Ok(options.cpus.iter().copied().map(Some).collect())
}

/// Leaves a quarter of the files that may be open to the logs, and to guests that are refused.
fn limit_connections(limits: &mut Limits) {
    let Ok((files, _)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let connections_max = u32::try_from(files / 4 * 3).unwrap_or(u32::MAX);
    if connections_max < limits.connections_max {
        let wanted = limits.connections_max;
        warn!(
            wanted,
            connections_max, files, "fewer connections are taken: raise RLIMIT_NOFILE for more"
        );
        limits.connections_max = connections_max;
    }
}

/// The CPUs this process may use.
fn allowed_cpus() -> Vec<usize> {
    let all = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    (0..CpuSet::count()).filter(|cpu| all.is_set(*cpu).unwrap_or(false)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(reactors: usize, cpus: &[usize]) -> NodeOptions {
        let options = NodeOptions::new(PathBuf::from("unused"));
        NodeOptions { reactors, cpus: cpus.to_vec(), ..options }
    }

    #[test]
    fn every_reactor_gets_a_cpu_of_its_own() {
        let own = allowed_cpus();
        assert_eq!(place(&options(1, &[])).unwrap(), [None]);
        let first = own[0];
        assert_eq!(place(&options(1, &[first])).unwrap(), [Some(first)]);
        let all: Vec<_> = own.iter().copied().map(Some).collect();
        if own.len() > 1 {
            assert_eq!(place(&options(own.len(), &[])).unwrap(), all);
        }
        assert!(place(&options(own.len() + 1, &[])).is_err(), "too many");
        assert!(place(&options(0, &[])).is_err());
        assert!(place(&options(2, &[first, first])).is_err(), "two on one");
        assert!(place(&options(1, &[CpuSet::count() - 1])).is_err() || own.len() > 1000);
        let mut polling = options(own.len(), &[]);
        polling.reactor.wait = WaitMode::Poll;
        assert!(place(&polling).is_err(), "no CPU would be left");
    }
}
