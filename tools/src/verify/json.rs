//! The answer for programs. Positions and times are numbers; absent things are null.

use engine::audit::directory::Checked;
use engine::audit::repair::{Repaired, Why};
use engine::audit::{Damage, Leftovers, Place};
use serde_json::{Value, json};

use super::Outcome;

/// Everything that was found.
pub(super) fn document(outcome: &Outcome) -> Value {
    let dir = &outcome.dir;
    let node: String = dir.node.iter().map(|byte| format!("{byte:02x}")).collect();
    let damages = outcome.shards.iter().flat_map(|checked| {
        checked.report.damages.iter().map(|damage| damage_json(checked.shard, damage))
    });
    json!({
        "directory": dir.path().display().to_string(),
        "node": node,
        "segment_bytes": dir.segment_bytes,
        "clean": outcome.damages() == 0 && !outcome.unreadable(),
        "damages_total": outcome.damages(),
        "derived_damages": outcome.derived(),
        "repaired": outcome.repaired.iter().map(repaired).collect::<Vec<_>>(),
        "damages": damages.collect::<Vec<_>>(),
        "shards": outcome.shards.iter().map(shard).collect::<Vec<_>>(),
        "queues": queues(outcome),
        "bytes": outcome.bytes(),
        "elapsed_ms": outcome.elapsed.as_secs_f64() * 1e3,
        "bytes_per_second": outcome.rate(),
    })
}

fn place(place: &Place) -> Value {
    json!({
        "file": place.file.to_string(),
        "offset": place.offset,
        "position": place.pos.map(|pos| pos.0),
    })
}

/// A file that `--repair` removed, or could not.
fn repaired(file: &Repaired) -> Value {
    let why = match file.why {
        Why::Damaged => "damaged",
        Why::Unfinished => "unfinished",
        Why::Leftover => "leftover",
    };
    json!({
        "shard": file.shard,
        "file": file.name.to_string(),
        "why": why,
        "error": file.result.as_ref().err().map(ToString::to_string),
    })
}

/// One damage.
pub(crate) fn damage_json(shard: u16, damage: &Damage) -> Value {
    json!({
        "shard": shard,
        "place": place(&damage.place),
        "group": damage.sequence,
        "queue_id": damage.queue,
        "derived": damage.is_derived(),
        "what": damage.what.to_string(),
    })
}

fn leftovers(left: &Leftovers) -> Value {
    json!({ "bytes": left.bytes, "group_headers": left.groups })
}

fn shard(checked: &Checked) -> Value {
    let (report, walked) = (&checked.report, &checked.report.walked);
    let torn = walked.tail.torn.map(|torn| {
        json!({
            "group": torn.sequence,
            "position": torn.at.pos.0,
            "what": torn.at.fault.to_string(),
        })
    });
    let unreadable = checked
        .unreadable
        .as_ref()
        .map(|error| json!({ "what": error.to_string(), "place": error.at.as_ref().map(place) }));
    json!({
        "shard": checked.shard,
        "life": walked.epoch,
        "segments": walked.segments,
        "spares": walked.spare_numbers.len(),
        "segment_bytes": walked.segment_bytes,
        "groups": walked.groups,
        "group_bytes": walked.group_bytes,
        "entries": report.entries,
        "records": report.records,
        "odd_batches": report.odd_batches,
        "indexes": {
            "intact": report.derived.intact,
            "missing": report.derived.missing,
            "unfinished": report.derived.unfinished,
            "leftover": report.derived.leftover,
            "damaged": report.derived.damaged.union(&report.derived.kept).collect::<Vec<_>>(),
        },
        "leftover_spares": report.derived.spares,
        "last_group": walked.sequence,
        "end_position": walked.end.0,
        "watermark": walked.watermark.0,
        "leftovers": leftovers(&walked.leftovers),
        "tail": { "leftovers": leftovers(&walked.tail.leftovers), "torn": torn },
        "damages_total": report.damages_total,
        "unreadable": unreadable,
    })
}

fn queues(outcome: &Outcome) -> Vec<Value> {
    let of = |checked: &Checked| {
        let shard = checked.shard;
        let rows = checked.report.queues.iter().map(move |queue| {
            let name = outcome.topics.queue(queue.id);
            json!({
                "id": queue.id,
                "topic": name.map(|name| &name.topic),
                "queue": name.map(|name| name.number),
                "deleted": name.map(|name| name.deleted),
                "shard": shard,
                "first_offset": queue.first_offset,
                "end_offset": queue.end_offset,
                "records": queue.records,
                "batches": queue.batches,
                "batch_bytes": queue.batch_bytes,
                "first_store_ms": queue.store_ms.0,
                "last_store_ms": queue.store_ms.1,
            })
        });
        rows.collect::<Vec<_>>()
    };
    outcome.shards.iter().flat_map(of).collect()
}
