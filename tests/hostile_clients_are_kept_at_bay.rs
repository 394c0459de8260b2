//! Clients that are too many, silent, half done, slow or in a hurry: each meets its limit, is told
//! so where it can be, and the others do not notice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use net::client::{Client, ClientError, ErrorCode, Producer, Record, RetryPolicy};
use net::wire::{Fetch, Request};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};

use crate::harness::node::{Node, create_topic, fresh_dir, has_two_cpus};
use crate::harness::raw::{Raw, frame};

const SOON: Duration = Duration::from_secs(20);

async fn counter(client: &Client, name: &str) -> u64 {
    let stats = client.stats(false).await.expect("statistics");
    stats.counters.iter().filter(|counter| counter.name == name).map(|counter| counter.value).sum()
}

async fn until(client: &Client, name: &str, is_so: impl Fn(u64) -> bool) {
    let begun = Instant::now();
    loop {
        let value = counter(client, name).await;
        if is_so(value) {
            return;
        }
        assert!(begun.elapsed() < SOON, "{name} is {value}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn producer(client: &Client) -> Producer {
    let builder = client.producer("t").idempotent(false).retry(RetryPolicy::NONE);
    builder.build().await.expect("the topic is there")
}

/// Raises the limit of open files of the test itself.
fn many_files() -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the hard one is allowed");
    hard
}

#[tokio::test]
async fn connections_beyond_the_limits_are_told_so_whichever_reactor_has_them() {
    let reactors = if has_two_cpus() { "2" } else { "1" };
    for (limit, value) in [("--connections-max", "4"), ("--connections-per-address", "4")] {
        let dir = fresh_dir();
        let options = [limit, value, "--reactors", reactors];
        let node = Node::start(&dir.path().join("data"), &options);
        let mut guests = Vec::new();
        for _ in 0..4 {
            guests.push(node.client().await);
        }
        let refused = Client::connect(&*node.address).await.expect_err("one too many");
        let ClientError::Server { code, retry_after_ms, message, .. } = &refused else {
            panic!("{refused:?}")
        };
        assert_eq!(*code, ErrorCode::TooManyConnections, "{message}");
        assert!(*retry_after_ms > 0 && message.contains('4'), "{message}");
        assert!(counter(&guests[0], "refused_connections").await >= 1);
        // Whoever leaves makes room, on whichever reactor it was.
        for _ in 0..3 {
            drop(guests.pop());
            let begun = Instant::now();
            guests.push(loop {
                match Client::connect(&*node.address).await {
                    Ok(client) => break client,
                    Err(error) => assert!(begun.elapsed() < SOON, "no room again: {error}"),
                }
            });
        }
        guests[0].ping(b"undisturbed").await.expect("a pong");
        node.stop();
    }
}

#[tokio::test]
async fn the_silent_and_the_half_done_are_cut_off_but_not_those_who_wait() {
    let dir = fresh_dir();
    let deadlines =
        ["--hello-deadline", "200ms", "--frame-deadline", "200ms", "--idle-deadline", "400ms"];
    let node = Node::start(&dir.path().join("data"), &deadlines);
    let client = node.client().await;
    let topic = create_topic(&client, "t", 1).await;
    let mut silent = Raw::connect(&node.address);
    let mut half = Raw::connect(&node.address);
    half.send(&[0, 0, 0, 24, 1]);
    let mut half_later = Raw::greeted(&node.address);
    half_later.send(&[0, 0, 0]);
    let mut idle = Raw::greeted(&node.address);
    let mut waiting = Raw::greeted(&node.address);
    let fetch = Fetch {
        topic,
        queue: 0,
        offset: 0,
        epoch: 0,
        bytes_max: 1 << 20,
        bytes_min: 1,
        wait_max_ms: 1500,
    };
    waiting.send(&frame(7, &Request::Fetch(fetch)));
    for raw in [&mut silent, &mut half, &mut half_later, &mut idle] {
        raw.expect_closed();
    }
    waiting.frame();
    waiting.expect_open();
    let client = node.client().await;
    assert!(counter(&client, "cut_connections").await >= 4);
    node.stop();
}

/// Asks for more and more, and takes nothing.
fn greedy(address: &str, topic: u32) -> Raw {
    let mut raw = Raw::greeted(address);
    let (queue, offset, epoch) = (0, 0, 0);
    let (bytes_max, bytes_min, wait_max_ms) = (1 << 20, 1, 0);
    let fetch = Fetch { topic, queue, offset, epoch, bytes_max, bytes_min, wait_max_ms };
    let frames: Vec<u8> = (0..64).flat_map(|n| frame(n, &Request::Fetch(fetch))).collect();
    raw.send(&frames);
    raw
}

#[tokio::test]
async fn slow_readers_are_cut_off_and_the_others_go_on() {
    let dir = fresh_dir();
    let options = ["--slow-reader-deadline", "500ms"];
    let node = Node::start(&dir.path().join("data"), &options);
    let client = node.client().await;
    let topic = create_topic(&client, "t", 1).await;
    let sends = producer(&client).await;
    let value = vec![7; 512 << 10];
    for _ in 0..16 {
        sends.send(&Record::new(&value)).await.expect("an ack");
    }
    let readers: Vec<_> = (0..16).map(|_| greedy(&node.address, topic)).collect();
    until(&client, "cut_connections", |cut| cut >= 16).await;
    sends.send(&Record::new(&value)).await.expect("an ack");
    drop(readers);
    until(&client, "connections", |open| open == 1).await;
    node.stop();
}

#[tokio::test]
async fn ten_thousand_silent_connections_cost_little_and_disturb_nobody() {
    // Their other ends are in this process.
    let count = usize::try_from(many_files() / 2).expect("a number").min(10_000);
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    let client = node.client().await;
    create_topic(&client, "t", 1).await;
    let sends = producer(&client).await;
    sends.send(&Record::new(b"before")).await.expect("an ack");
    let before = node.resident_bytes();
    let mut guests = Vec::new();
    for _ in 0..count {
        guests.push(Raw::greeted(&node.address));
    }
    until(&client, "connections", |open| open == count as u64 + 1).await;
    let each = node.resident_bytes().saturating_sub(before) / count as u64;
    println!("{count} connections: {each} bytes each");
    assert!(each <= 4096, "{each} bytes each");
    for _ in 0..100 {
        sends.send(&Record::new(b"meanwhile")).await.expect("an ack");
    }
    if let Some(guest) = guests.last_mut() {
        guest.expect_open();
    }
    drop(guests);
    until(&client, "connections", |open| open == 1).await;
    node.stop();
}

#[tokio::test]
async fn storms_of_connections_pass() {
    let dir = fresh_dir();
    let reactors = if has_two_cpus() { "2" } else { "1" };
    let node = Node::start(&dir.path().join("data"), &["--reactors", reactors]);
    // One connection, whatever it asks for.
    let client = node.client_at(0).await;
    create_topic(&client, "t", 2).await;
    let sends = producer(&client).await;
    let ends = Arc::new(AtomicBool::new(false));
    let storms: Vec<_> = (0..4)
        .map(|kind| {
            let (address, ends) = (node.address.clone(), Arc::clone(&ends));
            std::thread::spawn(move || storm(&address, kind, &ends))
        })
        .collect();
    let begun = Instant::now();
    let mut acks = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        sends.send(&Record::new(b"in the storm")).await.expect("an ack");
        acks += 1;
    }
    ends.store(true, Ordering::Relaxed);
    let came: u32 = storms.into_iter().map(|storm| storm.join().expect("a storm")).sum();
    println!("{came} connections came and went beside {acks} acknowledgements");
    assert!(came > 100 && acks > 20, "{came} {acks}");
    until(&client, "connections", |open| open == 1).await;
    node.stop();
}

