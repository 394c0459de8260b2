//! Messages by key.
//!
//! The node says where records with such a key may be ([`Lookup`]); they are fetched from there, and
//! their keys compared.

use std::time::Duration;

use engine::index::keys::KEYS_HEADER;

use super::admin::answer;
use super::queue_reader::{FetchLimits, QueueReader};
use super::{Client, ClientError, Message};
use crate::wire::{ErrorCode, Lookup, Reply, Request, decode_reply};

/// Offsets asked for at a time.
const OFFSETS_MAX: u32 = 256;
/// How often a node is asked again that is making the index again.
const RETRIES_MAX: u32 = 100;

/// A queue, and the shard that has it.
#[derive(Clone, Copy, Debug)]
struct Place {
    topic: u32,
    queue: u16,
    shard: u16,
}

impl Client {
    /// Messages of a topic with this key, which they were sent with or which is a word of their
    /// header `KEYS`: the newest `max` of each queue, by store time, the newest first. The topic
    /// must have an index of keys; what it got before it had one is not found.
    pub async fn find(
        &self,
        topic: &str,
        key: &[u8],
        max: usize,
    ) -> Result<Vec<Message>, ClientError> {
        let (topic, queues) = self.resolve(topic).await?;
        let mut found = Vec::new();
        for (shard, queue) in queues.into_iter().zip(0_u16..) {
            let place = Place { topic, queue, shard };
            self.find_in(place, key, max, &mut found).await?;
        }
        found.sort_by_key(|message| std::cmp::Reverse(message.store_timestamp_ms));
        found.truncate(max);
        Ok(found)
    }

    async fn find_in(
        &self,
        place: Place,
        key: &[u8],
        max: usize,
        found: &mut Vec<Message>,
    ) -> Result<(), ClientError> {
        let Place { topic, queue, shard } = place;
        let mut left = max;
        let mut end = u64::MAX;
        while left > 0 {
            let asked = left.min(OFFSETS_MAX as usize) as u32;
            let lookup = Lookup { topic, queue, first: 0, end, max: asked, key };
            let frame = self.patiently(shard, &Request::Lookup(lookup)).await?;
            let answer = answer!(&frame, Reply::Lookup(answer) => answer)?;
            for &offset in answer.offsets.iter() {
                if let Some(message) = self.message_at(place, offset).await?
                    && has_key(&message, key)
                {
                    found.push(message);
                    left -= 1;
                }
            }
            if answer.reached <= answer.log_start {
                break;
            }
            if answer.reached >= end {
                return Err(ClientError::bad_reply("a lookup that gets nowhere"));
            }
            end = answer.reached;
        }
        Ok(())
    }

    /// The message at an offset; `None` if it has gone meanwhile.
    async fn message_at(
        &self,
        Place { topic, queue, shard }: Place,
        offset: u64,
    ) -> Result<Option<Message>, ClientError> {
        let decompressed_bytes_max = self.links.config().decompressed_bytes_max;
        // One entry is always sent.
        let (bytes_max, bytes_min, wait_max_ms) = (1, 1, 0);
        let limits = FetchLimits { bytes_max, bytes_min, wait_max_ms, decompressed_bytes_max };
        let mut reader = QueueReader::new(topic, (queue, shard), limits);
        reader.seek(offset);
        let frame = self.patiently(shard, &reader.request()).await?;
        match reader.accept(&frame) {
            Ok(messages) => Ok(messages.into_iter().find(|message| message.offset == offset)),
            Err(ClientError::Server { code: ErrorCode::OffsetOutOfRange, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks; and again, as long as the node is busy.
    async fn patiently(
        &self,
        shard: u16,
        request: &Request<'_>,
    ) -> Result<bytes::Bytes, ClientError> {
        let mut retries = 0;
        loop {
            let frame = self.links.call_shard(shard, request).await?;
            let retry_after_ms = match decode_reply(&frame)?.1 {
                Reply::Error { error, .. } if error.code == ErrorCode::Busy => error.retry_after_ms,
                _ => return Ok(frame),
            };
            retries += 1;
            if retries > RETRIES_MAX {
                return Ok(frame);
            }
            tokio::time::sleep(Duration::from_millis(retry_after_ms.max(1).into())).await;
        }
    }
}

/// Whether the message was sent with the key, or has it in its header.
fn has_key(message: &Message, key: &[u8]) -> bool {
    let in_header = message
        .headers
        .iter()
        .find(|header| header.key == KEYS_HEADER)
        .and_then(|header| header.value.as_ref())
        .is_some_and(|words| words.split(|byte| *byte == b' ').any(|word| word == key));
    in_header || message.key.as_ref().is_some_and(|own| own == key)
}
