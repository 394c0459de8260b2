//! Topics and groups as metrics: a line each for as many as [`Topics`] has.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::gauge;
use crate::admin::topics::{Topic, Topics};

/// A figure of a topic: its name, what it is, whether it only grows, where it stands.
type Row = (&'static str, &'static str, MetricType, fn(&Topic) -> u64);

const ROWS: [Row; 6] = [
    (
        "uringmq_topic_appended_records",
        "Records appended to the topic since it was made: the next offsets of its queues",
        MetricType::Counter,
        |topic| topic.appended,
    ),
    (
        "uringmq_topic_held_records",
        "Records of the topic that can be read",
        MetricType::Gauge,
        |topic| topic.held,
    ),
    (
        "uringmq_topic_held_bytes",
        "Bytes of the batches of the topic that can be read",
        MetricType::Gauge,
        |topic| topic.held_bytes,
    ),
    (
        "uringmq_topic_fetched_records",
        "Records of the topic given to fetches since the node was started",
        MetricType::Counter,
        |topic| topic.fetched,
    ),
    (
        "uringmq_topic_fetched_bytes",
        "Bytes of the batches of the topic given to fetches since the node was started",
        MetricType::Counter,
        |topic| topic.fetched_bytes,
    ),
    ("uringmq_topic_queues", "Queues of the topic", MetricType::Gauge, |topic| topic.queues),
];

pub(super) fn encode(topics: &Topics, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    for (name, help, kind, value) in ROWS {
        let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
        for topic in &topics.topics {
            let labels = [("topic", topic.name.as_str())];
            let mut line = metric.encode_family(&labels)?;
            match kind {
                MetricType::Counter => {
                    line.encode_counter::<NoLabelSet, u64, f64>(&value(topic), None)?;
                }
                _ => line.encode_gauge(&(value(topic) as f64))?,
            }
        }
    }
    let help =
        "Records that the group has yet to read in the topic, of the queues it has offsets of";
    let name = "uringmq_group_lag_records";
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for lag in &topics.lags {
        let labels = [("group", lag.group.as_str()), ("topic", lag.topic.as_str())];
        metric.encode_family(&labels)?.encode_gauge(&(lag.records as f64))?;
    }
    let help = "Topics without metrics of their own, because there are more than `metrics_topics`";
    gauge(encoder, "uringmq_topics_omitted", help, topics.omitted as f64)?;
    let help = "Consumer groups whose lags are not all shown, for the same reason";
    gauge(encoder, "uringmq_groups_omitted", help, topics.groups_omitted as f64)
}
