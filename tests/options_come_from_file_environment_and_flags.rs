//! One option has one meaning, wherever it is said: in a file, in the environment, as a flag; and a
//! node runs with what `config print` shows.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::node::{Node, fresh_dir};
use crate::harness::{run, run_badly, run_well, uringmq};

fn printed(file: &Path, args: &[&str], variable: (&str, &str)) -> Value {
    let output = uringmq()
        .args(["config", "print", "--json", "--config"])
        .arg(file)
        .args(args)
        .env(variable.0, variable.1)
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn value<'a>(settings: &'a Value, key: &str) -> (&'a Value, &'a Value) {
    let all = settings.as_array().expect("settings").iter();
    let setting = all.clone().find(|setting| setting["key"] == key).expect("the option");
    (&setting["value"], &setting["source"]["kind"])
}

#[test]
fn and_the_nearer_one_wins() {
    let dir = fresh_dir();
    let file = dir.path().join("mq.toml");
    fs::write(&file, "retention = \"48h\"\nsegment_size = \"1MiB\"\nwait = \"sleep\"\n").unwrap();
    let settings = printed(&file, &["--retention", "24h"], ("URINGMQ_WAIT", "hybrid"));
    assert_eq!(value(&settings, "retention"), (&"24h".into(), &"flag".into()));
    assert_eq!(value(&settings, "wait"), (&"hybrid".into(), &"environment".into()));
    assert_eq!(value(&settings, "segment_size"), (&"1MiB".into(), &"file".into()));
    assert_eq!(value(&settings, "shards"), (&"auto".into(), &"default".into()));
    // What is printed can be given back and says the same.
    for explain in [&[][..], &["--explain"]] {
        let path = file.to_str().unwrap();
        let text = run_well(&[&["config", "print", "--config", path], explain].concat());
        let again = dir.path().join("again.toml");
        fs::write(&again, &text).unwrap();
        run_well(&["config", "check", again.to_str().unwrap()]);
        let settings = printed(&again, &[], ("URINGMQ_LISTEN", "127.0.0.1:0"));
        assert_eq!(value(&settings, "retention"), (&"48h".into(), &"file".into()));
        assert_eq!(value(&settings, "wait"), (&"sleep".into(), &"file".into()));
    }
}

#[test]
fn and_a_node_runs_with_them() {
    let dir = fresh_dir();
    let (file, data) = (dir.path().join("mq.toml"), dir.path().join("data"));
    fs::write(&file, "segment_size = \"2MiB\"\nshards = 2\nwait = \"sleep\"\n").unwrap();
    let node = Node::start(&data, &["--config", file.to_str().unwrap(), "--shards", "3"]);
    node.stop();
    let format = fs::read_to_string(data.join("FORMAT")).unwrap();
    assert!(format.contains("shards = 3"), "{format}");
    assert!(format.contains(&format!("segment_bytes = {}", 2 << 20)), "{format}");
}

#[test]
fn and_more_shards_than_a_directory_has_are_not_ignored() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let path = data.to_str().expect("a path");
    Node::start(&data, &["--shards", "2"]).stop();
    let at = ["serve", "--data", path, "--listen", "127.0.0.1:0", "--admin", "off", "--shards"];
    let refused = run_badly(&[&at[..], &["5"]].concat(), 3);
    assert!(refused.contains("was made with 2") && refused.contains("shards add"), "{refused}");
    assert!(refused.contains("add 3"), "{refused}");
    // It has at least as many: there is nothing to be done.
    for shards in ["2", "1", "auto"] {
        Node::start(&data, &["--shards", shards]).stop();
    }
    run_well(&["shards", "add", path, "3"]);
    Node::start(&data, &["--shards", "5"]).stop();
}

#[test]
fn and_what_is_wrong_with_a_file_is_said_with_its_line() {
    let dir = fresh_dir();
    let file = dir.path().join("mq.toml");
    let path = file.to_str().unwrap();
    fs::write(&file, "# mine\nretension = \"48h\"\nwait = \"pol\"\n").unwrap();
    let data = dir.path().join("data");
    let check = run_badly(&["config", "check", path], 2);
    let serve = run_badly(&["serve", "--config", path, "--data", data.to_str().unwrap()], 2);
    for said in [check, serve] {
        assert!(said.contains(&format!("{path}:2:1: there is no option \"retension\"")), "{said}");
        assert!(said.contains("did you mean \"retention\"?"), "{said}");
        assert!(said.contains(&format!("{path}:3:8: wait = \"pol\"")), "{said}");
    }
    assert!(!data.exists());
    fs::write(&file, "listen = \"0.0.0.0:9440\"\n").unwrap();
    let check = run_badly(&["config", "check", path], 2);
    let serve = run_badly(&["serve", "--config", path, "--data", data.to_str().unwrap()], 2);
    assert!(check.contains("allow_remote") && serve.contains("allow_remote"), "{check}{serve}");
    fs::write(&file, "listen = 5\n").unwrap();
    let number = run_badly(&["config", "check", path], 2);
    assert!(number.contains(":1:10: listen = 5: "), "{number}");
    let none = dir.path().join("none");
    run_badly(&["config", "check", none.to_str().unwrap()], 3);
    run_badly(&["serve", "--config", none.to_str().unwrap()], 3);
    let flag = run_badly(&["serve", "--retension", "48h"], 2);
    assert!(flag.contains("--retention"), "{flag}");
    assert_eq!(run(&["serve", "--retention", "72"]).status.code(), Some(2));
}

#[test]
fn and_a_variable_that_is_mistyped_is_not_passed_over_in_silence() {
    let printed = |variables: &[(&str, &str)]| {
        let variables = variables.iter().copied();
        let output = uringmq().args(["config", "print"]).envs(variables).output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let said = printed(&[("URINGMQ_WIAT", "poll"), ("URINGMQ_WAIT", "sleep")]);
    assert_eq!(said, "uringmq: there is no variable URINGMQ_WIAT; did you mean URINGMQ_WAIT?\n");
    assert_eq!(printed(&[("URINGMQ_SERVICE_HOST", "10.0.0.1")]), "", "Kubernetes made it");
}