/// Connections that close at once, or after a part of a Hello, or are reset; how many there were.
fn storm(address: &str, kind: u32, ends: &AtomicBool) -> u32 {
    let mut came = 0;
    while !ends.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(address) else { continue };
        match kind {
            0 => {}
            1 => drop(stream.write_all(&[0, 0, 0, 24, 1, 0])),
            2 => {
                let reset = nix::libc::linger { l_onoff: 1, l_linger: 0 };
                setsockopt(&stream, sockopt::Linger, &reset).expect("a socket");
            }
            _ => drop(Raw::try_greeted(address)),
        }
        came += 1;
    }
    came
}

#[tokio::test]
async fn a_node_out_of_descriptors_refuses_and_recovers() {
    let dir = fresh_dir();
    let options = ["--segment-size", "1MiB"];
    let node = Node::start_with_files(&dir.path().join("data"), &options, 256);
    let client = node.client().await;
    create_topic(&client, "t", 1).await;
    // It tries again: a segment may fill up before the next one is made.
    let sends = client.producer("t").build().await.expect("the topic is there");
    let mut flood: Vec<_> =
        (0..400).filter_map(|_| TcpStream::connect(&node.address).ok()).collect();
    until(&client, "refused_connections", |refused| refused > 0).await;
    // Some are left to the logs: segments can be made and sealed.
    let value = vec![1; 64 << 10];
    for _ in 0..64 {
        sends.send(&Record::new(&value)).await.expect("an ack");
    }
    for stream in flood.drain(..) {
        drop(stream);
    }
    until(&client, "connections", |open| open == 1).await;
    node.client().await.ping(b"room again").await.expect("a pong");
    assert!(node.log().contains("RLIMIT_NOFILE"), "{}", node.log());
    node.stop();
}

