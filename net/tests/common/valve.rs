//! A server whose service counts what it sees, and is congested when it is told.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Instant;

use engine::io::Nanos;
use net::server::bare::Bare;
use net::server::{
    ConnId, Flow, FrameLen, Limits, Outbox, Reactor, ReactorConfig, ReactorHandle, Service, Turn,
    TurnClock, WaitMode, bind,
};

use super::PATIENCE;

/// What the test and the service see of each other.
#[derive(Debug, Default)]
pub struct Valve {
    pub congested: AtomicBool,
    /// Congested as soon as it has had so many frames in all (0: no).
    pub frames_until: AtomicU64,
    pub frames: AtomicU64,
    /// How often it was shown the front of some input.
    pub looks: AtomicU64,
    pub turns: AtomicU64,
}

/// A service that answers at once, and is congested when it is told.
struct Valved {
    bare: Bare,
    valve: Arc<Valve>,
}

impl Service for Valved {
    fn frame_len(&self, buffered: &[u8]) -> FrameLen {
        self.valve.looks.fetch_add(1, SeqCst);
        self.bare.frame_len(buffered)
    }

    fn on_open(&mut self, _conn: ConnId) {}

    fn on_frame(&mut self, conn: ConnId, frame: &[u8], out: &mut Outbox) -> Flow {
        let had = self.valve.frames.fetch_add(1, SeqCst) + 1;
        if had == self.valve.frames_until.load(SeqCst) {
            self.valve.congested.store(true, SeqCst);
        }
        self.bare.on_frame(conn, frame, out)
    }

    fn on_close(&mut self, _conn: ConnId) {}

    fn on_turn(&mut self, clock: TurnClock, out: &mut Outbox) -> Turn {
        self.valve.turns.fetch_add(1, SeqCst);
        self.bare.on_turn(clock, out)
    }

    fn after_send(&mut self, _sent: Nanos) {}

    fn is_congested(&self) -> bool {
        self.valve.congested.load(SeqCst)
    }

    fn drain(&mut self) {
        self.bare.drain();
    }

    fn is_drained(&self) -> bool {
        self.bare.is_drained()
    }
}

pub struct Node {
    pub address: SocketAddr,
    pub reactor: ReactorHandle,
    pub valve: Arc<Valve>,
}

impl Node {
    pub fn start(wait: WaitMode, limits: Limits) -> Self {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let config = ReactorConfig { wait, limits, ..ReactorConfig::default() };
        let valve = Arc::<Valve>::default();
        let theirs = valve.clone();
        let make = move |_: &_| Ok(Valved { bare: Bare::echo(), valve: theirs });
        let reactor = Reactor::spawn(config, listener, make).unwrap();
        Self { address, reactor, valve }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Wakes the reactor until something has become true.
    pub fn until(&self, is_true: impl Fn(&Valve) -> bool) {
        let begun = Instant::now();
        while !is_true(&self.valve) {
            assert!(begun.elapsed() < PATIENCE, "{:?}", self.valve);
            self.reactor.waker().wake();
            std::thread::yield_now();
        }
    }

    /// Whatever was sent before has been noticed, whether or not it was read.
    pub fn a_few_turns(&self) {
        let now = self.valve.turns.load(SeqCst);
        self.until(|valve| valve.turns.load(SeqCst) > now + 3);
    }

    pub fn congest(&self) {
        self.valve.congested.store(true, SeqCst);
        self.a_few_turns();
    }

    pub fn relieve(&self) {
        self.valve.congested.store(false, SeqCst);
        self.reactor.waker().wake();
    }
}
