//! Where the memory of blocks comes from: zeroed, aligned to device blocks; long ones in huge pages.
//!
//! A direct write pins the memory it writes from page by page: for 4 KiB pages that, and the longer
//! list of pieces that the device is then handed, costs more CPU than the checksums (measured:
//! engine/docs/pump.md, Overload). So memory that is as long as a huge page is mapped apart, on such
//! a boundary, and the kernel is asked for one. It may refuse: the pages are then small ones.
//!
//! Invariant: the memory is initialised (zero) and valid until it is dropped.
//! Absent: budgets, and memory that is used again (`block`).
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

use super::BLOCK_BYTES;

/// A huge page of x86-64, and of AArch64 with 4 KiB pages.
pub(super) const HUGE_BYTES: usize = 2 << 20;

/// Zeroed memory that nobody else has.
#[derive(Debug)]
pub(super) struct Pages {
    start: NonNull<u8>,
    len: u32,
}

// SAFETY: it is the only one that refers to its memory, which belongs to no thread.
unsafe impl Send for Pages {}

impl Pages {
    /// `len` bytes, a positive multiple of [`BLOCK_BYTES`]; `None` if the system has no memory.
    /// What is not touched costs no memory, in steps of a (huge) page.
    pub(super) fn new(len: u32) -> Option<Self> {
        assert!(len > 0 && len.is_multiple_of(BLOCK_BYTES), "block length {len}");
        let start = if is_huge(len) {
            map(len as usize)?
        } else {
            // SAFETY: the layout has a non-zero size (asserted above).
            NonNull::new(unsafe { alloc_zeroed(layout(len)?) })?
        };
        Some(Self { start, len })
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Meets the page faults that the first writes would meet. What is in it stays.
    pub(super) fn touch(&self) {
        for at in (0..self.len as usize).step_by(BLOCK_BYTES as usize) {
            let byte = self.start.as_ptr().wrapping_add(at);
            // SAFETY: it lies in this memory, and nobody else refers to that. Volatile, or the
            // compiler would see that nothing changes.
            unsafe { byte.write_volatile(byte.read()) };
        }
    }

    /// The first byte.
    pub(super) fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if is_huge(self.len) {
            unmap(self.start, self.len as usize);
        } else if let Some(layout) = layout(self.len) {
            // SAFETY: allocated in `Pages::new` with this very layout, freed only here.
            unsafe { dealloc(self.start.as_ptr(), layout) };
        }
    }
}

fn is_huge(len: u32) -> bool {
    len as usize >= HUGE_BYTES
}

fn layout(len: u32) -> Option<Layout> {
    Layout::from_size_align(len as usize, BLOCK_BYTES as usize).ok()
}

/// Maps `len` bytes that begin on a boundary of huge pages: from a longer mapping, of which the rest
/// is given back.
fn map(len: usize) -> Option<NonNull<u8>> {
    let longer = NonZeroUsize::new(len + HUGE_BYTES)?;
    let (access, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE);
    // SAFETY: a new private mapping, wherever there is room: no memory in use changes.
    let all = unsafe { mmap_anonymous(None, longer, access, flags) }.ok()?.cast::<u8>();
    let before = all.as_ptr().align_offset(HUGE_BYTES);
    if before >= HUGE_BYTES {
        unmap(all, longer.get());
        return None;
    }
    // SAFETY: both lie in the mapping of `len + HUGE_BYTES` bytes, as `before < HUGE_BYTES`.
    let (start, end) = unsafe { (all.add(before), all.add(before + len)) };
    unmap(all, before);
    unmap(end, HUGE_BYTES - before);
    // SAFETY: the range was mapped above; this changes nothing that can be read.
    let advised = unsafe { madvise(start.cast(), len, MmapAdvise::MADV_HUGEPAGE) };
    // A kernel without huge pages.
    let _ = advised;
    Some(start)
}

/// Gives mapped memory back.
fn unmap(start: NonNull<u8>, len: usize) {
    if len > 0 {
        // SAFETY: a whole number of pages, mapped in `map`, that nobody refers to any more. It can
        // only fail for want of memory for the kernel's own lists: then they stay mapped.
        let _ = unsafe { munmap(start.cast(), len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_is_zeroed_aligned_and_given_back() {
        for len in [4096, 64 << 10, 1 << 20, 2 << 20, (2 << 20) + 4096, 5 << 20] {
            for _ in 0..3 {
                let pages = Pages::new(len).unwrap();
                let align = if is_huge(len) { HUGE_BYTES } else { BLOCK_BYTES as usize };
                assert!(pages.as_ptr().addr().is_multiple_of(align) && pages.len() == len);
                // SAFETY: the memory is initialised, and nobody else has it.
                let bytes = unsafe { std::slice::from_raw_parts_mut(pages.as_ptr(), len as usize) };
                assert!(bytes.iter().all(|byte| *byte == 0));
                bytes.fill(7);
            }
        }
    }
}
