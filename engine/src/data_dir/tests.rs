//! Directories that are ours, somebody else's, or in use.

use super::*;

const OPTIONS: FormatOptions = FormatOptions { shards: 2, segment_bytes: 4 << 20 };

#[test]
fn formatted_once_and_locked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new");
    let first = DataDir::open(&path, &OPTIONS).unwrap();
    assert!(matches!(DataDir::open(&path, &OPTIONS), Err(DirError::InUse { .. })));
    let node = first.node;
    drop(first);
    let other = FormatOptions { shards: 7, segment_bytes: 8 << 20 };
    let second = DataDir::open(&path, &other).unwrap();
    assert_eq!((second.node, second.shards, second.segment_bytes), (node, 2, 4 << 20));
}

#[test]
fn a_directory_grows_but_never_shrinks() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = DataDir::open(dir.path(), &OPTIONS).unwrap();
    opened.grow(5).unwrap();
    for wrong in [4, SHARDS_MAX + 1] {
        assert!(matches!(opened.grow(wrong), Err(DirError::Option { .. })));
    }
    let node = opened.node;
    drop(opened);
    let again = DataDir::open(dir.path(), &OPTIONS).unwrap();
    assert_eq!((again.node, again.shards, again.segment_bytes), (node, 5, 4 << 20));
}

#[test]
fn a_claimed_directory_stays_as_it_is_and_is_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    drop(claim(dir.path()).unwrap());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was added");
    let open = DataDir::open(dir.path(), &OPTIONS).unwrap();
    assert!(matches!(claim(dir.path()), Err(DirError::InUse { .. })));
    drop(open);
    let claimed = claim(dir.path()).unwrap();
    assert!(matches!(DataDir::open(dir.path(), &OPTIONS), Err(DirError::InUse { .. })));
    drop(claimed);
    let foreign = tempfile::tempdir().unwrap();
    fs::write(foreign.path().join("letter.txt"), "dear").unwrap();
    assert!(matches!(claim(foreign.path()), Err(DirError::Foreign { .. })));
}

#[test]
fn a_tuned_directory_is_still_new() {
    let dir = tempfile::tempdir().unwrap();
    for name in [device::FILE_NAME, device::file::NEW_FILE_NAME] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    DataDir::open(dir.path(), &OPTIONS).unwrap();
}

#[test]
fn an_older_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(DataDir::open(dir.path(), &OPTIONS).unwrap());
    let path = dir.path().join(FORMAT_FILE);
    let ours = fs::read_to_string(&path).unwrap();
    fs::write(&path, ours.replace("format = 3", "format = 2")).unwrap();
    let refused = DataDir::open(dir.path(), &OPTIONS);
    assert!(matches!(refused, Err(DirError::Older { found: 2, .. })), "{refused:?}");
}

#[test]
fn foreign_and_newer_directories_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("letter.txt"), "dear").unwrap();
    assert!(matches!(DataDir::open(dir.path(), &OPTIONS), Err(DirError::Foreign { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was added");
    fs::write(dir.path().join(FORMAT_FILE), "format = 4\nwings = true\n").unwrap();
    let newer = DataDir::open(dir.path(), &OPTIONS);
    assert!(matches!(newer, Err(DirError::Newer { found: 4, .. })));
    for bad in ["", "format = ", "format = 3\nnode = \"xy\"\nshards = 1\nsegment_bytes = 4194304\n"]
    {
        fs::write(dir.path().join(FORMAT_FILE), bad).unwrap();
        let refused = DataDir::open(dir.path(), &OPTIONS);
        assert!(matches!(refused, Err(DirError::Malformed { .. })), "{bad:?}");
    }
}

#[test]
fn an_existing_directory_is_opened_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    assert!(matches!(DataDir::open_existing(&path, true), Err(DirError::Io { .. })));
    fs::create_dir(&path).unwrap();
    assert!(matches!(DataDir::open_existing(&path, true), Err(DirError::NotOurs { .. })));
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "nothing was added");
    let node = DataDir::open(&path, &OPTIONS).unwrap();
    assert!(matches!(DataDir::open_existing(&path, true), Err(DirError::InUse { .. })));
    let looked_at = DataDir::open_existing(&path, false).unwrap();
    assert_eq!((looked_at.node, looked_at.shards), (node.node, 2));
    drop(node);
    let locked = DataDir::open_existing(&path, true).unwrap();
    assert!(matches!(DataDir::open(&path, &OPTIONS), Err(DirError::InUse { .. })));
    drop(locked);
    DataDir::open(&path, &OPTIONS).unwrap();
}

#[test]
fn options_have_ranges() {
    let dir = tempfile::tempdir().unwrap();
    for (shards, segment_bytes) in [(0, 4 << 20), (1, 4096), (1, (4 << 20) + 1), (1, 4 << 30)] {
        let options = FormatOptions { shards, segment_bytes };
        assert!(matches!(DataDir::open(dir.path(), &options), Err(DirError::Option { .. })));
    }
}
