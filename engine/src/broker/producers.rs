//! Ids of idempotent producers: unique in a data directory for ever, without a write.
//!
//! The upper half is the life of shard 0's log, which is on stable media before anything happens
//! in it, the lower half counts within the life: an id that was given out before a crash is never
//! given out again after it.

use super::{Broker, METADATA_SHARD};
use crate::io::Env;

impl<E: Env> Broker<E> {
    /// An id that nobody else has or will have; its first epoch is 0. `None` when this life has
    /// none left (after 2^32), or shard 0 is somebody else's.
    pub fn new_producer(&mut self) -> Option<i64> {
        let life = self.shards.get(METADATA_SHARD)?.epoch();
        let number = self.next_producer;
        self.next_producer = number.checked_add(1)?;
        i64::try_from(u64::from(life) << 32 | u64::from(number)).ok()
    }
}
