//! One index file from front to back: whether it is whole in itself, and what it says.
//!
//! Reads top-down: [`read`] (footer and directory) -> [`IndexFile::show`] (every block of spans and of keys).
//! What a crash leaves of a file that was being written has no footer: zeros are there. It is told
//! from damage by that.
//!
//! Absent: whether it is true (`index`); all of it in memory, but for the directory.

use std::ops::ControlFlow;

use thiserror::Error;

use super::{Expected, files};
use crate::index::file_format::{Directory, FENCE_BYTES, Fence, Footer, ROW_BYTES};
pub use crate::index::file_format::{Row, Sealed};
pub use crate::index::key_format::KeyRow;
use crate::index::key_format::{KEYS_PER_BLOCK, Keys};
pub use crate::index::queue::Span;
use crate::index::span_format::{SPANS_PER_BLOCK, Spans};
use crate::io::block::Slice;
use crate::io::{BLOCK_BYTES, Disk, DiskOp, Errno, FileId, FileName, Output, run};
use crate::log::position::LogPos;
use crate::log::segments::Geometry;

const BLOCK: u64 = BLOCK_BYTES as u64;
/// Read at a time.
const PIECE_BYTES: u64 = 128 << 10;

const ENOENT: Errno = Errno(2);
const EIO: Errno = Errno(5);

/// What is wrong with an index file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IndexFault {
    /// The file system failed.
    #[error("it cannot be read: {0}")]
    Unreadable(Errno),
    /// The last block is no footer.
    #[error("its footer is not intact, or not of this segment")]
    Footer,
    /// Fences and rows have another checksum, or cannot be true.
    #[error("its directory is not what was written")]
    Directory,
    /// A block has another checksum, or cannot be true.
    #[error("a block of spans or keys is not what was written")]
    Block,
    /// The directory has something else for what a block begins with.
    #[error("the fence of a block is not what it begins with")]
    Fence,
    /// Space that is not used holds something.
    #[error("reserved bytes are not zero")]
    Reserved,
    /// It is of other groups than the segment holds.
    #[error("it says groups {}..={}, its segment holds {}..={}", .says.0, .says.1, .holds.0, .holds.1)]
    Groups {
        /// First and last group by the footer.
        says: (u64, u64),
        /// What the segment holds.
        holds: (u64, u64),
    },
    /// Something in the segment was stored later than it says.
    #[error(
        "it says that nothing was stored after {says_ms}, in its segment something was at {holds_ms}"
    )]
    Newest {
        /// The footer's time, in ms since the Unix epoch.
        says_ms: u64,
        /// The last group's.
        holds_ms: u64,
    },
    /// A queue's row differs from its spans, or from what the segment holds of the queue.
    #[error("a queue's row does not say what is there of the queue")]
    Row,
    /// A span points where the queue has no such entries.
    #[error("the span of offset {base_offset} is not where the queue's entries lie")]
    Span {
        /// The span's first offset.
        base_offset: u64,
    },
    /// The keys are not those of the records.
    #[error("the keys of the record at offset {offset} are not what the index says")]
    Key {
        /// Of the first record that differs.
        offset: u64,
    },
    /// An entry of a queue that is there, not before its beginning, is in no span.
    #[error("no span leads to the queue's entry at position {pos}")]
    Unfound {
        /// The entry.
        pos: LogPos,
    },
}

/// A fault and its byte offset in the file.
pub type FaultAt = (IndexFault, u64);

/// What is in a block.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// A span, and the row of its queue.
    Span(&'a Row, &'a Span),
    /// A record with a key.
    Key(&'a KeyRow),
}

/// Why no more is shown.
enum End {
    Enough,
    Fault(FaultAt),
}

impl From<FaultAt> for End {
    fn from(fault: FaultAt) -> Self {
        Self::Fault(fault)
    }
}

/// What was found under an index file's name.
#[derive(Debug)]
pub enum Opening {
    /// No file.
    Absent,
    /// What a crash leaves of one that was being written.
    Unfinished,
    /// Something else, and what is wrong, with the byte offset.
    Faulty(IndexFault, u64),
    /// An intact footer and directory.
    Whole(IndexFile),
}

