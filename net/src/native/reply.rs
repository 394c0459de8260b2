//! Answers of the engine become replies, all of one connection's in one buffer.

use engine::broker::{TopicAnswer, TopicError};
use engine::io::{Env, Nanos};
use engine::limits::ZERO_COPY_BYTES_MIN;
use engine::shard::{Effect, FetchError, Fetched, ProduceError, Token};
use engine::stage::{self, Stage};

use super::calls::Call;
use super::refusal::Refusal;
use super::{Native, refuse};
use crate::server::Outbox;
use crate::wire::{
    Operation, Reply, Timings, encode_fetch_header, encode_produce_reply, encode_reply,
};

/// Replies of the turn that is being sent.
#[derive(Debug, Default)]
pub(super) struct Sending {
    ready: Nanos,
    produced: u32,
    fetched: u32,
    /// Bytes of entries sent by reference, and copied because they were short.
    pub(super) by_reference_bytes: u64,
    pub(super) copied_bytes: u64,
}

impl<E: Env> Native<E> {
    /// Turns every answer of the turn into a reply.
    pub(super) fn reply_all(&mut self, ready: Nanos, out: &mut Outbox) {
        self.sending.ready = ready;
        self.reply_commits(out);
        if self.answers.effects.is_empty() && self.answers.topics.is_empty() {
            return;
        }
        // One clock read for all of them; what follows is the encoding itself.
        let now = self.broker.shards().first_mut().map_or(ready, |shard| shard.env().now());
        let mut effects = std::mem::take(&mut self.answers.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Produced { token, result, timings } => {
                    self.reply_produce(token, result, timings, now, out);
                }
                Effect::Fetched { token, result, timings } => {
                    self.reply_fetch(token, result, timings, now, out);
                }
            }
        }
        self.answers.effects = effects;
        let mut topics = std::mem::take(&mut self.answers.topics);
        for answer in topics.drain(..) {
            self.reply_topic(answer, out);
        }
        self.answers.topics = topics;
    }

    fn reply_produce(
        &mut self,
        token: Token,
        result: Result<u64, ProduceError>,
        timings: stage::Timings,
        now: Nanos,
        out: &mut Outbox,
    ) {
        let Some(Call { conn, header }) = self.calls.take(token) else { return };
        let header = header.reply(on_the_wire(&timings, self.sending.ready, now));
        match result {
            Ok(base_offset) => {
                self.sending.produced += 1;
                if let Some(bytes) = out.bytes(conn) {
                    encode_produce_reply(bytes, &header, base_offset);
                }
            }
            Err(error) => {
                refuse(conn, Operation::Produce.as_u8(), &header, &Refusal::from(&error), out);
            }
        }
    }

    fn reply_fetch(
        &mut self,
        token: Token,
        result: Result<Fetched, FetchError>,
        timings: stage::Timings,
        now: Nanos,
        out: &mut Outbox,
    ) {
        let Some(Call { conn, header }) = self.calls.take(token) else { return };
        let header = header.reply(on_the_wire(&timings, self.sending.ready, now));
        let fetched = match result {
            Ok(fetched) => fetched,
            Err(error) => {
                let refusal = Refusal::from(&error);
                return refuse(conn, Operation::Fetch.as_u8(), &header, &refusal, out);
            }
        };
        let Some(bytes) = out.bytes(conn) else { return };
        let (start, visible) = (fetched.start_offset, fetched.visible_offset);
        encode_fetch_header(bytes, &header, start, visible, fetched.extents.bytes);
        self.sending.fetched += u32::from(fetched.extents.bytes > 0);
        for extent in fetched.extents.slices {
            if extent.len() >= ZERO_COPY_BYTES_MIN {
                self.sending.by_reference_bytes += extent.len() as u64;
                out.slice(conn, extent);
            } else if let Some(bytes) = out.bytes(conn) {
                self.sending.copied_bytes += extent.len() as u64;
                bytes.extend_from_slice(&extent);
            }
        }
    }

    fn reply_topic(&mut self, answer: TopicAnswer, out: &mut Outbox) {
        let (token, op, result): (_, _, Result<Reply<'_>, TopicError>) = match answer {
            TopicAnswer::Created { token, result } => {
                (token, Operation::TopicCreate, result.map(Reply::TopicCreate))
            }
            TopicAnswer::Deleted { token, result } => {
                (token, Operation::TopicDelete, result.map(|()| Reply::TopicDelete))
            }
        };
        let Some(Call { conn, header }) = self.calls.take(token) else { return };
        let header = header.reply(Timings::default());
        match result {
            Ok(reply) => {
                if let Some(bytes) = out.bytes(conn) {
                    encode_reply(bytes, &header, &reply);
                }
            }
            Err(error) => refuse(conn, op.as_u8(), &header, &Refusal::from(&error), out),
        }
    }

    /// The turn's replies were given to the sockets: one record for all of each operation.
    pub(super) fn record_sent(&mut self, sent: Nanos) {
        let (produced, fetched) = (self.sending.produced, self.sending.fetched);
        if produced + fetched == 0 {
            return;
        }
        let nanos = sent.since(self.sending.ready);
        if let Some(shard) = self.broker.shards().first_mut() {
            let histograms = shard.histograms();
            histograms.record_one(stage::Operation::Produce, Stage::Send, nanos, produced);
            histograms.record_one(stage::Operation::Fetch, Stage::Send, nanos, fetched);
        }
        (self.sending.produced, self.sending.fetched) = (0, 0);
    }
}

fn on_the_wire(timings: &stage::Timings, ready: Nanos, now: Nanos) -> Timings {
    let [parse_ns, append_ns, flush_wait_ns, device_ns, replicate_ns, _] = timings.nanos;
    let send_ns = u32::try_from(now.since(ready)).unwrap_or(u32::MAX);
    Timings { parse_ns, append_ns, flush_wait_ns, device_ns, replicate_ns, send_ns }
}