#[tokio::test]
async fn one_noisy_connection_does_not_starve_its_shard() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    let client = node.client().await;
    create_topic(&client, "t", 1).await;
    let ends = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(Mutex::new(0_u64));
    let noise = {
        let (address, ends, asked) = (node.address.clone(), Arc::clone(&ends), Arc::clone(&asked));
        std::thread::spawn(move || noise(&address, &ends, &asked))
    };
    while *asked.lock().expect("the noise lives") < 100_000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let sends = producer(&client).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let begun = Instant::now();
        sends.send(&Record::new(b"quiet")).await.expect("an ack");
        slowest = slowest.max(begun.elapsed());
    }
    ends.store(true, Ordering::Relaxed);
    noise.join().expect("the noise ends");
    let asked = *asked.lock().expect("the noise has ended");
    println!("slowest of 50 beside {asked} pings: {slowest:?}");
    // A share of the turn, not a matter of luck: with the other's backlog before it, it would wait
    // for megabytes of pings.
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    node.stop();
}

/// Pings as fast as the node takes them, and reads what comes back.
fn noise(address: &str, ends: &AtomicBool, asked: &Mutex<u64>) {
    const PINGS: u64 = 1000;
    let pings: Vec<u8> = (0..PINGS as u32).flat_map(|n| frame(n, &Request::Ping(b""))).collect();
    let mut hello = TcpStream::connect(address).expect("the node takes connections");
    let mut reader = hello.try_clone().expect("a second descriptor");
    let mut buffer = vec![0; 1 << 20];
    hello.write_all(&Raw::hello()).expect("the node reads");
    assert!(reader.read(&mut buffer).is_ok_and(|it| it > 0), "the node answers");
    let drain =
        std::thread::spawn(move || while reader.read(&mut buffer).is_ok_and(|it| it > 0) {});
    while !ends.load(Ordering::Relaxed) {
        hello.write_all(&pings).expect("the node reads");
        *asked.lock().expect("nobody failed") += PINGS;
    }
    drop(hello.shutdown(std::net::Shutdown::Write));
    drain.join().expect("the node closes in turn");
}
