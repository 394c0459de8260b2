//! The named cases: each measures one property against its published goal and its yardstick.
//!
//! Those of [`goals`] share three nodes and take turns in rounds; the others here need
//! nodes, data or loads of their own. Each has a size for a look (`--smoke`: seconds, its figures
//! mean little, it shows that everything works) and a real one.
//!
//! Reading order: this file (what there is), `stage` (nodes, loads, yardsticks), then a file a case.

mod backlog;
mod bulk;
mod catch_up;
mod fan_out;
mod idle_connections;
mod idle_queues;
mod many_queues;
mod overload;
mod restart;
mod rolls;
mod shards;
mod stage;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::goals::{self, Goals};
use super::{BenchError, Options};
use stage::Stage;

/// How much of a case is run.
#[derive(Clone, Debug, Default)]
pub struct Size {
    /// A few seconds, to see that it works.
    pub smoke: bool,
    /// Messages of a backlog, instead of the case's own number.
    pub messages: Option<u64>,
    /// Lengths of logs, instead of the case's own.
    pub gib: Vec<f64>,
}

/// A case that can be run by its name.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its number among the published goals.
    pub number: u32,
    /// Its name on the command line.
    pub name: &'static str,
    /// What it measures, in a line.
    pub what: &'static str,
    /// How long it takes at its real size, and what it needs.
    pub takes: &'static str,
    how: How,
}

#[derive(Clone, Copy, Debug)]
enum How {
    /// Together with the others, in rounds.
    Goal,
    /// On a stage of its own.
    Stage(fn(&mut Stage<'_>) -> Result<(), BenchError>),
}

/// All cases, by number.
pub const ALL: &[Case] = &[
    Case {
        number: 1,
        name: "durable-latency",
        what: "durable ack of one producer, back to back and at 500/s, against D and ED",
        takes: "2 minutes",
        how: How::Goal,
    },
    Case {
        number: 2,
        name: "group-commit",
        what: "durable rates of 1 to 256 producers, against memory and the device",
        takes: "3 minutes",
        how: How::Goal,
    },
    Case {
        number: 3,
        name: "bulk",
        what: "batches of 64 KiB to 1 MiB, durable, against W and T; write amplification",
        takes: "3 minutes, 3 GB of disk",
        how: How::Stage(bulk::measure),
    },
    Case {
        number: 4,
        name: "small-messages",
        what: "100 B messages in batches of 1000 and one by one, per CPU second",
        takes: "1 minute",
        how: How::Goal,
    },
    Case {
        number: 5,
        name: "memory-latency",
        what: "polling: ack from memory, and end to end, against a spinning echo and D",
        takes: "2 minutes",
        how: How::Goal,
    },
    Case {
        number: 6,
        name: "many-queues",
        what: "10,000 and 100,000 queues written round robin, against 16",
        takes: "1 minute",
        how: How::Stage(many_queues::measure),
    },
    Case {
        number: 7,
        name: "catch-up",
        what: "a consumer far behind beside a producer, against a plain O_DIRECT reader",
        takes: "1 minute, 9 GB of disk",
        how: How::Stage(catch_up::measure),
    },
    Case {
        number: 8,
        name: "fan-out",
        what: "1, 8 and 32 consumers at the tail, against a raw send loop",
        takes: "2 minutes",
        how: How::Stage(fan_out::measure),
    },
    Case {
        number: 9,
        name: "idle-queues",
        what: "memory and descriptors of 10,000 to a million idle and 10,000 used queues",
        takes: "1 minute",
        how: How::Stage(idle_queues::measure),
    },
    Case {
        number: 10,
        name: "restart",
        what: "first durable ack after SIGKILL with 1, 10 and 50 GiB of log, as far as they fit",
        takes: "3 minutes, 62 GB of disk (--gib makes it smaller)",
        how: How::Stage(restart::measure),
    },
    Case {
        number: 11,
        name: "backlog",
        what: "produce, seek, index and memory with 100 M messages held, against an empty node",
        takes: "5 minutes, 14 GB of disk (--messages makes it smaller)",
        how: How::Stage(backlog::measure),
    },
    Case {
        number: 12,
        name: "idle-connections",
        what: "10,000 silent connections and 10,000 waiting fetches, against none",
        takes: "1 minute, 26,800 descriptors",
        how: How::Stage(idle_connections::measure),
    },
    Case {
        number: 13,
        name: "overload",
        what: "twice the peak offered for a minute: goodput, memory, back to normal",
        takes: "7 minutes, 6 GB of disk",
        how: How::Stage(overload::measure),
    },
    Case {
        number: 14,
        name: "shards",
        what: "two shards on two cores against one, beside what two busy loops keep",
        takes: "2 minutes",
        how: How::Stage(shards::measure),
    },
    Case {
        number: 15,
        name: "footprint",
        what: "empty start to first durable ack, idle memory and CPU",
        takes: "30 s",
        how: How::Goal,
    },
    Case {
        number: 16,
        name: "rolls",
        what: "durable p99.9 with a segment that ends every second, against none that does",
        takes: "5 minutes",
        how: How::Stage(rolls::measure),
    },
];

/// The case of this name or number.
///
/// # Errors
/// [`BenchError::Options`] says which there are.
pub fn find(name: &str) -> Result<&'static Case, BenchError> {
    let number = name.parse().ok();
    ALL.iter().find(|case| case.name == name || Some(case.number) == number).ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|case| case.name).collect();
        BenchError::Options(format!("there is no case {name:?}; there are {}", names.join(", ")))
    })
}

/// Measures a case.
///
/// # Errors
/// When something cannot be started or measured.
pub fn run(
    case: &Case,
    options: &Options,
    size: Size,
    work: &Path,
    stop: &AtomicBool,
    quiet: bool,
) -> Result<Goals, BenchError> {
    match case.how {
        How::Goal => goals::measure(options, Some(case.number), work, stop, quiet),
        How::Stage(measure) => {
            options.check()?;
            let mut stage = Stage::new(case.number, options, size, work, stop, quiet);
            measure(&mut stage)?;
            Ok(stage.finish())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_found_by_name_and_by_number() {
        for case in ALL {
            assert_eq!(find(case.name).unwrap().number, case.number);
            assert_eq!(find(&case.number.to_string()).unwrap().name, case.name);
        }
        assert!(ALL.is_sorted_by_key(|case| case.number));
        let error = find("nothing").unwrap_err().to_string();
        assert!(error.contains("backlog"), "{error}");
    }
}
