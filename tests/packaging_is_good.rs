//! What is shipped beside the binary: files that their readers take, and generated pages and
//! scripts that know every command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::node::fresh_dir;
use crate::harness::{run, run_well};

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(packaging(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Runs a program that may not be installed; `None` then.
fn checked_by(program: &str, args: &[&str]) -> Option<String> {
    match Command::new(program).args(args).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{program}: {error}"),
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(output.status.success(), "{program} {args:?}: {said}");
            Some(said)
        }
    }
}

#[test]
fn the_file_of_options_is_accepted() {
    run_well(&["config", "check", packaging("uringmq.toml").to_str().expect("UTF-8")]);
}

#[test]
fn the_profile_allows_what_a_node_needs() {
    let profile: Value = serde_json::from_str(&text("seccomp.json")).expect("JSON");
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let allows = |name: &str| {
        profile["syscalls"].as_array().expect("rules").iter().any(|rule| {
            let unconditional = rule["args"].is_null() && rule["includes"].is_null();
            let names = rule["names"].as_array().expect("names");
            rule["action"] == "SCMP_ACT_ALLOW" && unconditional && names.iter().any(|n| n == name)
        })
    };
    for call in [
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "openat",
        "fallocate",
        "fdatasync",
        "pwrite64",
        "renameat",
        "mlock",
        "mmap",
        "membarrier",
        "eventfd2",
        "timerfd_create",
        "timerfd_settime",
        "accept4",
        "sendmsg",
        "recvfrom",
        "sched_setaffinity",
        "sched_yield",
        "prlimit64",
        "adjtimex",
        "statx",
        "flock",
    ] {
        assert!(allows(call), "{call}");
    }
    assert!(!allows("mount") && !allows("reboot"), "a filter that lets everything through");
}

#[test]
fn the_unit_gives_what_doctor_wants() {
    let unit = text("uringmq.service");
    for line in ["LimitMEMLOCK=64M", "LimitNOFILE=1048576", "Type=notify"] {
        assert!(unit.lines().any(|l| l == line), "{line}");
    }
    // Its program is not installed here: one that is stands for it.
    let dir = fresh_dir();
    let path = dir.path().join("uringmq.service");
    fs::write(&path, unit.replace("/usr/bin/uringmq", "/bin/true")).expect("a file");
    let path = path.to_str().expect("UTF-8");
    let verify = ["verify", "--man=no", "--recursive-errors=no", path];
    match checked_by("systemd-analyze", &verify) {
        Some(said) => assert!(!said.contains("uringmq.service:"), "{said}"),
        None => println!("skipped: no systemd-analyze here"),
    }
}

#[test]
fn there_is_a_man_page_for_every_command() {
    let dir = fresh_dir();
    let man = dir.path().join("man1");
    run_well(&["generate", "man", man.to_str().expect("UTF-8")]);
    let page = |name: &str| {
        let page = fs::read_to_string(man.join(name));
        page.unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let serve = page("uringmq-serve.1");
    for says in
        ["segment\\-size", "URINGMQ_SEGMENT_SIZE", "256MiB", ".SH EXAMPLES", ".SH \"EXIT STATUS\""]
    {
        assert!(serve.contains(says), "{says} is not in\n{serve}");
    }
    assert!(!serve.contains("EXTRA") && !serve.contains("Exit codes"), "{serve}");
    let consume = page("uringmq-consume.1");
    let synopsis = consume.split(".SH ").find(|part| part.starts_with("SYNOPSIS"));
    let synopsis = synopsis.expect("a synopsis");
    assert!(synopsis.contains("\\-\\-from\\fR \\fI"), "no value in\n{synopsis}");
    assert!(page("uringmq.1").contains("doctor"));
    let help = String::from_utf8(run_well(&["--help"])).expect("UTF-8");
    let (_, commands) = help.split_once("Commands:\n").expect("commands");
    let names = commands.lines().take_while(|line| !line.is_empty());
    let names = names.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let mut count = 0;
    for name in names.filter_map(|line| line.split_whitespace().next()) {
        if name != "help" {
            page(&format!("uringmq-{name}.1"));
            count += 1;
        }
    }
    assert!(count >= 14, "{count}");
    assert!(!man.join("uringmq-yardstick.1").exists(), "it is nobody's business");
    let serve = man.join("uringmq-serve.1");
    let args = ["--warnings", "-l", serve.to_str().expect("UTF-8")];
    if checked_by("man", &args).is_none() {
        println!("skipped: no man here");
    }
}

#[test]
fn completions_are_scripts_that_know_the_options() {
    let dir = fresh_dir();
    for (shell, checks) in [("bash", true), ("zsh", true), ("fish", false), ("elvish", false)] {
        let script = run_well(&["generate", "completions", shell]);
        let said = String::from_utf8(script.clone()).expect("UTF-8");
        assert!(said.contains("segment-size") && said.contains("doctor"), "{shell}");
        let path = dir.path().join(shell);
        fs::write(&path, script).expect("a file");
        if checks && checked_by(shell, &["-n", path.to_str().expect("UTF-8")]).is_none() {
            println!("skipped: no {shell} here");
        }
    }
    assert_eq!(run(&["generate", "completions", "dos"]).status.code(), Some(2));
}
