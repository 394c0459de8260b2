//! The post between the reactors of a node: requests for shards of another reactor, their replies,
//! changes of topics.
//!
//! A request goes as the frame it came in and is answered by a frame, once: whoever gets one by post
//! answers for its own shards and never passes it on. What a turn has for another reactor leaves as
//! one [`Mail`] at its end.
//!
//! Invariants: every letter is answered, if only with nothing (a one-way produce); what waits for
//! another reactor costs at most [`ASKED_COST_MAX`], and replies on their way to one at most
//! [`REPLYING_BYTES_MAX`] and one turn's; after `finished` a reactor asks nothing any more.
//! Absent: what the frames mean.

use std::sync::Arc;

use engine::broker::change_format::Change;
use engine::io::Nanos;

use super::caller::{Caller, Waiting};
use crate::server::{ConnId, Mesh, Waker};

/// What all requests that wait for one other reactor may cost together, in bytes.
pub(super) const ASKED_COST_MAX: u64 = 32 << 20;
/// Replies on their way to one other reactor: from here on fetches are refused.
pub(super) const REPLYING_BYTES_MAX: u64 = 32 << 20;
/// What a request costs beside its frame.
const LETTER_COST: u32 = 256;
/// When to try again after another reactor had no room.
const RETRY_NANOS: u64 = 1_000_000;

/// A request for a shard of another reactor.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) waits: Waiting,
    pub(super) cost: u32,
    /// When the turn began that received it.
    pub(super) gathered: Nanos,
    frame_bytes: usize,
}

/// The answer to a letter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) waits: Waiting,
    pub(super) cost: u32,
    frame_bytes: usize,
}

/// What one reactor sends another in a turn.
#[derive(Debug, Default)]
pub(super) struct Mail {
    letters: Vec<Letter>,
    letter_frames: Vec<u8>,
    answers: Vec<Answer>,
    answer_frames: Vec<u8>,
    /// Changes of topics, in order.
    pub(super) changes: Vec<Arc<Change>>,
    /// Connections that have closed, with requests for this one on their way or waiting there.
    left: Vec<ConnId>,
    /// So many changes are in force where this comes from.
    learned: Option<u64>,
    /// So many bytes of replies were given to their connections.
    taken_bytes: u64,
    finished: bool,
}

/// Letters of one mail, to be read one by one.
#[derive(Debug)]
pub(super) struct Bundle {
    pub(super) from: usize,
    /// Connections that had closed when it was sent: these letters, and those of bundles before it,
    /// are the last of theirs.
    pub(super) left: Vec<ConnId>,
    letters: std::vec::IntoIter<Letter>,
    frames: Vec<u8>,
    at: usize,
}

impl Bundle {
    /// The next letter with its frame.
    pub(super) fn next(&mut self) -> Option<(Letter, &[u8])> {
        let letter = self.letters.next()?;
        let from = self.at;
        self.at += letter.frame_bytes;
        Some((letter, self.frames.get(from..self.at).unwrap_or_default()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.letters.len() == 0
    }
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.letters.is_empty()
            && self.answers.is_empty()
            && self.changes.is_empty()
            && self.left.is_empty()
            && self.learned.is_none()
            && self.taken_bytes == 0
            && !self.finished
    }

    /// Takes the letters out, and who has left behind them.
    pub(super) fn letters(&mut self, from: usize) -> Bundle {
        let letters = std::mem::take(&mut self.letters).into_iter();
        let (left, frames) =
            (std::mem::take(&mut self.left), std::mem::take(&mut self.letter_frames));
        Bundle { from, left, letters, frames, at: 0 }
    }

    /// Hands every answer to `each`, with its frame.
    pub(super) fn answers(&mut self, mut each: impl FnMut(Answer, &[u8])) {
        let mut rest = self.answer_frames.as_slice();
        for answer in self.answers.drain(..) {
            let (frame, behind) = rest.split_at_checked(answer.frame_bytes).unwrap_or_default();
            rest = behind;
            each(answer, frame);
        }
    }
}

/// What is known of another reactor, and what goes there next.
#[derive(Debug, Default)]
struct Peer {
    mail: Mail,
    asked: u64,
    asked_cost: u64,
    replying_bytes: u64,
    /// Bytes of its replies that were given to connections, and that it was not told of yet.
    taken_bytes: u64,
    learned: u64,
    finished: bool,
}

/// One reactor's post office.
#[derive(Debug)]
pub struct Post {
    mesh: Mesh<Mail>,
    /// By reactor; this one's own stays empty.
    peers: Vec<Peer>,
    /// Answers of this reactor itself to questions that several answer.
    parts: Vec<(u32, Vec<u8>)>,
    /// Changes of topics that were announced, or learned, so far.
    version: u64,
    announced_finish: bool,
    forwarded: u64,
}

/// Why a request cannot go to another reactor now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotSent {
    /// Too much waits there.
    Full,
    /// That reactor has ended, or this one is about to.
    Stopping,
}

