//! Where the entries of a group go on behind one that is damaged.
//!
//! What is damaged may be its length, so the next entry is looked for: first where the damaged one
//! says that it ends, then at every place where an entry may begin. An entry knows its shard and
//! position and has a checksum over both, so what is found is one that was written to this very
//! place.
//! Absent: what is lost in between (the offsets of the next entries tell that).

use super::entry_format::{ENTRY_ALIGN, EntryHeader};
use super::position::{Handle, LogPos};

/// The first place behind byte `damaged` of `bytes`, which begin at `start`, where an intact entry
/// of its place begins; `shard` is the log's, if it is known.
pub(crate) fn next_entry(
    bytes: &[u8],
    start: LogPos,
    damaged: usize,
    shard: Option<u8>,
) -> Option<usize> {
    let is_entry = |at: &usize| is_entry(bytes, start, *at, shard);
    let said = bytes.get(damaged..).and_then(EntryHeader::peek);
    let said = said.and_then(|header| damaged.checked_add(header.entry_bytes() as usize));
    let mut places = (damaged..bytes.len()).step_by(ENTRY_ALIGN as usize).skip(1);
    said.filter(is_entry).or_else(|| places.find(is_entry))
}

fn is_entry(bytes: &[u8], start: LogPos, at: usize, shard: Option<u8>) -> bool {
    let Some(rest) = bytes.get(at..) else { return false };
    let pos = start.plus(at as u64);
    // The handle first: it tells almost always, and the checksum costs more.
    let is_placed = |header: &EntryHeader| {
        let shard = shard.unwrap_or(header.handle.shard());
        header.handle == Handle::new(shard, pos)
    };
    EntryHeader::peek(rest).is_some_and(|header| is_placed(&header))
        && EntryHeader::decode(rest).is_some_and(|header| header.batch_of(rest).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::entry_format::{BATCH_UNCOVERED_BYTES, Kind};

    const SHARD: u8 = 3;
    const START: LogPos = LogPos(0x2000);

    /// Three entries, with batches of 100, 60 and 40 bytes, behind each other.
    fn entries() -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        for batch_bytes in [100_u32, 60, 40] {
            let at = bytes.len();
            let header = EntryHeader {
                kind: Kind::Data,
                queue: 7,
                batch_bytes,
                base_offset: at as u64,
                store_timestamp_ms: 1,
                handle: Handle::new(SHARD, START.plus(at as u64)),
                keyed: false,
            };
            bytes.extend(header.encode(&[0x55; BATCH_UNCOVERED_BYTES]));
            bytes.extend(vec![0x55; batch_bytes as usize]);
            bytes.resize(at + header.entry_bytes() as usize, 0);
            places.push(at);
        }
        (bytes, places)
    }

    #[test]
    fn whatever_is_damaged_the_next_entry_is_found() {
        let (bytes, places) = entries();
        let second = Some(places[1]);
        for damaged in 0..places[1] {
            let mut bytes = bytes.clone();
            bytes[damaged] ^= 0x10;
            assert_eq!(next_entry(&bytes, START, 0, Some(SHARD)), second, "{damaged}");
            assert_eq!(next_entry(&bytes, START, 0, None), second, "{damaged}");
        }
        assert_eq!(next_entry(&bytes, START, places[2], None), None, "there is none behind it");
    }

    #[test]
    fn an_entry_of_another_place_is_none() {
        let (bytes, places) = entries();
        let away = START.plus(8);
        assert_eq!(next_entry(&bytes, away, 0, Some(SHARD)), None);
        assert_eq!(next_entry(&bytes, START, 0, Some(SHARD + 1)), None);
        // One that is damaged, too, is passed over; one that is cut off is none.
        let mut two = bytes.clone();
        two[places[1] + 20] ^= 1;
        assert_eq!(next_entry(&two, START, 0, None), Some(places[2]));
        assert_eq!(next_entry(&two[..two.len() - 8], START, 0, None), None);
    }
}
