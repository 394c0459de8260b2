//! Delivers one queue's batches: sends them, a few at a time, waits for the oldest one's reply, and
//! sends again what may be sent again.
//!
//! Reads top-down: [`start`] -> `run` -> `advance` (`fill`, then the oldest reply) -> `recover`.
//!
//! | the oldest batch was | idempotent | plain |
//! |---|---|---|
//! | acknowledged | it is done | it is done |
//! | refused for now (BUSY, ...) | after a pause it is sent again, and all behind it: they were refused, too | it alone is sent again |
//! | refused as not in order | the node lost what came before: all goes again under the next epoch | - |
//! | refused for good | it is given up; those behind it move up | it is given up |
//! | not answered (connection, timeout) | over a new connection, all of them again | all that were sent are given up |
//! | given up in doubt | those behind it are not sent again, see `settle`; then the next epoch | - |
//!
//! Why the last line: 1. batches A and B are on their way, the connection breaks; 2. A's time is
//! over, it is given up, though it may be stored; 3. B under a new epoch would be stored a second
//! time if both had arrived. So B's fate is what its own reply says, or unknown.
//!
//! Invariants: `sent` is in order of acceptance and is settled from the front; with numbers, a batch
//! is sent under other numbers only if it is certain that it is not stored under the old ones.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::super::admin::answer;
use super::super::backoff::Backoff;
use super::super::connection::Connection;
use super::super::{ClientError, ErrorCode};
use super::Core;
use super::lane::{Line, Next, SharedLane};
use super::parcel::Parcel;
use super::record::Sent;
use crate::wire::{Produce, Reply, Request, RequestHeader, decode_reply};

/// Delivers what is in a lane, until nothing is.
pub(super) fn start(core: Arc<Core>, lane: SharedLane) {
    let backoff = Backoff::new(core.options.retry);
    let line = lane.line();
    let (sent, connection) = (VecDeque::new(), None);
    let delivery = Delivery { core, lane, line, sent, connection, backoff, last: None };
    tokio::spawn(delivery.run());
}

struct Delivery {
    core: Arc<Core>,
    lane: SharedLane,
    /// Of an idempotent producer.
    line: Option<Line>,
    sent: VecDeque<Parcel>,
    /// The one that was sent over last.
    connection: Option<Arc<Connection>>,
    backoff: Backoff,
    /// Why something did not work, lately.
    last: Option<ClientError>,
}

/// Why the oldest batch is not done.
enum Trouble {
    /// The node's answer to it.
    Refused(ClientError),
    /// The connection, or there is none.
    Broken(ClientError),
    /// Its time is over.
    Late,
}

