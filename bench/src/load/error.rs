//! What can go wrong while load is generated, and what to do about it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use engine::batch::BatchError;
use net::wire::{DecodeError, EncodeError, ErrorCode};

/// A run that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The broker is not there, or went away.
    #[error("{action}: {source}")]
    Socket {
        /// What was tried.
        action: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Nobody listens there; start a node, or correct the address.
    #[error("connecting to {addr}: {source}")]
    Connect {
        /// The address.
        addr: SocketAddr,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The broker refused a request for good.
    #[error("the broker refused a {operation}: {code}: {message}")]
    Refused {
        /// The operation.
        operation: &'static str,
        /// Why.
        code: ErrorCode,
        /// The broker's words.
        message: String,
    },
    /// The broker sent something that is no reply: it is not a uringmq node, or it has a fault.
    #[error("the broker's reply cannot be read: {0}")]
    Reply(#[from] DecodeError),
    /// The broker answered something that was not asked.
    #[error("the broker answered {0}")]
    Unexpected(&'static str),
    /// The broker did not answer in time.
    #[error("{requests} requests were not answered within {seconds} s")]
    Silent {
        /// How many.
        requests: u64,
        /// How long they were waited for.
        seconds: u64,
    },
    /// The settings do not fit the protocol's limits; change them.
    #[error("the requests cannot be made: {0}")]
    Encode(#[from] EncodeError),
    /// The messages do not fit a batch; make batches or messages smaller.
    #[error("the batches cannot be made: {0}")]
    Batch(#[from] BatchError),
    /// The settings contradict each other; change them.
    #[error("{0}")]
    Settings(String),
    /// The input cannot be read.
    #[error("reading {}: {source}", path.display())]
    Input {
        /// Which file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// There are no messages in the input.
    #[error("there is not one line in {}", path.display())]
    NoLines {
        /// The file or directory.
        path: PathBuf,
    },
    /// The thread cannot be set up as asked.
    #[error(transparent)]
    Machine(#[from] crate::yardstick::YardstickError),
}

impl LoadError {
    pub(super) fn socket(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Socket { action, source }
    }
}
