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
