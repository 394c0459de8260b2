//! A checked batch, borrowed. [`BatchRef::parse`] is the shallow validation that every append
//! runs; [`BatchRef::validate_deep`] is what a topic can ask for on top.

use zerocopy::{FromBytes, IntoBytes};

use super::error::{BatchError, RecordFault};
use super::format::{
    BatchHeader, CODEC_MASK, CODEC_MAX, CONTROL, HEADER_BYTES, LENGTH_END, LOG_APPEND_TIME, MAGIC,
    STAMPED_BYTES, TRANSACTIONAL, stamp,
};
use super::records::Records;

/// One whole batch whose header holds together. Costs two pointers and a length to copy.
#[derive(Clone, Copy, Debug)]
pub struct BatchRef<'a> {
    header: &'a BatchHeader,
    bytes: &'a [u8],
}

/// The smallest record: seven one-byte fields (length, attributes, two deltas, key, value, headers).
const RECORD_BYTES_MIN: usize = 7;

impl<'a> BatchRef<'a> {
    /// The shallow validation of an append: `bytes` is exactly one v2 batch of at most
    /// `batch_bytes_max` bytes, its header is consistent and its checksum right. The records are
    /// not looked at: their number is the producer's word, as far as they could fit at all.
    ///
    /// # Errors
    /// The first fault found; the checksum, the one costly check, comes last.
    pub fn parse(bytes: &'a [u8], batch_bytes_max: u32) -> Result<Self, BatchError> {
        if bytes.len() > batch_bytes_max as usize {
            return Err(BatchError::TooLarge { batch_bytes: bytes.len(), batch_bytes_max });
        }
        let batch = Self::parse_unverified(bytes)?;
        let stated = batch.crc();
        let computed = crc32c::crc32c(batch.after_stamp());
        if stated != computed {
            return Err(BatchError::Crc { stated, computed });
        }
        Ok(batch)
    }

    /// [`BatchRef::parse`] without size limit and checksum, for bytes that something else vouches
    /// for. Memory-safe and panic-free on any bytes, but damaged records go unnoticed.
    ///
    /// # Errors
    /// The first fault found in the header.
    pub fn parse_unverified(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let Ok((header, _records)) = BatchHeader::ref_from_prefix(bytes) else {
            return Err(BatchError::TooShort { bytes: bytes.len() });
        };
        let length = header.batch_length.get();
        let actual = bytes.len() - LENGTH_END;
        if usize::try_from(length) != Ok(actual) {
            return Err(BatchError::Length { length, actual });
        }
        if header.magic != MAGIC {
            return Err(BatchError::Magic { magic: header.magic });
        }
        let attributes = header.attributes.get();
        if attributes & CODEC_MASK > CODEC_MAX {
            return Err(BatchError::Attributes { attributes });
        }
        let record_count = header.record_count.get();
        let last_offset_delta = header.last_offset_delta.get();
        if record_count == 0 {
            return Err(BatchError::ZeroRecords);
        }
        if record_count < 0 || last_offset_delta != record_count - 1 {
            return Err(BatchError::RecordCount { record_count, last_offset_delta });
        }
        // A forged count would use up offsets for records that are not there.
        let room = bytes.len() - HEADER_BYTES;
        let is_plain = attributes & CODEC_MASK == 0;
        if is_plain && record_count as usize > room / RECORD_BYTES_MIN {
            return Err(BatchError::RecordCount { record_count, last_offset_delta });
        }
        Ok(Self { header, bytes })
    }

    /// Walks every record of an uncompressed batch: each is well formed, there are as many as the
    /// header says, their offset deltas count 0, 1, 2, ..., and the last ends where the batch
    /// does. Of a compressed batch nothing more can be said here, and it passes.
    ///
    /// # Errors
    /// The first fault found.
    pub fn validate_deep(&self) -> Result<(), BatchError> {
        if self.is_compressed() {
            return Ok(());
        }
        let mut records = self.records();
        for index in 0..self.record_count() {
            // The iterator ends early only after an error, which has returned by then.
            let Some(record) = records.next() else { break };
            let offset_delta = record?.offset_delta;
            if offset_delta != index {
                let fault = RecordFault::OffsetDelta { offset_delta: offset_delta as i32 };
                return Err(BatchError::Record { index, fault });
            }
        }
        match records.unread_bytes() {
            0 => Ok(()),
            bytes => Err(BatchError::Trailing { bytes }),
        }
    }

