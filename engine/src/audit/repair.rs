//! Repair of derived data: index files and spares that are of no use are removed, and the node
//! makes again what it needs.
//!
//! Crash story: 1. a file is removed 2. crash before the directory knows 3. it is there again, as
//! bad as before, and is removed again.
//!
//! Invariants: segments and superblocks are never touched; an index stays when its segment is
//! damaged, too, because it could not be made again.
//! Absent: writing anything.

use std::fs::{self, File};
use std::io;

use super::directory::Checked;
use crate::data_dir::DataDir;
use crate::io::FileName;

/// A file that was removed, or could not be.
#[derive(Debug)]
pub struct Repaired {
    /// The shard.
    pub shard: u16,
    /// The file.
    pub name: FileName,
    /// Why.
    pub why: Why,
    /// Whether it is gone, durably.
    pub result: io::Result<()>,
}

/// Why a file is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is damaged or says what is not so.
    Damaged,
    /// A crash has left it unfinished, or older than its segment.
    Unfinished,
    /// What it is for is not there.
    Leftover,
}

/// The files of a shard that [`repair`] removes.
#[must_use]
pub fn removable(checked: &Checked) -> Vec<(FileName, Why)> {
    let derived = &checked.report.derived;
    let indexes = |numbers: &mut dyn Iterator<Item = &u64>, why| {
        numbers.map(|number| (FileName::Index(*number), why)).collect::<Vec<_>>()
    };
    let mut files = indexes(&mut derived.damaged.iter(), Why::Damaged);
    files.extend(indexes(&mut derived.unfinished.iter(), Why::Unfinished));
    files.extend(indexes(&mut derived.leftover.iter(), Why::Leftover));
    let spares = derived.spares.iter();
    files.extend(spares.map(|number| (FileName::Spare(*number), Why::Leftover)));
    files
}

/// Removes what is of no use of a shard that was just checked, in a directory whose lock is held.
#[must_use]
pub fn repair(dir: &DataDir, checked: &Checked) -> Vec<Repaired> {
    let (shard, path) = (checked.shard, dir.shard_path(checked.shard));
    let remove = |(name, why): (FileName, Why)| {
        let result = fs::remove_file(path.join(name.to_string()));
        Repaired { shard, name, why, result }
    };
    let mut repaired: Vec<Repaired> = removable(checked).into_iter().map(remove).collect();
    if repaired.is_empty() {
        return repaired;
    }
    let synced = File::open(&path).and_then(|dir| dir.sync_all());
    if let Err(error) = synced {
        for file in repaired.iter_mut().filter(|file| file.result.is_ok()) {
            file.result =
                Err(error.raw_os_error().map_or(error.kind().into(), io::Error::from_raw_os_error));
        }
    }
    repaired
}
