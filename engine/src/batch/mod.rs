//! Record batches: Kafka's magic v2, byte for byte, the one format on the wire, in memory and on
//! disk. The broker checks a batch, stamps its offset and never encodes it again.
//!
//! Reads top-down: `format` (the 61 header bytes) -> `view` (a checked batch, borrowed) ->
//! `records` (what is inside) -> `builder` (how clients make one); `varint` and `error` serve all.
//!
//! Invariants: a [`BatchRef`] spans its bytes exactly, holds at least one record and
//! `records = last offset delta + 1`; reading allocates nothing and panics on no input, whatever
//! the counts and lengths inside claim; stamping changes no byte that the checksum covers.
//!
//! Absent: compression (a compressed batch passes through; `compressed` is for those who look into
//! it), the older magics 0 and 1, opinions on timestamps (they are the producer's), gaps in offset deltas
//! (nothing here compacts a batch).

mod builder;
mod compressed;
mod error;
mod format;
mod records;
mod varint;
mod view;

pub use builder::{BatchBuilder, NewRecord, append_single};
pub use error::{BatchError, RecordFault};
pub use format::{HEADER_BYTES, STAMPED_BYTES, first_length, stamp};
pub use records::{Headers, Record, RecordHeader, Records};
pub use view::BatchRef;
