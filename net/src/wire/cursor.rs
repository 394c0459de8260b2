//! A reader over borrowed bytes: every step checks what is left, none allocates.

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::DecodeError;

pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// A fixed part, in place.
    pub(super) fn part<T>(&mut self) -> Result<&'a T, DecodeError>
    where
        T: FromBytes + KnownLayout + Immutable + Unaligned,
    {
        let (part, rest) =
            T::ref_from_prefix(self.rest).map_err(|_| malformed("body is cut short"))?;
        self.rest = rest;
        Ok(part)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) =
            self.rest.split_at_checked(count).ok_or(malformed("body is cut short"))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.part::<u8>().copied()
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.part::<zerocopy::byteorder::big_endian::U16>().map(|value| value.get())
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.part::<zerocopy::byteorder::big_endian::U32>().map(|value| value.get())
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.part::<zerocopy::byteorder::big_endian::U64>().map(|value| value.get())
    }

    /// A string: `u16` length and UTF-8.
    pub(super) fn string(&mut self, bytes_max: u16) -> Result<&'a str, DecodeError> {
        let length = self.u16()?;
        if length > bytes_max {
            return Err(malformed("string is too long"));
        }
        let bytes = self.bytes(usize::from(length))?;
        std::str::from_utf8(bytes).map_err(|_| malformed("string is not UTF-8"))
    }

    /// Everything that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Everything that is left, without taking it.
    pub(super) fn peek(&self) -> &'a [u8] {
        self.rest
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(malformed("bytes behind the body")) }
    }

    /// How many of `count` announced items of at least `item_bytes` can still come: bounds what
    /// a count read from the wire may reserve.
    pub(super) fn plausible(&self, count: usize, item_bytes: usize) -> usize {
        count.min(self.rest.len() / item_bytes)
    }
}

pub(super) const fn malformed(what: &'static str) -> DecodeError {
    DecodeError::Malformed { what }
}

/// Appends a string, cut at the last character that fits `bytes_max`.
pub(super) fn put_string(out: &mut Vec<u8>, text: &str, bytes_max: u16) {
    let mut end = text.len().min(usize::from(bytes_max));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}
