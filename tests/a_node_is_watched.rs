//! What people look at while a node works: `stats --watch` and `--hgrm`, and `top` on a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use net::client::Record;
use nix::pty::{Winsize, openpty};
use serde_json::Value;

use crate::harness::node::{Node, create_topic, fresh_dir, own_address};
use crate::harness::{run_badly, run_well, uringmq};

/// Of a terminal: lines and columns.
type Size = (u16, u16);
const LARGE: Size = (50, 130);
/// As terminals have been for long.
const USUAL: Size = (24, 80);
const SOON: Duration = Duration::from_secs(20);

fn fill(node: &Node, dir: &std::path::Path) {
    let at = ["--server", &*node.address];
    run_well(&[&["topic", "create", "orders"], &at[..]].concat());
    let file = dir.join("lines");
    std::fs::write(&file, "a line\n".repeat(1000)).expect("a file");
    let path = file.to_str().expect("a path");
    run_well(&[&["produce", "orders", path], &at[..]].concat());
    run_well(&[&["consume", "orders", "--group", "billing", "-n", "400"], &at[..]].concat());
}

#[test]
fn look_by_look_and_as_distributions() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    fill(&node, dir.path());
    let at = ["--server", &*node.address];
    let run = |args: &[&str]| String::from_utf8(run_well(&[args, &at[..]].concat())).expect("text");
    let watched = run(&["stats", "--watch", "20ms", "--count", "3", "--json"]);
    let looks: Vec<Value> =
        watched.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(looks.len(), 3);
    for look in looks {
        assert!(look["seconds"].as_f64() >= Some(0.02), "{look}");
        // Nothing was produced meanwhile; what was before does not count.
        assert_eq!(look["histograms"].as_array().map(Vec::len), Some(0), "{look}");
        let counters = look["counters"].as_array().expect("counters");
        let records = counters.iter().find(|counter| counter["name"] == "produced_records");
        let records = records.expect("the counter");
        assert_eq!((&records["grown"], &records["value"]), (&0.into(), &1001.into()));
    }
    let shown = run(&["stats", "--watch", "20ms", "-n", "2"]);
    assert_eq!(shown.matches("the last 0.").count(), 2, "{shown}");
    // Asking is work, which is a share of the time and no number of nanoseconds.
    let busy = shown.lines().find(|line| line.starts_with("pump_busy ")).expect("a line");
    assert!(busy.contains("reactor 0") && busy.contains(" % ") && busy.ends_with(" us"), "{busy}");
    assert!(!shown.contains("_nanos") && !shown.contains("pump_turns/"), "{shown}");
    let by_shard = run(&["stats", "--per-shard"]);
    let heading = by_shard.lines().find(|line| line.starts_with("operation")).expect("a heading");
    assert!(heading.contains("shard"), "{by_shard}");
    let by_shard: Value =
        serde_json::from_str(&run(&["stats", "--per-shard", "--json"])).expect("JSON");
    let shards = by_shard["histograms"].as_array().expect("histograms").iter();
    assert!(
        shards.clone().count() > 0 && shards.clone().all(|one| one["shard"] == 0),
        "{by_shard}"
    );

    let latencies = dir.path().join("latencies");
    let written = run(&["stats", "--hgrm", latencies.to_str().expect("a path")]);
    assert!(written.contains("produce-device.hgrm"), "{written}");
    for path in written.lines() {
        let text = std::fs::read_to_string(path).expect("it was written");
        assert!(text.trim_start().starts_with("Value     Percentile TotalCount"), "{text}");
        assert!(text.contains("#[Max"), "{text}");
    }
    let errors = run_badly(&[&["top"], &at[..]].concat(), 2);
    assert!(errors.contains("stats --watch"), "{errors}");
    node.stop();
}

