//! Compressed batches, as Kafka has them: the records of a batch, all together, by one of four
//! codecs, in the framing that Kafka's clients use.
//!
//! | codec | framing |
//! |---|---|
//! | gzip | one gzip member |
//! | snappy | xerial's: a header of 16 bytes, then blocks with their lengths; without it, one raw block |
//! | lz4 | LZ4 frame, independent blocks |
//! | zstd | zstd frame |
//!
//! Invariants: what comes out of [`unpack`] is at most as large as was allowed, whatever the input
//! claims, and little more than that is ever allocated for it.
//! Absent: the broker's part. It stores what it is sent.

use std::io::{self, Read, Write};

use bytes::Bytes;
use engine::batch::BatchRef;

/// How a producer compresses its batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// Compact, slow; every client reads it.
    Gzip,
    /// Fast.
    Snappy,
    /// Fast, mostly a little better than snappy.
    Lz4,
    /// Compact, and quick enough for most uses.
    Zstd,
}

impl Compression {
    /// Its number in a batch's attributes.
    #[must_use]
    pub const fn codec(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    pub(super) const fn of_codec(codec: u8) -> Option<Self> {
        match codec {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// xerial's header: its magic, version 1, readable by version 1.
const XERIAL: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
const XERIAL_MAGIC_BYTES: usize = 8;
/// What xerial's writer puts into a block before compression.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// Level of zstd: its own default.
const ZSTD_LEVEL: i32 = 3;
/// Largest window that every zstd decoder has to grant, and the largest this one does: the records
/// of a batch may be small although the producer chose a large window.
const ZSTD_WINDOW_LOG: std::ops::RangeInclusive<u32> = 23..=27;

/// The same batch, compressed; `None` if that would not make it smaller.
pub(super) fn pack(batch: &BatchRef<'_>, compression: Compression) -> io::Result<Option<Vec<u8>>> {
    let plain = batch.record_bytes();
    let packed = match compression {
        Compression::None => return Ok(None),
        Compression::Gzip => {
            let level = flate2::Compression::default();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(plain)?;
            encoder.finish()?
        }
        Compression::Snappy => snappy_pack(plain)?,
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(plain)?;
            encoder.finish().map_err(io::Error::other)?
        }
        Compression::Zstd => zstd::bulk::compress(plain, ZSTD_LEVEL)?,
    };
    if packed.len() >= plain.len() {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(batch.bytes().len() - plain.len() + packed.len());
    batch.with_records(compression.codec(), &packed, &mut out);
    Ok(Some(out))
}

/// What a codec made `packed` of, if that is at most `bytes_max`.
pub(super) fn unpack(codec: u8, packed: &[u8], bytes_max: u32) -> io::Result<Bytes> {
    let plain = match Compression::of_codec(codec) {
        Some(Compression::None) => Bytes::copy_from_slice(packed),
        Some(Compression::Gzip) => {
            read_bounded(flate2::read::MultiGzDecoder::new(packed), bytes_max)?
        }
        Some(Compression::Snappy) => snappy_unpack(packed, bytes_max)?,
        Some(Compression::Lz4) => {
            read_bounded(lz4_flex::frame::FrameDecoder::new(packed), bytes_max)?
        }
        Some(Compression::Zstd) => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
            let needed = u32::BITS - bytes_max.leading_zeros();
            let (least, most) = ZSTD_WINDOW_LOG.into_inner();
            decoder.window_log_max(needed.clamp(least, most))?;
            read_bounded(decoder, bytes_max)?
        }
        None => return Err(io::Error::other(format!("unknown codec {codec}"))),
    };
    Ok(plain)
}

fn read_bounded(reader: impl Read, bytes_max: u32) -> io::Result<Bytes> {
    let mut plain = Vec::new();
    reader.take(u64::from(bytes_max) + 1).read_to_end(&mut plain)?;
    check(plain.len(), bytes_max)?;
    Ok(plain.into())
}

fn check(bytes: usize, bytes_max: u32) -> io::Result<()> {
    if bytes > bytes_max as usize {
        let text = format!("more than {bytes_max} bytes come out of it (decompressed_bytes_max)");
        return Err(io::Error::other(text));
    }
    Ok(())
}

fn snappy_pack(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = snap::raw::Encoder::new();
    let mut out = XERIAL.to_vec();
    for block in plain.chunks(XERIAL_BLOCK_BYTES) {
        let packed = encoder.compress_vec(block)?;
        out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(out)
}

fn snappy_unpack(packed: &[u8], bytes_max: u32) -> io::Result<Bytes> {
    let mut plain = Vec::new();
    let magic = XERIAL.get(..XERIAL_MAGIC_BYTES).unwrap_or_default();
    if !packed.starts_with(magic) {
        snappy_block(packed, bytes_max, &mut plain)?;
        return Ok(plain.into());
    }
    let mut rest = packed.get(XERIAL.len()..).unwrap_or_default();
    while !rest.is_empty() {
        let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = after.split_at_checked(length).ok_or_else(short)?;
        snappy_block(block, bytes_max, &mut plain)?;
        rest = after;
    }
    Ok(plain.into())
}

/// A block says how large it becomes: that is checked before it is believed.
fn snappy_block(block: &[u8], bytes_max: u32, plain: &mut Vec<u8>) -> io::Result<()> {
    let begun = plain.len();
    let length = snap::raw::decompress_len(block)?;
    check(begun.saturating_add(length), bytes_max)?;
    plain.resize(begun + length, 0);
    let room = plain.get_mut(begun..).unwrap_or_default();
    let written = snap::raw::Decoder::new().decompress(block, room)?;
    plain.truncate(begun + written);
    Ok(())
}

#[cfg(test)]
mod tests {
    use engine::batch::{BatchBuilder, NewRecord};
    use proptest::prelude::*;

    use super::*;

    const ALL: [Compression; 4] =
        [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    fn batch(values: &[Vec<u8>]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(64 << 20);
        for value in values {
            builder.append(&NewRecord { value: Some(value), ..NewRecord::default() }).unwrap();
        }
        builder.finish().unwrap().to_vec()
    }

    fn values(plain: &Bytes, batch: &BatchRef<'_>) -> Vec<Vec<u8>> {
        batch.records_in(plain).map(|record| record.unwrap().value.unwrap().to_vec()).collect()
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            seed in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..20),
            repeat in 1_usize..200,
        ) {
            let all: Vec<_> = seed.iter().map(|value| value.repeat(repeat)).collect();
            let plain = batch(&all);
            let plain = BatchRef::parse(&plain, u32::MAX).unwrap();
            for compression in ALL {
                let Some(packed) = pack(&plain, compression).unwrap() else { continue };
                prop_assert!(packed.len() < plain.bytes().len());
                let packed = BatchRef::parse(&packed, u32::MAX).unwrap();
                prop_assert_eq!(packed.codec(), compression.codec());
                let size = plain.record_bytes().len() as u32;
                let back = unpack(packed.codec(), packed.record_bytes(), size).unwrap();
                prop_assert_eq!(&back[..], plain.record_bytes());
                prop_assert_eq!(values(&back, &packed), all.clone());
                let refused = unpack(packed.codec(), packed.record_bytes(), size - 1);
                prop_assert!(refused.is_err());
            }
        }

        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for codec in 0..8 {
                if let Ok(plain) = unpack(codec, &bytes, 10_000) {
                    prop_assert!(plain.len() <= 10_000);
                }
            }
            let mut xerial = XERIAL.to_vec();
            xerial.extend_from_slice(&bytes);
            let _ = unpack(2, &xerial, 10_000);
        }
    }

    #[test]
    fn a_bomb_is_an_error_and_not_an_allocation() {
        let all = vec![vec![0_u8; 32 << 20]];
        let plain = batch(&all);
        let plain = BatchRef::parse(&plain, u32::MAX).unwrap();
        for compression in ALL {
            let packed = pack(&plain, compression).unwrap().unwrap();
            let packed = BatchRef::parse(&packed, u32::MAX).unwrap();
            let error = unpack(packed.codec(), packed.record_bytes(), 1 << 20).unwrap_err();
            assert!(error.to_string().contains("1048576"), "{}: {error}", compression.name());
        }
        // A raw block that claims 4 GiB.
        let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        assert!(unpack(2, &claim, 1 << 20).is_err());
    }

    #[test]
    fn snappy_without_xerials_header_is_one_block() {
        let raw = snap::raw::Encoder::new().compress_vec(b"hello hello hello").unwrap();
        assert_eq!(&unpack(2, &raw, 100).unwrap()[..], b"hello hello hello");
    }

    /// Made by kafka's Java libraries' formats, by hand from their specifications: xerial's header,
    /// and the magic numbers of LZ4 frames, zstd frames and gzip.
    #[test]
    fn framings_are_those_of_kafka() {
        let plain = batch(&[vec![b'a'; 1000]]);
        let plain = BatchRef::parse(&plain, u32::MAX).unwrap();
        let starts: [(Compression, &[u8]); 4] = [
            (Compression::Gzip, &[0x1f, 0x8b, 8]),
            (Compression::Snappy, b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"),
            // Magic; version 1, independent blocks.
            (Compression::Lz4, &[0x04, 0x22, 0x4d, 0x18]),
            (Compression::Zstd, &[0x28, 0xb5, 0x2f, 0xfd]),
        ];
        for (compression, start) in starts {
            let packed = pack(&plain, compression).unwrap().unwrap();
            let packed = BatchRef::parse(&packed, u32::MAX).unwrap();
            assert!(packed.record_bytes().starts_with(start), "{}", compression.name());
            if compression == Compression::Lz4 {
                assert_eq!(packed.record_bytes()[4] >> 5, 0b011, "version and independence");
            }
        }
    }
}