/// An index file of which footer and directory are intact.
#[derive(Debug)]
pub struct IndexFile {
    geometry: Geometry,
    file: FileId,
    footer: Footer,
    directory: Directory,
}

/// Opens the index of segment `number`, to look at it.
pub fn read<D: Disk>(disk: &mut D, expected: &Expected, number: u64) -> Opening {
    open(disk, &files::geometry(expected, None), number)
}

/// Opens the index of segment `number`.
pub(super) fn open<D: Disk>(disk: &mut D, geometry: &Geometry, number: u64) -> Opening {
    let name = FileName::Index(number);
    let (file, len) = match run(disk, DiskOp::Open { name, create: None }) {
        Ok(Output::Opened { file, len }) => (file, len),
        Err(ENOENT) => return Opening::Absent,
        Ok(_) => return Opening::Faulty(IndexFault::Unreadable(EIO), 0),
        Err(errno) => return Opening::Faulty(IndexFault::Unreadable(errno), 0),
    };
    let opening = match inside(disk, geometry, (number, file, len)) {
        Ok(opening) => opening,
        Err((fault, at)) => Opening::Faulty(fault, at),
    };
    if !matches!(opening, Opening::Whole(_)) {
        close(disk, file);
    }
    opening
}

fn close<D: Disk>(disk: &mut D, file: FileId) {
    // It was only read: nothing is lost if it cannot be closed.
    let _ = run(disk, DiskOp::Close { file });
}

