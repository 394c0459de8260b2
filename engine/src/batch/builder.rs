//! How a client makes a batch: [`BatchBuilder`] for many records in a buffer that is used again,
//! [`append_single`] for one record straight into a request. Both encode into the place where the
//! batch stays: nothing is copied twice.
//!
//! Absent: compression; the broker's stamps (left as Kafka's producer leaves them: offset 0,
//! epoch -1).

use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::{I16, I32, I64, U32, U64};

use super::error::BatchError;
use super::format::{BatchHeader, HEADER_BYTES, LENGTH_END, MAGIC, STAMPED_BYTES};
use super::records::RecordHeader;
use super::varint::{self, I64_BYTES_MAX, encoded_len};

/// A record to append.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    /// The producer's time.
    pub timestamp_ms: i64,
    /// The key, if any.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is Kafka's tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: &'a [RecordHeader<'a>],
}

/// Builds batches, one after the other, in one buffer.
///
/// `append` until it says [`BatchError::TooLarge`] or enough is enough, `finish`, send,
/// `clear`. A finished batch can be appended to and finished again.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    /// Room for the header, then records. The header is written by `finish`.
    bytes: Vec<u8>,
    batch_bytes_max: u32,
    totals: Totals,
    producer: Producer,
}

/// What the header says about the records so far.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    records: u32,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
}

#[derive(Clone, Copy, Debug)]
struct Producer {
    id: i64,
    epoch: i16,
    base_sequence: i32,
}

impl Producer {
    const NONE: Self = Self { id: -1, epoch: -1, base_sequence: -1 };
}

impl BatchBuilder {
    /// An empty batch that will not grow beyond `batch_bytes_max`, header included.
    #[must_use]
    pub fn new(batch_bytes_max: u32) -> Self {
        Self {
            bytes: vec![0; HEADER_BYTES],
            batch_bytes_max: batch_bytes_max.min(i32::MAX as u32),
            totals: Totals::default(),
            producer: Producer::NONE,
        }
    }

    /// Makes batches those of an idempotent producer, until set again: `clear` keeps it. The
    /// caller advances `base_sequence` from batch to batch.
    pub fn set_producer(&mut self, id: i64, epoch: i16, base_sequence: i32) {
        self.producer = Producer { id, epoch, base_sequence };
    }

    /// Forgets the records and keeps the buffer.
    pub fn clear(&mut self) {
        self.bytes.truncate(HEADER_BYTES);
        self.totals = Totals::default();
    }

    /// Records so far.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.totals.records
    }

    /// Whether there is no record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.totals.records == 0
    }

    /// Size of the batch so far, header included.
    #[must_use]
    pub fn batch_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a record.
    ///
    /// # Errors
    /// [`BatchError::TooLarge`] if the batch would be over its limit; it is unchanged.
    #[inline]
    pub fn append(&mut self, record: &NewRecord<'_>) -> Result<(), BatchError> {
        let totals = self.totals.and(record);
        append_record(&mut self.bytes, 0, self.batch_bytes_max, &totals, record)?;
        self.totals = totals;
        Ok(())
    }

    /// The batch: header and checksum written, ready to send.
    ///
    /// # Errors
    /// [`BatchError::ZeroRecords`] if nothing was appended.
    pub fn finish(&mut self) -> Result<&[u8], BatchError> {
        if self.is_empty() {
            return Err(BatchError::ZeroRecords);
        }
        seal(&mut self.bytes, &self.totals, &self.producer);
        Ok(&self.bytes)
    }
}

/// Appends a whole batch of one record, without an idempotent producer, to `out`; says how many
/// bytes it takes.
///
/// # Errors
/// [`BatchError::TooLarge`] if the batch would be over `batch_bytes_max`; `out` is unchanged.
pub fn append_single(
    out: &mut Vec<u8>,
    record: &NewRecord<'_>,
    batch_bytes_max: u32,
) -> Result<usize, BatchError> {
    let start = out.len();
    let totals = Totals::default().and(record);
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let batch_bytes_max = batch_bytes_max.min(i32::MAX as u32);
    if let Err(too_large) = append_record(out, start, batch_bytes_max, &totals, record) {
        out.truncate(start);
        return Err(too_large);
    }
    let batch = &mut out[start..];
    seal(batch, &totals, &Producer::NONE);
    Ok(batch.len())
}

