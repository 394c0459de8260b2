//! Offsets of a queue have no gap, its batches are in the order in which they were sent, and each
//! is there at most once.

use crate::history::History;
use crate::payload::token_of;
use crate::survey::Survey;

pub(crate) fn check(_history: &History, survey: &Survey) -> Result<(), String> {
    for (queue, range, entries) in survey.queues() {
        let mut offset = range.start_offset;
        let mut before = 0;
        for entry in entries {
            if entry.base_offset != offset {
                let found = entry.base_offset;
                return Err(format!("{queue:?}: offset {found} where {offset} is next"));
            }
            let token = token_of(&entry.batch).unwrap_or(0);
            if token <= before {
                return Err(format!("{queue:?}: batch {token} behind {before} at {offset}"));
            }
            before = token;
            offset += u64::from(entry.records);
        }
        if offset != range.end_offset || range.visible_offset != range.end_offset {
            return Err(format!("{queue:?}: read up to {offset} of {range:?}"));
        }
    }
    Ok(())
}
