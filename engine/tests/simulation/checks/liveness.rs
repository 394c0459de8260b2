//! Without faults, and after a while, everybody who waits has been answered, and every well-formed
//! produce was stored or told to come again.

use engine::level::AckLevel;
use engine::log::writer::AppendError;
use engine::shard::ProduceError;

use crate::history::History;

/// With `small`, a device that may be full.
pub(crate) fn check(history: &History, small: bool) -> Result<(), String> {
    for sent in history.sent.values().filter(|sent| sent.life == history.life) {
        match sent.answers.first() {
            None if sent.ack == AckLevel::None => {}
            None => return Err(format!("never answered: {sent:?}")),
            Some(Ok(_)) => {}
            Some(Err(ProduceError::UnknownTopic | ProduceError::UnknownQueue)) => {}
            Some(Err(ProduceError::Append(AppendError::Busy))) => {}
            Some(Err(ProduceError::Append(AppendError::DiskFull { .. }))) if small => {}
            Some(Err(error)) => return Err(format!("refused without a fault, {error}: {sent:?}")),
        }
    }
    match history.others.iter().find(|(_, (_, answers))| *answers == 0) {
        Some((token, (request, _))) => Err(format!("request {token} never answered: {request:?}")),
        None => Ok(()),
    }
}
