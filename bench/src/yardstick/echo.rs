//! E: a TCP echo on loopback, the floor under every acknowledged request.
//!
//! A request is a length (4 bytes, big-endian, of what follows), a sequence number (8 bytes) and
//! padding; the reply is 32 bytes with the same sequence number. One connection at a time, one
//! request in flight, TCP_NODELAY on both sides.
//!
//! Invariant: the client checks the sequence number of every reply.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use net::loopback::connect;

use super::YardstickError;
use super::probe::{
    Measured, Probe, Start, Tally, Wait, on_measuring_thread, wait_until, yield_now,
};
use crate::pace::Schedule;

/// Bytes of every reply.
pub const REPLY_BYTES: usize = 32;
/// The smallest request: length and sequence number.
pub const REQUEST_BYTES_MIN: usize = HEADER_BYTES;
/// The largest request.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024;

const LENGTH_BYTES: usize = 4;
const HEADER_BYTES: usize = 12;
/// A reply that takes longer means that the server is gone.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// E(mode): round trips of `request_bytes` to the server at `server`.
///
/// # Errors
/// When the size is impossible, nobody listens there, or a reply is wrong or missing.
pub fn round_trips(
    server: SocketAddr,
    request_bytes: usize,
    probe: &Probe,
) -> Result<Measured, YardstickError> {
    on_measuring_thread(probe.cpu, || {
        let mut client = Client::connect(server, request_bytes, probe.wait)?;
        let begin = Instant::now();
        let mut tally = Tally::new(begin, probe, request_bytes as u64);
        let mut schedule = probe.pace.map(|pace| Schedule::every(begin, pace));
        loop {
            if let Some(schedule) = &schedule {
                wait_until(schedule.next(), probe.wait);
            }
            let real = Instant::now();
            if tally.over(real) {
                return Ok(tally.finish());
            }
            let intended = schedule.as_mut().and_then(|s| s.take_due(real)).unwrap_or(real);
            client.round_trip().map_err(YardstickError::socket("the echo's round trip"))?;
            tally.record(Start { intended, real }, Instant::now());
        }
    })
}

/// One connection that sends a request and waits for its reply.
pub(super) struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    wait: Wait,
    sequence: u64,
}

impl Client {
    pub(super) fn connect(
        server: SocketAddr,
        request_bytes: usize,
        wait: Wait,
    ) -> Result<Self, YardstickError> {
        if !(REQUEST_BYTES_MIN..=REQUEST_BYTES_MAX).contains(&request_bytes) {
            return Err(YardstickError::BadProbe("a request has 12 bytes to 1 MiB"));
        }
        let connected = || {
            let stream = connect(server, REPLY_TIMEOUT)?;
            stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
            stream.set_nonblocking(wait == Wait::Spinning)?;
            io::Result::Ok(stream)
        };
        let stream = connected().map_err(YardstickError::socket("connecting to the echo"))?;
        let mut request = vec![0x5a; request_bytes];
        let rest = (request_bytes - LENGTH_BYTES) as u32;
        request[..LENGTH_BYTES].copy_from_slice(&rest.to_be_bytes());
        Ok(Self { stream, request, wait, sequence: 0 })
    }

    pub(super) fn round_trip(&mut self) -> io::Result<()> {
        self.sequence += 1;
        let sequence = self.sequence.to_be_bytes();
        self.request[LENGTH_BYTES..HEADER_BYTES].copy_from_slice(&sequence);
        send_all(&mut self.stream, &self.request)?;
        let mut reply = [0; REPLY_BYTES];
        let patience = (self.wait == Wait::Spinning).then(|| Instant::now() + REPLY_TIMEOUT);
        let late = || patience.is_some_and(|until| Instant::now() >= until);
        if !receive_all(&mut self.stream, &mut reply, late)? {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if reply[LENGTH_BYTES..HEADER_BYTES] != sequence {
            return Err(io::Error::new(ErrorKind::InvalidData, "a reply to another request"));
        }
        Ok(())
    }
}

/// Serves one connection after the other until `stop`: receives a frame, does `work` on it,
/// replies. A connection that sends nonsense or goes away is closed; `work` failing ends the
/// server, because its disk did.
pub(super) fn serve_connections(
    listener: &TcpListener,
    wait: Wait,
    stop: &AtomicBool,
    mut work: impl FnMut(&[u8]) -> Result<(), YardstickError>,
) -> Result<(), YardstickError> {
    let mut frame = vec![0; REQUEST_BYTES_MAX];
    loop {
        let accepted = listener.accept();
        if stop.load(Ordering::Acquire) {
            return Ok(());
        }
        let (mut stream, _) = accepted.map_err(YardstickError::socket("accepting"))?;
        let prepared =
            stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(wait == Wait::Spinning));
        prepared.map_err(YardstickError::socket("preparing a connection"))?;
        while let Ok(Some(len)) = receive_frame(&mut stream, &mut frame, stop) {
            work(&frame[..len])?;
            if reply(&mut stream, &frame).is_err() {
                break;
            }
        }
    }
}

