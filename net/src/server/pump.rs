//! The pump: one turn gathers what happened, feeds the service, issues writes, sends replies.
//!
//! Reads top-down: [`Pump::turn`] -> `gather` -> `arrive` -> `accept` -> `receive` -> service -> `send` ->
//! `next`. How to wait between turns is decided in `executor`.
//!
//! Invariants: writes that somebody waits for go to the device before the turn's replies go to the
//! sockets; every
//! readiness report is either acted upon or stays in a queue that keeps `turn` from waiting; a
//! poll that ended while its connection lives is armed again.
//! Absent: async, protocols, blocking.

use std::net::{IpAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use engine::io::Nanos;
use engine::io::ring::env::monotonic;
use engine::io::ring::{PollEvents, Ready, Ring};
use nix::sys::socket::{Shutdown, shutdown};

use super::admission::{Admission, Refused};
use super::connections::{Connection, Connections, LISTENER, State, WAKER, id_of, token_of};
use super::deadlines::{Blocked, Deadlines, Verdict};
use super::look::Work;
use super::outbox::Flushed;
use super::passage::{Arrival, Passages};
use super::receive::{Outcome, Receiver};
use super::socket::{accept, peer_address, send_bytes};
use super::waker::Signal;
use super::{ConnId, Limits, Outbox, Service, Standing, TurnClock, Visits};

/// Connections accepted per turn at most.
const ACCEPTS_PER_TURN: u32 = 64;
/// When to try again to tell another reactor something that it had no room for.
const PASSAGE_RETRY_NANOS: u64 = 1_000_000;
/// Between two lines of the log about connections.
const LOG_PAUSE_NANOS: u64 = 1_000_000_000;
/// How long not to accept after the process ran out of descriptors or memory.
const ACCEPT_PAUSE_NANOS: u64 = 100_000_000;

/// What to do after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another turn at once.
    Again,
    /// Nothing to do until the ring or the clock says so.
    Wait {
        /// A client waits for a device write.
        durable: bool,
        /// So much was received lately that a wake-up is cheap against it.
        heavy: bool,
        /// When to turn at the latest.
        until: Option<Nanos>,
    },
    /// The reactor has stopped.
    Stopped,
}

/// The hot loop of a reactor, one turn at a time.
pub(super) struct Pump<S> {
    pub(super) ring: Rc<Ring>,
    listener: Option<TcpListener>,
    accept_pending: bool,
    accept_paused_until: Option<Nanos>,
    connections: Connections,
    admission: Admission,
    deadlines: Deadlines,
    visits: Visits,
    /// When refusals and cuts may be logged again.
    quiet_until: Nanos,
    passages: Passages,
    receiver: Receiver,
    outbox: Outbox,
    service: S,
    signal: Arc<Signal>,
    stop_by: Option<Nanos>,
    limits: Limits,
    ready: Vec<Ready>,
    dirty: Vec<ConnId>,
    durable_in_flight: bool,
    work: Work,
}

impl<S: Service> Pump<S> {
    pub(super) fn new(
        ring: Rc<Ring>,
        listener: Option<TcpListener>,
        service: S,
        (signal, passages): (Arc<Signal>, Passages),
        limits: Limits,
    ) -> Self {
        if let Some(listener) = &listener {
            ring.poll_add(listener.as_fd(), PollEvents::IN, token_of(LISTENER));
        }
        ring.poll_add(signal.as_fd(), PollEvents::IN, token_of(WAKER));
        ring.submit();
        Self {
            ring,
            accept_pending: listener.is_some(),
            listener,
            accept_paused_until: None,
            connections: Connections::default(),
            admission: Admission::new(&limits),
            deadlines: Deadlines::new(limits),
            visits: Visits::default(),
            quiet_until: Nanos(0),
            passages,
            receiver: Receiver::new(limits),
            outbox: Outbox::default(),
            service,
            signal,
            stop_by: None,
            limits,
            ready: Vec::new(),
            dirty: Vec::new(),
            durable_in_flight: false,
            work: Work::default(),
        }
    }

    /// Whether somebody waited for a durable write at the end of the last turn.
    pub(super) fn durable_in_flight(&self) -> bool {
        self.durable_in_flight
    }

