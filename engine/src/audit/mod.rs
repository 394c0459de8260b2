//! What the files of a stopped shard hold, and what of it is damaged.
//!
//! Reads top-down: [`directory`] (all shards) -> [`verify`] (one: checks all there is to check: `check`, `topics`) or any other
//! [`Visitor`] -> [`walk`] -> `files` (superblock, segment headers) -> `groups` (the log, and on
//! behind damage) -> `damage` (what can be wrong).
//! The steps and the formats are recovery's own ([`crate::log::recover`]).
//!
//! A torn tail is no damage: groups that were not acknowledged may be missing at the end, in
//! part or wholly. Damage is proven: by a later group that was written when the place was durable,
//! by the superblock of a later life, or by bytes inside the log that nobody wrote.
//! Damage to the last groups of the newest life looks like a torn tail and is reported as one.
//!
//! Indexes of sealed segments are derived data (`derived` -> `index` -> `index_file`): damage to
//! them is told apart, and only they are ever repaired ([`repair`]).
//!
//! Invariants: a walk writes nothing; memory is O(queues + segments + listed damages + entries of
//! one segment).
//! Absent: repair of what is stored; anything across shards but topic names.

mod check;
mod damage;
mod derived;
pub mod directory;
mod files;
mod groups;
mod index;
pub mod index_file;
mod pointer;
pub mod repair;
pub mod topics;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use thiserror::Error;

pub use crate::log::recover::{EntryFault, FaultAt, Found, Group, Leftovers};
pub use check::{LISTED_MAX, QueueReport, ShardReport, verify};
pub use damage::{Damage, Place, Proof, What};
pub use derived::DerivedReport;
pub use pointer::PointerFault;

use crate::io::{Disk, Errno, FileName};
use crate::log::position::LogPos;
use crate::log::recover::OpenError;
use crate::log::superblock_format::Superblock;

/// What the files of a shard must say of themselves.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The shard.
    pub shard: u16,
    /// Id of the data directory.
    pub node: [u8; 16],
    /// Length of every segment in bytes.
    pub segment_bytes: u64,
}

/// The walk cannot go on: the file system failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{what}: {errno}")]
pub struct Unreadable {
    /// What was being done.
    pub what: &'static str,
    /// Where, if it was the log that was read.
    pub at: Option<Place>,
    /// What the disk said.
    pub errno: Errno,
}

/// Who is shown what a walk meets, in log order.
pub trait Visitor {
    /// The log begins at `first`: in its first segment, unless retention has taken that out.
    /// The superblock is what counts of it, if a slot is intact.
    fn begins(&mut self, _first: LogPos, _superblock: Option<&Superblock>) {}

    /// The log goes on behind segment `number`, which is sealed: its groups were shown. Nothing is
    /// in flight on the disk.
    fn sealed<D: Disk>(&mut self, _disk: &mut D, _number: u64) {}

    /// A group whose entries are all intact. `Break` ends the walk.
    fn group(&mut self, group: &Group) -> ControlFlow<()>;

    /// A group whose header is intact and whose entries are not; its damages were shown before.
    /// `Break` ends the walk.
    fn broken_group(&mut self, group: &Group) -> ControlFlow<()>;

    /// Damage.
    fn damage(&mut self, damage: &Damage);

    /// The walk has gone another `bytes` bytes through the segment files.
    fn passed(&mut self, bytes: u64);
}

/// What a walk has seen, damage aside.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    /// Life of the log, from the superblock; `None` when no node has opened the shard yet, or no
    /// slot of the superblock is intact.
    pub epoch: Option<u32>,
    /// Segment files.
    pub segments: u64,
    /// Bytes of the segment files.
    pub segment_bytes: u64,
    /// Written space that waits to become a segment: the numbers of the files.
    pub spare_numbers: Vec<u64>,
    /// Numbers of the index files.
    pub index_numbers: Vec<u64>,
    /// Groups that count.
    pub groups: u64,
    /// Their bytes, headers included, padding left out.
    pub group_bytes: u64,
    /// Sequence number of the last one.
    pub sequence: u64,
    /// Where the log ends.
    pub end: LogPos,
    /// Everything below was durable for certain.
    pub watermark: LogPos,
    /// Whether the walk went to the end.
    pub complete: bool,
    /// Leftovers of dead lives between the groups.
    pub leftovers: Leftovers,
    /// What lies behind the end.
    pub tail: Tail,
}

/// What lies behind the end of the log: nothing, or what a crash has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// What is there.
    pub leftovers: Leftovers,
    /// A group that would have been the next, if all of it were there.
    pub torn: Option<Torn>,
}

/// The group at which the log breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Its sequence number.
    pub sequence: u64,
    /// Its first entry that is not intact.
    pub at: FaultAt,
}

/// Goes through all files of a shard and shows what it meets to `visitor`.
///
/// # Errors
/// [`Unreadable`] when the file system fails; what was shown until then holds.
pub fn walk<D: Disk, V: Visitor>(
    disk: &mut D,
    expected: &Expected,
    visitor: &mut V,
) -> Result<Walked, Unreadable> {
    walk_from(disk, expected, LogPos(0), visitor)
}

/// [`walk`] from the segment that holds `from` on: with its first group, whatever comes before it.
///
/// # Errors
/// [`Unreadable`] when the file system fails; what was shown until then holds.
pub fn walk_from<D: Disk, V: Visitor>(
    disk: &mut D,
    expected: &Expected,
    from: LogPos,
    visitor: &mut V,
) -> Result<Walked, Unreadable> {
    let mut walked = Walked::default();
    let opened = files::open(disk, expected, visitor, &mut walked).map_err(unreadable)?;
    if let Some((&first, _)) = opened.segments.first_key_value() {
        let first = LogPos(first * expected.segment_bytes);
        visitor.begins(first, opened.superblock.as_ref());
        groups::walk(disk, expected, &opened, from, visitor, &mut walked)?;
    }
    Ok(walked)
}

/// Bytes of the segment files, for whoever wants to know beforehand how long a walk is.
///
/// # Errors
/// [`Unreadable`] when the directory cannot be read.
pub fn segment_bytes<D: Disk>(disk: &mut D, expected: &Expected) -> Result<u64, Unreadable> {
    let what = "reading the directory";
    let names = disk.list().map_err(|errno| Unreadable { what, at: None, errno })?;
    let segments = names.iter().filter(|name| matches!(name, FileName::Segment(_))).count();
    Ok(segments as u64 * expected.segment_bytes)
}

fn unreadable(error: OpenError) -> Unreadable {
    match error {
        OpenError::Io { what, errno } => Unreadable { what, at: None, errno },
        // The files were opened one by one; recovery's verdicts are not asked for.
        OpenError::Damaged { what, .. } | OpenError::Foreign { what } => {
            Unreadable { what, at: None, errno: Errno(5) }
        }
    }
}

/// Handles of the segments, and what the superblock says.
#[derive(Debug, Default)]
struct Opened {
    segments: BTreeMap<u64, crate::io::FileId>,
    superblock: Option<Superblock>,
}
