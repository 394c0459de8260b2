//! The walk inside a span: entry by entry, picking one queue's, as extents to be sent.
//!
//! Behind a damaged entry it goes on with the next one that is intact: only what is damaged is not
//! served. Whether something wanted was lost shows at the queue's next entry, by its offset.

use thiserror::Error;

use super::queue::Span;
use crate::batch::BatchRef;
use crate::io::block::Slice;
use crate::log::entry_format::EntryHeader;
use crate::log::position::{Handle, LogPos};
use crate::log::resync::next_entry;

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
    // The offset behind the queue's last entry so far, and what is damaged behind that.
    let mut behind = span.base_offset;
    let mut doubt = None;
    while at < span.len {
        let damaged = Damaged { at: span.pos.plus(u64::from(at)) };
        let Some((header, batch)) = entry_at(span, bytes, at, verify) else {
            let before = *doubt.get_or_insert(damaged);
            let whole = bytes.get(..span.len as usize).filter(|_| verify);
            let next = whole.and_then(|whole| next_entry(whole, span.pos, at as usize, None));
            at = next.ok_or(before)? as u32;
            continue;
        };
        let end = at + header.entry_bytes();
        if header.queue == wanted.queue {
            // Without a hole before it, what was damaged belonged to somebody else.
            let is_lost = header.base_offset > behind.max(wanted.offset);
            if let Some(before) = doubt.take().filter(|_| is_lost) {
                return Err(before);
            }
            behind = header.base_offset;
            let parsed = if verify {
                BatchRef::parse(batch, u32::MAX)
            } else {
                BatchRef::parse_unverified(batch)
            };
            let Ok(parsed) = parsed else {
                // How many offsets it covers is not known.
                if header.base_offset > wanted.offset {
                    return Err(damaged);
                }
                doubt = Some(damaged);
                at = end;
                continue;
            };
            let records = u64::from(parsed.record_count());
            behind = behind.saturating_add(records);
            if behind > wanted.offset {
                if out.bytes > 0 && out.bytes.saturating_add(end - at) > wanted.bytes_max {
                    return Ok(false);
                }
                out.push(bytes.slice(at..end));
                out.records += records;
            }
        }
        at = end;
    }
    // A span ends with an entry of its queue.
    doubt.map_or(Ok(true), Err)
}

/// The entry at byte `at` of a span, with its batch, if it is intact (with `verify`, else it is our
/// own memory) and in its place.
fn entry_at<'a>(
    span: &Span,
    bytes: &'a Slice,
    at: u32,
    verify: bool,
) -> Option<(EntryHeader, &'a [u8])> {
    let pos = span.pos.plus(u64::from(at));
    let rest = bytes.get(at as usize..)?;
    let header = if verify { EntryHeader::decode(rest) } else { EntryHeader::peek(rest) }?;
    let is_placed = header.handle == Handle::new(header.handle.shard(), pos);
    let end = at.checked_add(header.entry_bytes())?;
    let batch = header.batch_of(rest)?;
    (is_placed && end <= span.len).then_some((header, batch))
}
