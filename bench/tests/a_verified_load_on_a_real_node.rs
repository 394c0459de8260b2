//! A node in this process, on a real file system, under a small load whose every message is
//! checked; and a server that stalls, which must show in the percentiles.

#![allow(clippy::unwrap_used, reason = "a test, helpers included")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use bench::load::control::Control;
use bench::load::{self, Dialect, Load, Messages, Outcome};
use bench::report::Waiting;
use net::node::{Node, NodeOptions};
use net::wire::AckLevel;

fn load(addr: SocketAddr, messages: Messages) -> Load {
    Load {
        addr,
        dialect: Dialect::Native,
        topics: vec![0],
        queues: 1,
        ack: AckLevel::Durable,
        producers: 1,
        in_flight: 1,
        batch: 1,
        messages: Arc::new(messages),
        rate_per_s: None,
        consumers: 0,
        subscriptions: 1,
        stamps: false,
        verify: true,
        timings: true,
        waiting: Waiting::Sleep,
        cpu: None,
        warm_up: Duration::from_millis(20),
        measure: Duration::from_millis(150),
        broker_pid: None,
    }
}

/// Runs a load on a topic of its own.
fn run(node: &Node, name: &str, load: Load) -> Outcome {
    let mut control = Control::connect(node.address()).unwrap();
    let topic = control.create_topic(name, load.queues, load.ack).unwrap();
    let load = Load { topics: vec![topic], ..load };
    load::run(&load, &AtomicBool::new(false)).unwrap()
}

fn assert_clean(what: &str, outcome: &Outcome) {
    let verified = outcome.verified.unwrap();
    assert!(verified.is_clean(), "{what}: {verified:?}");
    assert!(verified.acknowledged > 0, "{what}: nothing was acknowledged");
    assert_eq!(verified.consumed, verified.acknowledged, "{what}");
    assert_eq!(outcome.unsent, 0, "{what}");
}

#[test]
fn every_acknowledged_message_is_consumed_once_in_order_as_it_was_sent() {
    // Not the system's temporary directory, which may be in memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut options = NodeOptions::new(dir.path().join("data"));
    options.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    options.format.segment_bytes = 16 << 20;
    let node = Node::start(options).unwrap();
    let addr = node.address();
    let input = dir.path().join("lines");
    std::fs::write(&input, "one\n\nthree, which is longer\n").unwrap();

    let generated = || load(addr, Messages::generated(100));
    let lines = || load(addr, Messages::lines(Path::new(&input)).unwrap());
    for ack in [AckLevel::Memory, AckLevel::Written, AckLevel::Durable] {
        let name = ack.name();
        assert_clean(name, &run(&node, name, Load { ack, ..generated() }));
    }
    let many = Load { producers: 5, queues: 3, in_flight: 4, batch: 7, ..generated() };
    assert_clean("many", &run(&node, "many", many.clone()));
    let at_once = Load { consumers: 2, ..many.clone() };
    assert_clean("at-once", &run(&node, "at-once", at_once));
    let paced = Load { rate_per_s: Some(700.0), waiting: Waiting::Poll, ..many };
    assert_clean("paced", &run(&node, "paced", paced));
    assert_clean("lines", &run(&node, "lines", Load { batch: 2, producers: 2, ..lines() }));

    node.waker().stop();
    node.join().unwrap();
}

/// Answers produce frames as the bare server does, and stalls once.
fn stalling_server(stall: Duration) -> SocketAddr {
    const STALL_AT: u32 = 60;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for request in 0.. {
            let mut length = [0; 4];
            if stream.read_exact(&mut length).is_err() {
                return;
            }
            let mut rest = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut rest).unwrap();
            if request == STALL_AT {
                thread::sleep(stall);
            }
            let mut reply = 28_u32.to_be_bytes().to_vec();
            reply.extend_from_slice(&rest[..28]);
            if stream.write_all(&reply).is_err() {
                return;
            }
        }
    });
    addr
}

/// 1000 a second for 400 ms, with a stall of 200 ms: half of all requests are late, by up to that.
/// A closed loop sees one slow request and calls the rest fast.
#[test]
fn a_stall_shows_in_the_percentiles_of_an_open_loop() {
    let stall = Duration::from_millis(200);
    let bare = |rate_per_s| Load {
        dialect: Dialect::Bare,
        verify: false,
        timings: true,
        rate_per_s,
        warm_up: Duration::ZERO,
        measure: Duration::from_millis(400),
        ..load(stalling_server(stall), Messages::generated(64))
    };
    let outcome = load::run(&bare(Some(1000.0)), &AtomicBool::new(false)).unwrap();
    assert_eq!(outcome.latency.len(), 400, "every due request counts");
    let quantile = |q| Duration::from_nanos(outcome.latency.value_at_quantile(q));
    assert!(quantile(0.99) > stall * 9 / 10, "p99 {:?}", quantile(0.99));
    assert!(quantile(0.70) > stall / 4, "p70 {:?}", quantile(0.70));

    let closed = load::run(&bare(None), &AtomicBool::new(false)).unwrap();
    let slow = closed.latency.count_between(stall.as_nanos() as u64 / 4, u64::MAX);
    assert!(slow <= 2, "{slow} slow requests of {} in a closed loop", closed.latency.len());
}
