//! What can be wrong with a batch. The answer is always the same: refuse it to whoever sent it
//! (or, for bytes read back from a disk, treat them as damaged); nothing has been changed.

use thiserror::Error;

/// Why bytes are not a batch, or a record does not fit one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    /// Fewer bytes than a header.
    #[error("{bytes} bytes are too few for a batch header")]
    TooShort {
        /// Bytes given.
        bytes: usize,
    },
    /// The length field and the slice disagree.
    #[error("the length field says {length} bytes after it, the slice has {actual}")]
    Length {
        /// The header's length field.
        length: i32,
        /// Bytes that follow the field.
        actual: usize,
    },
    /// Larger than the limit. From a builder: the batch is unchanged; finish it and start another.
    #[error("a batch of {batch_bytes} bytes is over the limit of {batch_bytes_max}")]
    TooLarge {
        /// Size of the batch, header included.
        batch_bytes: usize,
        /// The limit.
        batch_bytes_max: u32,
    },
    /// Not a v2 batch.
    #[error("magic {magic}, expected 2")]
    Magic {
        /// The header's magic.
        magic: i8,
    },
    /// The attributes name a compression codec that does not exist.
    #[error("attributes {attributes:#06x} name an unknown compression codec")]
    Attributes {
        /// The header's attributes.
        attributes: i16,
    },
    /// A batch without records.
    #[error("a batch without records")]
    ZeroRecords,
    /// The record count is negative, is not the last offset delta + 1, or is more than fit.
    #[error(
        "{record_count} records do not fit the batch, or its last offset delta of {last_offset_delta}"
    )]
    RecordCount {
        /// The header's record count.
        record_count: i32,
        /// The header's last offset delta.
        last_offset_delta: i32,
    },
    /// The bytes from the attributes on are not those the producer summed.
    #[error("checksum {computed:#010x}, the header says {stated:#010x}")]
    Crc {
        /// The header's checksum.
        stated: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The records are compressed: they cannot be walked here.
    #[error("the records are compressed (codec {codec})")]
    Compressed {
        /// Kafka's codec number.
        codec: u8,
    },
    /// A record is malformed.
    #[error("record {index}: {fault}")]
    Record {
        /// Which record, from 0.
        index: u32,
        /// What is wrong with it.
        fault: RecordFault,
    },
    /// Bytes follow the last record.
    #[error("{bytes} bytes follow the last record")]
    Trailing {
        /// How many.
        bytes: usize,
    },
}

/// What is wrong with one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordFault {
    /// A number is cut off by the end, or does not fit its type.
    #[error("a varint is cut off or too large")]
    Varint,
    /// The record's own length is negative or runs past the end of the batch.
    #[error("its length is {length}, with {left} bytes left in the batch")]
    Length {
        /// The stated length.
        length: i32,
        /// Bytes left in the batch.
        left: usize,
    },
    /// A key, a value or a header runs past the end of the record, or has an impossible length.
    #[error("a field of {length} bytes, with {left} bytes left in the record")]
    Field {
        /// The stated length.
        length: i32,
        /// Bytes left in the record.
        left: usize,
    },
    /// A negative offset delta, or one out of order (deltas count 0, 1, 2, ...).
    #[error("offset delta {offset_delta}")]
    OffsetDelta {
        /// The stated delta.
        offset_delta: i32,
    },
    /// A negative number of headers.
    #[error("{count} headers")]
    HeaderCount {
        /// The stated count.
        count: i32,
    },
    /// The fields end before the record does.
    #[error("{bytes} bytes follow its last field")]
    Leftover {
        /// How many.
        bytes: usize,
    },
}
