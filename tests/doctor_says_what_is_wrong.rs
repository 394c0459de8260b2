//! A machine that cannot run a node is told apart before any runtime starts: `serve` ends with code
//! 3 and says what to do, and `doctor` says the same. Faults are put in place for the child alone.

use std::collections::BTreeMap;
use std::fs;
use std::process::Output;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};
use serde_json::Value;

use crate::harness::node::{Node, fresh_dir};
use crate::harness::{run, uringmq};

/// `io_uring_setup`, the same on every architecture.
const IO_URING_SETUP: i64 = 425;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Both commands end badly and say all of this, `serve` on standard error.
fn expect_refusal(serve: &Output, doctor: &Output, says: &[&str]) {
    let (refusal, list) = (text(&serve.stderr), text(&doctor.stdout));
    assert_eq!(serve.status.code(), Some(3), "{refusal}");
    assert_eq!(doctor.status.code(), Some(1), "{list}");
    assert!(list.contains("FAIL") && list.contains("would not start here"), "{list}");
    for said in says {
        assert!(refusal.contains(said), "{said:?} is not in {refusal}");
        assert!(list.contains(said), "{said:?} is not in {list}");
    }
}

fn filter(rules: &[i64], otherwise: SeccompAction, listed: SeccompAction) -> BpfProgram {
    let rules: BTreeMap<i64, Vec<_>> = rules.iter().map(|call| (*call, Vec::new())).collect();
    let arch = TargetArch::try_from(std::env::consts::ARCH).expect("a known one");
    let filter = SeccompFilter::new(rules, otherwise, listed, arch).expect("a filter");
    filter.try_into().expect("a program")
}

fn forbidding(calls: &[i64]) -> BpfProgram {
    let forbidden = SeccompAction::Errno(nix::errno::Errno::EPERM as u32);
    filter(calls, SeccompAction::Allow, forbidden)
}

/// Does it in a thread under a filter, which holds for the children of that thread and goes with it.
pub(crate) fn under<T: Send>(program: &BpfProgram, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let filtered = scope.spawn(|| {
            apply_filter(program).expect("it is in force");
            act()
        });
        filtered.join().expect("it ran")
    })
}

/// Runs the binary with a lower limit, which `ulimit` sets.
fn limited(limit: &str, command: &str) -> Output {
    let binary = uringmq();
    let script = format!("ulimit {limit} && exec \"$0\" {command}");
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(script).arg(binary.get_program());
    for (name, _) in binary.get_envs() {
        shell.env_remove(name);
    }
    shell.output().expect("a shell")
}

#[test]
fn too_little_memory_may_be_locked() {
    let dir = fresh_dir();
    let data = dir.path().join("data").display().to_string();
    let serve = limited("-l 64", &format!("serve --data {data} --listen 127.0.0.1:0"));
    let doctor = limited("-l 64", &format!("doctor --data {data}"));
    expect_refusal(&serve, &doctor, &["RLIMIT_MEMLOCK is 64 KiB", "LimitMEMLOCK=64M"]);
    assert!(!dir.path().join("data").exists(), "nothing was begun");
}

#[test]
fn too_few_files_may_be_open() {
    let dir = fresh_dir();
    let data = dir.path().join("data").display().to_string();
    let serve = limited("-n 64", &format!("serve --data {data} --listen 127.0.0.1:0"));
    let doctor = limited("-n 64", &format!("doctor --data {data}"));
    expect_refusal(&serve, &doctor, &["RLIMIT_NOFILE is 64", "LimitNOFILE"]);
}

#[test]
fn io_uring_is_blocked_as_in_a_container() {
    let dir = fresh_dir();
    let data = dir.path().join("data").display().to_string();
    let args = [
        vec!["serve", "--data", &data, "--listen", "127.0.0.1:0"],
        vec!["doctor", "--data", &data],
    ];
    let outputs = under(&forbidding(&[IO_URING_SETUP]), || args.map(|args| run(&args)));
    let [serve, doctor] = &outputs;
    expect_refusal(serve, doctor, &["seccomp filter is in force", "seccomp.json"]);
}

