//! What a node takes from its directory's `device.toml`, and what it says about that.

use std::path::Path;

use config::Options;
use config::options::Flush as By;
use engine::device::{Choices, FileError, Found, look};
use engine::log::writer::Flush;
use net::node::NodeOptions;

use crate::output::say;

/// What the options say; it wins over the file.
#[derive(Clone, Copy, Debug, Default)]
struct Explicit {
    flush: Option<Flush>,
    groups_inflight: Option<u16>,
    yield_in_flight: Option<bool>,
}

impl Explicit {
    fn of(options: &Options) -> Self {
        Self {
            flush: match options.flush {
                By::Auto => None,
                By::Dsync => Some(Flush::Dsync),
                By::Fdatasync => Some(Flush::Fdatasync),
            },
            groups_inflight: options.groups_inflight.0,
            yield_in_flight: options.yield_in_flight.0,
        }
    }
}

/// Sets the node's options by its file and by the options; returns the line that says so.
pub(super) fn apply(node: &mut NodeOptions, options: &Options) -> Result<String, FileError> {
    apply_explicit(node, Explicit::of(options))
}

fn apply_explicit(node: &mut NodeOptions, explicit: Explicit) -> Result<String, FileError> {
    let found = look(&node.data)?;
    let line = match &found {
        Found::Fits(file) => {
            take(node, &file.choices);
            let tuned = &file.evidence.measured;
            format!("uringmq tuned: {}, measured {tuned}", settings(node, &file.choices, explicit))
        }
        Found::Elsewhere { measured, here } => {
            let here = here.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string);
            say(format_args!(
                "uringmq: {} is ignored: it was measured on {measured}, this is {here}",
                node.data.join(engine::device::FILE_NAME).display()
            ));
            untuned(&node.data)
        }
        Found::Missing => untuned(&node.data),
    };
    if let Some(flush) = explicit.flush {
        node.writer.flush = flush;
    }
    if let Some(groups) = explicit.groups_inflight {
        node.writer.groups_inflight_max = usize::from(groups);
    }
    if let Some(yields) = explicit.yield_in_flight {
        node.reactor.yield_in_flight = yields;
    }
    Ok(line)
}

fn take(node: &mut NodeOptions, choices: &Choices) {
    node.writer.flush = choices.flush;
    node.writer.groups_inflight_max = choices.groups_inflight_max as usize;
    node.writer.group_bytes_max = choices.group_kib << 10;
    node.writer.prefill_step_bytes = choices.prefill_step_kib << 10;
    node.reactor.yield_in_flight = choices.yield_in_flight;
}

/// What the file says, and what an option says instead.
fn settings(node: &NodeOptions, choices: &Choices, explicit: Explicit) -> String {
    let wins = |said: bool| if said { " (overruled by an option)" } else { "" };
    format!(
        "flush by {}{}, {} groups of at most {} KiB in flight{}, prefill {} KiB, {} while polling{}",
        name(choices.flush),
        wins(explicit.flush.is_some_and(|flush| flush != choices.flush)),
        choices.groups_inflight_max,
        node.writer.group_bytes_max >> 10,
        wins(explicit.groups_inflight.is_some_and(|g| u32::from(g) != choices.groups_inflight_max)),
        node.writer.prefill_step_bytes >> 10,
        if choices.yield_in_flight { "yielding" } else { "not yielding" },
        wins(explicit.yield_in_flight.is_some_and(|yields| yields != choices.yield_in_flight)),
    )
}

fn name(flush: Flush) -> &'static str {
    match flush {
        Flush::Dsync => "dsync",
        Flush::Fdatasync => "fdatasync",
    }
}

fn untuned(data: &Path) -> String {
    format!("uringmq untuned: run `uringmq tune {}` while it is stopped", data.display())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use engine::device::{DeviceFile, Evidence, Place};

    use super::*;

    fn choices() -> Choices {
        Choices {
            flush: Flush::Fdatasync,
            groups_inflight_max: 8,
            group_kib: 128,
            prefill_step_kib: 64,
            yield_in_flight: false,
        }
    }

    fn write(dir: &Path, place: Place) {
        DeviceFile::new(choices(), place, Evidence::default()).write(dir).unwrap();
    }

    #[test]
    fn the_file_counts_and_options_win() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), Place::of(dir.path()).unwrap());
        let mut node = NodeOptions::new(dir.path().to_owned());
        let line = apply_explicit(&mut node, Explicit::default()).unwrap();
        assert_eq!((node.writer.flush, node.writer.groups_inflight_max), (Flush::Fdatasync, 8));
        assert_eq!(node.writer.group_bytes_max, 128 << 10);
        assert_eq!((node.writer.prefill_step_bytes, node.reactor.yield_in_flight), (65536, false));
        assert!(line.starts_with("uringmq tuned: flush by fdatasync, 8 groups"), "{line}");
        assert!(!line.contains("overruled"), "{line}");
        let explicit = Explicit {
            flush: Some(Flush::Dsync),
            groups_inflight: Some(3),
            yield_in_flight: Some(true),
        };
        let line = apply_explicit(&mut node, explicit).unwrap();
        assert_eq!((node.writer.flush, node.writer.groups_inflight_max), (Flush::Dsync, 3));
        assert_eq!(line.matches("overruled").count(), 3, "{line}");
        assert!(node.reactor.yield_in_flight);
    }

    #[test]
    fn a_missing_or_foreign_file_changes_nothing_but_options_do() {
        let dir = tempfile::tempdir().unwrap();
        let defaults = NodeOptions::new(dir.path().to_owned());
        let untouched = |node: &NodeOptions| {
            node.writer.flush == defaults.writer.flush
                && node.writer.prefill_step_bytes == defaults.writer.prefill_step_bytes
                && node.reactor.yield_in_flight
        };
        let mut node = defaults.clone();
        let explicit = Explicit { groups_inflight: Some(5), ..Explicit::default() };
        assert!(
            apply_explicit(&mut node, explicit).unwrap().contains("untuned: run `uringmq tune")
        );
        assert!(untouched(&node) && node.writer.groups_inflight_max == 5);
        let place = Place::of(dir.path()).unwrap();
        write(dir.path(), Place { source: "/dev/another".to_owned(), ..place });
        assert!(apply_explicit(&mut node, Explicit::default()).unwrap().contains("untuned"));
        assert!(untouched(&node));
        fs::write(dir.path().join(engine::device::FILE_NAME), "version = 1\nwings").unwrap();
        let error = apply_explicit(&mut node, Explicit::default()).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
