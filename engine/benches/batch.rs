//! Building and checking a batch of 1000 records of 100 bytes, and a batch of one: the client's
//! and the broker's cost a message before any I/O. `--test` runs each once, as a smoke size.
//!
//! The checksum of the built batch is fixed: an "optimisation" that changes the bytes fails.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::batch::{BatchBuilder, BatchRef, NewRecord, append_single};

const RECORDS: u64 = 1000;
const VALUE: [u8; 100] = [0x5a; 100];
const BATCH_BYTES_MAX: u32 = 1 << 20;
const BATCH_CRC: u32 = 0;

fn record() -> NewRecord<'static> {
    NewRecord { timestamp_ms: 1_700_000_000_000, value: Some(&VALUE), ..NewRecord::default() }
}

fn build(builder: &mut BatchBuilder) -> &[u8] {
    builder.clear();
    for _ in 0..RECORDS {
        builder.append(black_box(&record())).unwrap();
    }
    builder.finish().unwrap()
}

fn batch(c: &mut Criterion) {
    let mut builder = BatchBuilder::new(BATCH_BYTES_MAX);
    let bytes = build(&mut builder).to_vec();
    assert_eq!(BatchRef::parse(&bytes, BATCH_BYTES_MAX).unwrap().crc(), BATCH_CRC);

    let mut group = c.benchmark_group("batch_1000x100");
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("build", |b| b.iter(|| build(black_box(&mut builder)).len()));
    group.bench_function("parse", |b| {
        b.iter(|| BatchRef::parse(black_box(&bytes), BATCH_BYTES_MAX).unwrap().record_count());
    });
    group.bench_function("validate_deep", |b| {
        let batch = BatchRef::parse(&bytes, BATCH_BYTES_MAX).unwrap();
        b.iter(|| black_box(&batch).validate_deep().unwrap());
    });
    group.finish();

    let mut group = c.benchmark_group("batch_1x100");
    group.throughput(Throughput::Elements(1));
    let mut out = Vec::new();
    group.bench_function("append_single", |b| {
        b.iter(|| {
            out.clear();
            append_single(&mut out, black_box(&record()), BATCH_BYTES_MAX).unwrap()
        });
    });
    group.bench_function("parse", |b| {
        b.iter(|| BatchRef::parse(black_box(&out), BATCH_BYTES_MAX).unwrap().record_count());
    });
    group.finish();
}

criterion_group!(benches, batch);
criterion_main!(benches);
