//! Which reactor answers a request: this one, the one that owns its shard, or several together.
//!
//! Reads top-down: `pass_on` (a guest's request) -> `ask` -> `open_post` (what came by post) ->
//! `read_letters`.
//!
//! Invariants: only a guest's request is passed on; a connection that has [`GUEST_COST_MAX`] on its
//! way is not read from until some of it is answered; letters wait while the shards are
//! congested, and their senders' budgets bound them.

use engine::broker::METADATA_SHARD;
use engine::io::Env;

use super::Desk;
use super::caller::{Caller, Out, Waiting};
use super::post::{NotSent, Post};
use super::refusal::Refusal;
use crate::server::ConnId;
use crate::wire::{ErrorCode, Request, RequestHeader, Timings, decode_request};

/// What one connection may have on its way to other reactors, in bytes.
pub(super) const GUEST_COST_MAX: u32 = 4 << 20;
/// Unsent output of all connections from which on fetches are not passed on, and replies that come
/// by post count as on their way.
pub(super) const UNSENT_BYTES_MAX: u64 = 64 << 20;

/// Who answers.
enum Route {
    Here,
    There(usize),
    Several,
}

impl<E: Env> Desk<E> {
    /// Passes a guest's request on if others must answer it; false: it is for this reactor.
    pub(super) fn pass_on(
        &mut self,
        conn: ConnId,
        header: RequestHeader,
        (request, frame): (&Request<'_>, &[u8]),
        out: &mut Out<'_>,
    ) -> bool {
        if out.post.is_alone() {
            return false;
        }
        match self.route(request, out.post) {
            Route::Here => return false,
            Route::There(to) => self.ask(conn, header, (request, frame), to, out),
            Route::Several => self.gather(conn, header, (request, frame), out),
        }
        true
    }

    fn route(&self, request: &Request<'_>, post: &Post) -> Route {
        let at = |reactor| if reactor == post.me() { Route::Here } else { Route::There(reactor) };
        let owner = |topic, queue| {
            let found = self.broker.catalog().queue(topic, queue);
            found.map_or(post.me(), |(_, place)| post.owner(place.shard))
        };
        match request {
            Request::Produce(produce) => at(owner(produce.topic, produce.queue)),
            Request::Fetch(fetch) => at(owner(fetch.topic, fetch.queue)),
            Request::ListOffsets(list) => at(owner(list.topic, list.queue)),
            Request::Lookup(lookup) => at(owner(lookup.topic, lookup.queue)),
            Request::TopicCreate(_)
            | Request::TopicDelete(_)
            | Request::TopicAlter(_)
            | Request::InitProducerId => at(post.owner(METADATA_SHARD)),
            Request::TopicDescribe(_) | Request::GroupList | Request::Stats { .. } => {
                Route::Several
            }
            Request::OffsetCommit(commit) => {
                let all = commit.offsets.iter().map(|offset| owner(offset.topic, offset.queue));
                one(all).map_or(Route::Several, at)
            }
            Request::OffsetFetch(fetch) if fetch.places.count() > 0 => {
                one(fetch.places.iter().map(|(topic, queue)| owner(topic, queue)))
                    .map_or(Route::Several, at)
            }
            Request::OffsetFetch(_) => Route::Several,
            Request::Hello(_) | Request::Ping(_) | Request::Metadata(_) | Request::TopicList => {
                Route::Here
            }
        }
    }

    fn ask(
        &mut self,
        conn: ConnId,
        header: RequestHeader,
        (request, frame): (&Request<'_>, &[u8]),
        to: usize,
        out: &mut Out<'_>,
    ) {
        let is_fetch = matches!(request, Request::Fetch(_));
        let sent = if is_fetch && out.outbox.unsent_total() > UNSENT_BYTES_MAX {
            Err(NotSent::Full)
        } else {
            out.post.ask(to, Waiting::Guest(conn), frame, self.gathered)
        };
        match sent {
            Ok(cost) => {
                if let Some(guest) = self.guest(conn) {
                    guest.calls += 1;
                    guest.asked_cost = guest.asked_cost.saturating_add(cost);
                }
            }
            // Nobody waits for an answer.
            Err(_) if header.one_way => {}
            Err(why) => {
                let op = request.operation().as_u8();
                let header = header.reply(Timings::default());
                out.refuse(Caller::Guest(conn), op, &header, &Refusal::from(why));
            }
        }
    }

    /// Looks at everything that came by post.
    pub(super) fn open_post(&mut self, out: &mut Out<'_>) {
        for from in out.post.others() {
            while let Some(mut mail) = out.post.receive(from) {
                for change in &mail.changes {
                    self.broker.follow(change, &mut self.answers);
                }
                if !mail.changes.is_empty() {
                    out.post.acknowledge(from, mail.changes.len());
                }
                mail.answers(|answer, frame| match answer.waits {
                    Waiting::Guest(conn) => self.deliver(conn, answer.cost, frame, out),
                    Waiting::Gather(gather) => self.take_part(gather, from, frame, out),
                });
                self.bundles.push_back(mail.letters(from));
            }
        }
        self.read_letters(out);
    }

    /// A reply to a request that was passed on.
    fn deliver(&mut self, conn: ConnId, cost: u32, frame: &[u8], out: &mut Out<'_>) {
        if let Some(guest) = self.guest(conn) {
            guest.calls = guest.calls.saturating_sub(1);
            guest.asked_cost = guest.asked_cost.saturating_sub(cost);
        }
        // Also with an empty frame: the connection may have stopped being read.
        if let Some(bytes) = out.outbox.bytes(conn) {
            bytes.extend_from_slice(frame);
        }
    }

    /// Answers requests of other reactors, as long as there is room for more.
    fn read_letters(&mut self, out: &mut Out<'_>) {
        let own = self.gathered;
        while let Some(mut bundle) = self.bundles.pop_front() {
            let from = bundle.from as u16;
            while !self.broker.is_congested()
                && let Some((letter, frame)) = bundle.next()
            {
                self.gathered = letter.gathered;
                let caller = Caller::Peer { reactor: from, waits: letter.waits, cost: letter.cost };
                self.answer_letter(caller, frame, out);
            }
            if !bundle.is_empty() {
                self.bundles.push_front(bundle);
                break;
            }
            // Not before: what they asked for last would be parked when they are forgotten.
            bundle.left.iter().for_each(|conn| self.leavers.add(Some(from), *conn));
        }
        self.gathered = own;
    }

    fn answer_letter(&mut self, caller: Caller, frame: &[u8], out: &mut Out<'_>) {
        // It was read before it was sent: it can be read again.
        let Ok((header, request)) = decode_request(frame) else {
            return out.reply(caller, |_| {});
        };
        self.dispatch(caller, header, &request, out);
        if header.one_way {
            out.reply(caller, |_| {});
        }
    }
}

/// The reactor that all belong to, if it is one.
fn one(mut all: impl Iterator<Item = usize>) -> Option<usize> {
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

impl From<NotSent> for Refusal {
    fn from(why: NotSent) -> Self {
        match why {
            NotSent::Full => Self::busy("too much waits for another reactor"),
            NotSent::Stopping => Self::new(ErrorCode::ShuttingDown, "the node is stopping"),
        }
    }
}
