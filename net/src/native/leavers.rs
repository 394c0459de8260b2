//! Connections that have closed while requests of theirs were waiting: whoever waits for a message
//! that is not there would keep its place among the parked until its time is up, and nobody takes the
//! answer.
//!
//! Reads top-down: `left` (a connection has closed) -> `release` (a sweep, at most every
//! [`SWEEP_NANOS`], over everything that is parked) -> the engine answers those in its next turn,
//! with nothing.
//! A request that was passed on is parked by another reactor, which learns of it by post, and counts
//! who has left from when it has read all that was sent before: letters wait while it is congested.
//! Absent: answers (they go the usual way, to nobody); requests that wait for the device.

use std::collections::HashSet;

use engine::io::{Env, Nanos};

use super::Desk;
use super::caller::{Caller, Waiting};
use super::post::Post;
use crate::server::ConnId;

/// A sweep looks at everything that is parked, so it takes all that have left meanwhile.
const SWEEP_NANOS: u64 = 50_000_000;

/// Whose requests nobody waits for any more.
#[derive(Debug, Default)]
pub(super) struct Leavers {
    /// With the reactor they were connected to; `None` is this one.
    all: HashSet<(Option<u16>, ConnId)>,
    rests_until: Nanos,
}

impl Leavers {
    /// A connection of this reactor, or of another, has closed.
    pub(super) fn add(&mut self, reactor: Option<u16>, conn: ConnId) {
        self.all.insert((reactor, conn));
    }

    fn has(&self, caller: Caller) -> bool {
        match caller {
            Caller::Guest(conn) => self.all.contains(&(None, conn)),
            Caller::Peer { reactor, waits: Waiting::Guest(conn), .. } => {
                self.all.contains(&(Some(reactor), conn))
            }
            Caller::Peer { waits: Waiting::Gather(_), .. } | Caller::Part(_) => false,
        }
    }

    /// When the next sweep is due, if somebody has left.
    pub(super) fn sweep_at(&self) -> Option<Nanos> {
        (!self.all.is_empty()).then_some(self.rests_until)
    }
}

impl<E: Env> Desk<E> {
    /// A connection has closed.
    pub(super) fn left(&mut self, conn: ConnId, post: &mut Post) {
        let Some(guest) = self.guest(conn) else { return };
        if guest.asked_cost > 0 {
            post.tell_left(conn);
        }
        if guest.calls > 0 {
            self.leavers.add(None, conn);
        }
    }

    /// Lets the waits of those who have left end with the next turn. `true`: that is due at once.
    pub(super) fn release(&mut self, now: Nanos) -> bool {
        if self.leavers.sweep_at().is_none_or(|at| at > now) {
            return false;
        }
        let Self { broker, calls, leavers, .. } = self;
        for shard in broker.shards() {
            shard.end_waits(|token| calls.caller(token).is_some_and(|caller| leavers.has(caller)));
        }
        leavers.all.clear();
        leavers.rests_until = now.plus(SWEEP_NANOS);
        true
    }
}

#[cfg(test)]
mod tests {
    use engine::batch::{NewRecord, append_single};
    use engine::broker::Broker;
    use engine::io::sim::{Config, SimEnv};
    use engine::level::AckLevel;
    use engine::log::recover::OpenOptions;

    use super::super::stage_tests::{CONN, Door, create, options};
    use super::*;
    use crate::server::{Service, Waker};
    use crate::wire::limits::BATCH_BYTES_MAX;
    use crate::wire::{Fetch, Produce, Request, RequestHeader, encode_request};

