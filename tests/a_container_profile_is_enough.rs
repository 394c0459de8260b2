//! The seccomp profile that is shipped for containers lets a node work, and without its own rule,
//! which is all that it adds to Docker's, the node is refused and says why.
//!
//! Put in force as a container without capabilities gets it; names that the compiler of filters does
//! not know are left out, which forbids more.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, TargetArch, compile_from_json};
use serde_json::{Value, json};

use crate::doctor_says_what_is_wrong::under;
use crate::harness::node::{Node, fresh_dir};
use crate::harness::{run, run_well};

const PROFILE: &str = include_str!("../tools/packaging/seccomp.json");
const ENOSYS: u64 = 38;

fn arch() -> TargetArch {
    TargetArch::try_from(std::env::consts::ARCH).expect("a known one")
}

fn compiled(mismatch: &Value, matched: &Value, rules: &[Value]) -> Option<BpfProgram> {
    let filter = json!({ "mismatch_action": mismatch, "match_action": matched, "filter": rules });
    let text = json!({ "node": filter }).to_string();
    let programs: BTreeMap<_, _> =
        compile_from_json(text.as_bytes(), arch()).ok()?.into_iter().collect();
    programs.into_values().next()
}

/// Whether a rule holds for a container without capabilities on this machine.
fn holds(rule: &Value) -> bool {
    let ours = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let names = |list: &Value| list.as_array().is_some_and(|all| all.iter().any(|one| one == ours));
    let (needs, shuns) = (&rule["includes"], &rule["excludes"]);
    needs["caps"].is_null()
        && (needs["arches"].is_null() || names(&needs["arches"]))
        && !names(&shuns["arches"])
}

fn condition(arg: &Value) -> Value {
    let (op, value) = match arg["op"].as_str().expect("an operator") {
        "SCMP_CMP_LT" => (json!("lt"), &arg["value"]),
        "SCMP_CMP_EQ" => (json!("eq"), &arg["value"]),
        "SCMP_CMP_GT" => (json!("gt"), &arg["value"]),
        "SCMP_CMP_MASKED_EQ" => (json!({ "masked_eq": arg["value"] }), &arg["valueTwo"]),
        other => panic!("{other} is new"),
    };
    json!({ "index": arg["index"], "type": "qword", "op": op, "val": value.as_u64().unwrap_or(0) })
}

/// The profile without these system calls; of two filters the stricter answer counts.
fn profile(without: &[&str]) -> [BpfProgram; 2] {
    let profile: Value = serde_json::from_str(PROFILE).expect("JSON");
    let (allow, mut allowed, mut missing) = (json!("allow"), Vec::new(), Vec::new());
    let known =
        |rule: &Value| compiled(&json!("trap"), &allow, std::slice::from_ref(rule)).is_some();
    for rule in profile["syscalls"].as_array().expect("rules").iter().filter(|rule| holds(rule)) {
        for name in rule["names"].as_array().expect("names").iter().filter_map(Value::as_str) {
            let mut one = json!({ "syscall": name });
            if let Some(args) = rule["args"].as_array().filter(|args| !args.is_empty()) {
                one["args"] = args.iter().map(condition).collect();
            }
            match rule["action"].as_str() {
                _ if without.contains(&name) || !known(&one) => {}
                Some("SCMP_ACT_ALLOW") => allowed.push(one),
                // Who is told that there is no clone3 takes clone.
                Some("SCMP_ACT_ERRNO") if rule["errnoRet"] == ENOSYS => missing.push(one),
                other => panic!("{other:?} is new"),
            }
        }
    }
    assert!(allowed.len() > 300 && missing.len() == 1, "{} {missing:?}", allowed.len());
    allowed.extend(missing.iter().cloned());
    let forbidden = json!({ "errno": profile["defaultErrnoRet"] });
    let lists = compiled(&forbidden, &allow, &allowed).expect("a filter");
    [lists, compiled(&allow, &json!({ "errno": ENOSYS }), &missing).expect("a filter")]
}

#[test]
fn a_node_works_under_it() {
    let dir = fresh_dir();
    let data = dir.path().join("data");
    let [lists, missing] = profile(&[]);
    let node = under(&lists, || {
        under(&missing, || {
            let doctor = run(&[
                "doctor",
                "--listen",
                "127.0.0.1:0",
                "--data",
                data.to_str().expect("UTF-8"),
            ]);
            assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
            Node::start(&data, &["--segment-size", "1MiB", "--admin", "0"])
        })
    });
    let admin = crate::harness::http::admin_address(&node);
    let at = ["--server", &*node.address];
    run_well(&[&["topic", "create", "t"], &at[..]].concat());
    let file = dir.path().join("lines");
    // More than a segment, so that files are made, sealed and used again.
    std::fs::write(&file, "a line of forty bytes, or of somewhat more\n".repeat(60_000))
        .expect("a file");
    run_well(
        &[&["produce", "t", file.to_str().expect("UTF-8"), "--ack", "durable"], &at[..]].concat(),
    );
    let seen = run_well(&[&["consume", "t"], &at[..]].concat());
    assert!(seen == std::fs::read(&file).expect("it was written"), "other lines");
    assert_eq!(crate::harness::http::get(&admin, "/readyz").status, 200);
    node.stop();
}

#[test]
fn and_its_own_rule_is_needed() {
    let dir = fresh_dir();
    let data = dir.path().join("data").display().to_string();
    let [lists, missing] = profile(&["io_uring_setup", "io_uring_enter", "io_uring_register"]);
    let serve = ["serve", "--data", &data, "--listen", "127.0.0.1:0"];
    let serve = under(&lists, || under(&missing, || run(&serve)));
    let said = String::from_utf8_lossy(&serve.stderr);
    assert_eq!(serve.status.code(), Some(3), "{said}");
    assert!(said.contains("seccomp filter is in force") && said.contains("seccomp.json"), "{said}");
}
