//! Index files, readable: what the footer says, each queue's row, each span, each key.
//!
//! Damage is shown where it is met, and the next file follows.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::ops::{ControlFlow, Range};

use engine::audit::Damage;
use engine::audit::directory::{expected, open_shard, topics};
use engine::audit::index_file::{IndexFault, IndexFile, Item, KeyRow, Opening, Row, Span, read};
use engine::audit::topics::Topics;
use engine::audit::{Place, What};
use engine::data_dir::DataDir;
use engine::io::file::FileDisk;
use engine::io::{Disk, FileName};
use serde_json::json;

use super::{OUT_BYTES, Options, json, unreadable, wanted};
use crate::failure::Failure;
use crate::output::written;
use crate::verify::text::time;

/// Prints the index of segment `number`, or all, of these shards.
pub(super) fn dump(
    options: &Options,
    dir: &DataDir,
    shards: Range<u16>,
    number: Option<u64>,
) -> Result<(), Failure> {
    let topics = topics(dir).map_err(unreadable)?;
    let mut printer = Printer {
        json: options.json,
        segment_bytes: dir.segment_bytes,
        queues: wanted(options, &topics)?,
        topics,
        left: options.limit.unwrap_or(u64::MAX),
        out: BufWriter::with_capacity(OUT_BYTES, io::stdout()),
    };
    let mut files = 0;
    let mut result = Ok(());
    for shard in shards {
        let mut disk = open_shard(dir, shard).map_err(unreadable)?;
        let names = disk.list().map_err(|errno| {
            Failure::Incomplete(format!("reading the directory of shard {shard}: {errno}"))
        })?;
        let numbers = names.iter().filter_map(|name| match name {
            FileName::Index(of) => Some(*of).filter(|of| number.is_none_or(|n| n == *of)),
            _ => None,
        });
        for number in numbers {
            files += 1;
            if result.is_ok() && printer.left > 0 {
                let opening = read(&mut disk, &expected(dir, shard), number);
                result = printer.file(&mut disk, (shard, number), opening);
            }
        }
    }
    match result {
        // The reader has seen enough (`| head`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        result => written(result.and_then(|()| printer.out.flush()))?,
    }
    match number.filter(|_| files == 0) {
        Some(number) => Err(Failure::Incomplete(format!("there is no index of segment {number}"))),
        None => Ok(()),
    }
}

struct Printer {
    json: bool,
    segment_bytes: u64,
    queues: Option<BTreeSet<u32>>,
    topics: Topics,
    /// Spans and keys that may still be printed.
    left: u64,
    out: BufWriter<io::Stdout>,
}

