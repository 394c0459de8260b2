//! All shards of a data directory, one after the other: shard 0 first, it has the names.

use super::damage::{Damage, Place, What};
use super::topics::Topics;
use super::{Expected, ShardReport, Unreadable, verify, walk};
use crate::data_dir::DataDir;
use crate::io::block::Budget;
use crate::io::file::FileDisk;
use crate::io::{Errno, FileName};

/// Memory for reading: a few pieces of the log, and a group that lies over the edge of two.
const MEMORY_BYTES_MAX: u64 = 32 << 20;

const ENOENT: Errno = Errno(2);

/// A shard of a directory that was checked.
#[derive(Debug)]
pub struct Checked {
    /// The shard.
    pub shard: u16,
    /// What was found.
    pub report: ShardReport,
    /// Why not everything could be looked at.
    pub unreadable: Option<Unreadable>,
}

/// What the files of one shard must say of themselves.
#[must_use]
pub fn expected(dir: &DataDir, shard: u16) -> Expected {
    Expected { shard, node: dir.node, segment_bytes: dir.segment_bytes }
}

/// The files of one shard, for reading.
///
/// # Errors
/// [`Unreadable`] when its directory cannot be read.
pub fn open_shard(dir: &DataDir, shard: u16) -> Result<FileDisk, Unreadable> {
    let what = "opening the shard's directory";
    FileDisk::open(&dir.shard_path(shard), Budget::new(MEMORY_BYTES_MAX))
        .map_err(|errno| Unreadable { what, at: None, errno })
}

/// Bytes of all segment files: how long [`verify_all`] will be. What cannot be read counts nothing.
#[must_use]
pub fn segment_bytes(dir: &DataDir) -> u64 {
    let of = |shard| {
        let mut disk = open_shard(dir, shard)?;
        super::segment_bytes(&mut disk, &expected(dir, shard))
    };
    (0..dir.shards).map(|shard| of(shard).unwrap_or(0)).sum()
}

/// Checks every shard; `passed` is told how many more bytes of segment files have been gone
/// through. What the topics are called is in the second part.
pub fn verify_all(dir: &DataDir, passed: &mut dyn FnMut(u64)) -> (Vec<Checked>, Topics) {
    let mut topics = Topics::default();
    let checked = (0..dir.shards).map(|shard| one(dir, shard, &mut topics, passed)).collect();
    (checked, topics)
}

/// The names of all queues, from shard 0's log.
///
/// # Errors
/// [`Unreadable`] when the file system fails.
pub fn topics(dir: &DataDir) -> Result<Topics, Unreadable> {
    let mut topics = Topics::default();
    walk(&mut open_shard(dir, 0)?, &expected(dir, 0), &mut topics)?;
    Ok(topics)
}

fn one(dir: &DataDir, shard: u16, topics: &mut Topics, passed: &mut dyn FnMut(u64)) -> Checked {
    let (mut report, unreadable) = match open_shard(dir, shard) {
        Ok(mut disk) => {
            let (report, read) = verify(&mut disk, &expected(dir, shard), topics, passed);
            (report, read.err())
        }
        // As good as empty: a new directory may be without.
        Err(error) if error.errno == ENOENT => (ShardReport::default(), None),
        Err(error) => (ShardReport::default(), Some(error)),
    };
    // Topics are made when all shards are open, and then every shard has a superblock.
    let is_empty = report.walked.epoch.is_none() && report.walked.segments == 0;
    if is_empty && unreadable.is_none() && report.damages_total == 0 && !topics.is_empty() {
        let place = Place { file: FileName::Superblock, offset: 0, pos: None };
        report.damages.push(Damage { place, sequence: None, queue: None, what: What::Empty });
        report.damages_total = 1;
    }
    Checked { shard, report, unreadable }
}
