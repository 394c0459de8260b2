use super::*;
use crate::wire::Counter;

fn queue(queue: u16, shard: u16, end: u64) -> QueueDescription {
    QueueDescription { queue, shard, start: 0, end, visible: end, bytes: end }
}

fn committed(queue: u16, offset: Option<u64>) -> CommittedReply<'static> {
    CommittedReply {
        error: None,
        topic: 1,
        queue,
        offset,
        epoch: 0,
        commit_time_ms: 0,
        start: 0,
        visible: 9,
        metadata: "",
    }
}

fn counter(name: &'static str, shard: u16, value: u64) -> Counter<'static> {
    Counter { name: Cow::Borrowed(name), shard, value }
}

#[test]
fn a_queue_is_described_by_its_owner() {
    let mut all = vec![queue(0, 0, 5), queue(1, 1, 0), queue(2, 2, 7)];
    let part = vec![queue(0, 0, 0), queue(1, 1, 6), queue(2, 2, 0)];
    add_queues(&mut all, part, |shard| shard == 1);
    assert_eq!(all.iter().map(|queue| queue.end).collect::<Vec<_>>(), [5, 6, 7]);
}

#[test]
fn offsets_of_the_same_places_keep_their_order_and_others_are_sorted_in() {
    let offsets = |all: &[CommittedReply<'_>]| -> Vec<_> {
        all.iter().map(|one| (one.queue, one.offset)).collect()
    };
    // The same places were asked for, one of them twice.
    let mut all = vec![committed(3, None), committed(1, Some(4)), committed(3, None)];
    let part = vec![committed(3, Some(8)), committed(1, None), committed(3, Some(8))];
    add_committed(&mut all, part, |one| one.queue == 3);
    assert_eq!(offsets(&all), [(3, Some(8)), (1, Some(4)), (3, Some(8))]);
    // Everything was asked for.
    let mut all = vec![committed(2, Some(4))];
    add_committed(&mut all, vec![committed(1, Some(8)), committed(5, Some(1))], |_| true);
    assert_eq!(offsets(&all), [(1, Some(8)), (2, Some(4)), (5, Some(1))]);
}

#[test]
fn groups_add_up_and_commits_come_back_in_order() {
    let mut all = vec![GroupSummary { queues: 2, name: "b" }];
    let part = vec![GroupSummary { queues: 1, name: "a" }, GroupSummary { queues: 3, name: "b" }];
    add_groups(&mut all, part);
    let said: Vec<_> = all.iter().map(|group| (group.name, group.queues)).collect();
    assert_eq!(said, [("a", 1), ("b", 5)]);

    let places = BTreeMap::from([(0, vec![1]), (1, vec![0, 2])]);
    let parts = [
        (0, Reply::OffsetCommit(vec![Some(ErrorCode::UnknownTopic)])),
        (1, Reply::OffsetCommit(vec![None])),
    ];
    let Reply::OffsetCommit(results) = merge_commits(&places, &parts) else { panic!() };
    let unanswered = Some(ErrorCode::Internal);
    assert_eq!(results, [None, Some(ErrorCode::UnknownTopic), unanswered]);
}

#[test]
fn statistics_add_up_where_they_are_the_nodes() {
    let histogram = |value: u64| {
        let mut histogram: Histogram<u64> = Histogram::new_with_bounds(1, 1_000_000, 2).unwrap();
        histogram.record(value).unwrap();
        let mut encoded = Vec::new();
        V2Serializer::new().serialize(&histogram, &mut encoded).unwrap();
        HistogramPart { op: 8, stage: 1, shard: SHARD_ANY, encoded: Cow::Owned(encoded) }
    };
    let mut all = StatsReply {
        histograms: vec![histogram(10)],
        counters: vec![counter("groups", 0, 1), counter("topics", SHARD_ANY, 4)],
    };
    let part = StatsReply {
        histograms: vec![histogram(900)],
        counters: vec![
            counter("groups", 1, 2),
            counter("topics", SHARD_ANY, 4),
            counter("sent_copied_bytes", SHARD_ANY, 7),
        ],
    };
    add_stats(&mut all, part).unwrap();
    let said: Vec<_> = all.counters.iter().map(|one| (&*one.name, one.shard, one.value)).collect();
    let node = [("topics", SHARD_ANY, 4), ("sent_copied_bytes", SHARD_ANY, 7)];
    assert_eq!(said, [[("groups", 0, 1), ("groups", 1, 2)], node].concat());
    let mut encoded: &[u8] = &all.histograms[0].encoded;
    let sum: Histogram<u64> = Deserializer::new().deserialize(&mut encoded).unwrap();
    assert_eq!((all.histograms.len(), sum.len()), (1, 2));
}

#[test]
fn what_went_out_of_a_topic_is_added_up() {
    let part = |reactor: usize, fetched_records: u64| {
        let topic = crate::wire::TopicDescription {
            topic: 1,
            ack: engine::level::AckLevel::Memory,
            deep_validation: false,
            key_index: false,
            retention: Default::default(),
            fetched_records,
            fetched_bytes: 100 * fetched_records,
            name: "t",
            queues: vec![queue(0, 0, 0), queue(1, 1, 0)],
        };
        (reactor, Reply::TopicDescribe(topic))
    };
    let merged = merge(vec![part(0, 3), part(1, 4)], usize::from, &Catalog::default());
    let Some(Reply::TopicDescribe(topic)) = merged else { panic!("{merged:?}") };
    assert_eq!((topic.fetched_records, topic.fetched_bytes), (7, 700));
}
