//! A bare server on a free port, and frames for it.
// Each test file uses a part of it; helpers of tests may unwrap.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

pub mod valve;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use engine::io::block::Budget;
use engine::io::ring::{DiskLimits, RingDisk};
use net::server::bare::{Bare, REPLY_BYTES};
use net::server::{Limits, Reactor, ReactorConfig, ReactorHandle, WaitMode, bind};

pub const MODES: [WaitMode; 3] = [WaitMode::Sleep, WaitMode::Hybrid, WaitMode::Poll];

/// Longer than any hiccup of a loaded machine, much shorter than for ever.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub struct Server {
    pub address: SocketAddr,
    reactor: Option<ReactorHandle>,
    _directory: Option<tempfile::TempDir>,
}

pub fn serve(wait: WaitMode, durable: bool, limits: Limits) -> Server {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    // On a real file system: O_DIRECT is the point.
    let directory = durable.then(|| tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap());
    let path = directory.as_ref().map(|d| d.path().to_path_buf());
    let config = ReactorConfig { wait, limits, ..ReactorConfig::default() };
    let reactor = Reactor::spawn(config, listener, move |ring| match path {
        Some(path) => Ok(durable_service(ring, &path)),
        None => Ok(Bare::echo()),
    });
    Server { address, reactor: Some(reactor.unwrap()), _directory: directory }
}

fn durable_service(ring: &std::rc::Rc<engine::io::ring::Ring>, path: &Path) -> Bare {
    let disk = RingDisk::open(ring, path, Budget::new(16 << 20), DiskLimits::default()).unwrap();
    Bare::durable(disk).unwrap()
}

impl Server {
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub fn stop(mut self) {
        self.reactor.take().unwrap().stop().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(reactor) = self.reactor.take() {
            let _ = reactor.stop();
        }
    }
}

/// A request whose payload starts with `tag`.
pub fn request(tag: u64, payload_bytes: usize) -> Vec<u8> {
    let mut frame = (payload_bytes as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&tag.to_be_bytes());
    frame.resize(4 + payload_bytes, 0x5a);
    frame
}

/// Reads one reply and returns its tag.
pub fn reply(stream: &mut TcpStream) -> std::io::Result<u64> {
    let mut reply = [0; REPLY_BYTES];
    stream.read_exact(&mut reply)?;
    Ok(u64::from_be_bytes(reply[4..12].try_into().unwrap()))
}

pub fn ask(stream: &mut TcpStream, tag: u64, payload_bytes: usize) {
    stream.write_all(&request(tag, payload_bytes)).unwrap();
    assert_eq!(reply(stream).unwrap(), tag);
}