impl Post {
    /// The post of each of several reactors.
    #[must_use]
    pub fn among(wakers: &[Waker]) -> Vec<Self> {
        Mesh::new(wakers).into_iter().map(Self::new).collect()
    }

    /// The post of a reactor that has no others.
    #[must_use]
    pub fn alone() -> Self {
        Self::new(Mesh::alone())
    }

    fn new(mesh: Mesh<Mail>) -> Self {
        let peers = (0..mesh.reactors()).map(|_| Peer::default()).collect();
        Self { mesh, peers, parts: Vec::new(), version: 0, announced_finish: false, forwarded: 0 }
    }

    pub(super) fn me(&self) -> usize {
        self.mesh.me()
    }

    pub(super) fn reactors(&self) -> usize {
        self.mesh.reactors()
    }

    pub(super) fn is_alone(&self) -> bool {
        self.mesh.reactors() <= 1
    }

    /// The reactor that hosts a shard.
    pub(super) fn owner(&self, shard: u16) -> usize {
        usize::from(shard) % self.mesh.reactors().max(1)
    }

    /// Requests passed on so far.
    pub(super) fn forwarded(&self) -> u64 {
        self.forwarded
    }

    /// What a request of this length costs.
    pub(super) fn cost(frame: &[u8]) -> u32 {
        u32::try_from(frame.len()).unwrap_or(u32::MAX).saturating_add(LETTER_COST)
    }

    /// Sends a request to another reactor with this turn's mail.
    pub(super) fn ask(
        &mut self,
        to: usize,
        waits: Waiting,
        frame: &[u8],
        gathered: Nanos,
    ) -> Result<u32, NotSent> {
        if self.announced_finish || self.mesh.is_gone(to) {
            return Err(NotSent::Stopping);
        }
        let peer = self.peers.get_mut(to).ok_or(NotSent::Stopping)?;
        let cost = Self::cost(frame);
        if peer.asked_cost + u64::from(cost) > ASKED_COST_MAX {
            return Err(NotSent::Full);
        }
        self.forwarded += 1;
        peer.asked += 1;
        peer.asked_cost += u64::from(cost);
        peer.mail.letters.push(Letter { waits, cost, gathered, frame_bytes: frame.len() });
        peer.mail.letter_frames.extend_from_slice(frame);
        Ok(cost)
    }

    /// Answers a letter with what `write` appends.
    pub(super) fn answer(
        &mut self,
        (reactor, waits, cost): (u16, Waiting, u32),
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(peer) = self.peers.get_mut(usize::from(reactor)) else { return };
        let frames = &mut peer.mail.answer_frames;
        let begin = frames.len();
        write(frames);
        let frame_bytes = frames.len() - begin;
        peer.replying_bytes += frame_bytes as u64;
        peer.mail.answers.push(Answer { waits, cost, frame_bytes });
    }

    /// Keeps this reactor's own answer to a question that several answer.
    pub(super) fn answer_part(&mut self, gather: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let mut frame = Vec::new();
        write(&mut frame);
        self.parts.push((gather, frame));
    }

    pub(super) fn take_parts(&mut self) -> Vec<(u32, Vec<u8>)> {
        std::mem::take(&mut self.parts)
    }

