//! What a group committed at a level that survives the crash is there, or something it committed
//! later; and no offset lies beyond its queue's end.

use crate::history::History;
use crate::survey::Survey;

pub(crate) fn check(history: &History, survey: &Survey) -> Result<(), String> {
    for (key, asked) in &history.commits.asked {
        let topic = survey.topics.get(&key.1.0);
        if topic.is_none() && history.topic(key.1.0).is_none_or(|topic| topic.delete_asked) {
            continue;
        }
        let found = survey.committed.get(key);
        let owed = history.commits.owed.get(key).copied();
        let allowed = asked.iter().skip(owed.unwrap_or(0)).map(|asked| asked.what.as_ref());
        let never = owed.is_none() && found.is_none();
        if !never && !allowed.clone().any(|what| what == found) {
            let allowed: Vec<_> = allowed.collect();
            return Err(format!("{key:?} has {found:?}, it committed {allowed:?}"));
        }
    }
    for (key, (offset, _)) in &survey.committed {
        let (topic, queue) = key.1;
        let range =
            survey.topics.get(&topic).and_then(|topic| topic.queues.get(usize::from(queue)));
        if range.is_none_or(|(range, _)| *offset > range.end_offset) {
            return Err(format!("{key:?}: {offset} is beyond the end, {range:?}"));
        }
        if !history.commits.asked.contains_key(key) {
            return Err(format!("{key:?}: nobody committed {offset}"));
        }
    }
    Ok(())
}
