//! Frames: finding their end in a stream, and the headers of requests and replies.

use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::{U16, U32, U64};

use super::cursor::{Cursor, malformed};
use super::frame_format::{
    FLAG_ONE_WAY, FLAG_SENT_AT, FLAG_TIMINGS, LENGTH_BYTES, REQUEST_HEADER_BYTES, ReplyHead,
    RequestHead, TimingsPart,
};
use super::{DecodeError, Timings};

/// The header of a request, without what the operation itself says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestHeader {
    /// Comes back in the reply; the client chooses it.
    pub correlation: u32,
    /// The reply shall carry [`Timings`].
    pub timings: bool,
    /// No reply shall be sent; produce only.
    pub one_way: bool,
    /// When the client meant to send this, in a unit of its own; comes back untouched.
    pub sent_at: Option<u64>,
}

impl RequestHeader {
    /// The header of the reply: `timings` are dropped unless they were asked for.
    #[must_use]
    pub fn reply(&self, timings: Timings) -> ReplyHeader {
        ReplyHeader {
            correlation: self.correlation,
            timings: self.timings.then_some(timings),
            sent_at: self.sent_at,
        }
    }
}

/// The header of a reply, without what the operation itself says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyHeader {
    /// The request's.
    pub correlation: u32,
    /// Where the time went, if the request asked for it.
    pub timings: Option<Timings>,
    /// The request's, if it had one.
    pub sent_at: Option<u64>,
}

/// The whole length of the frame that begins with `prefix`; `None` while too few bytes are there
/// to tell. Errors mean that the stream cannot be followed any further.
pub fn frame_length(prefix: &[u8], frame_bytes_max: u32) -> Result<Option<usize>, DecodeError> {
    let Some(length) = prefix.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let total = u64::from(u32::from_be_bytes(*length)) + LENGTH_BYTES as u64;
    if total > u64::from(frame_bytes_max) {
        return Err(DecodeError::FrameTooLarge { length: total, bytes_max: frame_bytes_max });
    }
    if total < REQUEST_HEADER_BYTES as u64 {
        return Err(malformed("frame is shorter than a header"));
    }
    Ok(Some(total as usize))
}

/// Operation number and correlation of a request that may be malformed behind its header: what
/// the answer to a [`DecodeError`] needs. `None` if even the header is not there.
#[must_use]
pub fn peek_request(frame: &[u8]) -> Option<(u8, u32)> {
    let head = Cursor::new(frame).part::<RequestHead>().ok()?;
    Some((head.op, head.correlation.get()))
}

/// Correlation of a reply, and whether it reports an error, without reading the rest. `None` if
/// the header is not there.
#[must_use]
pub fn peek_reply(frame: &[u8]) -> Option<(u32, bool)> {
    let head = Cursor::new(frame).part::<ReplyHead>().ok()?;
    Some((head.correlation.get(), head.error.get() != 0))
}

/// Reads a request's header; the cursor that comes back stands at the body.
#[inline]
pub(super) fn read_request_head(
    frame: &[u8],
) -> Result<(u8, RequestHeader, Cursor<'_>), DecodeError> {
    let mut cursor = Cursor::new(frame);
    let head = cursor.part::<RequestHead>()?;
    check_length(frame, head.length)?;
    if head.flags & !(FLAG_TIMINGS | FLAG_ONE_WAY | FLAG_SENT_AT) != 0 {
        return Err(malformed("unknown flags"));
    }
    if head.reserved.get() != 0 {
        return Err(malformed("reserved bytes are not zero"));
    }
    let header = RequestHeader {
        correlation: head.correlation.get(),
        timings: head.flags & FLAG_TIMINGS != 0,
        one_way: head.flags & FLAG_ONE_WAY != 0,
        sent_at: if head.flags & FLAG_SENT_AT != 0 { Some(cursor.u64()?) } else { None },
    };
    Ok((head.op, header, cursor))
}

/// Reads a reply's header: operation, error number, header, and a cursor at the body.
pub(super) fn read_reply_head(
    frame: &[u8],
) -> Result<(u8, u16, ReplyHeader, Cursor<'_>), DecodeError> {
    let mut cursor = Cursor::new(frame);
    let head = cursor.part::<ReplyHead>()?;
    check_length(frame, head.length)?;
    if head.flags & !(FLAG_TIMINGS | FLAG_SENT_AT) != 0 {
        return Err(malformed("unknown flags"));
    }
    let timings = if head.flags & FLAG_TIMINGS != 0 {
        Some(read_timings(cursor.part::<TimingsPart>()?))
    } else {
        None
    };
    let header = ReplyHeader {
        correlation: head.correlation.get(),
        timings,
        sent_at: if head.flags & FLAG_SENT_AT != 0 { Some(cursor.u64()?) } else { None },
    };
    Ok((head.op, head.error.get(), header, cursor))
}

