//! Compressed batches: the same messages come out, whatever the codec; and no more of them than may.

use std::sync::Arc;

use super::small_node::SmallNode;
use crate::client::{
    Client, ClientConfig, ClientError, Compression, ProducerStats, Record, StartAt,
};

const ALL: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

#[tokio::test]
async fn every_codec_brings_the_same_messages() {
    let node = SmallNode::start(1).await;
    let client = Client::connect(node.address).await.unwrap();
    let values: Vec<_> = (0..500_u32).map(|n| format!("{{\"number\": {n}}}")).collect();
    let records: Vec<_> = values.iter().map(|value| Record::new(value.as_bytes())).collect();
    for (round, compression) in ALL.into_iter().enumerate() {
        let stats = Arc::new(ProducerStats::new());
        let producer = client.producer("t").compression(compression);
        let producer = producer.observer(Arc::clone(&stats) as _).build().await.unwrap();
        producer.send_batch(&records).await.unwrap();
        let counts = stats.counts();
        let smaller = counts.sent_bytes < counts.plain_bytes / 2;
        assert_eq!(smaller, compression != Compression::None, "{counts:?}");

        // From the middle of the batch.
        let start = round as u64 * 500 + 250;
        let consumer = client.consumer("t").start(StartAt::Offset(start));
        let messages = consumer.build().await.unwrap().poll().await.unwrap();
        assert_eq!(messages.len(), 250);
        for (message, (offset, value)) in messages.iter().zip((start..).zip(&values[250..])) {
            assert_eq!(message.offset, offset);
            assert_eq!(message.value.as_deref(), Some(value.as_bytes()), "{compression:?}");
        }
    }
}

#[tokio::test]
async fn a_bomb_is_an_error_that_says_where_to_go_on() {
    let node = SmallNode::start(1).await;
    let config = ClientConfig { decompressed_bytes_max: 10_000, ..ClientConfig::default() };
    let client = Client::connect_with(node.address, config).await.unwrap();
    let producer = client.producer("t").compression(Compression::Zstd).build().await.unwrap();
    let large = vec![0; 6_000];
    producer.send_batch(&[Record::new(b"before")]).await.unwrap();
    producer.send_batch(&[Record::new(&large), Record::new(&large)]).await.unwrap();
    producer.send_batch(&[Record::new(&large)]).await.unwrap();
    producer.send_batch(&[Record::new(&large)]).await.unwrap();
    let mut consumer = client.consumer("t").build().await.unwrap();
    assert_eq!(consumer.poll().await.unwrap().len(), 1);
    let error = consumer.poll().await.unwrap_err();
    let ClientError::Decompress { base_offset: 1, next_offset, codec: 4, .. } = error.source else {
        panic!("{error}")
    };
    assert!(error.to_string().contains("zstd"), "{error}");
    consumer.seek(0, next_offset).unwrap();
    // Two that are each small enough, though not together, come one after the other.
    let mut read = vec![];
    while read.len() < 2 {
        read.extend(consumer.poll().await.unwrap().iter().map(|message| message.offset));
    }
    assert_eq!(read, [3, 4]);
}
