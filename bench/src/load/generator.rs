//! The generator's loop: warm up, record, drain, verify.
//!
//! One thread serves all connections. It sleeps in epoll when the broker sleeps (or is a hybrid),
//! and looks again and again, yielding, when the broker polls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::batches::Batches;
use super::consumer::Consumer;
use super::control::{Control, Counters};
use super::poller::Poller;
use super::producer::{Producer, Sending};
use super::tally::{Outcome, Tally};
use super::{Dialect, Load, LoadError, Verifier};
use crate::pace::Schedule;
use crate::report::Waiting;
use crate::yardstick::Wait;
use crate::yardstick::probe::on_measuring_thread;
use crate::yardstick::process::{kernel_workers_cpu, process_cpu, thread_cpu};

/// How long an open loop goes on sending what was due, after its end.
const CATCH_UP: Duration = Duration::from_secs(2);
/// How long answers are waited for after the last request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Consumers that see nothing new for this long have seen all there is.
const QUIET: Duration = Duration::from_secs(3);
/// When messages say when they were due, this much of a pause means that all have arrived.
const ARRIVED: Duration = Duration::from_millis(500);

/// Runs `load` on a thread of its own until its end, or soon after `stop` is set.
///
/// # Errors
/// When the broker refuses for good, goes away or falls silent, or the settings are impossible.
pub fn run(load: &Load, stop: &AtomicBool) -> Result<Outcome, LoadError> {
    load.check()?;
    on_measuring_thread(load.cpu, || {
        let mut generator = Generator::connect(load, stop)?;
        generator.measure()?;
        generator.await_arrivals()?;
        generator.verify()?;
        Ok(generator.finish())
    })
}

/// Costs at one moment.
struct Before {
    kernel_cpu: Duration,
    counters: Counters,
    generator_cpu: Duration,
    broker_cpu: Option<Duration>,
}

struct Generator<'a> {
    load: &'a Load,
    stop: &'a AtomicBool,
    control: Option<Control>,
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    batches: Batches,
    poller: Poller,
    ready: Vec<usize>,
    tally: Tally,
    verifier: Option<Verifier>,
    /// When the next request of any producer is due, and whose it is: producers take turns.
    due: Option<Schedule>,
    /// The end of the recorded time.
    end: Instant,
}

impl<'a> Generator<'a> {
    fn connect(load: &'a Load, stop: &'a AtomicBool) -> Result<Self, LoadError> {
        let wait = if load.waiting == Waiting::Poll { Wait::Spinning } else { Wait::Sleeping };
        let mut poller = Poller::new(wait)?;
        let mut producers = Vec::new();
        for number in 0..load.producers {
            let producer = Producer::connect(load, number)?;
            poller.add(producer.link.fd())?;
            producers.push(producer);
        }
        let control = match load.dialect {
            Dialect::Native => Some(Control::connect(load.addr)?),
            Dialect::Bare => None,
        };
        let mut generator = Self {
            load,
            stop,
            control,
            producers,
            consumers: Vec::new(),
            batches: Batches::new(load)?,
            poller,
            ready: Vec::new(),
            tally: Tally::new(load.batch, load.measure),
            verifier: load.verify.then(|| Verifier::new(load)),
            due: None,
            end: Instant::now(),
        };
        generator.add_consumers(load.consumer_links())?;
        Ok(generator)
    }

    /// Consumers of every topic and subscription; without any, one that shares with nobody.
    fn add_consumers(&mut self, count: u32) -> Result<(), LoadError> {
        for number in 0..count {
            // Topics in turn, then shares of a topic's queues; after that the next subscription.
            let topics = self.load.topics.len() as u32;
            let shares = self.load.consumers.max(1);
            let share = (number / topics % shares, shares);
            let mut consumer = Consumer::connect(self.load, self.load.topic_of(number), share)?;
            self.poller.add(consumer.link.fd())?;
            let all_sent = consumer.link.flush()?;
            self.consumers.push(consumer);
            self.wait_for_room(self.producers.len() + number as usize, all_sent)?;
        }
        Ok(())
    }

