//! What a consumer has seen does not disappear (unless its topic shows records that are weaker
//! than the crash).

use super::acked_is_there::owed_is_found;
use crate::history::History;
use crate::survey::Survey;

pub(crate) fn check(history: &History, survey: &Survey) -> Result<(), String> {
    let found = survey.offsets();
    for (queue, owed) in &history.owed_seen {
        owed_is_found("seen by a consumer", history, *queue, owed, found.get(queue))?;
    }
    Ok(())
}
