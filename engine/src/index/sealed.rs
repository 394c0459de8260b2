//! The indexes of all sealed segments: their fences in memory, their blocks on the device or, until
//! they are written, in memory too.
//!
//! Reads top-down: [`Indexes::place`] (or [`Indexes::place_in_time`]) -> [`Indexes::block`] -> `Place::spans`;
//! for keys [`Indexes::key_block`] -> [`Indexes::block`].
//! Absent: which segment holds what ([`super::runs`]); reading and writing.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::file_format::{Directory, Fence, Sealed};
use super::image::Image;
use super::key_format::KeyRow;
use super::queue::Span;
use super::runs::Run;
use super::span_format::{SPANS_PER_BLOCK, Spans};
use crate::io::FileId;
use crate::log::segments::Geometry;

/// Blocks that were read and are kept: 1 MiB. A reader that catches up needs each of them several
/// times in a row.
const CACHED_MAX: usize = 256;

/// Where the blocks of an index are.
#[derive(Debug)]
pub(crate) enum Source {
    /// Not written yet.
    Memory(Image),
    /// In its file.
    File(FileId),
}

/// The index of one sealed segment.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) source: Source,
    pub(crate) fences: Vec<Fence>,
    pub(crate) key_fences: Vec<KeyRow>,
    pub(crate) sealed: Sealed,
}

impl Index {
    pub(crate) fn new(source: Source, sealed: Sealed, directory: &Directory) -> Self {
        let Directory { fences, key_fences, .. } = directory;
        Self { source, fences: fences.clone(), key_fences: key_fences.clone(), sealed }
    }
}

/// A queue's spans in one block of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The segment.
    pub(crate) number: u64,
    pub(crate) block: u32,
    /// Which of the block's spans are the queue's.
    from: u32,
    to: u32,
}

impl Place {
    fn new(run: &Run, block: u32) -> Self {
        let start = block * SPANS_PER_BLOCK;
        let end = start + SPANS_PER_BLOCK;
        let (from, to) = (run.first.max(start), (run.first + run.spans).min(end));
        Self { number: run.number, block, from: from - start, to: to.max(from) - start }
    }

    /// The queue's spans in the block's bytes; `None` when those are not what was written.
    pub(crate) fn spans(
        &self,
        bytes: &[u8],
        geometry: &Geometry,
    ) -> Option<impl Iterator<Item = Span>> {
        let spans = Spans::decode(bytes, self.number, self.block)?;
        spans.get(self.from as usize..self.to as usize, self.number, geometry)
    }
}

/// Where a block is.
#[derive(Debug)]
pub(crate) enum Block<'a> {
    /// Here.
    Bytes(&'a [u8]),
    /// It has to be read.
    OnFile(FileId),
}

/// The blocks of a run.
fn blocks(run: &Run) -> Range<u32> {
    let last = run.first + run.spans.saturating_sub(1);
    run.first / SPANS_PER_BLOCK..last / SPANS_PER_BLOCK + 1
}

/// A block that was read: segment, number, bytes.
type Cached = ((u64, u32), Box<[u8]>);

/// The indexes of all sealed segments of a log.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    by_number: BTreeMap<u64, Index>,
    /// Blocks that were read, the newest last.
    cache: VecDeque<Cached>,
}

impl Indexes {
    pub(crate) fn insert(&mut self, number: u64, index: Index) {
        self.by_number.insert(number, index);
    }

    /// What is known of a segment's groups.
    pub(crate) fn sealed(&self, number: u64) -> Option<Sealed> {
        self.by_number.get(&number).map(|index| index.sealed)
    }

    /// The segment has left the log; returns the file of its index.
    pub(crate) fn remove(&mut self, number: u64) -> Option<FileId> {
        self.cache.retain(|((segment, _), _)| *segment != number);
        match self.by_number.remove(&number)?.source {
            Source::Memory(_) => None,
            Source::File(file) => Some(file),
        }
    }

