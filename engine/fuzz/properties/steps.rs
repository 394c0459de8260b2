//! Steps of eight bytes that change the files of a shard: bytes, stretches, holes, missing files.
//!
//! A step can make a checksum right again, so that lengths, counts and positions behind it are
//! reached.

use std::ops::Range;

use engine::io::FileName;
use engine::io::sim::CrashImage;

/// Where something with a checksum lies.
pub(crate) struct Sum {
    pub(crate) name: FileName,
    /// Its first byte in the file.
    first: u64,
    /// Its checksum, and what that covers, from there.
    at: u64,
    covered: Range<u64>,
    /// What the checksum begins with.
    seed: u32,
}

impl Sum {
    pub(crate) fn new(name: FileName, first: u64, at: u64, covered: Range<u64>) -> Self {
        Self { name, first, at, covered, seed: 0 }
    }

    pub(crate) fn seeded(self, seed: u32) -> Self {
        Self { seed, ..self }
    }
}

/// Files to begin with.
pub(crate) struct Base {
    pub(crate) image: CrashImage,
    pub(crate) sums: Vec<Sum>,
    /// Bytes of each segment that are used.
    pub(crate) used: Vec<u64>,
    pub(crate) segment_bytes: u64,
}

/// Does what `steps` say to the base.
pub(crate) fn changed(base: &Base, steps: &[u8]) -> CrashImage {
    let mut image = base.image.clone();
    for step in steps.chunks_exact(8).take(64) {
        let Ok([what, which, at0, at1, at2, at3, a, b]) = <[u8; 8]>::try_from(step) else { break };
        let at = u32::from_be_bytes([at0, at1, at2, at3]);
        let Sum { name, first, at: sum_at, covered, seed } =
            &base.sums[usize::from(which) % base.sums.len()];
        let segments = base.used.len() as u64;
        let segment = u64::from(which) % segments;
        let len = image.len(*name);
        match what % 8 {
            // Bytes of something that has a checksum ...
            0 | 1 => {
                let offset = first + u64::from(at) % covered.end;
                let bytes = [a, b];
                let bytes = &bytes[..usize::from(what % 2) + 1];
                if len.is_some_and(|len| offset + bytes.len() as u64 <= len) {
                    image.overwrite(*name, offset, bytes);
                }
            }
            // ... which is right all the same.
            2 => {
                let bytes = image.read(
                    *name,
                    first + covered.start,
                    (covered.end - covered.start) as usize,
                );
                let has_room = len.is_some_and(|len| first + sum_at + 4 <= len);
                if let Some(bytes) = bytes.filter(|_| has_room) {
                    let sum = crc32c::crc32c_append(*seed, &bytes).to_be_bytes();
                    image.overwrite(*name, first + sum_at, &sum);
                }
            }
            // Bytes anywhere, also behind the end.
            3 => put(&mut image, FileName::Segment(segment), u64::from(at), &[a, b]),
            // A stretch of the log at another place, or in place of it.
            4 => {
                let (from, to) = (u64::from(at) % base.used[segment as usize], u64::from(a) * 128);
                let bytes = image.read(FileName::Segment(segment), from & !7, usize::from(b) * 8);
                if let Some(bytes) = bytes {
                    put(&mut image, FileName::Segment(u64::from(which / 2) % segments), to, &bytes);
                }
            }
            // Zeros.
            5 => {
                let zeros = vec![0; usize::from(b) * 16];
                put(&mut image, FileName::Segment(segment), u64::from(at), &zeros);
            }
            6 => match which % 4 {
                0 => image.remove(*name),
                1 => image.create(FileName::Segment(u64::from(at) << (a % 40)), base.segment_bytes),
                2 => image.create(*name, u64::from(at) % (2 * base.segment_bytes)),
                _ => image.create(FileName::Spare(u64::from(at)), base.segment_bytes),
            },
            _ => {}
        }
    }
    image
}

fn put(image: &mut CrashImage, name: FileName, offset: u64, bytes: &[u8]) {
    let Some(room) = image.len(name).and_then(|len| len.checked_sub(bytes.len() as u64)) else {
        return;
    };
    image.overwrite(name, offset % (room + 1), bytes);
}
