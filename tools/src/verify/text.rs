//! The answer for people.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use engine::audit::directory::Checked;
use engine::audit::repair::{Repaired, Why};
use engine::audit::topics::Topics;
use engine::audit::{DerivedReport, Leftovers, Walked};
use engine::broker::METADATA_QUEUE;

use super::Outcome;
use crate::output::{grouped, table};

/// Damages that are printed one by one; all that are listed are in the JSON.
const DAMAGES_SHOWN: usize = 50;

/// Everything that was found.
pub(super) fn report(outcome: &Outcome) -> String {
    let mut text = String::new();
    let dir = &outcome.dir;
    let node: String = dir.node.iter().map(|byte| format!("{byte:02x}")).collect();
    let segment = bytes(dir.segment_bytes);
    line(&mut text, format_args!("{}: node {node}, segments of {segment}", dir.path().display()));
    for checked in &outcome.shards {
        shard(&mut text, checked);
    }
    let queues = queues(outcome);
    if !queues.is_empty() {
        let heading =
            ["topic", "queue", "shard", "offsets", "records", "batches", "bytes", "stored"];
        text.push('\n');
        text.push_str(&table(&heading, &queues));
    }
    text.push('\n');
    for checked in &outcome.shards {
        damages(&mut text, checked, &outcome.topics);
    }
    repaired(&mut text, outcome);
    verdict(&mut text, outcome);
    text
}

/// Writing to a `String` cannot fail.
fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{what}");
}

fn shard(text: &mut String, checked: &Checked) {
    let (number, report) = (checked.shard, &checked.report);
    let walked = &report.walked;
    if walked.epoch.is_none() && walked.segments == 0 {
        return line(text, format_args!("shard {number}: empty, no node has used it"));
    }
    let life = walked.epoch.map_or("unknown".to_owned(), |epoch| epoch.to_string());
    line(
        text,
        format_args!(
            "shard {number}: life {life}, {} segments, {} groups, {} entries, {} records",
            walked.segments,
            grouped(walked.groups),
            grouped(report.entries),
            grouped(report.records)
        ),
    );
    line(
        text,
        format_args!(
            "  ends at position {} with group {}; {}",
            walked.end,
            walked.sequence,
            tail(walked)
        ),
    );
    if let Some(indexes) = indexes(&report.derived) {
        line(text, format_args!("  {indexes}"));
    }
    if walked.leftovers.bytes > 0 {
        let left = leftovers(&walked.leftovers);
        line(text, format_args!("  between groups, left by lives that ended in a crash: {left}"));
    }
    if report.odd_batches > 0 {
        line(
            text,
            format_args!(
                "  {} batches hold records that nobody can read, as their producers sent them",
                grouped(report.odd_batches)
            ),
        );
    }
}

/// What was found of index files, if there is anything to say.
fn indexes(derived: &DerivedReport) -> Option<String> {
    let counted = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
    let damaged = derived.damaged.len() + derived.kept.len();
    let parts = [
        counted(derived.intact as usize, "say what their segments hold"),
        counted(damaged, "damaged"),
        counted(derived.missing.len(), "missing, made again at the next start"),
        counted(
            derived.unfinished.len(),
            "left unfinished by a crash, made again at the next start",
        ),
        counted(derived.leftover.len(), "left over"),
        counted(derived.spares.len(), "spare files left over"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("indexes: {}", parts.join(", ")))
}

/// What lies behind the end.
fn tail(walked: &Walked) -> String {
    let left = walked.tail.leftovers;
    match walked.tail.torn {
        _ if !walked.complete => "not read to the end".to_owned(),
        Some(torn) => format!(
            "group {} behind it is torn, as a crash leaves it: {} at position {}",
            torn.sequence, torn.at.fault, torn.at.pos
        ),
        None if left.bytes > 0 => {
            format!("behind it, left by a crash: {}", leftovers(&left))
        }
        None => "nothing behind it".to_owned(),
    }
}

fn leftovers(left: &Leftovers) -> String {
    format!("{} bytes, {} group headers among them", grouped(left.bytes), grouped(left.groups))
}

/// A line for each queue that holds something, by topic and number.
fn queues(outcome: &Outcome) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for checked in &outcome.shards {
        let stored = checked.report.queues.iter().filter(|queue| queue.id != METADATA_QUEUE);
        for queue in stored {
            let name = outcome.topics.queue(queue.id);
            let (topic, number) = match name {
                Some(name) if name.deleted => (format!("{} (deleted)", name.topic), name.number),
                Some(name) => (name.topic.clone(), name.number),
                None => (format!("? (queue id {})", queue.id), 0),
            };
            let (first, last) = queue.store_ms;
            let row = vec![
                topic.clone(),
                number.to_string(),
                checked.shard.to_string(),
                format!("{}..{}", queue.first_offset, queue.end_offset),
                grouped(queue.records),
                grouped(queue.batches),
                bytes(queue.batch_bytes),
                format!("{} .. {}", time(first), time(last)),
            ];
            rows.push(((topic, number), row));
        }
    }
    rows.sort();
    rows.into_iter().map(|(_, row)| row).collect()
}

