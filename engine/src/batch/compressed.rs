//! A batch whose records are compressed, for those who compress and decompress: which codec it
//! says, which bytes that codec made, and how a batch is made of such bytes.
//!
//! Absent: the codecs themselves. The broker needs none: it passes compressed batches through.

use zerocopy::{FromBytes, IntoBytes};

use super::format::{BatchHeader, CODEC_MASK, HEADER_BYTES, LENGTH_END, STAMPED_BYTES};
use super::records::Records;
use super::view::BatchRef;

impl<'a> BatchRef<'a> {
    /// The codec of the records: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    #[must_use]
    pub fn codec(&self) -> u8 {
        (self.attributes() & CODEC_MASK) as u8
    }

    /// What follows the header: the records, as the codec made them.
    #[must_use]
    pub fn record_bytes(&self) -> &'a [u8] {
        self.bytes().get(HEADER_BYTES..).unwrap_or_default()
    }

    /// The records in `plain`, which is what the codec makes of [`BatchRef::record_bytes`].
    #[must_use]
    pub fn records_in<'b>(&self, plain: &'b [u8]) -> Records<'b> {
        Records::plain(plain, self.header())
    }

    /// Appends the same batch to `out`, but with these records: what `codec` (1 to 4) made of
    /// [`BatchRef::record_bytes`]. Length, attributes and checksum are those of the new batch.
    pub fn with_records(&self, codec: u8, records: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(self.bytes().get(..HEADER_BYTES).unwrap_or_default());
        out.extend_from_slice(records);
        let Some(batch) = out.get_mut(start..) else { return };
        let length = batch.len().saturating_sub(LENGTH_END);
        let Ok((header, _)) = BatchHeader::mut_from_prefix(batch) else { return };
        let attributes = header.attributes.get() & !CODEC_MASK;
        header.batch_length.set(i32::try_from(length).unwrap_or(i32::MAX));
        header.attributes.set(attributes | (i16::from(codec) & CODEC_MASK));
        header.crc.set(0);
        let crc = crc32c::crc32c(batch.get(STAMPED_BYTES..).unwrap_or_default());
        if let Ok((header, _)) = BatchHeader::mut_from_prefix(batch) {
            header.crc.set(crc);
            debug_assert_eq!(header.as_bytes().len(), HEADER_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BatchBuilder, BatchError, NewRecord};
    use super::*;

    #[test]
    fn a_batch_with_other_records_says_their_codec_and_keeps_the_rest() {
        let mut builder = BatchBuilder::new(1000);
        builder.set_producer(7, 3, 11);
        let value = Some(&b"value"[..]);
        builder.append(&NewRecord { timestamp_ms: 5, value, ..NewRecord::default() }).unwrap();
        let plain = builder.finish().unwrap().to_vec();
        let plain = BatchRef::parse(&plain, 1000).unwrap();
        assert_eq!(plain.codec(), 0);

        let mut out = vec![0xee];
        plain.with_records(4, b"squeezed", &mut out);
        let packed = BatchRef::parse(&out[1..], 1000).unwrap();
        assert_eq!((packed.codec(), packed.record_bytes()), (4, &b"squeezed"[..]));
        assert_eq!((packed.producer_id(), packed.base_sequence()), (7, 11));
        assert_eq!(packed.record_count(), 1);
        let refused: Vec<_> = packed.records().collect();
        assert!(matches!(refused[..], [Err(BatchError::Compressed { codec: 4 })]));

        let records: Vec<_> = packed.records_in(plain.record_bytes()).collect();
        let record = records[0].unwrap();
        assert_eq!((record.value, record.timestamp_ms), (value, 5));
    }
}
