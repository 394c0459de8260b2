//! Shards added to a directory whose node is stopped.
//!
//! Reads top-down: [`add_shards`] -> `make_logs` (the new shards, empty and durable) -> the
//! directory's format names them. 1. logs made 2. crash 3. the format does not know them: nothing
//! has happened, and the next attempt finds its logs half made or made, and goes on.
//! Absent: queues that move; fewer shards.

use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use engine::broker::{Answers, Broker};
use engine::data_dir::{DataDir, DirError};
use engine::io::block::Budget;
use engine::io::ring::env::monotonic;
use engine::io::ring::{DiskLimits, RealEnv, Ring, RingConfig, RingDisk, RingError};
use engine::limits::{BLOCK_MEMORY_BYTES_MAX, SHARDS_MAX};
use engine::log::recover::{OpenError, OpenOptions};
use engine::log::writer::WriterOptions;
use engine::shard::retention::Retention;
use engine::shard::turn::TurnClock;
use thiserror::Error;

/// Between two looks at the device.
const PAUSE: Duration = Duration::from_micros(200);

/// Why no shards were added.
#[derive(Debug, Error)]
pub enum GrowError {
    /// The directory cannot be used.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// A handle keeps its shard in 8 bits.
    #[error("{there} shards and {added} more would be more than {SHARDS_MAX}")]
    TooMany {
        /// Shards of the directory.
        there: u16,
        /// Shards to be added.
        added: u16,
    },
    /// There is no io_uring; the text says what the operator can do.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A new shard's log could not be made.
    #[error("making the new logs: {0}")]
    Log(#[from] OpenError),
    /// A new shard's directory could not be made.
    #[error("making {path}: {why}")]
    Make {
        /// The directory.
        path: String,
        /// What the system said.
        why: String,
    },
}

/// Adds shards to the directory of a stopped node; the numbers of the new ones.
///
/// # Errors
/// [`GrowError`]; the directory has the shards it had.
pub fn add_shards(data: &Path, added: u16) -> Result<Range<u16>, GrowError> {
    let mut dir = DataDir::open_existing(data, true)?;
    let there = dir.shards;
    let total = there.checked_add(added).filter(|total| *total <= SHARDS_MAX);
    let total = total.ok_or(GrowError::TooMany { there, added })?;
    make_logs(&dir, there..total)?;
    dir.grow(total)?;
    Ok(there..total)
}

fn make_logs(dir: &DataDir, shards: Range<u16>) -> Result<(), GrowError> {
    let ring = Ring::new(RingConfig::default())?;
    let mut envs = Vec::new();
    for shard in shards.clone() {
        let path = dir.shard_path(shard);
        let make = |why: String| GrowError::Make { path: path.display().to_string(), why };
        std::fs::create_dir_all(&path).map_err(|error| make(error.to_string()))?;
        let budget = Budget::new(BLOCK_MEMORY_BYTES_MAX);
        let disk = RingDisk::open(&ring, &path, budget, DiskLimits::default());
        let disk = disk.map_err(|errno| make(errno.to_string()))?;
        envs.push((shard, RealEnv::new(disk, u64::from(shard))));
    }
    let (writer, retention) = (WriterOptions::default(), Retention::default());
    let (node, segment_bytes) = (dir.node, dir.segment_bytes);
    let options = OpenOptions { shard: 0, node, segment_bytes, writer, retention };
    close(&ring, Broker::open_some(envs, shards.end, &options)?);
    Ok(())
}

/// Closes the logs as an orderly stop does.
fn close(ring: &Rc<Ring>, mut broker: Broker<RealEnv>) {
    let mut answers = Answers::default();
    broker.stop(&mut answers);
    while !broker.is_quiet() && broker.poison().is_none() {
        let now = monotonic();
        broker.turn(TurnClock { gathered: now, received: now }, &mut answers);
        ring.submit();
        ring.reap();
        std::thread::sleep(PAUSE);
    }
}
