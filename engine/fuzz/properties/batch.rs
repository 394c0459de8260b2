//! Record batches: every way to read one.

use engine::batch::{BatchRef, first_length};

use super::allocation::{held_bytes_max, limited};

pub(crate) const BATCH_BYTES_MAX: u32 = 1 << 20;

/// Reads `bytes` as a batch; returns how many records could be read.
pub(crate) fn check(bytes: &[u8]) -> usize {
    limited(held_bytes_max(bytes), || read(bytes))
}

fn read(bytes: &[u8]) -> usize {
    let _ = first_length(bytes);
    let _ = BatchRef::parse(bytes, BATCH_BYTES_MAX);
    let Ok(batch) = BatchRef::parse_unverified(bytes) else { return 0 };
    let sound = batch.validate_deep().is_ok();
    let mut records = 0;
    let mut failed = false;
    for record in batch.records() {
        assert!(!failed, "a record after an error");
        let Ok(record) = record else {
            failed = true;
            continue;
        };
        let headers = record.headers.len();
        assert_eq!(record.headers.count(), headers, "headers were checked with the record");
        records += 1;
    }
    // Seven bytes are the smallest record, so no count makes the reader work beyond its input.
    assert!(records <= bytes.len() / 7);
    if sound && !batch.is_compressed() {
        assert_eq!(records, batch.record_count() as usize);
    }
    records
}
