//! Topic names, and the list of them in a Metadata request.

use super::cursor::{Cursor, malformed, put_string};
use super::limits::TOPIC_NAME_BYTES_MAX;
use super::{DecodeError, EncodeError};

/// Is this a valid topic name: 1 to 249 of `[A-Za-z0-9._-]`, and neither `.` nor `..`?
#[must_use]
pub fn check_topic_name(name: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=usize::from(TOPIC_NAME_BYTES_MAX)).contains(&name.len())
        && name.bytes().all(letters)
        && name != "."
        && name != ".."
}

/// The topic names of a Metadata request, in their encoded form; none stands for all topics.
///
/// Names are UTF-8 of bounded length here, not necessarily valid topic names: looking up an
/// invalid one simply finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names<'a> {
    count: u16,
    encoded: &'a [u8],
}

impl<'a> Names<'a> {
    /// No name: all topics.
    pub const ALL: Names<'static> = Names { count: 0, encoded: &[] };

    /// Encodes `names` into `buffer`, which is emptied first.
    pub fn encode(names: &[&str], buffer: &'a mut Vec<u8>) -> Result<Self, EncodeError> {
        buffer.clear();
        let too_large = |what, length, bytes_max| EncodeError::TooLarge { what, length, bytes_max };
        let count = u16::try_from(names.len())
            .map_err(|_| too_large("topic list", names.len(), u32::from(u16::MAX)))?;
        for name in names {
            if name.len() > usize::from(TOPIC_NAME_BYTES_MAX) {
                return Err(too_large("topic name", name.len(), TOPIC_NAME_BYTES_MAX.into()));
            }
            put_string(buffer, name, TOPIC_NAME_BYTES_MAX);
        }
        Ok(Self { count, encoded: buffer })
    }

    pub(super) fn decode(mut body: Cursor<'a>) -> Result<Self, DecodeError> {
        let count = body.u16()?;
        let encoded = body.peek();
        for _ in 0..count {
            body.string(TOPIC_NAME_BYTES_MAX)?;
        }
        body.end().map_err(|_| malformed("bytes behind the topic names"))?;
        Ok(Self { count, encoded })
    }

    pub(super) fn encoded(&self) -> &'a [u8] {
        self.encoded
    }

    /// How many bytes they take.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.encoded.len()
    }

    /// How many names there are.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.count
    }

    /// The names, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut cursor = Cursor::new(self.encoded);
        // The bytes were checked by `decode` or written by `encode`: this never ends early.
        (0..self.count).map_while(move |_| cursor.string(TOPIC_NAME_BYTES_MAX).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names() {
        for good in ["a", "orders.v2", "A-b_c.9", "..."] {
            assert!(check_topic_name(good), "{good:?}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "%DLQ%g", "é", "a\0"] {
            assert!(!check_topic_name(bad), "{bad:?}");
        }
        assert!(check_topic_name(&"x".repeat(249)));
        assert!(!check_topic_name(&"x".repeat(250)));
    }
}