fn damages(text: &mut String, checked: &Checked, topics: &Topics) {
    let report = &checked.report;
    for damage in report.damages.iter().take(DAMAGES_SHOWN) {
        let name = damage.queue.and_then(|queue| topics.queue(queue));
        let name = name.map(|name| format!(" {}/{}", name.topic, name.number)).unwrap_or_default();
        line(text, format_args!("DAMAGE shard {}{name}: {damage}", checked.shard));
    }
    let shown = report.damages.len().min(DAMAGES_SHOWN) as u64;
    if report.damages_total > shown {
        let more = grouped(report.damages_total - shown);
        line(text, format_args!("DAMAGE shard {}: and {more} more places", checked.shard));
    }
    if let Some(error) = &checked.unreadable {
        let at = error.at.map(|place| format!(" at {place}")).unwrap_or_default();
        line(text, format_args!("UNREADABLE shard {}: {error}{at}", checked.shard));
    }
}

/// What `--repair` did.
fn repaired(text: &mut String, outcome: &Outcome) {
    for Repaired { shard, name, why, result } in &outcome.repaired {
        let (was, then) = match why {
            Why::Damaged => ("damaged", "; the node makes it again at its next start"),
            Why::Unfinished => ("unfinished", "; the node makes it again at its next start"),
            Why::Leftover => ("left over", ""),
        };
        match result {
            Ok(()) => line(text, format_args!("REMOVED shard {shard}: {name}, {was}{then}")),
            Err(error) => line(text, format_args!("CANNOT REMOVE shard {shard}: {name}: {error}")),
        }
    }
}

fn verdict(text: &mut String, outcome: &Outcome) {
    let (stored, derived) = (outcome.damages() - outcome.derived(), outcome.derived());
    if derived > 0 && stored == 0 && !outcome.unreadable() {
        let then = match outcome.needs_repair() {
            true => "--repair removes them, and the node makes them again",
            false => "they are repaired: the node makes them again at its next start",
        };
        line(text, format_args!("nothing that is stored is damaged, only index files; {then}"));
    } else if stored > 0 && outcome.shards.iter().any(|s| !s.report.derived.kept.is_empty()) {
        line(text, format_args!("index files of damaged segments are left as they are"));
    }
    let is_mended = stored == 0 && !outcome.needs_repair();
    let verdict = match (outcome.damages(), outcome.unreadable()) {
        (0, false) => "clean".to_owned(),
        (1.., false) if is_mended => "repaired".to_owned(),
        (0, true) => "not all of it can be read".to_owned(),
        (1, _) => "damaged in one place".to_owned(),
        (places, _) => format!("damaged in {} places", grouped(places)),
    };
    line(
        text,
        format_args!(
            "{verdict}: {} in {:.2} s, {:.2} GB/s",
            bytes(outcome.bytes()),
            outcome.elapsed.as_secs_f64(),
            outcome.rate() / 1e9
        ),
    );
}

fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// A store time, in words. Times beyond the year 9999 cannot be written so.
pub(crate) fn time(ms: u64) -> String {
    const YEAR_9999_MS: u64 = 253_402_300_800_000;
    match UNIX_EPOCH.checked_add(Duration::from_millis(ms)).filter(|_| ms < YEAR_9999_MS) {
        Some(time) => humantime::format_rfc3339_millis(time).to_string(),
        None => format!("@{ms}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_words_where_they_can_be() {
        assert_eq!(time(1_700_000_000_250), "2023-11-14T22:13:20.250Z");
        assert_eq!(time(u64::MAX), format!("@{}", u64::MAX));
    }
}