    /// Whether so many replies are on their way to the caller's reactor that no more entries
    /// should go there.
    pub(super) fn is_replying_much(&self, caller: &Caller) -> bool {
        let Caller::Peer { reactor, .. } = caller else { return false };
        let peer = self.peers.get(usize::from(*reactor));
        peer.is_some_and(|peer| peer.replying_bytes > REPLYING_BYTES_MAX)
    }

    /// Tells all others of a change of topics.
    pub(super) fn announce(&mut self, change: Change) {
        self.version += 1;
        let change = Arc::new(change);
        for to in self.mesh.others() {
            if let Some(peer) = self.peers.get_mut(to) {
                peer.mail.changes.push(Arc::clone(&change));
            }
        }
    }

    /// Tells all others that nobody waits any more for what this connection has asked of them.
    pub(super) fn tell_left(&mut self, conn: ConnId) {
        for to in self.mesh.others() {
            if let Some(peer) = self.peers.get_mut(to) {
                peer.mail.left.push(conn);
            }
        }
    }

    /// Changes announced so far.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// So many of them are in force everywhere.
    pub(super) fn known_everywhere(&self) -> u64 {
        let others = self.mesh.others().filter(|reactor| !self.mesh.is_gone(*reactor));
        let learned = others.filter_map(|reactor| self.peers.get(reactor));
        learned.map(|peer| peer.learned).min().unwrap_or(u64::MAX)
    }

    /// So many further changes, which that reactor has announced, are in force here.
    pub(super) fn acknowledge(&mut self, to: usize, changes: usize) {
        self.version += changes as u64;
        if let Some(peer) = self.peers.get_mut(to) {
            peer.mail.learned = Some(self.version);
        }
    }

    /// The next mail of another reactor.
    pub(super) fn receive(&mut self, from: usize) -> Option<Mail> {
        let mail = self.mesh.receive(from)?;
        let peer = self.peers.get_mut(from)?;
        for answer in &mail.answers {
            peer.asked = peer.asked.saturating_sub(1);
            peer.asked_cost = peer.asked_cost.saturating_sub(u64::from(answer.cost));
        }
        peer.replying_bytes = peer.replying_bytes.saturating_sub(mail.taken_bytes);
        peer.learned = mail.learned.unwrap_or(peer.learned);
        peer.finished |= mail.finished;
        peer.taken_bytes += mail.answer_frames.len() as u64;
        Some(mail)
    }

    pub(super) fn others(&self) -> impl Iterator<Item = usize> + use<> {
        self.mesh.others()
    }

    /// Sends the turn's mail; when to call again, if some found no room. While the connections here
    /// are `clogged`, the others are not told that their replies have gone to them.
    pub(super) fn send(&mut self, now: Nanos, clogged: bool) -> Option<Nanos> {
        self.mesh.flush();
        for (to, peer) in self.peers.iter_mut().enumerate() {
            if !clogged {
                peer.mail.taken_bytes += std::mem::take(&mut peer.taken_bytes);
            }
            if !peer.mail.is_empty() {
                self.mesh.send(to, std::mem::take(&mut peer.mail));
            }
        }
        (!self.mesh.is_idle()).then(|| now.plus(RETRY_NANOS))
    }

    /// Whether an answer of another reactor is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        let others = self.mesh.others().filter(|reactor| !self.mesh.is_gone(*reactor));
        others.filter_map(|reactor| self.peers.get(reactor)).any(|peer| peer.asked > 0)
    }

    /// Tells the others, once, that nothing will be asked of them any more.
    pub(super) fn finish(&mut self) {
        if !std::mem::replace(&mut self.announced_finish, true) {
            for to in self.mesh.others() {
                if let Some(peer) = self.peers.get_mut(to) {
                    peer.mail.finished = true;
                }
            }
        }
    }

    /// Whether neither this reactor nor any other will ask anything any more.
    pub(super) fn is_finished(&self) -> bool {
        let ended = |reactor: usize| {
            let said = self.peers.get(reactor).is_some_and(|peer| peer.finished);
            said || self.mesh.is_gone(reactor)
        };
        self.mesh.is_idle()
            && (self.is_alone() || self.announced_finish && self.mesh.others().all(ended))
    }
}
