//! Every maximum of the engine, in one place, proving each other.
//!
//! Full is an answer (`Busy`), never an allocation without a bound.

use crate::io::BLOCK_BYTES;

/// Largest record batch a producer may send, header included. 1 MiB of records (the field's usual
/// default) and the batch header.
pub const BATCH_BYTES_MAX: u32 = (1 << 20) + 128;

/// One piece of the hot window: groups are laid out in it exactly as in the log. Large enough for
/// the largest batch with its headers wherever a group may start in a block; and a huge page long, for
/// which the kernel is asked (`io/pages.rs`).
pub const CHUNK_BYTES: u32 = 2 << 20;

/// A group is sealed rather than grow beyond this, unless told otherwise: 256 KiB at depth 2 keep
/// the reference device at its full rate, and a larger group would only add latency.
pub const GROUP_BYTES_MAX: u32 = 256 << 10;
/// The most that may be told.
pub const GROUP_BYTES_LIMIT: u32 = CHUNK_BYTES / 2;

/// The superblock is told how far the log is durable when it has grown by this much ...
pub const RECORDED_EVERY_BYTES: u64 = 16 << 20;
/// ... so that a restart need not look further than this behind the log's end for what may be
/// missing before: farther than can be appended until the superblock knows.
pub const SURVEY_BYTES: u64 = 4 * RECORDED_EVERY_BYTES;

/// Descriptors that a shard keeps of files that are only read, beside those in use: enough for 64
/// sealed segments that are being read, with their indexes.
pub const READ_FILES_MAX: u32 = 128;

/// Smallest segment length in bytes; batches are limited to what fits one segment.
pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// Default segment length in bytes.
pub const SEGMENT_BYTES_DEFAULT: u64 = 256 << 20;
/// Largest segment length in bytes: offsets inside a segment fit 32 bits.
pub const SEGMENT_BYTES_MAX: u64 = 2 << 30;

/// Device writes in flight for one shard, unless told otherwise. On the reference device (flushes
/// are serialized) two carry more than four: 16 producers get 36-44 k/s against 27-38 k/s, with
/// half the p90, because each flush covers twice as many; and two of 256 KiB are its full rate.
pub const GROUPS_INFLIGHT_MAX: usize = 2;
/// So many times as many may be in flight if they are full and each is durable by itself: waiting would
/// not let them carry more, and the device has a next one while the reactor is in the middle of a turn
/// (measured: overload takes 1.43 instead of 1.17 M/s, and with 4 for groups of any size 16 producers
/// would lose, see above).
pub const FULL_GROUPS_FACTOR: usize = 2;

/// A group that nobody waits for gathers up to this many bytes ...
pub const GATHER_BYTES: u32 = 64 << 10;
/// ... or this long: the bounded loss of the levels `none` and `memory`.
pub const GATHER_NANOS: u64 = 5_000_000;

/// A device write that takes longer than this poisons the shard: RocketMQ clients give up at 3 s.
pub const FLUSH_DEADLINE_MS: u32 = 2_000;

/// How long records are kept unless told otherwise: 72 hours.
pub const RETENTION_AGE_MS: u64 = 72 * 3_600_000;

/// The oldest segments go when more than this of the file system is used, in percent, unless told
/// otherwise ...
pub const DISK_USED_PERCENT_MAX: u8 = 80;
/// ... and from here on producers are refused when no segment is left to go.
pub const DISK_FULL_PERCENT: u8 = 95;

/// Space made "written" by one background operation: long enough to be efficient, short enough
/// (half a millisecond at 2 GB/s) not to be seen by the append that queues behind it.
pub const PREFILL_STEP_BYTES: u32 = 1 << 20;
/// Written space that must exist before a new log takes its first append.
pub const PREFILL_FIRST_BYTES: u64 = 4 << 20;

/// Segments that left a log and wait, as spares, for later ones to be made from them: a roll may let
/// one go before the next segment has taken the one that waits for it.
pub const SPARES_MAX: usize = 2;

/// What a log's last segment keeps back for a checkpoint, beside twice the size of the last one: a
/// small one is two groups of a block each, and crashes may cut some short.
pub const CHECKPOINT_ROOM_BYTES: u64 = 16 << 10;

/// Recent groups kept in memory for consumers at the tail, per shard.
pub const WINDOW_BYTES: u64 = 16 << 20;
/// All block memory of a shard, unless told otherwise: the window, groups in flight, cold reads, and
/// what slow consumers still hold.
pub const BLOCK_MEMORY_BYTES_MAX: u64 = 128 << 20;
/// The least it may be told to take.
pub const BLOCK_MEMORY_BYTES_MIN: u64 = 64 << 20;

