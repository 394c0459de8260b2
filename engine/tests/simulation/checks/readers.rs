//! Readers of earlier lives go on where they were if all they saw is still there, and are told how
//! far it is if not: no offset they have passed stands for another record unnoticed.

use std::collections::BTreeMap;

use engine::batch::BatchRef;
use engine::shard::{Effect, Fetch, FetchError, Token};

use crate::history::{History, Queue, Reader};
use crate::node::Node;
use crate::survey::{Entry, Survey};

pub(crate) fn check(node: &mut Node<'_>, history: &History, survey: &Survey) -> Result<(), String> {
    let found = survey.offsets();
    let lives: BTreeMap<(Queue, u64), u32> = survey
        .queues()
        .flat_map(|(queue, _, entries)| entries.iter().map(move |entry| (queue, entry)))
        .map(|(queue, entry)| ((queue, entry.base_offset), life_of(entry)))
        .collect();
    for reader in &history.readers {
        let Some(found) = found.get(&reader.queue) else { continue };
        // A batch that was lost and sent again may have got its old offset, in a later life.
        let later = |offset: u64| {
            lives.get(&(reader.queue, offset)).is_some_and(|epoch| *epoch > reader.epoch)
        };
        let fetch = Fetch {
            token: Token(0),
            queue: 0,
            offset: reader.offset,
            epoch: reader.epoch,
            bytes_min: 0,
            bytes_max: 1,
            wait_nanos: 0,
        };
        let mut seen = reader.seen.iter();
        let lost = seen.find(|(offset, token)| found.get(offset) != Some(token) || later(**offset));
        let answer = node.fetch_effect(reader.queue, fetch);
        if node.crashed() {
            return Ok(());
        }
        let Effect::Fetched { result, .. } = answer else {
            return Err(format!("{reader:?} was answered {answer:?}"));
        };
        match (lost, result) {
            (None, Ok(_)) => {}
            // Where it was has gone since the survey.
            (_, Err(FetchError::OutOfRange { start, .. })) if start > reader.offset => {}
            // All it read has expired: nobody can tell any more what became of it.
            (None, Err(FetchError::OutOfRange { .. } | FetchError::Truncated { .. }))
                if reader.seen.is_empty() => {}
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

/// Nobody has met damage: what is read is not used again meanwhile.
pub(crate) fn undamaged(history: &History) -> Result<(), String> {
    match &history.unread {
        Some(unread) => Err(format!("damage without a fault: {unread}")),
        None => Ok(()),
    }
}

fn life_of(entry: &Entry) -> u32 {
    BatchRef::parse_unverified(&entry.batch).map_or(0, |batch| batch.leader_epoch())
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
