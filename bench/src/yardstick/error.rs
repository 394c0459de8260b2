//! What can go wrong while measuring the machine, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// A yardstick that could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum YardstickError {
    /// Choose a directory on a real file system (ext4, XFS).
    #[error(
        "{} is on a file system without direct I/O (O_DIRECT); choose a directory on ext4 or XFS",
        dir.display()
    )]
    NoDirectIo {
        /// The directory that was to hold the probe's file.
        dir: PathBuf,
    },
    /// Allow io_uring: it is switched off by `kernel.io_uring_disabled` or a seccomp profile, or
    /// RLIMIT_MEMLOCK is too small.
    #[error(
        "no io_uring here ({source}); check `sysctl kernel.io_uring_disabled`, the container's \
         seccomp profile and `ulimit -l`"
    )]
    NoRing {
        /// What the kernel answered.
        source: io::Error,
    },
    /// A file operation failed; the path says which.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A probe's write or read failed or moved fewer bytes than asked: the disk is failing or full.
    #[error("the probe's {action} failed: {source}")]
    Device {
        /// What was tried.
        action: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A socket operation failed; the server may be gone.
    #[error("{action}: {source}")]
    Socket {
        /// What was tried.
        action: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The probe asks for something impossible; change its options.
    #[error("{0}")]
    BadProbe(&'static str),
    /// The arguments of a yardstick server are wrong.
    #[error("yardstick server: {reason}: {argument:?}")]
    BadArgument {
        /// What is wrong with it.
        reason: &'static str,
        /// The argument.
        argument: String,
    },
    /// The child ended, or stayed silent, before it said where it listens.
    #[error("{} did not say where it listens: {reason}", exe.display())]
    Child {
        /// The executable.
        exe: PathBuf,
        /// What happened instead.
        reason: String,
    },
    /// The thread cannot run on that CPU.
    #[error("cannot pin to CPU {cpu}: {errno}")]
    Pin {
        /// The CPU asked for.
        cpu: usize,
        /// What the kernel answered.
        errno: nix::errno::Errno,
    },
    /// The measuring thread panicked: a fault of the harness.
    #[error("the measuring thread panicked")]
    Panicked,
}

impl YardstickError {
    pub(crate) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { action, path: path.to_path_buf(), source }
    }

    pub(crate) fn socket(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Socket { action, source }
    }
}
