//! What a connection may do to a reactor: dribble, flood, stall, vanish; and how a reactor ends.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use common::{MODES, PATIENCE, ask, reply, request, serve};
use net::server::bare::{PAYLOAD_BYTES_MAX, REPLY_BYTES};
use net::server::{Limits, WaitMode};

#[test]
fn frames_arrive_byte_by_byte_and_in_clumps() {
    let server = serve(WaitMode::Sleep, false, Limits::default());
    let mut stream = server.connect();
    for byte in request(7, 40) {
        stream.write_all(&[byte]).unwrap();
        std::thread::yield_now();
    }
    assert_eq!(reply(&mut stream).unwrap(), 7);
    // Three and a half frames, then the other half with one more.
    let all: Vec<u8> = (0..5).flat_map(|tag| request(tag, 100)).collect();
    for part in [&all[..364], &all[364..366], &all[366..]] {
        stream.write_all(part).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    for tag in 0..5 {
        assert_eq!(reply(&mut stream).unwrap(), tag);
    }
}

#[test]
fn large_frames_pass_and_too_large_ones_end_the_connection() {
    for mode in MODES {
        let server = serve(mode, false, Limits::default());
        let mut stream = server.connect();
        for (tag, bytes) in [(1, PAYLOAD_BYTES_MAX), (2, 8), (3, 256 << 10), (4, 300_000)] {
            ask(&mut stream, tag, bytes);
        }
        stream.write_all(&(PAYLOAD_BYTES_MAX as u32 + 1).to_be_bytes()).unwrap();
        // Unread input behind the bad frame must not destroy the error on its way back.
        stream.write_all(&[0; 100_000]).unwrap();
        let mut answer = Vec::new();
        stream.shutdown(Shutdown::Write).unwrap();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"frame too large");
    }
}

/// Two large frames at once through a budget for one: the second waits its turn.
#[test]
fn a_small_receive_budget_slows_but_does_not_stall() {
    let limits = Limits { partial_bytes_max: 1 << 20, ..Limits::default() };
    let server = serve(WaitMode::Hybrid, false, limits);
    std::thread::scope(|scope| {
        for tag in 0..8 {
            let mut stream = server.connect();
            scope.spawn(move || {
                for round in 0..4 {
                    ask(&mut stream, tag << 8 | round, 3 << 20);
                }
            });
        }
    });
}

#[test]
fn a_reader_that_does_not_read_stops_being_read() {
    let limits = Limits { unsent_bytes_max: 64 << 10, ..Limits::default() };
    let server = serve(WaitMode::Sleep, false, limits);
    let mut greedy = server.connect();
    greedy.set_nonblocking(true).unwrap();
    let frame = request(9, 8);
    let (mut sent, mut stuck_since) = (0usize, Instant::now());
    // 12 bytes in, 32 out: without a limit the server would buffer without end.
    while stuck_since.elapsed() < Duration::from_millis(300) {
        let mut rest = &frame[sent % frame.len()..];
        match greedy.write(rest) {
            Ok(n) => {
                sent += n;
                rest = &rest[n..];
                let _ = rest;
                stuck_since = Instant::now();
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(e) => panic!("{e}"),
        }
    }
    // Others are served meanwhile, and the greedy one gets every reply once it reads.
    ask(&mut server.connect(), 1, 64);
    greedy.set_nonblocking(false).unwrap();
    for _ in 0..sent / frame.len() {
        assert_eq!(reply(&mut greedy).unwrap(), 9);
    }
    server.stop();
}

#[test]
fn half_a_frame_and_silence_ends_the_connection() {
    let limits = Limits { partial_deadline_ms: 200, ..Limits::default() };
    for mode in MODES {
        let server = serve(mode, false, limits);
        let mut half = server.connect();
        let mut idle = server.connect();
        let started = Instant::now();
        half.write_all(&request(1, 100)[..50]).unwrap();
        assert!(matches!(half.read(&mut [0; 1]), Ok(0) | Err(_)), "closed by the server");
        assert!(started.elapsed() >= Duration::from_millis(150) && started.elapsed() < PATIENCE);
        ask(&mut idle, 2, 100);
    }
}

#[test]
fn a_peer_that_vanishes_mid_reply_hurts_nobody() {
    for durable in [false, true] {
        let server = serve(WaitMode::Hybrid, durable, Limits::default());
        let mut steady = server.connect();
        for round in 0..50 {
            let mut rude: Vec<TcpStream> = (0..8).map(|_| server.connect()).collect();
            for stream in &mut rude {
                stream.write_all(&request(round, 1024)).unwrap();
            }
            drop(rude);
            ask(&mut steady, round, 1024);
        }
        server.stop();
    }
}

#[test]
fn connections_beyond_the_limit_are_closed_until_there_is_room() {
    let limits = Limits { connections_max: 2, ..Limits::default() };
    let server = serve(WaitMode::Sleep, false, limits);
    let mut first = server.connect();
    let mut second = server.connect();
    ask(&mut first, 1, 64);
    ask(&mut second, 2, 64);
    let mut third = server.connect();
    assert!(matches!(third.read(&mut [0; 1]), Ok(0) | Err(_)), "it is refused");
    drop(first);
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "there is room again");
        let mut next = server.connect();
        if next.write_all(&request(3, 64)).is_ok() && reply(&mut next).is_ok_and(|it| it == 3) {
            break;
        }
    }
    ask(&mut second, 4, 64);
    server.stop();
}

#[test]
fn a_stopped_reactor_has_answered_and_lets_go() {
    for mode in MODES {
        for durable in [false, true] {
            let server = serve(mode, durable, Limits::default());
            let address = server.address;
            let mut stream = server.connect();
            ask(&mut stream, 1, 1024);
            let started = Instant::now();
            server.stop();
            assert!(started.elapsed() < PATIENCE / 2);
            let mut rest = Vec::new();
            assert!(matches!(stream.read_to_end(&mut rest), Ok(0) | Err(_)));
            assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
        }
    }
    assert_eq!(REPLY_BYTES, 32);
}
