use super::*;

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
fn a_block_in_golden_bytes() {
    let mut block = SpanBlock::new();
    assert!(block.push(&span(10), &GEOMETRY));
    assert!(block.push(&span(11), &GEOMETRY));
    let bytes = block.finish(3, 0);
    let mut golden = vec![0, 2];
    golden.extend([0; 10]);
    golden.extend([0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1, 2, 3, 4, 5, 6]);
    golden.extend([0, 0, 16, 10, 0x80, 0, 0, 200, 0, 0, 0, 100]);
    golden.extend([0, 0, 0, 0, 0, 0, 0, 11, 0, 0, 1, 2, 3, 4, 5, 6]);
    golden.extend([0, 0, 16, 11, 0, 0, 0, 200, 0, 0, 0, 100]);
    assert_eq!(&bytes[4..4 + golden.len()], &golden);
    assert!(bytes[4 + golden.len()..].iter().all(|byte| *byte == 0));
    let spans = Spans::decode(&bytes[..], 3, 0).unwrap();
    assert_eq!(spans.0.len(), 2);
    let all: Vec<Span> = spans.all(3, &GEOMETRY).unwrap().collect();
    assert_eq!(all, [span(10), span(11)]);
    let second: Vec<Span> = spans.get(1..2, 3, &GEOMETRY).unwrap().collect();
    assert_eq!(second, [span(11)]);
    assert!(spans.get(1..3, 3, &GEOMETRY).is_none());
    assert!(Spans::decode(&bytes[..], 4, 0).is_none(), "another segment's");
    assert!(Spans::decode(&bytes[..], 3, 1).is_none(), "another block's");
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(Spans::decode(&damaged[..], 3, 0).is_none(), "byte {at}");
    }
}

#[test]
fn a_block_holds_145_spans() {
    let mut block = SpanBlock::new();
    for at in 0..u64::from(SPANS_PER_BLOCK) {
        assert!(!block.is_full());
        assert!(block.push(&span(at), &GEOMETRY));
    }
    assert!(block.is_full());
    assert!(!block.push(&span(145), &GEOMETRY));
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
    let mut directory = Fence::of(&span(258)).as_bytes().to_vec();
    both.iter().for_each(|row| directory.extend(row.encode()));
    let mut golden = vec![0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 1, 2, 3, 4, 5, 6];
    for (queue, first, spans) in [(1, 0, 2), (8, 2, 3)] {
        golden.extend([0, 0, 0, queue, 0, 0, 0, first, 0, 0, 0, spans, 0, 0, 0, 0]);
        for field in 4..8 {
            golden.extend([0, 0, 0, 0, 0, 0, 0, field]);
        }
    }
    assert_eq!(directory, golden);
    let sealed = Sealed { first_sequence: 10, last_sequence: 20, newest_ms: 30 };
    let crc = crc32c::crc32c(&directory);
    let footer = Footer { number: 3, sealed, blocks: 1, queues: 2, directory: crc };
    let (fences, rows) = footer.directory(&directory).unwrap();
    assert_eq!((fences.len(), fences[0].base_offset()), (1, 258));
    assert_eq!((fences[0].store_ms(), rows), (0x0102_0304_0506, both.to_vec()));
    let bytes = footer.encode(&GEOMETRY);
    let mut golden = vec![0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 16, 0, 0];
    golden.extend([7; 16]);
    golden.extend([0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 30]);
    golden.extend([0, 0, 0, 1, 0, 0, 0, 2]);
    golden.extend(crc.to_be_bytes());
    assert_eq!(&bytes[..4], b"UIX1");
    assert_eq!(&bytes[8..84], &golden);
    assert!(bytes[84..].iter().all(|byte| *byte == 0));
    let len = 3 * 4096;
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
    let read = |blocks: u32, rows: &[Row]| {
        let mut directory = vec![0; blocks as usize * FENCE_BYTES];
        rows.iter().for_each(|row| directory.extend(row.encode()));
        let crc = crc32c::crc32c(&directory);
        let sealed = Sealed::default();
        let footer =
            Footer { number: 3, sealed, blocks, queues: rows.len() as u32, directory: crc };
        footer.directory(&directory).map(|(_, rows)| rows)
    };
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
    let huge = |blocks, queues| {
        let sealed = Sealed::default();
        let footer = Footer { number: 3, sealed, blocks, queues, directory: 0 };
        Footer::decode(&footer.encode(&GEOMETRY), &GEOMETRY, 3, footer.file_bytes()).is_some()
    };
    assert!(huge(100, 1000));
    assert!(!huge(1000, 1000) && !huge(1, 1 << 20), "more than a segment of 1 MiB can hold");
}

#[test]
fn a_span_outside_of_its_segment_is_refused() {
    let read = |change: &dyn Fn(&mut Span)| {
        let mut span = span(10);
        change(&mut span);
        let mut block = SpanBlock::new();
        block.push(&span, &GEOMETRY);
        let bytes = block.finish(3, 0);
        Spans::decode(&bytes[..], 3, 0).unwrap().get(0..1, 3, &GEOMETRY).is_some()
    };
    assert!(read(&|_| {}));
    assert!(!read(&|span| span.pos = LogPos(3 << 20)), "in the segment's header");
    assert!(!read(&|span| span.len = 1 << 20), "beyond its end");
    assert!(!read(&|span| span.len = 0));
}

#[test]
fn spans_of_a_queue_follow_each_other() {
    let read = |change: &dyn Fn(&mut Span)| {
        let (first, mut second) = (span(10), span(11));
        second.pos = first.pos.plus(u64::from(first.len));
        change(&mut second);
        let mut block = SpanBlock::new();
        block.push(&first, &GEOMETRY);
        block.push(&second, &GEOMETRY);
        let bytes = block.finish(3, 0);
        let spans = Spans::decode(&bytes[..], 3, 0).unwrap();
        assert!(spans.all(3, &GEOMETRY).is_some(), "of two queues they may be");
        spans.get(0..2, 3, &GEOMETRY).is_some()
    };
    assert!(read(&|_| {}));
    assert!(!read(&|span| span.base_offset = 10));
    assert!(!read(&|span| span.pos.0 -= 8), "one lies in the other");
    assert!(!read(&|span| span.store_timestamp_ms -= 1));
}
