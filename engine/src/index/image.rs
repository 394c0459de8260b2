//! The index of a sealed segment in memory, in the format of its file: built from spans, looked
//! into, written out.
//!
//! Reads top-down: [`Builder::add`] -> [`Builder::finish`] -> [`Image::piece`].
//! Absent: disk; whose spans they are and when (the shard's).

use super::file_format::{Directory, Fence, Footer, Row, Sealed};
use super::key_format::{KeyBlock, KeyRow};
use super::queue::Span;
use super::span_format::SpanBlock;
use crate::io::BLOCK_BYTES;
use crate::log::segments::Geometry;

type BlockBytes = Box<[u8; BLOCK_BYTES as usize]>;

/// An index that grows: spans queue by queue in order of ids, span by span in order of offsets; then
/// keys, in their order.
#[derive(Debug)]
pub(crate) struct Builder {
    geometry: Geometry,
    number: u64,
    /// Of spans, then of keys.
    blocks: Vec<BlockBytes>,
    open: SpanBlock,
    open_keys: KeyBlock,
    spans: u32,
    directory: Directory,
}

impl Builder {
    /// Of segment `number`.
    pub(crate) fn new(geometry: Geometry, number: u64) -> Self {
        Self {
            geometry,
            number,
            blocks: Vec::new(),
            open: SpanBlock::new(),
            open_keys: KeyBlock::new(),
            spans: 0,
            directory: Directory::default(),
        }
    }

    /// Adds the next span of `queue`, which ends before offset `end_offset`.
    pub(crate) fn add(&mut self, queue: u32, span: &Span, end_offset: u64) {
        debug_assert!(self.directory.key_fences.is_empty(), "spans come before keys");
        if self.open.is_empty() {
            self.directory.fences.push(Fence::of(span));
        }
        // A block that is full was closed at once: there is room.
        self.open.push(span, &self.geometry);
        match self.directory.rows.last_mut().filter(|row| row.queue == queue) {
            Some(row) => {
                row.spans += 1;
                row.end_offset = end_offset;
                row.batch_bytes += u64::from(span.batch_bytes);
                row.newest_ms = span.store_timestamp_ms;
            }
            None => self.directory.rows.push(Row {
                queue,
                first: self.spans,
                spans: 1,
                base_offset: span.base_offset,
                end_offset,
                batch_bytes: span.batch_bytes.into(),
                newest_ms: span.store_timestamp_ms,
            }),
        }
        self.spans += 1;
        if self.open.is_full() {
            self.close_spans();
        }
    }

    /// Adds the next key, when all spans are in.
    pub(crate) fn add_key(&mut self, key: &KeyRow) {
        self.close_spans();
        if self.open_keys.is_empty() {
            self.directory.key_fences.push(*key);
        }
        self.open_keys.push(key);
        if self.open_keys.is_full() {
            self.close_keys();
        }
    }

    fn close_spans(&mut self) {
        if !self.open.is_empty() {
            let block = std::mem::replace(&mut self.open, SpanBlock::new());
            self.blocks.push(block.finish(self.number, self.blocks.len() as u32));
        }
    }

    fn close_keys(&mut self) {
        if !self.open_keys.is_empty() {
            let block = std::mem::replace(&mut self.open_keys, KeyBlock::new());
            self.blocks.push(block.finish(self.number, self.blocks.len() as u32));
        }
    }

    /// The index of a segment of which `sealed` holds.
    pub(crate) fn finish(mut self, sealed: Sealed) -> (Image, Directory) {
        self.close_spans();
        self.close_keys();
        let Self { geometry, number, blocks, directory, .. } = self;
        let mut bytes = directory.encode();
        let footer = Footer {
            number,
            sealed,
            blocks: directory.fences.len() as u32,
            key_blocks: directory.key_fences.len() as u32,
            queues: directory.rows.len() as u32,
            directory: crc32c::crc32c(&bytes),
        };
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES as usize), 0);
        let footer_block = Box::new(footer.encode(&geometry));
        (Image { footer, blocks, directory: bytes, footer_block }, directory)
    }
}

/// A whole index file.
#[derive(Debug)]
pub(crate) struct Image {
    footer: Footer,
    /// Of spans, then of keys.
    blocks: Vec<BlockBytes>,
    /// Padded to a block.
    directory: Vec<u8>,
    footer_block: BlockBytes,
}

impl Image {
    pub(crate) fn footer(&self) -> &Footer {
        &self.footer
    }

    /// One block of spans or keys.
    pub(crate) fn block(&self, block: u32) -> Option<&[u8]> {
        self.blocks.get(block as usize).map(|block| &block[..])
    }

    /// Length of the file without the footer, in bytes.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.footer.file_bytes() - u64::from(BLOCK_BYTES)
    }

    /// Shows the bytes at `offset` of the body, at most `len`, block by block.
    pub(crate) fn body(&self, offset: u64, len: u32, mut visit: impl FnMut(&[u8])) {
        let size = BLOCK_BYTES as usize;
        let first = (offset / u64::from(BLOCK_BYTES)) as usize;
        let directory = self.directory.chunks(size);
        let all = self.blocks.iter().map(|block| &block[..]).skip(first);
        let rest = directory.skip(first.saturating_sub(self.blocks.len()));
        all.chain(rest).take(len as usize / size).for_each(&mut visit);
    }

    /// The last block.
    pub(crate) fn footer_block(&self) -> &[u8] {
        &self.footer_block[..]
    }
}
