//! What the node says about topics and about itself, as the caller gets it.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2Serializer};

use super::peer::Peer;
use crate::client::{AckLevel, ClientConfig, ClientError, ErrorCode, ListKind};
use crate::wire::{
    Counter, HistogramPart, OffsetReply, Operation, QueueDescription, Reply, Retention, SHARD_ANY,
    Stage, StatsReply, TopicAlter, TopicDescription, TopicMetadata, TopicSummary,
};

/// Answers the next request with `reply`.
async fn answer(peer: &mut Peer, operation: Operation, reply: &Reply<'_>) {
    let frame = peer.next().await.unwrap();
    assert_eq!(frame.decode().1.operation(), operation);
    peer.reply(frame.correlation(), reply).await;
}

#[tokio::test]
async fn topics() {
    let (client, mut peer) = Peer::pair(ClientConfig::default()).await;
    let (topic, ack, name) = (3, AckLevel::Written, "t");

    let list = Reply::TopicList(vec![TopicSummary { topic, queues: 8, ack, name }]);
    let node = answer(&mut peer, Operation::TopicList, &list);
    let (topics, ()) = tokio::join!(client.list_topics(), node);
    let topics = topics.unwrap();
    assert_eq!((topics.len(), topics[0].id, topics[0].queues, topics[0].ack), (1, 3, 8, ack));

    let queue = QueueDescription { queue: 0, shard: 1, start: 2, end: 9, visible: 8, bytes: 700 };
    let retention = Retention { age_ms: None, bytes: Some(5000) };
    let description = TopicDescription {
        topic,
        ack,
        deep_validation: true,
        key_index: false,
        retention,
        fetched_records: 12,
        fetched_bytes: 900,
        name,
        queues: vec![queue],
    };
    let reply = Reply::TopicDescribe(description);
    let node = answer(&mut peer, Operation::TopicDescribe, &reply);
    let (details, ()) = tokio::join!(client.describe_topic("t"), node);
    let details = details.unwrap();
    assert_eq!((details.deep_validation, details.queues), (true, vec![queue]));
    assert_eq!(details.retention, retention);
    assert_eq!((details.fetched_records, details.fetched_bytes), (12, 900));

    let node = answer(&mut peer, Operation::TopicAlter, &Reply::TopicAlter);
    let alter = TopicAlter { name: "t", ack: Some(ack), ..TopicAlter::default() };
    let (altered, ()) = tokio::join!(client.alter_topic(&alter), node);
    altered.unwrap();

    let found = TopicMetadata { error: None, topic, ack, name, shards: vec![0, 1].into() };
    let error = Some(ErrorCode::UnknownTopic);
    let missing = TopicMetadata { error, topic: 0, ack, name: "u", shards: vec![].into() };
    let reply = Reply::Metadata(vec![found, missing]);
    let node = answer(&mut peer, Operation::Metadata, &reply);
    let (layouts, ()) = tokio::join!(client.metadata(&["t", "u"]), node);
    let layouts = layouts.unwrap();
    assert_eq!(layouts[0].found, Ok((3, ack, vec![0, 1])));
    assert_eq!(layouts[1].found, Err(ErrorCode::UnknownTopic));

    let node = answer(&mut peer, Operation::TopicDelete, &Reply::TopicDelete);
    let (deleted, ()) = tokio::join!(client.delete_topic("t"), node);
    deleted.unwrap();
}

#[tokio::test]
async fn offsets_and_answers_to_something_else() {
    let (client, mut peer) = Peer::pair(ClientConfig::default()).await;
    let offset = OffsetReply { offset: 12, timestamp_ms: 34 };
    let reply = Reply::ListOffsets(offset);
    let node = answer(&mut peer, Operation::ListOffsets, &reply);
    let (found, ()) = tokio::join!(client.list_offsets(3, 0, ListKind::ByTimestamp, 33), node);
    assert_eq!(found.unwrap(), offset);

    let node = answer(&mut peer, Operation::TopicList, &reply);
    let (confused, ()) = tokio::join!(client.list_topics(), node);
    assert!(matches!(confused.unwrap_err(), ClientError::Reply(_)));
    let node = answer(&mut peer, Operation::Ping, &Reply::Ping(b"other"));
    let (changed, ()) = tokio::join!(client.ping(b"mine"), node);
    assert!(matches!(changed.unwrap_err(), ClientError::Reply(_)));
}

#[tokio::test]
async fn statistics_are_histograms_again() {
    let (client, mut peer) = Peer::pair(ClientConfig::default()).await;
    let mut histogram = Histogram::<u64>::new(2).unwrap();
    histogram.record_n(120_000, 99).unwrap();
    histogram.record(4_000_000).unwrap();
    let mut encoded = vec![];
    V2Serializer::new().serialize(&histogram, &mut encoded).unwrap();
    let part = |encoded: Vec<u8>| HistogramPart {
        op: Operation::Produce.as_u8(),
        stage: Stage::Device.as_u8(),
        shard: SHARD_ANY,
        encoded: encoded.into(),
    };
    let counter = Counter { name: "produced".into(), shard: 1, value: 100 };
    let reply =
        Reply::Stats(StatsReply { histograms: vec![part(encoded)], counters: vec![counter] });
    let node = answer(&mut peer, Operation::Stats, &reply);
    let (stats, ()) = tokio::join!(client.stats(false), node);
    let stats = stats.unwrap();
    let read = &stats.histograms[0];
    assert_eq!((read.operation, read.stage), (Some(Operation::Produce), Some(Stage::Device)));
    assert_eq!(read.histogram, histogram);
    assert_eq!((stats.counters[0].name.as_str(), stats.counters[0].value), ("produced", 100));

    let bad = StatsReply { histograms: vec![part(vec![1, 2, 3])], counters: vec![] };
    let bad = Reply::Stats(bad);
    let node = answer(&mut peer, Operation::Stats, &bad);
    let (stats, ()) = tokio::join!(client.stats(true), node);
    assert!(matches!(stats.unwrap_err(), ClientError::Reply(_)));
}
