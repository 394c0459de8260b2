//! The Produce operation by itself: for those who make their batches themselves (tools that copy,
//! tests that harm). Everyone else has a [`Producer`](super::Producer).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::admin::answer;
use super::connection::ReplyFuture;
use super::{AckLevel, Client, ClientError};
use crate::wire::{Produce, Reply, Request, RequestHeader, decode_reply};

/// Resolves when the node has answered: the offset of the batch's first record. Without an answer
/// it waits as long as the connection lives; bound it with a timeout of your own.
#[derive(Debug)]
#[must_use = "an answer that is dropped says nothing"]
pub struct BatchAck(ReplyFuture);

impl Client {
    /// Sends one batch as it is, waiting only for room in flight. It is sent once.
    pub async fn produce(
        &self,
        topic: u32,
        queue: u16,
        ack: Option<AckLevel>,
        batch: &[u8],
    ) -> Result<BatchAck, ClientError> {
        let request = Request::Produce(Produce { topic, queue, ack, batch });
        let connection = self.links.any().await?;
        Ok(BatchAck(connection.start(RequestHeader::default(), &request).await?))
    }
}

impl Future for BatchAck {
    type Output = Result<u64, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let frame = std::task::ready!(Pin::new(&mut self.0).poll(context))?;
        Poll::Ready(answer!(&frame, Reply::Produce(offset) => offset))
    }
}
