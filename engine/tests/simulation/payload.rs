//! What producers send: every byte follows from the token, so that a checker can tell a whole
//! batch from a torn or a mixed one without keeping a copy.

use std::sync::LazyLock;

use engine::batch::{BatchBuilder, BatchRef, NewRecord};
use engine::io::sim::Random;

use crate::idempotent::Number;

/// Smallest value: the token and the record's index.
pub(crate) const VALUE_BYTES_MIN: usize = 12;

/// How many keys there are.
const KEYS: u8 = 5;

/// Where in the noise a value may start.
const STARTS: u64 = 65_521;

/// Values are cuts of this: no two places in it look alike.
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = Random::new(0);
    (0..(1 << 17) + STARTS).flat_map(|_| random.draw().to_le_bytes()).collect()
});

/// How a batch looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) token: u64,
    pub(crate) records: u32,
    pub(crate) value_bytes: usize,
    /// Of an idempotent producer.
    pub(crate) number: Option<Number>,
}

impl Shape {
    /// The batch as it is sent.
    pub(crate) fn batch(&self) -> Vec<u8> {
        let mut builder = BatchBuilder::new(1 << 20);
        if let Some(Number { producer, epoch, first }) = self.number {
            builder.set_producer(producer, epoch, first);
        }
        for index in 0..self.records {
            let (key, value) = (key_of(self.token, index), self.value(index));
            let (key, value) = (Some(&key[..]), Some(&value[..]));
            builder.append(&NewRecord { key, value, ..NewRecord::default() }).unwrap();
        }
        builder.finish().unwrap().to_vec()
    }

    /// The sequence number behind the last record. No simulation gets as far as `i32::MAX`.
    pub(crate) fn next(&self) -> i32 {
        self.number.map_or(0, |number| number.first) + self.records as i32
    }

    /// The value of one record.
    pub(crate) fn value(&self, index: u32) -> Vec<u8> {
        let mut value = Vec::with_capacity(self.value_bytes);
        value.extend(self.token.to_be_bytes());
        value.extend(index.to_be_bytes());
        let start = (self.token.wrapping_mul(31) + u64::from(index) * 7) % STARTS;
        let rest = self.value_bytes - VALUE_BYTES_MIN;
        value.extend_from_slice(&NOISE[start as usize..][..rest]);
        value
    }
}

/// The key of one record: many have the same.
fn key_of(token: u64, index: u32) -> [u8; 1] {
    [b'a' + (token.wrapping_mul(5).wrapping_add(index.into()) % u64::from(KEYS)) as u8]
}

/// Every key that records have.
pub(crate) fn keys() -> impl Iterator<Item = [u8; 1]> {
    (0..KEYS).map(|key| [b'a' + key])
}

/// The token in the first record of a batch, if there is one.
pub(crate) fn token_of(batch: &[u8]) -> Option<u64> {
    let record = BatchRef::parse(batch, u32::MAX).ok()?.records().next()?.ok()?;
    Some(u64::from_be_bytes(*record.value?.first_chunk()?))
}
