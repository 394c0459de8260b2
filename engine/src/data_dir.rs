//! The data directory: whose it is, what format it has, and that nobody else uses it.
//!
//! ```text
//!   DIR/LOCK         locked (flock) while a node runs
//!   DIR/FORMAT       TOML: format = 3, node, shards, segment_bytes
//!   DIR/device.toml  what `uringmq tune` measured: see `device`
//!   DIR/shard-000/   superblock, segment-*.log, index-*.idx, spare-*.log
//! ```
//!
//! Formats 1 and 2 were never released, and are refused.
//!
//! Absent: anything inside a shard's directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::device;
use crate::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SHARDS_MAX};

/// The format this program writes.
const FORMAT_VERSION: u32 = 3;
const FORMAT_FILE: &str = "FORMAT";
const LOCK_FILE: &str = "LOCK";

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum DirError {
    /// Another process has it open.
    #[error("{} is in use by another node (its LOCK file is held)", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// It holds files, but not ours.
    #[error("{} is not empty and not a uringmq data directory (no FORMAT file); name an empty or new directory", dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
    },
    /// It is not a data directory.
    #[error("{} is not a uringmq data directory: it has no FORMAT file", dir.display())]
    NotOurs {
        /// The directory.
        dir: PathBuf,
    },
    /// A newer program wrote it.
    #[error("{} has format {found}, this program reads up to {FORMAT_VERSION}; use a newer uringmq", dir.display())]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A program from before the first release wrote it.
    #[error("{} has format {found}, from before the first release; this program reads {FORMAT_VERSION} only: start with a new directory", dir.display())]
    Older {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The FORMAT file cannot be understood.
    #[error("{} is not a valid FORMAT file: {why}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// An option is out of range.
    #[error("{what} must be {range}")]
    Option {
        /// The option.
        what: &'static str,
        /// What it may be.
        range: String,
    },
    /// The file system failed.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What a new directory is formatted with; an existing one keeps its own.
#[derive(Clone, Copy, Debug)]
pub struct FormatOptions {
    /// Shards: logs with disjoint queues.
    pub shards: u16,
    /// Length of every segment in bytes.
    pub segment_bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct FormatFile {
    format: u32,
    node: String,
    shards: u16,
    segment_bytes: u64,
}

/// A data directory that this process has to itself.
#[derive(Debug)]
pub struct DataDir {
    dir: PathBuf,
    /// Id of the directory, made when it was formatted.
    pub node: [u8; 16],
    /// Shards in it.
    pub shards: u16,
    /// Length of every segment in bytes.
    pub segment_bytes: u64,
    /// `None` when it was opened without.
    _lock: Option<Flock<File>>,
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirError {
    let path = path.to_owned();
    move |source| DirError::Io { what, path, source }
}

impl DataDir {
    /// Locks `dir` and reads its format; an empty or missing directory is formatted.
    ///
    /// # Errors
    /// [`DirError`] when it is in use, not ours, of a newer format, or the file system fails.
    pub fn open(dir: &Path, options: &FormatOptions) -> Result<Self, DirError> {
        check(options)?;
        fs::create_dir_all(dir).map_err(io("creating", dir))?;
        let format_path = dir.join(FORMAT_FILE);
        // Looked at before the lock file is made, so that a refused directory stays as it was.
        refuse_foreign(dir)?;
        let lock = lock(dir)?;
        let format = if format_path.exists() {
            read_format(dir, &format_path)?
        } else {
            let format = FormatFile {
                format: FORMAT_VERSION,
                node: format!("{:032x}", rand::random::<u128>()),
                shards: options.shards,
                segment_bytes: options.segment_bytes,
            };
            write_format(dir, &format_path, format)?
        };
        let opened = Self::new(dir, &format_path, &format, Some(lock))?;
        for shard in 0..opened.shards {
            let path = opened.shard_path(shard);
            fs::create_dir_all(&path).map_err(io("creating", &path))?;
        }
        sync_dir(dir)?;
        Ok(opened)
    }

    /// Reads the format of a directory that was formatted before; nothing in it is changed. With
    /// `locked` no node can start on it meanwhile.
    ///
    /// # Errors
    /// [`DirError`] when it is in use (only with `locked`), not ours, of a newer format, or the file
    /// system fails.
    pub fn open_existing(dir: &Path, locked: bool) -> Result<Self, DirError> {
        fs::read_dir(dir).map_err(io("reading", dir))?;
        let format_path = dir.join(FORMAT_FILE);
        if !format_path.exists() {
            return Err(DirError::NotOurs { dir: dir.to_owned() });
        }
        let format = read_format(dir, &format_path)?;
        let lock = if locked { Some(lock(dir)?) } else { None };
        Self::new(dir, &format_path, &format, lock)
    }

    fn new(
        dir: &Path,
        format_path: &Path,
        format: &FormatFile,
        lock: Option<Flock<File>>,
    ) -> Result<Self, DirError> {
        let node = parse_node(&format.node).ok_or_else(|| DirError::Malformed {
            file: format_path.to_owned(),
            why: "node is not 32 hexadecimal digits".to_owned(),
        })?;
        let (shards, segment_bytes) = (format.shards, format.segment_bytes);
        Ok(Self { dir: dir.to_owned(), node, shards, segment_bytes, _lock: lock })
    }

    /// The directory has so many shards from now on, more than before. Their logs must exist: a
    /// directory whose topics were made with shards that have none is damaged.
    ///
    /// # Errors
    /// [`DirError`] when it would be too many, or fewer than before, or the file system fails; the
    /// directory is as it was, then.
    pub fn grow(&mut self, shards: u16) -> Result<(), DirError> {
        let (from, to) = (self.shards, SHARDS_MAX);
        if !(from..=to).contains(&shards) {
            return Err(DirError::Option { what: "shards", range: format!("{from} to {to}") });
        }
        let format_path = self.dir.join(FORMAT_FILE);
        let format = read_format(&self.dir, &format_path)?;
        write_format(&self.dir, &format_path, FormatFile { shards, ..format })?;
        self.shards = shards;
        Ok(())
    }

    /// The directory of one shard.
    #[must_use]
    pub fn shard_path(&self, shard: u16) -> PathBuf {
        self.dir.join(format!("shard-{shard:03}"))
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }
}

/// A data directory, or one that may become one, that no node uses while this lives.
#[derive(Debug)]
pub struct Claim {
    /// `None` where no node was ever started: nothing is locked, and nothing is left behind.
    _lock: Option<Flock<File>>,
}

/// Claims `dir`, which must exist; nothing in it is changed.
///
/// # Errors
/// [`DirError`] when it is in use, not ours, of a newer format, or the file system fails.
pub fn claim(dir: &Path) -> Result<Claim, DirError> {
    refuse_foreign(dir)?;
    let lock = dir.join(LOCK_FILE).exists().then(|| lock(dir)).transpose()?;
    Ok(Claim { _lock: lock })
}

/// Refuses a directory that is not ours and not empty.
fn refuse_foreign(dir: &Path) -> Result<(), DirError> {
    let format_path = dir.join(FORMAT_FILE);
    if format_path.exists() {
        return read_format(dir, &format_path).map(drop);
    }
    let ours = [LOCK_FILE, "FORMAT.new", device::FILE_NAME, device::file::NEW_FILE_NAME];
    for entry in fs::read_dir(dir).map_err(io("reading", dir))? {
        let name = entry.map_err(io("reading", dir))?.file_name();
        if !ours.iter().any(|our| name == **our) && !is_shard(&name.to_string_lossy()) {
            return Err(DirError::Foreign { dir: dir.to_owned() });
        }
    }
    Ok(())
}

fn is_shard(name: &str) -> bool {
    name.strip_prefix("shard-").is_some_and(|digits| digits.parse::<u16>().is_ok())
}

fn check(options: &FormatOptions) -> Result<(), DirError> {
    if options.shards == 0 || options.shards > SHARDS_MAX {
        return Err(DirError::Option { what: "shards", range: format!("1 to {SHARDS_MAX}") });
    }
    let size = options.segment_bytes;
    let in_range = (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&size);
    if !in_range || !size.is_multiple_of(1 << 20) {
        let (min, max) = (SEGMENT_BYTES_MIN >> 20, SEGMENT_BYTES_MAX >> 20);
        let range = format!("{min} MiB to {max} MiB, in whole MiB");
        return Err(DirError::Option { what: "the segment size", range });
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<Flock<File>, DirError> {
    let path = dir.join(LOCK_FILE);
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    let file = options.open(&path).map_err(io("opening", &path))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => DirError::InUse { dir: dir.to_owned() },
        other => DirError::Io { what: "locking", path, source: other.into() },
    })
}

fn read_format(dir: &Path, path: &Path) -> Result<FormatFile, DirError> {
    let text = fs::read_to_string(path).map_err(io("reading", path))?;
    let malformed = |why: String| DirError::Malformed { file: path.to_owned(), why };
    let table: toml::Table = text.parse().map_err(|error| malformed(format!("{error}")))?;
    // The version first: a newer format may have other fields.
    let version = table.get("format").and_then(toml::Value::as_integer);
    match version.and_then(|version| u32::try_from(version).ok()) {
        None => return Err(malformed("it has no format number".to_owned())),
        Some(found) if found > FORMAT_VERSION => {
            return Err(DirError::Newer { dir: dir.to_owned(), found });
        }
        Some(found) if found < FORMAT_VERSION => {
            return Err(DirError::Older { dir: dir.to_owned(), found });
        }
        Some(_) => {}
    }
    let format: FormatFile = table.try_into().map_err(|error| malformed(format!("{error}")))?;
    check(&FormatOptions { shards: format.shards, segment_bytes: format.segment_bytes })
        .map_err(|error| malformed(error.to_string()))?;
    Ok(format)
}

fn write_format(dir: &Path, path: &Path, format: FormatFile) -> Result<FormatFile, DirError> {
    let text = toml::to_string(&format)
        .map_err(|error| DirError::Malformed { file: path.to_owned(), why: format!("{error}") })?;
    let text = format!("# uringmq data directory. Do not edit.\n{text}");
    // Written aside and renamed: a crash leaves no half FORMAT file.
    let new = dir.join("FORMAT.new");
    let mut file = File::create(&new).map_err(io("creating", &new))?;
    file.write_all(text.as_bytes()).map_err(io("writing", &new))?;
    file.sync_all().map_err(io("flushing", &new))?;
    fs::rename(&new, path).map_err(io("renaming", &new))?;
    sync_dir(dir)?;
    Ok(format)
}

fn sync_dir(dir: &Path) -> Result<(), DirError> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(io("flushing", dir))
}

fn parse_node(hex: &str) -> Option<[u8; 16]> {
    (hex.len() == 32).then(|| u128::from_str_radix(hex, 16).ok()).flatten().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests;
