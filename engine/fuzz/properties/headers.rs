//! Headers of superblocks, segments, groups and entries, footers, directories and blocks of
//! indexes, and cuts of them: what can be read is written as the same bytes again.

use engine::index::file_format::{Footer, Sealed};
use engine::index::key_format::{KEYS_PER_BLOCK, Keys};
use engine::index::span_format::{SPANS_PER_BLOCK, Spans};
use engine::io::BLOCK_BYTES;

use engine::log::entry_format::{BATCH_UNCOVERED_BYTES, ENTRY_HEADER_BYTES, EntryHeader};
use engine::log::group_format::GroupHeader;
use engine::log::segment_format::SegmentHeader;
use engine::log::segments::Geometry;
use engine::log::superblock_format::Superblock;

use super::allocation::{held_bytes_max, limited};

/// Reads `bytes` as each of them, as they are and with the checksum made right.
pub(crate) fn check(bytes: &[u8]) {
    limited(held_bytes_max(bytes), || read(bytes));
}

fn read(bytes: &[u8]) {
    decode(bytes);
    index(bytes);
    // Where each format has its checksum, and what it covers.
    let entry_end = ENTRY_HEADER_BYTES + BATCH_UNCOVERED_BYTES;
    for (at, covered) in [(4, 8..88), (4, 8..64), (0, 4..entry_end)] {
        let mut fixed = bytes.to_vec();
        let Some(sum) = fixed.get(covered).map(crc32c::crc32c) else { continue };
        fixed[at..at + 4].copy_from_slice(&sum.to_be_bytes());
        decode(&fixed);
    }
}

fn decode(bytes: &[u8]) {
    if let Some(superblock) = Superblock::decode(bytes) {
        assert_eq!(Superblock::decode(&superblock.encode()), Some(superblock));
    }
    if let Some(segment) = SegmentHeader::decode(bytes) {
        assert_eq!(SegmentHeader::decode(&segment.encode()), Some(segment));
    }
    if let Some(group) = GroupHeader::decode(bytes) {
        assert_eq!(GroupHeader::decode(&group.encode()), Some(group));
    }
    if let Some(entry) = EntryHeader::decode(bytes) {
        assert!(entry.entry_bytes() >= ENTRY_HEADER_BYTES as u32);
        assert!(entry.batch_of(bytes).is_none_or(|batch| batch.len() as u32 == entry.batch_bytes));
        let head = bytes[ENTRY_HEADER_BYTES..].first_chunk().expect("decode has read it");
        assert_eq!(entry.encode(head), bytes[..ENTRY_HEADER_BYTES]);
    }
}

/// The log that an index's footer may be of.
pub(crate) const GEOMETRY: Geometry =
    Geometry { segment_bytes: 1 << 20, shard: 2, node: [7; 16], epoch: 0 };
/// Its segment.
pub(crate) const NUMBER: u64 = 3;

/// Reads `bytes` as the beginning of a footer and of a block of spans, with the checksums made
/// right, and as a directory; how many of them can be read.
pub(crate) fn index(bytes: &[u8]) -> u32 {
    let mut block = bytes.get(..BLOCK_BYTES as usize).unwrap_or(bytes).to_vec();
    block.resize(BLOCK_BYTES as usize, 0);
    let field = |at: usize| block[at..at + 4].try_into().map_or(0, u32::from_be_bytes);
    let (blocks, key_blocks, queues) = (field(72), field(76), field(80));
    let (number, sealed, directory) = (NUMBER, Sealed::default(), 0);
    let like = Footer { number, sealed, blocks, key_blocks, queues, directory };
    let (mut footer, mut spans) = (block.clone(), block);
    let sum = crc32c::crc32c(&footer[8..]);
    footer[4..8].copy_from_slice(&sum.to_be_bytes());
    let sum = crc32c::crc32c_append(block_seed(NUMBER, 0), &spans[4..]);
    spans[..4].copy_from_slice(&sum.to_be_bytes());
    let read = Footer::decode(&footer, &GEOMETRY, NUMBER, like.file_bytes());
    if let Some(read) = read {
        let (again, len) = (read.encode(&GEOMETRY), read.file_bytes());
        assert_eq!(Footer::decode(&again, &GEOMETRY, NUMBER, len), Some(read));
        assert!(read.directory_bytes() < GEOMETRY.segment_bytes * 2, "no more than it pays for");
    }
    let found = [self::spans(&spans), keys(&spans), self::directory(bytes)];
    u32::from(read.is_some()) + found.map(u32::from).iter().sum::<u32>()
}

/// What the checksum of a block of spans begins with.
pub(crate) fn block_seed(number: u64, block: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_be_bytes()), &block.to_be_bytes())
}

fn spans(block: &[u8]) -> bool {
    let Some(spans) = Spans::decode(block, NUMBER, 0) else { return false };
    assert!(spans.len() <= SPANS_PER_BLOCK as usize);
    assert!(spans.get(0..spans.len() + 1, NUMBER, &GEOMETRY).is_none());
    if let Some(of_queue) = spans.get(0..spans.len(), NUMBER, &GEOMETRY) {
        let mut end = 0;
        for span in of_queue {
            assert!(span.pos.0 >= end);
            end = span.pos.0 + u64::from(span.len);
        }
    }
    let Some(all) = spans.all(NUMBER, &GEOMETRY) else { return false };
    let segment = NUMBER * GEOMETRY.segment_bytes..(NUMBER + 1) * GEOMETRY.segment_bytes;
    for span in all {
        let end = span.pos.0 + u64::from(span.len);
        assert!(segment.contains(&span.pos.0) && end <= segment.end);
    }
    spans.len() > 0
}

/// Whatever can be read of a block of keys is in order, and so found again.
fn keys(block: &[u8]) -> bool {
    let Some(keys) = Keys::decode(block, NUMBER, 0) else { return false };
    assert!(keys.rows().len() <= KEYS_PER_BLOCK as usize);
    for row in keys.rows() {
        let range = row.offset..row.offset.saturating_add(1);
        let found: Vec<u64> = keys.newest(row.hash, row.queue, &range).collect();
        assert_eq!(found, if range.is_empty() { vec![] } else { vec![row.offset] });
    }
    keys.rows().len() > 0
}

/// The first two bytes say how many fences, key fences and rows follow.
fn directory(bytes: &[u8]) -> bool {
    let [blocks, queues, rest @ ..] = bytes else { return false };
    let (blocks, key_blocks) = (u32::from(blocks % 4), u32::from(blocks / 4 % 4));
    let (queues, sealed) = (u32::from(queues % 4), Sealed::default());
    let mut footer = Footer { number: NUMBER, sealed, blocks, key_blocks, queues, directory: 0 };
    let Some(covered) = rest.get(..footer.directory_bytes() as usize) else { return false };
    footer.directory = crc32c::crc32c(covered);
    let Some(directory) = footer.directory(rest) else { return false };
    assert_eq!(directory.fences.len() as u32, blocks);
    assert_eq!(directory.key_fences.len() as u32, key_blocks);
    assert_eq!(directory.rows.len() as u32, queues);
    assert_eq!(directory.encode(), covered);
    let spans: u64 = directory.rows.iter().map(|row| u64::from(row.spans)).sum();
    assert_eq!(spans.div_ceil(SPANS_PER_BLOCK.into()), blocks.into());
    queues > 0
}
