//! Files and descriptors.

use super::Mutant;

const FILES: &str = "src/io/ring/files.rs";
const PLAN: &str = "src/io/ring/plan.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "a-handle-does-not-follow-its-file",
        edits: &[(
            FILES,
            "                    adopted.name = to;\n",
            "                    let _ = to;\n",
        )],
    },
    Mutant {
        name: "a-name-changes-while-its-file-is-opened",
        edits: &[(
            PLAN,
            "match self.files.hold(from) {",
            "match self.files.hold(from).filter(|_| false) {",
        )],
    },
    Mutant {
        name: "a-file-is-opened-twice-and-the-first-descriptor-stays",
        edits: &[(
            PLAN,
            "                opened.into_iter().for_each(|surplus| self.close_aside(surplus));\n",
            "                opened.into_iter().for_each(std::mem::forget);\n",
        )],
    },
];
