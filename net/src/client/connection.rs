//! One connection: the Hello, then a writer task that sends whatever has gathered and a reader
//! task that cuts the stream into frames; between them the requests [`InFlight`].

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::AbortHandle;

use super::in_flight::{InFlight, ReplyReceiver, Turn, aborted};
use super::{ClientConfig, ClientError};
use crate::loopback::do_not_pace;
use crate::wire::limits::{BATCH_BYTES_MAX, PING_BYTES_MAX, REPLY_BYTES_MAX};
use crate::wire::{
    Hello, Reply, Request, RequestHeader, VERSION, decode_reply, encode_request, frame_length,
};

/// Room for reading: 64 KiB takes three thousand acknowledgements in one call.
const READ_BYTES: usize = 64 * 1024;
/// An outgoing buffer is kept for the next turn up to this size.
const KEPT_BUFFER_BYTES: usize = 1024 * 1024;
/// What a request without a payload counts against the bound in bytes.
const SMALL_REQUEST_BYTES: u32 = 64;

/// What the error says when a web server answers where a node was expected.
pub const HTTP_ANSWERED: &str = "a web server (HTTP) answers there";

/// What a node says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its identity.
    pub id: [u8; 16],
    /// Name and version, for people.
    pub name: String,
    /// The shard this connection landed on.
    pub shard: u16,
    /// How many shards there are.
    pub shards: u16,
    /// Largest batch it takes.
    pub batch_bytes_max: u32,
    /// Most entry bytes it sends in one reply.
    pub fetch_bytes_max: u32,
}

/// An open connection; dropping it sends what is still in the outgoing buffer, and closes.
#[derive(Debug)]
pub(super) struct Connection {
    in_flight: Arc<InFlight>,
    reader: AbortHandle,
    writer: AbortHandle,
    node: Node,
    request_timeout: Duration,
}

/// A reply on its way: the whole frame.
#[derive(Debug)]
pub(super) struct ReplyFuture {
    reply: ReplyReceiver,
    /// Keeps the connection open while someone waits.
    _connection: Arc<Connection>,
}

impl Connection {
    pub(super) async fn open(
        addresses: &[SocketAddr],
        config: &ClientConfig,
        shard_wish: u16,
    ) -> Result<Self, ClientError> {
        let opening = say_hello(addresses, config, shard_wish);
        let opened = tokio::time::timeout(config.connect_timeout, opening).await;
        let (stream, buffer, node) = opened.map_err(|_| timed_out(config.connect_timeout))??;
        let in_flight = Arc::new(InFlight::new(config));
        let (read_half, write_half) = stream.into_split();
        let writer = tokio::spawn(write_requests(write_half, Arc::clone(&in_flight)));
        let reader = tokio::spawn(read_replies(read_half, buffer, Arc::clone(&in_flight)));
        let (reader, writer) = (reader.abort_handle(), writer.abort_handle());
        let request_timeout = config.request_timeout;
        Ok(Self { in_flight, reader, writer, node, request_timeout })
    }

    /// Whether it has ended, for whatever reason.
    pub(super) fn is_over(&self) -> bool {
        self.in_flight.is_over()
    }

    /// Gives it up: everyone who waits on it hears this.
    pub(super) fn abandon(&self, error: &ClientError) {
        self.in_flight.end(error);
        self.reader.abort();
        // It may be stuck in the middle of a write that nobody reads.
        self.writer.abort();
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// Sends a request when there is room for it. Until then, dropping this future sends nothing.
    pub(super) async fn start(
        self: &Arc<Self>,
        header: RequestHeader,
        request: &Request<'_>,
    ) -> Result<ReplyFuture, ClientError> {
        let share = self.in_flight.share(cost(request)).await?;
        let reply = self.in_flight.register(share, header, request)?;
        Ok(ReplyFuture { reply, _connection: Arc::clone(self) })
    }

    /// Sends a request if there is room for it now.
    pub(super) fn try_start(
        self: &Arc<Self>,
        header: RequestHeader,
        request: &Request<'_>,
    ) -> Result<Option<ReplyFuture>, ClientError> {
        let Some(share) = self.in_flight.try_share(cost(request)) else { return Ok(None) };
        let reply = self.in_flight.register(share, header, request)?;
        Ok(Some(ReplyFuture { reply, _connection: Arc::clone(self) }))
    }

    /// Sends a produce that gets no reply, when there is room for it.
    pub(super) async fn start_one_way(&self, request: &Request<'_>) -> Result<(), ClientError> {
        let share = self.in_flight.share(cost(request)).await?;
        self.in_flight.register_one_way(share, request)
    }

    /// Bounds a wait for a reply, which may take `extra` longer than usual.
    pub(super) async fn in_time<T>(
        &self,
        extra: Duration,
        reply: impl Future<Output = T>,
    ) -> Result<T, ClientError> {
        let timeout = self.request_timeout + extra;
        tokio::time::timeout(timeout, reply).await.map_err(|_| timed_out(timeout))
    }

    pub(super) async fn flush(&self) -> Result<(), ClientError> {
        self.in_flight.flush().await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.in_flight.close();
        self.reader.abort();
    }
}

impl Future for ReplyFuture {
    type Output = Result<Bytes, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = Pin::new(&mut self.reply).poll(context);
        reply.map(|reply| reply.unwrap_or_else(|_| Err(aborted())))
    }
}

