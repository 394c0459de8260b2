//! One connection: a writer task, a reader task, and the requests in flight between them.
//!
//! `start` waits for room, then registers the request and appends its frame to the outgoing
//! buffer in one step under the lock; the writer task sends whatever has gathered; the reader
//! task cuts the stream into frames and hands each to whom its correlation belongs.
//!
//! Invariants: a request holds its share of the bounds until its reply has come (one-way: until
//! it was written), whether or not anyone still waits; `ended` is set once, and nothing is
//! registered after it; the lock is never held across an await.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::AbortHandle;

use super::{ClientConfig, ClientError};
use crate::wire::limits::{BATCH_BYTES_MAX, FRAME_BYTES_MAX, REPLY_BYTES_MAX};
use crate::wire::{
    Hello, Reply, Request, RequestHeader, VERSION, decode_reply, encode_request, frame_length,
    peek_reply,
};

/// Room for reading: 64 KiB takes hundreds of acknowledgements in one call.
const READ_BYTES: usize = 64 * 1024;
/// An outgoing buffer is kept for the next turn up to this size.
const KEPT_BUFFER_BYTES: usize = 1024 * 1024;
/// What a request without a payload counts against the bound in bytes.
const SMALL_REQUEST_BYTES: u32 = 64;

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
    shared: Arc<Shared>,
    reader: AbortHandle,
    node: Node,
    request_timeout: Duration,
}

/// A reply on its way: the whole frame.
#[derive(Debug)]
pub(super) struct ReplyFuture {
    reply: oneshot::Receiver<Result<Bytes, ClientError>>,
    /// Keeps the connection open while someone waits.
    _connection: Arc<Connection>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake_writer: Notify,
    drained: Notify,
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    bytes_max: u32,
}

#[derive(Debug, Default)]
struct State {
    outgoing: Outgoing,
    /// The writer has taken a buffer and is not done with it.
    writing: bool,
    pending: HashMap<u32, Pending>,
    next_correlation: u32,
    /// Nobody will request any more: write what is there, then close.
    closing: bool,
    ended: Option<ClientError>,
}

#[derive(Debug, Default)]
struct Outgoing {
    bytes: Vec<u8>,
    one_way: Vec<Share>,
}

#[derive(Debug)]
struct Pending {
    reply: oneshot::Sender<Result<Bytes, ClientError>>,
    _share: Share,
}

