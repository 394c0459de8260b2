//! The header of a record batch, big-endian:
//!
//! ```text
//! offset size field
//!      0    8 base_offset        stamped by the broker
//!      8    4 batch_length       bytes after this field
//!     12    4 leader_epoch       stamped by the broker
//!     16    1 magic              2
//!     17    4 crc                CRC-32C of [21, end): the stamps and the length are outside it
//!     21    2 attributes         bits 0-2 codec (0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd),
//!                                3 log append time, 4 transactional, 5 control
//!     23    4 last_offset_delta  records - 1
//!     27    8 base_timestamp     ms; the records' deltas add to it
//!     35    8 max_timestamp      ms
//!     43    8 producer_id        -1: none
//!     51    2 producer_epoch     -1: none
//!     53    4 base_sequence      -1: none
//!     57    4 record_count
//!     61      records
//! ```
//!
//! Base offset and leader epoch are signed in Kafka; they are unsigned here, because the broker
//! stamps both and never reaches the sign. A producer sends what it likes there (Kafka's sends 0
//! and -1), and nobody reads it before it is stamped.

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::big_endian::{I16, I32, I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a batch header.
pub const HEADER_BYTES: usize = 61;
/// Bytes at the front that hold the broker's stamps; the checksum covers everything after them.
pub const STAMPED_BYTES: usize = 21;
/// Bytes up to and including the length field, which does not count them.
pub(super) const LENGTH_END: usize = 12;
/// The one magic there is.
pub(super) const MAGIC: i8 = 2;
/// Highest compression codec (zstd).
pub(super) const CODEC_MAX: i16 = 4;
/// The attributes' codec bits.
pub(super) const CODEC_MASK: i16 = 0b111;
/// Attribute: every record has the batch's maximum timestamp.
pub(super) const LOG_APPEND_TIME: i16 = 1 << 3;
/// Attribute: part of a transaction.
pub(super) const TRANSACTIONAL: i16 = 1 << 4;
/// Attribute: holds transaction markers, not messages.
pub(super) const CONTROL: i16 = 1 << 5;

/// See the table above.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct BatchHeader {
    pub(super) base_offset: U64,
    pub(super) batch_length: I32,
    pub(super) leader_epoch: U32,
    pub(super) magic: i8,
    pub(super) crc: U32,
    pub(super) attributes: I16,
    pub(super) last_offset_delta: I32,
    pub(super) base_timestamp: I64,
    pub(super) max_timestamp: I64,
    pub(super) producer_id: I64,
    pub(super) producer_epoch: I16,
    pub(super) base_sequence: I32,
    pub(super) record_count: I32,
}

const _: () = {
    assert!(size_of::<BatchHeader>() == HEADER_BYTES);
    assert!(offset_of!(BatchHeader, base_offset) == 0);
    assert!(offset_of!(BatchHeader, batch_length) == LENGTH_END - 4);
    assert!(offset_of!(BatchHeader, leader_epoch) == 12);
    assert!(offset_of!(BatchHeader, magic) == 16);
    assert!(offset_of!(BatchHeader, crc) == STAMPED_BYTES - 4);
    assert!(offset_of!(BatchHeader, attributes) == STAMPED_BYTES);
    assert!(offset_of!(BatchHeader, last_offset_delta) == 23);
    assert!(offset_of!(BatchHeader, base_timestamp) == 27);
    assert!(offset_of!(BatchHeader, max_timestamp) == 35);
    assert!(offset_of!(BatchHeader, producer_id) == 43);
    assert!(offset_of!(BatchHeader, producer_epoch) == 51);
    assert!(offset_of!(BatchHeader, base_sequence) == 53);
    assert!(offset_of!(BatchHeader, record_count) == 57);
};

/// Stamps the front of a batch with the offset of its first record and the epoch of its leader.
/// The checksum stays right: it covers neither.
pub fn stamp(front: &mut [u8; STAMPED_BYTES], base_offset: u64, leader_epoch: u32) {
    front[0..8].copy_from_slice(&base_offset.to_be_bytes());
    front[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Total bytes of the batch that begins `prefix`, for walking batches that lie end to end.
/// `None` when its length field is not all there or says less than a header. The batch itself
/// may reach past the end of `prefix`.
#[must_use]
pub fn first_length(prefix: &[u8]) -> Option<usize> {
    let (_base_offset, rest) = prefix.split_first_chunk::<8>()?;
    let length = i32::from_be_bytes(*rest.first_chunk()?);
    let total = usize::try_from(length).ok()?.checked_add(LENGTH_END)?;
    (total >= HEADER_BYTES).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each field holds its own offset in the table, as its first and its last byte.
    #[test]
    fn golden_bytes() {
        let header = BatchHeader {
            base_offset: U64::new(0x0000_0000_0000_0007),
            batch_length: I32::new(0x0800_000b),
            leader_epoch: U32::new(0x0c00_000f),
            magic: 0x10,
            crc: U32::new(0x1100_0014),
            attributes: I16::new(0x1516),
            last_offset_delta: I32::new(0x1700_001a),
            base_timestamp: I64::new(0x1b00_0000_0000_0022),
            max_timestamp: I64::new(0x2300_0000_0000_002a),
            producer_id: I64::new(0x2b00_0000_0000_0032),
            producer_epoch: I16::new(0x3334),
            base_sequence: I32::new(0x3500_0038),
            record_count: I32::new(0x3900_003c),
        };
        let ends = [
            0, 7, 8, 11, 12, 15, 16, 17, 20, 21, 22, 23, 26, 27, 34, 35, 42, 43, 50, 51, 52, 53,
            56, 57, 60,
        ];
        let mut golden = [0_u8; HEADER_BYTES];
        for end in ends {
            golden[end] = end as u8;
        }
        assert_eq!(header.as_bytes(), golden);
    }

    #[test]
    fn stamps_only_offset_and_epoch() {
        let mut front = [0xee; STAMPED_BYTES];
        stamp(&mut front, 0x0102_0304_0506_0708, 0x090a_0b0c);
        let golden = [
            1, 2, 3, 4, 5, 6, 7, 8, 0xee, 0xee, 0xee, 0xee, 9, 10, 11, 12, 0xee, 0xee, 0xee, 0xee,
            0xee,
        ];
        assert_eq!(front, golden);
    }

    #[test]
    fn first_length_needs_a_whole_and_possible_length() {
        let with = |length: i32| {
            let mut prefix = [0xff_u8; LENGTH_END];
            prefix[8..].copy_from_slice(&length.to_be_bytes());
            prefix
        };
        assert_eq!(first_length(&with(49)), Some(HEADER_BYTES));
        assert_eq!(first_length(&with(i32::MAX)), Some(i32::MAX as usize + LENGTH_END));
        for length in [48, 0, -1, i32::MIN] {
            assert_eq!(first_length(&with(length)), None, "{length}");
        }
        assert_eq!(first_length(&with(49)[..11]), None);
        assert_eq!(first_length(&[]), None);
    }
}
