//! Zigzag varints, as in records: 7 bits a byte, low bits first, the top bit says "more";
//! zigzag maps 0, -1, 1, -2 to 0, 1, 2, 3, so that small numbers of either sign are short.
//!
//! Overlong forms that fit (`80 00` for 0) are read, as Kafka reads them. Bits beyond the type
//! are refused (Kafka drops them), so no two readers can see different numbers.

/// Longest encoding of an `i32`.
pub(super) const I32_BYTES_MAX: usize = 5;
/// Longest encoding of an `i64`.
pub(super) const I64_BYTES_MAX: usize = 10;

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// How many bytes `value` takes. An `i32` widened takes what it takes as an `i32`.
pub(super) const fn encoded_len(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Writes `value` at the start of `out`, and says how many bytes it took.
#[inline]
pub(super) fn write(value: i64, out: &mut [u8; I64_BYTES_MAX]) -> usize {
    let mut left = zigzag(value);
    let mut len = 0;
    for byte in out {
        len += 1;
        if left < 0x80 {
            *byte = left as u8;
            break;
        }
        *byte = left as u8 | 0x80;
        left >>= 7;
    }
    len
}

/// Takes an `i64` off the front of `rest`; `None` if it is cut off or too large.
#[inline]
pub(super) fn read_i64(rest: &mut &[u8]) -> Option<i64> {
    read(rest, u64::MAX).map(unzigzag)
}

/// Takes an `i32` off the front of `rest`; `None` if it is cut off or too large.
#[inline]
pub(super) fn read_i32(rest: &mut &[u8]) -> Option<i32> {
    // Zigzag of 32 bits has 32 bits: halved, it fits an i32.
    read(rest, u64::from(u32::MAX)).map(|value| unzigzag(value) as i32)
}

/// Takes an unsigned varint of at most `max` and at most as many bytes as `max` takes.
#[inline]
fn read(rest: &mut &[u8], max: u64) -> Option<u64> {
    let (&first, after) = rest.split_first()?;
    if first < 0x80 {
        *rest = after;
        return Some(u64::from(first));
    }
    read_long(rest, max)
}

fn read_long(rest: &mut &[u8], max: u64) -> Option<u64> {
    let bytes_max = if max == u64::MAX { I64_BYTES_MAX } else { I32_BYTES_MAX };
    let mut value = 0_u64;
    for (i, &byte) in rest.iter().enumerate().take(bytes_max) {
        let shift = 7 * i as u32;
        let bits = u64::from(byte & 0x7f);
        if bits > max >> shift {
            return None;
        }
        value |= bits << shift;
        if byte < 0x80 {
            *rest = rest.get(i + 1..)?;
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(value: i64) -> Vec<u8> {
        let mut out = [0; I64_BYTES_MAX];
        let len = write(value, &mut out);
        out[..len].to_vec()
    }

    #[test]
    fn golden_bytes() {
        let cases: [(i64, &[u8]); 10] = [
            (0, &[0x00]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (300, &[0xd8, 0x04]),
            (i32::MAX.into(), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i32::MIN.into(), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ];
        for (value, bytes) in cases {
            assert_eq!(encode(value), bytes, "{value}");
            assert_eq!(encoded_len(value), bytes.len(), "{value}");
            let mut rest = bytes;
            assert_eq!(read_i64(&mut rest), Some(value));
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn refuses_what_is_cut_off_too_long_or_too_large() {
        let refused_i32: [&[u8]; 5] = [
            &[],
            &[0x80],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
            &[0xff, 0xff, 0xff, 0xff, 0x1f],
            &[0xff, 0xff, 0xff, 0xff, 0x8f, 0x00],
        ];
        for bytes in refused_i32 {
            let mut rest = bytes;
            assert_eq!(read_i32(&mut rest), None, "{bytes:x?}");
            assert_eq!(rest, bytes, "a refused number takes nothing");
        }
        let mut ten = [0xff; 10];
        ten[9] = 0x02;
        assert_eq!(read_i64(&mut &ten[..]), None);
        assert_eq!(read_i64(&mut &[0x80; 11][..]), None);
        assert_eq!(read_i32(&mut &[0x80, 0x00][..]), Some(0), "overlong, but it fits");
    }

    proptest! {
        #[test]
        fn round_trip(value: i64, shift in 0_u32..64) {
            let value = value >> shift;
            let bytes = encode(value);
            prop_assert_eq!(bytes.len(), encoded_len(value));
            prop_assert_eq!(read_i64(&mut &bytes[..]), Some(value));
            let narrow = i32::try_from(value).ok();
            prop_assert_eq!(read_i32(&mut &bytes[..]), narrow);
        }
    }
}
