//! The key of a message that can be verified, big-endian:
//!
//! ```text
//! offset size field
//!      0    4 producer  number of the connection that sent it
//!      4    8 number    of the message, among those of its producer
//!     12    4 checksum  CRC-32C of the 12 bytes before it and the message
//! ```

/// Bytes of a tag.
pub(super) const TAG_BYTES: usize = 16;
const SUMMED_BYTES: usize = 12;

/// Who sent a message, and which of its messages it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) producer: u32,
    pub(super) number: u64,
}

impl Tag {
    pub(super) fn encode(self, message: &[u8]) -> [u8; TAG_BYTES] {
        let mut bytes = [0; TAG_BYTES];
        bytes[..4].copy_from_slice(&self.producer.to_be_bytes());
        bytes[4..SUMMED_BYTES].copy_from_slice(&self.number.to_be_bytes());
        let sum = checksum(&bytes, message);
        bytes[SUMMED_BYTES..].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// `None` when the key is no tag, or tag and message do not belong together.
    pub(super) fn decode(key: Option<&[u8]>, message: &[u8]) -> Option<Self> {
        let key: &[u8; TAG_BYTES] = key?.try_into().ok()?;
        let [a, b, c, d, n @ .., e, f, g, h] = *key;
        if u32::from_be_bytes([e, f, g, h]) != checksum(key, message) {
            return None;
        }
        Some(Self { producer: u32::from_be_bytes([a, b, c, d]), number: u64::from_be_bytes(n) })
    }
}

fn checksum(tag: &[u8; TAG_BYTES], message: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&tag[..SUMMED_BYTES]), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let tag = Tag { producer: 0x0102_0304, number: 5 };
        let mut golden = [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0];
        let sum = crc32c::crc32c(b"\x01\x02\x03\x04\0\0\0\0\0\0\0\x05hi");
        golden[12..].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(tag.encode(b"hi"), golden);
        assert_eq!(Tag::decode(Some(&golden), b"hi"), Some(tag));
    }

    #[test]
    fn any_changed_bit_is_noticed() {
        let key = Tag { producer: 7, number: 1 << 40 }.encode(b"message");
        for bit in 0..TAG_BYTES * 8 {
            let mut damaged = key;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Tag::decode(Some(&damaged), b"message"), None, "bit {bit}");
        }
        assert_eq!(Tag::decode(Some(&key), b"messagf"), None);
        assert_eq!(Tag::decode(Some(&key[1..]), b"message"), None);
        assert_eq!(Tag::decode(None, b"message"), None);
    }
}
