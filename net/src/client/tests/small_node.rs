//! A node in memory: one topic `t`, its queues kept as entries. Just enough to produce to and to
//! consume from.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use engine::batch::{BatchRef, STAMPED_BYTES, stamp};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::peer::{Frame, Peer};
use crate::wire::limits::BATCH_BYTES_MAX;
use crate::wire::{
    AckLevel, Entry, ErrorCode, ErrorReply, Fetch, FetchReply, Kind, ListKind, OffsetReply,
    Operation, Produce, Reply, Request, Timings, TopicMetadata, write_entry,
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
}

#[derive(Default)]
pub(super) struct Queue {
    /// Base offset and entry.
    pub(super) entries: Vec<(u64, Vec<u8>)>,
    pub(super) end: u64,
}

impl SmallNode {
    pub(super) async fn start(queues: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let queues = (0..queues).map(|_| Queue::default()).collect();
        let state = Arc::new(Mutex::new(State { queues, ..State::default() }));
        let produced = Arc::new(Notify::new());
        let shared = (Arc::clone(&state), Arc::clone(&produced));
        let task = tokio::spawn(async move {
            let mut peer = Peer::accept(&listener).await;
            serve(&mut peer, &shared.0, &shared.1).await;
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
        parked.push(frame);
        let candidates = if changed { parked.len() } else { 1 };
        for at in (parked.len() - candidates..parked.len()).rev() {
            let (header, request) = parked[at].decode();
            let mut bytes = vec![];
            let Some(reply) = answer(&mut state.lock().unwrap(), &request, &mut bytes) else {
                continue;
            };
            if !header.one_way && !state.lock().unwrap().mute {
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
        Request::Produce(produce) => Some(append(state, produce)),
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