/// A request's share of the bounds.
#[derive(Debug)]
struct Share {
    _request: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Connection {
    pub(super) async fn open(
        address: impl ToSocketAddrs,
        config: ClientConfig,
    ) -> Result<Self, ClientError> {
        let opening = say_hello(address, &config);
        let opened = tokio::time::timeout(config.connect_timeout, opening).await;
        let (stream, buffer, node) = opened.map_err(|_| timed_out(config.connect_timeout))??;
        let bytes_max = config.bytes_in_flight_max.max(BATCH_BYTES_MAX);
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            wake_writer: Notify::new(),
            drained: Notify::new(),
            requests: Arc::new(Semaphore::new(config.requests_in_flight_max.max(1) as usize)),
            bytes: Arc::new(Semaphore::new(bytes_max as usize)),
            bytes_max,
        });
        let (read_half, write_half) = stream.into_split();
        tokio::spawn(write_requests(write_half, Arc::clone(&shared)));
        let reader = tokio::spawn(read_replies(read_half, buffer, Arc::clone(&shared)));
        let reader = reader.abort_handle();
        Ok(Self { shared, reader, node, request_timeout: config.request_timeout })
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
        let share = self.shared.share(cost(request)).await?;
        self.enqueue(share, header, request)
    }

    /// Sends a request if there is room for it now.
    pub(super) fn try_start(
        self: &Arc<Self>,
        header: RequestHeader,
        request: &Request<'_>,
    ) -> Result<Option<ReplyFuture>, ClientError> {
        match self.shared.try_share(cost(request)) {
            Some(share) => self.enqueue(share, header, request).map(Some),
            None => Ok(None),
        }
    }

    /// Sends a produce that gets no reply, when there is room for it.
    pub(super) async fn start_one_way(&self, request: &Request<'_>) -> Result<(), ClientError> {
        let share = self.shared.share(cost(request)).await?;
        let mut state = self.shared.state();
        state.check()?;
        let header = RequestHeader { one_way: true, ..RequestHeader::default() };
        encode_request(&mut state.outgoing.bytes, &header, request)?;
        state.outgoing.one_way.push(share);
        drop(state);
        self.shared.wake_writer.notify_one();
        Ok(())
    }

    /// Sends a request and waits for its reply, `extra` longer than usual.
    pub(super) async fn call(
        self: &Arc<Self>,
        request: &Request<'_>,
        extra: Duration,
    ) -> Result<Bytes, ClientError> {
        let reply = async { self.start(RequestHeader::default(), request).await?.await };
        self.in_time(reply, extra).await
    }

    /// Bounds a wait for a reply.
    pub(super) async fn in_time<T>(
        &self,
        reply: impl Future<Output = Result<T, ClientError>>,
        extra: Duration,
    ) -> Result<T, ClientError> {
        let timeout = self.request_timeout + extra;
        let reply = tokio::time::timeout(timeout, reply).await;
        reply.unwrap_or_else(|_| Err(timed_out(timeout)))
    }

    pub(super) async fn flush(&self) -> Result<(), ClientError> {
        loop {
            let drained = self.shared.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            {
                let state = self.shared.state();
                state.check()?;
                if state.outgoing.bytes.is_empty() && !state.writing {
                    return Ok(());
                }
            }
            drained.await;
        }
    }

    fn enqueue(
        self: &Arc<Self>,
        share: Share,
        header: RequestHeader,
        request: &Request<'_>,
    ) -> Result<ReplyFuture, ClientError> {
        let (sender, reply) = oneshot::channel();
        self.shared.state().register(share, header, request, sender)?;
        self.shared.wake_writer.notify_one();
        Ok(ReplyFuture { reply, _connection: Arc::clone(self) })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.state().closing = true;
        self.shared.wake_writer.notify_one();
        self.reader.abort();
    }
}

impl Future for ReplyFuture {
    type Output = Result<Bytes, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.reply).poll(context).map(|reply| {
            // The sender is dropped unused only with the whole state, when the runtime ends.
            reply
                .unwrap_or_else(|_| Err(ClientError::lost(io::ErrorKind::ConnectionAborted.into())))
        })
    }
}

impl State {
    fn check(&self) -> Result<(), ClientError> {
        self.ended.clone().map_or(Ok(()), Err)
    }

