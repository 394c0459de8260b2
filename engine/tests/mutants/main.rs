//! The test of the tests: known bugs are put into a copy of the engine, and its simulation must
//! find every one of them.
//!
//! A mutant is a replacement of source text, so nothing of it is in the engine. That each one
//! still applies is checked in every test run. The hunt builds the engine once for every mutant,
//! which takes minutes, so it is asked for: `MUTANT=all cargo test -p engine --test mutants --
//! --nocapture` (some: `MUTANT=name,name`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod index;
mod io;
mod log;
mod shard;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One replacement: file, what is there, what comes in its place.
type Edit = (&'static str, &'static str, &'static str);

struct Mutant {
    name: &'static str,
    edits: &'static [Edit],
}

/// The classic ones: the simulation itself must find them, within what a test run does.
const BY_SIMULATION: [&str; 8] = [
    "acknowledged-before-the-prefix-is-complete",
    "dsync-after-plain-acknowledges-the-prefix",
    "recovery-ignores-epochs",
    // No look at the watermark.
    "damage-is-a-torn-tail",
    "a-checkpoint-counts-before-it-is-durable",
    "recycled-while-it-is-read",
    "an-offset-is-stamped-twice",
    "superblock-written-in-place",
];

/// All mutants: a table a part of the engine.
const MUTANTS: &[&[Mutant]] = &[io::MUTANTS, log::MUTANTS, index::MUTANTS, shard::MUTANTS];

fn engine() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The file with all edits of a mutant made.
fn mutated(mutant: &Mutant, file: &str) -> String {
    let mut text = fs::read_to_string(engine().join(file)).unwrap();
    for (_, old, new) in mutant.edits.iter().filter(|(name, ..)| *name == file) {
        let count = text.matches(old).count();
        assert!(count == 1, "{}: {count} places in {file} are {old:?}", mutant.name);
        text = text.replace(old, new);
    }
    text
}

#[test]
fn every_mutant_still_applies() {
    for mutant in MUTANTS.iter().copied().flatten() {
        for (file, ..) in mutant.edits {
            mutated(mutant, file);
        }
    }
    for name in BY_SIMULATION {
        let known = MUTANTS.iter().copied().flatten().filter(|mutant| mutant.name == name);
        assert_eq!(known.count(), 1, "{name}");
    }
}

#[test]
fn every_mutant_is_caught() {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
    let Ok(only) = std::env::var("MUTANT") else {
        println!("not asked for: MUTANT=all hunts every mutant");
        return;
    };
    let chosen =
        |mutant: &&Mutant| only == "all" || only.split(',').any(|only| mutant.name.contains(only));
    let mut survivors = Vec::new();
    for mutant in MUTANTS.iter().copied().flatten().filter(chosen) {
        fresh_copy(&copy);
        for (file, ..) in mutant.edits {
            fs::write(copy.join("engine").join(file), mutated(mutant, file)).unwrap();
        }
        let unit_tests_count = !BY_SIMULATION.contains(&mutant.name);
        match hunt(&copy, unit_tests_count) {
            Some(how) => println!("{:45} caught: {how}", mutant.name),
            None => survivors.push(mutant.name),
        }
    }
    fs::remove_dir_all(&copy).unwrap();
    assert!(survivors.is_empty(), "nobody noticed: {survivors:?}");
}

/// A workspace with nothing but the engine in it.
fn fresh_copy(to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    let root = engine().parent().unwrap().to_owned();
    copy_dir(&engine(), &to.join("engine"));
    for file in ["Cargo.lock", "rustfmt.toml", "clippy.toml"] {
        fs::copy(root.join(file), to.join(file)).unwrap();
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let lines = manifest.lines().map(|line| match line {
        line if line.starts_with("members") => "members = [\"engine\"]",
        line if line.starts_with("default-members") => "",
        // A mutant may leave something unused.
        "warnings = \"deny\"" => "warnings = \"allow\"",
        line => line,
    });
    fs::write(to.join("Cargo.toml"), lines.collect::<Vec<_>>().join("\n")).unwrap();
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The tests that fail, and what replays the first failure; `None` if all pass. The unit tests are
/// asked only about what the simulation does not see, and only if they count.
fn hunt(copy: &Path, unit_tests_count: bool) -> Option<String> {
    let units = || unit_tests_count.then(|| failing(copy, &["--lib"])).flatten();
    failing(copy, &["--test", "simulation"]).or_else(units)
}

fn failing(copy: &Path, tests: &[&str]) -> Option<String> {
    // Its own: files of the two workspaces have the same names.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants-target");
    let cargo = |program: &str, before: &[&str], after: &[&str]| {
        let mut command = Command::new(program);
        command.args(before).args(["test", "--offline", "-p", "engine", "--no-fail-fast"]);
        command.args(tests).args(after).current_dir(copy);
        command.env("CARGO_TARGET_DIR", &target).env("RUST_BACKTRACE", "0");
        command.output().unwrap()
    };
    let built = cargo("cargo", &[], &["--no-run"]);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    // A mutant may loop for ever: that is caught, too.
    let out = cargo("timeout", &["900", "cargo"], &[]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let failed = text.lines().filter_map(|line| {
        let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
        Some(name.rsplit("::").next().unwrap_or(name))
    });
    let mut how: Vec<&str> = failed.collect();
    how.extend(
        text.lines()
            .filter(|line| line.starts_with("failed in run") || line.starts_with("failed at event"))
            .map(|line| line.split(" cargo ").next().unwrap_or(line)),
    );
    if out.status.code() == Some(124) {
        how.push("does not end");
    }
    (!out.status.success()).then(|| how.join(", "))
}