impl Totals {
    /// The totals with one more record.
    #[inline]
    fn and(self, record: &NewRecord<'_>) -> Self {
        let timestamp_ms = record.timestamp_ms;
        match self.records {
            0 => {
                Self { records: 1, base_timestamp_ms: timestamp_ms, max_timestamp_ms: timestamp_ms }
            }
            records => Self {
                records: records + 1,
                max_timestamp_ms: self.max_timestamp_ms.max(timestamp_ms),
                ..self
            },
        }
    }
}

/// Encodes `record`, the last of `totals`, at the end of `out`, whose batch begins at `start`.
#[inline]
fn append_record(
    out: &mut Vec<u8>,
    start: usize,
    batch_bytes_max: u32,
    totals: &Totals,
    record: &NewRecord<'_>,
) -> Result<(), BatchError> {
    // Wrapping, as the reader adds: any two timestamps survive the round trip.
    let timestamp_delta = record.timestamp_ms.wrapping_sub(totals.base_timestamp_ms);
    let offset_delta = i64::from(totals.records) - 1;
    let body_bytes = body_bytes(timestamp_delta, offset_delta, record);
    let record_bytes = body_bytes.saturating_add(encoded_len(body_bytes as i64));
    let batch_bytes = (out.len() - start).saturating_add(record_bytes);
    if batch_bytes > batch_bytes_max as usize {
        return Err(BatchError::TooLarge { batch_bytes, batch_bytes_max });
    }
    // From here on every length fits an i32, as the limit does.
    out.reserve(record_bytes + Scratch::BYTES);
    let mut scratch = Scratch::new();
    scratch.number(body_bytes as i64);
    scratch.number(0); // attributes: unused, one byte
    scratch.number(timestamp_delta);
    scratch.number(offset_delta);
    scratch.nullable(record.key, out);
    scratch.nullable(record.value, out);
    scratch.number(record.headers.len() as i64);
    for header in record.headers {
        scratch.nullable(Some(header.key), out);
        scratch.nullable(header.value, out);
    }
    scratch.flush(out);
    debug_assert_eq!(out.len() - start, batch_bytes, "sizes and encoding disagree");
    Ok(())
}

/// Bytes of a record after its length field.
#[inline]
fn body_bytes(timestamp_delta: i64, offset_delta: i64, record: &NewRecord<'_>) -> usize {
    let mut bytes = 1 + encoded_len(timestamp_delta) + encoded_len(offset_delta);
    // Saturating: slices may overlap, so that their lengths add up to more than memory.
    bytes = bytes.saturating_add(nullable_bytes(record.key));
    bytes = bytes.saturating_add(nullable_bytes(record.value));
    bytes += encoded_len(record.headers.len() as i64);
    for header in record.headers {
        bytes = bytes.saturating_add(nullable_bytes(Some(header.key)));
        bytes = bytes.saturating_add(nullable_bytes(header.value));
    }
    bytes
}

#[inline]
fn nullable_bytes(field: Option<&[u8]>) -> usize {
    field.map_or(1, |field| encoded_len(field.len() as i64) + field.len())
}

/// Collects the small numbers between two fields, to move them out in one copy of a fixed size:
/// a few stores inline, where each number on its own would be a check and a call.
struct Scratch {
    bytes: [u8; Self::BYTES],
    len: usize,
}

impl Scratch {
    /// The longest run without a field is a record of no key and no value with one header:
    /// length 5 + attributes 1 + timestamp 10 + offset 5 + key 1 + value 1 + count 5 + header
    /// key 5 = 33; and a number is written with room for 10 after the 28 before it.
    const BYTES: usize = 40;

    #[inline]
    fn new() -> Self {
        Self { bytes: [0; Self::BYTES], len: 0 }
    }

    #[inline]
    fn number(&mut self, value: i64) {
        let room = self.bytes.get_mut(self.len..).and_then(<[u8]>::first_chunk_mut);
        debug_assert!(room.is_some(), "the longest run is 33 bytes");
        if let Some(room) = room {
            self.len += varint::write(value, room);
        }
    }

    #[inline]
    fn nullable(&mut self, field: Option<&[u8]>, out: &mut Vec<u8>) {
        let Some(field) = field else { return self.number(-1) };
        self.number(field.len() as i64);
        self.flush(out);
        out.extend_from_slice(field);
    }