fn check_length(frame: &[u8], length: U32) -> Result<(), DecodeError> {
    let total = u64::from(length.get()) + LENGTH_BYTES as u64;
    if total == frame.len() as u64 { Ok(()) } else { Err(malformed("length is not the frame's")) }
}

fn read_timings(part: &TimingsPart) -> Timings {
    let [parse, append, flush_wait, device, replicate, send] = part.stages;
    Timings {
        parse_ns: parse.get(),
        append_ns: append.get(),
        flush_wait_ns: flush_wait.get(),
        device_ns: device.get(),
        replicate_ns: replicate.get(),
        send_ns: send.get(),
    }
}

/// Appends a request's header for a body of `body_bytes`.
pub(super) fn put_request_head(
    out: &mut Vec<u8>,
    op: u8,
    header: &RequestHeader,
    body_bytes: usize,
) {
    let mut flags = 0;
    let mut parts_bytes = 0;
    if header.timings {
        flags |= FLAG_TIMINGS;
    }
    if header.one_way {
        flags |= FLAG_ONE_WAY;
    }
    if header.sent_at.is_some() {
        flags |= FLAG_SENT_AT;
        parts_bytes += size_of::<U64>();
    }
    let head = RequestHead {
        length: length_field(parts_bytes + body_bytes),
        op,
        flags,
        reserved: U16::ZERO,
        correlation: U32::new(header.correlation),
    };
    out.extend_from_slice(head.as_bytes());
    if let Some(sent_at) = header.sent_at {
        out.extend_from_slice(&sent_at.to_be_bytes());
    }
}

/// Appends a reply's header for a body of `body_bytes`.
pub(super) fn put_reply_head(
    out: &mut Vec<u8>,
    op: u8,
    error: u16,
    header: &ReplyHeader,
    body_bytes: usize,
) {
    let mut flags = 0;
    let mut parts_bytes = 0;
    if header.timings.is_some() {
        flags |= FLAG_TIMINGS;
        parts_bytes += size_of::<TimingsPart>();
    }
    if header.sent_at.is_some() {
        flags |= FLAG_SENT_AT;
        parts_bytes += size_of::<U64>();
    }
    let head = ReplyHead {
        length: length_field(parts_bytes + body_bytes),
        op,
        flags,
        error: U16::new(error),
        correlation: U32::new(header.correlation),
    };
    out.extend_from_slice(head.as_bytes());
    if let Some(t) = &header.timings {
        let stages =
            [t.parse_ns, t.append_ns, t.flush_wait_ns, t.device_ns, t.replicate_ns, t.send_ns];
        out.extend_from_slice(TimingsPart { stages: stages.map(U32::new) }.as_bytes());
    }
    if let Some(sent_at) = header.sent_at {
        out.extend_from_slice(&sent_at.to_be_bytes());
    }
}

/// The value of the length field before `bytes` of optional parts and body. All callers are
/// bounded by `limits`, far below 4 GiB.
fn length_field(bytes: usize) -> U32 {
    U32::new((REQUEST_HEADER_BYTES - LENGTH_BYTES + bytes) as u32)
}

/// Writes the length of the frame that begins at `start` and ends where `out` ends.
pub(super) fn patch_length(out: &mut [u8], start: usize) {
    let length = (out.len() - start - LENGTH_BYTES) as u32;
    if let Some(field) = out.get_mut(start..start + LENGTH_BYTES) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::limits::FRAME_BYTES_MAX;

    #[test]
    fn frame_length_waits_bounds_and_refuses() {
        assert_eq!(frame_length(&[0, 0, 0], 100), Ok(None));
        assert_eq!(frame_length(&[0, 0, 0, 8], 100), Ok(Some(12)));
        assert_eq!(frame_length(&[0, 0, 0, 96, 7], 100), Ok(Some(100)));
        assert_eq!(
            frame_length(&[0, 0, 0, 97], 100),
            Err(DecodeError::FrameTooLarge { length: 101, bytes_max: 100 })
        );
        assert!(frame_length(&[0xFF; 4], FRAME_BYTES_MAX).is_err());
        assert!(matches!(frame_length(&[0, 0, 0, 7], 100), Err(DecodeError::Malformed { .. })));
    }
}
