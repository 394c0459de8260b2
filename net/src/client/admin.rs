//! One method per operation that asks or changes something about the node.

use bytes::Bytes;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;

use super::{Client, ClientError};
use crate::wire::{
    AckLevel, ErrorCode, HistogramPart, ListKind, ListOffsets, Names, OffsetReply, Operation,
    QueueDescription, Reply, Request, Retention, Stage, TopicAlter, TopicCreate, decode_reply,
};

/// A topic to make.
#[derive(Clone, Copy, Debug)]
pub struct NewTopic<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many queues it gets.
    pub queues: u16,
    /// Its default ack level; `None`: the node's default.
    pub ack: Option<AckLevel>,
    /// Let the node look inside every batch.
    pub deep_validation: bool,
    /// Let the node index the keys of its records: see [`Client::find`].
    pub key_index: bool,
    /// Its own limits, beside the node's.
    pub retention: Retention,
}

/// A topic in the list of topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// How many queues it has.
    pub queues: u16,
    /// Its default ack level.
    pub ack: AckLevel,
}

/// Where a topic's queues are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicLayout {
    /// Its name.
    pub name: String,
    /// Its id, default ack level and the shard of each queue; or why they are not known.
    pub found: Result<(u32, AckLevel, Vec<u16>), ErrorCode>,
}

/// A topic and the state of its queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDetails {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its default ack level.
    pub ack: AckLevel,
    /// Whether the node looks inside every batch.
    pub deep_validation: bool,
    /// Whether the keys of its records are indexed.
    pub key_index: bool,
    /// Its own limits, beside the node's.
    pub retention: Retention,
    /// Records given to fetches since the node was started.
    pub fetched_records: u64,
    /// Bytes of their batches.
    pub fetched_bytes: u64,
    /// Its queues.
    pub queues: Vec<QueueDescription>,
}

/// What a node has measured.
#[derive(Clone, Debug)]
pub struct NodeStats {
    /// Latencies in nanoseconds, per operation and stage.
    pub histograms: Vec<NodeHistogram>,
    /// Counters.
    pub counters: Vec<NodeCounter>,
}

/// One latency histogram of a node.
#[derive(Clone, Debug)]
pub struct NodeHistogram {
    /// The operation; `None`: one this client does not know.
    pub operation: Option<Operation>,
    /// The stage; `None`: one this client does not know.
    pub stage: Option<Stage>,
    /// Its shard; 0xFFFF: all, merged.
    pub shard: u16,
    /// Nanoseconds.
    pub histogram: Histogram<u64>,
}

/// One counter of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCounter {
    /// Its stable name.
    pub name: String,
    /// Its shard; 0xFFFF: the node's.
    pub shard: u16,
    /// Its value.
    pub value: u64,
}

/// Decodes a reply frame and picks the variant that answers the request.
macro_rules! answer {
    ($frame:expr, $variant:pat => $value:expr) => {
        match decode_reply($frame)?.1 {
            $variant => Ok($value),
            Reply::Error { error, .. } => Err(ClientError::from(error)),
            _ => Err(ClientError::bad_reply("reply to another operation")),
        }
    };
}
pub(super) use answer;

impl Client {
    /// Sends up to 1024 bytes, which come back.
    pub async fn ping(&self, payload: &[u8]) -> Result<(), ClientError> {
        let frame = self.call(&Request::Ping(payload)).await?;
        match answer!(&frame, Reply::Ping(echo) => echo == payload)? {
            true => Ok(()),
            false => Err(ClientError::bad_reply("ping came back changed")),
        }
    }

    /// Makes a topic; returns its id.
    pub async fn create_topic(&self, topic: &NewTopic<'_>) -> Result<u32, ClientError> {
        let request = Request::TopicCreate(TopicCreate {
            name: topic.name,
            queues: topic.queues,
            ack: topic.ack,
            deep_validation: topic.deep_validation,
            key_index: topic.key_index,
            retention: topic.retention,
        });
        answer!(&self.call(&request).await?, Reply::TopicCreate(id) => id)
    }

    /// Gives a topic other settings.
    pub async fn alter_topic(&self, alter: &TopicAlter<'_>) -> Result<(), ClientError> {
        answer!(&self.call(&Request::TopicAlter(*alter)).await?, Reply::TopicAlter => ())
    }

