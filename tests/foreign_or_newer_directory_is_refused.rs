//! A directory that is not ours, or of a format we do not know, is left exactly as it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::node::{Node, fresh_dir};
use crate::harness::run_badly;

#[test]
fn somebody_elses_files() {
    let dir = fresh_dir();
    fs::write(dir.path().join("letter.txt"), "dear").expect("a file");
    let errors = refused(dir.path());
    assert!(errors.contains("not a uringmq data directory"), "{errors}");
    assert!(errors.contains("name an empty or new directory"), "{errors}");
}

#[test]
fn a_newer_format() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    Node::start(&data, &[]).stop();
    let format = data.join("FORMAT");
    let ours = fs::read_to_string(&format).expect("the format file");
    assert!(ours.contains("format = 3"), "{ours}");
    fs::write(&format, ours.replace("format = 3", "format = 4")).expect("a changed file");
    let errors = refused(&data);
    assert!(errors.contains("format 4") && errors.contains("use a newer uringmq"), "{errors}");
}

#[test]
fn a_format_file_that_means_nothing() {
    let dir = fresh_dir();
    fs::write(dir.path().join("FORMAT"), "format = \"one\"\n").expect("a file");
    let errors = refused(dir.path());
    assert!(errors.contains("not a valid FORMAT file"), "{errors}");
}

fn refused(data: &Path) -> String {
    let before = contents(data);
    let path = data.to_str().expect("a path");
    let errors = run_badly(&["serve", "--listen", "127.0.0.1:0", "--data", path], 3);
    let mut after = contents(data);
    // The lock is taken before the format is read; the file is empty and means nothing.
    if !before.contains_key(&data.join("LOCK")) {
        after.remove(&data.join("LOCK"));
    }
    assert!(before == after, "the directory was touched");
    errors
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
    all
}
