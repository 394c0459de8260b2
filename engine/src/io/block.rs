//! Memory for device I/O and for zero-copy sends: aligned, written once, shared by reference.
//!
//! A [`Block`] has one owner, who fills it from front to back and may hold one hole open behind
//! its frontier (a group's header, known only when the group is cut). [`Block::slice`] lends
//! published bytes as [`Slice`]s that keep the memory alive; published bytes never change while
//! a slice of them exists.
//!
//! Invariants: bytes below `published` and outside the hole are immutable; a slice never covers
//! the hole or unpublished bytes, except [`Block::device_slice`], which only a device reads.
//! Absent: threads (a block stays on its reactor), growth, zeroing of reused memory.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, Range};
use std::rc::Rc;

use super::BLOCK_BYTES;
use super::ahead::{Ahead, Warmer};
use super::pages::Pages;

/// The bytes of all blocks alive, shared by everything that allocates from one budget.
#[derive(Clone, Debug)]
pub struct Budget(Rc<BudgetCells>);

#[derive(Debug)]
struct BudgetCells {
    used: Cell<u64>,
    max: u64,
    free: RefCell<Free>,
    ahead: Option<Ahead>,
}

/// Long blocks that are not in use, to be used again: fresh memory costs a page fault a page, which at a
/// device's rate is more than the checksums.
#[derive(Debug, Default)]
struct Free {
    blocks: Vec<Pages>,
    bytes: u32,
}

/// Blocks from this length on are kept ...
const KEPT_BYTES_MIN: u32 = 64 << 10;
/// ... as many as this; they do not count as used.
const KEPT_BYTES_MAX: u32 = 6 << 20;

impl Free {
    fn take(&mut self, len: u32) -> Option<Pages> {
        let at = self.blocks.iter().rposition(|pages| pages.len() == len)?;
        self.bytes -= len;
        Some(self.blocks.swap_remove(at))
    }

    /// Keeps it, or gives it back.
    fn put(&mut self, pages: Pages) {
        let len = pages.len();
        if len >= KEPT_BYTES_MIN && self.bytes + len <= KEPT_BYTES_MAX {
            self.bytes += len;
            self.blocks.push(pages);
        }
    }
}

impl Budget {
    /// A budget of `max` bytes.
    #[must_use]
    pub fn new(max: u64) -> Self {
        Self::with(max, None)
    }

    /// The same, with one block of the length of a huge page always ready to be written to; it does
    /// not count as used.
    #[must_use]
    pub fn warmed(max: u64, warmer: Warmer) -> Self {
        Self::with(max, Some(Ahead::new(warmer)))
    }

    fn with(max: u64, ahead: Option<Ahead>) -> Self {
        let (used, free) = (Cell::new(0), RefCell::default());
        Self(Rc::new(BudgetCells { used, max, free, ahead }))
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.used.get()
    }

    /// An owned block of `len` bytes, a positive multiple of [`BLOCK_BYTES`]; `None` when the
    /// budget, or the system's memory, is used up. Untouched pages of a fresh block cost no memory.
    #[must_use]
    pub fn block(&self, len: u32) -> Option<Block> {
        let used = self.0.used.get() + u64::from(len);
        if used > self.0.max {
            return None;
        }
        let kept = self.0.free.borrow_mut().take(len);
        let ready = || self.0.ahead.as_ref().and_then(|ahead| ahead.take(len));
        let pages = kept.or_else(ready).or_else(|| Pages::new(len))?;
        self.0.used.set(used);
        let memory = Memory { pages: ManuallyDrop::new(pages), budget: self.clone() };
        Some(Block { memory: Rc::new(memory), published: 0, hole: 0..0 })
    }
}

/// The CPU finds out by itself that more than this follows.
const PREFETCH_BYTES_MAX: u32 = 4 << 10;
const CACHE_LINE_BYTES: usize = 64;

#[cfg(target_arch = "x86_64")]
fn prefetch_for_write(at: *const u8) {
    use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
    // SAFETY: a hint; it reads and writes nothing and cannot fault, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_ET0>(at.cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
fn prefetch_for_write(_: *const u8) {}

struct Memory {
    pages: ManuallyDrop<Pages>,
    budget: Budget,
}

impl Memory {
    fn len(&self) -> u32 {
        self.pages.len()
    }

    fn as_ptr(&self) -> *mut u8 {
        self.pages.as_ptr()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let cells = &self.budget.0;
        cells.used.set(cells.used.get() - u64::from(self.len()));
        // SAFETY: taken here only, and nothing is done with `self.pages` any more.
        let pages = unsafe { ManuallyDrop::take(&mut self.pages) };
        cells.free.borrow_mut().put(pages);
    }
}

/// Aligned memory with one writer.
pub struct Block {
    memory: Rc<Memory>,
    published: u32,
    hole: Range<u32>,
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} of {} bytes published)", self.published, self.memory.len())
    }
}

