//! A consumer with a group begins where the group left off and commits what is new.

use std::time::Duration;

use super::peer::Peer;
use crate::client::{AckLevel, ClientConfig, ClientError, ErrorCode, StartAt};
use crate::wire::{
    CommittedReply, GroupSummary, ListKind, OffsetReply, Operation, Reply, Request, TopicMetadata,
};

fn committed(queue: u16, offset: Option<u64>) -> CommittedReply<'static> {
    CommittedReply {
        error: None,
        topic: 3,
        queue,
        offset,
        epoch: 7,
        commit_time_ms: 0,
        start: 5,
        visible: 30,
        metadata: "m",
    }
}

async fn answer(peer: &mut Peer, operation: Operation, reply: &Reply<'_>) {
    let frame = peer.next().await.unwrap();
    assert_eq!(frame.decode().1.operation(), operation);
    peer.reply(frame.correlation(), reply).await;
}

#[tokio::test]
async fn resume_and_commit() {
    let (client, mut peer) = Peer::pair(ClientConfig::default()).await;
    let node = async {
        let (error, topic, ack, name) = (None, 3, AckLevel::Durable, "t");
        let topic = TopicMetadata { error, topic, ack, name, shards: vec![0; 3].into() };
        answer(&mut peer, Operation::Metadata, &Reply::Metadata(vec![topic])).await;
        // Queue 1 is new to the group, and what it had of queue 2 is not stored any more.
        let found = vec![committed(0, Some(20)), committed(1, None), committed(2, Some(4))];
        answer(&mut peer, Operation::OffsetFetch, &Reply::OffsetFetch(found)).await;
        for queue in [1, 2] {
            let frame = peer.next().await.unwrap();
            let Request::ListOffsets(list) = frame.decode().1 else { panic!() };
            assert_eq!((list.queue, list.kind), (queue, ListKind::Latest));
            let offset = OffsetReply { offset: 30, timestamp_ms: -1 };
            peer.reply(frame.correlation(), &Reply::ListOffsets(offset)).await;
        }
        for (expected, results) in [
            (vec![(1, Some(30), 0), (2, Some(30), 0)], vec![None, None]),
            (vec![(0, Some(25), 7), (1, Some(31), 0)], vec![None, Some(ErrorCode::Busy)]),
            (vec![(1, Some(31), 0)], vec![None]),
        ] {
            let frame = peer.next().await.unwrap();
            let Request::OffsetCommit(commit) = frame.decode().1 else { panic!() };
            assert_eq!((commit.group, commit.ack), ("g", None));
            let offsets = commit.offsets.iter().map(|new| (new.queue, new.offset, new.epoch));
            assert_eq!(offsets.collect::<Vec<_>>(), expected);
            peer.reply(frame.correlation(), &Reply::OffsetCommit(results)).await;
        }
        peer.next().await.is_none()
    };
    let calls = async {
        let consumer = client.consumer("t").group("g").start(StartAt::Latest);
        let consumer = consumer.retry_for(Duration::ZERO);
        let mut consumer = consumer.build().await.unwrap();
        let positions: Vec<_> = (0..3).map(|queue| consumer.position(queue).unwrap()).collect();
        assert_eq!(positions, [20, 30, 30]);
        consumer.commit().await.unwrap();
        consumer.commit().await.unwrap();
        let refused = consumer.commit_offsets(&[(0, 25), (1, 31), (2, 30)]).await.unwrap_err();
        assert!(matches!(refused, ClientError::Server { code: ErrorCode::Busy, .. }));
        consumer.commit_offsets(&[(0, 25), (1, 31), (2, 30)]).await.unwrap();
        drop((consumer, client));
    };
    let ((), closed) = tokio::join!(calls, node);
    assert!(closed);
}

#[tokio::test]
async fn offsets_and_groups() {
    let (client, mut peer) = Peer::pair(ClientConfig::default()).await;
    let found = Reply::OffsetFetch(vec![committed(0, Some(20)), committed(1, None)]);
    let node = answer(&mut peer, Operation::OffsetFetch, &found);
    let (offsets, ()) = tokio::join!(client.all_committed_offsets("g"), node);
    let offsets = offsets.unwrap();
    assert_eq!((offsets[0].lag(), offsets[1].lag(), &*offsets[0].metadata), (10, 25, "m"));

    let unknown = CommittedReply { error: Some(ErrorCode::UnknownQueue), ..committed(4, None) };
    let found = Reply::OffsetFetch(vec![unknown]);
    let node = answer(&mut peer, Operation::OffsetFetch, &found);
    let (offsets, ()) = tokio::join!(client.committed_offsets("g", &[(3, 4)]), node);
    let code = ErrorCode::UnknownQueue;
    assert!(matches!(offsets.unwrap_err(), ClientError::Server { code: c, .. } if c == code));
    assert!(client.committed_offsets("g", &[]).await.unwrap().is_empty());

    let groups = Reply::GroupList(vec![GroupSummary { queues: 2, name: "g" }]);
    let node = answer(&mut peer, Operation::GroupList, &groups);
    let (groups, ()) = tokio::join!(client.list_groups(), node);
    let groups = groups.unwrap();
    assert_eq!((groups[0].name.as_str(), groups[0].queues), ("g", 2));
    let invalid = client.all_committed_offsets("").await.unwrap_err();
    assert!(matches!(invalid, ClientError::Request(_)));
}
