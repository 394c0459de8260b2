//! Offsets of a queue have no gap, its batches are in the order in which they were sent, and each
//! is there at most once. Batches of an idempotent producer may have been sent again after a crash,
//! behind others; among themselves they have sequence numbers without gaps.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::History;
use crate::payload::token_of;
use crate::survey::Survey;

pub(crate) fn check(history: &History, survey: &Survey) -> Result<(), String> {
    for (queue, range, entries) in survey.queues() {
        let mut offset = range.start_offset;
        let mut before = 0;
        let (mut seen, mut next) = (BTreeSet::new(), BTreeMap::new());
        for entry in entries {
            if entry.base_offset != offset {
                let found = entry.base_offset;
                return Err(format!("{queue:?}: offset {found} where {offset} is next"));
            }
            let token = token_of(&entry.batch).unwrap_or(0);
            if !seen.insert(token) {
                return Err(format!("{queue:?}: batch {token} again at {offset}"));
            }
            let shape = history.sent.get(&token).map(|sent| sent.shape);
            if let Some((shape, number)) = shape.and_then(|shape| Some((shape, shape.number?))) {
                let expected = next.insert((number.producer, number.epoch), shape.next());
                if number.first != expected.unwrap_or(0) {
                    return Err(format!("{queue:?}: {number:?} where {expected:?} is next"));
                }
            } else if token <= before {
                return Err(format!("{queue:?}: batch {token} behind {before} at {offset}"));
            } else {
                before = token;
            }
            offset += u64::from(entry.records);
        }
        if offset != range.end_offset || range.visible_offset != range.end_offset {
            return Err(format!("{queue:?}: read up to {offset} of {range:?}"));
        }
    }
    Ok(())
}
