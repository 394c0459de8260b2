//! A node: one data directory behind one port.
//!
//! Reads top-down: [`Node::start`] -> lock and read the directory -> bind -> spawn the reactor ->
//! open every shard on the reactor's own ring. Absent: signals and the command line (the
//! binary's), several reactors.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use engine::broker::Broker;
use engine::data_dir::{DataDir, DirError, FormatOptions};
use engine::io::block::Budget;
use engine::io::ring::{DiskLimits, RealEnv, Ring, RingDisk};
use engine::limits::{
    BLOCK_MEMORY_BYTES_MAX, DISK_USED_PERCENT_MAX, RETENTION_AGE_MS, SEGMENT_BYTES_DEFAULT,
};
use engine::log::recover::OpenOptions;
use engine::log::writer::WriterOptions;
use engine::shard::Opening;
use engine::shard::retention::Retention;
use thiserror::Error;
use tracing::info;

use crate::native::{Identity, Native};
use crate::server::{Reactor, ReactorConfig, ReactorError, ReactorHandle, Waker, bind_within};

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
    /// The reactor: CPU, waiting, limits.
    pub reactor: ReactorConfig,
    /// How the logs are written.
    pub writer: WriterOptions,
    /// How long records are kept.
    pub retention: Retention,
    /// Above so many percent used of the file system the oldest records go; `None`: never for that.
    pub disk_used_percent_max: Option<u8>,
}

impl NodeOptions {
    /// The defaults for a data directory: loopback, the default port, one shard.
    #[must_use]
    pub fn new(data: PathBuf) -> Self {
        Self {
            data,
            listen: SocketAddr::from(([127, 0, 0, 1], PORT_DEFAULT)),
            format: FormatOptions { shards: 1, segment_bytes: SEGMENT_BYTES_DEFAULT },
            reactor: ReactorConfig::default(),
            writer: WriterOptions::default(),
            retention: Retention { age_ms: Some(RETENTION_AGE_MS), bytes: None },
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
    /// The reactor failed: a shard could not be opened, or the ring or runtime broke.
    #[error(transparent)]
    Reactor(#[from] ReactorError),
}

/// A running node. Dropping it leaves it running.
#[derive(Debug)]
pub struct Node {
    address: SocketAddr,
    reactor: ReactorHandle,
}

impl Node {
    /// Starts a node; returns when it accepts connections.
    ///
    /// # Errors
    /// [`NodeError`] says what to change.
    pub fn start(options: NodeOptions) -> Result<Self, NodeError> {
        let dir = DataDir::open(&options.data, &options.format)?;
        let bind_error = |source| NodeError::Bind { address: options.listen, source };
        let listener = bind_within(options.listen, BIND_PATIENCE).map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        let (writer, retention) = (options.writer, options.retention);
        let disk_used_percent_max = options.disk_used_percent_max;
        let reactor = Reactor::spawn(options.reactor, listener, move |ring| {
            let mut broker = open_broker(ring, &dir, writer, retention)?;
            broker.limit_disk(disk_used_percent_max);
            let name = format!("uringmq {}", env!("CARGO_PKG_VERSION"));
            let identity = Identity { node: dir.node, name };
            Ok(Native::new(broker, identity, Box::new(dir)))
        })?;
        Ok(Self { address, reactor })
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

    /// Waits for the node's end.
    ///
    /// # Errors
    /// Why it ended, if it was not asked to.
    pub fn join(self) -> Result<(), NodeError> {
        Ok(self.reactor.join()?)
    }
}

fn open_broker(
    ring: &Rc<Ring>,
    dir: &DataDir,
    writer: WriterOptions,
    retention: Retention,
) -> Result<Broker<RealEnv>, Box<dyn std::error::Error + Send + Sync>> {
    let mut envs = Vec::new();
    for shard in 0..dir.shards {
        let budget = Budget::new(BLOCK_MEMORY_BYTES_MAX);
        let path = dir.shard_path(shard);
        let disk = RingDisk::open(ring, &path, budget, DiskLimits::default())
            .map_err(|errno| format!("opening {}: {errno}", path.display()))?;
        envs.push(RealEnv::new(disk, u64::from(shard)));
    }
    let (node, segment_bytes) = (dir.node, dir.segment_bytes);
    let options = OpenOptions { shard: 0, node, segment_bytes, writer, retention };
    let began = Instant::now();
    let mut broker = Broker::open(envs, &options)?;
    for (number, shard) in broker.shards().iter().enumerate() {
        let Opening { read_bytes, sealed_segments, rebuilt_indexes } = shard.opening();
        let millis = began.elapsed().as_millis() as u64;
        info!(shard = number, read_bytes, sealed_segments, rebuilt_indexes, millis, "log opened");
    }
    Ok(broker)
}
