//! Plain producers: all ack levels, one way among them, several requests in flight.

use std::sync::Arc;

use net::client::{AckLevel, Client, Record};
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
    let mut producers = Vec::new();
    for level in LEVELS {
        let producer = client.producer(name).ack(level).build().await;
        // A node may be killed that early.
        let Ok(producer) = producer else { return };
        producers.push((level, producer));
    }
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
            let of_level = producers.iter().find(|(of, _)| *of == level);
            let (_, producer) = of_level.expect("one for each");
            // One key, so one queue: the order can be checked.
            let key = [number as u8];
            let record = Record::new(&value).with_key(&key);
            if level == AckLevel::None {
                if producer.send_one_way(&record).await.is_err() {
                    break;
                }
                continue;
            }
            match producer.send_async(&record).await {
                Ok(ack) => acks.push((level, sequence, ack)),
                Err(_) => break,
            }
        }
        if acks.is_empty() && client.ping(b"").await.is_err() {
            return;
        }
        for (level, sequence, ack) in acks {
            // The crash may have come in the middle: the others may still have been answered.
            let Ok(sent) = ack.await else { continue };
            if witness.survives(level) {
                witness.promised(|promises, at| {
                    let given = Given { at, producer: number, sequence };
                    promises.message(topic, (sent.queue, sent.offset), given);
                });
            }
        }
    }
}
