//! What is built is read back, damage under the checksum is refused, and no bytes at all make
//! the reader panic. proptest prints the seed of a failure.
#![allow(clippy::unwrap_used, clippy::expect_used)]

/// What the fuzz target checks, too.
#[path = "../fuzz/properties/mod.rs"]
mod properties;

use engine::batch::{
    BatchBuilder, BatchError, BatchRef, HEADER_BYTES, NewRecord, RecordHeader, append_single,
    first_length,
};
use properties::batch::{BATCH_BYTES_MAX, check as read_everything};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;

const CRC_AT: usize = 17;
const CRC_END: usize = 21;

#[derive(Clone, Debug)]
struct Owned {
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Owned {
    fn headers(&self) -> Vec<RecordHeader<'_>> {
        self.headers
            .iter()
            .map(|(key, value)| RecordHeader { key, value: value.as_deref() })
            .collect()
    }

    fn with<T>(&self, then: impl FnOnce(&NewRecord<'_>) -> T) -> T {
        then(&NewRecord {
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &self.headers(),
        })
    }
}

fn record() -> impl Strategy<Value = Owned> {
    let timestamp_ms = prop_oneof![any::<i64>(), 1_700_000_000_000..1_700_000_100_000_i64];
    let header = (vec(any::<u8>(), 0..20), option::of(vec(any::<u8>(), 0..100)));
    (
        timestamp_ms,
        option::of(vec(any::<u8>(), 0..100)),
        option::of(vec(any::<u8>(), 0..300)),
        vec(header, 0..4),
    )
        .prop_map(|(timestamp_ms, key, value, headers)| Owned {
            timestamp_ms,
            key,
            value,
            headers,
        })
}

fn build(records: &[Owned]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BATCH_BYTES_MAX);
    for record in records {
        record.with(|record| builder.append(record)).unwrap();
    }
    builder.finish().unwrap().to_vec()
}

fn fix_checksum(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[CRC_END..]);
    batch[CRC_AT..CRC_END].copy_from_slice(&crc.to_be_bytes());
}

/// Neither the stamps nor anything else: a flip there is seen by `parse`.
fn is_checked(byte: usize) -> bool {
    !(0..8).contains(&byte) && !(12..16).contains(&byte)
}

#[test]
fn every_bit_of_a_small_batch_but_the_stamps_is_checked() {
    let owned = Owned {
        timestamp_ms: 1_700_000_000_000,
        key: Some(b"key".to_vec()),
        value: Some(vec![0xa5; 100]),
        headers: vec![(b"TAGS".to_vec(), Some(b"red".to_vec()))],
    };
    let batch = build(&[owned.clone(), owned]);
    for bit in 0..batch.len() * 8 {
        let mut flipped = batch.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let parsed = BatchRef::parse(&flipped, BATCH_BYTES_MAX);
        assert_eq!(parsed.is_err(), is_checked(bit / 8), "bit {bit}");
        read_everything(&flipped);
        flipped[CRC_AT..CRC_END].copy_from_slice(&batch[CRC_AT..CRC_END]);
        fix_checksum(&mut flipped);
        read_everything(&flipped);
    }
    for len in 0..batch.len() {
        assert!(BatchRef::parse(&batch[..len], BATCH_BYTES_MAX).is_err(), "cut to {len}");
        read_everything(&batch[..len]);
    }
}

proptest! {
    #[test]
    fn what_is_built_is_read_back(records in vec(record(), 1..20)) {
        let bytes = build(&records);
        prop_assert_eq!(first_length(&bytes), Some(bytes.len()));
        let batch = BatchRef::parse(&bytes, BATCH_BYTES_MAX).unwrap();
        prop_assert_eq!(batch.validate_deep(), Ok(()));
        prop_assert_eq!(batch.record_count() as usize, records.len());
        let newest = records.iter().map(|record| record.timestamp_ms).max();
        prop_assert_eq!(Some(batch.max_timestamp_ms()), newest);
        let mut read = batch.records();
        for (i, owned) in records.iter().enumerate() {
            let record = read.next().unwrap().unwrap();
            prop_assert_eq!(record.offset_delta as usize, i);
            prop_assert_eq!(record.timestamp_ms, owned.timestamp_ms);
            prop_assert_eq!(record.key, owned.key.as_deref());
            prop_assert_eq!(record.value, owned.value.as_deref());
            prop_assert_eq!(record.headers.collect::<Vec<_>>(), owned.headers());
        }
        prop_assert!(read.next().is_none());
    }

    #[test]
    fn a_single_is_a_batch_of_one(owned in record(), before in vec(any::<u8>(), 0..50)) {
        let mut out = before.clone();
        let len = owned.with(|record| append_single(&mut out, record, BATCH_BYTES_MAX)).unwrap();
        prop_assert_eq!(&out[..before.len()], &before[..]);
        prop_assert_eq!(len, out.len() - before.len());
        prop_assert_eq!(&out[before.len()..], &build(&[owned])[..]);
    }

    #[test]
    fn a_flipped_bit_under_the_checksum_is_refused(
        records in vec(record(), 1..20),
        bit: Index,
    ) {
        let mut bytes = build(&records);
        let bit = CRC_END * 8 + bit.index((bytes.len() - CRC_END) * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(BatchRef::parse(&bytes, BATCH_BYTES_MAX).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        read_everything(&bytes);
    }

    /// A header that passes, in front of records that are noise or small numbers.
    #[test]
    fn arbitrary_records_never_panic(
        noise in prop_oneof![vec(any::<u8>(), 0..300), vec(0_u8..32, 0..300)],
        record_count in prop_oneof![1..20_i32, Just(i32::MAX)],
    ) {
        let template = Owned { timestamp_ms: 0, key: None, value: None, headers: vec![] };
        let mut bytes = build(&[template]);
        bytes.truncate(HEADER_BYTES);
        bytes[23..27].copy_from_slice(&(record_count - 1).to_be_bytes());
        bytes[57..61].copy_from_slice(&record_count.to_be_bytes());
        bytes.extend_from_slice(&noise);
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        fix_checksum(&mut bytes);
        let batch = BatchRef::parse(&bytes, BATCH_BYTES_MAX);
        let fits = record_count as usize <= noise.len() / 7;
        prop_assert_eq!(batch.is_ok(), fits, "a record has seven bytes: {:?}", batch);
        read_everything(&bytes);
    }

    #[test]
    fn mutated_batches_never_panic(
        records in vec(record(), 1..10),
        mutations in vec((any::<Index>(), any::<u8>()), 1..5),
        cut in option::of(any::<Index>()),
    ) {
        let mut bytes = build(&records);
        for (at, byte) in mutations {
            let at = HEADER_BYTES + at.index(bytes.len() - HEADER_BYTES);
            bytes[at] = byte;
        }
        read_everything(&bytes);
        if let Some(cut) = cut {
            bytes.truncate(HEADER_BYTES + cut.index(bytes.len() - HEADER_BYTES));
            let length = (bytes.len() - 12) as i32;
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
        }
        fix_checksum(&mut bytes);
        read_everything(&bytes);
    }
}

#[test]
fn the_first_fault_of_a_stranger_is_told() {
    let fault = BatchRef::parse(&[0xff; 100], BATCH_BYTES_MAX).unwrap_err();
    assert_eq!(fault, BatchError::Length { length: -1, actual: 88 });
    assert!(fault.to_string().contains("-1"));
}
