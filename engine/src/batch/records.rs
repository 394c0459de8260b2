//! The records of an uncompressed batch. A record, with varints in zigzag:
//!
//! ```text
//! length varint | attributes i8 (unused) | timestamp delta varlong | offset delta varint
//! key length varint (-1: none) | key | value length varint (-1: none) | value
//! header count varint | per header: key length varint | key | value length varint (-1) | value
//! ```
//!
//! Everything is lent out of the batch. No length or count is believed before the bytes it
//! promises are there: a count of two billion in ten bytes ends after ten bytes.

use super::error::{BatchError, RecordFault};
use super::format::{BatchHeader, CODEC_MASK, LOG_APPEND_TIME};
use super::varint::{read_i32, read_i64};

/// One record, lent by its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset less the batch's base offset.
    pub offset_delta: u32,
    /// The producer's time, or the batch's maximum if the batch carries log append time.
    pub timestamp_ms: i64,
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is Kafka's tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: Headers<'a>,
}

/// One header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// The name: UTF-8 by convention, unchecked.
    pub key: &'a [u8],
    /// The value, if it has one.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record: an iterator that can be copied and run again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Headers<'a> {
    /// Checks `count` headers that fill `bytes`, so that iterating cannot fail later.
    fn check(bytes: &'a [u8], count: i32) -> Result<Self, RecordFault> {
        let left = u32::try_from(count).map_err(|_| RecordFault::HeaderCount { count })?;
        let headers = Self { rest: bytes, left };
        let mut rest = bytes;
        for _ in 0..left {
            header(&mut rest)?;
        }
        match rest.len() {
            0 => Ok(headers),
            bytes => Err(RecordFault::Leftover { bytes }),
        }
    }

    /// The value of the first header named `key`: `Some(None)` is a header without a value.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Option<&'a [u8]>> {
        let mut headers = *self;
        headers.find(|header| header.key == key).map(|header| header.value)
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = RecordHeader<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        header(&mut self.rest).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

// `check` has walked them, so `left` is true.
impl ExactSizeIterator for Headers<'_> {}

/// The records of a batch, in order; after an error, nothing more.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    index: u32,
    count: u32,
    codec: u8,
    base_timestamp_ms: i64,
    /// The one timestamp of all records, for a batch with log append time.
    append_timestamp_ms: Option<i64>,
}

impl<'a> Records<'a> {
    pub(super) fn new(bytes: &'a [u8], header: &BatchHeader) -> Self {
        let attributes = header.attributes.get();
        Self {
            rest: bytes,
            index: 0,
            count: u32::try_from(header.record_count.get()).unwrap_or(0),
            codec: (attributes & CODEC_MASK) as u8,
            base_timestamp_ms: header.base_timestamp.get(),
            append_timestamp_ms: (attributes & LOG_APPEND_TIME != 0)
                .then_some(header.max_timestamp.get()),
        }
    }

    /// The same, of records that were compressed and are so no more.
    pub(super) fn plain(bytes: &'a [u8], header: &BatchHeader) -> Self {
        Self { codec: 0, ..Self::new(bytes, header) }
    }

    /// Bytes of the batch not read yet: none, after the last record of a sound batch.
    pub(super) fn unread_bytes(&self) -> usize {
        self.rest.len()
    }

    fn record(&mut self) -> Result<Record<'a>, RecordFault> {
        let length = read_i32(&mut self.rest).ok_or(RecordFault::Varint)?;
        let left = self.rest.len();
        let mut body = take(&mut self.rest, length).ok_or(RecordFault::Length { length, left })?;
        let rest = &mut body;
        let _attributes = field(rest, 1)?;
        let timestamp_delta = read_i64(rest).ok_or(RecordFault::Varint)?;
        let offset_delta = read_i32(rest).ok_or(RecordFault::Varint)?;
        let key = nullable(rest)?;
        let value = nullable(rest)?;
        let header_count = read_i32(rest).ok_or(RecordFault::Varint)?;
        let headers = Headers::check(body, header_count)?;
        Ok(Record {
            offset_delta: u32::try_from(offset_delta)
                .map_err(|_| RecordFault::OffsetDelta { offset_delta })?,
            timestamp_ms: self
                .append_timestamp_ms
                .unwrap_or(self.base_timestamp_ms.wrapping_add(timestamp_delta)),
            key,
            value,
            headers,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index == self.count {
            return None;
        }
        let index = self.index;
        let record = match self.codec {
            0 => self.record().map_err(|fault| BatchError::Record { index, fault }),
            codec => Err(BatchError::Compressed { codec }),
        };
        self.index = if record.is_ok() { index + 1 } else { self.count };
        Some(record)
    }

    /// At least none: the count is the producer's word, and whoever collects reserves the least.
    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some((self.count - self.index) as usize))
    }
}

impl std::iter::FusedIterator for Records<'_> {}

/// Takes `length` bytes off the front; `None`, taking nothing, if they are not all there.
#[inline]
fn take<'a>(rest: &mut &'a [u8], length: i32) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some(taken)
}