    /// One turn.
    pub(super) fn turn(&mut self) -> Next {
        self.ring.reap();
        let gathered = monotonic();
        self.visits.open = self.connections.len() as u64;
        self.service.on_gathered(gathered, &self.visits);
        self.gather(gathered);
        self.arrive(gathered);
        self.accept(gathered);
        self.receive(gathered);
        let received = monotonic();
        let turn = self.service.on_turn(TurnClock { gathered, received }, &mut self.outbox);
        self.durable_in_flight = turn.durable_in_flight;
        // What somebody waits for goes to the device first; what nobody waits for must not keep
        // the replies.
        if turn.durable_in_flight {
            self.ring.submit();
        }
        self.send(received);
        self.passages.send();
        self.ring.submit();
        let sent = monotonic();
        self.service.after_send(sent);
        self.visits.turns += 1;
        self.visits.busy_nanos += sent.since(gathered);
        self.next(turn, sent)
    }

    fn next(&mut self, turn: super::Turn, now: Nanos) -> Next {
        if let Some(stop_by) = self.stop_by {
            let sent = self.outbox.is_idle() && self.passages.is_idle();
            let finished = self.service.is_drained() && sent;
            if finished || now >= stop_by || self.ring.failure().is_some() {
                return Next::Stopped;
            }
        }
        let more = turn.more_work
            || (!self.receiver.queue.is_empty() && !self.service.is_congested())
            || self.receiver.has_relief()
            || !self.outbox.is_idle()
            || (self.accept_pending && self.accept_paused_until.is_none());
        if more {
            return Next::Again;
        }
        let retry = (!self.passages.is_idle()).then(|| now.plus(PASSAGE_RETRY_NANOS));
        let deadline = self.deadlines.wake_at();
        let times = [turn.wake_at, deadline, self.accept_paused_until, self.stop_by, retry];
        let until = times.into_iter().flatten().min();
        let heavy = self.work.is_heavy(self.receiver.take_received());
        Next::Wait { durable: turn.durable_in_flight, heavy, until }
    }

    fn gather(&mut self, now: Nanos) {
        if self.receiver.has_relief() {
            for id in std::mem::take(&mut self.receiver.starved) {
                self.resume(id, now);
            }
        }
        self.close_overdue(now);
        let mut ready = std::mem::take(&mut self.ready);
        self.ring.take_ready(&mut ready);
        for report in ready.drain(..) {
            self.on_ready(report, now);
        }
        self.ready = ready;
    }

    fn on_ready(&mut self, report: Ready, now: Nanos) {
        let id = id_of(report.token);
        match id {
            LISTENER => self.on_listener_ready(report),
            WAKER => self.on_signal(report, now),
            _ => self.on_connection_ready(id, report),
        }
    }

    fn on_listener_ready(&mut self, report: Ready) {
        let Some(listener) = &self.listener else { return };
        self.accept_pending = true;
        if !report.more {
            self.ring.poll_add(listener.as_fd(), PollEvents::IN, report.token);
        }
    }

    fn on_signal(&mut self, report: Ready, now: Nanos) {
        if !report.more {
            self.ring.poll_add(self.signal.as_fd(), PollEvents::IN, report.token);
        }
        self.signal.clear();
        if self.signal.is_stopping() && self.stop_by.is_none() {
            self.stop_by = Some(now.plus(u64::from(self.limits.stop_deadline_ms) * 1_000_000));
            if self.listener.take().is_some() {
                self.ring.poll_cancel(token_of(LISTENER));
            }
            self.accept_pending = false;
            self.service.drain();
        }
    }

    fn on_connection_ready(&mut self, id: ConnId, report: Ready) {
        let Some(connection) = self.connections.get_mut(id) else {
            // Its cancel met the poll at work; a poll of nobody must not live on.
            if report.more {
                self.ring.poll_cancel(report.token);
            }
            return;
        };
        match report.result {
            Ok(events) => {
                if !report.more {
                    self.ring.poll_add(connection.fd.as_fd(), PollEvents::STREAM, report.token);
                }
                connection.peer_gone |= events.is_hung_up();
                if events.is_readable() {
                    self.receiver.enqueue(id, connection);
                }
                if events.is_writable() {
                    self.outbox.writable(id);
                }
            }
            Err(_) => self.close(id),
        }
    }