    /// The index that is not written yet.
    pub(crate) fn image(&self, number: u64) -> Option<&Image> {
        match &self.by_number.get(&number)?.source {
            Source::Memory(image) => Some(image),
            Source::File(_) => None,
        }
    }

    /// The index was written, and its blocks need not be in memory any more.
    pub(crate) fn written(&mut self, number: u64, file: FileId) {
        if let Some(index) = self.by_number.get_mut(&number) {
            index.source = Source::File(file);
        }
    }

    /// Bytes that they take in memory, the cache left out.
    pub(crate) fn bytes(&self) -> u64 {
        let of = |index: &Index| {
            let image = match &index.source {
                Source::Memory(image) => image.body_bytes(),
                Source::File(_) => 0,
            };
            let fences = size_of_val(&index.fences[..]) + size_of_val(&index.key_fences[..]);
            image + fences as u64
        };
        self.by_number.values().map(of).sum()
    }

    /// The block that holds the run's last span at or before `offset`.
    pub(crate) fn place(&self, run: &Run, offset: u64) -> Option<Place> {
        let index = self.by_number.get(&run.number)?;
        let blocks = blocks(run);
        // The first block may begin with another queue's span; the others begin with this one's.
        let later = index.fences.get(blocks.start as usize + 1..blocks.end as usize)?;
        let after = later.partition_point(|fence| fence.base_offset() <= offset);
        Some(Place::new(run, blocks.start + after as u32))
    }

    /// The block with the run's last span stored before `timestamp_ms`, and the first span of the
    /// block after it, as offset and store time.
    pub(crate) fn place_in_time(
        &self,
        run: &Run,
        timestamp_ms: u64,
    ) -> Option<(Place, Option<(u64, u64)>)> {
        let index = self.by_number.get(&run.number)?;
        let blocks = blocks(run);
        let later = index.fences.get(blocks.start as usize + 1..blocks.end as usize)?;
        // What is older than the time, or has gone from the queue.
        let after = later.partition_point(|fence| {
            fence.store_ms() < timestamp_ms || fence.base_offset() <= run.base_offset
        });
        let next = later.get(after).map(|fence| (fence.base_offset(), fence.store_ms()));
        Some((Place::new(run, blocks.start + after as u32), next))
    }

    /// The block of keys in the index of segment `number` where the last row before `row` is, counted
    /// over all blocks. The inner
    /// `None`: there is none; the outer: nothing is known of the segment.
    pub(crate) fn key_block(&self, number: u64, row: &KeyRow) -> Option<Option<u32>> {
        let index = self.by_number.get(&number)?;
        let after = index.key_fences.partition_point(|first| first < row);
        Some(after.checked_sub(1).map(|at| (index.fences.len() + at) as u32))
    }

    /// Block `block` of segment `number`'s index, of spans or keys.
    pub(crate) fn block(&self, number: u64, block: u32) -> Option<Block<'_>> {
        let key = (number, block);
        let index = self.by_number.get(&number)?;
        let file = match &index.source {
            Source::Memory(image) => return image.block(block).map(Block::Bytes),
            Source::File(file) => *file,
        };
        let cached = self.cache.iter().rev().find(|(cached, _)| *cached == key);
        Some(cached.map_or(Block::OnFile(file), |(_, bytes)| Block::Bytes(bytes)))
    }

    /// Keeps a block that was read from `file`, unless the index has another one by now.
    pub(crate) fn keep(&mut self, key: (u64, u32), file: FileId, bytes: &[u8]) {
        let index = self.by_number.get(&key.0);
        let is_its =
            index.is_some_and(|index| matches!(index.source, Source::File(f) if f == file));
        if !is_its || self.cache.iter().any(|(cached, _)| *cached == key) {
            return;
        }
        if self.cache.len() >= CACHED_MAX {
            self.cache.pop_front();
        }
        self.cache.push_back((key, bytes.into()));
    }
}

#[cfg(test)]
mod tests;
