//! The property that the fuzz target checks (`fuzz/`), in every test run, for random bytes, for
//! files that are nearly good, and for its seeds.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../fuzz/properties.rs"]
mod properties;

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in vec(any::<u8>(), 0..200)) {
        properties::check(&bytes);
    }

    /// With keys that there are, so that values are looked at.
    #[test]
    fn arbitrary_values(
        lines in vec(
            (
                "(retention|segment_size|listen|cpu|wait|shards|data|log|x)",
                "(\"\\PC{0,12}\"|[0-9]{1,20}|'[0-9]{1,9}[a-zA-Z]{0,3}'|\\PC{0,12}|none|true)",
            ),
            0..6,
        )
    ) {
        let text: String = lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        properties::check(text.as_bytes());
    }
}

#[test]
fn seeds() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/config");
    let mut good = 0;
    for file in fs::read_dir(dir).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        properties::check(&bytes);
        good += usize::from(config::file::parse(&bytes).is_ok());
    }
    assert!(good >= 3, "a target that starts from nothing good would look at errors only");
}
