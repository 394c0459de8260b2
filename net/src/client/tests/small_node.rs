//! A node in memory: one topic `t`, its queues kept as entries. Just enough to produce to, once each,
//! and to consume from; and faults, if a test asks for them.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use engine::batch::{BatchRef, STAMPED_BYTES, stamp};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::peer::{Frame, Peer};
use crate::wire::limits::BATCH_BYTES_MAX;
use crate::wire::{
    AckLevel, Entry, ErrorCode, ErrorReply, Fetch, FetchReply, Kind, ListKind, OffsetReply,
    Operation, Produce, ProducerId, Reply, Request, Timings, TopicMetadata, write_entry,
};

pub(super) const TOPIC: u32 = 5;

pub(super) struct SmallNode {
    pub(super) address: SocketAddr,
    pub(super) state: Arc<Mutex<State>>,
    produced: Arc<Notify>,
    task: JoinHandle<()>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) queues: Vec<Queue>,
    pub(super) frames_one_way: usize,
    pub(super) fetches: usize,
    mute: bool,
    /// What happens to the next produces, one after the other.
    pub(super) faults: VecDeque<Fault>,
    /// When each produce came, and how it was answered (`None`: not at all).
    pub(super) produces: Vec<(Instant, Option<ErrorCode>)>,
    pub(super) connections: usize,
    producers: i64,
}

/// What happens to a produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Refused, and nothing is stored.
    Refuse(ErrorCode, u32),
    /// The connection ends before it is looked at.
    CutBefore,
    /// It is stored, and the connection ends before it is answered.
    CutAfter,
    /// It is stored and never answered.
    Silent,
}

#[derive(Default)]
pub(super) struct Queue {
    /// Base offset and entry.
    pub(super) entries: Vec<(u64, Vec<u8>)>,
    pub(super) end: u64,
    sequences: HashMap<i64, Sequence>,
}

/// What is known of an idempotent producer.
#[derive(Clone, Default)]
struct Sequence {
    epoch: i16,
    next: i32,
    /// The last batches: number and offset.
    last: VecDeque<(i32, u64)>,
}

/// As many batches are remembered.
const REMEMBERED: usize = 5;

impl SmallNode {
    pub(super) async fn start(queues: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let queues = (0..queues).map(|_| Queue::default()).collect();
        let state = Arc::new(Mutex::new(State { queues, ..State::default() }));
        let produced = Arc::new(Notify::new());
        let shared = (Arc::clone(&state), Arc::clone(&produced));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let mut peer = Peer::accept(&listener).await;
                let (state, produced) = (Arc::clone(&shared.0), Arc::clone(&shared.1));
                state.lock().unwrap().connections += 1;
                connections.spawn(async move { serve(&mut peer, &state, &produced).await });
            }
        });
        Self { address, state, produced, task }
    }

    /// From now on nothing is answered.
    pub(super) fn mute(&self) {
        self.state.lock().unwrap().mute = true;
    }

    pub(super) fn stop(&self) {
        self.task.abort();
    }

    /// Waits until the queues hold this many records.
    pub(super) async fn holds(&self, records: u64) {
        loop {
            let produced = self.produced.notified();
            let ends = self.state.lock().unwrap().queues.iter().map(|queue| queue.end).sum::<u64>();
            if ends >= records {
                return;
            }
            produced.await;
        }
    }
}

async fn serve(peer: &mut Peer, state: &Mutex<State>, produced: &Notify) {
    // Fetches with nothing to return yet.
    let mut parked: Vec<Frame> = vec![];
    while let Some(frame) = peer.next().await {
        let changed = matches!(frame.decode().1, Request::Produce(_));
        let fault = match changed && !frame.decode().0.one_way {
            true => state.lock().unwrap().faults.pop_front().unwrap_or(Fault::None),
            false => Fault::None,
        };
        if let Fault::Refuse(code, retry_after_ms) = fault {
            state.lock().unwrap().produces.push((Instant::now(), Some(code)));
            let error = ErrorReply { retry_after_ms, ..ErrorReply::new(code, "not now") };
            let op = Operation::Produce.as_u8();
            peer.reply(frame.correlation(), &Reply::Error { op, error }).await;
            continue;
        }
        if fault == Fault::CutBefore {
            return;
        }
        parked.push(frame);
        let candidates = if changed { parked.len() } else { 1 };
        for at in (parked.len() - candidates..parked.len()).rev() {
            let (header, request) = parked[at].decode();
            let mut bytes = vec![];
            let Some(reply) = answer(&mut state.lock().unwrap(), &request, &mut bytes) else {
                continue;
            };
            let is_produce = matches!(request, Request::Produce(_));
            if is_produce && fault == Fault::CutAfter {
                return;
            }
            let silent = is_produce && fault == Fault::Silent;
            if !header.one_way && !silent && !state.lock().unwrap().mute {
                let timings = Timings { device_ns: 77, ..Timings::default() };
                peer.reply_with(&header.reply(timings), &reply).await;
            } else if header.one_way {
                state.lock().unwrap().frames_one_way += 1;
            }
            parked.remove(at);
        }
        produced.notify_one();
    }
}

