//! A socket and bytes: for what no client library would ever send.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use net::wire::limits::REPLY_BYTES_MAX;
use net::wire::{
    ErrorCode, Hello, Reply, Request, RequestHeader, SHARD_ANY, VERSION, decode_reply,
    encode_request, frame_length,
};

/// An error reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: ErrorCode,
    pub(crate) range: (u64, u64),
    pub(crate) retry_after_ms: u32,
    pub(crate) correlation: u32,
}

pub(crate) struct Raw(TcpStream);

impl Raw {
    /// Connects, without a Hello.
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the node takes connections");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        Self(stream)
    }

    /// Connects and says Hello.
    pub(crate) fn greeted(address: &str) -> Self {
        Self::try_greeted(address).expect("the node answers")
    }

    /// Connects and says Hello to a node that may die meanwhile.
    pub(crate) fn try_greeted(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut raw = Self(stream);
        let reply = raw.call(&Self::hello())?;
        assert!(matches!(decode_reply(&reply), Ok((_, Reply::Hello(_)))), "{reply:?}");
        Ok(raw)
    }

    /// The first frame of a connection.
    pub(crate) fn hello() -> Vec<u8> {
        let hello = Hello {
            version_min: VERSION,
            version_max: VERSION,
            shard_wish: SHARD_ANY,
            client: "raw",
        };
        frame(0, &Request::Hello(hello))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the node reads");
    }

    /// The next reply frame.
    pub(crate) fn frame(&mut self) -> Vec<u8> {
        self.try_frame().expect("a whole reply")
    }

    /// Sends a frame and waits for the reply of a node that may die meanwhile.
    pub(crate) fn call(&mut self, frame: &[u8]) -> io::Result<Vec<u8>> {
        self.0.write_all(frame)?;
        self.try_frame()
    }

    fn try_frame(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; 4];
        self.0.read_exact(&mut bytes)?;
        let length = frame_length(&bytes, REPLY_BYTES_MAX).expect("a frame").expect("its length");
        bytes.resize(length, 0);
        self.0.read_exact(bytes.get_mut(4..).expect("longer"))?;
        Ok(bytes)
    }

    /// The next reply, which has to be an error.
    pub(crate) fn refused(&mut self) -> Refused {
        let bytes = self.frame();
        match decode_reply(&bytes) {
            Ok((header, Reply::Error { error, .. })) => Refused {
                code: error.code,
                range: (error.range_start, error.range_end),
                retry_after_ms: error.retry_after_ms,
                correlation: header.correlation,
            },
            other => panic!("not an error: {other:?}"),
        }
    }

    /// The node has closed, and says nothing more.
    pub(crate) fn expect_closed(&mut self) {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("still open: {error}"),
        }
        assert!(rest.is_empty(), "bytes before the close: {rest:?}");
    }

    /// The connection still answers.
    pub(crate) fn expect_open(&mut self) {
        self.send(&frame(77, &Request::Ping(b"still there?")));
        let reply = self.frame();
        assert!(matches!(decode_reply(&reply), Ok((_, Reply::Ping(b"still there?")))), "{reply:?}");
    }
}

/// The frame of a request.
pub(crate) fn frame(correlation: u32, request: &Request<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let header = RequestHeader { correlation, ..RequestHeader::default() };
    encode_request(&mut out, &header, request).expect("a request that can be expressed");
    out
}