    /// Warms up, then records; costs are read at both ends of the recorded time.
    fn measure(&mut self) -> Result<(), LoadError> {
        let now = Instant::now();
        self.start(now, now + self.load.warm_up)?;
        self.turn_until(now + self.load.warm_up)?;
        let before = self.before()?;
        let from = Instant::now();
        let to = from + self.load.measure;
        self.tally.set_window(from, to);
        self.start(from, to)?;
        self.turn_until(to)?;
        if self.stopped() {
            self.end = Instant::now();
            self.tally.cut_window(self.end);
        }
        // Cheap ones only: answers are waiting to be read.
        let broker_cpu = self.broker_cpu();
        let found = self.tally.found();
        found.generator_cpu = thread_cpu().saturating_sub(before.generator_cpu);
        found.broker_cpu =
            broker_cpu.zip(before.broker_cpu).map(|(now, before)| now.saturating_sub(before));
        self.finish_requests()?;
        self.tally.found().kernel_cpu = kernel_workers_cpu().saturating_sub(before.kernel_cpu);
        let counters = self.counters()?;
        self.tally.found().counters = counters
            .into_iter()
            .map(|(name, now)| {
                let before = before.counters.get(&name).copied().unwrap_or(0);
                (name, now.saturating_sub(before))
            })
            .collect();
        Ok(())
    }

    fn before(&mut self) -> Result<Before, LoadError> {
        Ok(Before {
            kernel_cpu: kernel_workers_cpu(),
            counters: self.counters()?,
            generator_cpu: thread_cpu(),
            broker_cpu: self.broker_cpu(),
        })
    }

    fn counters(&mut self) -> Result<Counters, LoadError> {
        self.control.as_mut().map_or_else(|| Ok(Counters::new()), Control::counters)
    }

