//! Starts the real binary, talks to it, and leaves nothing behind.
//!
//! `http` (a page of the admin server), `node` (a node as a child process), `raw` (a socket and bytes), `verify` (is what was
//! acknowledged there, once, in order, byte for byte?), `load` (a mixed load, and what it was
//! promised), `power` (a device whose power can be cut), `directory` (what a stopped node leaves).

pub(crate) mod directory;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod node;
pub(crate) mod power;
pub(crate) mod raw;
pub(crate) mod verify;

use std::process::{Command, Output, Stdio};

/// The binary under test.
pub(crate) fn uringmq() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uringmq"));
    // What the caller's shell says must not decide what is tested.
    command.env_remove("RUST_LOG");
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"URINGMQ_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    uringmq().args(args).output().expect("the binary starts")
}

/// Runs the binary, expects it to succeed, and returns its standard output.
pub(crate) fn run_well(args: &[&str]) -> Vec<u8> {
    let output = run(args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {} {errors}", output.status);
    output.stdout
}

/// Runs the binary, expects this exit code, and returns its standard error.
pub(crate) fn run_badly(args: &[&str], code: i32) -> String {
    let output = run(args);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
    errors
}

/// A test cannot be done here. It passes all the same, unless whoever runs it has set `NO_SKIPS`: then
/// it fails, so that where everything can be tested everything was.
pub(crate) fn skip(why: impl std::fmt::Display) {
    println!("skipped: {why}");
    assert!(std::env::var_os("NO_SKIPS").is_none(), "NO_SKIPS is set, but: {why}");
}

/// A number that whoever runs the tests has set.
pub(crate) fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}
