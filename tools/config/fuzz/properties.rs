//! What must hold for every file, for the fuzz target and for the tests.

use std::path::PathBuf;

use config::settings::of_file;
use config::{File, file, show};

/// Reads bytes as a file. What is refused is refused with places in the file; what is taken makes
/// options, which are the same again when they are printed and read.
///
/// # Panics
/// When that does not hold.
pub(crate) fn check(bytes: &[u8]) {
    let path = PathBuf::from("file");
    match file::parse(bytes) {
        Err(problems) => {
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|p| (1..=lines).contains(&p.line) && p.column > 0));
        }
        Ok(entries) => {
            let Ok(first) = of_file(&File { path: path.clone(), entries }) else {
                panic!("a checked file makes no options");
            };
            let printed = show::toml(&first.settings, false);
            let Ok(entries) = file::parse(printed.as_bytes()) else {
                panic!("what was printed is refused: {printed}");
            };
            let again = of_file(&File { path, entries }).map(|second| second.options);
            assert!(again.is_ok_and(|options| options == first.options), "{printed}");
            let _ = first.options.conflicts();
        }
    }
}
