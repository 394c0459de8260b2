//! Workload files of the OpenMessaging Benchmark, run unchanged.
//!
//! Topics, partitions, producers, subscriptions, consumers, payloads, rate, backlog, warm-up and
//! duration come from the file ([`workload`]); what a driver's file would say (acknowledgement,
//! batching, requests in flight) are options here. The result has the benchmark's own layout
//! ([`result`]), beside the usual report.
//!
//! Like everything here, one thread generates and consumes; it says so when it was the limit.
//!
//! Absent: the search for the highest sustainable rate with `producerRate: 0`. It is a closed loop
//! here; `bench sweep` finds the rate that holds a bound.

pub mod result;
pub mod workload;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use net::wire::limits::BATCH_BYTES_MAX;
use serde_json::Value;

use super::comparison::topic_name;
use super::options::wire_ack;
use super::progress::Progress;
use super::site::{Broker, PATIENT};
use super::summary::{self, Cell};
use super::{BenchError, Options, tuning};
use crate::load::control::Control;
use crate::load::{self, Load, Messages, Outcome};
use crate::report::grid::{bytes, count, counted, number, rate};
use crate::report::model::REPORT_VERSION;
use crate::report::{Ack, Report, caveats};
pub use workload::Workload;

/// A backlog is built in pieces of this length, so that it ends near its size.
const FILL: Duration = Duration::from_secs(1);
/// Messages that would be due in this time go in one request.
const LINGER_S: f64 = 0.001;
const BATCH_MAX: f64 = 1_000.0;
const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// What a driver's file would say.
#[derive(Clone, Copy, Debug)]
pub struct Driver {
    /// When the broker acknowledges.
    pub ack: Ack,
    /// Messages of a request; `None`: as many as are due in a millisecond.
    pub batch: Option<u32>,
    /// Minutes instead of the file's; the warm-up is shortened alike.
    pub minutes: Option<f64>,
    /// GiB of backlog instead of the file's.
    pub backlog_gib: Option<f64>,
}

/// Both results of a workload.
#[derive(Clone, Debug)]
pub struct Results {
    /// As the harness reports.
    pub report: Report,
    /// As the benchmark does.
    pub omb: Value,
}

/// Runs a workload.
///
/// # Errors
/// When the file cannot be read or run, or something fails on the way.
pub fn run(
    options: &Options,
    path: &Path,
    driver: Driver,
    work: &Path,
    stop: &AtomicBool,
    quiet: bool,
) -> Result<Results, BenchError> {
    options.check()?;
    Broker::check_running(options.connect)?;
    let (mut workload, notes) = Workload::read(path)?;
    shorten(&mut workload, driver)?;
    let messages = workload.payloads(path)?;
    let mut progress = Progress::open(quiet);
    progress.step("starting");
    let place = options.data_dir.as_deref().unwrap_or(work);
    let broker = match options.connect {
        Some(addr) => Broker::running(addr),
        None => Broker::start_with(options, options.waiting, place, &PATIENT)?,
    };
    broker.settle()?;
    let mut session =
        Session { options, workload, driver, messages, broker, stop, progress, notes, work: place };
    session.run()
}

/// The file's times, or those that were asked for instead.
fn shorten(workload: &mut Workload, driver: Driver) -> Result<(), BenchError> {
    for asked in [driver.minutes, driver.backlog_gib].into_iter().flatten() {
        if !asked.is_finite() || asked <= 0.0 {
            return Err(BenchError::Options("--minutes and --backlog-gib must be above 0".into()));
        }
    }
    if let Some(minutes) = driver.minutes {
        workload.warmup_duration_minutes *= (minutes / workload.test_duration_minutes).min(1.0);
        workload.test_duration_minutes = minutes;
    }
    if let Some(gib) = driver.backlog_gib
        && workload.consumer_backlog_size_gb > 0.0
    {
        workload.consumer_backlog_size_gb = gib;
    }
    Ok(())
}

struct Session<'a> {
    options: &'a Options,
    workload: Workload,
    driver: Driver,
    messages: Arc<Messages>,
    broker: Broker,
    stop: &'a AtomicBool,
    progress: Progress,
    notes: Vec<String>,
    work: &'a Path,
}

