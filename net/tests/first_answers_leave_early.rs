//! Many requests that arrive together are not all worked on before the first answer leaves.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use common::{ask, reply, request};
use engine::io::Nanos;
use net::server::bare::Bare;
use net::server::{
    ConnId, Flow, FrameLen, Limits, Outbox, Reactor, ReactorConfig, ReactorHandle, Service, Turn,
    TurnClock, bind,
};

/// Answers at the end of the turn, in order, like a broker that acknowledges what is in memory.
struct AtTheEnd {
    bare: Bare,
    held: Vec<(ConnId, Vec<u8>)>,
    /// Frames of each turn that had some.
    turns: Arc<Mutex<Vec<usize>>>,
}

impl Service for AtTheEnd {
    fn frame_len(&self, buffered: &[u8]) -> FrameLen {
        self.bare.frame_len(buffered)
    }

    fn on_open(&mut self, _conn: ConnId) {}

    fn on_frame(&mut self, conn: ConnId, frame: &[u8], _out: &mut Outbox) -> Flow {
        self.held.push((conn, frame.to_vec()));
        Flow::Keep
    }

    fn on_close(&mut self, _conn: ConnId) {}

    fn on_turn(&mut self, clock: TurnClock, out: &mut Outbox) -> Turn {
        if !self.held.is_empty() {
            self.turns.lock().unwrap().push(self.held.len());
        }
        for (conn, frame) in self.held.drain(..) {
            assert_eq!(self.bare.on_frame(conn, &frame, out), Flow::Keep);
        }
        self.bare.on_turn(clock, out)
    }

    fn after_send(&mut self, _sent: Nanos) {}

    fn answerable(&self) -> usize {
        self.held.len()
    }

    fn drain(&mut self) {
        self.bare.drain();
    }

    fn is_drained(&self) -> bool {
        self.bare.is_drained()
    }
}

fn start(limits: Limits) -> (ReactorHandle, SocketAddr, Arc<Mutex<Vec<usize>>>) {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let turns = Arc::<Mutex<Vec<usize>>>::default();
    let theirs = Arc::clone(&turns);
    let make = move |_: &_| Ok(AtTheEnd { bare: Bare::echo(), held: Vec::new(), turns: theirs });
    let config = ReactorConfig { limits, ..ReactorConfig::default() };
    let reactor = Reactor::spawn(config, listener, make).unwrap();
    (reactor, address, turns)
}

/// Reads the answers to requests `0..count` and checks that they are these, in this order.
fn check_answers(from: &mut TcpStream, count: u64) {
    for n in 0..count {
        assert_eq!(reply(from).unwrap(), n);
    }
}

#[test]
fn of_what_arrives_at_once_a_few_and_then_the_rest() {
    let (reactor, address, turns) = start(Limits::default());
    let mut client = TcpStream::connect(address).unwrap();
    let frames: Vec<u8> = (0..200).flat_map(|n| request(n, 64)).collect();
    client.write_all(&frames).unwrap();
    check_answers(&mut client, 200);
    reactor.stop().unwrap();
    let turns = turns.lock().unwrap();
    assert_eq!(turns.iter().sum::<usize>(), 200);
    // It came in one piece, so it is 16, 32, 64 and 88; if not, the pieces are cut alike.
    assert_eq!(turns.first(), Some(&16), "{turns:?}");
    assert!(turns.iter().all(|&frames| frames <= 128), "{turns:?}");
}

/// The rest of one connection's input lies in a buffer that others are received into.
#[test]
fn the_rest_is_not_lost_among_others_nor_where_a_frame_is_cut() {
    let limits = Limits { receive_buffer_bytes: 4 << 10, ..Limits::default() };
    let (reactor, address, _turns) = start(limits);
    let frames: Vec<u8> = (0..3000).flat_map(|n| request(n, 64)).collect();
    let floods: Vec<_> = (0..4)
        .map(|_| {
            let mut flood = TcpStream::connect(address).unwrap();
            let mut answers = flood.try_clone().unwrap();
            let frames = frames.clone();
            let reader = std::thread::spawn(move || check_answers(&mut answers, 3000));
            let writer = std::thread::spawn(move || {
                // Pieces that are no multiple of a frame.
                frames.chunks(1777).for_each(|piece| flood.write_all(piece).unwrap());
                flood
            });
            (reader, writer)
        })
        .collect();
    let mut trickle = TcpStream::connect(address).unwrap();
    trickle.set_nodelay(true).unwrap();
    (0..50).for_each(|n| ask(&mut trickle, n, 64));
    // Whose input is left behind may leave, too.
    for _ in 0..20 {
        let mut leaver = TcpStream::connect(address).unwrap();
        leaver.write_all(&frames[..20_000]).unwrap();
        drop(leaver);
    }
    for (reader, writer) in floods {
        reader.join().unwrap();
        drop(writer.join().unwrap());
    }
    reactor.stop().unwrap();
}
