//! Sealing: a segment that was left gets an index, and its spans leave memory.
//!
//! Reads top-down: `Shard::seal` (once per turn) -> `build` (an image, from the queues' spans and then
//! from the keys) ->
//! `save` (the image into its file) -> `publish` (queues learn where to look, and forget spans).
//! Each goes on a little at a time, once in a while: nothing of it may be seen by an append.
//!
//! Invariants: an index is begun when all groups of its segment are durable and shown; a queue
//! forgets spans only when an index has them, and when the segment has left the window; a segment
//! that leaves the log leaves all of this.
//! Absent: the format (`index`), how it is looked into (`cold`, `seek`).

use std::collections::{BTreeMap, VecDeque};

use super::Shard;
use super::checkpoint::PACE_NANOS;
use crate::index::file_format::{Row, Sealed};
use crate::index::image::Builder;
use crate::index::keys::{Merge, Recent};
use crate::index::runs::Run;
use crate::index::save::Save;
use crate::index::sealed::{Index, Indexes, Source};
use crate::io::{Completion, Disk, DiskOp, Env, FileId, FileName, Nanos};
use crate::log::position::LogPos;
use crate::log::recover::Groups;

/// Spans written down in one step: 32 blocks, some 40 us.
const SPANS_PER_STEP: usize = 32 * 145;
/// Keys written down in one step: some 100 us.
pub(super) const KEYS_PER_STEP: usize = 1024;
/// Queues that forget their spans in one step.
const QUEUES_PER_STEP: usize = 256;

/// A segment that was left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub(super) groups: Groups,
    /// Nothing in it was stored later, in milliseconds since the Unix epoch.
    pub(super) newest_ms: u64,
}

/// An index that is being built.
#[derive(Debug)]
struct Build {
    left: Left,
    /// The queues that have spans in the segment, in order.
    queues: Vec<u32>,
    /// The next of them, and its first offset that is not written down yet.
    at: (usize, u64),
    /// When they are through: the keys.
    keys: Option<Merge>,
    /// A span was cut by its topic's limits.
    cut: bool,
    builder: Builder,
}

/// An index of which the queues do not know yet.
#[derive(Debug)]
struct Unpublished {
    number: u64,
    rows: Vec<Row>,
    at: usize,
    /// It serves, but is not written: it is made again, from its segment, which knows where what
    /// was cut begins.
    cut: bool,
}

/// The sealing of one shard's segments.
#[derive(Debug, Default)]
pub(super) struct Sealing {
    pub(super) indexes: Indexes,
    /// Keys of records in segments of whose index the queues do not know.
    pub(super) keys: Recent,
    /// By segment: the queues whose spans of it are in memory.
    touched: BTreeMap<u64, Vec<u32>>,
    /// Segments that were left.
    left: VecDeque<Left>,
    build: Option<Build>,
    unsaved: VecDeque<u64>,
    save: Option<Save>,
    unpublished: VecDeque<Unpublished>,
    next_at: Nanos,
    saved: u64,
}

impl Sealing {
    /// A queue has its first span in segment `number`.
    pub(super) fn touch(&mut self, number: u64, queue: u32) {
        self.touched.entry(number).or_default().push(queue);
    }

    /// Segments that a restart has read.
    pub(super) fn left(&mut self, left: impl Iterator<Item = Left>) {
        self.left.extend(left);
    }

    /// An index that a restart found or has made; it is known to the queues already.
    pub(super) fn found(&mut self, number: u64, index: Index) {
        if matches!(index.source, Source::Memory(_)) {
            self.unsaved.push_back(number);
        }
        self.indexes.insert(number, index);
    }

    /// An index was made again: the old file goes, the new one is written.
    pub(super) fn replace<D: Disk>(&mut self, number: u64, index: Index, disk: &mut D) {
        if let Some(file) = self.indexes.remove(number) {
            // Nothing useful can be done if it cannot be closed.
            let _ = disk.submit(DiskOp::Close { file });
        }
        self.found(number, index);
    }

    /// Index files written.
    pub(super) fn saved(&self) -> u64 {
        self.saved
    }

