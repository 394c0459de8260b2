//! The walk inside a span: entry by entry, picking one queue's, as extents to be sent.

use thiserror::Error;

use super::queue::Span;
use crate::batch::BatchRef;
use crate::io::block::Slice;
use crate::log::entry_format::EntryHeader;
use crate::log::position::{Handle, LogPos};

/// What is wanted of a queue.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Queue id.
    pub queue: u32,
    /// First offset; the entry that holds it is delivered whole.
    pub offset: u64,
    /// Stop once this many bytes are taken (the first entry always is).
    pub bytes_max: u32,
}

/// Bytes in the log are not an entry where the index says there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the entry at position {at} is damaged")]
pub struct Damaged {
    /// Position of its header.
    pub at: LogPos,
}

/// Entries to be sent, as runs of bytes where they lie.
#[derive(Clone, Debug, Default)]
pub struct Extents {
    /// The runs, in order.
    pub slices: Vec<Slice>,
    /// Bytes in all of them.
    pub bytes: u32,
    /// Records in all of them.
    pub records: u64,
}

/// Where the bytes of a span come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Our own memory; the span's records end before this offset.
    Memory {
        /// The offset.
        end_offset: u64,
    },
    /// A device: each entry's checksums are compared, the batch's among them.
    Device,
}

impl Extents {
    /// Adds a run; neighbours in the same memory become one.
    pub fn push(&mut self, slice: Slice) {
        self.bytes += slice.len() as u32;
        if let Some(last) = self.slices.last_mut()
            && let Some(joined) = last.join(&slice)
        {
            *last = joined;
            return;
        }
        self.slices.push(slice);
    }
}

/// Adds to `out` the wanted entries of `span`, whose bytes are `bytes`. `false` when `bytes_max` ended
/// it: nothing behind may be taken.
///
/// # Errors
/// [`Damaged`] when the bytes are not what the index says.
pub fn take(
    span: &Span,
    bytes: &Slice,
    wanted: &Wanted,
    origin: Origin,
    out: &mut Extents,
) -> Result<bool, Damaged> {
    let room = wanted.bytes_max.saturating_sub(out.bytes);
    if let Origin::Memory { end_offset } = origin
        && span.alone
        && wanted.offset <= span.base_offset
        && span.len <= room
    {
        out.push(bytes.clone());
        out.records += end_offset.saturating_sub(span.base_offset);
        return Ok(true);
    }
    let verify = origin == Origin::Device;
    let mut at = 0_u32;
    // A damaged batch whose header verifies: how many offsets it covers is not known, so whether
    // it is wanted shows only at the queue's next entry.
    let mut doubt = None;
    while at < span.len {
        let pos = span.pos.plus(u64::from(at));
        let damaged = Damaged { at: pos };
        let rest = bytes.get(at as usize..).ok_or(damaged)?;
        let header = if verify { EntryHeader::decode(rest) } else { EntryHeader::peek(rest) };
        let header = header.ok_or(damaged)?;
        if header.handle.pos() != pos || header.handle != Handle::new(header.handle.shard(), pos) {
            return Err(damaged);
        }
        let entry_bytes = header.entry_bytes();
        let end = at.checked_add(entry_bytes).filter(|end| *end <= span.len).ok_or(damaged)?;
        if header.queue == wanted.queue {
            if let Some(before) = doubt.take().filter(|_| header.base_offset > wanted.offset) {
                return Err(before);
            }
            let batch = header.batch_of(rest).ok_or(damaged)?;
            let parsed = if verify {
                BatchRef::parse(batch, u32::MAX)
            } else {
                BatchRef::parse_unverified(batch)
            };
            let Ok(parsed) = parsed else {
                if header.base_offset > wanted.offset {
                    return Err(damaged);
                }
                doubt = Some(damaged);
                at = end;
                continue;
            };
            let records = parsed.record_count();
            if header.base_offset + u64::from(records) > wanted.offset {
                if out.bytes > 0 && out.bytes.saturating_add(entry_bytes) > wanted.bytes_max {
                    return Ok(false);
                }
                out.push(bytes.slice(at..end));
                out.records += u64::from(records);
            }
        }
        at = end;
    }
    doubt.map_or(Ok(true), Err)
}
