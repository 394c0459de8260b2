//! Questions by key go to the shard that has the queue.

use super::{Answers, Broker, catalog};
use crate::io::Env;
use crate::shard::{Effect, FetchError, Lookup};

impl<E: Env> Broker<E> {
    /// Looks for visible records of a topic's queue by key.
    pub fn look_up(&mut self, (topic, queue): (u32, u16), lookup: Lookup, answers: &mut Answers) {
        let token = lookup.token;
        let error = match self.catalog.queue(topic, queue) {
            Ok((_, place)) => {
                let lookup = Lookup { queue: place.id, ..lookup };
                match self.shards.get_mut(place.shard) {
                    Some(shard) => return shard.look_up(lookup, &mut answers.effects),
                    None => FetchError::UnknownQueue,
                }
            }
            Err(catalog::Missing::Topic) => FetchError::UnknownTopic,
            Err(catalog::Missing::Queue) => FetchError::UnknownQueue,
        };
        answers.effects.push(Effect::LookedUp { token, result: Err(error) });
    }
}
