//! Questions that are answered at once: what topics there are, where offsets lie, statistics.

use std::borrow::Cow;

use engine::broker::catalog::Topic;
use engine::io::Env;
use engine::shard::Counters;
use engine::stage;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2Serializer};

use super::Desk;
use super::caller::{Caller, Out};
use super::meter::{DeviceUse, Meter};
use super::post::Post;
use super::refusal::Refusal;
use crate::wire::{
    AckLevel, Counter, ErrorCode, HistogramPart, ListKind, ListOffsets, Names, OffsetReply,
    Operation, QueueDescription, Reply, Request, RequestHeader, SHARD_ANY, StatsReply, Timings,
    TopicDescription, TopicMetadata, TopicSummary, encode_reply,
};

impl<E: Env> Desk<E> {
    pub(super) fn describe(
        &mut self,
        caller: Caller,
        header: RequestHeader,
        question: &Request<'_>,
        out: &mut Out<'_>,
    ) {
        let header = header.reply(Timings::default());
        let answer = match question {
            Request::Ping(echo) => Ok(Reply::Ping(echo)),
            Request::Metadata(names) => Ok(Reply::Metadata(self.metadata(names))),
            Request::TopicList => Ok(Reply::TopicList(self.list())),
            Request::TopicDescribe(name) => self.topic(name),
            Request::ListOffsets(list) => self.list_offsets(list).map(Reply::ListOffsets),
            Request::Stats { per_shard } => Ok(Reply::Stats(self.stats(*per_shard, out.post))),
            Request::OffsetFetch(fetch) => Ok(Reply::OffsetFetch(self.committed(fetch))),
            Request::GroupList => Ok(Reply::GroupList(self.groups())),
            Request::InitProducerId => self.new_producer().map(Reply::InitProducerId),
            _ => Err(Refusal::new(ErrorCode::Internal, "not a question")),
        };
        match answer {
            Ok(reply) => out.reply(caller, |bytes| encode_reply(bytes, &header, &reply)),
            Err(refusal) => out.refuse(caller, question.operation().as_u8(), &header, &refusal),
        }
    }

    fn metadata<'a>(&'a self, names: &Names<'a>) -> Vec<TopicMetadata<'a>> {
        let catalog = self.broker.catalog();
        if names.count() == 0 {
            return catalog.topics().map(topic_metadata).collect();
        }
        let unknown = |name| TopicMetadata {
            error: Some(ErrorCode::UnknownTopic),
            topic: 0,
            ack: AckLevel::Durable,
            name,
            shards: Cow::Borrowed(&[]),
        };
        names
            .iter()
            .map(|name| catalog.by_name(name).map_or_else(|| unknown(name), topic_metadata))
            .collect()
    }

    fn list(&self) -> Vec<TopicSummary<'_>> {
        self.broker.catalog().topics().map(topic_summary).collect()
    }

    fn topic(&self, name: &str) -> Result<Reply<'_>, Refusal> {
        let topic = self.broker.catalog().by_name(name);
        let topic = topic.ok_or_else(|| {
            Refusal::new(ErrorCode::UnknownTopic, format!("there is no topic {name:?}"))
        })?;
        let queues = topic.queues.iter().zip(0_u16..).map(|(place, queue)| {
            let range = self.broker.range(topic.id, queue).unwrap_or_default();
            QueueDescription {
                queue,
                shard: place.shard,
                start: range.start_offset,
                end: range.end_offset,
                visible: range.visible_offset,
                bytes: range.bytes,
            }
        });
        let (fetched_records, fetched_bytes) = self.given.of(topic.id);
        Ok(Reply::TopicDescribe(TopicDescription {
            topic: topic.id,
            ack: topic.ack,
            deep_validation: topic.deep,
            key_index: topic.keyed,
            retention: topic.retention,
            fetched_records,
            fetched_bytes,
            name: &topic.name,
            queues: queues.collect(),
        }))
    }

    fn list_offsets(&self, list: &ListOffsets) -> Result<OffsetReply, Refusal> {
        let range = self.broker.range(list.topic, list.queue)?;
        let at = |offset| OffsetReply { offset, timestamp_ms: -1 };
        Ok(match list.kind {
            ListKind::Earliest => at(range.start_offset),
            // By time is not answered here: it may take a read.
            ListKind::Latest | ListKind::ByTimestamp => at(range.visible_offset),
        })
    }

    fn stats(&mut self, per_shard: bool, post: &Post) -> StatsReply<'static> {
        let mut stats = StatsReply::default();
        let mut merged: Vec<(u8, u8, Histogram<u64>)> = Vec::new();
        let numbers = self.broker.shard_numbers().to_vec();
        let devices: Vec<_> = self.meters.iter().map(Meter::device_use).collect();
        for (number, device) in numbers.iter().zip(&devices) {
            push_device(&mut stats, *number, device);
        }
        for (shard, number) in self.broker.shards().iter_mut().zip(numbers) {
            for (operation, stage, histogram) in shard.histograms().all() {
                let key = (op_code(operation), stage as u8);
                let known = merged.iter_mut().find(|(op, stage, _)| (*op, *stage) == key);
                match known {
                    Some((.., all)) if !per_shard => add(all, histogram),
                    _ if per_shard => push(&mut stats, key, number, histogram),
                    _ => {
                        let mut all = wide(histogram);
                        add(&mut all, histogram);
                        merged.push((key.0, key.1, all));
                    }
                }
            }
            push_counters(&mut stats, number, &shard.counters());
            let value = u64::from(shard.poison().is_some());
            stats.counters.push(Counter { name: Cow::Borrowed("poisoned"), shard: number, value });
        }
        for (op, stage, histogram) in &merged {
            push(&mut stats, (*op, *stage), SHARD_ANY, histogram);
        }
        let node = [
            ("sent_by_reference_bytes", self.sending.by_reference_bytes),
            ("sent_copied_bytes", self.sending.copied_bytes),
            ("forwarded_requests", post.forwarded()),
            ("directory_lost", u64::from(self.alarm.is_lost())),
            ("directory_read_only", u64::from(self.alarm.is_read_only())),
            ("connections", self.visits.open),
            ("accepted_connections", self.visits.accepted),
            ("refused_connections", self.visits.refused),
            ("cut_connections", self.visits.cut),
            ("topics", self.broker.catalog().topics().count() as u64),
        ];
        for (name, value) in node {
            stats.counters.push(Counter { name: Cow::Borrowed(name), shard: SHARD_ANY, value });
        }
        // Its number is that of the first shard it hosts.
        let reactor = u16::try_from(post.me()).unwrap_or(SHARD_ANY);
        let pump = [("pump_turns", self.visits.turns), ("pump_busy_nanos", self.visits.busy_nanos)];
        for (name, value) in pump {
            stats.counters.push(Counter { name: Cow::Borrowed(name), shard: reactor, value });
        }
        stats
    }
}

