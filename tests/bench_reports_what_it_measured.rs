//! The harness on the real binary: a smoke run writes a page that stands alone, files for
//! HdrHistogram's tools and a report that can be read back; a generator that was held up says so; a
//! named case ends with verdicts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::http::admin_address;
use crate::harness::node::{Node, fresh_dir};
use crate::harness::{run_badly, run_well, uringmq};
use crate::metrics_and_health::{figure, scrape};

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
    let more = ["--producers", "1,4", "--canary", "--no-pin", "--out", path(&out)];
    let text = String::from_utf8(run_well(&[&arguments[..], &more].concat())).expect("text");
    assert!(text.contains("What a producer sees") && text.contains("report.html"), "{text}");
    assert!(text.contains(" ! smoke size"), "{text}");
    let found = report_dir(&out);

    let page = fs::read_to_string(found.join("report.html")).expect("a page");
    for part in [
        "Latency by percentile",
        "Where the time goes",
        "Over time",
        "--modes memory,durable",
        "smoke size",
    ] {
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
    assert!(report["canary"]["latency"]["samples"].as_u64() > Some(10), "{}", report["canary"]);
    for (run, tag) in runs.iter().zip(["memory-1-producer", "memory-4-producers"]) {
        assert!(log.contains(&format!("\nTag={tag},")), "{tag} is not in the log");
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
    // The node is a process of its own: only the generator stands still.
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &["--admin", "0"]);
    let admin = admin_address(&node);
    let stored = || figure(&scrape(&admin), "uringmq_produced_records_total");
    let out = dir.path().join("out");
    let mut child = uringmq()
        .args(["bench", "--modes", "memory", "--producers", "1", "--rate", "200", "--no-pin"])
        .args(["--rounds", "1", "--warmup", "300ms", "--duration", "5", "--out", path(&out)])
        // There is always room: what is late is late for nobody's sake but the generator's own. With
        // one request outstanding it would have to know who kept it waiting for that one.
        .args(["--in-flight", "512", "--connect", &node.address])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child");
    let generator = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    // Half a second after the warm-up, whenever that is; a topic is a record, too.
    let until = 0.8 * 200.0 + 1.0;
    while stored() < until {
        assert!(child.try_wait().expect("a child").is_none(), "it ended early");
        thread::sleep(Duration::from_millis(20));
    }
    kill(generator, Signal::SIGSTOP).expect("a signal");
    thread::sleep(Duration::from_secs(1));
    kill(generator, Signal::SIGCONT).expect("a signal");
    assert!(child.wait().expect("an end").success());

    let report = json(&fs::read(report_dir(&out).join("report.json")).expect("a report"));
    let run = &report["runs"][0];
    // A fifth of the requests was due meanwhile.
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

    for (case, what) in [
        ("durable-latency", "sleep: durable p99, 500/s"),
        ("group-commit", "poll: groups/s, 64 producers"),
        ("small-messages", "sleep: produced and consumed, verified"),
        ("memory-latency", "poll: durable adds to end to end p99, 5 k/s"),
        ("footprint", "empty start to first durable ack"),
        ("bulk", "new space: batches of 970 KiB, bytes/s"),
        ("6", "durable rate, 64 producers, 1000 queues"),
        ("fan-out", "CPU of a delivered GB, 32 consumers"),
        ("catch-up", "catch-up, GB/s"),
        ("restart", "0.04 GiB against 0.01 GiB"),
        ("rolls", "durable p99.9 with rolls"),
        ("shards", "two shards, 100 B, per CPU second of one"),
        ("idle-queues", "memory of each of 3000 idle queues"),
        ("12", "memory of each of 2 x 100 connections"),
        ("overload", "goodput at 2 x the peak"),
    ] {
        let (goals, _) = run_case(case);
        assert!(goals.iter().any(|goal| goal == what), "{what:?} is not among {goals:?}");
    }

    let (found, page) = run_case("backlog");
    for what in [
        "produce, durable p99, 1000/s",
        "index files",
        "seek by offset, p99 over loopback",
        "device reads of a seek by time",
        "growth of resident memory",
    ] {
        assert!(found.iter().any(|goal| goal == what), "{what:?} is not among {found:?}");
    }
    assert!(page.contains("smoke size"), "no banner: {page}");
    assert!(page.contains("goals met") && page.contains("bench run backlog --smoke"), "{page}");
}

