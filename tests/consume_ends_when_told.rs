//! `consume --follow` goes on until it is told to stop, and a reader that has gone is no error.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::node::{Node, fresh_dir};
use crate::harness::{run_well, uringmq};

#[test]
fn by_a_signal_or_by_its_reader() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    run_well(&["topic", "create", "t", "--server", &node.address]);
    let file = dir.path().join("lines");
    // Far more than a pipe holds.
    std::fs::write(&file, "a line of some length\n".repeat(100_000)).expect("a file");
    run_well(&["produce", "t", file.to_str().expect("a path"), "--server", &node.address]);

    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (mut child, mut out) = follow(&node, "99990");
        for _ in 0..10 {
            assert_eq!(line(&mut out), "a line of some length\n");
        }
        kill(Pid::from_raw(child.id() as i32), signal).expect("it is running");
        assert_eq!(end(&mut child).code(), Some(0), "{signal}");
    }
    let (mut child, mut out) = follow(&node, "earliest");
    line(&mut out);
    drop(out);
    assert_eq!(end(&mut child).code(), Some(0), "its reader has gone");
    node.stop();
}

fn follow(node: &Node, from: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = uringmq()
        .args(["consume", "t", "--follow", "--from", from, "--server", &node.address])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let out = child.stdout.take().expect("it was asked for");
    (child, BufReader::new(out))
}

fn line(out: &mut impl BufRead) -> String {
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    line
}

fn end(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return status;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    panic!("it does not end");
}
