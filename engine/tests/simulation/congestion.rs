//! Producers that outrun the device: the shard says that it is congested, the sockets are left
//! alone, and when the device comes back everything goes on and nothing is missing.

use engine::io::Nanos;
use engine::io::sim::{Config, CrashImage, CrashPolicy, Fault, OpKind};
use engine::level::AckLevel;
use engine::limits::{BATCH_BYTES_MAX, BLOCK_MEMORY_BYTES_MAX, CHUNK_BYTES};
use engine::limits::{UNWRITTEN_BYTES_MAX, WAITERS_MAX, WINDOW_BYTES};
use engine::shard::ProduceError;

use crate::checks;
use crate::faults::{QUEUE, boot_with, faults, with_topic_on};
use crate::history::{Crash, History};
use crate::node::{Machines, Node};

/// Room for everything: a roll needs the device, too.
const SEGMENT_BYTES: u64 = 128 << 20;
/// How long the device does not answer: short of the deadline.
const STUCK_NANOS: u64 = 1_500_000_000;

fn machines() -> Machines {
    let config = Config { block_bytes_max: BLOCK_MEMORY_BYTES_MAX, ..Config::default() };
    Machines::start(&[CrashImage::default()], config, 1)
}

/// Producers that have more to send than the device takes, read as the pump reads them.
struct Producers {
    value_bytes: usize,
    levels: &'static [AckLevel],
    batches_left: u64,
}

impl Producers {
    /// The receive pass of a turn: up to 1 MiB, unless the shard is congested. Whether anything was
    /// read.
    fn receive(&mut self, node: &mut Node<'_>, history: &mut History) -> bool {
        // Header of the frame, header of the batch, the record: what the socket holds.
        let frame_bytes = self.value_bytes as u64 + 80;
        let mut read = 0;
        while read < u64::from(BATCH_BYTES_MAX) && self.batches_left > 0 {
            if node.broker.is_congested() && read == 0 {
                return false;
            }
            let ack = self.levels[history.sent.len() % self.levels.len()];
            node.produce(history, QUEUE, ack, (1, self.value_bytes));
            read += frame_bytes;
            self.batches_left -= 1;
        }
        read > 0
    }
}

fn unanswered(history: &History) -> usize {
    history.sent.values().filter(|sent| sent.answers.is_empty()).count()
}

/// Sends `batches`, several times what may wait; how many of them waited at most.
fn outrun(value_bytes: usize, levels: &'static [AckLevel], batches: u64) -> u64 {
    let (mut machines, mut history) = (machines(), History::default());
    let mut node = with_topic_on(boot_with(&mut machines, SEGMENT_BYTES), &mut history);
    let mut producers = Producers { value_bytes, levels, batches_left: batches };
    for kind in [OpKind::Write, OpKind::Zero, OpKind::Sync, OpKind::Create] {
        faults(&mut node).always(kind, Fault::LateNs(STUCK_NANOS));
    }
    let began = node.now();

    // The device takes what it is given and says nothing.
    while producers.receive(&mut node, &mut history) {
        node.turn(&mut history);
        node.advance(1000);
    }
    assert!(node.broker.is_congested(), "everything was taken in");
    let taken = batches - producers.batches_left;
    assert_eq!(unanswered(&history) as u64, taken, "nobody is told stored, and nobody is refused");
    let memory = node.disk(0).budget().used();
    let memory_max = UNWRITTEN_BYTES_MAX + WINDOW_BYTES + 4 * u64::from(CHUNK_BYTES);
    assert!(memory <= memory_max, "{memory} bytes");

    // Time passes; still nothing comes back, and still nothing is read.
    let stuck_until = Nanos(began.0 + STUCK_NANOS);
    while node.now() < stuck_until {
        assert!(!producers.receive(&mut node, &mut history), "congested until {stuck_until:?}");
        node.turn(&mut history);
        node.advance(STUCK_NANOS / 16);
    }

    // The device answers again.
    faults(&mut node).clear();
    let mut memory = 0;
    while producers.batches_left > 0 || node.broker.is_congested() {
        producers.receive(&mut node, &mut history);
        let end = node.turn(&mut history);
        memory = memory.max(node.disk(0).budget().used());
        assert!(node.advance_to_next(end.wake_at), "nothing will ever happen");
    }
    assert!(batches > taken && memory <= memory_max, "{memory} bytes");
    assert!(node.settle(&mut history) && !node.broker.is_congested());
    checks::answered_once::check(&history).unwrap();
    checks::liveness::check(&history, false).unwrap();
    let refused = history.sent.values().find(|sent| sent.answers[0].is_err());
    assert!(refused.is_none(), "refused instead of slowed down: {refused:?}");

    history.crash(Crash::Power);
    let images = machines.images(|_| CrashPolicy::LoseAll);
    let mut machines = Machines::start(&images, Config::default(), 2);
    let mut node = boot_with(&mut machines, SEGMENT_BYTES);
    let survey = node.survey().unwrap();
    checks::after_restart(&history, &survey).unwrap();
    taken
}

/// About how many batches wait when `entry_bytes` of each may.
fn waiting(entry_bytes: u64) -> std::ops::RangeInclusive<u64> {
    let least = UNWRITTEN_BYTES_MAX / entry_bytes;
    least..=least + 2 * u64::from(BATCH_BYTES_MAX) / entry_bytes
}

#[test]
fn large_batches_are_slowed_down_not_refused() {
    let taken = outrun(900 << 10, &[AckLevel::Durable], 100);
    assert!(waiting(900 << 10).contains(&taken), "{taken}");
}

#[test]
fn batches_of_all_levels_are_slowed_down_not_refused() {
    let taken = outrun(20_000, &[AckLevel::Written, AckLevel::Durable], 5000);
    assert!(waiting(20_000).contains(&taken), "{taken}");
}

/// So short that there are too many of them before there are too many bytes.
#[test]
fn tiny_batches_are_slowed_down_not_refused() {
    let taken = outrun(12, &[AckLevel::Durable], WAITERS_MAX as u64 + 1000);
    assert!(taken < WAITERS_MAX as u64, "{taken}");
}

/// A device that never answers: at the deadline everybody is told, and the sockets are read again.
#[test]
fn congestion_ends_with_the_deadline() {
    let (mut machines, mut history) = (machines(), History::default());
    let mut node = with_topic_on(boot_with(&mut machines, SEGMENT_BYTES), &mut history);
    let levels = &[AckLevel::Durable];
    let mut producers = Producers { value_bytes: 300_000, levels, batches_left: 1000 };
    faults(&mut node).always(OpKind::Write, Fault::Stuck);
    while producers.receive(&mut node, &mut history) {
        node.turn(&mut history);
    }
    assert!(node.broker.is_congested() && unanswered(&history) == history.sent.len());
    assert!(node.settle(&mut history));
    assert!(node.broker.poison().is_some() && !node.broker.is_congested());
    let told = |answer: &Result<u64, ProduceError>| *answer == Err(ProduceError::FlushTimeout);
    assert!(history.sent.values().all(|sent| sent.answers.len() == 1 && told(&sent.answers[0])));
    assert!(producers.receive(&mut node, &mut history), "they are read, to be told");
}
