//! `tune` measures the device, and the node that starts there does what it found.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::{run, run_badly, run_well, uringmq};

#[tokio::test]
async fn and_before_that_the_node_says_that_it_is_untuned() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let path = data.to_str().expect("a path");
    let node = Node::start(&data, &[]);
    let line = node.second_line();
    assert_eq!(line, format!("uringmq untuned: run `uringmq tune {path}` while it is stopped\n"));
    let errors = run_badly(&["tune", path, "--quick"], 3);
    assert!(errors.contains("in use by another node"), "{errors}");
    assert!(errors.contains("stop its node first"), "{errors}");
    node.stop();

    let before = names(&data);
    let output = run(&["tune", path, "--quick", "--json"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let file = data.join("device.toml");
    assert_eq!(said["file"], file.to_str().expect("a path"));
    assert!(said["evidence"]["writes"].as_array().expect("figures").len() > 20, "{said}");
    assert!(said["explanation"][0].as_str().expect("words").contains("O_DSYNC"), "{said}");
    let mut after = names(&data);
    after.retain(|name| name != "device.toml");
    assert_eq!(before, after, "nothing else is left");

    let node = Node::start(&data, &[]);
    let line = node.second_line();
    let groups = &said["choices"]["groups_inflight_max"];
    assert!(line.starts_with("uringmq tuned: flush by "), "{line}");
    let group_kib = &said["choices"]["group_kib"];
    let pipeline = format!(", {groups} groups of at most {group_kib} KiB in flight, ");
    assert!(line.contains(&pipeline), "{line}");
    // What was chosen works.
    create_topic(&node.client().await, "t", 1).await;
    node.stop();

    // What was not chosen works, too; and the command line wins.
    let other = if said["choices"]["flush"] == "dsync" { "fdatasync" } else { "dsync" };
    let node = Node::start(&data, &["--flush", other, "--groups-inflight", "7"]);
    let line = node.second_line();
    assert_eq!(line.matches("(overruled by an option)").count(), 2, "{line}");
    create_topic(&node.client().await, "u", 1).await;
    node.kill();
    let node = Node::start(&data, &[]);
    assert_eq!(node.client().await.list_topics().await.expect("topics").len(), 2);
    node.stop();
}

#[test]
fn a_dry_run_writes_nothing_and_says_what_it_found() {
    let dir = fresh_dir();
    let data = dir.path().join("not/yet/there");
    let text = run_well(&["tune", data.to_str().expect("a path"), "--seconds", "1", "--dry-run"]);
    let text = String::from_utf8_lossy(&text);
    for said in ["Durable writes", "In words", "groups may be in flight", "nothing was written"] {
        assert!(text.contains(said), "{said:?} is not in:\n{text}");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("the directory").count(), 0, "nothing is left");
}

#[test]
fn an_interrupted_tune_leaves_nothing_behind() {
    let dir = fresh_dir();
    for (data, left) in [(dir.path().join("new"), false), (dir.path().join("there"), true)] {
        if left {
            fs::create_dir(&data).expect("a directory");
        }
        let mut tune = uringmq()
            .args(["tune", "--seconds", "600"])
            .arg(&data)
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut progress = BufReader::new(tune.stderr.take().expect("it was asked for")).lines();
        let first = progress.next().expect("a line").expect("text");
        assert!(first.starts_with("[1/"), "progress is shown: {first}");
        kill(Pid::from_raw(tune.id() as i32), Signal::SIGINT).expect("it runs");
        let status = end_of(&mut tune);
        let rest: Vec<String> = progress.map_while(Result::ok).collect();
        assert_eq!(status, Some(1), "{rest:?}");
        let rest = rest.join("\n");
        assert!(rest.contains("stopped before everything was measured"), "{rest}");
        assert_eq!(data.exists(), left);
        if left {
            assert_eq!(names(&data), Vec::<String>::new());
        }
    }
}

#[test]
fn a_directory_that_is_not_ours_or_no_disk_is_refused() {
    let dir = fresh_dir();
    fs::write(dir.path().join("letter.txt"), "dear").expect("a file");
    let errors = run_badly(&["tune", dir.path().to_str().expect("a path"), "--quick"], 3);
    assert!(errors.contains("not a uringmq data directory"), "{errors}");
    assert_eq!(names(dir.path()), ["letter.txt"]);
    if Path::new("/dev/shm").is_dir() {
        let memory = tempfile::tempdir_in("/dev/shm").expect("a directory");
        let errors = run_badly(&["tune", memory.path().to_str().expect("a path")], 3);
        assert!(errors.contains("which is memory"), "{errors}");
    }
}

#[test]
fn a_file_that_means_nothing_keeps_the_node_from_starting() {
    let dir = fresh_dir();
    let file = dir.path().join("device.toml");
    fs::write(&file, "version = 1\nchoices = 7 8\n").expect("a file");
    let path = dir.path().to_str().expect("a path");
    let errors = run_badly(&["serve", "--listen", "127.0.0.1:0", "--data", path], 3);
    assert!(errors.contains("device.toml") && errors.contains("line 2"), "{errors}");
    assert!(errors.contains("uringmq tune"), "{errors}");
    assert_eq!(names(dir.path()), ["device.toml"], "nothing was made");
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = entries.map(|entry| name(entry.expect("an entry"))).collect();
    names.sort();
    names
}

fn end_of(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return status.code();
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
