//! The seeds of the fuzz targets (`fuzz/`) are whole frames of many operations: a target that starts
//! from anything less would look at headers only.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use net::wire::{Entries, Reply, decode_reply, decode_request};

/// Operations that have seeds.
const OPERATIONS: usize = 12;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    fs::read_dir(dir).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn requests() {
    let mut seen = BTreeSet::new();
    for frame in seeds("request") {
        let (_, request) = decode_request(&frame).unwrap();
        seen.insert(request.operation().as_u8());
    }
    assert!(seen.len() >= OPERATIONS, "{seen:?}");
}

#[test]
fn replies() {
    let mut seen = HashSet::new();
    let frames = seeds("reply");
    for frame in &frames {
        let (_, reply) = decode_reply(frame).unwrap();
        if let Reply::Fetch(fetch) = &reply {
            assert!(Entries::new(fetch.entries).all(|entry| entry.is_ok()));
            assert_eq!(Entries::new(fetch.entries).count(), 1);
        }
        seen.insert(std::mem::discriminant(&reply));
    }
    // And an error.
    assert!(seen.len() > OPERATIONS);
}