/// `None`: not yet.
fn answer<'a>(
    state: &mut State,
    request: &Request<'_>,
    bytes: &'a mut Vec<u8>,
) -> Option<Reply<'a>> {
    match request {
        Request::Metadata(names) => {
            assert_eq!(names.iter().collect::<Vec<_>>(), ["t"]);
            Some(Reply::Metadata(vec![TopicMetadata {
                error: None,
                topic: TOPIC,
                ack: AckLevel::Durable,
                name: "t",
                shards: vec![0; state.queues.len()].into(),
            }]))
        }
        Request::InitProducerId => {
            state.producers += 1;
            Some(Reply::InitProducerId(ProducerId { id: state.producers, epoch: 0 }))
        }
        Request::Produce(produce) => {
            let reply = append(state, produce);
            let code = match &reply {
                Reply::Error { error, .. } => Some(error.code),
                _ => None,
            };
            state.produces.push((Instant::now(), code));
            Some(reply)
        }
        Request::Fetch(fetch) => {
            state.fetches += 1;
            read(state, fetch, bytes)
        }
        Request::ListOffsets(list) => {
            let queue = &state.queues[usize::from(list.queue)];
            let offset = match list.kind {
                ListKind::Earliest => 0,
                ListKind::Latest => queue.end,
                ListKind::ByTimestamp => list.timestamp_ms as u64,
            };
            Some(Reply::ListOffsets(OffsetReply { offset, timestamp_ms: -1 }))
        }
        other => panic!("{other:?}"),
    }
}

fn append(state: &mut State, produce: &Produce<'_>) -> Reply<'static> {
    let batch = BatchRef::parse(produce.batch, BATCH_BYTES_MAX).unwrap();
    let queue = &mut state.queues[usize::from(produce.queue)];
    let base_offset = queue.end;
    if batch.producer_id() >= 0 {
        match queue.check(&batch) {
            Ok(None) => {}
            Ok(Some(offset)) => return Reply::Produce(offset),
            Err(code) => {
                let op = Operation::Produce.as_u8();
                return Reply::Error { op, error: ErrorReply::new(code, "sequence") };
            }
        }
    }
    queue.end += u64::from(batch.record_count());
    let mut stamped = produce.batch.to_vec();
    stamp(stamped.first_chunk_mut::<STAMPED_BYTES>().unwrap(), base_offset, 4);
    let entry = Entry {
        kind: Kind::Data,
        queue: u32::from(produce.queue),
        base_offset,
        store_timestamp_ms: 1_000 + base_offset,
        handle: engine::log::position::Handle(base_offset),
        batch: &stamped,
    };
    let mut bytes = vec![];
    write_entry(&mut bytes, &entry);
    queue.entries.push((base_offset, bytes));
    Reply::Produce(base_offset)
}

impl Queue {
    /// The offset of a batch that is stored already; `None`: it is the next one.
    fn check(&mut self, batch: &BatchRef<'_>) -> Result<Option<u64>, ErrorCode> {
        let (epoch, sequence) = (batch.producer_epoch(), batch.base_sequence());
        let new = Sequence { epoch, ..Sequence::default() };
        let known = self.sequences.entry(batch.producer_id()).or_insert_with(|| new.clone());
        if epoch < known.epoch {
            return Err(ErrorCode::ProducerFenced);
        }
        if epoch > known.epoch {
            if sequence != 0 {
                return Err(ErrorCode::OutOfOrderSequence);
            }
            *known = new;
        }
        if let Some((_, offset)) = known.last.iter().find(|(stored, _)| *stored == sequence) {
            return Ok(Some(*offset));
        }
        if sequence != known.next {
            return Err(ErrorCode::OutOfOrderSequence);
        }
        known.next += batch.record_count() as i32;
        known.last.push_back((sequence, self.end));
        if known.last.len() > REMEMBERED {
            known.last.pop_front();
        }
        Ok(None)
    }

    /// Every value, in order.
    pub(super) fn values(&self) -> Vec<Vec<u8>> {
        let mut all = vec![];
        for (_, entry) in &self.entries {
            for entry in crate::wire::Entries::new(entry) {
                let batch = BatchRef::parse(entry.unwrap().batch, BATCH_BYTES_MAX).unwrap();
                let values = batch.records().map(|record| record.unwrap().value.unwrap().to_vec());
                all.extend(values);
            }
        }
        all
    }
}

fn read<'a>(state: &State, fetch: &Fetch, bytes: &'a mut Vec<u8>) -> Option<Reply<'a>> {
    assert_eq!(fetch.topic, TOPIC);
    let queue = &state.queues[usize::from(fetch.queue)];
    if fetch.offset > queue.end {
        let error = ErrorReply {
            range_end: queue.end,
            ..ErrorReply::new(ErrorCode::OffsetOutOfRange, "beyond the end")
        };
        return Some(Reply::Error { op: Operation::Fetch.as_u8(), error });
    }
    // Whole entries from the one that holds the offset on, one at least.
    let first = queue.entries.partition_point(|(base, _)| *base <= fetch.offset).saturating_sub(1);
    if fetch.offset == queue.end {
        return None;
    }
    for (_, entry) in &queue.entries[first..] {
        if !bytes.is_empty() && bytes.len() + entry.len() > fetch.bytes_max as usize {
            break;
        }
        bytes.extend_from_slice(entry);
    }
    Some(Reply::Fetch(FetchReply { log_start: 0, visible: queue.end, entries: bytes }))
}
