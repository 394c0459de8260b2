use super::*;
use crate::log::position::LogPos;

const GEOMETRY: Geometry = Geometry { segment_bytes: 1 << 20, shard: 2, node: [7; 16], epoch: 9 };

fn span(base_offset: u64) -> Span {
    Span {
        base_offset,
        pos: LogPos((3 << 20) + 4096 + base_offset),
        store_timestamp_ms: 0x0102_0304_0506,
        len: 200,
        batch_bytes: 100,
        alone: base_offset.is_multiple_of(2),
    }
}

#[test]
fn directory_and_footer_in_golden_bytes() {
    let row = |queue, first, spans| Row {
        queue,
        first,
        spans,
        base_offset: 4,
        end_offset: 5,
        batch_bytes: 6,
        newest_ms: 7,
    };
    let both = [row(1, 0, 2), row(8, 2, 3)];
    let fences = vec![Fence::of(&span(258))];
    let key_fences = vec![KeyRow { hash: 0x0102_0304, queue: 5, offset: 6 }];
    let all = Directory { fences, key_fences, rows: both.to_vec() };
    let directory = all.encode();
    let mut golden = vec![0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 1, 2, 3, 4, 5, 6];
    golden.extend([1, 2, 3, 4, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6]);
    for (queue, first, spans) in [(1, 0, 2), (8, 2, 3)] {
        golden.extend([0, 0, 0, queue, 0, 0, 0, first, 0, 0, 0, spans, 0, 0, 0, 0]);
        for field in 4..8 {
            golden.extend([0, 0, 0, 0, 0, 0, 0, field]);
        }
    }
    assert_eq!(directory, golden);
    let sealed = Sealed { first_sequence: 10, last_sequence: 20, newest_ms: 30 };
    let crc = crc32c::crc32c(&directory);
    let footer = Footer { number: 3, sealed, blocks: 1, key_blocks: 1, queues: 2, directory: crc };
    assert_eq!(footer.directory(&directory), Some(all));
    let bytes = footer.encode(&GEOMETRY);
    let mut golden = vec![0, 0, 0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 16, 0, 0];
    golden.extend([7; 16]);
    golden.extend([0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 30]);
    golden.extend([0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2]);
    golden.extend(crc.to_be_bytes());
    assert_eq!(&bytes[..4], b"UIX1");
    assert_eq!(&bytes[8..88], &golden);
    assert!(bytes[88..].iter().all(|byte| *byte == 0));
    let len = 4 * 4096;
    assert_eq!(Footer::decode(&bytes, &GEOMETRY, 3, len), Some(footer));
    assert_eq!(Footer::decode(&bytes, &GEOMETRY, 4, len), None);
    assert_eq!(Footer::decode(&bytes, &GEOMETRY, 3, len + 4096), None);
    let elsewhere = Geometry { node: [8; 16], ..GEOMETRY };
    assert_eq!(Footer::decode(&bytes, &elsewhere, 3, len), None);
    for at in 0..bytes.len() {
        let mut damaged = bytes;
        damaged[at] ^= 1 << (at % 8);
        assert_eq!(Footer::decode(&damaged, &GEOMETRY, 3, len), None, "byte {at}");
    }
    for at in 0..directory.len() {
        let mut damaged = directory.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(footer.directory(&damaged).is_none(), "byte {at}");
    }
}

/// With a checksum that is right.
#[test]
fn a_directory_that_cannot_be_true_is_refused() {
    let row = Row { queue: 3, spans: 2, end_offset: 9, ..Row::default() };
    let read_all = |blocks: u32, keys: &[KeyRow], rows: &[Row]| {
        let mut directory = vec![0; blocks as usize * FENCE_BYTES];
        let (fences, key_fences) = (Vec::new(), keys.to_vec());
        directory.extend(Directory { fences, key_fences, rows: rows.to_vec() }.encode());
        let crc = crc32c::crc32c(&directory);
        let (sealed, queues) = (Sealed::default(), rows.len() as u32);
        let key_blocks = keys.len() as u32;
        let footer = Footer { number: 3, sealed, blocks, key_blocks, queues, directory: crc };
        footer.directory(&directory).map(|directory| directory.rows)
    };
    let read = |blocks: u32, rows: &[Row]| read_all(blocks, &[], rows);
    let next = Row { queue: 4, first: 2, ..row };
    assert_eq!(read(1, &[row, next]), Some(vec![row, next]));
    assert_eq!(read(2, &[row, next]), None, "more blocks than spans");
    assert_eq!(read(0, &[row, next]), None, "fewer");
    assert_eq!(read(1, &[row, Row { queue: 3, ..next }]), None, "the same queue again");
    assert_eq!(read(1, &[row, Row { first: 1, ..next }]), None, "a span of two queues");
    assert_eq!(read(1, &[row, Row { spans: 0, ..next }]), None, "a row without spans");
    assert_eq!(read(1, &[row, Row { base_offset: 9, ..next }]), None, "no records");
    let all = Row { first: u32::MAX, spans: u32::MAX, ..next };
    assert_eq!(read(1, &[Row { spans: u32::MAX, ..row }, all]), None);
    assert_eq!(read(0, &[]), Some(Vec::new()));
    let key = |offset| KeyRow { hash: 1, queue: 1, offset };
    assert!(read_all(0, &[key(1), key(2)], &[]).is_some());
    assert!(read_all(0, &[key(2), key(2)], &[]).is_none(), "keys out of order");
    let huge = |blocks, key_blocks, queues| {
        let sealed = Sealed::default();
        let footer = Footer { number: 3, sealed, blocks, key_blocks, queues, directory: 0 };
        Footer::decode(&footer.encode(&GEOMETRY), &GEOMETRY, 3, footer.file_bytes()).is_some()
    };
    assert!(huge(100, 2000, 1000));
    let too_huge = [huge(1000, 1, 1000), huge(1, 3000, 1), huge(1, 1, 1 << 20)];
    assert_eq!(too_huge, [false; 3], "more than a segment of 1 MiB can hold");
}