impl Block {
    /// Capacity in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u32 {
        self.memory.len()
    }

    /// Bytes published so far: where the next append goes.
    #[must_use]
    pub fn published(&self) -> u32 {
        self.published
    }

    /// Bytes that can still be appended.
    #[must_use]
    pub fn room(&self) -> u32 {
        self.memory.len() - self.published
    }

    /// Whether no slice of this block is alive.
    #[must_use]
    pub fn is_unshared(&self) -> bool {
        Rc::strong_count(&self.memory) == 1
    }

    /// Appends `bytes` and publishes them; returns where they lie.
    ///
    /// # Panics
    /// If they do not fit: the caller checks [`Block::room`] first.
    pub fn append(&mut self, bytes: &[u8]) -> Range<u32> {
        assert!(bytes.len() <= self.room() as usize, "append beyond the block");
        let start = self.published;
        self.copy_in(start, bytes);
        self.published = start + bytes.len() as u32;
        start..self.published
    }

    /// Tells the CPU that about so many bytes will be appended next. A block was last used long ago and
    /// lies in no near cache; without this an append's stores wait for its lines one after the other,
    /// and whatever reads what was stored since waits with them (measured: 0.1 us for each KiB).
    pub fn prefetch(&self, len: u32) {
        let end = self.published + len.min(PREFETCH_BYTES_MAX).min(self.room());
        for at in (self.published..end).step_by(CACHE_LINE_BYTES) {
            prefetch_for_write(self.memory.as_ptr().wrapping_add(at as usize));
        }
    }

    /// Appends `len` zero bytes and publishes them.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn append_zeros(&mut self, len: u32) {
        assert!(len <= self.room(), "append beyond the block");
        self.zero(self.published, len);
        self.published += len;
    }

    /// Reserves `len` bytes at the frontier, to be filled once by [`Block::fill_hole`]. Slices
    /// cannot cover them until then.
    ///
    /// # Panics
    /// If they do not fit or another hole is open.
    pub fn open_hole(&mut self, len: u32) -> Range<u32> {
        assert!(len <= self.room() && self.hole.is_empty(), "no room for a hole");
        self.hole = self.published..self.published + len;
        self.published += len;
        self.hole.clone()
    }

    /// Fills the open hole and publishes it.
    ///
    /// # Panics
    /// If `bytes` is not exactly as long as the hole.
    pub fn fill_hole(&mut self, bytes: &[u8]) {
        assert!(bytes.len() == self.hole.len() && !bytes.is_empty(), "the hole has another size");
        self.copy_in(self.hole.start, bytes);
        self.hole = 0..0;
    }

    /// Gives up everything from the open hole on (a group that was never cut).
    pub fn abandon_hole(&mut self) {
        if !self.hole.is_empty() {
            self.published = self.hole.start;
            self.hole = 0..0;
        }
    }

    /// Zeros the bytes from the frontier to the next block boundary without publishing them:
    /// they are padding that only the device sees, and a later group may use their space.
    pub fn zero_to_boundary(&mut self) {
        let end = self.published.next_multiple_of(BLOCK_BYTES);
        self.zero(self.published, end - self.published);
    }

    /// Moves the frontier up to the next block boundary: the padding stays padding.
    pub fn skip_to_boundary(&mut self) {
        self.published = self.published.next_multiple_of(BLOCK_BYTES).min(self.memory.len());
    }

    /// Published bytes, shared by reference.
    ///
    /// # Panics
    /// If the range is not published or touches the hole.
    #[must_use]
    pub fn slice(&self, range: Range<u32>) -> Slice {
        assert!(range.start <= range.end && range.end <= self.published, "slice of unpublished");
        assert!(
            self.hole.is_empty() || range.end <= self.hole.start || range.start >= self.hole.end,
            "slice over the hole"
        );
        Slice { memory: Rc::clone(&self.memory), start: range.start, end: range.end }
    }

    /// The whole blocks that hold `range`, for a device write: padding included. No bytes of it
    /// may be appended to until the write has completed.
    ///
    /// # Panics
    /// If the hole is open.
    #[must_use]
    pub fn device_slice(&self, range: Range<u32>) -> Slice {
        assert!(self.hole.is_empty() && range.end <= self.published, "device write of a hole");
        let start = range.start - range.start % BLOCK_BYTES;
        let end = range.end.next_multiple_of(BLOCK_BYTES);
        Slice { memory: Rc::clone(&self.memory), start, end }
    }

    /// Forgets the contents so that the memory can be filled again.
    ///
    /// # Panics
    /// If a slice is alive.
    pub fn reset(&mut self) {
        assert!(self.is_unshared(), "reset of a shared block");
        self.published = 0;
        self.hole = 0..0;
    }

    /// The whole capacity, for the device or the kernel to fill, and then
    /// [`Block::assume_filled`].
    ///
    /// # Panics
    /// If a slice is alive or something was published.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        assert!(self.is_unshared() && self.published == 0, "read into a block in use");
        self.memory.as_ptr()
    }

    /// Publishes the first `len` bytes after they were filled through [`Block::as_mut_ptr`] (the
    /// memory is always initialised: it is zeroed when allocated).
    ///
    /// # Panics
    /// If `len` is beyond the capacity or something was published.
    pub fn assume_filled(&mut self, len: u32) {
        assert!(len <= self.memory.len() && self.published == 0, "filled twice or too far");
        self.published = len;
    }

    fn copy_in(&mut self, at: u32, bytes: &[u8]) {
        debug_assert!(at as usize + bytes.len() <= self.memory.len() as usize);
        // SAFETY: callers have checked that the range lies inside the allocation and is
        // unpublished or the hole, which no `Slice` that is ever dereferenced covers; the source
        // is a shared borrow of other memory, or of published bytes, which are disjoint from it.
        unsafe {
            let to = self.memory.as_ptr().add(at as usize);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }

    fn zero(&mut self, at: u32, len: u32) {
        debug_assert!(at + len <= self.memory.len());
        // SAFETY: as in `copy_in`.
        unsafe { std::ptr::write_bytes(self.memory.as_ptr().add(at as usize), 0, len as usize) };
    }
}