/// A terminal with `top` in it.
struct Terminal {
    child: Child,
    keys: File,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    fn open(address: &str, (lines, columns): Size) -> Self {
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).expect("a terminal");
        let end = || pty.slave.try_clone().expect("another descriptor");
        let mut command = uringmq();
        command.args(["top", "--every", "50ms", "--server", address]).env("TERM", "xterm-256color");
        command.stdin(Stdio::from(end())).stdout(Stdio::from(end())).stderr(Stdio::from(end()));
        let child = command.spawn().expect("the binary starts");
        drop((pty.slave, command));
        let count = |number| NonZero::new(number).expect("a terminal has lines and columns");
        let master: OwnedFd = pty.master;
        let keys = File::from(master.try_clone().expect("another descriptor"));
        let screen = Arc::new(Mutex::new(vt100::Parser::new(count(lines), count(columns), 0)));
        let (mut shown, parser) = (File::from(master), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 65536];
            // It fails when nobody has the other end open any more.
            while let Ok(count @ 1..) = shown.read(&mut bytes) {
                parser.lock().expect("the screen").process(&bytes[..count]);
            }
        });
        Self { child, keys, screen }
    }

    fn text(&self) -> String {
        self.screen.lock().expect("the screen").screen().contents()
    }

    fn wait_for(&self, texts: &[&str]) {
        let deadline = Instant::now() + SOON;
        while !texts.iter().all(|text| self.text().contains(text)) {
            assert!(Instant::now() < deadline, "not all of {texts:?} on\n{}", self.text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn press(&mut self, key: &[u8]) {
        self.keys.write_all(key).expect("it reads");
    }

    /// Types a key and waits for the end.
    fn ends_by(&mut self, key: &[u8]) -> bool {
        self.press(key);
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status.success();
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn live_in_a_terminal_through_a_restart() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let address = own_address();
    let node = Node::start(&data, &["--listen", &address]);
    let mut terminal = Terminal::open(&address, LARGE);
    terminal.wait_for(&["rates", "messages/s", "up", "time on the node", "(q quits"]);
    fill(&node, dir.path());
    terminal.wait_for(&["billing", "orders/0", "600"]);
    // It works for those who look at it, so it is busy, at least a little; its device need not be.
    terminal.wait_for(&["device", "% reading", "% writing", "pumps", "% busy"]);
    let pumps = |text: &str| -> Option<f64> {
        let line = text.lines().find(|line| line.contains("pumps"))?;
        line.split_whitespace().find_map(|word| word.parse().ok())
    };
    let deadline = Instant::now() + SOON;
    while pumps(&terminal.text()).is_none_or(|share| share <= 0.0 || share > 110.0) {
        assert!(Instant::now() < deadline, "no share of time on\n{}", terminal.text());
        std::thread::sleep(Duration::from_millis(5));
    }
    node.kill();
    terminal.wait_for(&["cannot connect"]);
    let node = Node::start(&data, &["--listen", &address]);
    terminal.wait_for(&["  up", "billing"]);
    assert!(terminal.ends_by(b"q"), "{}", terminal.text());
    let deadline = Instant::now() + SOON;
    while terminal.screen.lock().expect("the screen").screen().alternate_screen() {
        assert!(Instant::now() < deadline, "the terminal is not given back");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut terminal = Terminal::open(&address, LARGE);
    terminal.wait_for(&["rates"]);
    assert!(terminal.ends_by(b"\x03"), "Ctrl-C");
    node.stop();
}

/// A usual terminal is small: while a node has much to say, all of it can be seen there.
#[tokio::test]
async fn live_in_a_small_terminal_under_load() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    let client = node.client().await;
    create_topic(&client, "orders", 8).await;
    for queue in 0..8 {
        let at = ["--server", &*node.address];
        let queue = queue.to_string();
        let line = dir.path().join("line");
        std::fs::write(&line, "a line\n").expect("a file");
        let line = line.to_str().expect("a path");
        run_well(&[&["produce", "orders", line, "--queue", &queue], &at[..]].concat());
    }
    let at = ["--server", &*node.address];
    run_well(&[&["consume", "orders", "--group", "billing"], &at[..]].concat());
    // Somebody produces and reads for as long as it is looked at.
    let load = tokio::spawn(async move {
        let producer = client.producer("orders").build().await.expect("it is there");
        let mut reader = client.consumer("orders").build().await.expect("it is there");
        loop {
            producer.send(&Record::new(b"more")).await.expect("stored");
            reader.poll().await.expect("read");
        }
    });
    let address = node.address.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let mut terminal = Terminal::open(&address, USUAL);
        terminal.wait_for(&[
            "produce",
            "flush_wait",
            "billing",
            "orders/",
            "MiB/s written",
            "p99.9",
        ]);
        terminal.wait_for(&["fetches/s", "repeated/s", "% disk used", "% busy", "of 8)"]);
        let lines = terminal.text();
        assert!(!lines.contains("at most"), "there is no room for a graph:\n{lines}");
        // To the end of the first table, then of the second.
        terminal.press(b"\x1b[F");
        terminal.wait_for(&["fetch "]);
        terminal.press(b"\t\x1b[F");
        terminal.wait_for(&["-8 of 8)"]);
        assert!(terminal.ends_by(b"q"), "{}", terminal.text());
    });
    looked.await.expect("it was looked at");
    assert!(!load.is_finished(), "the load went on");
    load.abort();
    assert!(load.await.expect_err("it was stopped").is_cancelled());
    node.stop();
}
