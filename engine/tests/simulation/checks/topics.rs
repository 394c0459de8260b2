//! A topic that was acknowledged exists, with its id and its queues; a deleted one does not.

use crate::history::History;
use crate::survey::Survey;

pub(crate) fn check(history: &History, survey: &Survey) -> Result<(), String> {
    for topic in &history.topics {
        let Some(id) = topic.id else { continue };
        let found = survey.topics.get(&id);
        match found {
            Some(_) if topic.deleted => return Err(format!("deleted and back: {topic:?}")),
            None if !topic.delete_asked => return Err(format!("a topic is gone: {topic:?}")),
            Some(found)
                if found.name != topic.name || found.queues.len() != usize::from(topic.queues) =>
            {
                return Err(format!("another topic: {topic:?} is {}", found.name));
            }
            _ => {}
        }
    }
    Ok(())
}