    #[inline]
    fn flush(&mut self, out: &mut Vec<u8>) {
        let end = out.len() + self.len;
        out.extend_from_slice(&self.bytes);
        out.truncate(end);
        self.len = 0;
    }
}

const _: () = assert!(Scratch::BYTES >= 28 + I64_BYTES_MAX);

/// Writes the header of a batch whose records are in place.
fn seal(batch: &mut [u8], totals: &Totals, producer: &Producer) {
    let records = totals.records as i32;
    let header = BatchHeader {
        base_offset: U64::new(0),
        batch_length: I32::new((batch.len() - LENGTH_END) as i32),
        leader_epoch: U32::new(u32::MAX),
        magic: MAGIC,
        crc: U32::new(0),
        attributes: I16::new(0),
        last_offset_delta: I32::new(records - 1),
        base_timestamp: I64::new(totals.base_timestamp_ms),
        max_timestamp: I64::new(totals.max_timestamp_ms),
        producer_id: I64::new(producer.id),
        producer_epoch: I16::new(producer.epoch),
        base_sequence: I32::new(producer.base_sequence),
        record_count: I32::new(records),
    };
    batch[..HEADER_BYTES].copy_from_slice(header.as_bytes());
    let crc = crc32c::crc32c(&batch[STAMPED_BYTES..]);
    batch[STAMPED_BYTES - 4..STAMPED_BYTES].copy_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::BatchRef;
    use super::*;

    const TIME_MS: i64 = 1_700_000_000_000; // 0x018b_cfe5_6800

    /// CRC-32C by its definition, a bit at a time: reflected polynomial 0x82f63b78, ones before
    /// and after. Shares nothing with the crate that the code uses.
    fn crc_by_definition(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
            })
        })
    }

    /// Derived by hand from the tables in `format` and `records` (zigzag doubles: 8 is 0x10, 2 is
    /// 0x04, -1 is 0x01); the checksum by the bitwise definition. kafka-python 2's batch builder
    /// makes the same bytes, but for the leader epoch (0 there).
    #[test]
    fn golden_bytes_of_a_value() {
        #[rustfmt::skip]
        let golden = [
            0, 0, 0, 0, 0, 0, 0, 0,                         // base offset
            0, 0, 0, 0x3a,                                  // length: 49 of header + 9 of record
            0xff, 0xff, 0xff, 0xff,                         // leader epoch -1
            2,                                              // magic
            0xbb, 0xcc, 0x41, 0x15,                         // checksum
            0, 0,                                           // attributes
            0, 0, 0, 0,                                     // last offset delta
            0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00,       // base timestamp
            0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00,       // max timestamp
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // producer id -1
            0xff, 0xff,                                     // producer epoch -1
            0xff, 0xff, 0xff, 0xff,                         // base sequence -1
            0, 0, 0, 1,                                     // records
            0x10, 0, 0, 0,                                  // length 8, attributes, time, offset
            0x01,                                           // no key
            0x04, b'h', b'i',                               // value
            0,                                              // no headers
        ];
        assert_eq!(crc_by_definition(&golden[STAMPED_BYTES..]), 0xbbcc_4115);
        let record =
            NewRecord { timestamp_ms: TIME_MS, value: Some(b"hi"), ..NewRecord::default() };
        let mut builder = BatchBuilder::new(1000);
        builder.append(&record).unwrap();
        assert_eq!(builder.finish().unwrap(), golden);
        assert!(BatchRef::parse(&golden, 1000).is_ok());

        let mut out = vec![0xee];
        assert_eq!(append_single(&mut out, &record, 1000), Ok(golden.len()));
        assert_eq!(out[0], 0xee);
        assert_eq!(out[1..], golden);
    }

    /// Derived likewise. Two records, of an idempotent producer; the second is a millisecond
    /// older and has nothing but a header without a value.
    #[test]
    fn golden_bytes_of_keys_and_headers() {
        #[rustfmt::skip]
        let golden = [
            0, 0, 0, 0, 0, 0, 0, 0,                         // base offset
            0, 0, 0, 0x4b,                                  // length: 49 + 14 + 12
            0xff, 0xff, 0xff, 0xff,                         // leader epoch -1
            2,                                              // magic
            0x9f, 0x46, 0xc4, 0x12,                         // checksum
            0, 0,                                           // attributes
            0, 0, 0, 1,                                     // last offset delta
            0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00,       // base timestamp
            0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00,       // max timestamp
            0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, // producer id
            0, 7,                                           // producer epoch
            0, 0, 0, 42,                                    // base sequence
            0, 0, 0, 2,                                     // records
            0x1a, 0, 0, 0,                                  // length 13, attributes, time, offset
            0x04, b'k', b'1',                               // key
            0x02, b'v',                                     // value
            0x02, 0x02, b'h', 0x02, b'x',                   // one header: h = x
            0x16, 0, 0x01, 0x02,                            // length 11, attributes, -1 ms, 1
            0x01, 0x01,                                     // neither key nor value
            0x02, 0x06, b'n', b'i', b'l', 0x01,             // one header: nil, without a value
        ];
        assert_eq!(crc_by_definition(&golden[STAMPED_BYTES..]), 0x9f46_c412);
        let mut builder = BatchBuilder::new(1000);
        builder.set_producer(0x1122_3344_5566_7788, 7, 42);
        let headers = [RecordHeader { key: b"h", value: Some(b"x") }];
        let (key, value) = (Some(&b"k1"[..]), Some(&b"v"[..]));
        let first = NewRecord { timestamp_ms: TIME_MS, key, value, headers: &headers };
        builder.append(&first).unwrap();
        let headers = [RecordHeader { key: b"nil", value: None }];
        let timestamp_ms = TIME_MS - 1;
        let second = NewRecord { timestamp_ms, headers: &headers, ..NewRecord::default() };
        builder.append(&second).unwrap();
        assert_eq!(builder.finish().unwrap(), golden);
        let batch = BatchRef::parse(&golden, 1000).unwrap();
        assert_eq!(batch.validate_deep(), Ok(()));
        assert_eq!(batch.producer_id(), 0x1122_3344_5566_7788);
        assert_eq!((batch.producer_epoch(), batch.base_sequence()), (7, 42));
    }

    #[test]
    fn a_full_batch_is_unchanged_and_can_be_sent() {
        let record = NewRecord { value: Some(&[7; 20]), ..NewRecord::default() };
        let record_bytes = 27;
        let batch_bytes_max = (HEADER_BYTES + 2 * record_bytes) as u32;
        let mut builder = BatchBuilder::new(batch_bytes_max);
        assert_eq!(builder.finish(), Err(BatchError::ZeroRecords));
        builder.append(&record).unwrap();
        builder.append(&record).unwrap();
        let before = builder.finish().unwrap().to_vec();
        let batch_bytes = before.len() + record_bytes;
        let full = BatchError::TooLarge { batch_bytes, batch_bytes_max };
        assert_eq!(builder.append(&record), Err(full));
        assert_eq!(builder.finish().unwrap(), before);

        let mut out = vec![1, 2, 3];
        let full = BatchError::TooLarge { batch_bytes: 88, batch_bytes_max: 87 };
        assert_eq!(append_single(&mut out, &record, 87), Err(full));
        assert_eq!(out, [1, 2, 3]);
        assert_eq!(append_single(&mut out, &record, 88), Ok(88));
    }

    #[test]
    fn clear_keeps_the_buffer_and_the_producer_and_nothing_else() {
        let record = |timestamp_ms| NewRecord { timestamp_ms, ..NewRecord::default() };
        let mut builder = BatchBuilder::new(1 << 20);
        builder.set_producer(9, 1, 0);
        for timestamp_ms in [500, 900] {
            builder.append(&record(timestamp_ms)).unwrap();
        }
        builder.finish().unwrap();
        let buffer = builder.bytes.as_ptr();
        builder.clear();
        assert!(builder.is_empty());
        builder.append(&record(300)).unwrap();
        let bytes = builder.finish().unwrap();
        assert_eq!(bytes.as_ptr(), buffer);
        let batch = BatchRef::parse(bytes, 1 << 20).unwrap();
        assert_eq!((batch.record_count(), batch.producer_id()), (1, 9));
        assert_eq!((batch.base_timestamp_ms(), batch.max_timestamp_ms()), (300, 300));
    }
}
