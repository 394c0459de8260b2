//! Opening the shards of a directory, or some of them, and making topics known to them.
//!
//! Reads top-down: [`Broker::open`] -> [`Broker::open_some`] -> [`Broker::adopt`].
//! Absent: who owns the other shards.

use std::collections::BTreeMap;

use super::catalog::{Catalog, Topic};
use super::change_format::Change;
use super::shards::Shards;
use super::{Broker, METADATA_QUEUE, METADATA_SHARD, OWN_TOKENS, groups};
use crate::batch::BatchRef;
use crate::io::Env;
use crate::level::AckLevel;
use crate::log::entry_format::Kind;
use crate::log::recover::{OpenError, OpenOptions};
use crate::shard::Shard;

impl<E: Env> Broker<E> {
    /// Opens every shard of a directory, one environment each; topics come from shard 0's log.
    ///
    /// # Errors
    /// [`OpenError`] of the first shard that cannot be opened.
    pub fn open(
        envs: impl IntoIterator<Item = E>,
        options: &OpenOptions,
    ) -> Result<Self, OpenError> {
        let envs: Vec<E> = envs.into_iter().collect();
        let total = envs.len() as u16;
        let mut broker = Self::open_some((0..).zip(envs), total, options)?;
        broker.adopt(None);
        Ok(broker)
    }

    /// Opens some of the `total` shards of a directory, by their numbers. Nothing can be asked
    /// before [`Broker::adopt`].
    ///
    /// # Errors
    /// [`OpenError`] of the first shard that cannot be opened.
    pub fn open_some(
        envs: impl IntoIterator<Item = (u16, E)>,
        total: u16,
        options: &OpenOptions,
    ) -> Result<Self, OpenError> {
        let mut catalog = Catalog::default();
        let mut damaged = None;
        let mut shards = Vec::new();
        for (number, env) in envs {
            let options = OpenOptions { shard: number, ..*options };
            let shard = Shard::open(env, &options, |found| {
                let read = match found.header.kind {
                    Kind::Metadata => read_change(found.batch).map(|change| catalog.apply(&change)),
                    Kind::Checkpoint => catalog.restore(found.batch),
                    Kind::Data | Kind::OffsetCommit => Some(()),
                };
                if read.is_none() {
                    damaged = damaged.or(Some(found.pos));
                }
            })?;
            shards.push((number, shard));
        }
        if let Some(at) = damaged {
            return Err(OpenError::Damaged { at, what: "a change of topics cannot be read" });
        }
        Ok(Self {
            shards: Shards::new(shards, total),
            catalog,
            changes: Vec::new(),
            pending: BTreeMap::new(),
            commits: groups::Commits::default(),
            next_own: OWN_TOKENS,
            next_producer: 0,
            batch: Vec::new(),
            stopping: false,
        })
    }

    /// Makes the topics known to the shards: those that shard 0's log holds, or, where shard 0 is
    /// somebody else's, what its owner found there.
    pub fn adopt(&mut self, catalog: Option<Catalog>) {
        if let Some(catalog) = catalog {
            self.catalog = catalog;
        }
        if let Some(first) = self.shards.get_mut(METADATA_SHARD) {
            first.add_queue(METADATA_QUEUE, AckLevel::Durable, false);
            first.outlive(METADATA_QUEUE);
        }
        let topics: Vec<Topic> = self.catalog.topics().cloned().collect();
        for topic in &topics {
            self.add_queues(topic);
        }
        for shard in self.shards.own_mut() {
            shard.retain_known_queues();
        }
    }
}

/// The change in a metadata entry's batch.
pub(crate) fn read_change(batch: &[u8]) -> Option<Change> {
    let batch = BatchRef::parse_unverified(batch).ok()?;
    let record = batch.records().next()?.ok()?;
    Change::decode(record.value?)
}