    fn accept(&mut self, now: Nanos) {
        if self.accept_paused_until.is_some_and(|until| until <= now) {
            self.accept_paused_until = None;
        }
        if !self.accept_pending || self.accept_paused_until.is_some() {
            return;
        }
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = &self.listener else { return };
            let accepted = accept(listener);
            match accepted {
                Ok(fd) => self.admit(fd, now),
                Err(nix::Error::EAGAIN) => {
                    self.accept_pending = false;
                    return;
                }
                // A connection that died in the backlog.
                Err(nix::Error::ECONNABORTED | nix::Error::EINTR | nix::Error::EPROTO) => {}
                // Out of descriptors or memory: the backlog stays readable, so look again later
                // instead of spinning on it.
                Err(error) => {
                    if self.may_log(now) {
                        let open = self.admission.connections();
                        tracing::warn!(%error, open, "cannot accept connections; trying again");
                    }
                    self.visits.refused += 1;
                    self.accept_paused_until = Some(now.plus(ACCEPT_PAUSE_NANOS));
                    return;
                }
            }
        }
    }

    fn admit(&mut self, fd: OwnedFd, now: Nanos) {
        let from = self.admission.counts_addresses().then(|| peer_address(&fd)).flatten();
        match self.admission.admit(from) {
            Ok(()) => {
                self.visits.accepted += 1;
                let id = self.open(fd, from, now);
                self.watch(id, now);
            }
            Err(why) => self.refuse(fd, why, now),
        }
    }

    /// Tells a connection why it is refused, and waits for its end without reading from it.
    fn refuse(&mut self, fd: OwnedFd, why: Refused, now: Nanos) {
        self.visits.refused += 1;
        if self.may_log(now) {
            let so_far = self.visits.refused;
            tracing::warn!(?why, so_far, "connections are refused");
        }
        // The socket is new, so there is room for it.
        let _ = send_bytes(&fd, &self.service.refusal(why));
        if shutdown(fd.as_raw_fd(), Shutdown::Write).is_err() || !self.admission.keep_refused() {
            return;
        }
        let mut connection = Connection::new(fd, None, now);
        (connection.refused, connection.state) = (true, State::Lingering);
        let id = self.connections.insert(connection);
        if let Some(connection) = self.connections.get_mut(id) {
            self.ring.poll_add(connection.fd.as_fd(), PollEvents::STREAM, token_of(id));
            self.deadlines.watch(id, connection, Standing::New, now);
        }
    }

    fn open(&mut self, fd: OwnedFd, from: Option<IpAddr>, now: Nanos) -> ConnId {
        let id = self.connections.insert(Connection::new(fd, from, now));
        if let Some(connection) = self.connections.get_mut(id) {
            self.outbox.open(id);
            self.service.on_open(id);
            self.ring.poll_add(connection.fd.as_fd(), PollEvents::STREAM, token_of(id));
        }
        id
    }

    /// Makes sure that a connection is looked at when it must have done something.
    fn watch(&mut self, id: ConnId, now: Nanos) {
        if let Some(connection) = self.connections.get_mut(id) {
            self.deadlines.watch(id, connection, self.service.standing(id), now);
        }
    }

    fn close_overdue(&mut self, now: Nanos) {
        while let Some(entry) = self.deadlines.pop_due(now) {
            let id = entry.1;
            let Some(connection) = self.connections.get_mut(id) else { continue };
            let facts = (self.service.standing(id), self.outbox.sent_bytes(id));
            if let Verdict::Close(cut) = self.deadlines.judge(entry, connection, facts, now) {
                self.visits.cut += 1;
                if self.may_log(now) {
                    let (reason, so_far) = (cut.reason(), self.visits.cut);
                    tracing::info!(reason, so_far, "connection closed");
                }
                self.close(id);
            }
        }
    }

    /// Whether something about connections may be logged: once a second, whatever comes.
    fn may_log(&mut self, now: Nanos) -> bool {
        let may = self.quiet_until <= now;
        if may {
            self.quiet_until = now.plus(LOG_PAUSE_NANOS);
        }
        may
    }

    /// Takes in what other reactors have sent: connections that belong here, and the news of those
    /// that were accepted here and are closed.
    fn arrive(&mut self, now: Nanos) {
        let parcel = self.passages.receive();
        for from in parcel.left {
            self.admission.leave(from);
        }
        for Arrival { fd, input, from } in parcel.arrivals {
            let id = self.open(fd, from, now);
            let Some(connection) = self.connections.get_mut(id) else { continue };
            let guest = (id, connection);
            let (service, outbox) = (&mut self.service, &mut self.outbox);
            let outcome = self.receiver.welcome(guest, &input, now, service, outbox);
            self.settle(id, outcome, now);
        }
    }

    fn receive(&mut self, now: Nanos) {
        for _ in 0..self.receiver.queue.len() {
            if self.service.is_congested() {
                return;
            }
            let Some(id) = self.receiver.queue.pop_front() else { return };
            let Some(connection) = self.connections.get_mut(id) else { continue };
            connection.queued = false;
            let outcome =
                self.receiver.read(id, connection, now, &mut self.service, &mut self.outbox);
            self.settle(id, outcome, now);
        }
    }

    /// What becomes of a connection that was read.
    fn settle(&mut self, id: ConnId, outcome: Outcome, now: Nanos) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        match outcome {
            Outcome::Waiting | Outcome::Paused => {}
            Outcome::More => self.receiver.enqueue(id, connection),
            Outcome::Ended => {
                connection.state = State::Closing;
                connection.progress_at = now;
                self.outbox.touch(id);
            }
            Outcome::Leaving(to) => return self.hand_over(id, to),
            Outcome::Broken => return self.close(id),
        }
        self.watch(id, now);
    }

    /// Passes a connection on to another reactor: here it is over, though its socket lives.
    fn hand_over(&mut self, id: ConnId, to: usize) {
        let Some(connection) = self.remove(id) else { return };
        let Connection { fd, partial: input, from, .. } = connection;
        self.passages.hand_over(to, Arrival { fd, input, from });
    }

    fn remove(&mut self, id: ConnId) -> Option<Connection> {
        let connection = self.connections.remove(id)?;
        self.receiver.forget(&connection);
        self.ring.poll_cancel(token_of(id));
        if !connection.refused {
            self.outbox.close(id);
            self.service.on_close(id);
        }
        Some(connection)
    }

    fn send(&mut self, now: Nanos) {
        let mut dirty = std::mem::take(&mut self.dirty);
        self.outbox.take_dirty(&mut dirty);
        for id in dirty.drain(..) {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            let flushed = self.outbox.flush(id, &connection.fd);
            connection.sent_at = now;
            if flushed != Flushed::Blocked {
                connection.blocked = None;
            } else if connection.blocked.is_none() {
                let sent_bytes = self.outbox.sent_bytes(id);
                connection.blocked = Some(Blocked { since: now, sent_bytes });
                self.deadlines.watch(id, connection, self.service.standing(id), now);
            }
            match flushed {
                Flushed::Failed(_) => self.close(id),
                Flushed::Empty if connection.state == State::Closing => self.linger(id, now),
                Flushed::Empty | Flushed::Blocked if connection.paused => {
                    if self.outbox.unsent(id) <= self.limits.unsent_bytes_max / 2 {
                        self.resume(id, now);
                    }
                }
                Flushed::Empty | Flushed::Blocked => {}
            }
        }
        self.dirty = dirty;
    }

    /// Reads from a paused connection again.
    fn resume(&mut self, id: ConnId, now: Nanos) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.paused = false;
            connection.progress_at = now;
            self.receiver.enqueue(id, connection);
        }
    }

    /// Everything was sent to a connection that ends: says so, and waits for the peer's end.
    fn linger(&mut self, id: ConnId, now: Nanos) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let fd = connection.fd.as_raw_fd();
        if connection.peer_gone || shutdown(fd, Shutdown::Write).is_err() {
            return self.close(id);
        }
        connection.state = State::Lingering;
        connection.progress_at = now;
        self.receiver.enqueue(id, connection);
        self.watch(id, now);
    }

    fn close(&mut self, id: ConnId) {
        let Some(connection) = self.remove(id) else { return };
        // The poll holds the socket open until its cancel was submitted: shut it at once.
        let _ = shutdown(connection.fd.as_raw_fd(), Shutdown::Both);
        if connection.refused {
            self.admission.leave_refused();
        } else if self.passages.is_acceptor() {
            self.admission.leave(connection.from);
        } else {
            self.passages.note_left(connection.from);
        }
    }
}

impl<S> Drop for Pump<S> {
    fn drop(&mut self) {
        // Polls hold their files: a stopped reactor must not keep sockets half alive.
        for id in self.connections.ids() {
            self.ring.poll_cancel(token_of(id));
        }
        self.ring.poll_cancel(token_of(LISTENER));
        self.ring.poll_cancel(token_of(WAKER));
        self.ring.submit();
        self.ring.reap();
    }
}