#[test]
fn a_cpu_that_is_not_there() {
    let dir = fresh_dir();
    let data = dir.path().join("data").display().to_string();
    let serve = run(&["serve", "--data", &data, "--cpu", "999", "--listen", "127.0.0.1:0"]);
    let doctor = run(&["doctor", "--data", &data, "--cpu", "999"]);
    expect_refusal(&serve, &doctor, &["this process may run on", "--cpu"]);
}

#[test]
fn reactors_that_never_sleep_would_take_every_core() {
    let dir = fresh_dir();
    let data = dir.path().join("data").display().to_string();
    let cpus = std::thread::available_parallelism().expect("a number").to_string();
    let options = ["--data", &data, "--poll", "--reactors", &cpus];
    let serve = run(&[&["serve", "--listen", "127.0.0.1:0"], &options[..]].concat());
    let doctor = run(&[&["doctor"], &options[..]].concat());
    expect_refusal(&serve, &doctor, &["poll mode would take every core", "--wait hybrid"]);
}

#[test]
fn a_file_system_that_takes_no_files() {
    let options = ["--data", "/proc/uringmq"];
    let serve = run(&[&["serve", "--listen", "127.0.0.1:0"], &options[..]].concat());
    let doctor = run(&[&["doctor"], &options[..]].concat());
    // There is no room at all in it.
    expect_refusal(&serve, &doctor, &["space", "0 KiB free", "a new data directory begins with"]);
    let list = text(&doctor.stdout);
    assert!(list.contains("proc at /proc"), "{list}");
}

#[test]
fn a_file_system_in_memory() {
    let there = std::path::Path::new("/dev/shm");
    let mounts = fs::read_to_string("/proc/mounts").expect("a list");
    if !mounts.lines().any(|line| line.contains(" /dev/shm tmpfs ")) {
        return crate::harness::skip("no tmpfs at /dev/shm");
    }
    let data = there.join("uringmq-doctor").display().to_string();
    let doctor = run(&["doctor", "--data", &data, "--segment-size", "1MiB"]);
    let list = text(&doctor.stdout);
    let line = list.lines().find(|line| line.contains("file system")).expect("a finding");
    // Before Linux 6.6 it has no O_DIRECT.
    let says = if line.starts_with("FAIL") { "no O_DIRECT" } else { "is memory" };
    assert!(line.contains("tmpfs at /dev/shm") && line.contains(says), "{list}");
    assert!(line.starts_with("FAIL") || line.starts_with("WARN"), "{list}");
    assert_eq!(doctor.status.code(), Some(i32::from(list.contains("FAIL"))), "{list}");
}

#[test]
fn a_node_that_runs_there_and_a_port_in_use() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let node = Node::start(&data, &[]);
    let path = data.to_str().expect("UTF-8");
    let doctor = run(&["doctor", "--data", path, "--listen", &node.address]);
    let list = text(&doctor.stdout);
    assert_eq!(doctor.status.code(), Some(1), "{list}");
    for says in
        ["is in use by another node", "stop that node first", "cannot be had: Address already"]
    {
        assert!(list.contains(says), "{says} is not in {list}");
    }
    assert!(list.contains("would not start here"), "{list}");
    node.stop();
    let doctor = run(&["doctor", "--data", path, "--listen", "127.0.0.1:0"]);
    assert_eq!(doctor.status.code(), Some(0), "{}", text(&doctor.stdout));
}

#[test]
fn and_a_good_machine_has_nothing_to_fear() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let path = data.to_str().expect("UTF-8");
    let options = ["--segment-size", "1MiB", "--listen", "127.0.0.1:0", "--data", path];
    let output = run(&[&["doctor", "--json"], &options[..]].concat());
    let findings: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(0), "{findings}");
    let findings = findings.as_array().expect("a list");
    let level = |check: &str| {
        let found = findings.iter().find(|finding| finding["check"] == check);
        found.expect("every check is there")["level"].clone()
    };
    assert!(findings.len() >= 11 && findings.iter().all(|f| f["level"] != "fail"));
    assert_eq!((level("io_uring"), level("file system")), ("ok".into(), "ok".into()));
    assert_eq!(level("device"), "note", "it was not measured");
    assert!(!data.exists(), "looking changes nothing");
    fs::create_dir(&data).expect("a directory");
    run(&[&["doctor"], &options[..]].concat());
    assert_eq!(fs::read_dir(&data).expect("it is there").count(), 0);
}
