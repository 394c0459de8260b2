//! The test of the tests: known bugs are put into a copy of the engine, and its simulation must
//! find every one of them.
//!
//! A mutant is a replacement of source text, so nothing of it is in the engine. That each one
//! still applies is checked in every test run. The hunt builds the engine once for every mutant,
//! which takes minutes, so it is asked for: `MUTANT=all cargo test -p engine --test mutants --
//! --nocapture` (some: `MUTANT=name,name`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One replacement: file, what is there, what comes in its place.
type Edit = (&'static str, &'static str, &'static str);

struct Mutant {
    name: &'static str,
    edits: &'static [Edit],
}

const RETENTION: &str = "src/shard/retention.rs";
const CHECKPOINT: &str = "src/shard/checkpoint.rs";
const OFFSET_TABLE: &str = "src/shard/offset_table.rs";
const TRIM: &str = "src/log/trim.rs";
const FETCH: &str = "src/shard/fetch.rs";
const COMMIT: &str = "src/log/commit.rs";
const WRITER: &str = "src/log/writer.rs";
const PIPELINE: &str = "src/log/writer/pipeline.rs";
const RECOVER: &str = "src/log/recover.rs";
const SCAN: &str = "src/log/recover/scan.rs";
const GROUP: &str = "src/log/recover/group.rs";
const SEGMENTS: &str = "src/log/segments.rs";
const SUCCESSOR: &str = "src/log/successor.rs";
const FILL: &str = "src/log/fill.rs";
const OPEN: &str = "src/shard/open.rs";
const SHARD: &str = "src/shard/mod.rs";
const REPEAT: &str = "src/shard/repeat.rs";
const SEQUENCES: &str = "src/shard/sequences.rs";
const SEAL: &str = "src/shard/seal.rs";
const OFFSETS: &str = "src/shard/offsets.rs";

const KEEP: &str = "src/shard/keep.rs";
const QUEUES: &str = "src/shard/queues.rs";
const KEYS: &str = "src/index/keys.rs";
const REBUILD: &str = "src/shard/rebuild.rs";

const FILES: &str = "src/io/ring/files.rs";
const PLAN: &str = "src/io/ring/plan.rs";
const SETTLE: &str = "src/log/segments/settle.rs";
const RECOVER_FILES: &str = "src/log/recover/files.rs";

const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "a-handle-does-not-follow-its-file",
        edits: &[(FILES, "                    adopted.name = to;\n", "                    let _ = to;\n")],
    },
    Mutant {
        name: "a-name-changes-while-its-file-is-opened",
        edits: &[(PLAN, "match self.files.hold(from) {", "match self.files.hold(from).filter(|_| false) {")],
    },
    Mutant {
        name: "a-file-is-opened-twice-and-the-first-descriptor-stays",
        edits: &[(
            PLAN,
            "                opened.into_iter().for_each(|surplus| self.close_aside(surplus));\n",
            "                opened.into_iter().for_each(std::mem::forget);\n",
        )],
    },
    Mutant {
        name: "a-segment-is-given-back-while-groups-are-on-their-way",
        edits: &[(
            SETTLE,
            "            && self.geometry.number_before(durable) > self.settled\n",
            "",
        )],
    },
    Mutant {
        name: "a-hole-between-segments-is-not-seen",
        edits: &[(
            RECOVER_FILES,
            "if let Some(number) = ends.and_then(|pair| pair.last()) {",
            "if let Some(number) = ends.and_then(|pair| pair.last()).filter(|_| false) {",
        )],
    },
    Mutant {
        name: "a-recycled-segment-counts-as-written-space",
        edits: &[(
            TRIM,
            "filled_by_header(*number, result).unwrap_or(0)",
            "filled_by_header(*number, result).unwrap_or(u64::MAX)",
        )],
    },
    Mutant {
        name: "producers-take-the-room-of-a-checkpoint",
        edits: &[(
            WRITER,
            "let kept_back = if is_free { 0 } else { self.kept_back_bytes };",
            "let kept_back = if is_free { 0 } else { 0 };",
        )],
    },
    Mutant {
        name: "the-newest-keys-are-left-out-of-the-index",
        edits: &[(KEYS, "        pile.close();\n        let firsts", "        let firsts")],
    },
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
        name: "a-segment-is-used-again-while-its-header-is-written",
        edits: &[(
            SEGMENTS,
            "if self.fill.number() < self.current && !self.fill.is_busy() {",
            "if self.fill.number() < self.current && !self.fill.is_writing() {",
        )],
    },
    Mutant {
        name: "a-segment-is-used-again-before-it-is-out-of-the-directory",
        edits: &[(
            TRIM,
            "            (State::Moving { .. }, Ok(_)) => self.submit_sync(disk, now),\n            (State::SyncingDir { .. }, Ok(_)) => {",
            "            (State::Moving { .. } | State::SyncingDir { .. }, Ok(_)) => {",
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
        name: "acknowledged-before-the-prefix-is-complete",
        edits: &[(
            COMMIT,
            "        flight.done = true;\n",
            "        flight.done = true;
        self.written = self.written.max(flight.sequence);
        if flight.way == Way::Durable {
            self.durable = self.durable.max(flight.sequence);
        }\n",
        )],
    },
    Mutant {
        name: "dsync-after-plain-acknowledges-the-prefix",
        edits: &[
            (
                COMMIT,
                "if let Some(file) = self.unsynced() {",
                "if !waits && let Some(file) = self.unsynced() {",
            ),
            (
                COMMIT,
                "self.landed.pop_front_if(|group| group.way == Way::Durable)",
                "self
            .landed
            .iter()
            .any(|group| group.way == Way::Durable)
            .then(|| self.landed.pop_front())
            .flatten()",
            ),
        ],
    },
    Mutant {
        name: "sync-covers-writes-in-flight",
        edits: &[
            (
                COMMIT,
                "if self.flights.iter().any(|flight| !flight.done && flight.way == Way::Plain) {",
                "if false {",
            ),
            (COMMIT, "flight.done || flight.way == Way::Durable ||", "true || flight.done ||"),
        ],
    },
    Mutant {
        name: "fdatasync-covers-writes-in-flight",
        edits: &[(COMMIT, "Flush::Fdatasync => self.written,", "Flush::Fdatasync => self.submitted,")],
    },
    Mutant {
        name: "a-later-fdatasync-makes-a-failed-one-good",
        edits: &[(COMMIT, "        if self.in_doubt {", "        if false {")],
    },
    Mutant {
        name: "recovery-ignores-epochs",
        edits: &[(
            SCAN,
            "            && header.epoch >= self.epoch\n            && !self.is_leftover(&header);",
            "            && (header.epoch >= self.epoch || self.is_leftover(&header) || true);",
        )],
    },
    Mutant {
        name: "a-group-may-mix-lives",
        edits: &[(GROUP, "batch.leader_epoch() == self.header.epoch", "batch.leader_epoch() > 0")],
    },
    Mutant {
        name: "recovery-does-not-sync-the-tail",
        edits: &[(
            RECOVER,
            "    sync_tail(disk, &geometry, &files, tail.watermark)?;\n",
            "    if false {
        sync_tail(disk, &geometry, &files, tail.watermark)?;
    }\n",
        )],
    },
    Mutant {
        name: "damage-is-a-torn-tail",
        edits: &[(
            SCAN,
            "header.epoch >= epoch && header.watermark > end",
            "false && header.epoch > 0",
        )],
    },
    Mutant {
        name: "watermark-of-a-new-life-is-rounded-up",
        edits: &[(
            WRITER,
            "            durable_end: end,",
            "            durable_end: next_block(end),",
        )],
    },
    Mutant {
        name: "tail-block-continued-while-in-flight",
        edits: &[(WRITER, "            && self.commit.written() + 1 == self.sequence_next\n", "")],
    },
    Mutant {
        name: "acknowledged-at-submission",
        edits: &[(
            WRITER,
            "    pub fn durable(&self) -> u64 {
        self.commit.durable()",
            "    pub fn durable(&self) -> u64 {
        self.commit.submitted_sequence()",
        )],
    },
    Mutant {
        name: "acknowledged-in-memory",
        edits: &[(
            WRITER,
            "    pub fn written(&self) -> u64 {
        self.commit.written()",
            "    pub fn written(&self) -> u64 {
        self.sequence_next",
        )],
    },
    Mutant {
        name: "superblock-written-in-place",
        edits: &[(
            "src/log/superblock_format.rs",
            "self.generation % 2 * BLOCK_BYTES as u64",
            "self.generation / u64::MAX * BLOCK_BYTES as u64",
        )],
    },
    Mutant {
        name: "superblock-after-the-first-append",
        edits: &[(
            RECOVER,
            "    let data = block.device_slice(0..BLOCK_BYTES);
    run(disk, DiskOp::Write { file, offset, data, durable: true, unwritten: false })
        .map_err(io(what))?;
    // The file's own",
            "    let data = block.device_slice(0..BLOCK_BYTES);
    let durable = geometry.epoch == 1;
    run(disk, DiskOp::Write { file, offset, data, durable, unwritten: false }).map_err(io(what))?;
    if !durable {
        return Ok(());
    }
    // The file's own",
        )],
    },
    Mutant {
        name: "prefill-may-overwrite",
        edits: &[(PIPELINE, "if self.segments.blocks(number, write_end).is_some() {", "if false {")],
    },
    Mutant {
        name: "rolled-into-a-name-that-is-not-durable",
        edits: &[(
            SUCCESSOR,
            "(State::Renaming { file, .. }, _) => self.sync_dir(disk, file, now),",
            "(State::Renaming { file, .. }, _) => self.state = State::Ready { file, filled: 0 },",
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
        name: "a-full-segment-is-followed-by-itself",
        edits: &[(RECOVER, "geometry.number_before(end)", "geometry.number(end)")],
    },
    Mutant {
        name: "fill-starts-below-the-append-point",
        edits: &[(
            FILL,
            "let from = self.filled.max(appended)",
            "let from = self.filled.max(appended.min(self.filled))",
        )],
    },
    Mutant {
        name: "a-batch-that-does-not-fit-waits-for-ever",
        edits: &[(SEGMENTS, "self.roll_waits = true;", "self.roll_waits = false;")],
    },
    Mutant {
        name: "segments-beyond-the-successor-are-forgotten",
        edits: &[(
            SEGMENTS,
            "match self.files.get(&number) {",
            "match self.files.get(&u64::MAX) {",
        )],
    },
    Mutant {
        name: "leftovers-of-lives-that-ended-without-them",
        edits: &[(
            SCAN,
            "header.epoch < self.geometry.epoch && header.sequence > self.found_before",
            "false && header.epoch == 0",
        )],
    },
    Mutant {
        name: "a-fill-in-flight-is-forgotten-at-a-roll",
        edits: &[(SEGMENTS, " && !self.fill.is_busy() {", " {")],
    },
    Mutant {
        name: "a-fill-in-flight-blocks-nobody",
        edits: &[(
            FILL,
            "number == self.number && end > from",
            "number > self.number && end > from",
        )],
    },
    Mutant {
        name: "written-space-is-claimed-before-the-zeros-land",
        edits: &[(
            FILL,
            "self.state = State::Writing { op, from, to: from + len, since: now };",
            "self.state = State::Writing { op, from, to: from + len, since: now };
            self.filled = from + len;",
        )],
    },
    Mutant {
        name: "a-successor-that-failed-is-not-made-again",
        edits: &[(SUCCESSOR, "if now < at.plus(RETRY_NANOS) => {}", "if at <= now => {}")],
    },
    Mutant {
        name: "a-stuck-successor-is-waited-for-for-ever",
        edits: &[(
            PIPELINE,
            "blocked.into_iter().chain(self.segments.awaited_since()).chain(stopping);",
            "blocked.into_iter().chain(stopping);",
        )],
    },
    Mutant {
        name: "a-stuck-successor-poisons-though-nobody-needs-it",
        edits: &[(SEGMENTS, ".or(spare).filter(|_| self.roll_waits)", ".or(spare)")],
    },
    Mutant {
        name: "a-spare-on-its-way-is-waited-for-for-ever",
        edits: &[(SEGMENTS, "busy_since().or(spare).filter(", "busy_since().filter(")],
    },
    Mutant {
        name: "background-work-goes-on-after-poison",
        edits: &[(SEGMENTS, "self.halted = true;", "self.halted = false;")],
    },
    Mutant {
        name: "groups-go-on-after-the-deadline",
        edits: &[(
            PIPELINE,
            "        self.check_deadline(now);\n        if self.poison.is_some() {\n            return false;\n        }\n",
            "        self.check_deadline(now);\n",
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
        name: "poison-forgives",
        edits: &[(
            PIPELINE,
            "            self.poison = Some((self.written_end, errno));",
            "            let _ = errno;",
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
        name: "a-restart-reads-from-behind-the-checkpoint's-segment",
        edits: &[(
            RECOVER,
            "            let number = geometry.number(begin);\n",
            "            let number = geometry.number(begin) + 1;\n",
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
        name: "an-index-footer-before-its-body-is-durable",
        edits: &[(
            "src/index/save.rs",
            "State::Writing { file, offset }\n    } else {\n        State::Syncing { file }",
            "State::Writing { file, offset }\n    } else {\n        State::Footer { file }",
        )],
    },
    Mutant {
        name: "an-orderly-stop-leaves-no-word",
        edits: &[
            (PIPELINE, "if grown || (self.closing && self.is_durable()) {", "if grown {"),
            // Nor does it wait for it.
            (WRITER, "let settled = recorded || !self.closing", "let settled = true || recorded || !self.closing"),
        ],
    },
    Mutant {
        name: "a-start-inside-a-group-takes-all-of-it",
        edits: &[("src/index/queue.rs", "let gone = if end > offset {", "let gone = if end > u64::MAX - 1 {")],
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
        edits: &[("src/shard/cold.rs", "if span_end > written_end {", "if false {")],
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
];

fn engine() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The file with all edits of a mutant made.
fn mutated(mutant: &Mutant, file: &str) -> String {
    let mut text = fs::read_to_string(engine().join(file)).unwrap();
    for (_, old, new) in mutant.edits.iter().filter(|(name, ..)| *name == file) {
        let count = text.matches(old).count();
        assert!(count == 1, "{}: {count} places in {file} are {old:?}", mutant.name);
        text = text.replace(old, new);
    }
    text
}

#[test]
fn every_mutant_still_applies() {
    for mutant in MUTANTS {
        for (file, ..) in mutant.edits {
            mutated(mutant, file);
        }
    }
}

#[test]
fn every_mutant_is_caught() {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
    let Ok(only) = std::env::var("MUTANT") else {
        println!("not asked for: MUTANT=all hunts every mutant");
        return;
    };
    let chosen =
        |mutant: &&Mutant| only == "all" || only.split(',').any(|only| mutant.name.contains(only));
    let mut survivors = Vec::new();
    for mutant in MUTANTS.iter().filter(chosen) {
        fresh_copy(&copy);
        for (file, ..) in mutant.edits {
            fs::write(copy.join("engine").join(file), mutated(mutant, file)).unwrap();
        }
        match hunt(&copy) {
            Some(how) => println!("{:45} caught: {how}", mutant.name),
            None => survivors.push(mutant.name),
        }
    }
    fs::remove_dir_all(&copy).unwrap();
    assert!(survivors.is_empty(), "nobody noticed: {survivors:?}");
}

/// A workspace with nothing but the engine in it.
fn fresh_copy(to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    let root = engine().parent().unwrap().to_owned();
    copy_dir(&engine(), &to.join("engine"));
    for file in ["Cargo.lock", "rustfmt.toml", "clippy.toml"] {
        fs::copy(root.join(file), to.join(file)).unwrap();
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let lines = manifest.lines().map(|line| match line {
        line if line.starts_with("members") => "members = [\"engine\"]",
        line if line.starts_with("default-members") => "",
        // A mutant may leave something unused.
        "warnings = \"deny\"" => "warnings = \"allow\"",
        line => line,
    });
    fs::write(to.join("Cargo.toml"), lines.collect::<Vec<_>>().join("\n")).unwrap();
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The tests that fail, and in which of the random runs; `None` if all pass. The unit tests are
/// asked only about what the simulation does not see.
fn hunt(copy: &Path) -> Option<String> {
    failing(copy, &["--test", "simulation"]).or_else(|| failing(copy, &["--lib"]))
}

fn failing(copy: &Path, tests: &[&str]) -> Option<String> {
    // Its own: files of the two workspaces have the same names.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants-target");
    let cargo = |program: &str, before: &[&str], after: &[&str]| {
        let mut command = Command::new(program);
        command.args(before).args(["test", "--offline", "-p", "engine", "--no-fail-fast"]);
        command.args(tests).args(after).current_dir(copy);
        command.env("CARGO_TARGET_DIR", &target).env("RUST_BACKTRACE", "0");
        command.output().unwrap()
    };
    let built = cargo("cargo", &[], &["--no-run"]);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    // A mutant may loop for ever: that is caught, too.
    let out = cargo("timeout", &["300", "cargo"], &[]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let failed = text.lines().filter_map(|line| {
        let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
        Some(name.rsplit("::").next().unwrap_or(name))
    });
    let mut how: Vec<&str> = failed.collect();
    how.extend(
        text.lines()
            .filter(|line| line.starts_with("failed in run"))
            .map(|line| line.split(';').next().unwrap_or(line)),
    );
    if out.status.code() == Some(124) {
        how.push("does not end");
    }
    (!out.status.success()).then(|| how.join(", "))
}
