//! Readers of earlier lives go on where they were if all they saw is still there, and are told how
//! far it is if not: no offset they have passed stands for another record unnoticed.

use engine::shard::{Effect, Fetch, FetchError, Token};

use crate::history::{History, Reader};
use crate::node::Node;
use crate::survey::Survey;

pub(crate) fn check(node: &mut Node<'_>, history: &History, survey: &Survey) -> Result<(), String> {
    let found = survey.offsets();
    for reader in &history.readers {
        let Some(found) = found.get(&reader.queue) else { continue };
        let fetch = Fetch {
            token: Token(0),
            queue: 0,
            offset: reader.offset,
            epoch: reader.epoch,
            bytes_min: 0,
            bytes_max: 1,
            wait_nanos: 0,
        };
        let lost = reader.seen.iter().find(|(offset, token)| found.get(offset) != Some(token));
        let answer = node.fetch_effect(reader.queue, fetch);
        if node.crashed() {
            return Ok(());
        }
        let Effect::Fetched { result, .. } = answer else {
            return Err(format!("{reader:?} was answered {answer:?}"));
        };
        match (lost, result) {
            (None, Ok(_)) => {}
            (Some((lost, _)), Err(FetchError::Truncated { end, .. })) if end <= *lost => {
                still_there(reader, end, survey)?;
            }
            (lost, result) => {
                return Err(format!("{reader:?} lost {lost:?}, and was told {result:?}"));
            }
        }
    }
    Ok(())
}

/// What a reader is told to be valid is all that it can be.
fn still_there(reader: &Reader, end: u64, survey: &Survey) -> Result<(), String> {
    let found = survey.offsets();
    let last = reader.seen.range(..end).next_back();
    match last {
        Some((offset, token))
            if found.get(&reader.queue).and_then(|f| f.get(offset)) != Some(token) =>
        {
            Err(format!("{reader:?} is told that all before {end} is there, but {offset} is not"))
        }
        _ => Ok(()),
    }
}
