use super::*;
use crate::index::image::Builder;
use crate::log::position::LogPos;

const GEOMETRY: Geometry = Geometry { segment_bytes: 1 << 20, shard: 0, node: [7; 16], epoch: 1 };

/// Three queues with 10, 500 and 1 spans of 10 records each, stored a millisecond apart.
fn indexes() -> (Indexes, Vec<Run>) {
    let mut builder = Builder::new(GEOMETRY, 3);
    for (queue, spans) in [(5, 10), (8, 500), (9, 1)] {
        for at in 0..spans {
            let span = Span {
                base_offset: 1000 + at * 10,
                pos: LogPos((3 << 20) + 4096 + at * 512),
                store_timestamp_ms: 7000 + at,
                len: 200,
                batch_bytes: 100,
                alone: true,
            };
            builder.add(queue, &span, span.base_offset + 10);
        }
    }
    let (image, directory) = builder.finish(Sealed::default());
    let mut indexes = Indexes::default();
    let index = Index::new(Source::Memory(image), Sealed::default(), &directory);
    indexes.insert(3, index);
    (indexes, directory.rows.iter().map(|row| Run::new(3, row)).collect())
}

fn spans(indexes: &Indexes, place: &Place) -> Vec<Span> {
    match indexes.block(place.number, place.block) {
        Some(Block::Bytes(bytes)) => place.spans(bytes, &GEOMETRY).unwrap().collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_offset_is_found_in_one_block() {
    let (indexes, runs) = indexes();
    for run in &runs {
        let end = run.base_offset + u64::from(run.spans) * 10;
        for offset in run.base_offset..end {
            let place = indexes.place(run, offset).unwrap();
            let all = spans(&indexes, &place);
            let at = all.iter().rposition(|span| span.base_offset <= offset).unwrap();
            assert!(offset < all[at].base_offset + 10, "{offset} of {run:?}");
        }
    }
}

#[test]
fn every_time_is_found_in_one_block_or_at_the_beginning_of_the_next() {
    let (indexes, runs) = indexes();
    for run in &runs {
        for at in 0..u64::from(run.spans) {
            let (place, next) = indexes.place_in_time(run, 7000 + at).unwrap();
            let all = spans(&indexes, &place);
            let here = all.iter().find(|span| span.store_timestamp_ms >= 7000 + at);
            let found = here.map(|span| (span.base_offset, span.store_timestamp_ms)).or(next);
            assert_eq!(found, Some((1000 + at * 10, 7000 + at)), "{run:?}");
        }
    }
}

#[test]
fn what_is_written_is_read_from_its_file_and_kept() {
    let (mut indexes, runs) = indexes();
    let place = indexes.place(&runs[0], 1000).unwrap();
    let Some(Block::Bytes(bytes)) = indexes.block(place.number, place.block) else { panic!() };
    let bytes = bytes.to_vec();
    let before = indexes.bytes();
    indexes.written(3, FileId(4));
    assert!(indexes.bytes() < before && indexes.image(3).is_none());
    assert!(matches!(indexes.block(place.number, place.block), Some(Block::OnFile(FileId(4)))));
    indexes.keep((place.number, place.block), FileId(5), &bytes);
    assert!(
        matches!(indexes.block(place.number, place.block), Some(Block::OnFile(FileId(4)))),
        "another file's"
    );
    indexes.keep((place.number, place.block), FileId(4), &bytes);
    assert_eq!(spans(&indexes, &place).len(), 10);
    assert_eq!(indexes.remove(3), Some(FileId(4)));
    assert!(
        indexes.block(place.number, place.block).is_none()
            && indexes.place(&runs[0], 1000).is_none()
    );
}