    fn broker_cpu(&self) -> Option<Duration> {
        self.load.broker_pid.and_then(|pid| process_cpu(pid).ok())
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Starts a stretch that ends at `to`: new schedules, or the first requests of a closed loop.
    fn start(&mut self, from: Instant, to: Instant) -> Result<(), LoadError> {
        self.end = to;
        if let Some(rate) = self.load.requests_per_s() {
            let schedule = |begin: Instant, rate: f64| {
                Schedule::at_rate(begin, rate).ok_or_else(|| {
                    LoadError::Settings("the rate is out of any range that makes sense".to_owned())
                })
            };
            let count = f64::from(self.load.producers);
            for (producer, number) in self.producers.iter_mut().zip(0_u32..) {
                let begin = from + Duration::from_secs_f64(f64::from(number) / rate);
                producer.keep(schedule(begin, rate / count)?);
            }
            self.due = Some(schedule(from, rate)?);
        }
        self.send_all()
    }

    fn sending(&self) -> Sending {
        if self.load.rate_per_s.is_some() {
            Sending::OpenUntil(self.end)
        } else if Instant::now() < self.end {
            Sending::Closed
        } else {
            Sending::Over
        }
    }

    fn send_all(&mut self) -> Result<(), LoadError> {
        let sending = self.sending();
        for number in 0..self.producers.len() {
            self.send(number, sending)?;
        }
        Ok(())
    }

    fn send(&mut self, number: usize, sending: Sending) -> Result<(), LoadError> {
        let Some(producer) = self.producers.get_mut(number) else { return Ok(()) };
        let all_sent = producer.send(sending, self.load, &mut self.batches, &mut self.tally)?;
        self.wait_for_room(number, all_sent)
    }

    fn wait_for_room(&mut self, number: usize, all_sent: bool) -> Result<(), LoadError> {
        let link = match number.checked_sub(self.producers.len()) {
            None => self.producers.get_mut(number).map(|producer| &mut producer.link),
            Some(number) => self.consumers.get_mut(number).map(|consumer| &mut consumer.link),
        };
        let Some(link) = link else { return Ok(()) };
        if link.waits_for_room != all_sent {
            return Ok(()); // as it was
        }
        link.waits_for_room = !all_sent;
        let wanted = link.waits_for_room;
        self.poller.want_room(link.fd(), number, wanted)
    }

    /// Serves until `end` or the stop.
    fn turn_until(&mut self, end: Instant) -> Result<(), LoadError> {
        loop {
            let now = Instant::now();
            if now >= end || self.stopped() {
                return Ok(());
            }
            self.send_due(now)?;
            // What is due of those who cannot send goes with the answer that lets them.
            let due = self.due.as_ref().filter(|_| self.producers.iter().any(Producer::can_send));
            let next = due.map_or(end, |due| due.next().min(end));
            self.turn(self.wake_paused(next))?;
        }
    }

    /// Sends what has become due: every intended time belongs to the next producer in turn, and a
    /// producer sends all that is due with one call. Whoever is behind gets one call each, however
    /// much is due; one whose socket is full waits for room.
    fn send_due(&mut self, now: Instant) -> Result<(), LoadError> {
        let Some(mut due) = self.due.take() else { return Ok(()) };
        let sending = self.sending();
        let count = self.producers.len() as u64;
        let from = due.taken();
        loop {
            let number = (due.taken() % count) as usize;
            if due.next() >= self.end || due.take_due(now).is_none() {
                break;
            }
            let is_clogged =
                self.producers.get(number).is_some_and(|producer| producer.link.waits_for_room);
            if due.taken() - from <= count && !is_clogged {
                self.send(number, sending)?;
            }
        }
        self.due = Some(due);
        Ok(())
    }

    /// The earlier of `next` and the end of a pause the broker asked for.
    fn wake_paused(&self, next: Instant) -> Instant {
        if self.tally.refusals() == 0 {
            return next;
        }
        self.producers.iter().filter_map(|producer| producer.paused_until).fold(next, Instant::min)
    }

    /// One wait and what it brought.
    fn turn(&mut self, until: Instant) -> Result<(), LoadError> {
        let mut ready = std::mem::take(&mut self.ready);
        let before = Instant::now();
        self.poller.wait(until, &mut ready)?;
        // Woken later than asked for: the answers may have been there as early as that.
        let answered = Instant::now().min(until.max(before));
        let sending = self.sending();
        for number in ready.drain(..) {
            self.serve(number, answered, sending)?;
        }
        self.ready = ready;
        if self.tally.refusals() > 0 {
            self.send_all()?;
        }
        Ok(())
    }

    fn serve(
        &mut self,
        number: usize,
        answered: Instant,
        sending: Sending,
    ) -> Result<(), LoadError> {
        let verifier = self.verifier.as_mut();
        if let Some(producer) = self.producers.get_mut(number) {
            producer.receive(answered, self.load, &mut self.tally, verifier)?;
            return self.send(number, sending);
        }
        let Some(consumer) = self.consumers.get_mut(number - self.producers.len()) else {
            return Ok(());
        };
        consumer.receive(self.load, &mut self.tally, verifier)?;
        let all_sent = consumer.link.flush()?;
        self.wait_for_room(number, all_sent)
    }

    /// Sends what was due and has not been sent, then waits for every answer.
    fn finish_requests(&mut self) -> Result<(), LoadError> {
        let catch_up = Instant::now() + CATCH_UP;
        let patience = catch_up + PATIENCE;
        loop {
            let now = Instant::now();
            let behind = self.producers.iter().any(|producer| producer.is_behind(self.end));
            if behind && (now >= catch_up || self.stopped()) {
                for producer in &mut self.producers {
                    producer.give_up(self.end, now, &mut self.tally);
                }
            } else if behind {
                self.send_all()?;
            }
            let waiting: usize = self.producers.iter().map(Producer::outstanding).sum();
            if waiting == 0 && !behind {
                return Ok(());
            }
            if now >= patience {
                let seconds = PATIENCE.as_secs();
                return Err(LoadError::Silent { requests: waiting as u64, seconds });
            }
            self.turn(now + Duration::from_millis(50))?;
        }
    }

    /// What was due in the recorded time may be on its way to consumers: waits until nothing more
    /// arrives, or for as long as answers are waited for.
    fn await_arrivals(&mut self) -> Result<(), LoadError> {
        if !self.load.stamps || self.consumers.is_empty() {
            return Ok(());
        }
        let patience = Instant::now() + PATIENCE;
        let mut seen = self.tally.seen();
        let mut quiet_at = Instant::now() + ARRIVED;
        loop {
            let now = Instant::now();
            if now >= quiet_at || now >= patience || self.stopped() {
                return Ok(());
            }
            self.turn(now + Duration::from_millis(50))?;
            if self.tally.seen() > seen {
                seen = self.tally.seen();
                quiet_at = Instant::now() + ARRIVED;
            }
        }
    }

    /// Reads what consumers have not seen yet.
    fn verify(&mut self) -> Result<(), LoadError> {
        if self.verifier.is_none() {
            return Ok(());
        }
        if self.consumers.is_empty() {
            self.add_consumers(1)?;
        }
        let mut seen = 0;
        let mut quiet_at = Instant::now() + QUIET;
        loop {
            let Some(verifier) = &self.verifier else { return Ok(()) };
            let now = Instant::now();
            if verifier.consumed() > seen {
                seen = verifier.consumed();
                quiet_at = now + QUIET;
            }
            if verifier.is_complete() || now >= quiet_at {
                return Ok(());
            }
            self.turn(now + Duration::from_millis(50))?;
        }
    }

    fn finish(mut self) -> Outcome {
        let sent: Vec<u64> = self.producers.iter().map(|producer| producer.sent).collect();
        self.tally.found().verified = self.verifier.map(|verifier| verifier.finish(&sent));
        self.tally.finish()
    }
}
