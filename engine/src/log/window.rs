//! The hot window: recent groups in memory, laid out exactly as in the log.
//!
//! A chunk is a block of memory that mirrors a run of the log; the last one is where groups are
//! being built. Consumers at the tail are sent slices of the chunks, device writes read from
//! them, and a chunk's memory is used again when nobody holds it.
//!
//! Invariants: chunks are in log order; a chunk never spans segments; only the last one grows.
//! Absent: what is in the bytes; any device.

use std::collections::VecDeque;

use super::position::LogPos;
use crate::io::BLOCK_BYTES;
use crate::io::block::{Block, Slice};
use crate::limits::CHUNK_BYTES;

/// Blocks kept for reuse: fresh memory costs a page fault per 4 KiB, which at the log's rate is
/// more CPU than the CRC.
const SPARE_BLOCKS_MAX: usize = 16;

#[derive(Debug)]
struct Chunk {
    base: LogPos,
    block: Block,
}

impl Chunk {
    fn end(&self) -> LogPos {
        self.base.plus(u64::from(self.block.published()))
    }
}

/// Recent groups of one log.
#[derive(Debug)]
pub struct Window {
    chunks: VecDeque<Chunk>,
    /// Blocks out of the window; some still shared with sends in progress.
    spare: Vec<Block>,
    bytes: u64,
    bytes_max: u64,
}

impl Window {
    /// An empty window that keeps up to `bytes_max` bytes of recent log.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self { chunks: VecDeque::new(), spare: Vec::new(), bytes: 0, bytes_max }
    }

    /// The chunk that grows, with the log position of its first byte.
    #[must_use]
    pub fn last(&mut self) -> Option<(LogPos, &mut Block)> {
        self.chunks.back_mut().map(|chunk| (chunk.base, &mut chunk.block))
    }

    /// Starts a new chunk at `base`, at least `len_min` bytes long. `alloc` is asked for memory
    /// when no block can be used again; old chunks whose groups lie below `written` are given up
    /// first. `false` when there is no memory.
    pub fn start_chunk(
        &mut self,
        base: LogPos,
        written: LogPos,
        mut alloc: impl FnMut(u32) -> Option<Block>,
    ) -> bool {
        self.trim(written, self.bytes_max.saturating_sub(u64::from(CHUNK_BYTES)));
        let block = match self.reusable().or_else(|| alloc(CHUNK_BYTES)) {
            Some(block) => block,
            None => {
                // The budget is used up: the window is the first to give.
                self.trim(written, 0);
                match self.reusable() {
                    Some(block) => block,
                    None => return false,
                }
            }
        };
        self.bytes += u64::from(block.len());
        self.chunks.push_back(Chunk { base, block });
        true
    }

    /// Bytes from `pos` on, if they are all in one chunk and published.
    #[must_use]
    pub fn slice(&self, pos: LogPos, len: u32) -> Option<Slice> {
        let after = self.chunks.partition_point(|chunk| chunk.base <= pos);
        let chunk = self.chunks.get(after.checked_sub(1)?)?;
        if pos.plus(u64::from(len)) > chunk.end() {
            return None;
        }
        let start = (pos.0 - chunk.base.0) as u32;
        Some(chunk.block.slice(start..start + len))
    }

    /// The lowest position that is in memory.
    #[must_use]
    pub fn start(&self) -> Option<LogPos> {
        self.chunks.front().map(|chunk| chunk.base)
    }

    fn trim(&mut self, written: LogPos, bytes_max: u64) {
        while self.bytes > bytes_max {
            match self.chunks.front() {
                Some(chunk) if chunk.end() <= written && self.chunks.len() > 1 => {}
                _ => break,
            }
            if let Some(chunk) = self.chunks.pop_front() {
                self.bytes -= u64::from(chunk.block.len());
                if self.spare.len() < SPARE_BLOCKS_MAX {
                    self.spare.push(chunk.block);
                }
            }
        }
    }

    fn reusable(&mut self) -> Option<Block> {
        let free = self.spare.iter().position(Block::is_unshared)?;
        let mut block = self.spare.swap_remove(free);
        block.reset();
        Some(block)
    }
}

/// The position at or after `pos` where a group may start when the tail block must not be touched.
#[must_use]
pub const fn next_block(pos: LogPos) -> LogPos {
    LogPos(pos.0.next_multiple_of(BLOCK_BYTES as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::block::Budget;

    #[test]
    fn old_chunks_are_reused_once_written() {
        let budget = Budget::new(3 * u64::from(CHUNK_BYTES));
        let mut window = Window::new(2 * u64::from(CHUNK_BYTES));
        for n in 0..10_u64 {
            let base = LogPos(n * u64::from(CHUNK_BYTES));
            assert!(window.start_chunk(base, base, |len| budget.block(len)));
            let (_, block) = window.last().unwrap();
            block.append(&[n as u8; 100]);
        }
        assert_eq!(window.start(), Some(LogPos(8 * u64::from(CHUNK_BYTES))));
        let slice = window.slice(LogPos(9 * u64::from(CHUNK_BYTES) + 50), 50).unwrap();
        assert_eq!(&*slice, &[9; 50]);
        assert!(window.slice(LogPos(9 * u64::from(CHUNK_BYTES) + 50), 51).is_none());
        assert!(window.slice(LogPos(0), 1).is_none());
    }

    #[test]
    fn unwritten_chunks_stay_and_memory_is_bounded() {
        let budget = Budget::new(2 * u64::from(CHUNK_BYTES));
        let mut window = Window::new(u64::from(CHUNK_BYTES));
        let start = |window: &mut Window, n: u64, written| {
            let base = LogPos(n * u64::from(CHUNK_BYTES));
            let started = window.start_chunk(base, LogPos(written), |len| budget.block(len));
            if started {
                window.last().unwrap().1.append(&[1; 10]);
            }
            started
        };
        assert!(start(&mut window, 0, 0) && start(&mut window, 1, 0));
        assert!(!start(&mut window, 2, 0), "nothing is written, nothing can go");
        assert!(start(&mut window, 2, 10), "the first chunk is written");
    }

    #[test]
    fn shared_memory_is_not_reused() {
        let budget = Budget::new(2 * u64::from(CHUNK_BYTES));
        let mut window = Window::new(u64::from(CHUNK_BYTES));
        assert!(window.start_chunk(LogPos(0), LogPos(0), |len| budget.block(len)));
        window.last().unwrap().1.append(&[7; 10]);
        let held = window.slice(LogPos(0), 10).unwrap();
        let chunk = u64::from(CHUNK_BYTES);
        assert!(window.start_chunk(LogPos(chunk), LogPos(chunk), |len| budget.block(len)));
        window.last().unwrap().1.append(&[8; 10]);
        assert!(!window.start_chunk(LogPos(2 * chunk), LogPos(2 * chunk), |len| budget.block(len)));
        assert_eq!(&*held, &[7; 10]);
        drop(held);
        assert!(window.start_chunk(LogPos(2 * chunk), LogPos(2 * chunk), |len| budget.block(len)));
    }
}
