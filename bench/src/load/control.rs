//! Topics and statistics over a blocking connection of their own, off the hot path.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use engine::batch::{NewRecord, append_single};
use engine::limits::WAIT_MS_MAX;
use net::loopback::connect;
use net::wire::limits::{BATCH_BYTES_MAX, REPLY_BYTES_MAX};
use net::wire::{
    AckLevel, Fetch, Hello, ListKind, ListOffsets, OffsetReply, Produce, Reply, Request,
    RequestHeader, SHARD_ANY, TopicCreate, VERSION, decode_reply, encode_request, frame_length,
};

use super::LoadError;

const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
const PREFIX_BYTES: usize = 4;

/// Counters of a node, added up over its shards.
pub type Counters = BTreeMap<String, u64>;

/// A connection for questions.
#[derive(Debug)]
pub struct Control {
    stream: TcpStream,
    frame: Vec<u8>,
}

impl Control {
    /// Connects and says Hello.
    ///
    /// # Errors
    /// When nobody listens there, or it is no node.
    pub fn connect(addr: SocketAddr) -> Result<Self, LoadError> {
        let connected = || {
            let stream = connect(addr, REPLY_TIMEOUT)?;
            stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
            Ok(stream)
        };
        let mut stream = connected().map_err(|source| LoadError::Connect { addr, source })?;
        let mut frame = Vec::new();
        greet(&mut stream, &mut frame)?;
        Ok(Self { stream, frame })
    }

    /// Makes a topic; consumers see what reached `ack`. Returns its id.
    ///
    /// # Errors
    /// When the node refuses or is gone.
    pub fn create_topic(
        &mut self,
        name: &str,
        queues: u16,
        ack: AckLevel,
    ) -> Result<u32, LoadError> {
        let topic = TopicCreate {
            name,
            queues,
            ack: Some(ack),
            deep_validation: false,
            key_index: false,
            retention: Default::default(),
        };
        match self.ask("topic create", &Request::TopicCreate(topic))? {
            Reply::TopicCreate(id) => Ok(id),
            _ => Err(LoadError::Unexpected("something else to a topic create")),
        }
    }

    /// Removes a topic.
    ///
    /// # Errors
    /// When the node refuses or is gone.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), LoadError> {
        self.ask("topic delete", &Request::TopicDelete(name)).map(|_| ())
    }

    /// Sends one message to queue 0 of a topic and waits for the acknowledgement.
    ///
    /// # Errors
    /// When the node refuses or is gone.
    pub fn produce(&mut self, topic: u32, ack: AckLevel, value: &[u8]) -> Result<(), LoadError> {
        let mut batch = Vec::new();
        let record = NewRecord { value: Some(value), ..NewRecord::default() };
        append_single(&mut batch, &record, BATCH_BYTES_MAX)?;
        let produce = Produce { topic, queue: 0, ack: Some(ack), batch: &batch };
        self.ask("produce", &Request::Produce(produce)).map(|_| ())
    }

    /// An offset of a queue, and the time its record was stored.
    ///
    /// # Errors
    /// When the node refuses or is gone.
    pub fn offset(
        &mut self,
        topic: u32,
        queue: u16,
        kind: ListKind,
        timestamp_ms: i64,
    ) -> Result<OffsetReply, LoadError> {
        let list = ListOffsets { topic, queue, kind, timestamp_ms };
        match self.ask("list offsets", &Request::ListOffsets(list))? {
            Reply::ListOffsets(found) => Ok(found),
            _ => Err(LoadError::Unexpected("something else to a list offsets")),
        }
    }

    /// Fetches the entry that holds an offset, and no more if it can be helped. Returns its bytes.
    ///
    /// # Errors
    /// When the node refuses or is gone.
    pub fn fetch_one(&mut self, topic: u32, queue: u16, offset: u64) -> Result<usize, LoadError> {
        let fetch =
            Fetch { topic, queue, epoch: 0, offset, bytes_max: 1, bytes_min: 1, wait_max_ms: 0 };
        match self.ask("fetch", &Request::Fetch(fetch))? {
            Reply::Fetch(fetched) => Ok(fetched.entries.len()),
            _ => Err(LoadError::Unexpected("something else to a fetch")),
        }
    }

    /// Asks for a message that is not there yet, and does not wait for the answer. Good for nothing
    /// but holding a place: the answer, after a minute at the latest, is never read.
    ///
    /// # Errors
    /// When the node is gone.
    pub fn park(&mut self, topic: u32) -> Result<(), LoadError> {
        let fetch = Fetch {
            topic,
            queue: 0,
            epoch: 0,
            offset: 0,
            bytes_max: 1,
            bytes_min: 1,
            wait_max_ms: WAIT_MS_MAX,
        };
        self.frame.clear();
        encode_request(&mut self.frame, &RequestHeader::default(), &Request::Fetch(fetch))?;
        self.stream.write_all(&self.frame).map_err(LoadError::socket("sending"))
    }

    /// The node's counters, each added up over the shards.
    ///
    /// # Errors
    /// When the node is gone.
    pub fn counters(&mut self) -> Result<Counters, LoadError> {
        let Reply::Stats(stats) = self.ask("stats", &Request::Stats { per_shard: false })? else {
            return Err(LoadError::Unexpected("something else to a stats request"));
        };
        let mut counters = Counters::new();
        for counter in stats.counters {
            *counters.entry(counter.name.into_owned()).or_default() += counter.value;
        }
        Ok(counters)
    }

    fn ask(
        &mut self,
        operation: &'static str,
        request: &Request<'_>,
    ) -> Result<Reply<'_>, LoadError> {
        self.frame.clear();
        encode_request(&mut self.frame, &RequestHeader::default(), request)?;
        self.stream.write_all(&self.frame).map_err(LoadError::socket("sending"))?;
        receive_frame(&mut self.stream, &mut self.frame)?;
        match decode_reply(&self.frame)?.1 {
            Reply::Error { error, .. } => Err(refused(operation, &error)),
            reply => Ok(reply),
        }
    }
}

pub(super) fn refused(operation: &'static str, error: &net::wire::ErrorReply<'_>) -> LoadError {
    LoadError::Refused { operation, code: error.code, message: error.message.to_owned() }
}

/// Says Hello on a blocking connection and checks the answer.
pub(super) fn greet(stream: &mut TcpStream, frame: &mut Vec<u8>) -> Result<(), LoadError> {
    frame.clear();
    let hello = Hello {
        version_min: VERSION,
        version_max: VERSION,
        shard_wish: SHARD_ANY,
        client: "uringmq bench",
    };
    encode_request(frame, &RequestHeader::default(), &Request::Hello(hello))?;
    stream.write_all(frame).map_err(LoadError::socket("saying hello"))?;
    receive_frame(stream, frame)?;
    match decode_reply(frame)?.1 {
        Reply::Hello(_) => Ok(()),
        Reply::Error { error, .. } => Err(refused("hello", &error)),
        _ => Err(LoadError::Unexpected("something else to a hello")),
    }
}

/// Reads one frame from a blocking connection.
fn receive_frame(stream: &mut TcpStream, frame: &mut Vec<u8>) -> Result<(), LoadError> {
    frame.clear();
    frame.resize(PREFIX_BYTES, 0);
    stream.read_exact(frame).map_err(LoadError::socket("receiving a reply"))?;
    let Some(length) = frame_length(frame, REPLY_BYTES_MAX)? else {
        return Err(LoadError::Unexpected("half a frame"));
    };
    frame.resize(length, 0);
    stream.read_exact(&mut frame[PREFIX_BYTES..]).map_err(LoadError::socket("receiving a reply"))
}
