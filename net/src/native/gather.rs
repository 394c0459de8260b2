//! Questions that several reactors answer together, each for its own shards.
//!
//! Reads top-down: `gather` (a guest asks) -> one frame for each reactor that has a say ->
//! `take_part` (one of them has answered) -> `merge`.
//!
//! Invariants: the guest gets one reply, when the last part is there; if a part is an error, that
//! is the reply. Offsets that are committed together are stored shard by shard, as on one reactor.
//! Absent: a common point in time: the parts are of about the same moment.

use std::collections::BTreeMap;

use engine::io::Env;

use super::Desk;
use super::caller::{Caller, Out, Waiting};
use super::merge::{merge, merge_commits};
use super::refusal::Refusal;
use crate::server::ConnId;
use crate::wire::{
    NewOffset, OffsetCommit, Offsets, Reply, Request, RequestHeader, Timings, decode_reply,
    decode_request, encode_reply, encode_request,
};

/// A question on its way.
#[derive(Debug)]
pub(super) struct Gather {
    conn: ConnId,
    header: RequestHeader,
    op: u8,
    /// Of a commit: for each reactor, the places of its offsets in the request.
    places: Option<BTreeMap<usize, Vec<usize>>>,
    waiting: usize,
    /// By reactor: its reply.
    parts: Vec<(usize, Vec<u8>)>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Gathers {
    open: BTreeMap<u32, Gather>,
    next: u32,
}

impl Gathers {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn insert(&mut self, gather: Gather) -> u32 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.open.insert(number, gather);
        number
    }
}

impl<E: Env> Desk<E> {
    pub(super) fn gather(
        &mut self,
        conn: ConnId,
        header: RequestHeader,
        (request, frame): (&Request<'_>, &[u8]),
        out: &mut Out<'_>,
    ) {
        let op = request.operation().as_u8();
        let (frames, places) = match request {
            Request::OffsetCommit(commit) => self.split(&header, commit, out),
            _ => ((0..out.post.reactors()).map(|to| (to, frame.to_vec())).collect(), None),
        };
        let waiting = frames.len();
        let gather = Gather { conn, header, op, places, waiting, parts: Vec::new() };
        let gather = self.gathers.insert(gather);
        for (to, frame) in frames {
            if to == out.post.me() {
                if let Ok((header, request)) = decode_request(&frame) {
                    self.dispatch(Caller::Part(gather), header, &request, out);
                }
            } else if let Err(why) =
                out.post.ask(to, Waiting::Gather(gather), &frame, self.gathered)
            {
                let header = header.reply(Timings::default());
                out.refuse(Caller::Part(gather), op, &header, &Refusal::from(why));
            }
        }
        self.take_own_parts(out);
    }

    /// One commit for each reactor that owns some of the queues.
    #[allow(clippy::type_complexity)]
    fn split(
        &self,
        header: &RequestHeader,
        commit: &OffsetCommit<'_>,
        out: &Out<'_>,
    ) -> (Vec<(usize, Vec<u8>)>, Option<BTreeMap<usize, Vec<usize>>>) {
        let mut by_reactor: BTreeMap<usize, (Vec<NewOffset<'_>>, Vec<usize>)> = BTreeMap::new();
        for (place, offset) in commit.offsets.iter().enumerate() {
            let queue = self.broker.catalog().queue(offset.topic, offset.queue);
            let owner = queue.map_or(out.post.me(), |(_, queue)| out.post.owner(queue.shard));
            let (offsets, places) = by_reactor.entry(owner).or_default();
            offsets.push(offset);
            places.push(place);
        }
        let mut frames = Vec::new();
        let mut all_places = BTreeMap::new();
        for (reactor, (offsets, places)) in by_reactor {
            let (mut encoded, mut frame) = (Vec::new(), Vec::new());
            // Parts of a request that was within the limits.
            if let Ok(offsets) = Offsets::encode(&offsets, &mut encoded) {
                let part = Request::OffsetCommit(OffsetCommit { offsets, ..*commit });
                if encode_request(&mut frame, header, &part).is_ok() {
                    frames.push((reactor, frame));
                }
            }
            all_places.insert(reactor, places);
        }
        (frames, Some(all_places))
    }

    /// Another reactor's part of an answer.
    pub(super) fn take_part(&mut self, gather: u32, from: usize, frame: &[u8], out: &mut Out<'_>) {
        let Some(open) = self.gathers.open.get_mut(&gather) else { return };
        open.parts.push((from, frame.to_vec()));
        open.waiting = open.waiting.saturating_sub(1);
        if open.waiting == 0
            && let Some(open) = self.gathers.open.remove(&gather)
        {
            self.answer_gathered(open, out);
        }
    }

    /// This reactor's own parts of answers.
    pub(super) fn take_own_parts(&mut self, out: &mut Out<'_>) {
        for (gather, frame) in out.post.take_parts() {
            let me = out.post.me();
            self.take_part(gather, me, &frame, out);
        }
    }

    fn answer_gathered(&mut self, mut gather: Gather, out: &mut Out<'_>) {
        gather.parts.sort_by_key(|(reactor, _)| *reactor);
        let to = Caller::Guest(gather.conn);
        let header = gather.header.reply(Timings::default());
        let mut parts = Vec::with_capacity(gather.parts.len());
        for (reactor, frame) in &gather.parts {
            match decode_reply(frame) {
                Ok((_, Reply::Error { error, .. })) => {
                    return out.refuse(to, gather.op, &header, &Refusal::from(&error));
                }
                Ok((_, reply)) => parts.push((*reactor, reply)),
                Err(_) => return out.refuse(to, gather.op, &header, &Refusal::lost_part()),
            }
        }
        let post = &*out.post;
        let reply = match &gather.places {
            Some(places) => Some(merge_commits(places, &parts)),
            None => merge(parts, |shard| post.owner(shard), self.broker.catalog()),
        };
        match reply {
            Some(reply) => out.reply(to, |bytes| encode_reply(bytes, &header, &reply)),
            None => out.refuse(to, gather.op, &header, &Refusal::lost_part()),
        }
    }
}
