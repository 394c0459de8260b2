//! The log: groups, commits, segments, recovery.

use super::Mutant;

const COMMIT: &str = "src/log/commit.rs";
const FILL: &str = "src/log/fill.rs";
const GROUP: &str = "src/log/recover/group.rs";
const PIPELINE: &str = "src/log/writer/pipeline.rs";
const LIFE: &str = "src/log/recover/life.rs";
const RECOVER: &str = "src/log/recover.rs";
const RECOVER_FILES: &str = "src/log/recover/files.rs";
const SCAN: &str = "src/log/recover/scan.rs";
const SEGMENTS: &str = "src/log/segments.rs";
const SETTLE: &str = "src/log/segments/settle.rs";
const SUCCESSOR: &str = "src/log/successor.rs";
const TRIM: &str = "src/log/trim.rs";
const WRITER: &str = "src/log/writer.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "a-segment-is-given-back-while-groups-are-on-their-way",
        edits: &[(
            SETTLE,
            "            && self.geometry.number_before(durable) > self.settled\n",
            "",
        )],
    },
    Mutant {
        name: "a-group-that-can-grow-goes-like-a-full-one",
        edits: &[(
            COMMIT,
            "Flush::Dsync => self.inflight < self.inflight_max,",
            "Flush::Dsync => self.has_room_for_full(),",
        )],
    },
    Mutant {
        name: "a-full-group-waits-like-one-that-can-grow",
        edits: &[(
            COMMIT,
            "Flush::Dsync => self.inflight < FULL_GROUPS_FACTOR * self.inflight_max,",
            "Flush::Dsync => self.has_room(),",
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
        edits: &[(
            COMMIT,
            "Flush::Fdatasync => self.written,",
            "Flush::Fdatasync => self.submitted,",
        )],
    },
    Mutant {
        name: "a-later-fdatasync-makes-a-failed-one-good",
        edits: &[(COMMIT, "        if self.in_doubt {", "        if false {")],
    },
    Mutant {
        name: "a-flush-that-fails-elsewhere-is-nothing-to-the-log",
        edits: &[(PIPELINE, "if self.commit.flush_failed() {", "if false {")],
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
            LIFE,
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
            LIFE,
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
        edits: &[(
            PIPELINE,
            "if self.segments.blocks(number, write_end).is_some() {",
            "if false {",
        )],
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
        name: "a-full-segment-is-followed-by-itself",
        edits: &[(LIFE, "geometry.number_before(end)", "geometry.number(end)")],
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
        name: "poison-forgives",
        edits: &[(
            PIPELINE,
            "            self.poison = Some((self.written_end, errno));",
            "            let _ = errno;",
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
        name: "an-orderly-stop-leaves-no-word",
        edits: &[
            (PIPELINE, "if grown || (self.closing && self.is_durable()) {", "if grown {"),
            // Nor does it wait for it.
            (
                WRITER,
                "let settled = recorded || !self.closing",
                "let settled = true || recorded || !self.closing",
            ),
        ],
    },
    Mutant {
        name: "one-spare-is-enough",
        edits: &[(TRIM, "self.waiting.len() < SPARES_MAX", "self.waiting.is_empty()")],
    },
    Mutant {
        name: "spares-of-an-earlier-life-are-not-known",
        edits: &[(
            SEGMENTS,
            "        self.trim.keep(self.current + 1, spares);\n",
            "        let _ = spares.count();\n",
        )],
    },
    Mutant {
        name: "a-vanished-segment-is-renamed-for-ever",
        edits: &[(
            TRIM,
            "(State::Moving { .. }, Err(ENOENT)) => {",
            "(State::Moving { .. }, Err(Errno(-2))) => {",
        )],
    },
];
