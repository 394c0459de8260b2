//! What the harness cannot measure it refuses at once: with the exit code that says whose fault it
//! is, in a line that says what to change, and without leaving anything behind.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::harness::node::fresh_dir;
use crate::harness::{run, run_badly, run_well};

/// Runs `bench` in a way that must fail within seconds and leave no directory.
fn refused(arguments: &[&str], code: i32) -> String {
    let dir = fresh_dir();
    let out = dir.path().join("out");
    let place = ["--no-pin", "--out", out.to_str().expect("a path")];
    let began = Instant::now();
    let errors = run_badly(&[&["bench"], arguments, &place].concat(), code);
    assert!(began.elapsed() < Duration::from_secs(20), "{arguments:?}: it was tried");
    assert!(!out.exists(), "{arguments:?} leaves a directory");
    assert!(!errors.contains("panicked") && errors.len() < 1_000, "{arguments:?}: {errors}");
    errors
}

#[test]
fn options_that_mean_nothing() {
    for (option, value, why) in [
        ("--rate", "0", "from 0.01 to"),
        ("--rate", "1e-300", "from 0.01 to"),
        ("--rate", "nan", "from 0.01 to"),
        ("--duration", "0", "from 1ms to 24h"),
        ("--duration", "1e300", "up to 24h"),
        ("--size", "0", "at least 1 byte"),
        ("--size", "2MiB", "to 1MiB"),
        ("--producers", "0", "1..=4096"),
        ("--batch", "0", "1.."),
        ("--in-flight", "0", "1..=65536"),
        ("--queues", "0", "1.."),
        ("--rounds", "0", "1.."),
    ] {
        let errors = refused(&[&format!("{option}={value}")], 2);
        assert!(errors.contains(option) && errors.contains(why), "{option} {value}: {errors}");
    }
    let sweep = refused(&["sweep", "--p99", "0"], 2);
    assert!(sweep.contains("--p99"), "{sweep}");
}

#[test]
fn options_that_do_not_go_together() {
    for (arguments, why) in [
        (&["--size", "1KiB", "--batch", "2000"][..], "a request takes up to"),
        (&["--rate", "0.02", "--duration", "1s"], "no request is due"),
        (&["--size", "8", "--verify"], "at least 16 bytes"),
        (&["--goals", "--case", "3"], "the cases are 1, 2, 4, 5 and 15"),
        (&["run", "nothing"], "there is no case \"nothing\"; there are durable-latency"),
    ] {
        let errors = refused(arguments, 2);
        assert!(errors.contains(why), "{arguments:?}: {errors}");
    }
}

#[test]
fn a_node_that_is_not_there() {
    // A port that was free a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    drop(listener);
    for arguments in [&["--smoke"][..], &["sweep"]] {
        for option in ["--connect", "--server"] {
            let errors = refused(&[arguments, &[option, &address]].concat(), 3);
            assert!(errors.contains(&address) && errors.contains("uringmq serve"), "{errors}");
        }
    }
}

#[test]
fn and_every_help_says_what_the_exit_codes_mean() {
    for command in ["", "list", "run", "sweep", "omb", "diff"] {
        let arguments: Vec<&str> =
            ["bench", command, "--help"].into_iter().filter(|a| !a.is_empty()).collect();
        let help = String::from_utf8(run_well(&arguments)).expect("text");
        assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{command}: {help}");
    }
}

#[test]
fn and_a_missing_report_is_named_once() {
    let output = run(&["bench", "diff", "nowhere.json", "nowhere.json"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(errors.matches("nowhere.json").count(), 1, "{errors}");
}
