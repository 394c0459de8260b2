//! What was acknowledged at a level that survives the crash is there, at the offset that was told.

use crate::history::{History, Offsets, Queue};
use crate::survey::Survey;

pub(crate) fn check(history: &History, survey: &Survey) -> Result<(), String> {
    let found = survey.offsets();
    for (queue, owed) in &history.owed {
        owed_is_found("acknowledged or found before", history, *queue, owed, found.get(queue))?;
    }
    Ok(())
}

/// Every batch in `owed` is in `found`, unless somebody asked to delete its topic.
pub(crate) fn owed_is_found(
    why: &str,
    history: &History,
    queue: Queue,
    owed: &Offsets,
    found: Option<&Offsets>,
) -> Result<(), String> {
    if found.is_none() && history.topic(queue.0).is_none_or(|topic| topic.delete_asked) {
        return Ok(());
    }
    for (offset, token) in owed {
        let there = found.and_then(|found| found.get(offset));
        if there != Some(token) {
            let sent = &history.sent[token];
            return Err(format!(
                "{why}, and gone: offset {offset} of {queue:?} should be {sent:?}, is {there:?}"
            ));
        }
    }
    Ok(())
}