    fn fetch(topic: u32) -> Request<'static> {
        let (offset, bytes_max, bytes_min, wait_max_ms) = (0, 1, 1, 60_000);
        let (queue, epoch) = (0, 0);
        let fetch = Fetch { topic, queue, epoch, offset, bytes_max, bytes_min, wait_max_ms };
        Request::Fetch(fetch)
    }

    fn parked(door: &mut Door) -> u64 {
        door.native.desk.broker.shards()[0].counters().parked
    }

    #[test]
    fn those_who_left_are_known_by_their_reactor_and_connection() {
        let mut leavers = Leavers::default();
        let conn = |slot| ConnId { slot, generation: 7 };
        let peer = |reactor, waits| Caller::Peer { reactor, waits, cost: 1 };
        leavers.add(None, conn(1));
        leavers.add(Some(2), conn(3));
        assert!(leavers.has(Caller::Guest(conn(1))));
        assert!(leavers.has(peer(2, Waiting::Guest(conn(3)))));
        for stays in [
            Caller::Guest(conn(3)),
            Caller::Guest(ConnId { slot: 1, generation: 8 }),
            peer(1, Waiting::Guest(conn(3))),
            peer(2, Waiting::Guest(conn(1))),
            peer(2, Waiting::Gather(3)),
            Caller::Part(1),
        ] {
            assert!(!leavers.has(stays), "{stays:?}");
        }
    }

    #[test]
    fn a_closed_connection_keeps_no_place_among_the_parked() {
        let mut door = Door::open();
        let topic = create(&mut door, AckLevel::Durable);
        let ask = fetch(topic);
        assert!(door.turn(&[ask, ask]).is_empty());
        assert_eq!(parked(&mut door), 2);
        door.native.on_close(CONN);
        // It comes with the close: parked by the turn that learns of both.
        door.turn(&[ask]);
        assert_eq!(parked(&mut door), 3);
        door.turn(&[]);
        assert_eq!((parked(&mut door), door.native.desk.calls.is_empty()), (0, true));
        // Who has nothing that waits leaves no trace, and a sweep has a rest behind it.
        door.native.on_close(CONN);
        assert_eq!(door.native.desk.leavers.sweep_at(), None);
        door.turn(&[ask]);
        door.native.on_close(CONN);
        let now = door.env().now();
        let at = door.native.desk.leavers.sweep_at().unwrap();
        assert!(at > now);
        door.turn(&[]);
        assert_eq!(parked(&mut door), 1);
    }

    /// This reactor is congested; a connection of another one asks for what is not there, and closes;
    /// its letter waits to be read, though it is known that the connection has left.
    #[test]
    fn a_letter_read_after_its_sender_has_left_is_not_parked_for_long() {
        let wakers = [(); 2].map(|()| Waker::of_nobody());
        let [post, mut other] = Post::among(&wakers).try_into().unwrap();
        let options = OpenOptions { segment_bytes: 64 << 20, ..options() };
        let env = SimEnv::new(Config::default(), 1);
        let mut door = Door::before(Broker::open([env], &options).unwrap(), post);
        // The other one will follow the only change there will be.
        other.acknowledge(0, 1);
        other.send(door.env().now(), false);
        let topic = create(&mut door, AckLevel::Durable);
        let mut batch = Vec::new();
        let value = vec![0; BATCH_BYTES_MAX as usize - 1000];
        let record = NewRecord { value: Some(&value), ..NewRecord::default() };
        append_single(&mut batch, &record, BATCH_BYTES_MAX).unwrap();
        let produce = Produce { topic, queue: 0, ack: Some(AckLevel::Memory), batch: &batch };
        door.turn(&vec![Request::Produce(produce); 40]);
        assert!(door.native.is_congested());
        let mut frame = Vec::new();
        let mut ask = fetch(topic);
        // Where nothing will ever be.
        if let Request::Fetch(fetch) = &mut ask {
            fetch.offset = 40;
        }
        encode_request(&mut frame, &RequestHeader::default(), &ask).unwrap();
        let now = door.env().now();
        other.ask(0, Waiting::Guest(CONN), &frame, now).unwrap();
        other.send(now, false);
        other.tell_left(CONN);
        other.send(now, false);
        door.turn(&[]);
        assert_eq!((door.native.desk.bundles.len(), parked(&mut door)), (2, 0));
        let mut was_parked = false;
        while door.native.is_congested() || !was_parked {
            assert!(door.env().advance_to_next(), "it stays congested");
            door.turn(&[]);
            was_parked |= parked(&mut door) > 0;
        }
        // Two sweeps, and the turn behind the second.
        for _ in 0..3 {
            door.env().advance(SWEEP_NANOS);
            door.turn(&[]);
        }
        assert_eq!((parked(&mut door), door.native.desk.calls.is_empty()), (0, true));
    }
}
