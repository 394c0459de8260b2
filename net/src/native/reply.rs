//! Answers of the engine become replies, all of one connection's in one buffer.

use engine::broker::{TopicAnswer, TopicError};
use engine::io::{Env, Nanos};
use engine::limits::ZERO_COPY_BYTES_MIN;
use engine::shard::{Effect, FetchError, Fetched, LookedUp, ProduceError, Sought, Token};
use engine::stage::{self, Stage};

use super::Desk;
use super::caller::{Caller, Out};
use super::calls::Call;
use super::refusal::Refusal;
use crate::wire::{
    LookupReply, OffsetReply, Operation, Reply, Timings, encode_fetch_header, encode_produce_reply,
    encode_reply,
};

/// Replies of the turn that is being sent. Sending begins where a request's last stage ended.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// The turn began: what earlier requests waited for was found.
    ready: Nanos,
    /// Its receive pass ended: until then its own requests were being received.
    pub(super) received: Nanos,
    /// Which of the answers are to requests of this turn: empty between turns.
    new: Vec<bool>,
    /// Replies to earlier requests, and to those of this turn.
    produced: [u32; 2],
    fetched: [u32; 2],
    /// Bytes of entries sent by reference, and copied because they were short.
    pub(super) by_reference_bytes: u64,
    pub(super) copied_bytes: u64,
}

impl Sending {
    /// When an answer was there to be sent.
    fn found(&self, is_new: bool) -> Nanos {
        if is_new { self.received } else { self.ready }
    }

    fn take_counts(&mut self, is_new: bool) -> (u32, u32) {
        let at = usize::from(is_new);
        (std::mem::take(&mut self.produced[at]), std::mem::take(&mut self.fetched[at]))
    }
}

impl<E: Env> Desk<E> {
    /// Turns every answer of the turn into a reply.
    pub(super) fn reply_all(&mut self, ready: Nanos, out: &mut Out<'_>) {
        self.sending.ready = ready;
        self.reply_commits(out);
        self.reply_topics(out);
        if self.answers.effects.is_empty() {
            return;
        }
        // One clock read for all of them; what follows is the encoding itself.
        let now = self.broker.shards().first_mut().map_or(ready, |shard| shard.env().now());
        let mut effects = std::mem::take(&mut self.answers.effects);
        // Each connection's send takes its time: who waits for a message has waited since it was
        // sent, and who sent it knows what it said.
        let carries = |effect: &Effect| matches!(effect, Effect::Fetched { .. });
        if effects.iter().any(carries) {
            effects.sort_by_key(|effect| !carries(effect));
        }
        // By now their calls lie in no near cache: looked at together they are waited for once.
        let mut new = std::mem::take(&mut self.sending.new);
        new.extend(effects.iter().map(|effect| self.calls.is_new(effect.token())));
        for (effect, is_new) in effects.drain(..).zip(new.drain(..)) {
            match effect {
                Effect::Produced { token, result, timings } => {
                    self.reply_produce(token, result, (timings, is_new), now, out);
                }
                Effect::Fetched { token, result, timings } => {
                    self.reply_fetch(token, result, (timings, is_new), now, out);
                }
                Effect::Sought { token, result } => self.reply_seek(token, result, out),
                Effect::LookedUp { token, result } => self.reply_lookup(token, result, out),
            }
        }
        self.answers.effects = effects;
        self.sending.new = new;
    }

    /// Topics have changed: all reactors learn it, and when they can serve what is new, whoever
    /// asked for it is answered.
    fn reply_topics(&mut self, out: &mut Out<'_>) {
        for change in self.broker.take_changes() {
            out.post.announce(change);
        }
        // Those of this turn wait for all changes of this turn; failures wait for earlier ones.
        let version = out.post.version();
        self.topics.extend(self.answers.topics.drain(..).map(|answer| (version, answer)));
        let known = out.post.known_everywhere();
        while let Some((_, answer)) = self.topics.pop_front_if(|(version, _)| *version <= known) {
            self.reply_topic(answer, out);
        }
    }

    fn reply_produce(
        &mut self,
        token: Token,
        result: Result<u64, ProduceError>,
        (timings, is_new): (stage::Timings, bool),
        now: Nanos,
        out: &mut Out<'_>,
    ) {
        let Some(Call { caller, header, .. }) = self.answered(token) else { return };
        let header = header.reply(on_the_wire(&timings, self.sending.found(is_new), now));
        match result {
            Ok(base_offset) => {
                self.sending.produced[usize::from(is_new)] += 1;
                out.reply(caller, |bytes| encode_produce_reply(bytes, &header, base_offset));
            }
            Err(error) => {
                out.refuse(caller, Operation::Produce.as_u8(), &header, &Refusal::from(&error));
            }
        }
    }