#[inline]
fn field<'a>(rest: &mut &'a [u8], length: i32) -> Result<&'a [u8], RecordFault> {
    let left = rest.len();
    take(rest, length).ok_or(RecordFault::Field { length, left })
}

#[inline]
fn nullable<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, RecordFault> {
    match read_i32(rest).ok_or(RecordFault::Varint)? {
        -1 => Ok(None),
        length => field(rest, length).map(Some),
    }
}

fn header<'a>(rest: &mut &'a [u8]) -> Result<RecordHeader<'a>, RecordFault> {
    let key_length = read_i32(rest).ok_or(RecordFault::Varint)?;
    let key = field(rest, key_length)?;
    let value = nullable(rest)?;
    Ok(RecordHeader { key, value })
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    fn walk(bytes: &[u8], count: i32) -> Vec<Result<Record<'_>, BatchError>> {
        let mut header = BatchHeader::new_zeroed();
        header.record_count.set(count);
        Records::new(bytes, &header).collect()
    }

    fn fault(bytes: &[u8]) -> RecordFault {
        match walk(bytes, 1)[..] {
            [Err(BatchError::Record { index: 0, fault })] => fault,
            ref other => panic!("{other:?}"),
        }
    }

    /// Bytes: length, attributes, timestamp delta, offset delta, key length, value length,
    /// header count; in zigzag 1 is -1, 2 is 1, 12 is 6.
    #[test]
    fn every_record_fault_is_named() {
        let left = 6;
        assert_eq!(walk(&[12, 0, 0, 0, 1, 1, 0], 1).len(), 1);
        assert!(walk(&[12, 0, 0, 0, 1, 1, 0], 1)[0].is_ok());
        assert_eq!(fault(&[]), RecordFault::Varint);
        assert_eq!(fault(&[0x80]), RecordFault::Varint);
        assert_eq!(fault(&[14, 0, 0, 0, 1, 1, 0]), RecordFault::Length { length: 7, left });
        assert_eq!(fault(&[1, 0, 0, 0, 1, 1, 0]), RecordFault::Length { length: -1, left });
        assert_eq!(fault(&[0]), RecordFault::Field { length: 1, left: 0 });
        assert_eq!(fault(&[10, 0, 0, 0, 1, 1, 0]), RecordFault::Varint);
        let negative = RecordFault::OffsetDelta { offset_delta: -1 };
        assert_eq!(fault(&[12, 0, 0, 1, 1, 1, 0]), negative);
        let key = RecordFault::Field { length: 3, left: 2 };
        assert_eq!(fault(&[12, 0, 0, 0, 6, 1, 0]), key);
        let value = RecordFault::Field { length: -2, left: 1 };
        assert_eq!(fault(&[12, 0, 0, 0, 1, 3, 0]), value);
        assert_eq!(fault(&[12, 0, 0, 0, 1, 1, 1]), RecordFault::HeaderCount { count: -1 });
        assert_eq!(fault(&[14, 0, 0, 0, 1, 1, 0, 9]), RecordFault::Leftover { bytes: 1 });
        let no_name = RecordFault::Field { length: -1, left: 1 };
        assert_eq!(fault(&[16, 0, 0, 0, 1, 1, 2, 1, 1]), no_name);
    }

    #[test]
    fn counts_are_not_believed() {
        // Two billion headers, two billion records.
        let headers = [20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(fault(&headers), RecordFault::Varint);
        let records = walk(&[12, 0, 0, 0, 1, 1, 0], i32::MAX);
        assert_eq!(records.len(), 2);
        assert_eq!(records[1], Err(BatchError::Record { index: 1, fault: RecordFault::Varint }));
    }

    #[test]
    fn log_append_time_overrides_the_deltas() {
        let mut header = BatchHeader::new_zeroed();
        header.record_count.set(1);
        header.base_timestamp.set(100);
        header.max_timestamp.set(900);
        let bytes = [12, 0, 8, 0, 1, 1, 0];
        let time = |header: &BatchHeader| {
            Records::new(&bytes, header).next().unwrap().unwrap().timestamp_ms
        };
        assert_eq!(time(&header), 104);
        header.attributes.set(LOG_APPEND_TIME);
        assert_eq!(time(&header), 900);
    }

    #[test]
    fn headers_are_found_by_name() {
        // Two headers: "a" without a value, "b" = "x".
        let bytes = [28, 0, 0, 0, 1, 1, 4, 2, b'a', 1, 2, b'b', 2, b'x', 0];
        assert_eq!(fault(&bytes), RecordFault::Leftover { bytes: 1 });
        let bytes = [26, 0, 0, 0, 1, 1, 4, 2, b'a', 1, 2, b'b', 2, b'x'];
        let headers = walk(&bytes, 1)[0].unwrap().headers;
        assert_eq!(headers.len(), 2);
        assert_eq!(headers.get(b"a"), Some(None));
        assert_eq!(headers.get(b"b"), Some(Some(&b"x"[..])));
        assert_eq!(headers.get(b"c"), None);
    }
}