impl Printer {
    fn file(
        &mut self,
        disk: &mut FileDisk,
        (shard, number): (u16, u64),
        opening: Opening,
    ) -> io::Result<()> {
        let file = match opening {
            Opening::Whole(file) => file,
            Opening::Faulty(fault, at) => return self.damage((shard, number), fault, at),
            Opening::Unfinished => return self.unfinished(shard, number),
            Opening::Absent => return Ok(()),
        };
        self.head((shard, number), &file)?;
        let mut result = Ok(());
        let mut queue = None;
        let shown = file.show(disk, |item| {
            if self.left == 0 {
                return ControlFlow::Break(());
            }
            let id = match item {
                Item::Span(row, _) => row.queue,
                Item::Key(key) => key.queue,
            };
            if self.queues.as_ref().is_some_and(|ids| !ids.contains(&id)) {
                return ControlFlow::Continue(());
            }
            self.left -= 1;
            result = match item {
                Item::Span(row, span) => {
                    let is_first = queue.replace(id) != Some(id);
                    let headed = if is_first { self.row((shard, number), row) } else { Ok(()) };
                    headed.and_then(|()| self.span((shard, number), id, span))
                }
                Item::Key(key) => self.key((shard, number), key),
            };
            match result {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        result?;
        match shown {
            Ok(()) => Ok(()),
            Err((fault, at)) => self.damage((shard, number), fault, at),
        }
    }

    fn head(&mut self, (shard, number): (u16, u64), file: &IndexFile) -> io::Result<()> {
        let (sealed, rows) = (file.sealed(), file.rows());
        let spans: u64 = rows.iter().map(|row| u64::from(row.spans)).sum();
        if self.json {
            let document = json!({
                "type": "index", "shard": shard, "segment": number,
                "first_group": sealed.first_sequence, "last_group": sealed.last_sequence,
                "newest_ms": sealed.newest_ms, "queues": rows.len(), "spans": spans,
                "file_bytes": file.file_bytes(),
            });
            return json::line(&mut self.out, &document);
        }
        writeln!(
            self.out,
            "index of segment {number} of shard {shard}: groups {}..={}, nothing stored after {}, \
             {} queues, {spans} spans, {} bytes",
            sealed.first_sequence,
            sealed.last_sequence,
            time(sealed.newest_ms),
            rows.len(),
            file.file_bytes()
        )
    }

    fn row(&mut self, (shard, number): (u16, u64), row: &Row) -> io::Result<()> {
        let name = self.topics.queue(row.queue);
        if self.json {
            let document = json!({
                "type": "index_queue", "shard": shard, "segment": number,
                "queue_id": row.queue,
                "topic": name.map(|name| &name.topic), "queue": name.map(|name| name.number),
                "base_offset": row.base_offset, "end_offset": row.end_offset,
                "spans": row.spans, "batch_bytes": row.batch_bytes, "newest_ms": row.newest_ms,
            });
            return json::line(&mut self.out, &document);
        }
        let place = self.place(row.queue);
        writeln!(
            self.out,
            "  {place}: offsets {}..{}, {} spans, batches of {} bytes, the last stored {}",
            row.base_offset,
            row.end_offset,
            row.spans,
            row.batch_bytes,
            time(row.newest_ms)
        )
    }

    fn span(&mut self, (shard, number): (u16, u64), queue: u32, span: &Span) -> io::Result<()> {
        if self.json {
            let document = json!({
                "type": "index_span", "shard": shard, "segment": number, "queue_id": queue,
                "base_offset": span.base_offset, "position": span.pos.0, "bytes": span.len,
                "batch_bytes": span.batch_bytes, "alone": span.alone,
                "store_ms": span.store_timestamp_ms,
            });
            return json::line(&mut self.out, &document);
        }
        let offset = span.pos.0 % self.segment_bytes;
        writeln!(
            self.out,
            "    from offset {} at {} (byte {offset}): {} bytes{}, batches of {} bytes, stored {}",
            span.base_offset,
            span.pos,
            span.len,
            if span.alone { "" } else { " with other queues' entries" },
            span.batch_bytes,
            time(span.store_timestamp_ms)
        )
    }

    fn key(&mut self, (shard, number): (u16, u64), key: &KeyRow) -> io::Result<()> {
        if self.json {
            let document = json!({
                "type": "index_key", "shard": shard, "segment": number, "queue_id": key.queue,
                "hash": key.hash, "offset": key.offset,
            });
            return json::line(&mut self.out, &document);
        }
        let place = self.place(key.queue);
        writeln!(self.out, "  key with hash {:08x}: offset {} of {place}", key.hash, key.offset)
    }

    fn place(&self, queue: u32) -> String {
        match self.topics.queue(queue) {
            Some(name) => format!("{}/{}", name.topic, name.number),
            None => format!("queue id {queue}"),
        }
    }

    fn unfinished(&mut self, shard: u16, number: u64) -> io::Result<()> {
        if self.json {
            let document =
                json!({ "type": "index", "shard": shard, "segment": number, "unfinished": true });
            return json::line(&mut self.out, &document);
        }
        writeln!(self.out, "index of segment {number} of shard {shard}: left unfinished by a crash")
    }

    fn damage(
        &mut self,
        (shard, number): (u16, u64),
        fault: IndexFault,
        offset: u64,
    ) -> io::Result<()> {
        let place = Place { file: FileName::Index(number), offset, pos: None };
        let damage = Damage { place, sequence: None, queue: None, what: What::Index(fault) };
        match self.json {
            true => json::damage(&mut self.out, shard, &damage),
            false => writeln!(self.out, "DAMAGE shard {shard}: {damage}"),
        }
    }
}