    fn register(
        &mut self,
        share: Share,
        header: RequestHeader,
        request: &Request<'_>,
        reply: oneshot::Sender<Result<Bytes, ClientError>>,
    ) -> Result<(), ClientError> {
        self.check()?;
        let free = loop {
            // A number may still be taken after 2^32 requests; what is in flight is far fewer.
            self.next_correlation = self.next_correlation.wrapping_add(1);
            if let Entry::Vacant(free) = self.pending.entry(self.next_correlation) {
                break free;
            }
        };
        let header = RequestHeader { correlation: *free.key(), ..header };
        encode_request(&mut self.outgoing.bytes, &header, request)?;
        free.insert(Pending { reply, _share: share });
        Ok(())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn share(&self, cost: u32) -> Result<Share, ClientError> {
        let request = Arc::clone(&self.requests).acquire_owned().await;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(cost.min(self.bytes_max)).await;
        match (request, bytes) {
            (Ok(request), Ok(bytes)) => Ok(Share { _request: request, _bytes: bytes }),
            // Only `end` closes the semaphores.
            _ => Err(self
                .state()
                .ended
                .clone()
                .unwrap_or_else(|| ClientError::lost(io::ErrorKind::ConnectionAborted.into()))),
        }
    }

    fn try_share(&self, cost: u32) -> Option<Share> {
        let request = Arc::clone(&self.requests).try_acquire_owned().ok()?;
        let cost = cost.min(self.bytes_max);
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(cost).ok()?;
        Some(Share { _request: request, _bytes: bytes })
    }

    /// Hands a frame to whom it belongs; an error ends the connection.
    fn deliver(&self, frame: Bytes) -> Result<(), ClientError> {
        let Some((correlation, is_error)) = peek_reply(&frame) else {
            return Err(ClientError::bad_reply("reply without a header"));
        };
        let pending = self.state().pending.remove(&correlation);
        match pending {
            Some(pending) => {
                // Nobody may be waiting any more: then the reply is dropped here.
                let _ = pending.reply.send(Ok(frame));
                Ok(())
            }
            // The node may say why it closes, to nobody in particular.
            None if is_error => match decode_reply(&frame)? {
                (_, Reply::Error { error, .. }) => Err(error.into()),
                _ => Err(ClientError::bad_reply("error reply without an error")),
            },
            None => Err(ClientError::bad_reply("reply to a request that was not made")),
        }
    }

    /// The connection is over: tells everyone.
    fn end(&self, error: ClientError) {
        let pending = {
            let mut state = self.state();
            if state.ended.is_none() {
                state.ended = Some(error.clone());
            }
            state.outgoing = Outgoing::default();
            std::mem::take(&mut state.pending)
        };
        self.requests.close();
        self.bytes.close();
        for (_, pending) in pending {
            let _ = pending.reply.send(Err(error.clone()));
        }
        self.drained.notify_waiters();
        self.wake_writer.notify_one();
    }
}

fn cost(request: &Request<'_>) -> u32 {
    match request {
        Request::Produce(produce) => SMALL_REQUEST_BYTES + produce.batch.len() as u32,
        Request::Metadata(_) => FRAME_BYTES_MAX / 16,
        Request::Ping(_) => SMALL_REQUEST_BYTES + 1024,
        _ => SMALL_REQUEST_BYTES,
    }
}

fn timed_out(timeout: Duration) -> ClientError {
    ClientError::TimedOut { timeout_ms: timeout.as_millis() as u64 }
}

async fn say_hello(
    address: impl ToSocketAddrs,
    config: &ClientConfig,
) -> Result<(TcpStream, BytesMut, Node), ClientError> {
    let connect = |error| ClientError::Connect { source: Arc::new(error) };
    let mut stream = TcpStream::connect(address).await.map_err(connect)?;
    stream.set_nodelay(true).map_err(connect)?;
    let hello = Request::Hello(Hello {
        version_min: VERSION,
        version_max: VERSION,
        shard_wish: config.shard_wish,
        client: &config.name,
    });
    let mut out = Vec::new();
    encode_request(&mut out, &RequestHeader::default(), &hello)?;
    stream.write_all(&out).await.map_err(ClientError::lost)?;
    let mut buffer = BytesMut::new();
    let frame = next_frame(&mut stream, &mut buffer).await?;
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

async fn write_requests(mut stream: OwnedWriteHalf, shared: Arc<Shared>) {
    let mut buffer = Vec::new();
    loop {
        // Taking the shares and dropping them after the write is what releases them.
        let one_way = {
            let mut state = shared.state();
            state.writing = !state.outgoing.bytes.is_empty();
            if state.writing {
                std::mem::swap(&mut buffer, &mut state.outgoing.bytes);
                Some(std::mem::take(&mut state.outgoing.one_way))
            } else if state.closing || state.ended.is_some() {
                return;
            } else {
                shared.drained.notify_waiters();
                None
            }
        };
        let Some(one_way) = one_way else {
            shared.wake_writer.notified().await;
            continue;
        };
        if let Err(error) = stream.write_all(&buffer).await {
            shared.end(ClientError::lost(error));
            return;
        }
        drop(one_way);
        buffer.clear();
        buffer.shrink_to(KEPT_BUFFER_BYTES);
    }
}

async fn read_replies(mut stream: OwnedReadHalf, mut buffer: BytesMut, shared: Arc<Shared>) {
    let error = loop {
        let delivered = match next_frame(&mut stream, &mut buffer).await {
            Ok(frame) => shared.deliver(frame),
            Err(error) => Err(error),
        };
        if let Err(error) = delivered {
            break error;
        }
    };
    tracing::debug!(%error, "connection ended");
    shared.end(error);
}

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
