//! What stands in the way of a node just now: another node, a port in use, a directory that may not
//! be written to. `serve` finds these out itself, at the moment when they count.
//!
//! Invariant: nothing is changed; a lock and a port are given back at once.

use std::net::SocketAddr;
use std::path::Path;

use config::Options;
use engine::data_dir::{DirError, claim};
use net::server::bind;
use nix::unistd::{AccessFlags, access};

use super::checks::{Finding, Level};

/// Looks at the directory and at the ports.
pub(super) fn look(options: &Options) -> Vec<Finding> {
    let mut findings = vec![directory(&options.data), port("port", options.listen)];
    if let config::value::Admin::At(address) = options.admin {
        findings.push(port("admin port", address));
    }
    findings
}

fn directory(data: &Path) -> Finding {
    let check = "directory";
    let fail = |what: String, fix: &str| {
        let fix = Some(fix.to_owned()).filter(|fix| !fix.is_empty());
        Finding { check, level: Level::Fail, what, fix }
    };
    let absolute = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    let there = absolute.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if !there.is_dir() {
        return fail(format!("{} is not a directory", there.display()), "choose another --data");
    }
    if let Err(errno) = access(there, AccessFlags::W_OK | AccessFlags::X_OK) {
        let what = format!("{} takes no files: {}", there.display(), errno.desc());
        return fail(what, "run this as the user that the node runs as, and let it write there");
    }
    let what = if there == absolute {
        match claim(data) {
            Ok(_) => format!("{} can be written to, and no node has it", data.display()),
            Err(error @ DirError::InUse { .. }) => {
                return fail(error.to_string(), "stop that node first, or choose another --data");
            }
            Err(error) => return fail(error.to_string(), ""),
        }
    } else {
        format!("{} can be made", data.display())
    };
    Finding { check, level: Level::Ok, what, fix: None }
}

fn port(check: &'static str, address: SocketAddr) -> Finding {
    let (level, what, fix) = match bind(address) {
        Ok(_) => (Level::Ok, format!("{address} can be had"), None),
        Err(error) => {
            let fix = "stop what listens there, or choose another address (--listen, --admin)";
            (Level::Fail, format!("{address} cannot be had: {error}"), Some(fix.to_owned()))
        }
    };
    Finding { check, level, what, fix }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_no_directory_and_looking_leaves_nothing() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        assert_eq!(directory(dir.path()).level, Level::Ok);
        assert_eq!(directory(&dir.path().join("new/one")).level, Level::Ok);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let file = dir.path().join("file");
        std::fs::write(&file, b"").unwrap();
        let found = directory(&file.join("below"));
        assert!(found.level == Level::Fail && found.what.contains("not a directory"), "{found:?}");
        let foreign = directory(dir.path());
        assert!(foreign.level == Level::Fail && foreign.what.contains("not empty"), "{foreign:?}");
    }

    #[test]
    fn a_port_in_use_is_said() {
        let taken = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(port("port", address).level, Level::Fail);
        drop(taken);
        assert_eq!(port("port", address).level, Level::Ok);
    }
}
