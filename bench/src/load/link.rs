//! A connection: a non-blocking socket with one buffer for each direction.
//!
//! One receive per readiness into a buffer large enough for what may arrive; whole frames are
//! handed out of it, and a rest is moved to its front. Everything queued is sent with one call.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use net::loopback::connect;
use net::wire::frame_length;
use net::wire::limits::REPLY_BYTES_MAX;

use super::control::greet;
use super::{Dialect, LoadError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connected socket.
pub(super) struct Link {
    stream: TcpStream,
    input: Vec<u8>,
    /// Bytes of `input` received.
    filled: usize,
    /// Bytes of `input` handed out.
    taken: usize,
    /// Frames to send; `sent` bytes of it are gone.
    pub(super) output: Vec<u8>,
    sent: usize,
    /// The poller was told that output waits for room.
    pub(super) waits_for_room: bool,
}

impl Link {
    /// Connects and says Hello; `input_bytes` must hold the largest frame that may come.
    pub(super) fn connect(
        addr: SocketAddr,
        dialect: Dialect,
        input_bytes: usize,
    ) -> Result<Self, LoadError> {
        let connected = || {
            let stream = connect(addr, CONNECT_TIMEOUT)?;
            stream.set_read_timeout(Some(CONNECT_TIMEOUT))?;
            Ok(stream)
        };
        let mut stream = connected().map_err(|source| LoadError::Connect { addr, source })?;
        if dialect == Dialect::Native {
            greet(&mut stream, &mut Vec::new())?;
        }
        stream.set_nonblocking(true).map_err(LoadError::socket("preparing a connection"))?;
        Ok(Self {
            stream,
            input: vec![0; input_bytes],
            filled: 0,
            taken: 0,
            output: Vec::new(),
            sent: 0,
            waits_for_room: false,
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Takes what has arrived; false when nothing had.
    pub(super) fn receive(&mut self) -> Result<bool, LoadError> {
        self.input.copy_within(self.taken..self.filled, 0);
        self.filled -= self.taken;
        self.taken = 0;
        loop {
            match self.stream.read(&mut self.input[self.filled..]) {
                Ok(0) => return Err(gone()),
                Ok(n) => {
                    self.filled += n;
                    return Ok(true);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(LoadError::socket("receiving")(e)),
            }
        }
    }

    /// The next whole frame of what was received.
    pub(super) fn next_frame(&mut self) -> Result<Option<&[u8]>, LoadError> {
        let rest = &self.input[self.taken..self.filled];
        let Some(length) = frame_length(rest, REPLY_BYTES_MAX)? else { return Ok(None) };
        if length > self.input.len() {
            return Err(LoadError::Unexpected("with a frame larger than what was asked for"));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let from = self.taken;
        self.taken += length;
        Ok(Some(&self.input[from..self.taken]))
    }

    /// Sends what is queued; false when some of it has to wait for room.
    pub(super) fn flush(&mut self) -> Result<bool, LoadError> {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(LoadError::socket("sending")(e)),
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(true)
    }
}

fn gone() -> LoadError {
    LoadError::socket("receiving")(ErrorKind::ConnectionAborted.into())
}