    fn reply_fetch(
        &mut self,
        token: Token,
        result: Result<Fetched, FetchError>,
        (timings, is_new): (stage::Timings, bool),
        now: Nanos,
        out: &mut Out<'_>,
    ) {
        let Some(Call { caller, header, topic }) = self.answered(token) else { return };
        let header = header.reply(on_the_wire(&timings, self.sending.found(is_new), now));
        let op = Operation::Fetch.as_u8();
        let fetched = match result {
            Ok(_) if out.post.is_replying_much(&caller) => {
                let refusal = Refusal::busy("too many entries are on their way to that reactor");
                return out.refuse(caller, op, &header, &refusal);
            }
            Ok(fetched) => fetched,
            Err(error) => return out.refuse(caller, op, &header, &Refusal::from(&error)),
        };
        self.sending.fetched[usize::from(is_new)] += u32::from(fetched.extents.bytes > 0);
        let (start, visible) = (fetched.start_offset, fetched.visible_offset);
        let extents = fetched.extents;
        if extents.bytes > 0 {
            self.given.add(topic, extents.records, u64::from(extents.bytes));
            self.given.forget_if_many(self.broker.catalog());
        }
        let head = |bytes: &mut Vec<u8>| {
            encode_fetch_header(bytes, &header, start, visible, extents.bytes);
        };
        let Caller::Guest(conn) = caller else {
            self.sending.copied_bytes += u64::from(extents.bytes);
            return out.reply(caller, |bytes| {
                head(bytes);
                extents.slices.iter().for_each(|extent| bytes.extend_from_slice(extent));
            });
        };
        let Some(bytes) = out.outbox.bytes(conn) else { return };
        head(bytes);
        for extent in extents.slices {
            if extent.len() >= ZERO_COPY_BYTES_MIN {
                self.sending.by_reference_bytes += extent.len() as u64;
                out.outbox.slice(conn, extent);
            } else if let Some(bytes) = out.outbox.bytes(conn) {
                self.sending.copied_bytes += extent.len() as u64;
                bytes.extend_from_slice(&extent);
            }
        }
    }

    fn reply_seek(&mut self, token: Token, result: Result<Sought, FetchError>, out: &mut Out<'_>) {
        let Some(Call { caller, header, .. }) = self.answered(token) else { return };
        let header = header.reply(Timings::default());
        match result {
            Ok(Sought { batch, visible_offset }) => {
                let (offset, stored_ms) = batch.unwrap_or((visible_offset, u64::MAX));
                let found = i64::try_from(stored_ms).unwrap_or(i64::MAX);
                let timestamp_ms = if batch.is_some() { found } else { -1 };
                let reply = Reply::ListOffsets(OffsetReply { offset, timestamp_ms });
                out.reply(caller, |bytes| encode_reply(bytes, &header, &reply));
            }
            Err(error) => {
                let op = Operation::ListOffsets.as_u8();
                out.refuse(caller, op, &header, &Refusal::from(&error));
            }
        }
    }

    fn reply_lookup(
        &mut self,
        token: Token,
        result: Result<LookedUp, FetchError>,
        out: &mut Out<'_>,
    ) {
        let Some(Call { caller, header, .. }) = self.answered(token) else { return };
        let header = header.reply(Timings::default());
        match result {
            Ok(LookedUp { offsets, reached, start_offset, visible_offset }) => {
                let (log_start, visible) = (start_offset, visible_offset);
                let found = LookupReply { reached, log_start, visible, offsets: offsets.into() };
                out.reply(caller, |bytes| encode_reply(bytes, &header, &Reply::Lookup(found)));
            }
            Err(error) => {
                let op = Operation::Lookup.as_u8();
                out.refuse(caller, op, &header, &Refusal::from(&error));
            }
        }
    }

    fn reply_topic(&mut self, answer: TopicAnswer, out: &mut Out<'_>) {
        let (token, op, result): (_, _, Result<Reply<'_>, TopicError>) = match answer {
            TopicAnswer::Created { token, result } => {
                (token, Operation::TopicCreate, result.map(Reply::TopicCreate))
            }
            TopicAnswer::Deleted { token, result } => {
                (token, Operation::TopicDelete, result.map(|()| Reply::TopicDelete))
            }
            TopicAnswer::Altered { token, result } => {
                (token, Operation::TopicAlter, result.map(|()| Reply::TopicAlter))
            }
        };
        let Some(Call { caller, header, .. }) = self.answered(token) else { return };
        let header = header.reply(Timings::default());
        match result {
            Ok(reply) => out.reply(caller, |bytes| encode_reply(bytes, &header, &reply)),
            Err(error) => out.refuse(caller, op.as_u8(), &header, &Refusal::from(&error)),
        }
    }

    /// The turn's replies were given to the sockets: one record for all of each operation that
    /// were found at the same time.
    pub(super) fn record_sent(&mut self, sent: Nanos) {
        let Some(shard) = self.broker.shards().first_mut() else { return };
        let histograms = shard.histograms();
        for is_new in [false, true] {
            let nanos = sent.since(self.sending.found(is_new));
            let (produced, fetched) = self.sending.take_counts(is_new);
            histograms.record_one(stage::Operation::Produce, Stage::Send, nanos, produced);
            histograms.record_one(stage::Operation::Fetch, Stage::Send, nanos, fetched);
        }
    }
}

fn on_the_wire(timings: &stage::Timings, found: Nanos, now: Nanos) -> Timings {
    let [parse_ns, append_ns, flush_wait_ns, device_ns, replicate_ns, _] = timings.nanos;
    let send_ns = u32::try_from(now.since(found)).unwrap_or(u32::MAX);
    Timings { parse_ns, append_ns, flush_wait_ns, device_ns, replicate_ns, send_ns }
}