/// Bytes that may wait to be written before the node stops reading from its sockets: clients that
/// outrun the device are slowed down, not refused.
pub const UNWRITTEN_BYTES_MAX: u64 = 32 << 20;

/// Bytes one fetch reply may hold (one batch is always delivered, however large).
pub const FETCH_BYTES_MAX: u32 = 1 << 20;
/// Bytes one cold read asks the device for: 256 KiB at a time reach its full rate.
pub const COLD_READ_BYTES_MAX: u32 = 512 << 10;
/// A span of the index ends rather than grow beyond this: whoever looks for one record reads a whole
/// span ...
pub const SPAN_BYTES_LONG: u64 = 64 << 10;
/// ... unless it holds less than this of its queue, so that the 28 bytes of a span stay below half a
/// percent of what they lead to, however many queues take turns.
pub const SPAN_BATCH_BYTES_MIN: u32 = 6 << 10;
/// Extents shorter than this are gathered by copy, and the copy is counted.
pub const ZERO_COPY_BYTES_MIN: usize = 4096;

/// Fetches parked on one shard.
pub const PARKED_MAX: usize = 65_536;
/// Longest a fetch may wait, in milliseconds.
pub const WAIT_MS_MAX: u32 = 60_000;

/// Offsets that one lookup by key may find.
pub const LOOKUP_OFFSETS_MAX: u32 = 4096;

/// Requests that wait for the device, per shard.
pub const WAITERS_MAX: usize = 262_144;
/// From so many on the node stops reading from its sockets: entries can be so short that these are
/// reached before [`UNWRITTEN_BYTES_MAX`]. What one pass may still read fits below the maximum.
pub const WAITERS_CONGESTED: usize = WAITERS_MAX / 4 * 3;

/// Shards in a data directory: a handle keeps its shard in 8 bits.
pub const SHARDS_MAX: u16 = 255;
/// Queues of one topic: a queue number travels as 16 bits.
pub const QUEUES_PER_TOPIC_MAX: u16 = 32_768;
/// Length of a topic name in bytes.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Length of a consumer group's name in bytes.
pub const GROUP_NAME_BYTES_MAX: usize = 249;
/// Length of the metadata kept with a committed offset, in bytes.
pub const OFFSET_METADATA_BYTES_MAX: usize = 4096;
/// Consumer groups with offsets in one shard.
pub const GROUPS_PER_SHARD_MAX: usize = 65_536;
/// Memory of one shard's committed offsets, those on their way among them: 400,000 without
/// metadata.
pub const OFFSETS_BYTES_MAX: usize = 64 << 20;

/// Idempotent producers remembered in one shard, each per queue it writes to: about 16 MiB. The
/// one that has been idle for longest is forgotten first.
pub const PRODUCERS_PER_SHARD_MAX: usize = 65_536;
/// Batches of an idempotent producer that are recognized when they are sent again: Kafka's
/// clients have at most five in flight.
pub const PRODUCER_BATCHES_MAX: usize = 5;

const _: () = assert!(CHUNK_BYTES >= BATCH_BYTES_MAX + 2 * BLOCK_BYTES, "a chunk holds any batch");
const _: () = assert!(SEGMENT_BYTES_DEFAULT >= 2 * CHUNK_BYTES as u64, "a segment holds any group");
const _: () = assert!(SEGMENT_BYTES_MAX <= u32::MAX as u64, "offsets in a segment fit 32 bits");
const _: () = assert!(DISK_USED_PERCENT_MAX < DISK_FULL_PERCENT && DISK_FULL_PERCENT <= 100);
const _: () = assert!(PREFILL_FIRST_BYTES <= SEGMENT_BYTES_DEFAULT);
const _: () = assert!(GATHER_BYTES <= GROUP_BYTES_MAX && GROUP_BYTES_MAX <= GROUP_BYTES_LIMIT);
const _: () = assert!(
    UNWRITTEN_BYTES_MAX + WINDOW_BYTES + 8 * CHUNK_BYTES as u64 <= BLOCK_MEMORY_BYTES_MIN,
    "clients are slowed down before memory is used up"
);
const _: () = assert!(BLOCK_MEMORY_BYTES_MIN <= BLOCK_MEMORY_BYTES_MAX);