    /// Whether the index of a segment is just being written.
    pub(super) fn is_saving(&self, number: u64) -> bool {
        self.save.as_ref().is_some_and(|save| save.number() == number && save.is_busy())
    }

    /// The segment has left the log.
    pub(super) fn forget<D: Disk>(&mut self, number: u64, disk: &mut D) {
        self.touched.remove(&number);
        self.keys.forget(number);
        self.left.retain(|left| left.groups.number != number);
        self.build.take_if(|build| build.left.groups.number == number);
        self.unsaved.retain(|unsaved| *unsaved != number);
        self.unpublished.retain(|unpublished| unpublished.number != number);
        let save = self.save.take_if(|save| save.number() == number);
        // Given back first: what nobody uses need not be opened to be removed.
        if let Some(file) = self.indexes.remove(number).or(save.and_then(|save| save.file())) {
            let _ = disk.submit(DiskOp::Close { file });
        }
        // A file that stays is removed when the log is opened again.
        let _ = disk.submit(DiskOp::Remove { name: FileName::Index(number) });
    }

    /// What was written of an index that is being saved may be lost.
    pub(super) fn on_flush_failed(&mut self) {
        if let Some(save) = &mut self.save {
            save.on_flush_failed();
        }
    }

    fn has_work(&self) -> bool {
        self.build.is_some() || !self.unsaved.is_empty() || self.save.is_some()
    }
}

impl<E: Env> Shard<E> {
    /// Goes on with sealing.
    pub(super) fn seal(&mut self, now: Nanos) {
        let newest_ms = self.log.store_ms();
        let rolled = self.log.take_rolled().into_iter();
        self.sealing.left.extend(rolled.map(|groups| Left { groups, newest_ms }));
        if now < self.sealing.next_at || self.stopping || self.log.poison().is_some() {
            return;
        }
        self.sealing.next_at = now.plus(PACE_NANOS);
        self.build();
        self.save(now);
        self.publish();
        self.step_rebuild();
    }

    /// When [`Shard::seal`] has something to do though nothing happens.
    pub(super) fn seal_at(&self) -> Option<Nanos> {
        let sealing = &self.sealing;
        if self.stopping || self.log.poison().is_some() {
            return None;
        }
        let durable = self.log.durable();
        let ready = sealing.left.front().is_some_and(|left| left.groups.last <= durable)
            || sealing.unpublished.front().is_some_and(|front| self.may_publish(front.number))
            || self.rebuilds.has_work();
        if !ready && !sealing.has_work() {
            return None;
        }
        // What was refused is tried again when something else happens; what is on its way wakes us.
        let rests = |save: &Save| save.is_busy() || save.retry_at().is_some();
        let idle = !ready && sealing.build.is_none() && sealing.save.as_ref().is_some_and(rests);
        (!idle).then_some(sealing.next_at)
    }

    pub(super) fn end_of_segment(&self, number: u64) -> LogPos {
        LogPos((number + 1) * self.log.segments().geometry().segment_bytes)
    }

    /// Whether nothing of a segment is in the window, and nobody counts on its spans.
    fn may_publish(&self, number: u64) -> bool {
        !self.log.is_hot_below(self.end_of_segment(number)) && !self.keep.is_counting()
    }

    fn build(&mut self) {
        let durable = self.log.durable();
        let sealing = &mut self.sealing;
        if sealing.build.is_none() {
            // What is durable was shown in the turn that learned of it.
            let next = sealing.left.pop_front_if(|left| left.groups.last <= durable);
            let Some(left) = next else { return };
            let number = left.groups.number;
            let mut queues = sealing.touched.remove(&number).unwrap_or_default();
            queues.sort_unstable();
            // One that its topic's limits had emptied has begun anew.
            queues.dedup();
            let builder = Builder::new(*self.log.segments().geometry(), number);
            sealing.build =
                Some(Build { left, queues, at: (0, 0), keys: None, cut: false, builder });
        }
        let Some(mut build) = self.sealing.build.take() else { return };
        let is_through = self.build_spans(&mut build) && self.build_keys(&mut build);
        if !is_through {
            self.sealing.build = Some(build);
            return;
        }
        let Build { left: Left { groups, newest_ms }, builder, cut, .. } = build;
        let Groups { number, first, last } = groups;
        let sealed = Sealed { first_sequence: first, last_sequence: last, newest_ms };
        let (image, directory) = builder.finish(sealed);
        let index = Index::new(Source::Memory(image), sealed, &directory);
        self.sealing.indexes.insert(number, index);
        if !cut {
            self.sealing.unsaved.push_back(number);
        }
        let rows = directory.rows;
        self.sealing.unpublished.push_back(Unpublished { number, rows, at: 0, cut });
    }