#[test]
fn and_the_goals_are_measured_together() {
    let dir = fresh_dir();
    let out = dir.path().join("out");
    let arguments = ["bench", "--goals", "--smoke", "--no-pin", "--json", "--out", path(&out)];
    let goals = json(&run_well(&arguments));
    let goals = goals["goals"].as_array().expect("goals").iter();
    let mut cases: Vec<u64> = goals.filter_map(|goal| goal["case"].as_u64()).collect();
    cases.dedup();
    assert_eq!(cases, [1, 2, 4, 5, 15]);
    let page = fs::read_to_string(report_dir(&out).join("goals.html")).expect("a page");
    assert!(page.contains("class=banner") && page.contains("smoke size"), "{page}");
}

/// Runs a case at smoke size: what was measured, and its page.
fn run_case(case: &str) -> (Vec<String>, String) {
    let dir = fresh_dir();
    let out = dir.path().join("out");
    let arguments = ["bench", "run", case, "--smoke", "--no-pin", "--json", "--out", path(&out)];
    let goals = json(&run_well(&arguments));
    let goals = goals["goals"].as_array().expect("goals").iter();
    let what = goals.filter_map(|goal| goal["what"].as_str()).map(str::to_owned).collect();
    let found = report_dir(&out);
    let data = fs::read_dir(&found).expect("a directory").filter_map(Result::ok);
    let left: Vec<_> = data.filter(|entry| entry.path().is_dir()).collect();
    assert!(left.is_empty(), "data is left: {left:?}");
    (what, fs::read_to_string(found.join("goals.html")).expect("a page"))
}

/// A fixture of the OpenMessaging Benchmark's kind.
fn workload(name: &str) -> String {
    format!("{}/../tests/fixtures/omb/workloads/{name}.yaml", env!("CARGO_MANIFEST_DIR"))
}

fn number(result: &Value, key: &str) -> f64 {
    result[key].as_f64().unwrap_or_else(|| panic!("{key} is no number in {result}"))
}

fn sum(result: &Value, key: &str) -> f64 {
    result[key].as_array().expect(key).iter().filter_map(Value::as_f64).sum()
}

#[test]
fn and_runs_workload_files_of_the_openmessaging_benchmark_as_they_are() {
    let dir = fresh_dir();
    let out = dir.path().join("out");
    let file = workload("two-topics");
    let arguments = ["bench", "omb", &file, "--minutes", "0.05", "--ack", "memory", "--no-pin"];
    let place = ["--out", path(&out)];
    let text = String::from_utf8(run_well(&[&arguments[..], &place].concat())).expect("text");
    assert!(text.contains("producerStartRate is not known here"), "{text}");
    assert!(text.contains("2 topics of 4 queues; 6 producers, 4 consumers"), "{text}");
    let found = report_dir(&out);
    assert!(found.join("report.html").is_file() && found.join("latency.hlog").is_file());
    let result = json(&fs::read(found.join("omb.json")).expect("a result"));
    assert_eq!(result["workload"], "two topics, three producers");
    assert_eq!(result["driver"], "uringmq-memory");
    for key in
        ["publishRate", "consumeRate", "backlog", "publishLatency99pct", "endToEndLatencyMax"]
    {
        assert_eq!(result[key].as_array().expect(key).len(), 10, "{key}: {result}");
    }
    // What was produced was consumed, once; and it takes longer to a consumer than to an ack's end.
    let (produced, consumed) = (sum(&result, "publishRate"), sum(&result, "consumeRate"));
    assert!(produced > 0.0 && consumed > produced * 0.5, "{produced} {consumed}");
    assert!(consumed < produced * 1.5, "{produced} {consumed}");
    for name in ["PublishLatency", "EndToEndLatency", "PublishDelayLatency"] {
        let at = |suffix: &str| number(&result, &format!("aggregated{name}{suffix}"));
        assert!(at("50pct") > 0.0 && at("50pct") <= at("99pct") && at("99pct") <= at("Max"));
        let quantiles = &result[format!("aggregated{name}Quantiles").as_str()];
        assert!(quantiles["100.0"].is_number(), "{quantiles}");
    }
}

