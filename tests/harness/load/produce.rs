//! Batches that are sent once: all ack levels, one way among them, several requests in flight.

use std::sync::Arc;

use engine::batch::{NewRecord, append_single};
use net::client::{AckLevel, Client, Partitioner, Record};
use rand::Rng;
use rand::rngs::StdRng;

use super::promises::Given;
use super::{TOPICS, Witness, pause};

/// Each producer's requests in flight.
const WINDOW: usize = 16;
const LEVELS: [AckLevel; 4] =
    [AckLevel::None, AckLevel::Memory, AckLevel::Written, AckLevel::Durable];

/// Produces to one topic until the node is gone.
pub(super) async fn run(client: Client, number: usize, mut random: StdRng, witness: Arc<Witness>) {
    let topic = number % TOPICS.len();
    let (name, of_topic) = TOPICS[topic];
    // A node may be killed that early.
    let Ok(of_name) = client.metadata(&[name]).await else { return };
    let (id, _, queues) = of_name[0].found.clone().expect("the topic is there");
    // One key, so one queue: the order can be checked.
    let queue = (number % queues.len()) as u16;
    let one_way = client.producer(name).partitioner(Partitioner::Queue(queue)).build().await;
    let Ok(one_way) = one_way else { return };
    loop {
        // Whatever comes into such a topic has to become durable, to be seen.
        while witness.now_at_most(of_topic) != of_topic {
            pause().await;
        }
        let mut acks = Vec::new();
        for _ in 0..random.random_range(1..=WINDOW) {
            let sequence = witness.promises().sequences[number];
            witness.promises().sequences[number] += 1;
            let value = witness.value(number, sequence);
            let level = witness.now_at_most(LEVELS[random.random_range(0..LEVELS.len())]);
            if level == AckLevel::None {
                if one_way.send_one_way(&Record::new(&value)).await.is_err() {
                    break;
                }
                continue;
            }
            let mut batch = Vec::new();
            let record = NewRecord { value: Some(&value), ..NewRecord::default() };
            append_single(&mut batch, &record, 1 << 20).expect("it fits");
            match client.produce(id, queue, Some(level), &batch).await {
                Ok(ack) => acks.push((level, sequence, ack)),
                Err(_) => break,
            }
        }
        if acks.is_empty() && client.ping(b"").await.is_err() {
            return;
        }
        for (level, sequence, ack) in acks {
            // The crash may have come in the middle: the others may still have been answered.
            let Ok(offset) = ack.await else { continue };
            if witness.survives(level) {
                witness.promised(|promises, at| {
                    let given = Given { at, producer: number, sequence };
                    promises.message(topic, (queue, offset), given);
                });
            }
        }
    }
}
