//! A topic gets another level: what consumers of its queues see from now on.
//!
//! What they could see before they still see, and what was stored before becomes visible as it was
//! promised then, or earlier; the new level counts for what is stored from now on.
//! Invariant: every span that consumers do not see yet is shown by exactly one entry of the queues
//! of touched spans (`complete`).

use std::collections::BTreeSet;

use super::Shard;
use crate::io::Env;
use crate::level::AckLevel;

impl<E: Env> Shard<E> {
    /// Sets the level that consumers of these queues wait for.
    pub fn set_visibility(&mut self, queues: &[u32], visibility: AckLevel) {
        let mut shown = BTreeSet::new();
        for &id in queues {
            let Some(queue) = self.queues.get_mut(id) else { continue };
            let before = std::mem::replace(&mut queue.visibility, visibility);
            if visibility > before {
                // The last span may be visible, or be about to be; what follows must not be yet.
                queue.index.end_span();
            } else if visibility < before && visibility <= AckLevel::Memory {
                queue.index.show_all();
                shown.insert(id);
                if self.parked.waits_for(id) {
                    self.woken.insert(id);
                }
            }
        }
        if !shown.is_empty() {
            self.written_touched.retain(|(_, id)| !shown.contains(id));
            self.durable_touched.retain(|(_, id)| !shown.contains(id));
        }
    }
}
