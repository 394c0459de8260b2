//! A connection that produces: up to `in_flight` requests outstanding, each known by its slot,
//! which is its correlation number.

use std::time::{Duration, Instant};

use net::wire::{ErrorReply, Reply, RequestHeader, Timings, decode_reply, encode_produce_header};

use super::batches::Batches;
use super::control::refused;
use super::link::Link;
use super::slots::{Sent, Slots};
use super::tally::Tally;
use super::verify::Lanes;
use super::{Dialect, Load, LoadError, Verifier};
use crate::pace::Schedule;

/// Replies are short; an error's sentence has at most 1 KiB.
const INPUT_BYTES: usize = 16 << 10;
/// Where a bare server's reply repeats the correlation number of the request.
const BARE_CORRELATION: std::ops::Range<usize> = 8..12;

/// What may be sent now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sending {
    /// Whatever there is a free slot for.
    Closed,
    /// What was due before this time.
    OpenUntil(Instant),
    /// Nothing more.
    Over,
}

/// One producer.
pub(super) struct Producer {
    pub(super) link: Link,
    number: u32,
    slots: Slots,
    schedule: Option<Schedule>,
    /// The broker was busy: send nothing before this time.
    pub(super) paused_until: Option<Instant>,
    /// The end of the last such pause.
    not_before: Instant,
    /// Messages sent so far.
    pub(super) sent: u64,
}

impl Producer {
    pub(super) fn connect(load: &Load, number: u32) -> Result<Self, LoadError> {
        let now = Instant::now();
        Ok(Self {
            link: Link::connect(load.addr, load.dialect, INPUT_BYTES)?,
            number,
            slots: Slots::new(load.in_flight, now),
            schedule: None,
            paused_until: None,
            not_before: now,
            sent: 0,
        })
    }

    /// From now on requests are due as this schedule says.
    pub(super) fn keep(&mut self, schedule: Schedule) {
        self.schedule = Some(schedule);
    }

    pub(super) fn outstanding(&self) -> usize {
        self.slots.outstanding()
    }

    /// Whether there is a slot for a request, and room in the socket.
    pub(super) fn can_send(&self) -> bool {
        self.slots.next().is_some() && !self.link.waits_for_room
    }

    /// Sends everything that is due and has a slot, with one call. False: some of it waits for
    /// room in the socket.
    pub(super) fn send(
        &mut self,
        sending: Sending,
        load: &Load,
        batches: &mut Batches,
        tally: &mut Tally,
    ) -> Result<bool, LoadError> {
        if self.slots.next().is_none() && self.link.output.is_empty() {
            return Ok(true);
        }
        let now = Instant::now();
        if self.paused_until.is_some_and(|until| now < until) {
            return self.link.flush();
        }
        self.not_before = self.paused_until.take().unwrap_or(self.not_before);
        while let Some(slot) = self.slots.next() {
            let Some(intended) = self.due(sending, now) else { break };
            let ready = self.slots.ready(slot, intended, self.not_before);
            tally.sent(ready, now);
            let sent = Sent { intended, ready, real: now, first: self.sent, payload_bytes: 0 };
            let stamp = load.stamps.then(|| Tally::stamp(intended));
            self.queue(slot, sent, stamp, load, batches)?;
        }
        self.link.flush()
    }

    fn due(&mut self, sending: Sending, now: Instant) -> Option<Instant> {
        match (sending, self.schedule.as_mut()) {
            (Sending::Over, _) => None,
            (Sending::Closed, _) | (Sending::OpenUntil(_), None) => Some(now),
            (Sending::OpenUntil(end), Some(schedule)) => {
                (schedule.next() < end).then(|| schedule.take_due(now)).flatten()
            }
        }
    }

    fn queue(
        &mut self,
        slot: u32,
        sent: Sent,
        stamp: Option<u64>,
        load: &Load,
        batches: &mut Batches,
    ) -> Result<(), LoadError> {
        let batch = batches.make(&load.messages, self.number, self.sent, stamp)?;
        let header = RequestHeader {
            correlation: slot,
            timings: load.timings && load.dialect == Dialect::Native,
            ..RequestHeader::default()
        };
        let queue = Lanes::of(load).queue(self.number, self.sent);
        let (output, ack) = (&mut self.link.output, Some(load.ack));
        let topic = load.topic_of(self.number);
        encode_produce_header(output, &header, topic, queue, ack, batch.bytes.len())?;
        output.extend_from_slice(batch.bytes);
        self.slots.put(Sent { payload_bytes: batch.payload_bytes, ..sent });
        self.sent += u64::from(load.batch);
        Ok(())
    }

    /// Takes all answers that have arrived. `answered` is when they would have been seen if the
    /// generator had been woken in time.
    pub(super) fn receive(
        &mut self,
        answered: Instant,
        load: &Load,
        tally: &mut Tally,
        mut verifier: Option<&mut Verifier>,
    ) -> Result<(), LoadError> {
        if !self.link.receive()? {
            return Ok(());
        }
        let now = Instant::now();
        while let Some(frame) = self.link.next_frame()? {
            let answer = Answer::read(frame, load.dialect)?;
            let Some(sent) = self.slots.take(answer.slot, answered) else {
                return Err(LoadError::Unexpected("a request that was not sent"));
            };
            match answer.refused {
                None => {
                    tally.answered(&sent, answer.timings.as_ref(), now);
                    if let Some(verifier) = verifier.as_deref_mut() {
                        verifier.acknowledged(load.batch);
                    }
                }
                Some(retry_after) => {
                    tally.refused();
                    self.paused_until = Some(now + retry_after);
                    if let Some(verifier) = verifier.as_deref_mut() {
                        verifier.unacknowledged(self.number, sent.first, load.batch);
                    }
                }
            }
        }
        Ok(())
    }

    /// Is something due before `end` that was not sent?
    pub(super) fn is_behind(&self, end: Instant) -> bool {
        self.schedule.as_ref().is_some_and(|schedule| schedule.next() < end)
    }

    /// Counts what was due before `end` and will not be sent any more.
    pub(super) fn give_up(&mut self, end: Instant, now: Instant, tally: &mut Tally) {
        if let Some(schedule) = self.schedule.as_mut() {
            while schedule.next() < end
                && let Some(intended) = schedule.take_due(now)
            {
                tally.given_up(intended, now);
            }
        }
    }
}

/// One reply, as far as a producer cares.
struct Answer {
    slot: u32,
    timings: Option<Timings>,
    /// Refused for now: try again after this time.
    refused: Option<Duration>,
}

impl Answer {
    fn read(frame: &[u8], dialect: Dialect) -> Result<Self, LoadError> {
        if dialect == Dialect::Bare {
            let slot = frame.get(BARE_CORRELATION).and_then(|bytes| bytes.try_into().ok());
            let slot = slot.ok_or(LoadError::Unexpected("with half a reply"))?;
            return Ok(Self { slot: u32::from_be_bytes(slot), timings: None, refused: None });
        }
        let (header, reply) = decode_reply(frame)?;
        let refused = match reply {
            Reply::Produce(_) => None,
            Reply::Error { error, .. } => Some(retry_after(&error)?),
            _ => return Err(LoadError::Unexpected("something else to a produce")),
        };
        Ok(Self { slot: header.correlation, timings: header.timings, refused })
    }
}

fn retry_after(error: &ErrorReply<'_>) -> Result<Duration, LoadError> {
    if error.code.retryable() {
        Ok(Duration::from_millis(u64::from(error.retry_after_ms.max(1))))
    } else {
        Err(refused("produce", error))
    }
}
