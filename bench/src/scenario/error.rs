//! Why a scenario did not come to its end.

use std::io;
use std::path::{Path, PathBuf};

use crate::load::LoadError;
use crate::report::ReportError;
use crate::yardstick::YardstickError;

/// A scenario that failed; the sources say what to do.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The generator failed.
    #[error("{run}: {source}")]
    Load {
        /// Which run.
        run: String,
        /// Why.
        source: LoadError,
    },
    /// A yardstick or a child process failed.
    #[error(transparent)]
    Yardstick(#[from] YardstickError),
    /// The report cannot be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A directory cannot be made or used.
    #[error("{action} {}: {source}", path.display())]
    Directory {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// Something failed, and the node had something to say.
    #[error("{source}\n  {said}")]
    Node {
        /// What failed.
        source: Box<BenchError>,
        /// The node's lines.
        said: String,
    },
    /// The options contradict each other; change them.
    #[error("{0}")]
    Options(String),
    /// It could not be done here; the sentence says what is in the way.
    #[error("{0}")]
    Failed(String),
}

/// Whose fault an error is, and so what its exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The options are wrong: nothing was tried.
    Usage,
    /// No node answers at this address.
    Unreachable,
    /// It was tried and failed.
    Failed,
}

impl BenchError {
    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Options(_) | Self::Load { source: LoadError::Settings(_), .. } => Fault::Usage,
            Self::Load { source: LoadError::Connect { .. }, .. } => Fault::Unreachable,
            Self::Node { source, .. } => source.fault(),
            _ => Fault::Failed,
        }
    }

    pub(super) fn load(run: &str) -> impl FnOnce(LoadError) -> Self {
        move |source| Self::Load { run: run.to_owned(), source }
    }

    pub(super) fn dir(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Directory { action, path: path.to_path_buf(), source }
    }
}
