//! Derived data: the index files of sealed segments, which a node makes again where they are
//! missing. Damage to them costs nothing that is stored.
//!
//! Reads top-down: [`Derived::group`] (what a segment holds) -> [`Derived::sealed`] (its index,
//! once the walk has passed it) -> [`Derived::finish`] (what only the end of the log can say).
//!
//! An index may leave out queues that no topic has any more, and what lay before its queue's
//! beginning when it was made: the beginning never goes back, so the newest one known covers it.
//! A group of which a part lies before the beginning may be missing wholly.
//!
//! Absent: what an index must be (`index`); any verdict on an index whose segment is damaged, but
//! for its own checksums.

use std::collections::{BTreeMap, BTreeSet};

use super::damage::{Damage, Place, What};
use super::index::{Held, Unfound, Verdict, check};
use super::index_file::IndexFault;
use super::topics::Topics;
use super::{Expected, Found, Group, Walked, files};
use crate::broker::METADATA_QUEUE;
use crate::io::{Disk, FileName};
use crate::log::segments::{Geometry, is_spare_for};
use crate::shard::checkpoint_format::Part;

/// What was found of a shard's derived data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DerivedReport {
    /// Indexes that say exactly what their segments hold.
    pub intact: u64,
    /// Sealed segments that have none: the node makes them again.
    pub missing: Vec<u64>,
    /// Indexes that a crash has left unfinished or older than their segments: the node makes them
    /// again.
    pub unfinished: Vec<u64>,
    /// Indexes of segments that are not there, or not sealed: the node removes them.
    pub leftover: Vec<u64>,
    /// Spares that no segment will be made from: the node removes them.
    pub spares: Vec<u64>,
    /// Indexes that are damaged or wrong, of segments that are sound: they can be made again.
    pub damaged: BTreeSet<u64>,
    /// Indexes that are damaged, of segments that are damaged, too: they stay.
    pub kept: BTreeSet<u64>,
}

/// The derived data of a shard while its log is walked through.
#[derive(Debug)]
pub(super) struct Derived {
    geometry: Geometry,
    shard: u16,
    held: Held,
    /// Segments in which something is damaged so that not all of it can be seen.
    doubtful: BTreeSet<u64>,
    /// From here on everything is.
    doubtful_from: Option<u64>,
    seen: BTreeSet<u64>,
    unfound: Vec<Unfound>,
    /// Where queues begin by their topics' limits.
    floors: BTreeMap<u32, u64>,
    report: DerivedReport,
}

impl Derived {
    pub(super) fn new(expected: &Expected) -> Self {
        Self {
            geometry: files::geometry(expected, None),
            shard: expected.shard,
            held: Held::default(),
            doubtful: BTreeSet::new(),
            doubtful_from: None,
            seen: BTreeSet::new(),
            unfound: Vec::new(),
            floors: BTreeMap::new(),
            report: DerivedReport::default(),
        }
    }

    pub(super) fn group(&mut self, group: &Group) {
        let number = self.geometry.number(group.header().position);
        if self.held.number != number {
            self.held.begin(number);
        }
        self.held.group(group);
    }

    pub(super) fn entry(&mut self, found: &Found<'_>) {
        self.held.entry(found, &self.geometry);
    }

    pub(super) fn part(&mut self, part: &Part<'_>) {
        if let Part::Start { queue, start_offset } = part {
            let floor = self.floors.entry(*queue).or_default();
            *floor = (*floor).max(*start_offset);
        }
    }

    /// Takes note of what hides entries.
    pub(super) fn damage(&mut self, damage: &Damage) {
        let Some(pos) = damage.place.pos else { return };
        let number = self.geometry.number(pos);
        match damage.what {
            What::GroupMissing { next: Some((_, next)), .. } => {
                self.doubtful.extend(number..=self.geometry.number(next));
            }
            What::SegmentsMissing(_) => drop(self.doubtful.insert(number)),
            What::GroupMissing { next: None, .. } | What::AllSegmentsMissing => {
                let from = self.doubtful_from.map_or(number, |from| from.min(number));
                self.doubtful_from = Some(from);
            }
            What::Entry { .. }
            | What::Segment(_)
            | What::LaterLife
            | What::Missing { .. }
            | What::Twice { .. }
            | What::StoreTime { .. } => drop(self.doubtful.insert(number)),
            _ => {}
        }
    }

    /// The walk has passed segment `number`, which is sealed: checks its index.
    pub(super) fn sealed<D: Disk>(&mut self, disk: &mut D, number: u64) -> Option<Damage> {
        self.seen.insert(number);
        let is_doubtful = self.doubtful.contains(&number)
            || self.doubtful_from.is_some_and(|from| from <= number)
            || self.held.number != number;
        let held = (!is_doubtful).then_some(&self.held);
        match check(disk, &self.geometry, number, held) {
            Verdict::Absent => self.report.missing.push(number),
            Verdict::Unfinished => self.report.unfinished.push(number),
            Verdict::Outgrown => self.report.unfinished.push(number),
            Verdict::True(unfound) => {
                self.report.intact += 1;
                self.unfound.extend(unfound);
            }
            Verdict::False { fault, at, queue } => {
                let list = match is_doubtful {
                    true => &mut self.report.kept,
                    false => &mut self.report.damaged,
                };
                list.insert(number);
                return Some(index_damage(number, fault, at, queue));
            }
        }
        None
    }

