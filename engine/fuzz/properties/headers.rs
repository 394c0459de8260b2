//! Headers of superblocks, segments, groups and entries, and cuts of them: what can be read is
//! written as the same bytes again.

use engine::log::entry_format::{BATCH_UNCOVERED_BYTES, ENTRY_HEADER_BYTES, EntryHeader};
use engine::log::group_format::GroupHeader;
use engine::log::segment_format::SegmentHeader;
use engine::log::superblock_format::Superblock;

/// Reads `bytes` as each of them, as they are and with the checksum made right.
pub(crate) fn check(bytes: &[u8]) {
    decode(bytes);
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
