//! The limit of open files: a sealed segment takes two descriptors (its own, and its index's), and
//! shells start processes with a limit of 1024 that says nothing about the machine.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{debug, warn};

/// Below this a long log does not fit: about 500 GB with segments of the default length.
const ENOUGH: u64 = 4096;

/// Raises the soft limit to the hard one, and says so if even that is low.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok((soft, hard))
    });
    match limit {
        Ok((_, hard)) if hard < ENOUGH => {
            warn!(limit = hard, "few open files are allowed: raise RLIMIT_NOFILE for long logs");
        }
        Ok((soft, hard)) => debug!(from = soft, to = hard, "open files allowed"),
        Err(errno) => warn!(%errno, "the limit of open files stays as it is"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 512.min(hard), hard).unwrap();
        raise_limit();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
    }
}
