//! A dump for people.

use std::io::{self, Write};

use engine::audit::Group;
use engine::batch::{BatchRef, Record};
use engine::broker::change_format::{Alteration, Change};
use engine::log::superblock_format::{Pointer, Superblock};

use super::Shown;
use crate::verify::text::time;

pub(super) fn superblock(out: &mut impl Write, superblock: &Superblock) -> io::Result<()> {
    let Superblock { shard, epoch, sequence, generation, durable, .. } = superblock;
    write!(
        out,
        "superblock of shard {shard}: life {epoch} begun behind group {sequence}, generation \
         {generation}, durable up to group {durable}, "
    )?;
    match superblock.checkpoint {
        Some(Pointer { begin, before }) => {
            writeln!(out, "checkpoint at {begin} in the segment behind group {before}")
        }
        None => writeln!(out, "no checkpoint"),
    }
}

pub(super) fn group(out: &mut impl Write, shard: u16, group: &Group) -> io::Result<()> {
    let header = group.header();
    writeln!(
        out,
        "group {} at {} of shard {shard}: life {}, {} entries, {} records, {} bytes, durable below {}",
        header.sequence,
        header.position,
        header.epoch,
        header.entries,
        header.records,
        header.length_bytes,
        header.watermark
    )
}

pub(super) fn entry(out: &mut impl Write, shown: &Shown<'_>) -> io::Result<()> {
    let (found, header) = (shown.found, &shown.found.header);
    let Ok(batch) = BatchRef::parse_unverified(found.batch) else { return Ok(()) };
    let place = match (shown.name, shown.change) {
        (_, Some(change)) => describe(change),
        (Some(name), None) => format!("{}/{}", name.topic, name.number),
        (None, None) => format!("queue id {}", header.queue),
    };
    let end = header.base_offset.saturating_add(u64::from(found.records));
    writeln!(
        out,
        "  entry at {}: {place}, offsets {}..{end}, stored {}, batch of {} bytes, crc {:08x} ok",
        found.pos,
        header.base_offset,
        time(header.store_timestamp_ms),
        header.batch_bytes,
        batch.crc()
    )?;
    if shown.payload && shown.change.is_none() {
        for record in batch.records() {
            match record {
                Ok(record) => self::record(out, header.base_offset, &record)?,
                Err(error) => writeln!(out, "    ({error})")?,
            }
        }
    }
    Ok(())
}

fn record(out: &mut impl Write, base_offset: u64, record: &Record<'_>) -> io::Result<()> {
    let offset = base_offset.saturating_add(u64::from(record.offset_delta));
    write!(out, "    {offset}")?;
    if let Some(key) = record.key {
        write!(out, " key {}", escaped(key))?;
    }
    for header in record.headers {
        write!(out, " header {}", escaped(header.key))?;
        if let Some(value) = header.value {
            write!(out, "={}", escaped(value))?;
        }
    }
    match record.value {
        Some(value) => writeln!(out, " value {}", escaped(value)),
        None => writeln!(out, " no value"),
    }
}

/// Quoted, on one line, and harmless to a terminal.
fn escaped(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("\"{}\"", text.escape_debug()),
        Err(_) => format!("b\"{}\"", bytes.escape_ascii()),
    }
}

fn describe(change: &Change) -> String {
    match change {
        Change::Create(topic) => format!(
            "create topic {} (id {}, {} queues, ack {})",
            topic.name,
            topic.id,
            topic.queues.len(),
            topic.ack.name()
        ),
        Change::Delete { id } => format!("delete topic id {id}"),
        Change::Alter(Alteration { id, ack, age_ms, bytes, keyed }) => {
            let limit = |limit: Option<u64>| limit.map_or("none".to_owned(), |n| n.to_string());
            let ack = ack.map(|ack| format!(", ack {}", ack.name()));
            let age = age_ms.map(|age| format!(", retention ms {}", limit(age)));
            let bytes = bytes.map(|bytes| format!(", retention bytes {}", limit(bytes)));
            let keys =
                keyed.map(|keyed| format!(", key index {}", if keyed { "on" } else { "off" }));
            let settings = [ack, age, bytes, keys].into_iter().flatten().collect::<String>();
            format!("alter topic id {id}{settings}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_unescaped() {
        assert_eq!(
            escaped("gr\u{fc}n \"x\"\n\u{1b}[0m".as_bytes()),
            "\"gr\u{fc}n \\\"x\\\"\\n\\u{1b}[0m\""
        );
        assert_eq!(escaped(b"\xff\x00a"), "b\"\\xff\\x00a\"");
    }
}