fn inside<D: Disk>(
    disk: &mut D,
    geometry: &Geometry,
    (number, file, len): (u64, FileId, u64),
) -> Result<Opening, FaultAt> {
    if len == 0 {
        return Ok(Opening::Unfinished);
    }
    let Some(at) = len.checked_sub(BLOCK).filter(|_| len.is_multiple_of(BLOCK)) else {
        return Err((IndexFault::Footer, 0));
    };
    let block = bytes(disk, file, at, BLOCK)?;
    if is_zero(&block) {
        return Ok(Opening::Unfinished);
    }
    let footer = Footer::decode(&block, geometry, number, len).ok_or((IndexFault::Footer, at))?;
    if footer.encode(geometry) != *block {
        return Err((IndexFault::Reserved, at));
    }
    drop(block);
    let (begin, used) = (footer.directory_offset(), footer.directory_bytes());
    let mut directory = Vec::new();
    while begin + (directory.len() as u64) < at {
        let offset = begin + directory.len() as u64;
        directory.extend_from_slice(&bytes(disk, file, offset, (at - offset).min(PIECE_BYTES))?);
    }
    let whole = footer.directory(&directory).ok_or((IndexFault::Directory, begin))?;
    if !directory.get(used as usize..).is_some_and(is_zero) {
        return Err((IndexFault::Reserved, begin + used));
    }
    Ok(Opening::Whole(IndexFile { geometry: *geometry, file, footer, directory: whole }))
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn bytes<D: Disk>(disk: &mut D, file: FileId, offset: u64, len: u64) -> Result<Slice, FaultAt> {
    match run(disk, DiskOp::Read { file, offset, len: len as u32 }) {
        Ok(Output::Read(block)) => Ok(block.slice(0..block.published())),
        Ok(_) => Err((IndexFault::Unreadable(EIO), offset)),
        Err(errno) => Err((IndexFault::Unreadable(errno), offset)),
    }
}

impl IndexFile {
    /// What the footer says of the segment.
    #[must_use]
    pub fn sealed(&self) -> &Sealed {
        &self.footer.sealed
    }

    /// Its queues, in order.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.directory.rows
    }

    /// Length of the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.footer.file_bytes()
    }

    /// Byte offset of what follows the blocks.
    pub(super) fn directory_offset(&self) -> u64 {
        self.footer.directory_offset()
    }

    /// Byte offset of the footer.
    pub(super) fn footer_offset(&self) -> u64 {
        self.file_bytes() - BLOCK
    }

    /// Byte offset of a queue's row, which is one of these.
    pub(super) fn row_offset(&self, queue: u32) -> u64 {
        let at = self.rows().partition_point(|row| row.queue < queue);
        let directory = &self.directory;
        let fences = (directory.fences.len() + directory.key_fences.len()) * FENCE_BYTES;
        self.footer.directory_offset() + (fences + at * ROW_BYTES) as u64
    }

    /// Shows what is in the blocks until `visit` breaks, and closes the file.
    ///
    /// # Errors
    /// What is wrong, and its byte offset; what was shown before is what was written.
    pub fn show<D: Disk>(
        &self,
        disk: &mut D,
        mut visit: impl FnMut(&Item<'_>) -> ControlFlow<()>,
    ) -> Result<(), FaultAt> {
        let shown = self.items(disk, |item, _| match visit(item) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(End::Enough),
        });
        match shown {
            Err(End::Fault(fault)) => Err(fault),
            Ok(()) | Err(End::Enough) => Ok(()),
        }
    }

    /// Shows what is in the blocks with its block's byte offset, until `visit` has seen enough or
    /// there is a fault here; and closes the file.
    pub(super) fn items<D: Disk, E: From<FaultAt>>(
        &self,
        disk: &mut D,
        mut visit: impl FnMut(&Item<'_>, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let result = self.spans(disk, &mut visit).and_then(|()| self.keys(disk, &mut visit));
        close(disk, self.file);
        result
    }

    fn spans<D: Disk, E: From<FaultAt>>(
        &self,
        disk: &mut D,
        visit: &mut impl FnMut(&Item<'_>, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let number = self.footer.number;
        let mut rows = self.rows().iter().flat_map(|row| (0..row.spans).map(move |_| row));
        let mut left: u64 = self.rows().iter().map(|row| u64::from(row.spans)).sum();
        self.blocks(disk, 0..self.footer.blocks, |bytes, block, offset| {
            let expected = left.min(SPANS_PER_BLOCK.into()) as usize;
            left -= expected as u64;
            let spans = Spans::decode(bytes, number, block)
                .filter(|spans| spans.len() == expected)
                .and_then(|spans| spans.all(number, &self.geometry))
                .ok_or((IndexFault::Block, offset))?;
            for (at, span) in spans.enumerate() {
                let fence = self.directory.fences.get(block as usize);
                if at == 0 && fence != Some(&Fence::of(&span)) {
                    return Err((IndexFault::Fence, offset).into());
                }
                let row = rows.next().ok_or((IndexFault::Block, offset))?;
                visit(&Item::Span(row, &span), offset)?;
            }
            Ok(())
        })
    }

    fn keys<D: Disk, E: From<FaultAt>>(
        &self,
        disk: &mut D,
        visit: &mut impl FnMut(&Item<'_>, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let Footer { number, blocks, key_blocks, .. } = self.footer;
        let end = blocks + key_blocks;
        let mut last = None;
        self.blocks(disk, blocks..end, |bytes, block, offset| {
            let is_last = block + 1 == end;
            let keys = Keys::decode(bytes, number, block)
                .filter(|keys| is_last || keys.rows().len() == KEYS_PER_BLOCK as usize)
                .filter(|keys| keys.rows().next() > last)
                .ok_or((IndexFault::Block, offset))?;
            let fence = self.directory.key_fences.get((block - blocks) as usize).copied();
            if keys.rows().next() != fence {
                return Err((IndexFault::Fence, offset).into());
            }
            for key in keys.rows() {
                last = Some(key);
                visit(&Item::Key(&key), offset)?;
            }
            Ok(())
        })
    }

    /// Reads these blocks and shows their bytes, number and byte offset.
    fn blocks<D: Disk, E: From<FaultAt>>(
        &self,
        disk: &mut D,
        blocks: std::ops::Range<u32>,
        mut visit: impl FnMut(&[u8], u32, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let end = u64::from(blocks.end) * BLOCK;
        let mut offset = u64::from(blocks.start) * BLOCK;
        while offset < end {
            let piece = bytes(disk, self.file, offset, (end - offset).min(PIECE_BYTES))?;
            for bytes in piece.chunks(BLOCK as usize) {
                visit(bytes, (offset / BLOCK) as u32, offset)?;
                offset += BLOCK;
            }
        }
        Ok(())
    }
}
