//! What the checks look at: everything that was found out about a machine, as plain values.
//!
//! Absent: judgement (`checks`), the machine itself (`probe`).

use std::path::PathBuf;

use engine::io::Space;

/// A machine, and what a node is to do on it.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) wanted: Wanted,
    /// As `uname -r` says it.
    pub(crate) kernel: String,
    pub(crate) ring: Ring,
    /// `kernel.io_uring_disabled`, where the kernel has it.
    pub(crate) io_uring_disabled: Option<u8>,
    /// Whether a seccomp filter is in force.
    pub(crate) seccomp: bool,
    /// RLIMIT_MEMLOCK in bytes, soft (after it was raised) and hard.
    pub(crate) memlock: (u64, u64),
    /// RLIMIT_NOFILE, soft (after it was raised) and hard.
    pub(crate) nofile: (u64, u64),
    /// CPUs that may be used at the same time.
    pub(crate) cores: usize,
    /// Numbers of the CPUs this process may run on; empty if the system does not say.
    pub(crate) cpus: Vec<usize>,
    pub(crate) disk: Disk,
    /// `net.ipv4.tcp_congestion_control`: of every connection that is not on loopback.
    pub(crate) congestion_control: Option<String>,
    /// Who gets transparent huge pages, the choice in brackets; `None` without any.
    pub(crate) huge_pages: Option<String>,
    pub(crate) tuned: Tuned,
    pub(crate) clock: Clock,
}

/// What the options ask of the machine.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) data: PathBuf,
    /// Threads that host shards.
    pub(crate) reactors: usize,
    pub(crate) poll: bool,
    pub(crate) cpus: Vec<usize>,
    /// Bytes a new directory begins with.
    pub(crate) first_bytes: u64,
    /// Above so many percent used the oldest records go.
    pub(crate) disk_percent: Option<u8>,
}

/// What io_uring said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ring {
    /// The system call failed with this errno.
    Refused(i32),
    /// It works.
    Works {
        /// Operations that the node cannot do without and the kernel does not have.
        missing: Vec<&'static str>,
        /// Operations that it rarely needs and the kernel does not have.
        rare_missing: Vec<&'static str>,
        /// Completions are run in the reactor's own time (Linux 6.1).
        deferred: bool,
    },
}

/// What the file system said.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// The data directory, or what there is of the way to it.
    pub(crate) dir: PathBuf,
    /// Whether there is a formatted data directory.
    pub(crate) formatted: bool,
    /// Its name in the mount table; empty if that does not say.
    pub(crate) file_system: String,
    pub(crate) direct: Direct,
    /// As the node itself sees it.
    pub(crate) space: Option<Space>,
}

/// Whether a block could be written past the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direct {
    Works,
    /// Opening or writing with O_DIRECT is not known here.
    Refused,
    /// It could not be tried: no file can be made here, says this errno.
    Untried(i32),
}

/// Whether the device was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tuned {
    Yes,
    No,
    /// Elsewhere: what the file says, and what is here.
    Elsewhere(String),
    /// The file is no good, for this reason.
    Broken(String),
}

/// The clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    /// Seconds since 1970, as the wall clock says.
    pub(crate) unix_seconds: u64,
    /// Where the kernel reads the time from, if it says.
    pub(crate) source: Option<String>,
    /// Whether the kernel believes the wall clock to be right, if it says.
    pub(crate) synchronized: Option<bool>,
}
