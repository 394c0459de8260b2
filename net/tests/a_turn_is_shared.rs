//! However much one connection has to say, it has its share of a turn, and the next one its own.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use common::{ask, request};
use engine::io::Nanos;
use net::server::bare::Bare;
use net::server::{
    ConnId, Flow, FrameLen, Limits, Outbox, Reactor, ReactorConfig, Service, Turn, TurnClock, bind,
};

/// Bytes of frames by connection, of this turn and the most of any turn.
#[derive(Debug, Default)]
struct Seen {
    turn: HashMap<ConnId, usize>,
    most: usize,
}

struct Shared {
    bare: Bare,
    seen: Arc<Mutex<Seen>>,
}

impl Service for Shared {
    fn frame_len(&self, buffered: &[u8]) -> FrameLen {
        self.bare.frame_len(buffered)
    }

    fn on_open(&mut self, _conn: ConnId) {}

    fn on_frame(&mut self, conn: ConnId, frame: &[u8], out: &mut Outbox) -> Flow {
        *self.seen.lock().unwrap().turn.entry(conn).or_default() += frame.len();
        self.bare.on_frame(conn, frame, out)
    }

    fn on_close(&mut self, _conn: ConnId) {}

    fn on_turn(&mut self, clock: TurnClock, out: &mut Outbox) -> Turn {
        let mut seen = self.seen.lock().unwrap();
        let most = seen.turn.drain().map(|(_, bytes)| bytes).max().unwrap_or(0);
        seen.most = seen.most.max(most);
        self.bare.on_turn(clock, out)
    }

    fn after_send(&mut self, _sent: Nanos) {}

    fn drain(&mut self) {
        self.bare.drain();
    }

    fn is_drained(&self) -> bool {
        self.bare.is_drained()
    }
}

#[test]
fn between_a_flood_and_a_trickle() {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let limits =
        Limits { receive_buffer_bytes: 16 << 10, turn_bytes_max: 32 << 10, ..Limits::default() };
    let config = ReactorConfig { limits, ..ReactorConfig::default() };
    let seen = Arc::<Mutex<Seen>>::default();
    let theirs = Arc::clone(&seen);
    let make = move |_: &_| Ok(Shared { bare: Bare::echo(), seen: theirs });
    let reactor = Reactor::spawn(config, listener, make).unwrap();
    let mut flood = TcpStream::connect(address).unwrap();
    let mut replies = flood.try_clone().unwrap();
    let drain = std::thread::spawn(move || std::io::copy(&mut replies, &mut std::io::sink()));
    let frames: Vec<u8> = (0..2000).flat_map(|n| request(n, 64)).collect();
    let mut trickle = TcpStream::connect(address).unwrap();
    trickle.set_nodelay(true).unwrap();
    for n in 0..50 {
        flood.write_all(&frames).unwrap();
        ask(&mut trickle, n, 64);
    }
    flood.shutdown(std::net::Shutdown::Write).unwrap();
    drain.join().unwrap().unwrap();
    reactor.stop().unwrap();
    let most = seen.lock().unwrap().most;
    // What a connection has left of its share may be exceeded by one receive.
    assert!(most > 8 << 10, "the flood did flood: {most}");
    assert!(most <= (32 + 16) << 10, "{most} bytes of one connection in one turn");
}
