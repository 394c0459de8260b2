//! `device.toml`: format, reading, writing.
//!
//! ```toml
//! version = 1
//! [choices]    # what a node does: see Choices
//! [place]      # where that holds: see Place
//! [evidence]   # what was measured: for people, and for whoever doubts the choices
//! ```
//!
//! Invariants: a key that this program does not know is an error, never ignored (a misspelt choice
//! must not look like one that was taken); the file is replaced as a whole, or not at all.
//! Absent: defaults. A file says everything, or it is not there.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::evidence::Evidence;
use super::place::Place;
use crate::io::BLOCK_BYTES;
use crate::limits::GROUP_BYTES_LIMIT;
use crate::log::commit::Flush;

/// Its name in a data directory.
pub const FILE_NAME: &str = "device.toml";
/// What it is called until it is complete.
pub(crate) const NEW_FILE_NAME: &str = "device.toml.new";
const VERSION: u32 = 1;
const HEADING: &str = "\
# What `uringmq tune` measured of the device under this directory. A node reads [choices] at start;
# its own options win. Remove this file to go back to the defaults.
";

/// More device writes in flight than any node takes.
pub const GROUPS_INFLIGHT_LIMIT: u32 = 64;
/// The largest group a file may ask for.
const GROUP_KIB_MAX: u32 = GROUP_BYTES_LIMIT >> 10;
/// The longest prefill step a file may ask for.
const PREFILL_STEP_KIB_MAX: u32 = 64 << 10;

/// What a node on this device is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choices {
    /// How groups become durable.
    pub flush: Flush,
    /// Device writes in flight per shard; twice as many of full groups.
    pub groups_inflight_max: u32,
    /// What a group grows to under load, in KiB.
    pub group_kib: u32,
    /// What prefill writes at a time, in KiB.
    pub prefill_step_kib: u32,
    /// Whether a reactor that polls gives the CPU away while a durable write is in flight.
    pub yield_in_flight: bool,
}

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceFile {
    version: u32,
    /// What a node is to do.
    pub choices: Choices,
    /// Where it was measured.
    pub place: Place,
    /// What was measured.
    pub evidence: Evidence,
}

/// Why the file cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// Mend it as `why` says, measure again, or remove it.
    #[error("{} is not a valid device file: {why}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong, and in which line.
        why: String,
    },
    /// The file system failed.
    #[error("{what} {}: {source}", file.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What a directory's file says to a node that starts here.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// There is none.
    Missing,
    /// It was measured elsewhere, so it says nothing.
    Elsewhere {
        /// Where.
        measured: Place,
        /// Where this is.
        here: Option<Place>,
    },
    /// It fits.
    Fits(Box<DeviceFile>),
}

/// Reads the file of a data directory, which need not exist.
///
/// # Errors
/// When there is a file and it cannot be read or understood.
pub fn look(dir: &Path) -> Result<Found, FileError> {
    let file = dir.join(FILE_NAME);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Missing),
        Err(source) => return Err(FileError::Io { what: "reading", file, source }),
    };
    let read = DeviceFile::parse(&text).map_err(|why| FileError::Malformed { file, why })?;
    let here = Place::of(dir);
    Ok(match here.as_ref() == Some(&read.place) {
        true => Found::Fits(Box::new(read)),
        false => Found::Elsewhere { measured: read.place, here },
    })
}

impl DeviceFile {
    /// A file of the present version.
    #[must_use]
    pub fn new(choices: Choices, place: Place, evidence: Evidence) -> Self {
        Self { version: VERSION, choices, place, evidence }
    }

    /// Understands a file's text; the error says what is wrong, and where.
    ///
    /// # Errors
    /// When it is not TOML, of another version, has a key too many or too few, or a value out of
    /// its range.
    pub fn parse(text: &str) -> Result<Self, String> {
        // The version first: another one may have other fields.
        let table: toml::Table = text.parse().map_err(|error| format!("{error}"))?;
        match table.get("version").and_then(toml::Value::as_integer) {
            Some(version) if version == i64::from(VERSION) => {}
            Some(other) => {
                return Err(format!(
                    "it has version {other}, this program reads {VERSION}: measure again"
                ));
            }
            None => return Err("it has no version".to_owned()),
        }
        let read: Self = toml::from_str(text).map_err(|error| format!("{error}"))?;
        let in_range = |name: &str, value: u32, max: u32| match value {
            0 => Err(format!("{name} must be at least 1")),
            value if value > max => Err(format!("{name} is {value}, the most is {max}")),
            _ => Ok(()),
        };
        let Choices { groups_inflight_max, group_kib, prefill_step_kib, .. } = read.choices;
        in_range("groups_inflight_max", groups_inflight_max, GROUPS_INFLIGHT_LIMIT)?;
        let sizes = [
            ("group_kib", group_kib, GROUP_KIB_MAX),
            ("prefill_step_kib", prefill_step_kib, PREFILL_STEP_KIB_MAX),
        ];
        for (name, kib, max) in sizes {
            in_range(name, kib, max)?;
            if !kib.is_multiple_of(BLOCK_BYTES >> 10) {
                return Err(format!("{name} is {kib}, no multiple of 4"));
            }
        }
        Ok(read)
    }

    /// The file's text.
    ///
    /// # Errors
    /// When a figure cannot be written as TOML.
    pub fn text(&self) -> Result<String, String> {
        let body = toml::to_string(self).map_err(|error| format!("{error}"))?;
        Ok(format!("{HEADING}{body}"))
    }

    /// Puts it into a directory, in place of one that is there.
    ///
    /// # Errors
    /// When the file system fails; the old file is then still there.
    pub fn write(&self, dir: &Path) -> Result<PathBuf, FileError> {
        let file = dir.join(FILE_NAME);
        let text = self.text().map_err(|why| FileError::Malformed { file: file.clone(), why })?;
        let new = dir.join(NEW_FILE_NAME);
        let written = replace(dir, &new, &file, &text);
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written.map(|()| file.clone()).map_err(|source| FileError::Io {
            what: "writing",
            file,
            source,
        })
    }
}

fn replace(dir: &Path, new: &Path, file: &Path, text: &str) -> io::Result<()> {
    let mut written = File::create(new)?;
    written.write_all(text.as_bytes())?;
    written.sync_all()?;
    fs::rename(new, file)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;