    /// Goes on with the spans; whether they are all in.
    fn build_spans(&mut self, build: &mut Build) -> bool {
        let number = build.left.groups.number;
        let range = self.start_of_segment(number)..self.end_of_segment(number);
        let mut budget = SPANS_PER_STEP;
        while budget > 0
            && let Some(&id) = build.queues.get(build.at.0)
        {
            // A queue may have been dropped since.
            if let Some(queue) = self.queues.get(id) {
                let spans = queue.index.within(&range, build.at.1, queue.next_offset);
                for (span, end_offset) in spans.take(budget) {
                    build.builder.add(id, &span, end_offset);
                    build.cut |= queue.index.is_cut(&span);
                    build.at.1 = end_offset;
                    budget -= 1;
                }
            }
            if budget > 0 {
                build.at = (build.at.0 + 1, 0);
                budget -= 1;
            }
        }
        build.at.0 >= build.queues.len()
    }

    /// Goes on with the keys; whether they are all in.
    fn build_keys(&mut self, build: &mut Build) -> bool {
        let Some(pile) = self.sealing.keys.of_segment(build.left.groups.number) else {
            return true;
        };
        let merge = build.keys.get_or_insert_with(|| Merge::new(pile));
        for _ in 0..KEYS_PER_STEP {
            match merge.next(pile) {
                Some(key) => build.builder.add_key(&key),
                None => return true,
            }
        }
        false
    }

    fn save(&mut self, now: Nanos) {
        let sealing = &mut self.sealing;
        if sealing.save.is_none() {
            sealing.save = sealing.unsaved.pop_front().map(Save::new);
        }
        let Some(save) = &mut sealing.save else { return };
        match sealing.indexes.image(save.number()) {
            Some(image) => save.step(self.env.disk(), image, now),
            None => sealing.save = None,
        }
    }

    /// Takes the end of an operation of this; gives back any other.
    pub(super) fn on_saved(&mut self, completion: Completion, now: Nanos) -> Option<Completion> {
        let sealing = &mut self.sealing;
        let Some(save) = sealing.save.as_mut().filter(|save| save.owns(completion.op)) else {
            return Some(completion);
        };
        let number = save.number();
        let image = sealing.indexes.image(number)?;
        let file: Option<FileId> =
            save.on_completion(self.env.disk(), image, completion.result, now);
        if let Some(mut file) = file {
            // It is only read from now on. If it cannot be closed it keeps its descriptor.
            let disk = self.env.disk();
            if disk.submit(DiskOp::Close { file }).is_ok() {
                file = disk.adopt(FileName::Index(number));
            }
            sealing.indexes.written(number, file);
            sealing.save = None;
            sealing.saved += 1;
        }
        None
    }

    fn publish(&mut self) {
        let Some(front) = self.sealing.unpublished.front() else { return };
        let (number, end) = (front.number, self.end_of_segment(front.number));
        if !self.may_publish(number) {
            return;
        }
        let Some(front) = self.sealing.unpublished.front_mut() else { return };
        for row in front.rows.iter().skip(front.at).take(QUEUES_PER_STEP) {
            self.queues.publish(row.queue, Run::new(number, row), end);
        }
        front.at += QUEUES_PER_STEP;
        if front.at >= front.rows.len() {
            let cut = front.cut;
            self.sealing.unpublished.pop_front();
            self.sealing.keys.forget(number);
            if cut {
                self.rebuilds.want(number);
            }
        }
    }
}
