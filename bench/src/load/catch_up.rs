//! A reader that catches up: it takes what a topic holds from its beginning on, as fast as it
//! comes, on a thread of its own beside whatever else goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::consumer::Consumer;
use super::poller::Poller;
use super::tally::Tally;
use super::{Load, LoadError};
use crate::yardstick::Wait;
use crate::yardstick::probe::on_measuring_thread;

/// How far a reader came.
#[derive(Clone, Copy, Debug)]
pub struct CaughtUp {
    /// Messages read.
    pub messages: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// It came to the end before the time was over: its rate is the writer's then, no catch-up.
    pub at_end: bool,
}

impl CaughtUp {
    /// Messages a second.
    #[must_use]
    pub fn messages_per_s(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// Reads the load's first topic until `backlog` messages were read, `time` is over, or `stop` is
/// set: one connection, a fetch outstanding for each of the topic's queues.
///
/// # Errors
/// When the node refuses, goes away, or answers something else.
pub fn catch_up(
    load: &Load,
    backlog: u64,
    time: Duration,
    stop: &AtomicBool,
) -> Result<CaughtUp, LoadError> {
    load.check()?;
    on_measuring_thread(load.cpu, || {
        let mut poller = Poller::new(Wait::Sleeping)?;
        let mut consumer = Consumer::connect(load, load.topic_of(0), (0, 1))?;
        poller.add(consumer.link.fd())?;
        let began = Instant::now();
        let end = began + time;
        let mut tally = Tally::new(load.batch, time);
        tally.set_window(began, end);
        let mut ready = Vec::new();
        while Instant::now() < end && tally.seen() < backlog && !stop.load(Ordering::Relaxed) {
            if !consumer.link.flush()? {
                return Err(LoadError::Unexpected("no request for a while: it does not read"));
            }
            poller.wait(end, &mut ready)?;
            consumer.receive(load, &mut tally, None)?;
        }
        let messages = tally.seen();
        Ok(CaughtUp { messages, elapsed: began.elapsed(), at_end: messages >= backlog })
    })
}
