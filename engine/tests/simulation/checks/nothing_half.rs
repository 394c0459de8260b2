//! Every batch that can be read is exactly one that was sent to that queue, byte for byte (the
//! stamps aside).

use engine::batch::BatchRef;

use crate::history::History;
use crate::payload::token_of;
use crate::survey::Survey;

pub(crate) fn check(history: &History, survey: &Survey) -> Result<(), String> {
    for (queue, _, entries) in survey.queues() {
        for entry in entries {
            let sent = token_of(&entry.batch).and_then(|token| history.sent.get(&token));
            let Some(sent) = sent.filter(|sent| sent.queue == queue) else {
                return Err(format!("{queue:?}: nobody sent {entry:?}"));
            };
            let original = sent.shape.batch();
            let original = BatchRef::parse(&original, u32::MAX).map_err(|e| e.to_string())?;
            let found = BatchRef::parse(&entry.batch, u32::MAX).map_err(|e| e.to_string())?;
            if original.after_stamp() != found.after_stamp() {
                return Err(format!("{queue:?}: not what was sent: {sent:?}"));
            }
            if found.base_offset() != entry.base_offset {
                return Err(format!(
                    "{queue:?}: stamped {} at {}",
                    found.base_offset(),
                    entry.base_offset
                ));
            }
        }
    }
    Ok(())
}
