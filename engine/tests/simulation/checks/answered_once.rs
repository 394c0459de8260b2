//! No request is answered twice, and one-way ones never.

use engine::level::AckLevel;

use crate::history::History;

pub(crate) fn check(history: &History) -> Result<(), String> {
    if let Some(fault) = &history.fault {
        return Err(fault.clone());
    }
    for sent in history.sent.values() {
        let most = usize::from(sent.ack != AckLevel::None);
        if sent.answers.len() > most {
            return Err(format!("answered too often: {sent:?}"));
        }
    }
    match history.others.values().find(|(_, answers)| *answers > 1) {
        Some((request, answers)) => Err(format!("{request:?} was answered {answers} times")),
        None => Ok(()),
    }
}
