//! The limits of open files and of locked memory: shells start processes with soft limits that say
//! nothing about the machine. What even the hard ones are worth is judged by `doctor`.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{debug, warn};

/// Raises the soft limits to the hard ones.
pub(crate) fn raise_limits() {
    raise(Resource::RLIMIT_NOFILE, "open files");
    raise(Resource::RLIMIT_MEMLOCK, "locked memory");
}

fn raise(resource: Resource, what: &str) {
    let limit = getrlimit(resource).and_then(|(soft, hard)| {
        setrlimit(resource, hard, hard)?;
        Ok((soft, hard))
    });
    match limit {
        Ok((soft, hard)) => debug!(what, from = soft, to = hard, "limit raised"),
        Err(errno) => warn!(what, %errno, "the limit stays as it is"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 512.min(hard), hard).unwrap();
        raise_limits();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
    }
}
