//! Unknown topics, bad queues, offsets out of range: an answer, and the connection goes on.

use net::client::{Client, NewOffset, Record};
use net::wire::{AckLevel, ErrorCode, Fetch, ListKind, ListOffsets, Produce, Request, TopicCreate};

use crate::harness::node::{Node, create_topic, fresh_dir};
use crate::harness::raw::{Raw, frame};
use crate::harness::verify::{Acked, check, read_all, value};

#[tokio::test]
async fn and_everything_else_goes_on() {
    let dir = fresh_dir();
    let node = Node::start(&dir.path().join("data"), &[]);
    let client = node.client().await;
    let topic = create_topic(&client, "good", 2).await;
    let acked = produce_some(&client).await;
    let mut raw = Raw::greeted(&node.address);
    let mut refused = |request: &Request<'_>| {
        raw.send(&frame(5, request));
        let refused = raw.refused();
        assert_eq!(refused.correlation, 5);
        raw.expect_open();
        refused
    };

    let mut batch = Vec::new();
    let record = engine::batch::NewRecord {
        timestamp_ms: 0,
        key: None,
        value: Some(b"0/1000000/"),
        headers: &[],
    };
    engine::batch::append_single(&mut batch, &record, u32::MAX).expect("a batch");
    let produce = |topic, queue| {
        Request::Produce(Produce { topic, queue, ack: Some(AckLevel::Durable), batch: &batch })
    };
    let fetch = |topic, queue, offset| {
        let (bytes_max, bytes_min, wait_max_ms) = (1000, 1, 1000);
        Request::Fetch(Fetch { topic, queue, epoch: 0, offset, bytes_max, bytes_min, wait_max_ms })
    };
    let list = |topic, queue| {
        let (kind, timestamp_ms) = (ListKind::Latest, 0);
        Request::ListOffsets(ListOffsets { topic, queue, kind, timestamp_ms })
    };
    for request in [produce(99, 0), fetch(99, 0, 0), list(99, 0)] {
        assert_eq!(refused(&request).code, ErrorCode::UnknownTopic, "{request:?}");
    }
    for request in [produce(topic, 2), fetch(topic, 2, 0), list(topic, u16::MAX)] {
        assert_eq!(refused(&request).code, ErrorCode::UnknownQueue, "{request:?}");
    }
    for name in ["missing", "good2"] {
        for request in [Request::TopicDelete(name), Request::TopicDescribe(name)] {
            assert_eq!(refused(&request).code, ErrorCode::UnknownTopic, "{request:?}");
        }
    }
    for offset in [21, u64::MAX] {
        let refused = refused(&fetch(topic, 0, offset));
        assert_eq!((refused.code, refused.range), (ErrorCode::OffsetOutOfRange, (0, 20)));
    }
    let create = |name, queues| {
        Request::TopicCreate(TopicCreate {
            name,
            queues,
            ack: None,
            deep_validation: false,
            key_index: false,
            retention: Default::default(),
        })
    };
    assert_eq!(refused(&create("good", 1)).code, ErrorCode::TopicExists);
    assert_eq!(refused(&create("none", 0)).code, ErrorCode::InvalidArgument);

    let new = |topic, queue, offset| {
        let offset = Some(offset);
        NewOffset { topic, queue, offset, epoch: 0, metadata: "" }
    };
    let places = [new(99, 0, 0), new(topic, 2, 0), new(topic, 0, 21), new(topic, 0, 20)];
    let results = client.commit_offsets("g", &places, None).await.expect("an answer for each");
    let expected =
        [ErrorCode::UnknownTopic, ErrorCode::UnknownQueue, ErrorCode::OffsetOutOfRange].map(Some);
    assert_eq!((&results[..3], results[3]), (&expected[..], None));
    // An empty group name, which the client would not send: OffsetFetch, no queues.
    raw.send(&[0, 0, 0, 12, 13, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0]);
    assert_eq!(raw.refused().code, ErrorCode::InvalidGroup);
    raw.expect_open();

    client.ping(b"undisturbed").await.expect("the other connection goes on");
    check(&read_all(&client, "good").await, &acked);
    node.stop();
}

/// Twenty messages in each of two queues.
async fn produce_some(client: &Client) -> Acked {
    let producer = client.producer("good").build().await.expect("the topic is there");
    let mut acked = Acked::default();
    for sequence in 0..40 {
        let value = value(0, sequence, 100);
        let sent = producer.send(&Record::new(&value)).await.expect("an ack");
        acked.add(sent.queue, sent.offset, &value);
    }
    acked
}