impl Session<'_> {
    fn run(&mut self) -> Result<Results, BenchError> {
        let topics = self.make_topics()?;
        let (names, ids): (Vec<String>, Vec<u32>) = topics.into_iter().unzip();
        let load = self.load(ids);
        let held_back = self.hold_back(&load)?;
        let minutes = self.workload.test_duration_minutes;
        self.progress.step(&format!("{}: {minutes} minutes", self.workload.name));
        let outcome = self.generate(load.clone());
        // A node that is not ours gets its topics removed, whatever happened.
        if self.broker.pid().is_none() {
            let mut control = self.broker.control()?;
            for name in &names {
                control.delete_topic(name).map_err(BenchError::load("removing a topic"))?;
            }
        }
        let outcome = outcome?;
        self.remark(&load, held_back, &outcome);
        let name = format!("uringmq-{}", self.driver.ack);
        let omb = result::result(&self.workload, &name, held_back, &outcome);
        Ok(Results { report: self.report(&load, &outcome), omb })
    }

    fn make_topics(&mut self) -> Result<Vec<(String, u32)>, BenchError> {
        let mut control: Control = self.broker.control()?;
        let queues = self.workload.partitions_per_topic;
        let mut topics = Vec::new();
        for number in 0..self.workload.topics {
            if number.is_multiple_of(1_000) {
                let all = count(u64::from(self.workload.topics));
                self.progress.step(&format!("making topics: {number} of {all}"));
            }
            let name = topic_name(number);
            let made = control.create_topic(&name, queues, wire_ack(self.driver.ack));
            topics.push((name, made.map_err(BenchError::load("making a topic"))?));
        }
        Ok(topics)
    }

    fn load(&self, topics: Vec<u32>) -> Load {
        let workload = &self.workload;
        let producers = workload.producers_per_topic.saturating_mul(workload.topics);
        let minutes = |minutes: f64| Duration::from_secs_f64(minutes * 60.0);
        let has_consumers =
            workload.subscriptions_per_topic > 0 && workload.consumer_per_subscription > 0;
        Load {
            topics,
            queues: workload.partitions_per_topic,
            batch: self.batch(producers),
            rate_per_s: (workload.producer_rate > 0.0).then_some(workload.producer_rate),
            consumers: if has_consumers { workload.consumer_per_subscription } else { 0 },
            subscriptions: workload.subscriptions_per_topic.max(1),
            stamps: has_consumers,
            verify: false,
            warm_up: minutes(workload.warmup_duration_minutes),
            measure: minutes(workload.test_duration_minutes),
            ..self.options.load(self.driver.ack, producers, &self.messages)
        }
    }

    /// What would be due in the linger time of one producer, as far as it fits a request.
    fn batch(&self, producers: u32) -> u32 {
        let fits = f64::from(BATCH_BYTES_MAX) / 2.0 / f64::from(self.workload.message_size);
        let due = self.workload.producer_rate / f64::from(producers) * LINGER_S;
        let due = due.min(BATCH_MAX).min(fits).floor().max(1.0);
        self.driver.batch.unwrap_or(due as u32)
    }

    fn generate(&self, load: Load) -> Result<Outcome, BenchError> {
        let load = Load { addr: self.broker.addr(), broker_pid: self.broker.pid(), ..load };
        load::run(&load, self.stop).map_err(BenchError::load(&self.workload.name))
    }

    /// Produces without consumers until the backlog has its size; returns its messages.
    fn hold_back(&mut self, load: &Load) -> Result<u64, BenchError> {
        let wanted = self.workload.consumer_backlog_size_gb * GIB;
        let message = f64::from(self.workload.message_size);
        let each = f64::from(self.workload.subscriptions_per_topic.max(1)) * message;
        let mut held = 0;
        while (held as f64) * each < wanted && !self.stop.load(Ordering::Relaxed) {
            let (has, all) = (held as f64 * each, wanted as u64);
            self.progress.step(&format!("backlog: {} of {}", bytes(has as u64), bytes(all)));
            let load =
                Load { consumers: 0, warm_up: Duration::ZERO, measure: FILL, ..load.clone() };
            let outcome = self.generate(load)?;
            if outcome.messages == 0 {
                return Err(BenchError::Failed("nothing is acknowledged: no backlog".to_owned()));
            }
            held += outcome.messages;
        }
        Ok(held)
    }

    fn remark(&mut self, load: &Load, held_back: u64, outcome: &Outcome) {
        let notes = &mut self.notes;
        notes.push(format!(
            "{} of {}; {}, {}; {} in a request",
            counted(u64::from(self.workload.topics), "topic"),
            counted(u64::from(load.queues), "queue"),
            counted(u64::from(load.producers), "producer"),
            counted(u64::from(load.consumer_links()), "consumer"),
            counted(u64::from(load.batch), "message")
        ));
        if load.batch > 1 && load.rate_per_s.is_some() {
            notes.push(
                "a request is due with its last message: what earlier ones wait for it (a driver's \
                 linger) is not in the latencies; --batch 1 sends each alone"
                    .to_owned(),
            );
        }
        if load.rate_per_s.is_none() {
            notes.push("producerRate 0: a closed loop, as fast as answers come".to_owned());
        }
        if load.stamps {
            let us = |percent| outcome.end_to_end.value_at_percentile(percent) as f64 / 1e3;
            notes.push(format!(
                "consumed: {} messages/s; end to end, from when a request was due: p50 {} us, p99 \
                 {} us, p99.9 {} us, max {} us",
                rate(outcome.consumed_per_s()),
                number(us(50.0)),
                number(us(99.0)),
                number(us(99.9)),
                number(us(100.0))
            ));
        }
        let backlog = result::backlog(&self.workload, held_back, &outcome.intervals);
        if held_back > 0 {
            notes.push(drained(&self.workload, held_back, &backlog, outcome));
        } else if backlog.last().is_some_and(|left| *left > outcome.messages / 100) {
            let left = count(backlog.last().copied().unwrap_or(0));
            notes.push(format!("consumers did not keep up: {left} messages behind at the end"));
        }
    }

    fn report(&self, load: &Load, outcome: &Outcome) -> Report {
        let options = Options {
            batch: load.batch,
            rate_per_s: load.rate_per_s,
            message_bytes: self.workload.message_size,
            ..self.options.clone()
        };
        let cell = Cell {
            name: self.workload.name.clone(),
            ack: self.driver.ack,
            waiting: self.options.waiting,
            producers: load.producers,
            message_bytes: self.workload.message_size,
        };
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut notes = self.notes.clone();
        notes.extend(self.broker.warnings());
        Report {
            version: REPORT_VERSION,
            command: self.options.command.clone(),
            started_unix_s: started.as_secs(),
            environment: tuning::environment(self.work, self.options.connect.is_none()),
            yardsticks: Vec::new(),
            runs: vec![summary::run(&cell, &options, std::slice::from_ref(outcome), None)],
            canary: None,
            caveats: caveats::of_conditions(false, None),
            notes,
        }
    }
}

