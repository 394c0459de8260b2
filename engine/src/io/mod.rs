//! The seam between the engine and the machine: one clock, one source of randomness, one disk.
//!
//! Reading order: [`Env`] -> [`Disk`] -> [`DiskOp`] -> [`Completion`]; then [`block`] for memory.
//! Nothing here is async: an operation is submitted and its completion is drained later, so the
//! same engine runs on the real ring (`ring`) and on the simulated disk (`sim`); `file` is for
//! tools that only read.
//!
//! Invariants: operations are *issued* in the order of `submit`; they may *complete* in any
//! order; every submitted operation completes exactly once; `submit` and `complete` never block.
//! Absent: any knowledge of logs, groups or queues; any retry.

pub mod ahead;
pub mod block;
pub mod file;
mod pages;
pub mod ring;
pub mod sim;

use std::fmt;
use std::io;

use block::{Block, Slice};

/// Nanoseconds on a monotonic clock whose origin is arbitrary (`CLOCK_MONOTONIC` on the real
/// shell, virtual time on the simulated one).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Time from `earlier` to `self`, zero if the clock seems to have gone back.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This instant, `nanos` later.
    #[must_use]
    pub const fn plus(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}

/// Size and alignment of device I/O. Every offset, length and address given to [`Disk`] is a
/// multiple of it.
pub const BLOCK_BYTES: u32 = 4096;

/// What a shard needs from the machine.
pub trait Env {
    /// The disk behind this environment.
    type Disk: Disk;

    /// The disk; operations of one shard stay in this shard's directory.
    fn disk(&mut self) -> &mut Self::Disk;

    /// Monotonic time.
    fn now(&self) -> Nanos;

    /// Milliseconds since the Unix epoch. May jump; the engine never lets a store time go back.
    fn wall_ms(&self) -> u64;

    /// A random number, from a seed in the simulator.
    fn random(&mut self) -> u64;
}

/// Identifies one submitted operation until its completion has been drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// A file of the shard's directory that is in use: opened with [`DiskOp::Open`], to be written, or
/// adopted with [`Disk::adopt`], to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// The files a shard may have. The shell turns them into names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileName {
    /// `superblock`: two slots of one block.
    Superblock,
    /// `segment-<20 digits>.log`: the number is `LogPos / segment_bytes`.
    Segment(u64),
    /// `spare-<20 digits>.log`: written space that waits to become a segment.
    Spare(u64),
    /// `index-<20 digits>.idx`: where the records of the sealed segment of this number lie.
    Index(u64),
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superblock => f.write_str("superblock"),
            Self::Segment(n) => write!(f, "segment-{n:020}.log"),
            Self::Spare(n) => write!(f, "spare-{n:020}.log"),
            Self::Index(n) => write!(f, "index-{n:020}.idx"),
        }
    }
}

impl FileName {
    /// The inverse of `Display`; `None` for a name that is not a shard's.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name == "superblock" {
            return Some(Self::Superblock);
        }
        let (kind, rest) = name.split_once('-')?;
        let (digits, suffix) = rest.split_once('.')?;
        if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let number = digits.parse().ok()?;
        match (kind, suffix) {
            ("segment", "log") => Some(Self::Segment(number)),
            ("spare", "log") => Some(Self::Spare(number)),
            ("index", "idx") => Some(Self::Index(number)),
            _ => None,
        }
    }
}

