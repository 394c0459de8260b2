//! State of a shard in its own log: the records of checkpoints and of offset commits. What can be
//! read is written as the same bytes again.

use engine::shard::{checkpoint_format, offset_format};

use super::allocation::{held_bytes_max, limited};

/// Reads `bytes` as the length of a key, a key, and a value; as how many kinds they can be read.
pub(crate) fn check(bytes: &[u8]) -> u32 {
    limited(held_bytes_max(bytes), || read(bytes))
}

fn read(bytes: &[u8]) -> u32 {
    let Some((len, rest)) = bytes.split_first() else { return 0 };
    let (key, value) = rest.split_at(usize::from(*len).min(rest.len()));
    let same = Some((key.to_vec(), value.to_vec()));
    let part = checkpoint_format::rewritten(key, value);
    assert!(part.is_none() || part == same, "{part:02x?} is {same:02x?}");
    let offset = offset_format::rewritten(key, value);
    assert!(offset.is_none() || offset == same, "{offset:02x?} is {same:02x?}");
    u32::from(part.is_some()) + u32::from(offset.is_some())
}
