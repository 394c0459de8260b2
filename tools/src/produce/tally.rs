//! What became of the messages, counted as batches are settled.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use net::client::{BatchReport, ClientError, ProducerObserver};
use tokio::sync::Notify;

use crate::output::say;

/// Counts, and says when a node is away.
#[derive(Debug)]
pub(super) struct Tally {
    acknowledged: AtomicU64,
    failed: AtomicU64,
    batches: AtomicU64,
    sent_bytes: AtomicU64,
    retries: AtomicU64,
    /// The first one.
    error: Mutex<Option<ClientError>>,
    failure: Notify,
    /// It was said that the node is away.
    away: AtomicBool,
    patience: Duration,
}

/// The counts of a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) acknowledged: u64,
    pub(super) failed: u64,
    pub(super) batches: u64,
    pub(super) sent_bytes: u64,
    pub(super) retries: u64,
}

impl Tally {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            acknowledged: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            error: Mutex::new(None),
            failure: Notify::new(),
            away: AtomicBool::new(false),
            patience,
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            batches: self.batches.load(Ordering::Relaxed),
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }

    pub(super) fn error(&self) -> Option<ClientError> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until a message was given up.
    pub(super) async fn failure(&self) {
        self.failure.notified().await;
    }
}

impl ProducerObserver for Tally {
    fn acknowledged(&self, batch: &BatchReport) {
        self.acknowledged.fetch_add(u64::from(batch.records), Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.sent_bytes.fetch_add(batch.sent_bytes as u64, Ordering::Relaxed);
        if self.away.swap(false, Ordering::Relaxed) {
            say("uringmq: the node is back");
        }
    }

    fn failed(&self, batch: &BatchReport, error: &ClientError) {
        self.failed.fetch_add(u64::from(batch.records), Ordering::Relaxed);
        let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| error.clone());
        self.failure.notify_one();
    }

    fn retrying(&self, _: u16, error: &ClientError, _: Duration) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        let away =
            matches!(error, ClientError::ConnectionLost { .. } | ClientError::Connect { .. });
        if away && !self.away.swap(true, Ordering::Relaxed) {
            let patience = self.patience;
            say(format_args!("uringmq: {error}; trying again for up to {patience:?}"));
        }
    }
}
