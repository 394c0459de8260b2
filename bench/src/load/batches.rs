//! Record batches to send. Generated messages without tags or stamps are batched once, before the
//! run; all others are built in place, in a buffer that is used again.

use std::time::{SystemTime, UNIX_EPOCH};

use engine::batch::{BatchBuilder, HEADER_BYTES, NewRecord};
use net::wire::limits::BATCH_BYTES_MAX;

use super::tag_format::{TAG_BYTES, Tag};
use super::{Load, LoadError, Messages};

/// Enough that neighbouring batches differ.
const FIXED: u64 = 16;
/// Varints, attributes and counts of a record, at most.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// Makes batches.
pub(super) struct Batches {
    builder: BatchBuilder,
    fixed: Vec<Vec<u8>>,
    producers: u64,
    batch: u32,
    tagged: bool,
    timestamp_ms: i64,
}

/// One batch, and how many bytes its messages have.
pub(super) struct Batch<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) payload_bytes: u64,
}

impl Batches {
    /// Ready to make batches, of which any fits the protocol's limit.
    pub(super) fn new(load: &Load) -> Result<Self, LoadError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut batches = Self {
            builder: BatchBuilder::new(BATCH_BYTES_MAX),
            fixed: Vec::new(),
            producers: u64::from(load.producers),
            batch: load.batch,
            tagged: load.verify,
            timestamp_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        };
        let message = load.messages.bytes_max() + TAG_BYTES + RECORD_OVERHEAD_BYTES;
        let most = HEADER_BYTES + message * load.batch as usize;
        if most > BATCH_BYTES_MAX as usize {
            return Err(LoadError::Settings(format!(
                "{} messages of up to {} bytes may take {most} bytes, a batch has at most \
                 {BATCH_BYTES_MAX}; choose a smaller --batch",
                load.batch,
                load.messages.bytes_max(),
            )));
        }
        if load.messages.are_generated() && !load.verify && !load.stamps {
            for n in 0..FIXED {
                let first = n * u64::from(load.batch);
                let batch = batches.build(&load.messages, 0, first, None)?.bytes.to_vec();
                batches.fixed.push(batch);
            }
        }
        Ok(batches)
    }

    /// The batch that begins with message `first` of `producer`. A stamp becomes the key of its
    /// first message: the others were due at the same time.
    pub(super) fn make(
        &mut self,
        messages: &Messages,
        producer: u32,
        first: u64,
        stamp: Option<u64>,
    ) -> Result<Batch<'_>, LoadError> {
        if self.fixed.is_empty() {
            return self.build(messages, producer, first, stamp);
        }
        let which = (first / u64::from(self.batch) + u64::from(producer)) % FIXED;
        let payload_bytes = messages.bytes_max() as u64 * u64::from(self.batch);
        Ok(Batch { bytes: &self.fixed[which as usize], payload_bytes })
    }

    fn build(
        &mut self,
        messages: &Messages,
        producer: u32,
        first: u64,
        stamp: Option<u64>,
    ) -> Result<Batch<'_>, LoadError> {
        self.builder.clear();
        let mut payload_bytes = 0;
        let mut stamp = stamp.map(u64::to_be_bytes);
        for number in first..first + u64::from(self.batch) {
            let value = messages.get(number * self.producers + u64::from(producer));
            let tag = self.tagged.then(|| Tag { producer, number }.encode(value));
            let key = tag.as_ref().map(<[u8; TAG_BYTES]>::as_slice);
            payload_bytes += (value.len() + key.map_or(0, <[u8]>::len)) as u64;
            let stamp = stamp.take();
            self.builder.append(&NewRecord {
                timestamp_ms: self.timestamp_ms,
                key: key.or(stamp.as_ref().map(<[u8; 8]>::as_slice)),
                value: Some(value),
                headers: &[],
            })?;
        }
        Ok(Batch { bytes: self.builder.finish()?, payload_bytes })
    }
}
