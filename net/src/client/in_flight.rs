//! The requests in flight on one connection: what is bounded, what is still to be written, and
//! who waits for which reply. Shared by the callers, the writer task and the reader task.
//!
//! A caller takes a [`Share`] of the bounds (the only wait), then `register`s: correlation and
//! outgoing bytes in one step under the lock. The writer takes the outgoing bytes, the reader
//! `deliver`s, and whoever finds the connection broken calls `end`.
//!
//! Invariants: a request holds its share until its reply has come (one-way: until it was
//! written), whether or not anyone still waits; `ended` is set once, and nothing is registered
//! after it; the lock is never held across an await.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use super::{ClientConfig, ClientError};
use crate::wire::limits::BATCH_BYTES_MAX;
use crate::wire::{Reply, Request, RequestHeader, decode_reply, encode_request, peek_reply};

/// Where a reply arrives: the whole frame.
pub(super) type ReplyReceiver = oneshot::Receiver<Result<Bytes, ClientError>>;

#[derive(Debug)]
pub(super) struct InFlight {
    state: Mutex<State>,
    wake_writer: Notify,
    drained: Notify,
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    bytes_max: u32,
}

#[derive(Debug, Default)]
struct State {
    outgoing: Vec<u8>,
    /// The shares of one-way requests in `outgoing`.
    one_way: Vec<Share>,
    /// The writer has taken a buffer and is not done with it.
    writing: bool,
    pending: HashMap<u32, Pending>,
    next_correlation: u32,
    /// Nobody will request any more: write what is there, then close.
    closing: bool,
    ended: Option<ClientError>,
}

#[derive(Debug)]
struct Pending {
    reply: oneshot::Sender<Result<Bytes, ClientError>>,
    _share: Share,
}

/// A request's share of the bounds.
#[derive(Debug)]
pub(super) struct Share {
    _request: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// What the writer has to do.
pub(super) enum Turn {
    /// Write the buffer, then drop these shares: that is what releases them.
    Write(Vec<Share>),
    /// Wait until there is something.
    Wait,
    /// The connection is over.
    Stop,
}

impl InFlight {
    pub(super) fn new(config: &ClientConfig) -> Self {
        let bytes_max = config.bytes_in_flight_max.max(BATCH_BYTES_MAX);
        Self {
            state: Mutex::default(),
            wake_writer: Notify::new(),
            drained: Notify::new(),
            requests: Arc::new(Semaphore::new(config.requests_in_flight_max.max(1) as usize)),
            bytes: Arc::new(Semaphore::new(bytes_max as usize)),
            bytes_max,
        }
    }

    /// Waits for room for a request of `cost` bytes.
    pub(super) async fn share(&self, cost: u32) -> Result<Share, ClientError> {
        let request = Arc::clone(&self.requests).acquire_owned().await;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(cost.min(self.bytes_max)).await;
        match (request, bytes) {
            (Ok(request), Ok(bytes)) => Ok(Share { _request: request, _bytes: bytes }),
            // Only `end` closes the semaphores, after it has said why.
            _ => Err(self.state().ended.clone().unwrap_or_else(aborted)),
        }
    }

    /// A share if there is room now.
    pub(super) fn try_share(&self, cost: u32) -> Option<Share> {
        let request = Arc::clone(&self.requests).try_acquire_owned().ok()?;
        let cost = cost.min(self.bytes_max);
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(cost).ok()?;
        Some(Share { _request: request, _bytes: bytes })
    }

    /// Puts a request on its way; its header's correlation is chosen here.
    pub(super) fn register(
        &self,
        share: Share,
        header: RequestHeader,
        request: &Request<'_>,
    ) -> Result<ReplyReceiver, ClientError> {
        let (sender, reply) = oneshot::channel();
        self.state().register(share, header, request, sender)?;
        self.wake_writer.notify_one();
        Ok(reply)
    }

    /// Puts a request on its way that gets no reply.
    pub(super) fn register_one_way(
        &self,
        share: Share,
        request: &Request<'_>,
    ) -> Result<(), ClientError> {
        let mut state = self.state();
        state.check()?;
        let header = RequestHeader { one_way: true, ..RequestHeader::default() };
        encode_request(&mut state.outgoing, &header, request)?;
        state.one_way.push(share);
        drop(state);
        self.wake_writer.notify_one();
        Ok(())
    }

    /// Exchanges `buffer`, which is empty, for what is to be written.
    pub(super) fn take_outgoing(&self, buffer: &mut Vec<u8>) -> Turn {
        let mut state = self.state();
        state.writing = !state.outgoing.is_empty();
        if state.writing {
            std::mem::swap(buffer, &mut state.outgoing);
            return Turn::Write(std::mem::take(&mut state.one_way));
        }
        if state.closing || state.ended.is_some() {
            return Turn::Stop;
        }
        self.drained.notify_waiters();
        Turn::Wait
    }

    /// Waits until `take_outgoing` is worth another look.
    pub(super) async fn outgoing(&self) {
        self.wake_writer.notified().await;
    }

    /// Waits until everything registered so far was written.
    pub(super) async fn flush(&self) -> Result<(), ClientError> {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            // From here on no notification is missed.
            drained.as_mut().enable();
            {
                let state = self.state();
                state.check()?;
                if state.outgoing.is_empty() && !state.writing {
                    return Ok(());
                }
            }
            drained.await;
        }
    }

    /// Hands a frame to whom it belongs; an error ends the connection.
    pub(super) fn deliver(&self, frame: Bytes) -> Result<(), ClientError> {
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

    /// Whether the connection has ended.
    pub(super) fn is_over(&self) -> bool {
        self.state().ended.is_some()
    }

    /// Nobody will request any more.
    pub(super) fn close(&self) {
        self.state().closing = true;
        self.wake_writer.notify_one();
    }

    /// The connection is over: tells everyone.
    pub(super) fn end(&self, error: &ClientError) {
        let pending = {
            let mut state = self.state();
            state.ended.get_or_insert_with(|| error.clone());
            state.outgoing.clear();
            state.one_way.clear();
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        encode_request(&mut self.outgoing, &header, request)?;
        free.insert(Pending { reply, _share: share });
        Ok(())
    }
}

/// The runtime ended under a connection that nobody ended.
pub(super) fn aborted() -> ClientError {
    ClientError::lost(io::ErrorKind::ConnectionAborted.into())
}
