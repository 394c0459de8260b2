//! No memory beyond the limit: an allocator that counts what each thread has taken.
//!
//! It stands in every fuzz target and in `tests/any_bytes_are_survived.rs`. Absent: memory that is
//! taken by another thread on behalf of the one that is limited.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes this thread has taken and not given back (or given back for others: below zero).
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// The most it ever held since the last look.
    static MOST: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    MOST.set(MOST.get().max(held));
}

// SAFETY: every call goes to the system's allocator as it is; counting takes no memory (the
// thread's cells are constants that need no destructor).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may be there for a while.
        count(size.cast_signed());
        // SAFETY: as above.
        let moved = unsafe { System.realloc(at, layout, size) };
        count(-layout.size().cast_signed());
        moved
    }
}

/// What `run` returns, and the most memory it held at once, in bytes.
pub(crate) fn measured<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let result = run();
    (result, usize::try_from(MOST.get() - before).unwrap_or(0))
}

/// What reading an input may hold at once: a few blocks, and a multiple of the input.
pub(crate) fn held_bytes_max(input: &[u8]) -> usize {
    (64 << 10) + 64 * input.len()
}

/// Runs `run`, which may never hold more than `bytes_max`, also not for a moment and untouched.
pub(crate) fn limited<T>(bytes_max: usize, run: impl FnOnce() -> T) -> T {
    let (result, most) = measured(run);
    assert!(most <= bytes_max, "{most} bytes of memory were held, {bytes_max} are the limit");
    result
}