impl Delivery {
    async fn run(mut self) {
        loop {
            match self.advance().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(trouble) => self.recover(trouble).await,
            }
        }
    }

    /// A step; `false`: there is nothing more to do.
    async fn advance(&mut self) -> Result<bool, Trouble> {
        let due = self.fill().await?;
        let lane = Arc::clone(&self.lane);
        let takes_more = self.sent.len() < self.core.options.in_flight_max;
        if self.sent.is_empty() {
            let Some(due) = due else { return Ok(!lane.rest(self.line)) };
            tokio::select! {
                () = sleep_until(due) => {}
                () = lane.work() => {}
            }
            return Ok(true);
        }
        let linger = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let frame = tokio::select! {
            biased;
            frame = self.oldest_reply() => frame?,
            () = lane.work(), if takes_more => return Ok(true),
            () = linger, if takes_more => return Ok(true),
        };
        let sent = read(self.lane.queue, &frame).map_err(|error| match error {
            ClientError::Reply(_) => Trouble::Broken(error),
            _ => Trouble::Refused(error),
        })?;
        self.backoff.reset();
        if let Some(done) = self.sent.pop_front() {
            self.settle(done, Ok(sent));
        }
        Ok(true)
    }

    /// Sends what is to be sent, as far as may be in flight; when the batch that lingers is due.
    async fn fill(&mut self) -> Result<Option<Instant>, Trouble> {
        self.expire().await;
        for at in 0..self.sent.len() {
            self.begin(at).await?;
        }
        while self.sent.len() < self.core.options.in_flight_max {
            match self.lane.take(self.core.options.linger, Instant::now()) {
                Next::Batch(filling) => {
                    let mut parcel = Parcel::new(filling, self.core.options.delivery_timeout);
                    if let Some(line) = &mut self.line {
                        parcel.number(line);
                    }
                    self.sent.push_back(parcel);
                    self.begin(self.sent.len() - 1).await?;
                }
                Next::At(due) => return Ok(Some(due)),
                Next::Nothing => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Sends a batch unless it is on its way. Everything before it is.
    async fn begin(&mut self, at: usize) -> Result<(), Trouble> {
        let deadline = self.sent.front().map_or_else(Instant::now, |oldest| oldest.deadline);
        if self.sent.get(at).is_none_or(|parcel| parcel.reply.is_some()) {
            return Ok(());
        }
        match timeout_at(deadline, self.attempt(at)).await {
            Ok(begun) => begun.map_err(Trouble::Broken),
            Err(_) => Err(Trouble::Late),
        }
    }

    /// Dropped half-way, it has sent nothing.
    async fn attempt(&mut self, at: usize) -> Result<(), ClientError> {
        let core = Arc::clone(&self.core);
        let connection = core.client.links.of_shard(self.lane.shard).await?;
        if self.line.is_some_and(|line| line.over) {
            let producer = core.client.init_producer().await?;
            self.line = Some(Line::new(producer));
            self.renumber();
        }
        let Some(parcel) = self.sent.get_mut(at) else { return Ok(()) };
        let batch = parcel.batch(core.options.compression)?;
        let (topic, queue, ack) = (core.topic, self.lane.queue, core.options.ack);
        let request = Request::Produce(Produce { topic, queue, ack, batch });
        let header = RequestHeader { timings: core.options.timings, ..RequestHeader::default() };
        let reply = connection.start(header, &request).await?;
        parcel.begun(reply);
        self.connection = Some(connection);
        Ok(())
    }

    /// The reply to the oldest batch. Dropping this future loses nothing.
    async fn oldest_reply(&mut self) -> Result<Bytes, Trouble> {
        let timeout = self.core.client.links.config().request_timeout;
        let Some(oldest) = self.sent.front_mut() else { return std::future::pending().await };
        let Some(reply) = oldest.reply.as_mut() else { return std::future::pending().await };
        let patience = oldest.sent_at.map_or(oldest.deadline, |sent_at| sent_at + timeout);
        match timeout_at(patience.min(oldest.deadline), reply).await {
            Ok(frame) => frame.map_err(Trouble::Broken),
            Err(_) if oldest.deadline <= patience => Err(Trouble::Late),
            Err(_) => {
                let error = ClientError::TimedOut { timeout_ms: timeout.as_millis() as u64 };
                if let Some(connection) = &self.connection {
                    connection.abandon(&error);
                }
                Err(Trouble::Broken(error))
            }
        }
    }

    async fn recover(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Late => self.expire().await,
            Trouble::Broken(error) => {
                self.sent.iter_mut().for_each(Parcel::forget_attempt);
                if self.line.is_none() {
                    for parcel in std::mem::take(&mut self.sent) {
                        match parcel.unanswered {
                            true => self.settle(parcel, Err(error.clone())),
                            false => self.sent.push_back(parcel),
                        }
                    }
                }
                if error.passes() {
                    self.pause(error).await;
                } else {
                    self.give_up(error).await;
                }
            }
            Trouble::Refused(error) => {
                if let Some(oldest) = self.sent.front_mut() {
                    oldest.reply = None;
                }
                self.refused(error).await;
            }
        }
    }

    /// The oldest batch was refused; nobody waits for it any more.
    async fn refused(&mut self, error: ClientError) {
        let renewed = self.sent.front().is_none_or(|oldest| oldest.renewed);
        if error.is(ErrorCode::OutOfOrderSequence) && self.line.is_some() && !renewed {
            // What came before was acknowledged, at a level that allows the node to lose it; or the
            // node has forgotten us. Had this one been stored, the node would have said so.
            self.sent.iter_mut().for_each(Parcel::forget_attempt);
            if let Some(oldest) = self.sent.front_mut() {
                oldest.renewed = true;
            }
            self.next_epoch();
        } else if error.retryable() {
            if self.line.is_some() {
                self.sent.iter_mut().for_each(Parcel::forget_attempt);
            }
            self.pause(error).await;
        } else {
            self.give_up(error).await;
        }
    }

    /// Waits before the next attempt, no longer than the oldest batch has time.
    async fn pause(&mut self, error: ClientError) {
        let Some(oldest) = self.sent.front_mut() else { return };
        oldest.failures = oldest.failures.saturating_add(1);
        if self.backoff.is_enough(oldest.failures) {
            return self.give_up(error).await;
        }
        let left = oldest.deadline.saturating_duration_since(Instant::now());
        let pause = self.backoff.pause(error.retry_after());
        tracing::debug!(queue = self.lane.queue, %error, ?pause, "trying again");
        if let Some(observer) = &self.core.options.observer {
            observer.retrying(self.lane.queue, &error, pause.min(left));
        }
        self.last = Some(error);
        sleep(pause.min(left)).await;
    }

    /// Gives up batches whose time is over.
    async fn expire(&mut self) {
        while self.sent.front().is_some_and(|oldest| oldest.deadline <= Instant::now()) {
            let timeout = self.core.options.delivery_timeout;
            let error = ClientError::NotDelivered {
                timeout_ms: timeout.as_millis() as u64,
                unknown: self.sent.front().is_some_and(Parcel::in_doubt),
                last: self.last.clone().map(Arc::new),
            };
            self.give_up(error).await;
        }
    }

    /// Gives up the oldest batch, for this reason.
    async fn give_up(&mut self, error: ClientError) {
        let Some(oldest) = self.sent.pop_front() else { return };
        let in_doubt = oldest.in_doubt() || error.outcome_unknown();
        let error = if in_doubt && !error.outcome_unknown() {
            let timeout_ms = oldest.filling.since.elapsed().as_millis() as u64;
            ClientError::NotDelivered { timeout_ms, unknown: true, last: Some(Arc::new(error)) }
        } else {
            error
        };
        let sequence = oldest.sequence;
        self.settle(oldest, Err(error));
        if self.line.is_none() {
            return;
        }
        if in_doubt {
            self.settle_rest().await;
            self.next_epoch();
            return;
        }
        // Its numbers are free, and what was sent behind it was refused for the gap.
        self.sent.iter_mut().for_each(Parcel::forget_attempt);
        if let Some(line) = &mut self.line {
            line.next = sequence;
        }
        self.renumber();
    }

    /// What was sent behind a batch in doubt: done if its own reply says so, to be sent again if
    /// its one attempt was refused, otherwise in doubt, too.
    async fn settle_rest(&mut self) {
        let timeout_ms = self.core.options.delivery_timeout.as_millis() as u64;
        let silence = ClientError::TimedOut { timeout_ms };
        let mut refused = VecDeque::new();
        while let Some(mut parcel) = self.sent.pop_front() {
            let result = match parcel.reply.take() {
                Some(reply) => match timeout_at(parcel.deadline, reply).await {
                    Ok(frame) => frame.and_then(|frame| read(self.lane.queue, &frame)),
                    Err(_) => Err(silence.clone()),
                },
                None if parcel.unanswered => Err(silence.clone()),
                None => {
                    refused.push_back(parcel);
                    continue;
                }
            };
            match result {
                Err(error) if !parcel.unanswered && !error.outcome_unknown() => {
                    refused.push_back(parcel);
                }
                Err(error) => {
                    let last = Some(Arc::new(error));
                    let error = ClientError::NotDelivered { timeout_ms, unknown: true, last };
                    self.settle(parcel, Err(error));
                }
                sent => self.settle(parcel, sent),
            }
        }
        self.sent = refused;
    }

    /// Begins another epoch, which shuts out whatever of the old one is still on its way.
    fn next_epoch(&mut self) {
        let Some(line) = &mut self.line else { return };
        match line.epoch.checked_add(1) {
            Some(epoch) => *line = Line { epoch, next: 0, ..*line },
            None => line.over = true,
        }
        self.renumber();
    }

    /// Numbers everything on its way, from the line's next number on.
    fn renumber(&mut self) {
        let Some(line) = &mut self.line else { return };
        for parcel in &mut self.sent {
            parcel.number(line);
        }
    }

    /// Says what became of a batch.
    fn settle(&mut self, parcel: Parcel, result: Result<Sent, ClientError>) {
        let report = parcel.report(self.lane.queue, result.as_ref().ok());
        match (&result, &self.core.options.observer) {
            (Ok(_), Some(observer)) => observer.acknowledged(&report),
            (Err(error), Some(observer)) => observer.failed(&report, error),
            _ => {}
        }
        if let Err(error) = &result {
            let failure = self.core.failure.lock();
            failure.unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
        }
        let filling = parcel.filling;
        self.core.room.add_permits(filling.cost);
        self.lane.give_back(filling.builder);
        filling.promise.keep(result);
    }
}

/// What a reply says of a batch.
fn read(queue: u16, frame: &Bytes) -> Result<Sent, ClientError> {
    let (header, _) = decode_reply(frame)?;
    let timings = header.timings;
    answer!(frame, Reply::Produce(offset) => Sent { queue, offset, timings })
}
