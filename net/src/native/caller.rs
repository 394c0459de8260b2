//! Who asked, and where answers go: a connection of this reactor, another reactor, or a question
//! that several reactors answer together.

use super::post::Post;
use super::refusal::Refusal;
use crate::server::{ConnId, Outbox};
use crate::wire::{self, ReplyHeader};

/// Who waits for an answer in the reactor where it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// A connection.
    Guest(ConnId),
    /// A question that several reactors answer.
    Gather(u32),
}

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A connection of this reactor.
    Guest(ConnId),
    /// Another reactor, by letter.
    Peer {
        /// Which one.
        reactor: u16,
        /// Who waits there.
        waits: Waiting,
        /// What the letter cost.
        cost: u32,
    },
    /// This reactor, for its part of a question that several answer.
    Part(u32),
}

/// Ways out for answers.
pub(super) struct Out<'a> {
    pub(super) outbox: &'a mut Outbox,
    pub(super) post: &'a mut Post,
}

impl Out<'_> {
    /// Queues one whole frame, written by `write`; it leaves with this turn.
    pub(super) fn reply(&mut self, to: Caller, write: impl FnOnce(&mut Vec<u8>)) {
        match to {
            Caller::Guest(conn) => {
                if let Some(bytes) = self.outbox.bytes(conn) {
                    write(bytes);
                }
            }
            Caller::Peer { reactor, waits, cost } => {
                self.post.answer((reactor, waits, cost), write);
            }
            Caller::Part(gather) => self.post.answer_part(gather, write),
        }
    }

    /// Queues an error reply.
    pub(super) fn refuse(&mut self, to: Caller, op: u8, header: &ReplyHeader, refusal: &Refusal) {
        self.reply(to, |bytes| wire::encode_error(bytes, op, header, &refusal.reply()));
    }
}