/// What a disk can be asked to do. Operations own what they touch until they complete.
#[derive(Debug)]
pub enum DiskOp {
    /// Opens `name`. With `create` the file is made if it is missing and its length becomes
    /// `create` bytes, allocated (unwritten space reads as zeros).
    /// Completes with [`Output::Opened`].
    Open {
        /// Which file.
        name: FileName,
        /// Create with this length in bytes, or open what is there.
        create: Option<u64>,
    },
    /// Writes `data` at `offset`, O_DIRECT. With `durable` the write completes only when these
    /// bytes are on stable media (RWF_DSYNC: data write + flush, or FUA). **On a disk with FUA this
    /// says nothing about earlier plain writes.**
    /// Completes with [`Output::Written`].
    Write {
        /// Which file.
        file: FileId,
        /// Byte offset in the file, a multiple of [`BLOCK_BYTES`].
        offset: u64,
        /// What to write; address and length are multiples of [`BLOCK_BYTES`].
        data: Slice,
        /// With RWF_DSYNC.
        durable: bool,
        /// Some of the space may be allocated but never written. Then the file system has to
        /// start a transaction, and may wait for its journal: the shell must issue such a write
        /// where waiting blocks no reactor.
        unwritten: bool,
    },
    /// Reads `len` bytes at `offset` into a fresh block, O_DIRECT. Reading past the end of the
    /// file is an error. Completes with [`Output::Read`].
    Read {
        /// Which file.
        file: FileId,
        /// Byte offset in the file, a multiple of [`BLOCK_BYTES`].
        offset: u64,
        /// Bytes to read, a multiple of [`BLOCK_BYTES`].
        len: u32,
    },
    /// fdatasync: every write to `file` that had *completed* when this was submitted is on stable
    /// media when it completes. Completes with [`Output::Synced`].
    Sync {
        /// Which file.
        file: FileId,
    },
    /// Fills `len` bytes at `offset` with zeros so that the space counts as written (no
    /// file-system metadata is left to commit by a later overwrite once synced).
    /// Completes with [`Output::Written`].
    Zero {
        /// Which file.
        file: FileId,
        /// Byte offset in the file, a multiple of [`BLOCK_BYTES`].
        offset: u64,
        /// Bytes to fill, a multiple of [`BLOCK_BYTES`].
        len: u32,
    },
    /// Renames a file, replacing nothing (`to` must not exist). Its [`FileId`]s stay valid, opened
    /// or adopted: a handle follows its file.
    /// Durable only after [`DiskOp::SyncDir`]. Completes with [`Output::Done`].
    Rename {
        /// The name it has.
        from: FileName,
        /// The name it gets.
        to: FileName,
    },
    /// Removes a file; its [`FileId`]s, opened or adopted, stay readable until closed.
    /// Completes with [`Output::Done`].
    Remove {
        /// Which file.
        name: FileName,
    },
    /// Makes creations, renames and removals that had completed when this was submitted durable.
    /// Completes with [`Output::Done`].
    SyncDir,
    /// Gives a file back. Operations on it that are in flight end as if it were not.
    /// Completes with [`Output::Done`].
    Close {
        /// Which file.
        file: FileId,
    },
}

/// What a successful operation produced.
#[derive(Debug)]
pub enum Output {
    /// The file is open and has this length in bytes.
    Opened {
        /// Its handle.
        file: FileId,
        /// Its length in bytes.
        len: u64,
    },
    /// All bytes were written.
    Written,
    /// The bytes that were read.
    Read(Block),
    /// fdatasync returned.
    Synced,
    /// A namespace operation is done.
    Done,
}

/// The end of one operation. A short write or read is reported as `EIO`.
#[derive(Debug)]
pub struct Completion {
    /// Which operation.
    pub op: OpId,
    /// Its output, or the errno.
    pub result: Result<Output, Errno>,
}

/// An operating-system error number, kept through every layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", io::Error::from_raw_os_error(self.0))
    }
}

/// The disk's queue is full; the operation comes back untouched.
#[derive(Debug)]
pub struct Full(pub DiskOp);

/// How much of a device is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that are used, by whomever.
    pub used: u64,
    /// Bytes that may still be used.
    pub available: u64,
}

impl Space {
    /// How much is used, in percent, rounded up; as `df` says it.
    #[must_use]
    pub fn used_percent(&self) -> u8 {
        let all = u128::from(self.used) + u128::from(self.available);
        (u128::from(self.used) * 100).div_ceil(all.max(1)) as u8
    }
}

