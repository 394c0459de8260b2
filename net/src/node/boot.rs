//! How the reactors of a node open their shards together.
//!
//! Each opens the logs of its own shards, at the same time as the others. What topics there are
//! stands in shard 0's log: its owner tells the others, and waits until every one of them has
//! opened its logs before it serves anybody, because a topic may be made only when every shard is
//! there.
//!
//! Invariant: when one cannot open a shard, none serves.

use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;

use engine::broker::Broker;
use engine::broker::catalog::Catalog;
use engine::data_dir::DataDir;
use engine::io::ahead::Warmer;
use engine::io::block::Budget;
use engine::io::ring::{DiskLimits, RealEnv, Ring, RingDisk};
use engine::log::recover::OpenOptions;
use engine::log::writer::WriterOptions;
use engine::shard::Opening;
use engine::shard::retention::Retention;
use tracing::info;

use crate::native::{Alarm, Identity, Meter, Metered, Native, Post};
use crate::server::OtherFailed;

type Failure = Box<dyn Error + Send + Sync>;
type RealMetered = Metered<RealEnv>;

/// What all reactors open.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) dir: Arc<DataDir>,
    pub(super) reactors: usize,
    pub(super) writer: WriterOptions,
    pub(super) retention: Retention,
    pub(super) block_memory_bytes: u64,
    pub(super) warmer: Warmer,
    pub(super) disk_used_percent_max: Option<u8>,
    pub(super) alarm: Alarm,
}

/// One reactor's part, and how it meets the others.
#[derive(Debug)]
pub(super) struct Boot {
    plan: Plan,
    reactor: usize,
    meeting: Meeting,
}

#[derive(Debug)]
enum Meeting {
    /// The owner of shard 0.
    Tells { catalogs: Vec<Sender<Catalog>>, opened: Receiver<()> },
    /// Every other one.
    Learns { catalog: Receiver<Catalog>, opened: Sender<()> },
}

impl Plan {
    /// A part for each reactor.
    pub(super) fn boots(&self) -> Vec<Boot> {
        let (tell, opened) = mpsc::channel();
        let mut catalogs = Vec::new();
        let mut boots = Vec::new();
        for reactor in 1..self.reactors {
            let (teller, catalog) = mpsc::channel();
            catalogs.push(teller);
            let meeting = Meeting::Learns { catalog, opened: tell.clone() };
            boots.push(Boot { plan: self.clone(), reactor, meeting });
        }
        let meeting = Meeting::Tells { catalogs, opened };
        boots.insert(0, Boot { plan: self.clone(), reactor: 0, meeting });
        boots
    }
}

impl Boot {
    /// Opens the shards and builds the door in front of them.
    pub(super) fn door(self, ring: &Rc<Ring>, post: Post) -> Result<Native<RealMetered>, Failure> {
        let (mut broker, meters) = self.open(ring)?;
        match self.meeting {
            Meeting::Tells { catalogs, opened } => {
                broker.adopt(None);
                for catalog in &catalogs {
                    // Who does not listen has failed: `opened` says so.
                    let _ = catalog.send(broker.catalog().clone());
                }
                for _ in &catalogs {
                    opened.recv().map_err(|_| OtherFailed)?;
                }
            }
            Meeting::Learns { catalog, opened } => {
                let _ = opened.send(());
                drop(opened);
                broker.adopt(Some(catalog.recv().map_err(|_| OtherFailed)?));
            }
        }
        broker.limit_disk(self.plan.disk_used_percent_max);
        let name = format!("uringmq {}", env!("CARGO_PKG_VERSION"));
        let identity = Identity { node: self.plan.dir.node, name };
        let ways = (post, self.plan.alarm, meters);
        Ok(Native::new(broker, identity, ways, Box::new(self.plan.dir)))
    }

    fn open(&self, ring: &Rc<Ring>) -> Result<(Broker<RealMetered>, Vec<Meter>), Failure> {
        let Plan { dir, reactors, writer, retention, block_memory_bytes, warmer, .. } = &self.plan;
        let own = (0..dir.shards).filter(|shard| usize::from(*shard) % reactors == self.reactor);
        let (mut envs, mut meters) = (Vec::new(), Vec::new());
        for shard in own {
            let budget = Budget::warmed(*block_memory_bytes, warmer.clone());
            let path = dir.shard_path(shard);
            let disk = RingDisk::open(ring, &path, budget, DiskLimits::default())
                .map_err(|errno| format!("opening {}: {errno}", path.display()))?;
            let meter = Meter::default();
            meters.push(meter.clone());
            envs.push((shard, Metered::new(RealEnv::new(disk, u64::from(shard)), meter)));
        }
        let (node, segment_bytes) = (dir.node, dir.segment_bytes);
        let (writer, retention) = (*writer, *retention);
        let options = OpenOptions { shard: 0, node, segment_bytes, writer, retention };
        let began = Instant::now();
        let mut broker = Broker::open_some(envs, dir.shards, &options)?;
        let numbers = broker.shard_numbers().to_vec();
        for (shard, number) in broker.shards().iter().zip(numbers) {
            let Opening { read_bytes, sealed_segments, rebuilt_indexes, .. } = shard.opening();
            let millis = began.elapsed().as_millis() as u64;
            let reactor = self.reactor;
            info!(
                shard = number,
                reactor, read_bytes, sealed_segments, rebuilt_indexes, millis, "log opened"
            );
        }
        Ok((broker, meters))
    }
}
