//! Topics that are made and, some of them, deleted.

use std::sync::Arc;

use net::client::{Client, NewTopic};
use rand::Rng;
use rand::rngs::StdRng;

use super::promises::TopicLife;
use super::{Witness, pause};

/// Makes and deletes topics until the node is gone.
pub(super) async fn run(client: Client, mut random: StdRng, witness: Arc<Witness>) {
    loop {
        pause().await;
        // What changes a topic is durable.
        if witness.is_calm() {
            continue;
        }
        let name = {
            let mut promises = witness.promises();
            promises.topics_made += 1;
            format!("made-{}", promises.topics_made)
        };
        let topic = NewTopic {
            name: &name,
            queues: 1,
            ack: None,
            deep_validation: false,
            key_index: false,
            retention: Default::default(),
        };
        if client.create_topic(&topic).await.is_err() {
            return;
        }
        witness.promised(|promises, made| {
            let life = TopicLife { made, deleting: None, deleted: None };
            promises.topics.insert(name, life);
            promises.count += 1;
        });
        // Few stay: a list of topics has to fit a reply.
        if random.random_ratio(7, 8) && delete(&client, &mut random, &witness).await.is_none() {
            return;
        }
    }
}

/// Deletes one of those that are there; `None` when the node is gone.
async fn delete(client: &Client, random: &mut StdRng, witness: &Witness) -> Option<()> {
    let now = witness.now();
    let name = {
        let mut promises = witness.promises();
        let left = promises.topics.iter_mut().filter(|(_, life)| life.deleting.is_none());
        let mut left: Vec<_> = left.collect();
        if left.is_empty() {
            return Some(());
        }
        let (name, life) = left.swap_remove(random.random_range(0..left.len()));
        life.deleting = Some(now);
        name.clone()
    };
    client.delete_topic(&name).await.ok()?;
    witness.promised(|promises, at| {
        promises.topics.get_mut(&name).expect("it was there").deleted = Some(at);
        promises.count += 1;
    });
    Some(())
}
