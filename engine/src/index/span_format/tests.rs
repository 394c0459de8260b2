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
