//! How a reactor's part of a node ends, and what the node may say of it afterwards.
//!
//! Reads top-down: `drain` (it was asked to stop) -> `note_end` (each turn from then on). Must never
//! know sockets or deadlines: the pump ends the reactor, and the alarm keeps what was not finished.

use engine::io::Env;

use super::Desk;

impl<E: Env> Desk<E> {
    /// Takes nothing new, and makes what was taken durable.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        self.flushing = true;
        self.alarm.flushing();
        self.broker.stop(&mut self.answers);
    }

    /// While it drains: what its end will have been like.
    pub(super) fn note_end(&mut self) {
        if !self.draining {
            return;
        }
        if self.broker.poison().is_some() {
            self.alarm.raise_poisoned();
        }
        if self.flushing && self.broker.is_quiet() {
            self.flushing = false;
            self.alarm.flushed();
        }
    }
}

#[cfg(test)]
mod tests {
    use engine::io::Env;
    use engine::io::sim::{EIO, Fault, OpKind};
    use engine::level::AckLevel;

    use super::super::stage_tests::{Door, batch, create};
    use crate::server::Service;
    use crate::wire::{ErrorCode, Produce, Reply, Request, decode_reply};

    fn alarms(door: &Door) -> (bool, bool) {
        let alarm = &door.native.desk.alarm;
        (alarm.is_poisoned(), alarm.is_unfinished())
    }

    #[test]
    fn it_is_unfinished_until_everything_is_durable() {
        let mut door = Door::open();
        let topic = create(&mut door, AckLevel::Durable);
        let (batch, queue) = (batch(), 0);
        door.turn(&[Request::Produce(Produce { topic, queue, ack: None, batch: &batch })]);
        assert_eq!(alarms(&door), (false, false));
        door.native.drain();
        door.turn(&[]);
        assert_eq!(alarms(&door), (false, true), "its write is in flight");
        while !door.native.is_drained() {
            door.env().advance_to_next();
            door.turn(&[]);
        }
        assert_eq!(alarms(&door), (false, false));
    }

    #[test]
    fn a_shard_that_takes_no_writes_is_remembered() {
        let mut door = Door::open();
        let topic = create(&mut door, AckLevel::Durable);
        door.env().disk().faults().always(OpKind::Write, Fault::Fail(EIO));
        let (batch, queue) = (batch(), 0);
        door.turn(&[Request::Produce(Produce { topic, queue, ack: None, batch: &batch })]);
        let replies = door.answer();
        let Ok((_, Reply::Error { error, .. })) = decode_reply(&replies[0]) else { panic!() };
        assert_eq!(error.code, ErrorCode::ShardPoisoned);
        assert_eq!(alarms(&door), (false, false), "the node runs, and says so itself");
        door.native.drain();
        door.turn(&[]);
        assert!(alarms(&door).0);
    }
}
