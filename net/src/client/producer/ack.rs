//! What becomes of a batch, and of each record in it: told once, to everyone who asks.
//!
//! Invariants: an outcome is set once; a batch that is lost with its runtime says so (its
//! [`Promise`] is dropped), so nobody waits for ever. Dropping an [`Ack`] changes nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::super::ClientError;
use super::super::in_flight::aborted;
use super::record::Sent;

/// What became of a batch: where its first record was stored, or why it was not.
type Result = std::result::Result<Sent, ClientError>;

#[derive(Debug, Default)]
pub(super) struct Outcome(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    result: Option<Result>,
    waiting: Vec<Waker>,
}

impl Outcome {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, result: Result) {
        let waiting = {
            let mut state = self.state();
            if state.result.is_some() {
                return;
            }
            state.result = Some(result);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// The duty to say what became of a batch.
#[derive(Debug, Default)]
pub(super) struct Promise(Arc<Outcome>);

impl Promise {
    /// For the record at `index` of the batch.
    pub(super) fn ack(&self, index: u32) -> Ack {
        Ack { outcome: Arc::clone(&self.0), index, waits_at: None }
    }

    pub(super) fn keep(self, result: Result) {
        self.0.set(result);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.0.set(Err(aborted()));
    }
}

/// Resolves when the record is stored, or is known not to be. The record is delivered whether or
/// not anyone waits for this.
#[derive(Debug)]
pub struct Ack {
    outcome: Arc<Outcome>,
    index: u32,
    /// Where this one's waker is kept, once it was polled.
    waits_at: Option<usize>,
}

impl Ack {
    /// Another one for the same record.
    pub(super) fn again(&self) -> Self {
        Self { outcome: Arc::clone(&self.outcome), index: self.index, waits_at: None }
    }
}

impl Future for Ack {
    type Output = Result;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.outcome.state();
        if let Some(result) = &state.result {
            let offset = u64::from(self.index);
            let sent = result.clone().map(|first| Sent { offset: first.offset + offset, ..first });
            return Poll::Ready(sent);
        }
        let kept = self.waits_at.and_then(|at| state.waiting.get_mut(at));
        let waits_at = match kept {
            Some(waker) => {
                waker.clone_from(context.waker());
                self.waits_at
            }
            None => {
                state.waiting.push(context.waker().clone());
                Some(state.waiting.len() - 1)
            }
        };
        drop(state);
        self.waits_at = waits_at;
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everyone_hears_the_same_and_a_lost_promise_is_an_error() {
        let promise = Promise::default();
        let acks = [promise.ack(0), promise.ack(3)];
        let waiting: Vec<_> = acks.into_iter().map(tokio::spawn).collect();
        tokio::task::yield_now().await;
        let late = promise.ack(1);
        promise.keep(Ok(Sent { queue: 2, offset: 10, timings: None }));
        let mut offsets = Vec::new();
        for ack in waiting {
            offsets.push(ack.await.unwrap().unwrap().offset);
        }
        offsets.push(late.await.unwrap().offset);
        assert_eq!(offsets, [10, 13, 11]);

        let promise = Promise::default();
        let ack = promise.ack(0);
        drop(promise);
        assert!(ack.await.unwrap_err().outcome_unknown());
    }
}