#[test]
fn and_a_backlog_of_such_a_file_is_built_and_drained() {
    let dir = fresh_dir();
    let out = dir.path().join("out");
    let file = workload("backlog");
    let arguments = ["bench", "omb", &file, "--minutes", "0.1", "--backlog-gib", "0.005"];
    let more = ["--ack", "memory", "--no-pin", "--json", "--out", path(&out)];
    let result = json(&run_well(&[&arguments[..], &more].concat()));
    let backlog = result["backlog"].as_array().expect("a backlog");
    let last = backlog.last().and_then(Value::as_u64).expect("a number");
    assert!(last < 2_600, "5 MiB were held back for two subscriptions: {backlog:?}");
    assert!(sum(&result, "consumeRate") > sum(&result, "publishRate") * 2.0, "{result}");

    let missing = dir.path().join("missing.yaml");
    fs::write(&missing, "topics: 1\npartitionsPerTopic: 1\nmessageSize: 10\n").expect("a file");
    let errors = run_badly(&["bench", "omb", path(&missing), "--out", path(&out)], 1);
    assert!(errors.contains("missing.yaml: producersPerTopic must be above 0"), "{errors}");
}

#[test]
fn and_offers_rates_until_the_knee() {
    let dir = fresh_dir();
    let out = dir.path().join("out");
    let arguments = ["bench", "sweep", "--ack", "memory", "--producers", "2", "--max-rate", "400"];
    let more = ["--steps", "2", "--refine", "0", "--rounds", "1", "--duration", "0.3"];
    let place = ["--p99", "5000", "--no-pin", "--json", "--out", path(&out)];
    let sweep = json(&run_well(&[&arguments[..], &more, &place].concat()));
    let points = sweep["points"].as_array().expect("points");
    let offered: Vec<_> = points.iter().filter_map(|p| p["offered_per_s"].as_f64()).collect();
    assert_eq!(offered, [200.0, 400.0]);
    for point in points {
        // Whatever the machine does meanwhile: a rate without trouble was acknowledged.
        let kept = number(point, "achieved_per_s") >= 0.98 * number(point, "offered_per_s");
        assert!(kept || !point["trouble"].is_null(), "{point}");
    }
    let page = fs::read_to_string(report_dir(&out).join("sweep.html")).expect("a page");
    assert!(page.contains("<svg") && page.contains("offered messages/s"), "{page}");
}

#[test]
fn and_compares_two_reports() {
    let dir = fresh_dir();
    let reports = ["a", "b"].map(|name| {
        let out = dir.path().join(name);
        let arguments = ["bench", "--modes", "memory", "--producers", "1", "--rounds", "3"];
        let more = ["--duration", "0.1", "--warmup", "0.05", "--no-pin", "--out", path(&out)];
        run_well(&[&arguments[..], &more].concat());
        report_dir(&out).join("report.json")
    });
    let [a, b] = reports.each_ref().map(|report| path(report));
    // Of a single round nobody can tell whether it is slower.
    let mut short = json(&fs::read(a).expect("a report"));
    short["runs"][0]["rounds"].as_array_mut().expect("rounds").truncate(1);
    let file = dir.path().join("short.json");
    fs::write(&file, short.to_string()).expect("a file");
    run_well(&["bench", "diff", a, path(&file)]);
    let errors = run_badly(&["bench", "diff", a, path(&file), "--fail-above", "50"], 1);
    assert!(errors.contains("no verdict: the second report has 1 round, 3 are needed"), "{errors}");

    let same = String::from_utf8(run_well(&["bench", "diff", a, a])).expect("text");
    assert!(same.contains("0 of 3 figures differ significantly"), "{same}");
    let both = json(&run_well(&["bench", "diff", a, b, "--json"]));
    assert_eq!(both["changes"].as_array().expect("changes").len(), 3, "{both}");

    // The same report with another p99 in every piece of its time.
    let with_p99 = |us: f64| {
        let mut report = json(&fs::read(a).expect("a report"));
        for round in report["runs"][0]["rounds"].as_array_mut().expect("rounds") {
            for piece in round["pieces"].as_array_mut().expect("pieces") {
                piece["p99_us"] = Value::from(us);
            }
        }
        let file = dir.path().join(format!("{us}.json"));
        fs::write(&file, report.to_string()).expect("a file");
        file
    };
    let (fast, slow) = (with_p99(100.0), with_p99(160.0));
    run_well(&["bench", "diff", path(&fast), path(&slow), "--fail-above", "70"]);
    let arguments = ["bench", "diff", path(&fast), path(&slow), "--fail-above", "50"];
    let errors = run_badly(&arguments, 1);
    assert!(errors.contains("memory, 1 producer: p99 got worse by"), "{errors}");
    let errors = run_badly(&["bench", "diff", a, "nowhere.json"], 1);
    assert!(errors.contains("nowhere.json"), "{errors}");
}