/// The length of the frame received, or `None` when the connection should be closed.
fn receive_frame(
    stream: &mut TcpStream,
    frame: &mut [u8],
    stop: &AtomicBool,
) -> io::Result<Option<usize>> {
    let mut filled = 0;
    let mut wanted = HEADER_BYTES;
    // One receive usually brings the whole frame: no extra call for the length.
    loop {
        match stream.read(&mut frame[filled..]) {
            Ok(0) => return Ok(None),
            Ok(n) => filled += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock && !stop.load(Ordering::Acquire) => {
                yield_now();
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        if filled >= LENGTH_BYTES {
            let length = [frame[0], frame[1], frame[2], frame[3]];
            wanted = LENGTH_BYTES.saturating_add(u32::from_be_bytes(length) as usize);
            if !(HEADER_BYTES..=frame.len()).contains(&wanted) || filled > wanted {
                return Ok(None); // nonsense, or a second request before the first reply
            }
        }
        if filled == wanted {
            return Ok(Some(filled));
        }
    }
}

fn reply(stream: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    let mut reply = [0; REPLY_BYTES];
    reply[..LENGTH_BYTES].copy_from_slice(&((REPLY_BYTES - LENGTH_BYTES) as u32).to_be_bytes());
    reply[LENGTH_BYTES..HEADER_BYTES].copy_from_slice(&frame[LENGTH_BYTES..HEADER_BYTES]);
    send_all(stream, &reply)
}

fn send_all(stream: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == ErrorKind::WouldBlock => yield_now(),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// False when the peer closed the connection.
fn receive_all(
    stream: &mut TcpStream,
    mut into: &mut [u8],
    late: impl Fn() -> bool,
) -> io::Result<bool> {
    while !into.is_empty() {
        match stream.read(into) {
            Ok(0) => return Ok(false),
            Ok(n) => into = &mut into[n..],
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                // A sleeping socket answers this when its timeout passed.
                if late() {
                    return Err(ErrorKind::TimedOut.into());
                }
                yield_now();
            }
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yardstick::{InThread, ServerSpec};

    fn probe(wait: Wait) -> Probe {
        Probe {
            wait,
            warm_up: Duration::ZERO,
            measure: Duration::from_secs(10),
            ops_max: 50,
            ..Probe::default()
        }
    }

    #[test]
    fn every_mode_and_size_gets_its_replies() {
        for wait in [Wait::Sleeping, Wait::Spinning] {
            let server = InThread::start(&ServerSpec::echo(wait, None)).unwrap();
            for request_bytes in [REQUEST_BYTES_MIN, 64, 1024, REQUEST_BYTES_MAX] {
                let measured = round_trips(server.addr(), request_bytes, &probe(wait)).unwrap();
                assert_eq!(measured.ops, 50, "{wait:?} {request_bytes}");
            }
        }
    }

    #[test]
    fn a_paced_echo_counts_from_the_intended_time() {
        let server = InThread::start(&ServerSpec::echo(Wait::Sleeping, None)).unwrap();
        let paced =
            Probe { pace: Some(Duration::from_millis(1)), ops_max: 20, ..probe(Wait::Sleeping) };
        let measured = round_trips(server.addr(), 64, &paced).unwrap();
        assert!(measured.elapsed >= Duration::from_millis(19), "{:?}", measured.elapsed);
        // The sleeper wakes after the intended time, never before.
        assert!(measured.latency.mean() >= measured.service.mean());
    }

    #[test]
    fn nonsense_is_closed_and_the_next_client_is_served() {
        let server = InThread::start(&ServerSpec::echo(Wait::Sleeping, None)).unwrap();
        for nonsense in [[0xff; 12], [0; 12]] {
            let mut stream = TcpStream::connect(server.addr()).unwrap();
            stream.write_all(&nonsense).unwrap();
            let mut answer = Vec::new();
            // Closed without a reply; with unread bytes the close is a reset.
            let _ = stream.read_to_end(&mut answer);
            assert!(answer.is_empty(), "{answer:?}");
        }
        assert!(round_trips(server.addr(), 64, &probe(Wait::Sleeping)).is_ok());
    }

    #[test]
    fn impossible_sizes_and_absent_servers_are_errors() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = round_trips(nobody, 64, &probe(Wait::Sleeping));
        assert!(matches!(refused, Err(YardstickError::Socket { .. })));
        for size in [0, 11, REQUEST_BYTES_MAX + 1] {
            let refused = round_trips(nobody, size, &probe(Wait::Sleeping));
            assert!(matches!(refused, Err(YardstickError::BadProbe(_))), "{size}");
        }
    }
}