/// Published bytes of a [`Block`], shared by reference; clones are cheap. Keeps the memory alive.
#[derive(Clone)]
pub struct Slice {
    memory: Rc<Memory>,
    start: u32,
    end: u32,
}

impl Slice {
    /// A narrower slice of the same bytes.
    ///
    /// # Panics
    /// If `range` is outside this slice.
    #[must_use]
    pub fn slice(&self, range: Range<u32>) -> Self {
        assert!(range.start <= range.end && range.end <= self.end - self.start, "slice of a slice");
        Self {
            memory: Rc::clone(&self.memory),
            start: self.start + range.start,
            end: self.start + range.end,
        }
    }

    /// Joins two slices that lie one behind the other in the same block.
    #[must_use]
    pub fn join(&self, next: &Self) -> Option<Self> {
        (Rc::ptr_eq(&self.memory, &next.memory) && self.end == next.start).then(|| Self {
            memory: Rc::clone(&self.memory),
            start: self.start,
            end: next.end,
        })
    }

    /// Address of the first byte, for the device; the memory lives as long as this slice.
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.memory.as_ptr().wrapping_add(self.start as usize).cast_const()
    }
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the range was inside the allocation when the slice was made. Bytes that users
        // of `Deref` see are published and never written again; a `device_slice` also covers
        // padding, whose owner promises not to write it while the slice is alive.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), (self.end - self.start) as usize) }
    }
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slice({}..{})", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shared_not_copied() {
        let budget = Budget::new(8192);
        let mut block = budget.block(8192).unwrap();
        let first = block.append(b"abc");
        let slice = block.slice(first);
        let second = block.append(b"def");
        let joined = slice.join(&block.slice(second)).unwrap();
        assert_eq!(&*joined, b"abcdef");
        assert_eq!(joined.as_ptr(), slice.as_ptr());
        drop(block);
        assert_eq!(&*slice, b"abc");
        assert_eq!(budget.used(), 8192);
        drop((slice, joined));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn long_blocks_are_used_again() {
        let budget = Budget::new(16 << 20);
        let mut block = budget.block(2 << 20).unwrap();
        let address = block.as_mut_ptr();
        drop(block);
        assert_eq!(budget.used(), 0);
        assert_ne!(budget.block(1 << 20).unwrap().as_mut_ptr(), address, "of the same length");
        let mut again = budget.block(2 << 20).unwrap();
        assert_eq!((again.as_mut_ptr(), again.published()), (address, 0));
        let all: Vec<Block> = (0..6).map(|_| budget.block(2 << 20).unwrap()).collect();
        drop(all);
        assert!(budget.0.free.borrow().bytes <= KEPT_BYTES_MAX, "only so many are kept");
    }

    #[test]
    fn budget_is_a_bound() {
        let budget = Budget::new(8192);
        let _first = budget.block(4096).unwrap();
        let second = budget.block(4096).unwrap();
        assert!(budget.block(4096).is_none());
        drop(second);
        assert!(budget.block(4096).is_some());
    }

    #[test]
    fn hole_is_filled_behind_the_frontier() {
        let mut block = Budget::new(4096).block(4096).unwrap();
        block.open_hole(4);
        let body = block.append(b"body");
        assert_eq!(&*block.slice(body), b"body");
        block.fill_hole(b"head");
        assert_eq!(&*block.slice(0..8), b"headbody");
        block.zero_to_boundary();
        assert_eq!(block.device_slice(0..8).len(), 4096);
    }

    #[test]
    #[should_panic(expected = "slice over the hole")]
    fn open_hole_cannot_be_lent() {
        let mut block = Budget::new(4096).block(4096).unwrap();
        block.open_hole(4);
        let _ = block.slice(0..4);
    }
}
