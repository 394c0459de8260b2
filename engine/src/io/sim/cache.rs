//! What one file holds: stable pages, and on top of them the versions a crash may take away.
//!
//! Versions of a page are kept in the order of their writes. Writes are whole pages (4 KiB), but
//! each of the page's eight sectors survives on its own, so a version has a mask of the sectors
//! for which it is still unstable.
//! Invariants: absent pages are zeros; versions of one sector complete in the order in which
//! they were written (overlapping writes are never in flight together); a sector made stable has
//! no older version left. Stable pages are shared with images and copied only when they change.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use super::Random;
use super::crash::Fate;
use crate::io::block::Block;
use crate::io::{BLOCK_BYTES, FileName, OpId};

pub(super) const SECTOR_BYTES: usize = 512;
pub(super) const PAGE_BYTES: usize = BLOCK_BYTES as usize;
pub(super) const PAGE_SECTORS: u32 = (PAGE_BYTES / SECTOR_BYTES) as u32;
const _: () = assert!(PAGE_SECTORS == u8::BITS, "a mask of sectors is a byte");
const ALL: u8 = u8::MAX;

/// The bytes of one page, sharing the buffer of the write that brought them.
#[derive(Clone, Debug)]
pub(super) enum Page {
    Zeros,
    Bytes { buffer: Rc<[u8]>, at: usize },
}

impl Page {
    pub(super) fn bytes(&self) -> &[u8] {
        static ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
        match self {
            Self::Zeros => &ZEROS,
            Self::Bytes { buffer, at } => &buffer[*at..*at + PAGE_BYTES],
        }
    }

    /// This page with the sectors of `mask` taken from `newer`.
    fn overlay(&self, newer: &Self, mask: u8) -> Self {
        match mask {
            0 => self.clone(),
            ALL => newer.clone(),
            _ => self.edited(|bytes| {
                for sector in (0..PAGE_SECTORS).filter(|sector| mask & (1 << sector) != 0) {
                    let at = sector as usize * SECTOR_BYTES;
                    let range = at..at + SECTOR_BYTES;
                    bytes[range.clone()].copy_from_slice(&newer.bytes()[range]);
                }
            }),
        }
    }

    /// A copy of this page, edited.
    pub(super) fn edited(&self, edit: impl FnOnce(&mut [u8])) -> Self {
        let mut bytes = self.bytes().to_vec();
        edit(&mut bytes);
        Self::Bytes { buffer: bytes.into(), at: 0 }
    }
}

/// Stable pages by number.
pub(super) type Pages = BTreeMap<u64, Page>;

pub(super) fn put(pages: &mut Pages, number: u64, page: Page) {
    match page {
        Page::Zeros => drop(pages.remove(&number)),
        Page::Bytes { .. } => drop(pages.insert(number, page)),
    }
}

/// One write's bytes in one page, while they are not stable.
#[derive(Debug)]
struct Version {
    write: OpId,
    page: Page,
    /// Sectors for which this version is neither stable nor superseded by a stable one.
    mask: u8,
    /// The event at which the write completed; `None` while it is in flight.
    done: Option<u64>,
    /// Of a failed write, or covered by a failed flush: no sync makes it stable any more.
    doubtful: bool,
}

/// The contents of one file.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Length in bytes, as reads see it.
    pub(super) len: u64,
    stable: Rc<Pages>,
    unstable: BTreeMap<u64, Vec<Version>>,
}

impl Contents {
    pub(super) fn new(len: u64, stable: Rc<Pages>) -> Self {
        Self { len, stable, unstable: BTreeMap::new() }
    }

    /// A write is issued: from now on a crash may show any of its sectors. `None` writes zeros.
    pub(super) fn begin(&mut self, write: OpId, pages: Range<u64>, data: Option<&Rc<[u8]>>) {
        for (index, number) in pages.enumerate() {
            let page = data.map_or(Page::Zeros, |buffer| Page::Bytes {
                buffer: Rc::clone(buffer),
                at: index * PAGE_BYTES,
            });
            let version = Version { write, page, mask: ALL, done: None, doubtful: false };
            self.unstable.entry(number).or_default().push(version);
        }
    }

    /// The write completed at event `at`: visible, not stable.
    pub(super) fn finish(&mut self, write: OpId, pages: Range<u64>, at: u64) {
        self.each_of(write, pages, |version| version.done = Some(at));
    }

    /// The write failed at event `at`: each sector was written or not.
    pub(super) fn fail(&mut self, write: OpId, pages: Range<u64>, at: u64, chance: &mut Random) {
        self.each_of(write, pages.clone(), |version| {
            version.done = Some(at);
            version.doubtful = true;
            version.mask = chance.draw() as u8;
        });
        self.drop_settled(pages);
    }

    /// The sectors of `write` are stable.
    pub(super) fn stabilise_write(&mut self, write: OpId, pages: Range<u64>) {
        let stable = Rc::make_mut(&mut self.stable);
        for (number, versions) in self.unstable.range_mut(pages.clone()) {
            if let Some(index) = versions.iter().position(|version| version.write == write) {
                settle(stable, *number, versions, index);
            }
        }
        self.drop_settled(pages);
    }