    /// The records, in order. Of a compressed batch, one error and nothing else.
    #[must_use]
    pub fn records(&self) -> Records<'a> {
        let bytes = self.bytes.get(HEADER_BYTES..).unwrap_or_default();
        Records::new(bytes, self.header)
    }

    pub(super) fn header(&self) -> &'a BatchHeader {
        self.header
    }

    /// The first [`STAMPED_BYTES`] of the batch with the broker's stamps in place;
    /// [`BatchRef::after_stamp`] is the rest.
    #[must_use]
    pub fn stamped(&self, base_offset: u64, leader_epoch: u32) -> [u8; STAMPED_BYTES] {
        let mut front = [0; STAMPED_BYTES];
        front.copy_from_slice(&self.header.as_bytes()[..STAMPED_BYTES]);
        stamp(&mut front, base_offset, leader_epoch);
        front
    }

    /// The bytes after the stamps: what the checksum covers.
    #[must_use]
    pub fn after_stamp(&self) -> &'a [u8] {
        self.bytes.get(STAMPED_BYTES..).unwrap_or_default()
    }

    /// The whole batch.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many records the header says there are: at least one.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.header.record_count.get().cast_unsigned()
    }

    /// Offset of the first record. Means something only once the broker has stamped it.
    #[must_use]
    pub fn base_offset(&self) -> u64 {
        self.header.base_offset.get()
    }

    /// Epoch of the leader. Means something only once the broker has stamped it.
    #[must_use]
    pub fn leader_epoch(&self) -> u32 {
        self.header.leader_epoch.get()
    }

    /// The timestamp that the records' deltas add to, in the producer's time.
    #[must_use]
    pub fn base_timestamp_ms(&self) -> i64 {
        self.header.base_timestamp.get()
    }

    /// The highest timestamp in the batch, as the producer says.
    #[must_use]
    pub fn max_timestamp_ms(&self) -> i64 {
        self.header.max_timestamp.get()
    }

    /// The checksum in the header.
    #[must_use]
    pub fn crc(&self) -> u32 {
        self.header.crc.get()
    }

    /// The attribute bits.
    #[must_use]
    pub fn attributes(&self) -> i16 {
        self.header.attributes.get()
    }

    /// Whether the records are compressed.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.attributes() & CODEC_MASK != 0
    }

    /// Whether every record has the batch's maximum timestamp instead of its own.
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes() & LOG_APPEND_TIME != 0
    }

    /// Whether the batch is part of a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL != 0
    }

    /// Whether the batch holds transaction markers instead of messages.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL != 0
    }

    /// The idempotent producer's id; -1 for none.
    #[must_use]
    pub fn producer_id(&self) -> i64 {
        self.header.producer_id.get()
    }

    /// The idempotent producer's epoch; -1 for none.
    #[must_use]
    pub fn producer_epoch(&self) -> i16 {
        self.header.producer_epoch.get()
    }

    /// The sequence number of the first record; -1 for none.
    #[must_use]
    pub fn base_sequence(&self) -> i32 {
        self.header.base_sequence.get()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BatchBuilder, NewRecord};
    use super::*;

    fn batch_of(records: usize) -> Vec<u8> {
        let mut builder = BatchBuilder::new(1 << 20);
        for _ in 0..records {
            builder.append(&NewRecord { value: Some(b"v"), ..NewRecord::default() }).unwrap();
        }
        builder.finish().unwrap().to_vec()
    }

    /// Overwrites bytes at `at` and makes the checksum right again.
    fn forge(batch: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut forged = batch.to_vec();
        forged[at..at + bytes.len()].copy_from_slice(bytes);
        let crc = crc32c::crc32c(&forged[STAMPED_BYTES..]);
        forged[17..21].copy_from_slice(&crc.to_be_bytes());
        forged
    }

    fn fault(bytes: &[u8]) -> BatchError {
        BatchRef::parse(bytes, 1 << 20).unwrap_err()
    }

    #[test]
    fn every_header_fault_is_named() {
        let good = batch_of(3);
        let len = good.len();
        assert_eq!(fault(&good[..60]), BatchError::TooShort { bytes: 60 });
        assert_eq!(fault(&[]), BatchError::TooShort { bytes: 0 });
        let length = (len - LENGTH_END) as i32;
        let cut = BatchError::Length { length, actual: len - LENGTH_END - 1 };
        assert_eq!(fault(&good[..len - 1]), cut);
        let negative = forge(&good, 8, &(-1_i32).to_be_bytes());
        assert_eq!(fault(&negative), BatchError::Length { length: -1, actual: len - LENGTH_END });
        assert_eq!(fault(&forge(&good, 16, &[1])), BatchError::Magic { magic: 1 });
        assert_eq!(fault(&forge(&good, 21, &[0, 5])), BatchError::Attributes { attributes: 5 });
        assert_eq!(fault(&forge(&good, 57, &[0; 4])), BatchError::ZeroRecords);
        let four = BatchError::RecordCount { record_count: 4, last_offset_delta: 2 };
        assert_eq!(fault(&forge(&good, 57, &[0, 0, 0, 4])), four);
        let lowest = BatchError::RecordCount { record_count: i32::MIN, last_offset_delta: 2 };
        assert_eq!(fault(&forge(&good, 57, &i32::MIN.to_be_bytes())), lowest);
        let mut damaged = good.clone();
        damaged[len - 2] ^= 1;
        let stated = BatchRef::parse(&good, 1 << 20).unwrap().crc();
        let computed = crc32c::crc32c(&damaged[STAMPED_BYTES..]);
        assert_eq!(fault(&damaged), BatchError::Crc { stated, computed });
        assert!(BatchRef::parse_unverified(&damaged).is_ok());
    }

    #[test]
    fn the_size_limit_is_inclusive() {
        let good = batch_of(1);
        let len = good.len() as u32;
        assert!(BatchRef::parse(&good, len).is_ok());
        let over = BatchError::TooLarge { batch_bytes: good.len(), batch_bytes_max: len - 1 };
        assert_eq!(BatchRef::parse(&good, len - 1).unwrap_err(), over);
    }

    #[test]
    fn stamping_keeps_the_checksum() {
        let good = batch_of(2);
        let batch = BatchRef::parse(&good, 1 << 20).unwrap();
        let mut stored = batch.stamped(77, 5).to_vec();
        stored.extend_from_slice(batch.after_stamp());
        let stored = BatchRef::parse(&stored, 1 << 20).unwrap();
        assert_eq!((stored.base_offset(), stored.leader_epoch()), (77, 5));
        assert_eq!(stored.crc(), batch.crc());
    }

    #[test]
    fn deep_validation_finds_what_the_shallow_one_lets_pass() {
        let deep = |bytes: &[u8]| BatchRef::parse(bytes, 1 << 20).unwrap().validate_deep();
        let good = batch_of(2);
        assert_eq!(deep(&good), Ok(()));
        // Records of 8 bytes: length, attributes, time, offset delta, key, value (2), headers.
        let second = HEADER_BYTES + 8;
        let swapped = forge(&good, second + 3, &[0]);
        let fault = RecordFault::OffsetDelta { offset_delta: 0 };
        assert_eq!(deep(&swapped), Err(BatchError::Record { index: 1, fault }));
        let fewer = forge(&forge(&good, 57, &[0, 0, 0, 1]), 23, &[0; 4]);
        assert_eq!(deep(&fewer), Err(BatchError::Trailing { bytes: 8 }));
        let more = forge(&forge(&batch_of(7), 57, &[0, 0, 0, 8]), 23, &[0, 0, 0, 7]);
        let missing = BatchError::Record { index: 7, fault: RecordFault::Varint };
        assert_eq!(deep(&more), Err(missing));
    }

    #[test]
    fn more_records_than_could_fit_are_refused() {
        let forged = forge(&forge(&batch_of(2), 57, &[0, 0, 0, 3]), 23, &[0, 0, 0, 2]);
        let refused = BatchError::RecordCount { record_count: 3, last_offset_delta: 2 };
        assert_eq!(BatchRef::parse(&forged, 1 << 20).unwrap_err(), refused);
    }

    #[test]
    fn compressed_records_are_not_walked() {
        let zstd = forge(&batch_of(2), 21, &[0, 4]);
        let batch = BatchRef::parse(&zstd, 1 << 20).unwrap();
        assert!(batch.is_compressed());
        assert_eq!(batch.validate_deep(), Ok(()));
        let all: Vec<_> = batch.records().collect();
        assert_eq!(all, [Err(BatchError::Compressed { codec: 4 })]);
    }
}