/// When consumers had caught up.
fn drained(workload: &Workload, held_back: u64, backlog: &[u64], outcome: &Outcome) -> String {
    let all = held_back * u64::from(workload.subscriptions_per_topic);
    let small = ((1.0 - workload.backlog_drain_ratio) * all as f64).max(1_000.0) as u64;
    let done = backlog.iter().position(|left| *left <= small);
    let interval = done.and_then(|at| outcome.intervals.get(at));
    match interval {
        Some(interval) => format!(
            "a backlog of {} messages was drained in {:.1} s of the recorded time, beside the \
             producers",
            count(all),
            (interval.from + interval.length).as_secs_f64()
        ),
        None => format!(
            "of a backlog of {} messages {} were left at the end: take more --minutes",
            count(all),
            count(backlog.last().copied().unwrap_or(all))
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_shorten_the_warm_up_alike() {
        let driver =
            Driver { ack: Ack::Durable, batch: None, minutes: Some(1.5), backlog_gib: Some(0.1) };
        let mut workload = Workload { test_duration_minutes: 15.0, ..Workload::default() };
        shorten(&mut workload, driver).unwrap();
        assert_eq!((workload.test_duration_minutes, workload.warmup_duration_minutes), (1.5, 0.1));
        // No backlog was asked for by the file: none is made.
        assert_eq!(workload.consumer_backlog_size_gb, 0.0);
        let wrong = Driver { minutes: Some(0.0), ..driver };
        assert!(shorten(&mut workload, wrong).is_err());
    }
}
