//! The index of records.

use super::Mutant;

const WALK: &str = "src/index/walk.rs";
const KEYS: &str = "src/index/keys.rs";
const SAVE: &str = "src/index/save.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "an-index-counts-as-saved-after-another-flush-failed",
        edits: &[(
            SAVE,
            "(State::Syncing { file }, Ok(_)) if !self.in_doubt => State::Footer { file },",
            "(State::Syncing { file }, Ok(_)) => State::Footer { file },",
        )],
    },
    Mutant {
        name: "the-newest-keys-are-left-out-of-the-index",
        edits: &[(KEYS, "        pile.close();\n        let firsts", "        let firsts")],
    },
    Mutant {
        name: "an-index-footer-before-its-body-is-durable",
        edits: &[(
            "src/index/save.rs",
            "State::Writing { file, offset }\n    } else {\n        State::Syncing { file }",
            "State::Writing { file, offset }\n    } else {\n        State::Footer { file }",
        )],
    },
    Mutant {
        name: "a-start-inside-a-group-takes-all-of-it",
        edits: &[(
            "src/index/queue.rs",
            "let gone = if end > offset {",
            "let gone = if end > u64::MAX - 1 {",
        )],
    },
    Mutant {
        name: "behind-a-damaged-entry-nothing-is-served",
        edits: &[(WALK, "get(..span.len as usize).filter(|_| verify)", "get(..0)")],
    },
    Mutant {
        name: "a-lost-entry-is-passed-over",
        edits: &[(
            WALK,
            "doubt.take().filter(|_| is_lost)",
            "doubt.take().filter(|_| is_lost && out.bytes > 0)",
        )],
    },
];
