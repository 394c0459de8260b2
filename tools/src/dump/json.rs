//! A dump for programs: one object a line, of type `superblock`, `group`, `entry` or `damage`.

use std::io::{self, Write};

use engine::audit::{Damage, Group};
use engine::batch::{BatchRef, Record};
use engine::broker::change_format::{Alteration, Change};
use engine::log::superblock_format::Superblock;
use serde_json::{Map, Value, json};

use super::Shown;
use crate::consume::insert_bytes;
use crate::verify::json::damage_json;

pub(super) fn line(out: &mut impl Write, document: &Value) -> io::Result<()> {
    serde_json::to_writer(&mut *out, document)?;
    out.write_all(b"\n")
}

pub(super) fn damage(out: &mut impl Write, shard: u16, damage: &Damage) -> io::Result<()> {
    let mut document = damage_json(shard, damage);
    insert(&mut document, "type", "damage".into());
    line(out, &document)
}

pub(super) fn superblock(out: &mut impl Write, superblock: &Superblock) -> io::Result<()> {
    let checkpoint = superblock
        .checkpoint
        .map(|pointer| json!({ "position": pointer.begin.0, "before_group": pointer.before }));
    line(
        out,
        &json!({
            "type": "superblock",
            "shard": superblock.shard,
            "life": superblock.epoch,
            "begun_behind_group": superblock.sequence,
            "generation": superblock.generation,
            "durable_group": superblock.durable,
            "checkpoint": checkpoint,
        }),
    )
}

pub(super) fn group(out: &mut impl Write, shard: u16, group: &Group) -> io::Result<()> {
    let header = group.header();
    line(
        out,
        &json!({
            "type": "group",
            "shard": shard,
            "position": header.position.0,
            "group": header.sequence,
            "life": header.epoch,
            "entries": header.entries,
            "records": header.records,
            "bytes": header.length_bytes,
            "watermark": header.watermark.0,
        }),
    )
}

pub(super) fn entry(out: &mut impl Write, shown: &Shown<'_>) -> io::Result<()> {
    let (found, header) = (shown.found, &shown.found.header);
    let Ok(batch) = BatchRef::parse_unverified(found.batch) else { return Ok(()) };
    let mut document = json!({
        "type": "entry",
        "shard": shown.shard,
        "position": found.pos.0,
        "group": shown.group.header().sequence,
        "queue_id": header.queue,
        "topic": shown.name.map(|name| &name.topic),
        "queue": shown.name.map(|name| name.number),
        "base_offset": header.base_offset,
        "records": found.records,
        "store_timestamp_ms": header.store_timestamp_ms,
        "batch_bytes": header.batch_bytes,
        "crc": batch.crc(),
        "crc_ok": true,
        "compressed": batch.is_compressed(),
    });
    if let Some(change) = shown.change {
        insert(&mut document, "change", describe(change));
    }
    if shown.payload && shown.change.is_none() {
        let records = batch.records().map(|record| match record {
            Ok(record) => self::record(header.base_offset, &record),
            Err(error) => json!({ "error": error.to_string() }),
        });
        insert(&mut document, "payload", records.collect());
    }
    line(out, &document)
}

fn record(base_offset: u64, record: &Record<'_>) -> Value {
    let mut fields = Map::new();
    let offset = base_offset.saturating_add(u64::from(record.offset_delta));
    fields.insert("offset".to_owned(), offset.into());
    fields.insert("timestamp_ms".to_owned(), record.timestamp_ms.into());
    insert_bytes(&mut fields, "key", record.key);
    insert_bytes(&mut fields, "value", record.value);
    let headers: Vec<Value> = record
        .headers
        .map(|header| {
            let mut fields = Map::new();
            insert_bytes(&mut fields, "key", Some(header.key));
            insert_bytes(&mut fields, "value", header.value);
            Value::Object(fields)
        })
        .collect();
    fields.insert("headers".to_owned(), headers.into());
    Value::Object(fields)
}

fn describe(change: &Change) -> Value {
    match change {
        Change::Create(topic) => json!({
            "create": topic.name, "topic": topic.id, "ack": topic.ack.name(), "deep": topic.deep,
            "key_index": topic.keyed,
            "retention_ms": topic.retention.age_ms, "retention_bytes": topic.retention.bytes,
            "queues": topic.queues.iter().map(|queue| {
                json!({ "id": queue.id, "shard": queue.shard })
            }).collect::<Vec<_>>(),
        }),
        Change::Delete { id } => json!({ "delete": id }),
        Change::Alter(Alteration { id, ack, age_ms, bytes, keyed }) => {
            let mut fields = Map::from_iter([("alter".to_owned(), (*id).into())]);
            // What is missing stays as it is; null is no limit.
            let ack = ack.map(|ack| ("ack", ack.name().into()));
            let age = age_ms.map(|age| ("retention_ms", age.into()));
            let bytes = bytes.map(|bytes| ("retention_bytes", bytes.into()));
            let keys = keyed.map(|keyed| ("key_index", keyed.into()));
            let settings = [ack, age, bytes, keys].into_iter().flatten();
            fields.extend(settings.map(|(name, value): (_, Value)| (name.to_owned(), value)));
            Value::Object(fields)
        }
    }
}

fn insert(document: &mut Value, name: &str, value: Value) {
    if let Some(fields) = document.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}
