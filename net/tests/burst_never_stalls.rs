//! Hundreds of connections at once, each with one request, in every waiting mode, with pauses of
//! every length between the bursts so that the reactor is met going to sleep, asleep, and waking.
//!
//! It shows that the whole does not stall; it does not isolate causes. Those that are known have a
//! deterministic test beside the ring (see `engine/docs/pump.md`).
#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{MODES, reply, request, serve};
use net::server::{Limits, WaitMode};

const CONNECTIONS: usize = 256;

fn burst(wait: WaitMode, durable: bool, connects: usize, rounds: u64) {
    let server = serve(wait, durable, Limits::default());
    for _ in 0..connects {
        let mut streams: Vec<_> = (0..CONNECTIONS).map(|_| server.connect()).collect();
        for round in 0..rounds {
            for (n, stream) in streams.iter_mut().enumerate() {
                stream.write_all(&request(round << 32 | n as u64, 1024)).unwrap();
            }
            let started = Instant::now();
            for (n, stream) in streams.iter_mut().enumerate() {
                let tag = reply(stream);
                let after = started.elapsed();
                assert!(
                    tag.as_ref().is_ok_and(|tag| *tag == round << 32 | n as u64),
                    "{wait:?}, durable {durable}, round {round}: connection {n} got {tag:?} \
                     after {after:?}"
                );
            }
            // 0, 1, 3, 9 ... 2187 us: the span in which a reactor falls asleep.
            if round % 9 > 0 {
                sleep(Duration::from_micros(3u64.pow((round % 9) as u32 - 1)));
            }
        }
    }
    server.stop();
}

#[test]
fn echo_bursts() {
    for mode in MODES {
        burst(mode, false, 4, 40);
    }
}

#[test]
fn durable_bursts() {
    for mode in MODES {
        burst(mode, true, 4, 40);
    }
}

/// One connection, thousands of wake-ups: each request finds the reactor somewhere else on its
/// way to sleep.
#[test]
fn single_requests_at_every_distance_from_sleep() {
    for mode in [WaitMode::Sleep, WaitMode::Hybrid] {
        for durable in [false, true] {
            let server = serve(mode, durable, Limits::default());
            let mut stream = server.connect();
            for n in 0..3000u64 {
                common::ask(&mut stream, n, 64);
                let until = Instant::now() + Duration::from_nanos(n * 37 % 60_000);
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
            }
        }
    }
}
