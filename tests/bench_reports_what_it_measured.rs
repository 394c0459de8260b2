//! The harness on the real binary: a smoke run writes a page that stands alone, files for
//! HdrHistogram's tools and a report that can be read back; a generator that was held up says so; a
//! named case ends with verdicts.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::node::fresh_dir;
use crate::harness::{run_badly, run_well, uringmq};

fn path(dir: &Path) -> &str {
    dir.to_str().expect("a path")
}

/// The only report below a directory.
fn report_dir(out: &Path) -> PathBuf {
    let mut all = fs::read_dir(out).expect("reports");
    let only = all.next().expect("a report").expect("a name").path();
    assert!(all.next().is_none(), "more than one report");
    only
}

fn json(text: &[u8]) -> Value {
    serde_json::from_slice(text).expect("JSON")
}

#[test]
fn as_a_page_that_opens_offline_and_as_histogram_logs() {
    let dir = fresh_dir();
    let out = dir.path().join("out");
    let arguments = ["bench", "--smoke", "--verify", "--modes", "memory,durable"];
    let more = ["--producers", "1,4", "--no-pin", "--out", path(&out)];
    let text = String::from_utf8(run_well(&[&arguments[..], &more].concat())).expect("text");
    assert!(text.contains("What a producer sees") && text.contains("report.html"), "{text}");
    let found = report_dir(&out);

    let page = fs::read_to_string(found.join("report.html")).expect("a page");
    for part in
        ["Latency by percentile", "Where the time goes", "Over time", "--modes memory,durable"]
    {
        assert!(page.contains(part), "{part:?} is not on the page");
    }
    for fetched in ["<script", "<link", "src=", "@import", "url("] {
        assert!(!page.contains(fetched), "the page fetches: {fetched}");
    }
    let log = fs::read_to_string(found.join("latency.hlog")).expect("a log");
    assert!(log.contains("#[BaseTime: "), "{log}");
    let report = json(&fs::read(found.join("report.json")).expect("a report"));
    let runs = report["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 4);
    for (run, tag) in runs.iter().zip(["memory-1-producer", "memory-4-producers"]) {
        assert!(log.contains(&format!("\nTag={tag},0.")), "{tag} is not in the log");
        let samples = run["latency"]["samples"].as_u64().expect("samples");
        let pieces = run["rounds"][0]["pieces"].as_array().expect("pieces");
        let of_pieces: u64 = pieces.iter().filter_map(|piece| piece["samples"].as_u64()).sum();
        assert_eq!(of_pieces, samples, "{tag}: pieces do not add up");
        let hgrm = fs::read_to_string(found.join(format!("{tag}.hgrm"))).expect("percentiles");
        assert!(hgrm.contains(&format!("Total count    = {samples:12}]")), "{hgrm}");
    }
}

#[test]
fn and_says_when_the_generator_could_not_keep_its_own_schedule() {
    let dir = fresh_dir();
    let out = dir.path().join("out");
    let mut child = uringmq()
        .args(["bench", "--modes", "memory", "--producers", "1", "--rate", "200", "--no-pin"])
        .args(["--rounds", "1", "--duration", "3", "--out", path(&out)])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a child");
    // The node is a process of its own: only the generator stands still.
    let generator = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    for line in BufReader::new(child.stderr.take().expect("its errors")).lines() {
        if line.expect("a line").contains("memory, 1 producer, round 1") {
            // Well after the warm-up, well before the end.
            thread::sleep(Duration::from_millis(1_000));
            kill(generator, Signal::SIGSTOP).expect("a signal");
            thread::sleep(Duration::from_millis(1_000));
            kill(generator, Signal::SIGCONT).expect("a signal");
        }
    }
    assert!(child.wait().expect("an end").success());

    let report = json(&fs::read(report_dir(&out).join("report.json")).expect("a report"));
    let run = &report["runs"][0];
    // A third of the requests was due meanwhile.
    let spoilt = run["schedule"]["spoilt_from_percent"].as_f64().expect("spoilt");
    assert!(spoilt <= 90.0, "{}", run["schedule"]);
    let late_max = run["schedule"]["late_max_us"].as_f64().expect("a number");
    assert!(late_max > 500_000.0, "it was held up for a second, and says {late_max} us");
    let notes = run["notes"].to_string();
    assert!(notes.contains("did not keep its own schedule"), "{notes}");
    // What was due meanwhile is not left out: it counts from when it was due.
    let p90 = run["latency"]["p90_us"].as_f64().expect("a number");
    assert!(p90 > 100_000.0, "p90 {p90} us");
}

#[test]
fn and_named_cases_end_with_verdicts() {
    let list = String::from_utf8(run_well(&["bench", "list"])).expect("text");
    assert!(list.contains(" 11  backlog "), "{list}");
    let errors = run_badly(&["bench", "run", "nothing"], 1);
    assert!(errors.contains("there is no case \"nothing\"; there are durable-latency"), "{errors}");

    let dir = fresh_dir();
    let out = dir.path().join("out");
    let arguments = ["bench", "run", "backlog", "--smoke", "--no-pin", "--json"];
    let goals = json(&run_well(&[&arguments[..], &["--out", path(&out)]].concat()));
    let found: Vec<&str> = goals["goals"]
        .as_array()
        .expect("goals")
        .iter()
        .filter_map(|g| g["what"].as_str())
        .collect();
    for what in [
        "produce, durable p99, 1000/s",
        "index files",
        "seek by offset, p99 over loopback",
        "device reads of a seek by time",
        "growth of resident memory",
    ] {
        assert!(found.contains(&what), "{what:?} is not among {found:?}");
    }
    let found = report_dir(&out);
    let page = fs::read_to_string(found.join("goals.html")).expect("a page");
    assert!(page.contains("goals met") && page.contains("bench run backlog --smoke"), "{page}");
    let data = fs::read_dir(&found).expect("a directory").filter_map(Result::ok);
    let left: Vec<_> = data.filter(|entry| entry.path().is_dir()).collect();
    assert!(left.is_empty(), "data is left: {left:?}");
}
