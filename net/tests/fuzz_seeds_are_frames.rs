//! The seeds of the fuzz targets (`fuzz/`) are whole frames of every operation: a target that starts
//! from anything less would look at headers only.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use net::wire::{Entries, Operation, Reply, decode_reply, decode_request};

/// Where a frame names its operation.
const OPERATION_AT: usize = 4;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    fs::read_dir(dir).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn requests() {
    let operation = |frame: Vec<u8>| decode_request(&frame).unwrap().1.operation();
    let seen: BTreeSet<_> = seeds("request").into_iter().map(operation).collect();
    assert_eq!(seen, BTreeSet::from(Operation::ALL));
}

#[test]
fn replies() {
    let (mut seen, mut errors) = (BTreeSet::new(), 0);
    for frame in seeds("reply") {
        match decode_reply(&frame).unwrap().1 {
            Reply::Error { .. } => {
                errors += 1;
                continue;
            }
            Reply::Fetch(fetch) => {
                assert!(Entries::new(fetch.entries).all(|entry| entry.is_ok()));
                assert_eq!(Entries::new(fetch.entries).count(), 1);
            }
            _ => {}
        }
        seen.insert(Operation::from_u8(frame[OPERATION_AT]).unwrap());
    }
    assert_eq!(seen, BTreeSet::from(Operation::ALL));
    assert!(errors > 0, "and one that failed");
}
