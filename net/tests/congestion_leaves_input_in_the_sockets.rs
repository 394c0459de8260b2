//! While a service is congested its sockets are not read: peers are slowed down by TCP, no
//! connection is lost, and afterwards every request is answered.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering::SeqCst;

use common::valve::Node;
use common::{MODES, ask, reply, request};
use net::server::Limits;

/// Sends requests until the sockets on both sides are full; the bytes that were taken.
fn flood(node: &Node, stream: &mut TcpStream, frame: &[u8]) -> usize {
    stream.set_nonblocking(true).unwrap();
    let (mut sent, mut sent_before) = (0, usize::MAX);
    while sent_before != sent {
        sent_before = sent;
        loop {
            match stream.write(&frame[sent % frame.len()..]) {
                Ok(taken) => sent += taken,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        node.a_few_turns();
    }
    stream.set_nonblocking(false).unwrap();
    sent
}

#[test]
fn nothing_is_read_and_everything_is_answered_later() {
    for mode in MODES {
        let node = Node::start(mode, Limits::default());
        let mut early = node.connect();
        ask(&mut early, 1, 100);
        node.congest();
        let had = node.valve.frames.load(SeqCst);
        let mut streams: Vec<_> = (0..4).map(|_| node.connect()).collect();
        for stream in streams.iter_mut().chain([&mut early]) {
            for tag in 0..10 {
                stream.write_all(&request(tag, 1000)).unwrap();
            }
        }
        let mut greedy = node.connect();
        let frame = request(7, 64 << 10);
        let taken = flood(&node, &mut greedy, &frame);
        assert_eq!(node.valve.frames.load(SeqCst), had, "{mode:?}: read though congested");

        node.relieve();
        for stream in streams.iter_mut().chain([&mut early]) {
            for tag in 0..10 {
                assert_eq!(reply(stream).unwrap(), tag, "{mode:?}");
            }
        }
        let begun = taken % frame.len();
        if begun > 0 {
            greedy.write_all(&frame[begun..]).unwrap();
        }
        for _ in 0..taken.div_ceil(frame.len()) {
            assert_eq!(reply(&mut greedy).unwrap(), 7, "{mode:?}");
        }
        node.reactor.stop().unwrap();
    }
}

/// It begins in the middle of a receive pass: connections that have not had their turn wait.
#[test]
fn the_rest_of_a_receive_pass_waits() {
    const CONNECTIONS: u64 = 16;
    for mode in MODES {
        let node = Node::start(mode, Limits::default());
        let mut streams: Vec<_> = (0..CONNECTIONS).map(|_| node.connect()).collect();
        for round in 0..3 {
            let had = node.valve.frames.load(SeqCst);
            node.valve.frames_until.store(had + 3, SeqCst);
            for (tag, stream) in (0..).zip(&mut streams) {
                stream.write_all(&request(tag, 100)).unwrap();
            }
            node.a_few_turns();
            node.until(|valve| valve.congested.load(SeqCst));
            assert_eq!(node.valve.frames.load(SeqCst), had + 3, "{mode:?}, round {round}");
            node.relieve();
            for (tag, stream) in (0..).zip(&mut streams) {
                assert_eq!(reply(stream).unwrap(), tag, "{mode:?}, round {round}");
            }
        }
        node.reactor.stop().unwrap();
    }
}

/// Input that the node itself leaves unread is no silence of the peer; silence still is.
#[test]
fn only_the_silent_are_given_up() {
    let limits = Limits { partial_deadline_ms: 200, ..Limits::default() };
    for mode in MODES {
        let node = Node::start(mode, limits);
        let frame = request(5, 100);
        let half = |node: &Node| {
            let had = node.valve.looks.load(SeqCst);
            let mut stream = node.connect();
            stream.write_all(&frame[..50]).unwrap();
            node.until(|valve| valve.looks.load(SeqCst) > had);
            stream
        };
        let (mut patient, mut silent) = (half(&node), half(&node));
        node.congest();
        patient.write_all(&frame[50..]).unwrap();
        // Its half came later, so that the other one has been judged, too, when it is closed.
        assert!(matches!(silent.read(&mut [0; 1]), Ok(0) | Err(_)), "{mode:?}: closed");
        node.a_few_turns();
        node.relieve();
        assert_eq!(reply(&mut patient).unwrap(), 5, "{mode:?}");
        node.reactor.stop().unwrap();
    }
}
