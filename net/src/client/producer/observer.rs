//! What a producer does, for those who measure it: a trait to implement, and one implementation
//! that counts.
//!
//! Everything is told per batch, never per record, from the tasks that deliver: an observer must
//! not block.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::super::{ClientError, Timings};

/// A batch whose fate is known.
#[derive(Clone, Copy, Debug)]
pub struct BatchReport {
    /// The queue.
    pub queue: u16,
    /// How many records there are in it.
    pub records: u32,
    /// Its size before compression.
    pub plain_bytes: usize,
    /// Its size as it was sent.
    pub sent_bytes: usize,
    /// How often it was sent.
    pub attempts: u32,
    /// From its first record's acceptance to the first attempt.
    pub queued: Duration,
    /// From its first record's acceptance to the end.
    pub took: Duration,
    /// Where the node spent its time, if the producer asks for it.
    pub timings: Option<Timings>,
}

/// Hears what a producer does. All methods do nothing unless implemented.
pub trait ProducerObserver: fmt::Debug + Send + Sync {
    /// A batch was stored as well as the ack level says.
    fn acknowledged(&self, batch: &BatchReport) {
        let _ = batch;
    }

    /// A batch was given up.
    fn failed(&self, batch: &BatchReport, error: &ClientError) {
        let _ = (batch, error);
    }

    /// What a queue has in flight is sent again, or the node is connected again, after a pause.
    fn retrying(&self, queue: u16, error: &ClientError, pause: Duration) {
        let _ = (queue, error, pause);
    }
}

/// Counts, and measures latencies.
#[derive(Debug)]
pub struct ProducerStats(Mutex<ProducerCounts>);

/// What [`ProducerStats`] has counted so far.
#[derive(Clone, Debug)]
pub struct ProducerCounts {
    /// Records acknowledged.
    pub records: u64,
    /// Batches acknowledged.
    pub batches: u64,
    /// Their bytes before compression.
    pub plain_bytes: u64,
    /// Their bytes as they were sent.
    pub sent_bytes: u64,
    /// Records given up.
    pub failed_records: u64,
    /// Pauses before trying again.
    pub retries: u64,
    /// From the acceptance of a batch's first record to its first attempt, in nanoseconds.
    pub queued_ns: Histogram<u64>,
    /// From the acceptance of a batch's first record to its acknowledgement, in nanoseconds.
    pub latency_ns: Histogram<u64>,
}

/// From a microsecond to ten minutes.
const LATENCY_NS: std::ops::RangeInclusive<u64> = 1_000..=600_000_000_000;
const DIGITS: u8 = 3;

impl ProducerStats {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        let empty = || {
            let (low, high) = LATENCY_NS.into_inner();
            let bounded = Histogram::new_with_bounds(low, high, DIGITS);
            // The bounds are constants that suit each other; the smallest one is the other choice.
            bounded.or_else(|_| Histogram::new(DIGITS)).ok()
        };
        let (queued_ns, latency_ns) = match (empty(), empty()) {
            (Some(queued), Some(latency)) => (queued, latency),
            _ => unreachable!("three digits are a valid precision"),
        };
        Self(Mutex::new(ProducerCounts {
            records: 0,
            batches: 0,
            plain_bytes: 0,
            sent_bytes: 0,
            failed_records: 0,
            retries: 0,
            queued_ns,
            latency_ns,
        }))
    }

    /// The counts of the moment.
    #[must_use]
    pub fn counts(&self) -> ProducerCounts {
        self.state().clone()
    }

    fn state(&self) -> MutexGuard<'_, ProducerCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ProducerStats {
    fn default() -> Self {
        Self::new()
    }
}

impl ProducerObserver for ProducerStats {
    fn acknowledged(&self, batch: &BatchReport) {
        let mut counts = self.state();
        counts.records += u64::from(batch.records);
        counts.batches += 1;
        counts.plain_bytes += batch.plain_bytes as u64;
        counts.sent_bytes += batch.sent_bytes as u64;
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        counts.queued_ns.saturating_record(nanos(batch.queued));
        counts.latency_ns.saturating_record(nanos(batch.took));
    }

    fn failed(&self, batch: &BatchReport, _: &ClientError) {
        self.state().failed_records += u64::from(batch.records);
    }

    fn retrying(&self, _: u16, _: &ClientError, _: Duration) {
        self.state().retries += 1;
    }
}