    /// Removes a topic.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        answer!(&self.call(&Request::TopicDelete(name)).await?, Reply::TopicDelete => ())
    }

    /// Lists all topics.
    pub async fn list_topics(&self) -> Result<Vec<TopicInfo>, ClientError> {
        let frame = self.call(&Request::TopicList).await?;
        let topics = answer!(&frame, Reply::TopicList(topics) => topics)?;
        let info = topics.into_iter().map(|topic| TopicInfo {
            id: topic.topic,
            name: topic.name.to_owned(),
            queues: topic.queues,
            ack: topic.ack,
        });
        Ok(info.collect())
    }

    /// Describes a topic and its queues.
    pub async fn describe_topic(&self, name: &str) -> Result<TopicDetails, ClientError> {
        let frame = self.call(&Request::TopicDescribe(name)).await?;
        let topic = answer!(&frame, Reply::TopicDescribe(topic) => topic)?;
        Ok(TopicDetails {
            id: topic.topic,
            name: topic.name.to_owned(),
            ack: topic.ack,
            deep_validation: topic.deep_validation,
            key_index: topic.key_index,
            retention: topic.retention,
            fetched_records: topic.fetched_records,
            fetched_bytes: topic.fetched_bytes,
            queues: topic.queues,
        })
    }

    /// Ids and shards of these topics, or of all if `names` is empty.
    pub async fn metadata(&self, names: &[&str]) -> Result<Vec<TopicLayout>, ClientError> {
        let mut buffer = Vec::new();
        let names = Names::encode(names, &mut buffer)?;
        let frame = self.call(&Request::Metadata(names)).await?;
        let topics = answer!(&frame, Reply::Metadata(topics) => topics)?;
        let layout = topics.into_iter().map(|topic| TopicLayout {
            name: topic.name.to_owned(),
            found: match topic.error {
                None => Ok((topic.topic, topic.ack, topic.shards.into_owned())),
                Some(code) => Err(code),
            },
        });
        Ok(layout.collect())
    }

    /// Finds an offset of a queue: the earliest, the latest, or by time.
    pub async fn list_offsets(
        &self,
        topic: u32,
        queue: u16,
        kind: ListKind,
        timestamp_ms: i64,
    ) -> Result<OffsetReply, ClientError> {
        let request = Request::ListOffsets(ListOffsets { topic, queue, kind, timestamp_ms });
        answer!(&self.call(&request).await?, Reply::ListOffsets(offset) => offset)
    }

    /// Reads the node's histograms and counters, per shard or merged.
    pub async fn stats(&self, per_shard: bool) -> Result<NodeStats, ClientError> {
        let frame = self.call(&Request::Stats { per_shard }).await?;
        let stats = answer!(&frame, Reply::Stats(stats) => stats)?;
        let counters = stats.counters.into_iter().map(|counter| NodeCounter {
            name: counter.name.into_owned(),
            shard: counter.shard,
            value: counter.value,
        });
        let histograms = stats.histograms.iter().map(read_histogram);
        let histograms = histograms.collect::<Result<_, _>>()?;
        Ok(NodeStats { histograms, counters: counters.collect() })
    }

    /// One topic's id and the shard of each of its queues.
    pub(super) async fn resolve(&self, name: &str) -> Result<(u32, Vec<u16>), ClientError> {
        let layouts = self.metadata(&[name]).await?;
        let layout = layouts.into_iter().find(|layout| layout.name == name);
        match layout.map(|layout| layout.found) {
            Some(Ok((id, _, shards))) => Ok((id, shards)),
            Some(Err(code)) => Err(ClientError::Server {
                code,
                message: name.into(),
                retry_after_ms: 0,
                range: 0..0,
            }),
            None => Err(ClientError::bad_reply("metadata without the topic asked for")),
        }
    }

    async fn call(&self, request: &Request<'_>) -> Result<Bytes, ClientError> {
        self.links.call(request).await
    }
}

fn read_histogram(part: &HistogramPart<'_>) -> Result<NodeHistogram, ClientError> {
    let histogram = Deserializer::new()
        .deserialize(&mut part.encoded.as_ref())
        .map_err(|_| ClientError::bad_reply("not a V2 histogram"))?;
    Ok(NodeHistogram {
        operation: Operation::from_u8(part.op),
        stage: Stage::from_u8(part.stage),
        shard: part.shard,
        histogram,
    })
}
