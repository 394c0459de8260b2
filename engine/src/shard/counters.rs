//! What a shard counts, for whoever looks after it.

use super::Shard;
use crate::io::Env;

/// What a shard has counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Batches and records appended, and their bytes.
    pub batches: u64,
    /// Records in those batches.
    pub records: u64,
    /// Bytes of those batches.
    pub batch_bytes: u64,
    /// Fetches answered with entries, and the bytes of the entries.
    pub fetches: u64,
    /// Bytes of entries given to fetches.
    pub fetched_bytes: u64,
    /// Records given to fetches.
    pub fetched_records: u64,
    /// Cold reads submitted and their bytes.
    pub cold_reads: u64,
    /// Bytes read from the device for fetches.
    pub cold_bytes: u64,
    /// Blocks of sealed segments' indexes read for fetches.
    pub index_reads: u64,
    /// Batches of idempotent producers that came again and were not stored again.
    pub repeated_batches: u64,
    /// Idempotent producers remembered now, once per queue.
    pub producers: u64,
    /// Offset commits appended (each of any number of offsets).
    pub offset_commits: u64,
    /// Consumer groups with offsets here now.
    pub consumer_groups: u64,
    /// Memory that committed offsets take now, in bytes.
    pub offset_bytes: u64,
    /// Groups written to the device.
    pub groups: u64,
    /// Bytes of those writes.
    pub group_bytes: u64,
    /// Bytes of padding at the ends of groups.
    pub padding_bytes: u64,
    /// Bytes written to make space written, ahead of the append point.
    pub prefilled_bytes: u64,
    /// Bytes appended to space that was not written before.
    pub unwritten_bytes: u64,
    /// Fetches parked now.
    pub parked: u64,
    /// Requests waiting for the device now.
    pub waiting: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Segments that retention took out of the log and used again.
    pub recycled_segments: u64,
    /// Segments that retention took out of the log and removed.
    pub removed_segments: u64,
    /// Segments whose file was gone when retention was to take them out of the log.
    pub vanished_segments: u64,
    /// Position at which the log ends.
    pub log_end: u64,
    /// Bytes of the log that were read when it was opened.
    pub opening_read_bytes: u64,
    /// Nanoseconds that this took.
    pub opening_read_nanos: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Indexes that were damaged, and were made again.
    pub rebuilt_indexes: u64,
    /// Index files of sealed segments written.
    pub sealed_segments: u64,
    /// Memory that the indexes of sealed segments take now, in bytes.
    pub index_bytes: u64,
    /// How often a queue's start was moved by its topic's limits.
    pub moved_starts: u64,
    /// How full the device was at the last look, in percent; 0 when nobody looks.
    pub disk_used_percent: u64,
    /// Produces that were refused because the device is almost full.
    pub disk_refused: u64,
}

impl<E: Env> Shard<E> {
    /// Counters, as of now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let (groups, group_bytes, padding_bytes) = self.log.counters();
        let (unwritten_bytes, prefilled_bytes) = self.log.segments().counters();
        let (disk_used_percent, disk_refused) = self.room.counters();
        let (recycled_segments, removed_segments) = self.log.segments().trimmed();
        Counters {
            producers: self.sequences.len() as u64,
            consumer_groups: self.offsets.group_count() as u64,
            offset_bytes: self.offsets.bytes() as u64,
            groups,
            group_bytes,
            padding_bytes,
            unwritten_bytes,
            prefilled_bytes,
            parked: self.parked.len() as u64,
            waiting: (self.written_waiters.len() + self.durable_waiters.len()) as u64,
            segments: self.log.segments().count() as u64,
            recycled_segments,
            removed_segments,
            vanished_segments: self.log.segments().vanished(),
            log_end: self.log.ends().0.0,
            opening_read_bytes: self.opening.read_bytes,
            opening_read_nanos: self.opening.read_nanos,
            checkpoints: self.checkpoints.written(),
            rebuilt_indexes: self.opening.rebuilt_indexes + self.rebuilds.rebuilt(),
            sealed_segments: self.sealing.saved(),
            index_bytes: self.sealing.indexes.bytes() + self.sealing.keys.bytes(),
            moved_starts: self.keep.moved(),
            disk_used_percent,
            disk_refused,
            ..self.counters
        }
    }
}