/// The wire's number of an operation that has histograms.
const fn op_code(operation: stage::Operation) -> u8 {
    match operation {
        stage::Operation::Produce => Operation::Produce.as_u8(),
        stage::Operation::Fetch => Operation::Fetch.as_u8(),
    }
}

/// An empty histogram with the bounds of `like`.
fn wide(like: &Histogram<u32>) -> Histogram<u64> {
    let (low, high, digits) = (like.low(), like.high(), like.sigfig());
    // Bounds that one histogram has are valid for another.
    Histogram::new_with_bounds(low, high, digits).unwrap_or_else(|_| unreachable!())
}

/// Adds a shard's histogram to counters that cannot overflow when shards are added up.
fn add(all: &mut Histogram<u64>, shard: &Histogram<u32>) {
    for step in shard.iter_recorded() {
        all.saturating_record_n(step.value_iterated_to(), u64::from(step.count_at_value()));
    }
}

fn push<T: hdrhistogram::Counter>(
    stats: &mut StatsReply<'static>,
    (op, stage): (u8, u8),
    shard: u16,
    histogram: &Histogram<T>,
) {
    let mut encoded = Vec::new();
    // Writing to memory cannot fail.
    if V2Serializer::new().serialize(histogram, &mut encoded).is_ok() {
        let encoded = Cow::Owned(encoded);
        stats.histograms.push(HistogramPart { op, stage, shard, encoded });
    }
}

fn push_device(stats: &mut StatsReply<'static>, shard: u16, device: &DeviceUse) {
    let all = [
        ("device_busy_nanos", device.busy_nanos),
        ("device_reading_nanos", device.reading_nanos),
        ("device_writing_nanos", device.writing_nanos),
        ("device_read_bytes", device.read_bytes),
        ("device_written_bytes", device.written_bytes),
    ];
    for (name, value) in all {
        stats.counters.push(Counter { name: Cow::Borrowed(name), shard, value });
    }
}

fn push_counters(stats: &mut StatsReply<'static>, shard: u16, counters: &Counters) {
    let all = [
        ("produced_batches", counters.batches),
        ("produced_records", counters.records),
        ("produced_bytes", counters.batch_bytes),
        ("repeated_batches", counters.repeated_batches),
        ("idempotent_producers", counters.producers),
        ("offset_commits", counters.offset_commits),
        ("consumer_groups", counters.consumer_groups),
        ("committed_offsets_bytes", counters.offset_bytes),
        ("fetches", counters.fetches),
        ("fetched_bytes", counters.fetched_bytes),
        ("fetched_records", counters.fetched_records),
        ("cold_reads", counters.cold_reads),
        ("cold_read_bytes", counters.cold_bytes),
        ("groups", counters.groups),
        ("group_bytes", counters.group_bytes),
        ("padding_bytes", counters.padding_bytes),
        ("prefilled_bytes", counters.prefilled_bytes),
        ("unwritten_bytes", counters.unwritten_bytes),
        ("parked_fetches", counters.parked),
        ("waiting_produces", counters.waiting),
        ("segments", counters.segments),
        ("recycled_segments", counters.recycled_segments),
        ("removed_segments", counters.removed_segments),
        ("vanished_segments", counters.vanished_segments),
        ("log_end", counters.log_end),
        ("opening_read_bytes", counters.opening_read_bytes),
        ("opening_read_nanos", counters.opening_read_nanos),
        ("checkpoints", counters.checkpoints),
        ("rebuilt_indexes", counters.rebuilt_indexes),
        ("sealed_segments", counters.sealed_segments),
        ("index_bytes", counters.index_bytes),
        ("index_reads", counters.index_reads),
        ("moved_starts", counters.moved_starts),
        ("disk_used_percent", counters.disk_used_percent),
        ("disk_refused", counters.disk_refused),
    ];
    for (name, value) in all {
        stats.counters.push(Counter { name: Cow::Borrowed(name), shard, value });
    }
}

fn topic_summary(topic: &Topic) -> TopicSummary<'_> {
    TopicSummary {
        topic: topic.id,
        queues: topic.queues.len() as u16,
        ack: topic.ack,
        name: &topic.name,
    }
}

fn topic_metadata(topic: &Topic) -> TopicMetadata<'_> {
    TopicMetadata {
        error: None,
        topic: topic.id,
        ack: topic.ack,
        name: &topic.name,
        shards: Cow::Owned(topic.queues.iter().map(|queue| queue.shard).collect()),
    }
}
