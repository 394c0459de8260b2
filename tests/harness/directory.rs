//! A data directory without its node: verified by the binary, looked into, and damaged.

use std::fs::OpenOptions;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt;
use std::path::Path;

use engine::audit::directory::{expected, open_shard};
use engine::audit::{Damage, Group, Visitor, walk};
use engine::data_dir::DataDir;
use engine::io::FileName;
use engine::log::entry_format::ENTRY_ALIGN;
use serde_json::Value;

use super::run;

/// The exit code of `uringmq verify --json` and what it says.
pub(crate) fn verify(data: &Path) -> (i32, Value) {
    let output = run(&["verify", data.to_str().expect("a path"), "--json"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let document = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{errors}"));
    (output.status.code().expect("an exit code"), document)
}

/// The directory has no damage; returns what `verify` says.
pub(crate) fn verify_clean(data: &Path) -> Value {
    let (code, document) = verify(data);
    assert_eq!((code, &document["damages"]), (0, &Value::Array(Vec::new())), "{document}");
    assert_eq!(document["clean"], true);
    document
}

/// Records that are stored of a topic, all queues together.
pub(crate) fn records(document: &Value, topic: &str) -> u64 {
    let queues = document["queues"].as_array().expect("queues").iter();
    let of_topic = queues.filter(|queue| queue["topic"] == topic);
    of_topic.map(|queue| queue["records"].as_u64().expect("a number")).sum()
}

/// Where the groups and entries of shard 0 lie, as log positions.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) segment_bytes: u64,
    /// Sequence number and range of each group.
    pub(crate) groups: Vec<(u64, Range<u64>)>,
    /// Ranges of the entries of each group.
    pub(crate) entries: Vec<Vec<Range<u64>>>,
    /// Group, position of the entry and position of its last byte, of entries that are padded.
    pub(crate) padding: Vec<(u64, u64, u64)>,
}

impl Visitor for Places {
    fn group(&mut self, group: &Group) -> ControlFlow<()> {
        let header = group.header();
        self.groups.push((header.sequence, header.position.0..group.end().0));
        let mut entries = Vec::new();
        for found in group.entries() {
            let end = found.pos.0 + u64::from(found.header.entry_bytes());
            if !found.header.batch_bytes.is_multiple_of(ENTRY_ALIGN) {
                self.padding.push((header.sequence, found.pos.0, end - 1));
            }
            entries.push(found.pos.0..end);
        }
        self.entries.push(entries);
        ControlFlow::Continue(())
    }

    fn broken_group(&mut self, _: &Group) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn damage(&mut self, damage: &Damage) {
        panic!("{damage}");
    }

    fn passed(&mut self, _: u64) {}
}

/// Looks where everything is in shard 0.
pub(crate) fn places(data: &Path) -> Places {
    let dir = DataDir::open_existing(data, true).expect("a data directory");
    let mut disk = open_shard(&dir, 0).expect("shard 0");
    let mut places = Places { segment_bytes: dir.segment_bytes, ..Places::default() };
    walk(&mut disk, &expected(&dir, 0), &mut places).expect("it can be read");
    places
}

impl Places {
    /// The file of shard 0 that holds a position, and the offset in it.
    pub(crate) fn file(&self, pos: u64) -> (FileName, u64) {
        (FileName::Segment(pos / self.segment_bytes), pos % self.segment_bytes)
    }
}

/// Flips a bit of a byte of a file of shard 0.
pub(crate) fn flip(data: &Path, name: FileName, offset: u64) {
    let path = data.join("shard-000").join(name.to_string());
    let file = OpenOptions::new().read(true).write(true).open(path).expect("the file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("the byte");
    file.write_all_at(&[byte[0] ^ 0x10], offset).expect("the byte");
    file.sync_all().expect("a sync");
}
