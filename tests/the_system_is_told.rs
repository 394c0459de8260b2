//! What machines hear of a node at its start and its end: the service manager, whoever reads its
//! log, whoever scrapes a second node.

use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::node::{Node, fresh_dir};
use crate::harness::uringmq;

#[test]
fn a_service_manager_hears_when_it_is_ready_and_when_it_stops() {
    let dir = fresh_dir();
    // A socket's path is short, that of the build may not be.
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let mut node = uringmq()
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "off", "--segment-size", "1MiB"])
        .arg("--data")
        .arg(dir.path().join("data"))
        .env("NOTIFY_SOCKET", &path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the node starts");
    let hear = |what: &str| {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes);
        let length = length.unwrap_or_else(|error| panic!("no {what}: {error}"));
        let said = String::from_utf8_lossy(&bytes[..length]).into_owned();
        assert!(said.lines().any(|line| line == what), "{said}");
        said
    };
    let said = hear("READY=1");
    assert!(said.contains("STATUS=listening on 127.0.0.1:"), "{said}");
    kill(Pid::from_raw(node.id() as i32), Signal::SIGTERM).expect("it runs");
    hear("STOPPING=1");
    assert!(node.wait().expect("a child").success());
}

#[test]
fn a_log_in_json_is_json_to_the_last_line() {
    let dir = fresh_dir();
    // Warned of at the start: more than one percent of any disk that builds this is used.
    let options = ["--log-format", "json", "--retention-disk", "1%", "--segment-size", "1MiB"];
    let mut node = Node::start(&dir.path().join("data"), &options);
    node.signal(Signal::SIGTERM);
    assert!(node.wait().success());
    let log = node.log();
    let mut messages = Vec::new();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        for key in ["timestamp", "level", "target", "message"] {
            assert!(line[key].is_string(), "{key} of {line}");
        }
        messages.push(line["message"].as_str().expect("text").to_owned());
    }
    for says in ["oldest records go", "log opened", "SIGTERM", "everything acknowledged is on"] {
        assert!(messages.iter().any(|message| message.contains(says)), "{says}: {log}");
    }
}

#[test]
fn a_second_node_goes_without_the_admin_port_of_the_first() {
    let dir = fresh_dir();
    let options = ["--admin", "auto", "--segment-size", "1MiB"];
    let start = |name: &str| {
        let node = Node::start(&dir.path().join(name), &options);
        node.second_line();
        let says = node.second_line();
        (node, says.contains("admin: none, 127.0.0.1:9442 is in use"), says)
    };
    let (first, went_without, _) = start("first");
    // Something else on this machine may have the port already, and give it back at any time.
    if !went_without {
        let (second, went_without, says) = start("second");
        assert!(went_without, "{says}");
        second.stop();
    }
    first.stop();
}