    /// Everything that had completed by event `cutoff` is stable.
    pub(super) fn stabilise_done(&mut self, cutoff: u64) {
        if self.unstable.is_empty() {
            return;
        }
        let stable = Rc::make_mut(&mut self.stable);
        for (number, versions) in &mut self.unstable {
            for index in 0..versions.len() {
                let version = &versions[index];
                if version.done.is_some_and(|done| done <= cutoff) && !version.doubtful {
                    settle(stable, *number, versions, index);
                }
            }
        }
        self.unstable.retain(|_, versions| still_unstable(versions));
    }

    /// A flush of everything that had completed by event `cutoff` failed.
    pub(super) fn doubt(&mut self, cutoff: u64) {
        for version in self.unstable.values_mut().flatten() {
            version.doubtful |= version.done.is_some_and(|done| done <= cutoff);
        }
    }

    /// Appends page `number` to `out` as a read sees it.
    pub(super) fn read(&self, number: u64, chance: &mut Random, out: &mut Block) {
        let stable = self.stable.get(&number).unwrap_or(&Page::Zeros);
        let Some(versions) = self.unstable.get(&number) else {
            out.append(stable.bytes());
            return;
        };
        let page = versions.iter().fold(stable.clone(), |page, version| {
            let seen = if version.done.is_some() { ALL } else { chance.draw() as u8 };
            page.overlay(&version.page, version.mask & seen)
        });
        out.append(page.bytes());
    }

    /// What of this file survives a crash in which `fate` decides.
    pub(super) fn surviving(&self, name: FileName, fate: &mut Fate<'_>) -> Rc<Pages> {
        let mut pages = Rc::clone(&self.stable);
        let mut candidates = Vec::new();
        for (number, versions) in &self.unstable {
            let stable = self.stable.get(number).unwrap_or(&Page::Zeros);
            let mut page = stable.clone();
            for sector in 0..PAGE_SECTORS {
                let bit = 1 << sector;
                let live = || versions.iter().filter(|version| version.mask & bit != 0);
                candidates.clear();
                candidates.extend(live().map(|version| (version.write, version.done.is_some())));
                if candidates.is_empty() {
                    continue;
                }
                let place = number * u64::from(PAGE_SECTORS) + u64::from(sector);
                let chosen = fate.sector(name, place, &candidates);
                if let Some(version) = chosen.checked_sub(1).and_then(|nth| live().nth(nth)) {
                    page = page.overlay(&version.page, bit);
                }
            }
            put(Rc::make_mut(&mut pages), *number, page);
        }
        pages
    }

    /// Flips a bit in every version of a byte, also the stable one.
    pub(super) fn flip_bit(&mut self, offset: u64, bit: u32) {
        let number = offset / PAGE_BYTES as u64;
        let at = (offset % PAGE_BYTES as u64) as usize;
        flip(Rc::make_mut(&mut self.stable), offset, bit);
        for version in self.unstable.get_mut(&number).into_iter().flatten() {
            version.page = version.page.edited(|bytes| bytes[at] ^= 1 << (bit % 8));
        }
    }

    /// Pages that are not stable; for tests of the simulator itself.
    #[cfg(test)]
    pub(super) fn unstable_pages(&self) -> usize {
        self.unstable.len()
    }

    fn each_of(&mut self, write: OpId, pages: Range<u64>, mut edit: impl FnMut(&mut Version)) {
        for (_, versions) in self.unstable.range_mut(pages) {
            versions.iter_mut().filter(|version| version.write == write).for_each(&mut edit);
        }
    }

    fn drop_settled(&mut self, pages: Range<u64>) {
        for number in pages {
            if self.unstable.get_mut(&number).is_some_and(|versions| !still_unstable(versions)) {
                self.unstable.remove(&number);
            }
        }
    }
}

fn still_unstable(versions: &mut Vec<Version>) -> bool {
    versions.retain(|version| version.mask != 0);
    !versions.is_empty()
}

pub(super) fn flip(pages: &mut Pages, offset: u64, bit: u32) {
    let number = offset / PAGE_BYTES as u64;
    let at = (offset % PAGE_BYTES as u64) as usize;
    let page = pages.get(&number).unwrap_or(&Page::Zeros);
    let flipped = page.edited(|bytes| bytes[at] ^= 1 << (bit % 8));
    put(pages, number, flipped);
}

/// Makes version `index` stable in the sectors it still stands for; older versions are history.
fn settle(stable: &mut Pages, number: u64, versions: &mut [Version], index: usize) {
    let mask = versions[index].mask;
    let old = stable.get(&number).unwrap_or(&Page::Zeros);
    let new = old.overlay(&versions[index].page, mask);
    put(stable, number, new);
    for version in &mut versions[..=index] {
        version.mask &= !mask;
    }
}