/// One shard's directory on a device.
pub trait Disk {
    /// Takes an operation. Operations are issued to the device in the order of this call, at the
    /// latest when [`Disk::complete`] or [`Disk::flush`] is called.
    ///
    /// # Errors
    /// [`Full`] when the bound on operations in flight is reached.
    fn submit(&mut self, op: DiskOp) -> Result<OpId, Full>;

    /// Takes the existing file `name` into use, to be read and never written, without asking for
    /// it: no descriptor is taken before an operation needs one, and a bounded number of them is
    /// kept, so that there may be more files than descriptors. That there is no such file, or no
    /// descriptor to be had (`ENOENT`, `EMFILE`), is the error of the operation that needs it; the
    /// next one tries again. No rename or removal of `name` may be in flight.
    fn adopt(&mut self, name: FileName) -> FileId;
    /// Hands what was submitted to the device without waiting for anything.
    fn flush(&mut self);

    /// Moves finished operations to `out`; returns how many. Never blocks.
    fn complete(&mut self, out: &mut Vec<Completion>) -> usize;

    /// Why a flush failed since this was asked last, if one did: a [`DiskOp::Sync`], a
    /// [`DiskOp::SyncDir`], or a durable write, unless there was no room for it (`ENOSPC`). A flush
    /// is the device's: whatever had been written before, to whichever file, and was not yet on
    /// stable media, is in doubt then, and a later flush that succeeds does not make it good. To
    /// be asked before the completions that [`Disk::complete`] has given out with it are believed.
    fn take_flush_failure(&mut self) -> Option<Errno>;

    /// Blocks until at least one operation in flight has finished (then [`Disk::complete`] will
    /// return it). Only for boot and shutdown, when no reactor runs yet or any more; returns at
    /// once when nothing is in flight.
    fn wait(&mut self);

    /// Names of this shard's files, sorted. Only for boot.
    ///
    /// # Errors
    /// The errno of reading the directory.
    fn list(&mut self) -> Result<Vec<FileName>, Errno>;

    /// How full the device is. A system call on a real disk: ask seldom.
    ///
    /// # Errors
    /// The errno of asking.
    fn space(&mut self) -> Result<Space, Errno>;

    /// Memory for one aligned block of `len` bytes (a multiple of [`BLOCK_BYTES`]), or `None` when
    /// the memory budget is used up.
    fn block(&mut self, len: u32) -> Option<Block>;
}

/// Submits `op` and waits for its result: boot only, nothing else may be in flight.
///
/// # Errors
/// The errno of the operation; `EBUSY` if the disk's queue is full.
pub fn run<D: Disk>(disk: &mut D, op: DiskOp) -> Result<Output, Errno> {
    const EBUSY: i32 = 16;
    let id = disk.submit(op).map_err(|_| Errno(EBUSY))?;
    let mut out = Vec::new();
    loop {
        disk.flush();
        disk.complete(&mut out);
        if let Some(done) = out.pop() {
            debug_assert!(done.op == id, "boot runs one operation at a time");
            return done.result;
        }
        disk.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_rounded_up_and_never_overflows() {
        let percent = |used, available| Space { used, available }.used_percent();
        assert_eq!([percent(0, 0), percent(0, 9), percent(1, 999), percent(5, 0)], [0, 0, 1, 100]);
        assert_eq!(percent(u64::MAX, u64::MAX), 50);
    }

    #[test]
    fn file_names_round_trip() {
        for name in [
            FileName::Superblock,
            FileName::Segment(7),
            FileName::Spare(u64::MAX),
            FileName::Index(8),
        ] {
            assert_eq!(FileName::parse(&name.to_string()), Some(name));
        }
        for bad in ["", "segment-7.log", "segment-0000000000000000000x.log", "other", "spare-"] {
            assert_eq!(FileName::parse(bad), None, "{bad}");
        }
    }
}
