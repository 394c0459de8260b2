//! Shards: queues, offsets, producers, checkpoints, retention, reading; and the broker.

use super::Mutant;

const CHECKPOINT: &str = "src/shard/checkpoint.rs";
const COLD: &str = "src/shard/cold.rs";
const FETCH: &str = "src/shard/fetch.rs";
const KEEP: &str = "src/shard/keep.rs";
const OFFSETS: &str = "src/shard/offsets.rs";
const OFFSET_TABLE: &str = "src/shard/offset_table.rs";
const OPEN: &str = "src/shard/open.rs";
const PRODUCE: &str = "src/shard/produce.rs";
const QUEUES: &str = "src/shard/queues.rs";
const REBUILD: &str = "src/shard/rebuild.rs";
const REPEAT: &str = "src/shard/repeat.rs";
const RETENTION: &str = "src/shard/retention.rs";
const SEAL: &str = "src/shard/seal.rs";
const SEQUENCES: &str = "src/shard/sequences.rs";
const SHARD: &str = "src/shard/mod.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "a-restart-forgets-recent-keys",
        edits: &[(
            OPEN,
            "self.sealing.keys.add_batch(number, found.batch, queue, base);",
            "let _ = (number, queue, base);",
        )],
    },
    Mutant {
        name: "an-index-made-again-has-no-keys",
        edits: &[
            (
                OPEN,
                "pile.add_batch(found.batch, found.header.queue, found.header.base_offset);",
                "let _ = &mut pile;",
            ),
            (
                REBUILD,
                "walk.keys.add_batch(found.batch, header.queue, header.base_offset);",
                "let _ = header;",
            ),
        ],
    },
    Mutant {
        name: "keys-are-looked-for-in-memory-beside-the-index",
        edits: &[(
            "src/shard/lookup.rs",
            "queue.runs.last().map_or(start, |run| run.end_offset.max(start))",
            "start",
        )],
    },
    Mutant {
        name: "a-start-goes-back-after-a-restart",
        edits: &[(QUEUES, "queue.floor = queue.floor.max(start_offset);", "let _ = (queue, start_offset);")],
    },
    Mutant {
        name: "a-start-counts-before-it-is-durable",
        edits: &[(KEEP, "moving.sequence <= durable", "moving.sequence <= durable.max(u64::MAX)")],
    },
    Mutant {
        name: "a-checkpoint-leaves-out-where-queues-begin",
        edits: &[(QUEUES, "(start_offset > 0).then_some(", "(start_offset == u64::MAX).then_some(")],
    },
    Mutant {
        name: "a-checkpoint-leaves-out-starts-on-their-way",
        edits: &[(
            QUEUES,
            "let start_offset = self.get(id)?.floor;",
            "let start_offset = self.get(id)?.start_offset.min(self.get(id)?.floor);",
        )],
    },
    Mutant {
        name: "a-segment-goes-though-a-queue-holds-it",
        edits: &[(RETENTION, "queue.has_below(number + 1, end)) {\n            return false;", "queue.has_below(number + 1, end)) {\n            return true;")],
    },
    Mutant {
        name: "a-topic-holds-less-than-it-may",
        edits: &[(KEEP, "if rest < bytes {", "if rest + piece.batch_bytes < bytes {")],
    },
    Mutant {
        name: "limits-of-one-topic-count-for-the-next",
        edits: &[(KEEP, "(self.topic, self.next, self.held, self.gone) = (topic, 0, 0, 0);", "(self.topic, self.next) = (topic, 0);")],
    },
    Mutant {
        name: "a-weaker-level-leaves-spans-to-be-shown-twice",
        edits: &[(
            "src/shard/alter.rs",
            "            self.durable_touched.retain(|(_, id)| !shown.contains(id));\n",
            "",
        )],
    },
    Mutant {
        name: "a-segment-goes-with-no-checkpoint-behind-it",
        edits: &[(
            RETENTION,
            "            && self.is_behind_checkpoint(self.log.segments().oldest())\n",
            "",
        )],
    },
    Mutant {
        name: "recycled-while-it-is-read",
        edits: &[
            (RETENTION, "self.cold.reads_below(end)\n            || ", ""),
            // The end of a read looks whether its topic has let go of the records meanwhile, which
            // hides most of it.
            (COLD, "_ if self.queue_range(fetch.queue)", "_ if false && self.queue_range(fetch.queue)"),
        ],
    },
    Mutant {
        name: "a-segment-is-as-old-as-it-was-at-a-restart",
        edits: &[(OPEN, "        newest_ms.remove(&log.segments().current());\n", "        newest_ms.remove(&u64::MAX);\n")],
    },
    Mutant {
        name: "an-offset-is-stamped-twice",
        edits: &[(
            PRODUCE,
            "queue.next_offset += u64::from(records);",
            "queue.next_offset += u64::from(records) - 1;",
        )],
    },
    Mutant {
        name: "a-checkpoint-counts-before-it-is-durable",
        edits: &[(CHECKPOINT, "Some(end) if self.log.durable() >= end => {", "Some(_) => {")],
    },
    Mutant {
        name: "a-checkpoint-leaves-out-commits-on-their-way",
        edits: &[(
            OFFSET_TABLE,
            "let committed = self.in_log(group, queue)?.clone();",
            "let committed = self.get(group, queue)?.clone();",
        )],
    },
    Mutant {
        name: "a-reader-of-an-ended-life-is-not-told",
        edits: &[(
            FETCH,
            "if fetch.epoch != 0 && fetch.epoch != self.log.epoch() {",
            "if fetch.epoch == u32::MAX {",
        )],
    },
    Mutant {
        name: "consumers-see-what-is-only-written",
        edits: &[(
            "src/shard/complete.rs",
            "(&mut self.durable_touched, self.log.durable())",
            "(&mut self.durable_touched, self.log.written())",
        )],
    },
    Mutant {
        name: "congestion-is-never-told",
        edits: &[(SHARD, "too_much && self.log.poison().is_none()", "too_much && false")],
    },
    Mutant {
        name: "congestion-outlives-poison",
        edits: &[(SHARD, "too_much && self.log.poison().is_none()", "too_much")],
    },
    Mutant {
        name: "waiters-do-not-congest",
        edits: &[(SHARD, ">= WAITERS_CONGESTED", ">= 2 * WAITERS_CONGESTED")],
    },
    Mutant {
        name: "a-fetch-is-answered-twice",
        edits: &[(
            "src/shard/fetch.rs",
            "for Arrived { mut fetch, gathered } in arrived.drain(..) {",
            "for Arrived { mut fetch, gathered } in arrived.clone() {",
        )],
    },
    Mutant {
        name: "a-repetition-is-answered-before-the-original",
        edits: &[(REPEAT, "if sequence <= reached {", "if sequence <= reached.max(u64::MAX) {")],
    },
    Mutant {
        name: "a-repetition-does-not-ask-for-more",
        edits: &[(REPEAT, "            self.log.want(sequence, request.ack);\n", "")],
    },
    Mutant {
        name: "a-repetition-is-stored-again",
        edits: &[(
            SEQUENCES,
            "Some(stored) => Ok(Verdict::Repeated(stored)),",
            "Some(_) => Ok(Verdict::Next),",
        )],
    },
    Mutant {
        name: "sequences-do-not-survive",
        edits: &[(OPEN, "                self.sequences.recovered(found);\n", "")],
    },
    Mutant {
        name: "producer-ids-begin-again",
        edits: &[("src/broker/producers.rs", "u64::from(life) << 32", "u64::from(life / 1000) << 32")],
    },
    Mutant {
        name: "offsets-do-not-survive",
        edits: &[(
            OFFSETS,
            "            self.apply(group, queue, committed);\n",
            "            let _ = (group, queue, committed);\n",
        )],
    },
    Mutant {
        name: "offsets-count-before-they-are-durable",
        edits: &[(
            OFFSET_TABLE,
            "        let bytes = staged_bytes(group, &changes);
        self.bytes += bytes;",
            "        changes.iter().for_each(|(queue, new)| self.apply(group, *queue, new.clone()));
        let bytes = staged_bytes(group, &changes);
        self.bytes += bytes;",
        )],
    },
    Mutant {
        name: "an-older-commit-undoes-a-newer-one",
        edits: &[(OFFSET_TABLE, "if older.group == settled.group {", "if false {")],
    },
    Mutant {
        name: "a-checkpoint-counts-before-the-superblock-names-it",
        edits: &[(
            CHECKPOINT,
            "if self.log.recorded().is_some_and(|recorded| recorded.begin == begin) {",
            "if self.log.recorded().is_none_or(|recorded| recorded.begin <= begin) {",
        )],
    },
    Mutant {
        name: "an-index-holds-what-lies-before-its-segment",
        edits: &[(
            SEAL,
            "self.start_of_segment(number)..self.end_of_segment(number)",
            "LogPos(0)..self.end_of_segment(number)",
        )],
    },
    Mutant {
        name: "an-index-is-begun-before-its-segment-is-durable",
        edits: &[(
            SEAL,
            "sealing.left.pop_front_if(|left| left.groups.last <= durable)",
            "sealing.left.pop_front_if(|left| left.groups.last <= durable + 4)",
        )],
    },
    Mutant {
        name: "a-seek-passes-over-the-group-a-queue-begins-in",
        edits: &[(
            "src/shard/seek.rs",
            "                        here = Some(Span { base_offset: run.base_offset, ..span });\n",
            "",
        )],
    },
    Mutant {
        name: "a-cold-read-goes-beyond-what-is-written",
        edits: &[(COLD, "if span_end > written_end {", "if false {")],
    },
    Mutant {
        name: "offsets-of-deleted-topics-stay",
        edits: &[(SHARD, "        self.offsets.drop_queue(queue);\n", "")],
    },
    Mutant {
        name: "an-offset-may-be-beyond-the-end",
        edits: &[(
            OFFSETS,
            "offset > range.end_offset",
            "offset > range.end_offset.saturating_add(1)",
        )],
    },
    Mutant {
        name: "an-index-is-used-while-its-pieces-are-counted",
        edits: &[(SEAL, " && !self.keep.is_counting()", "")],
    },
    Mutant {
        name: "one-bad-block-hides-a-span",
        edits: &[(COLD, "if stretch.len > BLOCK_BYTES", "if stretch.len == 0")],
    },
    Mutant {
        name: "an-index-that-cannot-be-read-stays-so",
        edits: &[(REBUILD, "            _ => self.index_damaged(number),\n", "            error => error,\n")],
    },
    Mutant {
        name: "short-memory-gives-a-segment-up",
        edits: &[(
            REBUILD,
            "Err(errno) if FetchError::unread(walk.end, errno) == FetchError::Busy => {",
            "Err(errno) if errno.0 < 0 => {",
        )],
    },
];