    /// What is wrong by all that is known at the end. Nothing more is said of a damaged log:
    /// beginnings of queues, or their end, may be what is missing.
    pub(super) fn finish(
        mut self,
        walked: Option<&Walked>,
        topics: &Topics,
        is_sound: bool,
    ) -> (DerivedReport, Vec<Damage>) {
        let mut damages = Vec::new();
        if is_sound && topics.is_sound() {
            for Unfound { number, queue, group_offset, pos } in std::mem::take(&mut self.unfound) {
                let floor = self.floors.get(&queue).copied().unwrap_or(0);
                if group_offset >= floor && self.is_live(queue, topics) {
                    let fault = IndexFault::Unfound { pos };
                    damages.push(index_damage(number, fault, 0, Some(queue)));
                    if self.report.damaged.insert(number) {
                        self.report.intact -= 1;
                    }
                }
            }
        }
        if let Some(walked) = walked.filter(|walked| is_sound && walked.complete) {
            let current = self.geometry.number_before(walked.end);
            let unseen = walked.index_numbers.iter().filter(|n| !self.seen.contains(n));
            self.report.leftover.extend(unseen);
            let spares = walked.spare_numbers.iter();
            let unused = spares.filter(|number| !is_spare_for(current + 1, **number));
            self.report.spares.extend(unused);
        }
        (self.report, damages)
    }

    /// Whether a topic has the queue, or the broker itself.
    fn is_live(&self, queue: u32, topics: &Topics) -> bool {
        let of_topic = topics.queue(queue).is_some_and(|n| !n.deleted && n.shard == self.shard);
        of_topic || (queue == METADATA_QUEUE && self.shard == 0)
    }
}

fn index_damage(number: u64, fault: IndexFault, offset: u64, queue: Option<u32>) -> Damage {
    let place = Place { file: FileName::Index(number), offset, pos: None };
    Damage { place, sequence: None, queue, what: What::Index(fault) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::catalog::{QueueRef, Topic};
    use crate::broker::change_format::Change;
    use crate::level::AckLevel;
    use crate::log::position::LogPos;
    use crate::shard::retention::Retention;

    const SEGMENT_BYTES: u64 = 1 << 16;

    /// Topic 1 with queue 1 and topic 2 with queue 2, in shard 0.
    fn topics() -> Topics {
        let mut topics = Topics::default();
        for id in [1, 2] {
            let (name, ack, retention) =
                (format!("t{id}"), AckLevel::Durable, Retention::default());
            let queues = vec![QueueRef { id, shard: 0 }];
            topics.learn(&Change::Create(Topic {
                id,
                name,
                ack,
                deep: false,
                keyed: false,
                retention,
                queues,
            }));
        }
        topics
    }

    /// An index of segment 3 without the entries of a queue in the group that begins with this
    /// offset: is it damaged?
    fn lacks(queue: u32, group_offset: u64, topics: &Topics, starts: &[u64]) -> bool {
        let expected = Expected { shard: 0, node: [1; 16], segment_bytes: SEGMENT_BYTES };
        let mut derived = Derived::new(&expected);
        derived.report.intact = 1;
        for &start_offset in starts {
            derived.part(&Part::Start { queue, start_offset });
        }
        let pos = LogPos(3 * SEGMENT_BYTES + 4096);
        derived.unfound.push(Unfound { number: 3, queue, group_offset, pos });
        let (report, damages) = derived.finish(None, topics, true);
        assert_eq!(damages.len(), report.damaged.len());
        assert_eq!(report.intact, 1 - damages.len() as u64);
        let fault = IndexFault::Unfound { pos };
        damages.iter().for_each(|damage| assert_eq!(damage.what, What::Index(fault)));
        !damages.is_empty()
    }

    #[test]
    fn only_what_lies_before_a_queues_beginning_may_be_left_out() {
        let topics = topics();
        assert!(lacks(1, 10, &topics, &[]));
        assert!(lacks(1, 10, &topics, &[10, 7]));
        assert!(!lacks(1, 10, &topics, &[11, 7]), "a part of the group lies before it");
        assert!(lacks(METADATA_QUEUE, 10, &topics, &[]));
    }

    #[test]
    fn queues_that_no_topic_has_any_more_may_be_left_out() {
        let mut topics = topics();
        topics.learn(&Change::Delete { id: 2 });
        assert!(!lacks(2, 10, &topics, &[]) && lacks(1, 10, &topics, &[]));
        assert!(!lacks(77, 10, &topics, &[]));
        topics.doubt();
        assert!(lacks(1, 10, &topics, &[]), "what is known is sound");
        topics.distrust();
        assert!(!lacks(1, 10, &topics, &[]), "its topic's end may be what is damaged");
    }
}