/// What a request counts against the bound in bytes.
fn cost(request: &Request<'_>) -> u32 {
    SMALL_REQUEST_BYTES
        + match request {
            Request::Produce(produce) => produce.batch.len() as u32,
            Request::Metadata(names) => names.encoded_bytes() as u32,
            Request::Ping(_) => PING_BYTES_MAX,
            Request::OffsetCommit(commit) => commit.offsets.encoded_bytes() as u32,
            Request::OffsetFetch(fetch) => fetch.places.encoded_bytes() as u32,
            _ => 0,
        }
}

fn timed_out(timeout: Duration) -> ClientError {
    ClientError::TimedOut { timeout_ms: timeout.as_millis() as u64 }
}

/// The first that answers; the error is the last one's.
async fn connect_to_any(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for &address in addresses {
        match connect_to(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    do_not_pace(&socket, address);
    socket.connect(address).await
}

async fn say_hello(
    addresses: &[SocketAddr],
    config: &ClientConfig,
    shard_wish: u16,
) -> Result<(TcpStream, BytesMut, Node), ClientError> {
    let connect = |error| ClientError::Connect { source: Arc::new(error) };
    let mut stream = connect_to_any(addresses).await.map_err(connect)?;
    stream.set_nodelay(true).map_err(connect)?;
    let hello = Request::Hello(Hello {
        version_min: VERSION,
        version_max: VERSION,
        shard_wish,
        client: &config.name,
    });
    let mut out = Vec::new();
    encode_request(&mut out, &RequestHeader::default(), &hello)?;
    stream.write_all(&out).await.map_err(ClientError::lost)?;
    let mut buffer = BytesMut::new();
    let frame = match next_frame(&mut stream, &mut buffer).await {
        Err(ClientError::Reply(_)) if buffer.starts_with(b"HTTP/") => {
            return Err(ClientError::bad_reply(HTTP_ANSWERED));
        }
        other => other?,
    };
    match decode_reply(&frame)? {
        (_, Reply::Hello(hello)) if hello.version == VERSION => {
            let node = Node {
                id: hello.node_id,
                name: hello.node.to_owned(),
                shard: hello.shard,
                shards: hello.shards,
                batch_bytes_max: hello.batch_bytes_max.min(BATCH_BYTES_MAX),
                fetch_bytes_max: hello.fetch_bytes_max,
            };
            Ok((stream, buffer, node))
        }
        (_, Reply::Error { error, .. }) => Err(error.into()),
        _ => Err(ClientError::bad_reply("not a Hello of this version")),
    }
}

async fn write_requests(mut stream: OwnedWriteHalf, in_flight: Arc<InFlight>) {
    let mut buffer = Vec::new();
    loop {
        match in_flight.take_outgoing(&mut buffer) {
            Turn::Stop => return,
            Turn::Wait => in_flight.outgoing().await,
            Turn::Write(one_way) => {
                if let Err(error) = stream.write_all(&buffer).await {
                    return in_flight.end(&ClientError::lost(error));
                }
                drop(one_way);
                buffer.clear();
                buffer.shrink_to(KEPT_BUFFER_BYTES);
            }
        }
    }
}

async fn read_replies(mut stream: OwnedReadHalf, mut buffer: BytesMut, in_flight: Arc<InFlight>) {
    let error = loop {
        let frame = next_frame(&mut stream, &mut buffer).await;
        if let Err(error) = frame.and_then(|frame| in_flight.deliver(frame)) {
            break error;
        }
    };
    tracing::debug!(%error, "connection ended");
    in_flight.end(&error);
}

/// The next whole frame; what follows it stays in `buffer`. Large frames are read in place.
async fn next_frame(
    stream: &mut (impl AsyncReadExt + Unpin),
    buffer: &mut BytesMut,
) -> Result<Bytes, ClientError> {
    loop {
        let missing = match frame_length(buffer, REPLY_BYTES_MAX)? {
            Some(total) if buffer.len() >= total => return Ok(buffer.split_to(total).freeze()),
            Some(total) => total - buffer.len(),
            None => 1,
        };
        buffer.reserve(missing.max(READ_BYTES));
        if stream.read_buf(buffer).await.map_err(ClientError::lost)? == 0 {
            return Err(ClientError::lost(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_address_that_fails_is_not_the_last_one_tried() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let deaf = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let stream = connect_to_any(&[deaf, good]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        let refused = connect_to_any(&[deaf]).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(connect_to_any(&[]).await.is_err());
    }
}
